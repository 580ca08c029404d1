//! A random number generator for tests that know the moves of the house.

use std::convert::Infallible;

use rand::rand_core::{TryCryptoRng, TryRng};

/// A generator of zeros. A house that draws from it throws scissors each time, alone and in batches.
#[derive(Clone, Copy, Debug)]
pub struct Zeros;

impl TryRng for Zeros {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Zeros {}
