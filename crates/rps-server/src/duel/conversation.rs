//! One connection of the duel: a byte in, and a byte out when there is an answer to it.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto::server::connection::handler::{self, Arrival, Next, Turn};
use proto::wire::rps::{Answer, ServerCodec};
use tokio_util::codec::{Decoder, Encoder};

use super::table::{Player, Standing};
use crate::metrics::Metrics;

/// The state of one connection: its place at the table, and how patient the server still is.
#[derive(Debug)]
pub struct Conversation {
    player: Player,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl Conversation {
    /// A game of `player` that ends with the `max_bad_frames`th byte that is no move. What the table does not count is
    /// counted in `metrics`.
    #[must_use]
    pub fn new(player: Player, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { player, bad_frames_left: max_bad_frames, metrics }
    }

    /// Says what can be said, and what is waited for then.
    fn answer(&mut self, arrival: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Next {
        let mut standing = match arrival {
            Arrival::Answer | Arrival::Drain => self.player.take_answer(),
            Arrival::Bytes | Arrival::Silence | Arrival::Deadline | Arrival::End => None,
        };
        loop {
            // Neither decoding nor encoding in memory can fail; a byte that is no move is a frame of its own kind.
            match standing {
                Some(Standing::Answered(answer)) => _ = ServerCodec.encode(answer, output),
                // The others who were there have had their moment, for this move and for those behind it.
                Some(Standing::InPlay(_)) if arrival == Arrival::Drain => {
                    standing = self.player.stop_waiting();
                    continue;
                }
                Some(Standing::InPlay(until)) => return Next::Answer(until),
                None => {}
            }
            if self.bad_frames_left == 0 {
                return Next::Close;
            }
            standing = match ServerCodec.decode(input) {
                Ok(Some(Ok(shown))) => self.player.play(shown),
                Ok(Some(Err(_))) => {
                    self.bad_frames_left -= 1;
                    self.metrics.bad_frame_in_duel();
                    Some(Standing::Answered(Answer::NoMove))
                }
                Ok(None) | Err(_) => return Next::Request,
            };
        }
    }
}

impl handler::Conversation for Conversation {
    /// What a player has sent ahead waits in its socket, but for these. More than one, since a read that fills its
    /// buffer does not tell whether there is more, and the next one would be a system call to find out that there is not.
    const READ_BYTES: usize = 16;

    fn turn(&mut self, arrival: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn {
        let next = self.answer(arrival, input, output);
        // An answer is a byte.
        Turn { answered: output.len() as u64, next }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.player.poll_answer(cx)
    }
}
