//! The handler of one power connection: request bytes in, reply bytes out.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use proto::server::{ConnectionTimeouts, Event, Handler, Progress, WaitFor};
use proto::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use tokio_util::codec::{Decoder, Encoder};

use crate::arithmetic;
use crate::metrics::Metrics;

/// The handler of one connection.
#[derive(Debug)]
pub struct PowerHandler {
    requests: RequestDecoder,
    request_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl PowerHandler {
    /// Creates a handler for requests of at most `max_request_bytes` bytes. It counts them in `metrics`.
    #[must_use]
    pub fn new(max_request_bytes: usize, timeouts: &ConnectionTimeouts, metrics: Arc<Metrics>) -> Self {
        Self {
            requests: RequestDecoder::new(max_request_bytes, !timeouts.settle.is_zero()),
            request_timeout: timeouts.request.unwrap_or_default(),
            metrics,
        }
    }
}

impl Handler for PowerHandler {
    /// Enough for the longest request that can be configured, and for hundreds of short ones in flight. In the worst case
    /// every two bytes are a bad line with an error reply of 87 bytes: 174 KiB for a peer that never reads, until the write
    /// timeout.
    const READ_BYTES: usize = 4096;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        let mut replies = 0;
        let mut reply_to = |received: Received| match received {
            Received::Request { operation, request, terminator } => {
                let reply = request.and_then(arithmetic::reply);
                self.metrics.count_reply(operation, reply.as_ref().map(drop).map_err(|error_reply| error_reply.code));
                replies += 1;
                // Encoding into memory cannot fail.
                let _ = ReplyEncoder.encode((&reply, terminator), output);
            }
            Received::LateLineEnd => output.put_u8(b'\n'),
        };
        match event {
            Event::Data => {
                // Decoding cannot fail: a bad request is an item.
                while let Ok(Some(received)) = self.requests.decode(input) {
                    reply_to(received);
                }
            }
            Event::Eof => {
                while let Ok(Some(received)) = self.requests.decode_eof(input) {
                    reply_to(received);
                }
            }
            Event::Settled => self.requests.decode_settled(input).into_iter().for_each(reply_to),
            Event::RequestTimeout => reply_to(self.requests.time_out(self.request_timeout)),
            // This handler never waits for a reply.
            Event::ReplyReady | Event::Shutdown => {}
        }
        let wait_for = match self.requests.pending() {
            _ if self.requests.is_finished() => WaitFor::Close,
            Pending::Nothing => WaitFor::Request,
            Pending::Partial => WaitFor::MoreData,
            Pending::Complete => WaitFor::Settle,
        };
        Progress { replies, wait_for }
    }
}
