//! One connection of the solo game: a byte in, a byte out.

use bytes::BytesMut;
use proto::server::conversation::{Arrival, Conversation, Next, Turn};
use proto::wire::rps::{Answer, ServerCodec};
use rand::CryptoRng;
use tokio_util::codec::{Decoder, Encoder};

use crate::game::judge;
use crate::house::House;
use crate::metrics::{Metrics, SoloRounds};

/// The state of one connection: who it plays against, and how patient the server still is.
#[derive(Debug)]
pub struct Solo<'a, R> {
    house: House<R>,
    bad_frames_left: u32,
    metrics: &'a Metrics,
}

impl<'a, R: CryptoRng> Solo<'a, R> {
    /// A game against `house` that ends with the `max_bad_frames`th byte that is no move, and is counted in `metrics`.
    #[must_use]
    pub fn new(house: House<R>, max_bad_frames: u32, metrics: &'a Metrics) -> Self {
        Self { house, bad_frames_left: max_bad_frames, metrics }
    }

    fn answer(&mut self, frame: <ServerCodec as Decoder>::Item, played: &mut SoloRounds) -> Answer {
        if let Ok(shown) = frame {
            let theirs = self.house.throw();
            let outcome = judge(shown, theirs);
            played.count(outcome, theirs);
            Answer::Judged(outcome)
        } else {
            self.bad_frames_left -= 1;
            played.bad_frames += 1;
            Answer::NoMove
        }
    }
}

impl<R: CryptoRng + Send> Conversation for Solo<'_, R> {
    /// An answer is as long as its move, so this is also all that a peer which reads nothing can make the server hold.
    const READ_BYTES: usize = 16 * 1024;

    fn turn(&mut self, _: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn {
        let mut played = SoloRounds::default();
        // Neither decoding nor encoding in memory can fail; a byte that is no move is a frame of its own kind.
        while self.bad_frames_left > 0
            && let Ok(Some(frame)) = ServerCodec.decode(input)
        {
            let _ = ServerCodec.encode(self.answer(frame, &mut played), output);
        }
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
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// What a client gets that sends `pieces`, each in a read of its own.
    fn play(pieces: &[&[u8]]) -> (Vec<u8>, Next) {
        let metrics = Metrics::default();
        let mut solo = Solo::new(House::new(StdRng::seed_from_u64(7)), 16, &metrics);
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

    #[test]
    fn a_move_is_judged_against_the_house() {
        let (answers, next) = play(&[b"1\r\n2\n3"]);
        let mut house = House::new(StdRng::seed_from_u64(7));
        let expected: Vec<u8> = proto::wire::rps::Move::ALL
            .iter()
            .map(|&shown| Answer::Judged(judge(shown, house.throw())).byte())
            .collect();
        assert_eq!(answers, expected);
        assert_eq!(next, Next::Request);
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
        fn any_chunking_of_the_same_moves_gets_the_same_answers(
            bytes in prop::collection::vec(prop::sample::select(b"111222333\r\nx".to_vec()), 0..200), size in 1..20_usize,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(play(&pieces), play(&[&bytes]));
        }
    }
}
