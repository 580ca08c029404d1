//! Counters that many threads increment often and that are read rarely. It depends on the standard library only.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// `N` counters that start at 0 and only increase.
///
/// Each thread increments one stripe. There is a stripe per processor, up to `MAX_STRIPES`, so threads rarely wait for a
/// cache line that another processor owns. A read adds up the stripes; it may miss increments that happen meanwhile.
#[derive(Debug)]
pub struct Counters<const N: usize> {
    stripes: Box<[Stripe<N>]>,
}

/// Aligned so that two stripes never share a cache line (64 bytes on most processors, fetched in pairs by some).
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<const N: usize>([AtomicU64; N]);

/// A limit on memory; more stripes would gain little.
const MAX_STRIPES: usize = 64;

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, usize::from);
        let stripe = || Stripe(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: (0..threads.min(MAX_STRIPES)).map(|_| stripe()).collect() }
    }
}

impl<const N: usize> Counters<N> {
    /// Adds to the counter at `index`.
    ///
    /// # Panics
    ///
    /// Panics if `index` is `N` or more.
    pub fn add(&self, index: usize, count: u64) {
        self.stripes[thread_number() % self.stripes.len()].0[index].fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the value of the counter at `index`.
    ///
    /// # Panics
    ///
    /// Panics if `index` is `N` or more.
    #[must_use]
    pub fn read(&self, index: usize) -> u64 {
        self.stripes.iter().map(|stripe| stripe.0[index].load(Ordering::Relaxed)).sum()
    }
}

impl<const N: usize> Counters<N> {
    /// Returns the values with their labels, for [`counter`](super::encode::counter). `values` has the values of `label`, one
    /// for each counter.
    pub(crate) fn series(
        &self,
        label: &'static str,
        values: &[&'static str; N],
    ) -> [([(&'static str, &'static str); 1], u64); N] {
        std::array::from_fn(|index| ([(label, values[index])], self.read(index)))
    }
}

/// Returns this thread's number. Threads are numbered from 0 in the order in which they first count.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed) }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_adds_up_the_counts_of_all_threads() {
        let counters = Counters::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * MAX_STRIPES {
                scope.spawn(|| (0..100).for_each(|_| counters.add(1, 2)));
            }
        });
        assert_eq!((counters.read(0), counters.read(1)), (0, 2 * MAX_STRIPES as u64 * 200));
    }
}
