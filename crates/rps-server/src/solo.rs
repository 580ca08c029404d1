//! The handler of one solo connection: a byte in, a byte out.

mod batch;

use std::sync::Arc;

use bytes::BytesMut;
use proto::server::{Event, Handler, Progress, WaitFor};
use proto::wire::rps::{Reply, ServerCodec};
use rand::CryptoRng;
use tokio_util::codec::{Decoder, Encoder};

use crate::game::judge;
use crate::house::House;
use crate::metrics::{Metrics, SoloRounds};

/// The handler of one connection.
#[derive(Debug)]
pub struct SoloHandler<R> {
    house: House<R>,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl<R: CryptoRng> SoloHandler<R> {
    /// A game against `house` that ends with the `max_bad_frames`th byte that is not a move, and is counted in
    /// `metrics`.
    #[must_use]
    pub fn new(house: House<R>, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { house, bad_frames_left: max_bad_frames, metrics }
    }
}

impl<R: CryptoRng + Send + 'static> Handler for SoloHandler<R> {
    /// Twice as much as clients are expected to have in flight: a read that does not fill its buffer shows that there
    /// is no more, and saves the system call that would find out. A reply is as long as its move, so this is also the
    /// most that the server holds for a peer that reads nothing, until the write timeout: 313 MiB for 10,000 of them.
    const READ_BYTES: usize = 32 * 1024;

    fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        let mut rounds = SoloRounds::default();
        while self.bad_frames_left > 0 {
            if input.len() >= batch::MIN_BYTES {
                batch::play(&mut self.house, input, output, &mut rounds);
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
        let wait_for = if self.bad_frames_left == 0 { WaitFor::Close } else { WaitFor::Request };
        // A reply is one byte.
        Progress { replies: output.len() as u64, wait_for }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::testing::generator::BytewiseRng;
    use proto::wire::rps::Move;
    use rand::rngs::StdRng;

    fn house() -> House<BytewiseRng<StdRng>> {
        House::new(BytewiseRng::seeded(7))
    }

    /// What a client gets that sends `pieces`, each in a read of its own.
    fn play(pieces: &[&[u8]]) -> (Vec<u8>, WaitFor) {
        let mut solo = SoloHandler::new(house(), 16, Arc::default());
        let mut answers = BytesMut::new();
        let mut next = WaitFor::Request;
        for piece in pieces {
            let mut input = BytesMut::from(*piece);
            let mut output = BytesMut::new();
            next = solo.handle(Event::Data, &mut input, &mut output).wait_for;
            answers.unsplit(output);
            assert!(next == WaitFor::Close || input.is_empty());
            if next == WaitFor::Close {
                break;
            }
        }
        (answers.to_vec(), next)
    }

    /// What that is by definition: one byte after the other, each with a move of the house of its own.
    fn one_by_one(bytes: &[u8]) -> (Vec<u8>, WaitFor) {
        let (mut house, mut answers, mut bad) = (house(), Vec::new(), 0);
        for &byte in bytes.iter().filter(|byte| !b"\r\n".contains(byte)) {
            if let Some(mine) = Move::from_byte(byte) {
                answers.push(Reply::Judged(judge(mine, house.throw())).byte());
            } else {
                answers.push(b'e');
                bad += 1;
                if bad == 16 {
                    return (answers, WaitFor::Close);
                }
            }
        }
        (answers, WaitFor::Request)
    }

    #[test]
    fn the_last_bad_byte_still_gets_its_answer_and_what_follows_does_not() {
        let (answers, next) = play(&[&[b'9'; 15]]);
        assert_eq!((&answers[..], next), (&[b'e'; 15][..], WaitFor::Request));
        let (answers, next) = play(&[&[b'9'; 15], b"1", b"9", b"1"]);
        assert_eq!(answers.len(), 17);
        assert_eq!((answers[16], next), (b'e', WaitFor::Close));
        let (answers, next) = play(&[&[b'9'; 40]]);
        assert_eq!((&answers[..], next), (&[b'e'; 16][..], WaitFor::Close));
    }

    proptest! {
        #[test]
        fn whatever_the_reads_deliver_each_byte_gets_what_it_would_get_alone(
            bytes in bytes(), cuts in prop::collection::vec(1..2500_usize, 1..20),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(play(&pieces), one_by_one(&bytes));
            prop_assert_eq!(play(&[&bytes]), one_by_one(&bytes));
        }
    }

    /// Moves in long runs, with line ends and bytes that are no move among them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let moves = prop::collection::vec(prop::sample::select(b"123".to_vec()), 0..2500);
        let others = prop::collection::vec(prop::sample::select(b"\r\n\r\nx1".to_vec()), 0..6);
        prop::collection::vec((moves, others), 0..8)
            .prop_map(|runs| runs.into_iter().flat_map(|(moves, others)| [moves, others].concat()).collect())
    }
}
