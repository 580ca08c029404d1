//! A rate limit for log messages that clients can cause. It depends on no other module.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Allows one log line per second and counts the suppressed ones.
///
/// Every warning that a client can cause has one, so that clients cannot flood the log.
#[derive(Debug, Default)]
pub struct RateLimit {
    last: Mutex<Option<Instant>>,
    suppressed: AtomicU64,
}

impl RateLimit {
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Creates a rate limit that allows the first line.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Mutex::new(None), suppressed: AtomicU64::new(0) }
    }

    /// Returns the number of lines suppressed since the last allowed one, or `None` if this line is suppressed too.
    pub fn allow(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now < last + Self::INTERVAL) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_per_second_is_allowed_and_the_others_are_counted() {
        let limit = RateLimit::new();
        assert_eq!(limit.allow(), Some(0));
        assert_eq!((limit.allow(), limit.allow()), (None, None));
        tokio::time::advance(RateLimit::INTERVAL).await;
        assert_eq!(limit.allow(), Some(2));
        assert_eq!(limit.allow(), None);
    }
}
