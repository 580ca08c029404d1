//! The house: the opponent in the solo game. It moves at once, and chooses each move with the same probability.

use std::convert::Infallible;

use proto::wire::rps::Move;
use rand::rand_core::{TryCryptoRng, TryRng};
use rand::{CryptoRng, Rng};

/// Draws moves from a cryptographic generator, so that past moves do not help to predict the next one.
///
/// Each byte of the generator below 3⁵ = 243 encodes five moves: its five digits in base 3, the lowest digit first. The
/// other 13 byte values are discarded, since they would make some moves more likely than others (modulo bias).
#[derive(Debug)]
pub struct House<R> {
    pub(crate) generator: R,
    /// The unused base-3 digits of the last byte; the lowest is the next move.
    digits: u8,
    digits_left: u8,
}

/// The number of moves that a byte encodes.
pub(crate) const MOVES_PER_BYTE: u8 = 5;

/// Bytes below this encode moves; the others are discarded.
const ACCEPTED_BYTES: u8 = 3_u8.pow(MOVES_PER_BYTE as u32);

impl<R: CryptoRng> House<R> {
    /// Creates a house that draws from `generator`.
    #[must_use]
    pub fn new(generator: R) -> Self {
        Self { generator, digits: 0, digits_left: 0 }
    }

    /// Returns the house's next move: each of the three with the same probability.
    pub fn throw(&mut self) -> Move {
        while self.digits_left == 0 {
            let mut byte = [0];
            self.generator.fill_bytes(&mut byte);
            if byte[0] < ACCEPTED_BYTES {
                (self.digits, self.digits_left) = (byte[0], MOVES_PER_BYTE);
            }
        }
        let next = Move::ALL[usize::from(self.digits % 3)];
        self.digits /= 3;
        self.digits_left -= 1;
        next
    }
}

/// The generator of the current thread: `ChaCha` with 12 rounds, seeded by the operating system and reseeded every
/// 64 KiB.
///
/// This handle has no state, so it adds nothing to the size of a connection.
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
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn throw<R: CryptoRng>(house: &mut House<R>, count: usize) -> Vec<Move> {
        (0..count).map(|_| house.throw()).collect()
    }

    #[test]
    fn each_sequence_of_five_moves_has_exactly_one_byte() {
        let mut sequences: Vec<Vec<u8>> = (0..ACCEPTED_BYTES)
            .map(|byte| {
                let mut house = House::new(ThreadGenerator);
                (house.digits, house.digits_left) = (byte, MOVES_PER_BYTE);
                throw(&mut house, 5).into_iter().map(Move::byte).collect()
            })
            .collect();
        sequences.sort_unstable();
        assert!(sequences.windows(2).all(|pair| pair[0] != pair[1]), "two bytes encode the same moves");
        assert_eq!(sequences.len(), 243, "3⁵");
    }

    #[test]
    fn a_byte_that_would_bias_the_moves_is_discarded() {
        /// Returns 255 and 0 alternately.
        struct Alternating(u8);
        impl TryRng for Alternating {
            type Error = Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                unreachable!("the house reads bytes only")
            }
            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                unreachable!("the house reads bytes only")
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
                bytes.fill_with(|| {
                    self.0 = !self.0;
                    self.0
                });
                Ok(())
            }
        }
        impl TryCryptoRng for Alternating {}
        assert_eq!(throw(&mut House::new(Alternating(0)), 12), vec![Move::Scissors; 12]);
    }

    /// Pearson's chi-square of 300,000 throws against the uniform distribution.
    fn chi_square<R: CryptoRng>(mut house: House<R>) -> f64 {
        let mut counts = [0_u32; 3];
        for mv in throw(&mut house, 300_000) {
            counts[usize::from(mv.byte() - b'1')] += 1;
        }
        let expected = 100_000.0;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn the_moves_are_uniform() {
        // With two degrees of freedom, uniform moves exceed 13.8 in one of 1,000 runs. The seed fixes this run.
        assert!(chi_square(House::new(StdRng::seed_from_u64(1))) < 13.8);
    }

    #[test]
    fn the_moves_of_the_system_seeded_generator_are_uniform_and_do_not_repeat() {
        // With two degrees of freedom, uniform moves exceed 41.4 in one of 10⁹ runs.
        assert!(chi_square(House::new(ThreadGenerator)) < 41.4);
        let mut house = House::new(ThreadGenerator);
        assert_ne!(throw(&mut house, 64), throw(&mut house, 64), "equal by chance with a probability of 3⁻⁶⁴");
    }
}
