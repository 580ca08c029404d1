//! How fast connections arrive at an accept loop. It depends on no other module.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the connections of an accept loop arrive fast. The default is `false`.
///
/// If they do for long, most of them must be short: otherwise there would soon be more open ones than the server admits.
/// The [driver](super::driver) then handles their ends together instead of one by one. The value is that at the last
/// accept.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(AtomicBool);

impl Arrivals {
    pub(super) fn are_fast(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets whether they arrive fast.
    pub(crate) fn set_fast(&self, are_fast: bool) {
        // Only the accept loop writes, and its value seldom changes. A write makes other processors load it again.
        if self.are_fast() != are_fast {
            self.0.store(are_fast, Ordering::Relaxed);
        }
    }
}

/// Counts the arrivals at an accept loop.
#[derive(Debug)]
pub(crate) struct ArrivalCounter {
    /// When the current window began.
    began: Instant,
    /// The arrivals in the current window.
    count: u32,
    /// Whether those in the last window were many.
    were_many: bool,
}

/// Short, because a longer one would find out later that a burst is over.
const WINDOW: Duration = Duration::from_millis(4);

/// This many arrivals in a window are many: 4,000 a second at one accept loop, which take an eighth of a processor.
const MANY: u32 = 16;

impl ArrivalCounter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, count: 0, were_many: false }
    }

    /// Counts an arrival. Returns whether connections arrive fast.
    pub(crate) fn count(&mut self, now: Instant) -> bool {
        let elapsed = now - self.began;
        if elapsed >= WINDOW {
            // The time between windows without an arrival does not count as a window.
            self.were_many = self.count >= MANY && elapsed < 2 * WINDOW;
            (self.began, self.count) = (now, 0);
        }
        self.count += 1;
        self.were_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts arrivals at this interval, and returns what the last one returned.
    fn arrive(counter: &mut ArrivalCounter, now: &mut Instant, times: u32, interval: Duration) -> bool {
        let mut are_fast = false;
        for _ in 0..times {
            *now += interval;
            are_fast = counter.count(*now);
        }
        are_fast
    }

    #[test]
    fn arrivals_are_fast_after_a_window_with_many() {
        let mut now = Instant::now();
        let mut counter = ArrivalCounter::new(now);
        assert!(!arrive(&mut counter, &mut now, 100, Duration::from_micros(300)), "13 in 4 ms");
        assert!(!arrive(&mut counter, &mut now, 15, Duration::from_micros(200)), "the first window is not over");
        assert!(arrive(&mut counter, &mut now, 40, Duration::from_micros(200)));
        assert!(!arrive(&mut counter, &mut now, 1, Duration::from_secs(1)), "a pause");
        assert!(!arrive(&mut counter, &mut now, 15, Duration::ZERO), "a burst below the limit");
        assert!(!arrive(&mut counter, &mut now, 1, Duration::from_millis(8)), "a long window");
        assert!(!arrive(&mut counter, &mut now, 40, Duration::ZERO));
        assert!(arrive(&mut counter, &mut now, 1, Duration::from_millis(4)));
    }
}
