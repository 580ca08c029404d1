//! A random number generator for tests that compare moves drawn in batches of different sizes.

use std::convert::Infallible;

use rand::rand_core::{TryCryptoRng, TryRng};
use rand::{CryptoRng, Rng, SeedableRng};

/// A generator that draws each byte separately, so its sequence of bytes does not depend on the size of each draw.
/// Other generators may discard the unused bytes of a word.
#[derive(Debug)]
pub struct BytewiseRng<R>(R);

impl<R: SeedableRng> BytewiseRng<R> {
    /// Creates a generator from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(R::seed_from_u64(seed))
    }
}

impl<R: Rng> TryRng for BytewiseRng<R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| self.0.next_u32().to_le_bytes()[0]);
        Ok(())
    }
}

impl<R: CryptoRng> TryCryptoRng for BytewiseRng<R> {}
