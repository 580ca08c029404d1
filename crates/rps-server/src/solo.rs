//! The handler of one solo connection: one byte in, one byte out.

mod batch;

use std::sync::Arc;

use bytes::BytesMut;
use proto::server::{Event, Handler, Progress, SocketBuffers, WaitFor};
use proto::wire::rps::{Reply, ServerCodec};
use rand::CryptoRng;
use tokio_util::codec::{Decoder, Encoder};

use crate::game::judge;
use crate::house::House;
use crate::metrics::{Metrics, SoloRounds, count_bad_frames};

/// Clients are expected to have up to 16 KiB in flight. The buffers have room for twice as many replies and three times
/// as many moves: with 32 KiB to receive, 16,384 moves in flight were measured to cost a third more CPU time.
pub const BUFFERS: SocketBuffers = SocketBuffers { send: 32 * 1024, receive: 48 * 1024 };

/// Plays the moves of one connection against the house.
#[derive(Debug)]
pub struct SoloHandler<R> {
    house: House<R>,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl<R: CryptoRng> SoloHandler<R> {
    /// Creates a handler that plays against `house`, counts rounds in `metrics`, and closes the connection after the
    /// `max_bad_frames`th byte that is not a move.
    #[must_use]
    pub fn new(house: House<R>, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { house, bad_frames_left: max_bad_frames, metrics }
    }
}

impl<R: CryptoRng + Send + 'static> Handler for SoloHandler<R> {
    /// Twice as many bytes as clients are expected to have in flight. A read that does not fill the buffer has emptied
    /// the socket, which saves a second read call. A reply is as long as its move, so the server also holds at most
    /// this much for a peer that reads nothing, until the write timeout.
    const READ_BYTES: usize = 32 * 1024;

    /// About 20 µs of work.
    const TURN_REPLIES: usize = 8 * 1024;

    fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        // A short last turn would cost a separate write.
        let is_last_turn = max_replies >= Self::TURN_REPLIES && input.len() / 2 <= max_replies;
        let max_replies = if is_last_turn { input.len() } else { max_replies };
        let mut rounds = SoloRounds::default();
        while self.bad_frames_left > 0 && output.len() < max_replies {
            if input.len() >= batch::MIN_BYTES {
                batch::play(&mut self.house, input, output, max_replies, &mut rounds);
                if output.len() == max_replies {
                    break;
                }
            }
            // Decoding and encoding in memory cannot fail; a byte that is not a move is a frame as well.
            let Ok(Some(frame)) = ServerCodec.decode(input) else { break };
            let reply = if let Ok(mine) = frame {
                let theirs = self.house.throw();
                let outcome = judge(mine, theirs);
                rounds.count(outcome, theirs);
                Reply::Judged(outcome)
            } else {
                self.bad_frames_left -= 1;
                rounds.bad_frames += 1;
                Reply::NotAMove
            };
            let _ = ServerCodec.encode(reply, output);
        }
        self.metrics.add_solo(&rounds);
        let wait_for = match self.bad_frames_left {
            0 => WaitFor::Close,
            _ if input.is_empty() => WaitFor::Request,
            _ => WaitFor::Turn,
        };
        // A reply is one byte.
        Progress { replies: output.len() as u64, wait_for }
    }

    fn operation(&self) -> Option<&'static str> {
        Some("solo")
    }

    fn error_codes(output: &[u8], count: &mut dyn FnMut(&'static str)) {
        count_bad_frames(output, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::testing::generator::Zeros;
    use proto::wire::rps::Move;

    /// Throws scissors each time.
    fn house() -> House<Zeros> {
        House::new(Zeros)
    }

    /// Delivers each piece in a separate read, with unlimited turns. Returns the replies and the last `wait_for`.
    fn play(pieces: &[&[u8]]) -> (Vec<u8>, WaitFor) {
        play_turns(pieces, usize::MAX)
    }

    /// Like `play`, with turns of at most `max_replies`.
    fn play_turns(pieces: &[&[u8]], max_replies: usize) -> (Vec<u8>, WaitFor) {
        let mut solo = SoloHandler::new(house(), 16, Arc::default());
        let mut replies = BytesMut::new();
        let mut wait_for = WaitFor::Request;
        for piece in pieces {
            let mut input = BytesMut::from(*piece);
            loop {
                let mut output = BytesMut::new();
                wait_for = solo.handle(Event::Data, &mut input, &mut output, max_replies).wait_for;
                assert!(output.len() <= max_replies);
                replies.unsplit(output);
                if wait_for != WaitFor::Turn {
                    break;
                }
            }
            assert!(wait_for == WaitFor::Close || input.is_empty());
            if wait_for == WaitFor::Close {
                break;
            }
        }
        (replies.to_vec(), wait_for)
    }

    /// The reference for `play`: handles one byte at a time.
    fn one_by_one(bytes: &[u8]) -> (Vec<u8>, WaitFor) {
        let (mut house, mut replies, mut bad) = (house(), Vec::new(), 0);
        for &byte in bytes.iter().filter(|byte| !b"\r\n".contains(byte)) {
            if let Some(mine) = Move::from_byte(byte) {
                replies.push(Reply::Judged(judge(mine, house.throw())).byte());
            } else {
                replies.push(b'e');
                bad += 1;
                if bad == 16 {
                    return (replies, WaitFor::Close);
                }
            }
        }
        (replies, WaitFor::Request)
    }

    #[test]
    fn the_last_bad_byte_gets_a_reply_and_the_bytes_after_it_do_not() {
        let (replies, wait_for) = play(&[&[b'9'; 15]]);
        assert_eq!((&replies[..], wait_for), (&[b'e'; 15][..], WaitFor::Request));
        let (replies, wait_for) = play(&[&[b'9'; 15], b"1", b"9", b"1"]);
        assert_eq!(replies.len(), 17);
        assert_eq!((replies[16], wait_for), (b'e', WaitFor::Close));
        let (replies, wait_for) = play(&[&[b'9'; 40]]);
        assert_eq!((&replies[..], wait_for), (&[b'e'; 16][..], WaitFor::Close));
    }

    proptest! {
        #[test]
        fn replies_do_not_depend_on_how_the_bytes_are_split_into_reads(
            bytes in bytes(), sizes in prop::collection::vec(1..2500_usize, 1..20),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(play(&pieces), one_by_one(&bytes));
            prop_assert_eq!(play(&[&bytes]), one_by_one(&bytes));
            prop_assert_eq!(play_turns(&[&bytes], sizes[0]), one_by_one(&bytes));
        }
    }

    /// Long runs of moves, with line ends and invalid bytes between them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let moves = prop::collection::vec(prop::sample::select(b"123".to_vec()), 0..2500);
        let others = prop::collection::vec(prop::sample::select(b"\r\n\r\nx1".to_vec()), 0..6);
        prop::collection::vec((moves, others), 0..8)
            .prop_map(|runs| runs.into_iter().flat_map(|(moves, others)| [moves, others].concat()).collect())
    }
}
