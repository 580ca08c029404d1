//! Plays many moves of one read at once, for clients that have thousands of moves in flight.
//!
//! Each step is a loop without branches over arrays of bytes, which the compiler vectorizes. A round takes 0.4 ns instead
//! of 5 ns.

use std::cell::RefCell;

use bytes::{Buf, BytesMut};
use proto::wire::rps::{Move, Outcome, Reply, is_line_end};
use rand::CryptoRng;

use crate::house::{House, MOVES_PER_BYTE};
use crate::metrics::SoloRounds;

/// Inputs shorter than this are played one move at a time.
pub(super) const MIN_BYTES: usize = 16;

/// Maximum rounds of a batch: enough to make the cost per batch negligible, and few enough for the L1 cache. A multiple of
/// 16 for vector instructions.
const MAX_ROUNDS: usize = 960;

/// The buffers of a batch.
struct Buffers {
    /// The moves of the client if there are line ends between them, as bytes.
    mine: [u8; MAX_ROUNDS],
    /// The moves of the house, as bytes.
    theirs: [u8; MAX_ROUNDS],
    replies: [u8; MAX_ROUNDS],
}

thread_local! {
    /// One per thread, since initializing the buffers takes longer than playing a batch.
    static BUFFERS: RefCell<Buffers> =
        const { RefCell::new(Buffers { mine: [0; MAX_ROUNDS], theirs: [0; MAX_ROUNDS], replies: [0; MAX_ROUNDS] }) };
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
    BUFFERS.with_borrow_mut(|Buffers { mine, theirs, replies }| {
        loop {
            // A byte gets at most one reply.
            let room = input.len().min(max_replies - output.len()).min(MAX_ROUNDS);
            let (mine, read) = leading_moves(&input[..room], mine);
            if read == 0 {
                break;
            }
            let (theirs, replies) = (&mut theirs[..mine.len()], &mut replies[..mine.len()]);
            throw(&mut house.generator, theirs);
            for ((reply, &mine), &theirs) in replies.iter_mut().zip(mine).zip(&*theirs) {
                *reply = judge(mine, theirs);
            }
            count_rounds(rounds, replies, theirs);
            output.extend_from_slice(replies);
            input.advance(read);
        }
    });
}

/// Returns the moves at the front of `bytes`, up to a byte that is neither a move nor a line end, and the number of bytes
/// that they and the line ends take. Moves with line ends between them are copied to `moves`, which is at least as long.
fn leading_moves<'a>(bytes: &'a [u8], moves: &'a mut [u8]) -> (&'a [u8], usize) {
    let is_move = |byte: u8| Move::from_byte(byte).is_some();
    // No early exit, so that the loop is vectorized.
    if bytes.iter().fold(true, |are_moves, &byte| are_moves & is_move(byte)) {
        return (bytes, bytes.len());
    }
    let mut count = 0;
    for (read, &byte) in bytes.iter().enumerate() {
        if is_move(byte) {
            moves[count] = byte;
            count += 1;
        } else if !is_line_end(byte) {
            return (&moves[..count], read);
        }
    }
    (&moves[..count], bytes.len())
}

/// The number of values of a half of an accepted word, which has five digits in base 3.
const HALVES: u16 = 3_u16.pow(MOVES_PER_BYTE as u32);

/// A random word of 16 bits encodes this many moves.
const MOVES_PER_WORD: usize = 2 * MOVES_PER_BYTE as usize;

/// Words below this encode moves; the others are discarded, as in [`House::throw`].
const ACCEPTED_WORDS: u16 = HALVES * HALVES;

/// The number of words that a batch needs, at most.
const MAX_WORDS: usize = MAX_ROUNDS / MOVES_PER_WORD;

/// The number of random words for a batch of `count` accepted ones. A tenth of them are discarded; with this many, a second
/// call of the generator is seldom needed.
const fn random_words(count: usize) -> usize {
    count + count / 6 + 2
}

/// A half times this is its part of [`HALVES`], as a binary fraction of 16 bits: 2¹⁶ / 243, rounded up. The error stays
/// below one part, so each digit is exact.
const FRACTION: u16 = u16::MAX / HALVES + 1;

/// Fills `moves`, at most [`MAX_ROUNDS`], with independent moves of the house.
///
/// Each digit of the halves of an accepted word is a move. The moves are the highest digits of all halves, then the
/// second digits of all, and so on. The last digits can be left over.
fn throw<R: CryptoRng>(generator: &mut R, moves: &mut [u8]) {
    if moves.is_empty() {
        return;
    }
    // A whole number of vectors.
    let count = moves.len().div_ceil(MOVES_PER_WORD).next_multiple_of(8).min(MAX_WORDS);
    let mut bytes = [[0; 2]; random_words(MAX_WORDS)];
    let mut words = [0; random_words(MAX_WORDS)];
    let mut accepted = 0;
    while accepted < count {
        let random = &mut bytes[..random_words(count - accepted)];
        generator.fill_bytes(random.as_flattened_mut());
        for &mut pair in random {
            let word = u16::from_le_bytes(pair);
            // No branch on a discarded word, since the CPU could not predict it.
            words[accepted] = word;
            accepted += usize::from(word < ACCEPTED_WORDS);
        }
    }
    let mut fractions = [0; 2 * MAX_WORDS];
    let fractions = &mut fractions[..2 * count];
    let (high, low) = fractions.split_at_mut(count);
    for ((high, low), word) in high.iter_mut().zip(low).zip(words) {
        *high = word / HALVES * FRACTION;
        *low = word % HALVES * FRACTION;
    }
    for moves in moves.chunks_mut(2 * count) {
        for (mv, fraction) in moves.iter_mut().zip(&mut *fractions) {
            let [low, high, digit, _] = (u32::from(*fraction) * 3).to_le_bytes();
            *mv = Move::ALL[0].byte() + digit;
            *fraction = u16::from_le_bytes([low, high]);
        }
    }
}

/// Returns the byte of the reply to a round, without a branch. In the order of their bytes, each move beats the move before
/// it, and the first beats the last. So the difference modulo 3 is 0 for a draw, 1 for a win and 2 for a loss, as in the
/// order of the replies' bytes.
const fn judge(mine: u8, theirs: u8) -> u8 {
    let difference = mine.wrapping_sub(theirs);
    let modulo = if difference.cast_signed() < 0 { difference.wrapping_add(3) } else { difference };
    Reply::Judged(Outcome::Draw).byte() + modulo
}

/// Counts rounds by their replies and by the house's moves.
fn count_rounds(rounds: &mut SoloRounds, replies: &[u8], house: &[u8]) {
    let count = replies.len() as u64;
    let judged = |outcome| occurrences(replies, Reply::Judged(outcome).byte());
    let (draws, wins) = (judged(Outcome::Draw), judged(Outcome::Win));
    let thrown = |mv: Move| occurrences(house, mv.byte());
    let (scissors, rocks) = (thrown(Move::Scissors), thrown(Move::Rock));
    rounds.add([draws, wins, count - draws - wins], [scissors, rocks, count - scissors - rocks]);
}

/// Returns how many of `bytes` equal `wanted`. The counters are bytes, of which the compiler adds 16 per instruction.
fn occurrences(bytes: &[u8], wanted: u8) -> u64 {
    /// At most 255. A whole number of vectors, and a divisor of [`MAX_ROUNDS`], so that no rest is added in small steps.
    const CHUNK_LEN: usize = 192;
    let chunks = bytes.chunks(CHUNK_LEN);
    chunks.map(|chunk| u64::from(chunk.iter().map(|&byte| u8::from(byte == wanted)).sum::<u8>())).sum()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rand_core::{TryCryptoRng, TryRng};
    use rand::rngs::StdRng;

    use super::*;
    use crate::game;

    #[test]
    fn each_pair_of_moves_has_the_outcome_of_the_rule() {
        for mine in Move::ALL {
            for theirs in Move::ALL {
                let expected = Reply::Judged(game::judge(mine, theirs)).byte();
                assert_eq!(judge(mine.byte(), theirs.byte()), expected, "{mine} against {theirs}");
            }
        }
    }

    #[test]
    fn the_leading_moves_end_before_the_first_byte_that_is_neither_a_move_nor_a_line_end() {
        for (bytes, expected, read) in [
            ("", "", 0),
            ("2", "2", 1),
            ("1231", "1231", 4),
            ("x12", "", 0),
            ("12x1", "12", 2),
            ("1\n2\r3", "123", 5),
            ("\r\n\r\n1", "1", 5),
            ("\n3x", "3", 2),
            ("\r\n", "", 2),
        ] {
            let mut copy = [0; 5];
            let (moves, len) = leading_moves(bytes.as_bytes(), &mut copy);
            assert_eq!((moves, len), (expected.as_bytes(), read), "{bytes:?}");
        }
    }

    #[test]
    fn each_round_is_counted_by_its_outcome_and_by_the_move_of_the_house() {
        // More rounds than a byte can count, and not a whole number of chunks.
        let cycle = [Outcome::Draw, Outcome::Win, Outcome::Lose];
        let outcomes: Vec<Outcome> = cycle.into_iter().cycle().take(3 * 255 + 1).collect();
        let replies: Vec<u8> = outcomes.iter().map(|&outcome| Reply::Judged(outcome).byte()).collect();
        let house = vec![Move::Paper.byte(); outcomes.len()];
        let (mut batch, mut one_by_one) = (SoloRounds::default(), SoloRounds::default());
        count_rounds(&mut batch, &replies, &house);
        for outcome in outcomes {
            one_by_one.count(outcome, Move::Paper);
        }
        assert_eq!(batch, one_by_one);
        let mut expected = SoloRounds::default();
        expected.add([256, 255, 255], [0, 0, 766]);
        assert_eq!(batch, expected);
    }

    /// Returns a word after the other, from a number down.
    struct Countdown(u16);

    impl TryRng for Countdown {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("a batch reads bytes only")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("a batch reads bytes only")
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            for pair in bytes.as_chunks_mut().0 {
                *pair = self.0.to_le_bytes();
                self.0 = self.0.wrapping_sub(1);
            }
            Ok(())
        }
    }

    impl TryCryptoRng for Countdown {}

    /// The moves of a batch from these words: the digits of both halves, digit by digit.
    fn moves_of(words: &[u16]) -> Vec<u8> {
        let high = words.iter().map(|word| word / 243);
        let halves: Vec<u16> = high.chain(words.iter().map(|word| word % 243)).collect();
        let digits = [81, 27, 9, 3, 1].into_iter().flat_map(|place| halves.iter().map(move |half| half / place % 3));
        digits.map(|digit| Move::ALL[usize::from(digit)].byte()).collect()
    }

    #[test]
    fn each_sequence_of_ten_moves_has_exactly_one_word() {
        // Of each batch of eight words, the moves of the first one.
        let mut sequences: Vec<[u8; MOVES_PER_WORD]> = (0..ACCEPTED_WORDS)
            .map(|word| {
                let mut moves = [0; 8 * MOVES_PER_WORD];
                throw(&mut Countdown(word), &mut moves);
                std::array::from_fn(|index| moves[8 * index])
            })
            .collect();
        sequences.sort_unstable();
        sequences.dedup();
        assert_eq!(sequences.len(), 59_049, "3¹⁰");
    }

    #[test]
    fn words_that_would_bias_the_moves_are_discarded() {
        let words: Vec<u16> = (0..ACCEPTED_WORDS).rev().take(MAX_WORDS).collect();
        for len in [0, 1, 16, 80, 81, MAX_ROUNDS] {
            let mut moves = vec![0; len];
            throw(&mut Countdown(u16::MAX), &mut moves);
            let expected = moves_of(&words[..len.div_ceil(80) * 8]);
            assert_eq!(moves, expected[..len], "{len}");
        }
    }

    /// Pearson's chi-square of the counts against the uniform distribution.
    fn chi_square(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / f64::from(u32::try_from(counts.len()).unwrap());
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn the_moves_of_a_batch_are_uniform_and_neighbours_independent() {
        let index = |byte: u8| usize::from(byte - b'1');
        // The seed fixes this run.
        let mut generator = StdRng::seed_from_u64(1);
        let (mut singles, mut neighbours, mut digits) = ([0; 3], [0; 9], [0; 9]);
        for _ in 0..2_000 {
            let mut moves = [0; MAX_ROUNDS];
            throw(&mut generator, &mut moves);
            for &mv in &moves {
                singles[index(mv)] += 1;
            }
            for pair in moves.chunks_exact(2) {
                neighbours[3 * index(pair[0]) + index(pair[1])] += 1;
            }
            // The first and the second digit of each half.
            let (first, second) = moves.split_at(2 * MAX_WORDS);
            for (&one, &two) in first.iter().zip(second) {
                digits[3 * index(one) + index(two)] += 1;
            }
        }
        // Uniform moves exceed 13.8 with two degrees of freedom, and 26.1 with eight, in one of 1,000 runs.
        let squares = [chi_square(&singles), chi_square(&neighbours), chi_square(&digits)];
        assert!(squares[0] < 13.8 && squares[1] < 26.1 && squares[2] < 26.1, "{squares:?}");
    }

    proptest! {
        #[test]
        fn any_moves_get_the_replies_of_the_rule(
            bytes in prop::collection::vec(prop::sample::select(b"123123\n\r".to_vec()), 1..3000),
            seed in any::<u64>(),
        ) {
            let (mut input, mut output) = (BytesMut::from(&bytes[..]), BytesMut::new());
            let mut rounds = SoloRounds::default();
            play(&mut House::new(StdRng::seed_from_u64(seed)), &mut input, &mut output, usize::MAX, &mut rounds);
            prop_assert!(input.is_empty());
            // The same generator throws the same moves in batches of the same lengths.
            let mut generator = StdRng::seed_from_u64(seed);
            let (mut expected, mut expected_rounds) = (Vec::new(), SoloRounds::default());
            for chunk in bytes.chunks(MAX_ROUNDS) {
                let mine: Vec<Move> = chunk.iter().filter_map(|&byte| Move::from_byte(byte)).collect();
                let mut theirs = vec![0; mine.len()];
                throw(&mut generator, &mut theirs);
                for (mine, theirs) in mine.into_iter().zip(theirs) {
                    let theirs = Move::from_byte(theirs).unwrap();
                    let outcome = game::judge(mine, theirs);
                    expected.push(Reply::Judged(outcome).byte());
                    expected_rounds.count(outcome, theirs);
                }
            }
            prop_assert_eq!((&output[..], rounds), (&expected[..], expected_rounds));
        }
    }
}
