//! Plays many moves of one read at once, with the same result as one at a time, for clients that have thousands of moves
//! in flight.
//!
//! Each step is a loop without branches over arrays of bytes, which the compiler vectorizes. A round takes 0.5 ns instead
//! of 5 ns.

use std::cell::RefCell;

use bytes::{Buf, BytesMut};
use proto::wire::rps::{Move, Outcome, Reply, is_line_end};
use rand::CryptoRng;

use crate::house::{ACCEPTED_BYTES, House, MOVES_PER_BYTE};
use crate::metrics::SoloRounds;

/// Inputs shorter than this are played one move at a time.
pub(super) const MIN_BYTES: usize = 16;

/// The buffers for rounds that are played at once.
struct MoveBatch {
    mine: [Move; Self::ROUNDS],
    theirs: [Move; Self::ROUNDS],
    outcomes: [Outcome; Self::ROUNDS],
}

impl MoveBatch {
    /// Large enough to make the cost per batch negligible, and small enough for the L1 cache. It is the number of moves
    /// in [`RANDOM_BYTES`], and a multiple of 16 for vector instructions.
    const ROUNDS: usize = 960;
}

thread_local! {
    /// One per thread, since initializing a batch takes longer than playing it.
    static BATCH: RefCell<MoveBatch> = const {
        let (moves, outcomes) = ([Move::Rock; MoveBatch::ROUNDS], [Outcome::Draw; MoveBatch::ROUNDS]);
        RefCell::new(MoveBatch { mine: moves, theirs: moves, outcomes })
    };
}

/// Plays the moves at the front of `input`, up to a byte that is neither a move nor a line end, or until `output` has
/// `max_replies`.
pub(super) fn play<R: CryptoRng>(
    house: &mut House<R>,
    input: &mut BytesMut,
    output: &mut BytesMut,
    max_replies: usize,
    rounds: &mut SoloRounds,
) {
    BATCH.with_borrow_mut(|MoveBatch { mine, theirs, outcomes }| {
        loop {
            // A byte gets at most one reply.
            let room = input.len().min(max_replies - output.len());
            let (count, read) = decode_moves(&input[..room], mine);
            if read == 0 {
                break;
            }
            input.advance(read);
            let (mine, theirs, outcomes) = (&mine[..count], &mut theirs[..count], &mut outcomes[..count]);
            throw(house, theirs);
            for ((outcome, &mine), &theirs) in outcomes.iter_mut().zip(mine).zip(&*theirs) {
                *outcome = judge(mine, theirs);
            }
            count_rounds(rounds, outcomes, theirs);
            let start = output.len();
            output.resize(start + count, 0);
            for (reply, &outcome) in output[start..].iter_mut().zip(&*outcomes) {
                *reply = Reply::Judged(outcome).byte();
            }
        }
    });
}

/// Decodes the moves at the front of `bytes` into `moves`, up to a byte that is neither a move nor a line end. Returns the
/// number of moves, and the number of bytes read, which is at most the length of `moves`.
fn decode_moves(bytes: &[u8], moves: &mut [Move]) -> (usize, usize) {
    let limit = bytes.len().min(moves.len());
    let (bytes, moves) = (&bytes[..limit], &mut moves[..limit]);
    // No early exit, so that the loop is vectorized.
    let mut only_moves = true;
    for (mv, &byte) in moves.iter_mut().zip(bytes) {
        let decoded = Move::from_byte(byte);
        only_moves &= decoded.is_some();
        *mv = decoded.unwrap_or(Move::Rock);
    }
    if only_moves {
        return (limit, limit);
    }
    let mut count = 0;
    for (read, &byte) in bytes.iter().enumerate() {
        if let Some(decoded) = Move::from_byte(byte) {
            moves[count] = decoded;
            count += 1;
        } else if !is_line_end(byte) {
            return (count, read);
        }
    }
    (count, limit)
}

/// A row has eight moves, five of them valid, so that it is copied in one instruction. The next copy overwrites the other
/// three.
const ROW_LEN: usize = 8;

/// The moves that each byte encodes. The rows of discarded bytes are never used.
static ROWS: [[Move; ROW_LEN]; 256] = {
    let mut rows = [[Move::Scissors; ROW_LEN]; 256];
    let mut byte = 0;
    while byte < rows.len() {
        let (mut digits, mut index) = (byte, 0);
        while index < MOVES_PER_BYTE as usize {
            rows[byte][index] = Move::ALL[digits % 3];
            digits /= 3;
            index += 1;
        }
        byte += 1;
    }
    rows
};

/// The number of valid moves in each row: 0 for a discarded byte. A look-up is faster than a comparison and a
/// multiplication.
static COUNTS: [u8; 256] = {
    let mut counts = [0; 256];
    let mut byte = 0;
    while byte < ACCEPTED_BYTES as usize {
        counts[byte] = MOVES_PER_BYTE;
        byte += 1;
    }
    counts
};

/// The maximum number of bytes per call of the generator.
const RANDOM_BYTES: usize = 192;

/// Fills `moves` with the house's next moves, as repeated calls of [`House::throw`] would.
fn throw<R: CryptoRng>(house: &mut House<R>, moves: &mut [Move]) {
    let mut filled = 0;
    while filled < moves.len() && house.has_buffered() {
        moves[filled] = house.throw();
        filled += 1;
    }
    let mut bytes = [0; RANDOM_BYTES];
    while filled < moves.len() {
        // As many bytes as are needed if none is discarded, so that only the last byte can have unused moves.
        let bytes = &mut bytes[..(moves.len() - filled).div_ceil(MOVES_PER_BYTE.into()).min(RANDOM_BYTES)];
        house.generator.fill_bytes(bytes);
        for &mut byte in bytes {
            let (row, count) = (&ROWS[usize::from(byte)], COUNTS[usize::from(byte)]);
            let rest = &mut moves[filled..];
            if let Some(chunk) = rest.first_chunk_mut() {
                *chunk = *row;
                // No branch on a discarded byte, since the CPU could not predict it.
                filled += usize::from(count);
            } else if count > 0 {
                let used = rest.len().min(count.into());
                rest[..used].copy_from_slice(&row[..used]);
                filled += used;
                // The conversion cannot fail: `used` is at most `count`, which is a `u8`.
                house.buffer(byte, u8::try_from(used).unwrap_or(count));
            }
        }
    }
}

/// The rule without branches. In the order of their bytes, each move beats the move before it, and the first beats the
/// last, so the difference of the two bytes gives the outcome.
const fn judge(mine: Move, theirs: Move) -> Outcome {
    const PLUS_ONE: u8 = 1;
    const MINUS_TWO: u8 = 0_u8.wrapping_sub(2);
    match mine.byte().wrapping_sub(theirs.byte()) {
        0 => Outcome::Draw,
        PLUS_ONE | MINUS_TWO => Outcome::Win,
        _ => Outcome::Lose,
    }
}

/// Counts rounds by outcome and by the house's move.
fn count_rounds(rounds: &mut SoloRounds, outcomes: &[Outcome], house: &[Move]) {
    let count = outcomes.len() as u64;
    let (draws, wins) = (occurrences(outcomes, Outcome::Draw), occurrences(outcomes, Outcome::Win));
    let (scissors, rocks) = (occurrences(house, Move::Scissors), occurrences(house, Move::Rock));
    rounds.add([draws, wins, count - draws - wins], [scissors, rocks, count - scissors - rocks]);
}

/// Returns how many of `items` equal `wanted`. The counters are bytes, of which the compiler adds 16 per instruction.
fn occurrences<T: Copy + PartialEq>(items: &[T], wanted: T) -> u64 {
    const MAX_BYTE_COUNT: usize = 15 * 16;
    let chunks = items.chunks(MAX_BYTE_COUNT);
    chunks.map(|chunk| u64::from(chunk.iter().map(|&item| u8::from(item == wanted)).sum::<u8>())).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;

    use super::*;
    use crate::game;
    use proto::testing::generator::BytewiseRng;

    #[test]
    fn each_pair_of_moves_has_the_outcome_of_the_rule() {
        for mine in Move::ALL {
            for theirs in Move::ALL {
                assert_eq!(judge(mine, theirs), game::judge(mine, theirs), "{mine} against {theirs}");
            }
        }
    }

    #[test]
    fn decoding_stops_before_the_first_byte_that_is_neither_a_move_nor_a_line_end() {
        for (bytes, decoded, read) in [
            ("", "", 0),
            ("2", "2", 1),
            ("1231", "1231", 4),
            ("12312", "1231", 4),
            ("x12", "", 0),
            ("12x1", "12", 2),
            ("1\n2\r3", "12", 4),
            ("\r\n\r\n1", "", 4),
            ("\n3x", "3", 2),
        ] {
            let mut moves = [Move::Rock; 4];
            assert_eq!(decode_moves(bytes.as_bytes(), &mut moves), (decoded.len(), read), "{bytes:?}");
            let moves = &moves[..decoded.len()];
            assert!(moves.iter().map(|mv| mv.byte()).eq(decoded.bytes()), "{bytes:?}: {moves:?}");
        }
    }

    #[test]
    fn each_round_is_counted_by_its_outcome_and_by_the_move_of_the_house() {
        // More rounds than a byte can count, and not a whole number of chunks.
        let cycle = [Outcome::Draw, Outcome::Win, Outcome::Lose];
        let outcomes: Vec<Outcome> = cycle.into_iter().cycle().take(3 * 255 + 1).collect();
        let house = vec![Move::Paper; outcomes.len()];
        let (mut batch, mut one_by_one) = (SoloRounds::default(), SoloRounds::default());
        count_rounds(&mut batch, &outcomes, &house);
        for (outcome, theirs) in outcomes.into_iter().zip(house) {
            one_by_one.count(outcome, theirs);
        }
        assert_eq!(batch, one_by_one);
        let mut expected = SoloRounds::default();
        expected.add([256, 255, 255], [0, 0, 766]);
        assert_eq!(batch, expected);
    }

    #[test]
    fn the_moves_are_uniform() {
        // Pearson's chi-square with two degrees of freedom: uniform moves exceed 41.4 in one of 10⁹ runs.
        let mut moves = vec![Move::Rock; 300_000];
        throw(&mut House::new(crate::house::ThreadGenerator), &mut moves);
        let square = |mv: Move| (f64::from(u32::try_from(occurrences(&moves, mv)).unwrap()) - 1e5).powi(2) / 1e5;
        assert!(Move::ALL.map(square).iter().sum::<f64>() < 41.4);
    }

    proptest! {
        #[test]
        fn a_batch_has_the_same_moves_as_single_throws(counts in prop::collection::vec(0..2500_usize, 0..20)) {
            let (mut batch, mut one_by_one) =
                (House::new(BytewiseRng::<StdRng>::seeded(3)), House::new(BytewiseRng::<StdRng>::seeded(3)));
            for count in counts {
                let expected: Vec<Move> = (0..count).map(|_| one_by_one.throw()).collect();
                let mut moves = vec![Move::Rock; count];
                throw(&mut batch, &mut moves);
                prop_assert_eq!(moves, expected);
            }
        }
    }
}
