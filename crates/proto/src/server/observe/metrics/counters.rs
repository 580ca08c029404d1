//! Counting that many threads do all the time, and that somebody reads now and then.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// `N` counters that begin at 0 and only grow.
///
/// Every thread counts in a stripe of its own, as long as there are no more of them than processors, so that none waits
/// for a line of another processor's cache. A reader adds the stripes up; what is counted meanwhile it may see or not.
#[derive(Debug)]
pub struct Counters<const N: usize> {
    stripes: Box<[Stripe<N>]>,
}

/// So large that two stripes never share a line of the cache (64 bytes on most processors, fetched in pairs by some).
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<const N: usize>([AtomicU64; N]);

/// More stripes than this would cost more memory than the threads could gain.
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
    /// If `index` is `N` or more.
    pub fn add(&self, index: usize, count: u64) {
        self.stripes[thread_number() % self.stripes.len()].0[index].fetch_add(count, Ordering::Relaxed);
    }

    /// What the counter at `index` has come to.
    ///
    /// # Panics
    ///
    /// If `index` is `N` or more.
    #[must_use]
    pub fn read(&self, index: usize) -> u64 {
        self.stripes.iter().map(|stripe| stripe.0[index].load(Ordering::Relaxed)).sum()
    }
}

/// Threads have numbers from 0 on, in the order in which they first count something.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed) }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_count_is_added_up() {
        let counters = Counters::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * MAX_STRIPES {
                scope.spawn(|| (0..100).for_each(|_| counters.add(1, 2)));
            }
        });
        assert_eq!((counters.read(0), counters.read(1)), (0, 2 * MAX_STRIPES as u64 * 200));
    }
}
