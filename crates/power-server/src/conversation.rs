//! One connection of the power service: what it hears, as bytes, and what it says.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use proto::server::connection::handler::{self, Arrival, Next, Turn};
use proto::server::connection::timer::Deadlines;
use proto::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use tokio_util::codec::{Decoder, Encoder};

use crate::arithmetic::answer;
use crate::metrics::Metrics;

/// The state of one connection: how it ends its requests, and nothing more.
#[derive(Debug)]
pub struct Conversation {
    requests: RequestDecoder,
    request_time: Duration,
    metrics: Arc<Metrics>,
}

impl Conversation {
    /// A connection whose requests have at most `most_bytes` bytes, and are counted in `metrics`.
    #[must_use]
    pub fn new(most_bytes: usize, deadlines: &Deadlines, metrics: Arc<Metrics>) -> Self {
        Self {
            requests: RequestDecoder::new(most_bytes, !deadlines.settle.is_zero()),
            request_time: deadlines.request.unwrap_or_default(),
            metrics,
        }
    }
}

impl handler::Conversation for Conversation {
    /// Room for the longest request that can be configured, and for hundreds of short ones in flight. At the worst
    /// every two bytes of it are a bad line that gets an error of 87: 174 KiB for a peer that reads nothing, until the
    /// write deadline.
    const READ_BYTES: usize = 4096;

    fn turn(&mut self, arrival: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn {
        let mut answered = 0;
        let mut say = |received: Received| match received {
            Received::Request(operation, request, ending) => {
                let reply = request.and_then(answer);
                self.metrics.answered(operation, reply.as_ref().map(drop).map_err(|refusal| refusal.code));
                answered += 1;
                // Encoding into memory cannot fail.
                let _ = ReplyEncoder.encode((&reply, ending), output);
            }
            Received::LineEnd => output.put_u8(b'\n'),
        };
        match arrival {
            Arrival::Bytes => {
                // Nor can decoding: what is no request is an item of its own.
                while let Ok(Some(received)) = self.requests.decode(input) {
                    say(received);
                }
            }
            Arrival::End => {
                while let Ok(Some(received)) = self.requests.decode_eof(input) {
                    say(received);
                }
            }
            Arrival::Silence => self.requests.decode_settled(input).into_iter().for_each(say),
            Arrival::Deadline => say(self.requests.time_out(self.request_time)),
            // Nothing is answered by anybody else.
            Arrival::Answer | Arrival::Drain => {}
        }
        let next = match self.requests.pending() {
            _ if self.requests.is_finished() => Next::Close,
            Pending::Nothing => Next::Request,
            Pending::Part => Next::Rest,
            Pending::Whole => Next::Settle,
        };
        Turn { answered, next }
    }
}
