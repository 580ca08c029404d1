//! The house: the opponent that every player of the solo game has. It moves at once, and uniformly.

use std::convert::Infallible;

use proto::wire::rps::Move;
use rand::rand_core::{TryCryptoRng, TryRng};
use rand::{CryptoRng, Rng};

/// Draws moves from a cryptographic generator: a player who has seen any number of them knows nothing of the next.
///
/// A byte of the generator is one of 256 with the same probability; of the first 3⁵ = 243 each stands for a row of five
/// moves, and every row of five has one. The other 13 are thrown away, since they would favour somebody (no modulo bias).
#[derive(Debug)]
pub struct House<R> {
    generator: R,
    /// What has been drawn and not been shown yet.
    drawn: &'static [Move],
}

const MOVES_A_BYTE: u8 = 5;

/// How many bytes stand for a row of moves.
const GOOD_BYTES: usize = 3_usize.pow(MOVES_A_BYTE as u32);

/// A row is written with what makes eight bytes of it, in one go; the next one goes over that.
const ROW: usize = 8;

/// What each byte stands for: the digits of its number to the base of three. Those of the bytes that are thrown away are
/// never shown.
static ROWS: [[Move; ROW]; 256] = {
    let mut rows = [[Move::Scissors; ROW]; 256];
    let mut byte = 0;
    while byte < rows.len() {
        let (mut digits, mut place) = (byte, 0);
        while place < MOVES_A_BYTE as usize {
            rows[byte][place] = Move::ALL[digits % 3];
            digits /= 3;
            place += 1;
        }
        byte += 1;
    }
    rows
};

/// How many moves of its row each byte shows. Looked up as well, since that takes less than to compare and to multiply.
static SHOWN: [u8; 256] = {
    let mut shown = [0; 256];
    let mut byte = 0;
    while byte < GOOD_BYTES {
        shown[byte] = MOVES_A_BYTE;
        byte += 1;
    }
    shown
};

/// So many bytes are drawn at once at the most.
const BYTES_AT_ONCE: usize = 192;

impl<R: CryptoRng> House<R> {
    /// A house that draws from `generator`.
    #[must_use]
    pub fn new(generator: R) -> Self {
        Self { generator, drawn: &[] }
    }

    /// The house's next moves: each of the three with the same probability, whatever came before. They are the same
    /// moves whether they are asked for one by one or all at once, if the generator's bytes are.
    pub fn throw(&mut self, moves: &mut [Move]) {
        let mut thrown = moves.len().min(self.drawn.len());
        let (shown, drawn) = self.drawn.split_at(thrown);
        moves[..thrown].copy_from_slice(shown);
        self.drawn = drawn;
        let mut bytes = [0; BYTES_AT_ONCE];
        while thrown < moves.len() {
            // No more than it takes if all are good, so every good one is used.
            let bytes = &mut bytes[..(moves.len() - thrown).div_ceil(MOVES_A_BYTE.into()).min(BYTES_AT_ONCE)];
            self.generator.fill_bytes(bytes);
            for &mut byte in bytes {
                let (row, count) = (&ROWS[usize::from(byte)], usize::from(SHOWN[usize::from(byte)]));
                let rest = &mut moves[thrown..];
                if let Some(place) = rest.first_chunk_mut() {
                    *place = *row;
                    // No branch: nobody could foretell it.
                    thrown += count;
                } else if count > 0 {
                    let (shown, drawn) = row[..count].split_at(rest.len().min(count));
                    rest[..shown.len()].copy_from_slice(shown);
                    thrown += shown.len();
                    self.drawn = drawn;
                }
            }
        }
    }
}

/// The thread's own generator: `ChaCha` with 12 rounds, seeded by the operating system and again every 64 KiB.
///
/// A handle without state, so that a connection which holds one is no larger for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadGenerator;

impl TryRng for ThreadGenerator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(rand::rng().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(rand::rng().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        rand::rng().fill_bytes(bytes);
        Ok(())
    }
}

impl TryCryptoRng for ThreadGenerator {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::testing::generator::ByteByByte;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn throw<R: CryptoRng>(house: &mut House<R>, count: usize) -> Vec<Move> {
        let mut moves = vec![Move::Rock; count];
        house.throw(&mut moves);
        moves
    }

    #[test]
    fn every_row_of_five_moves_stands_for_one_byte() {
        let shown = ROWS.iter().zip(SHOWN).map(|(row, shown)| row[..shown.into()].to_vec());
        let mut rows: Vec<_> = shown.filter(|row| !row.is_empty()).collect();
        rows.sort_unstable_by_key(|row| row.iter().map(|shown| shown.byte()).collect::<Vec<_>>());
        assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "none is there twice");
        assert_eq!((rows.len(), GOOD_BYTES), (243, 243), "3⁵");
        assert!(rows.iter().all(|row| row.len() == 5));
    }

    #[test]
    fn a_byte_that_would_favour_a_move_is_thrown_away() {
        /// 255 and 0 in turn.
        struct InTurn(u8);
        impl TryRng for InTurn {
            type Error = Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                unreachable!("the house asks for bytes")
            }
            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                unreachable!("the house asks for bytes")
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
                bytes.fill_with(|| {
                    self.0 = !self.0;
                    self.0
                });
                Ok(())
            }
        }
        impl TryCryptoRng for InTurn {}
        assert_eq!(throw(&mut House::new(InTurn(0)), 12), vec![Move::Scissors; 12]);
    }

    proptest! {
        #[test]
        fn the_moves_are_the_same_one_by_one_and_all_at_once(counts in prop::collection::vec(0..2500_usize, 0..20)) {
            let (mut at_once, mut one_by_one) =
                (House::new(ByteByByte::<StdRng>::seeded(3)), House::new(ByteByByte::<StdRng>::seeded(3)));
            for count in counts {
                let moves: Vec<Move> = (0..count).flat_map(|_| throw(&mut one_by_one, 1)).collect();
                prop_assert_eq!(throw(&mut at_once, count), moves);
            }
        }
    }

    /// Pearson's chi-square of 300,000 throws, `at_once` at a time, against the uniform distribution.
    fn chi_square<R: CryptoRng>(mut house: House<R>, at_once: usize) -> f64 {
        let mut counts = [0_u32; 3];
        for shown in (0..300_000 / at_once).flat_map(|_| throw(&mut house, at_once)) {
            counts[usize::from(shown.byte() - b'1')] += 1;
        }
        let expected = 100_000.0;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn the_moves_are_uniform() {
        // With two degrees of freedom, 13.8 is exceeded once in a thousand fair runs; these are fixed by their seed.
        for at_once in [1, 3, 1000] {
            assert!(chi_square(House::new(StdRng::seed_from_u64(1)), at_once) < 13.8, "{at_once}");
        }
    }

    #[test]
    fn the_system_seeded_generator_is_uniform_and_never_the_same() {
        // 41.4 is exceeded once in 10⁹ fair runs.
        assert!(chi_square(House::new(ThreadGenerator), 1) < 41.4);
        assert!(chi_square(House::new(ThreadGenerator), 1000) < 41.4);
        let mut house = House::new(ThreadGenerator);
        assert_ne!(throw(&mut house, 64), throw(&mut house, 64), "3⁻⁶⁴ is the chance of this by luck");
    }
}
