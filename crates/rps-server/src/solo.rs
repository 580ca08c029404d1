//! One connection of the solo game: a byte in, a byte out.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use proto::server::connection::handler::{Arrival, Conversation, Next, Turn};
use proto::wire::rps::{Answer, Move, Outcome};
use rand::CryptoRng;

use crate::game::judge;
use crate::house::House;
use crate::metrics::{Metrics, SoloRounds};

/// The state of one connection: who it plays against, and how patient the server still is.
#[derive(Debug)]
pub struct Solo<R> {
    house: House<R>,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl<R: CryptoRng> Solo<R> {
    /// A game against `house` that ends with the `max_bad_frames`th byte that is no move, and is counted in `metrics`.
    #[must_use]
    pub fn new(house: House<R>, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { house, bad_frames_left: max_bad_frames, metrics }
    }

    /// Plays the first `count` rounds of a batch, for which the player has shown its moves.
    fn play(&mut self, count: usize, batch: &mut Batch, output: &mut BytesMut, played: &mut SoloRounds) {
        let (shown, theirs, outcomes) =
            (&batch.shown[..count], &mut batch.theirs[..count], &mut batch.outcomes[..count]);
        self.house.throw(theirs);
        for ((outcome, &mine), &theirs) in outcomes.iter_mut().zip(shown).zip(&*theirs) {
            *outcome = judge(mine, theirs);
        }
        played.count(outcomes, theirs);
        let begin = output.len();
        output.resize(begin + count, 0);
        for (answer, &outcome) in output[begin..].iter_mut().zip(&*outcomes) {
            *answer = Answer::Judged(outcome).byte();
        }
    }
}

/// Rounds that are played at once.
struct Batch {
    /// The player's moves.
    shown: [Move; Self::AT_ONCE],
    /// The house's.
    theirs: [Move; Self::AT_ONCE],
    outcomes: [Outcome; Self::AT_ONCE],
}

impl Batch {
    /// Enough for the work to be that of the rounds alone, and few enough to stay close to the processor; what 192 bytes
    /// of the generator are good for at the most, and whole rows of 16 for the compiler.
    const AT_ONCE: usize = 960;
}

thread_local! {
    /// Of the thread, since to make them anew would take longer than to play one.
    static BATCH: RefCell<Batch> = const {
        let (moves, outcomes) = ([Move::Rock; Batch::AT_ONCE], [Outcome::Draw; Batch::AT_ONCE]);
        RefCell::new(Batch { shown: moves, theirs: moves, outcomes })
    };
}

impl<R: CryptoRng + Send> Conversation for Solo<R> {
    /// Twice as much as clients are expected to have in flight: a read that does not fill its buffer tells that there is
    /// no more, and saves the call that would find out. An answer is as long as its move, so this is also all that a peer
    /// which reads nothing can make the server hold, until the write deadline: 313 MiB for 10,000 of them.
    const READ_BYTES: usize = 32 * 1024;

    fn turn(&mut self, _: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn {
        let mut played = SoloRounds::default();
        BATCH.with_borrow_mut(|batch| {
            while self.bad_frames_left > 0 && !input.is_empty() {
                let (count, read) = Move::read_front(input, &mut batch.shown);
                if read > 0 {
                    input.advance(read);
                    self.play(count, batch, output, &mut played);
                } else {
                    input.advance(1);
                    self.bad_frames_left -= 1;
                    played.bad_frames += 1;
                    output.put_u8(Answer::NoMove.byte());
                }
            }
        });
        self.metrics.add_solo(&played);
        // An answer is a byte.
        let next = if self.bad_frames_left == 0 { Next::Close } else { Next::Request };
        Turn { answered: output.len() as u64, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::testing::generator::ByteByByte;
    use rand::rngs::StdRng;

    fn house() -> House<ByteByByte<StdRng>> {
        House::new(ByteByByte::seeded(7))
    }

    /// What a client gets that sends `pieces`, each in a read of its own.
    fn play(pieces: &[&[u8]]) -> (Vec<u8>, Next) {
        let mut solo = Solo::new(house(), 16, Arc::default());
        let mut answers = BytesMut::new();
        let mut next = Next::Request;
        for piece in pieces {
            let mut input = BytesMut::from(*piece);
            let mut output = BytesMut::new();
            next = solo.turn(Arrival::Bytes, &mut input, &mut output).next;
            answers.unsplit(output);
            assert!(next == Next::Close || input.is_empty());
            if next == Next::Close {
                break;
            }
        }
        (answers.to_vec(), next)
    }

    /// What that is by definition: one byte after the other, each with a move of the house of its own.
    fn one_by_one(bytes: &[u8]) -> (Vec<u8>, Next) {
        let (mut house, mut answers, mut bad) = (house(), Vec::new(), 0);
        for &byte in bytes.iter().filter(|byte| !b"\r\n".contains(byte)) {
            if let Some(mine) = Move::from_byte(byte) {
                let mut theirs = [Move::Rock];
                house.throw(&mut theirs);
                answers.push(Answer::Judged(judge(mine, theirs[0])).byte());
            } else {
                answers.push(b'e');
                bad += 1;
                if bad == 16 {
                    return (answers, Next::Close);
                }
            }
        }
        (answers, Next::Request)
    }

    #[test]
    fn the_last_bad_byte_still_gets_its_answer_and_what_follows_does_not() {
        let (answers, next) = play(&[&[b'9'; 15]]);
        assert_eq!((&answers[..], next), (&[b'e'; 15][..], Next::Request));
        let (answers, next) = play(&[&[b'9'; 15], b"1", b"9", b"1"]);
        assert_eq!(answers.len(), 17);
        assert_eq!((answers[16], next), (b'e', Next::Close));
        let (answers, next) = play(&[&[b'9'; 40]]);
        assert_eq!((&answers[..], next), (&[b'e'; 16][..], Next::Close));
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
