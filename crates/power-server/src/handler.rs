//! The handler of one power connection: request bytes in, reply bytes out.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use proto::server::{ConnectionTimeouts, Event, Handler, MAX_OUTPUT_BYTES, Progress, WaitFor};
use proto::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use proto::wire::power::{ErrorCode, Operation};
use tokio_util::codec::{Decoder, Encoder};

use crate::arithmetic;
use crate::config::Config;
use crate::metrics::{self, Metrics};

/// The handler of one connection.
#[derive(Debug)]
pub struct PowerHandler {
    requests: RequestDecoder,
    settings: Arc<PowerSettings>,
}

/// The settings and metrics that the handlers of a service share. An idle connection holds its handler, so the handler
/// is kept small.
#[derive(Debug)]
pub struct PowerSettings {
    /// Maximum length of a request in bytes.
    max_request_bytes: usize,
    /// The timeouts of each connection.
    pub timeouts: ConnectionTimeouts,
    metrics: Arc<Metrics>,
}

impl PowerSettings {
    /// Returns the settings of `config`, which count in `metrics`.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            max_request_bytes: config.limits.max_request_bytes.as_usize(),
            timeouts: config.connection_timeouts(),
            metrics,
        }
    }
}

impl PowerHandler {
    /// Creates a handler with these settings.
    #[must_use]
    pub fn new(settings: Arc<PowerSettings>) -> Self {
        let requests = RequestDecoder::new(settings.max_request_bytes, !settings.timeouts.settle.is_zero());
        Self { requests, settings }
    }

    /// Appends the reply, and returns the number of replies: 0 if it is only the rest of an earlier one.
    fn reply_to(&self, received: Received, output: &mut BytesMut) -> usize {
        match received {
            Received::Request { operation, request, terminator } => {
                let reply = request.and_then(arithmetic::reply);
                self.settings
                    .metrics
                    .count_reply(operation, reply.as_ref().map(drop).map_err(|error_reply| error_reply.code));
                // Encoding into memory cannot fail.
                let _ = ReplyEncoder.encode((&reply, terminator), output);
                1
            }
            Received::LateLineEnd => {
                output.put_u8(b'\n');
                0
            }
        }
    }
}

/// The number of ordinary requests that a [costly](RequestDecoder::is_costly) one counts as in a turn. A short one
/// takes up to 100 times as long, and one of 512 bytes up to 300 times. With 64, a turn has two of them: 20 to 80 µs of
/// work.
const COSTLY_WEIGHT: usize = 64;

impl Handler for PowerHandler {
    /// Enough for the longest request that can be configured, and for hundreds of short ones in flight.
    const READ_BYTES: usize = 4096;

    /// About 20 µs of work. A number of more than 19 significant digits can take 100 times as long as others, so it
    /// counts as `COSTLY_WEIGHT` replies.
    const TURN_REPLIES: usize = 128;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        // The replies, and the work for them in ordinary requests.
        let (mut replies, mut work) = (0, 0);
        match event {
            // Decoding cannot fail: a bad request is an item.
            Event::Data => {
                while let Ok(Some(received)) = self.requests.decode(input) {
                    let count = self.reply_to(received, output);
                    replies += count;
                    work += if self.requests.is_costly() { count * COSTLY_WEIGHT } else { count };
                    let is_turn_over = work >= max_replies || output.len() >= MAX_OUTPUT_BYTES;
                    if is_turn_over && !input.is_empty() {
                        return Progress { replies: replies as u64, wait_for: WaitFor::Turn };
                    }
                }
            }
            // The earlier turns have left at most a part of a request.
            Event::Eof => {
                while let Ok(Some(received)) = self.requests.decode_eof(input) {
                    replies += self.reply_to(received, output);
                }
            }
            Event::Settled => {
                if let Some(received) = self.requests.decode_settled(input) {
                    replies += self.reply_to(received, output);
                }
            }
            Event::RequestTimeout => {
                let received = self.requests.time_out(self.settings.timeouts.request.unwrap_or_default());
                replies += self.reply_to(received, output);
            }
            Event::RateTimeout => {
                let received = self.requests.time_out_over_rate(self.settings.timeouts.request.unwrap_or_default());
                replies += self.reply_to(received, output);
            }
            Event::Shutdown => {
                let received = self.requests.shut_down();
                replies += self.reply_to(received, output);
            }
            // This handler never waits for a reply.
            Event::ReplyReady | Event::Push => {}
        }
        let wait_for = match self.requests.pending() {
            _ if self.requests.is_finished() => WaitFor::Close,
            Pending::Nothing => WaitFor::Request,
            Pending::Partial => WaitFor::MoreData,
            Pending::Complete => WaitFor::Settle,
        };
        Progress { replies: replies as u64, wait_for }
    }

    fn operation(&self) -> Option<&'static str> {
        Some(self.requests.operation().map_or("invalid", Operation::name))
    }

    /// A reply without a line end is the last one of an output, and its late line end begins the next output.
    fn error_codes(output: &[u8], count: &mut dyn FnMut(&'static str)) {
        for reply in output.split(|&byte| byte == b'\n') {
            let code = reply.strip_prefix(b"e").and_then(|error| error.split(|&byte| byte == b' ').next());
            if let Some(code) = ErrorCode::ALL.into_iter().find(|known| code == Some(known.as_str().as_bytes())) {
                count(metrics::label(Err(code)));
            }
        }
    }
}
