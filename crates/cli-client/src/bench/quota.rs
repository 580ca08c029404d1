//! How many requests a run still has to ask, or to have answered.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::lock::lock;

/// How many requests are still to be counted.
#[derive(Debug)]
pub(super) struct Quota {
    left: Mutex<u64>,
    /// Whether they are counted when they are answered, not when they are asked: for a run that leaves some unanswered.
    by_answers: bool,
    /// There are none left, and nobody waits for those that are on their way.
    ended: CancellationToken,
}

impl Quota {
    pub(super) fn new(requests: u64, by_answers: bool) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(requests), by_answers, ended: CancellationToken::new() })
    }

    /// Takes requests to ask, up to so many.
    pub(super) fn ask(&self, most: usize) -> usize {
        let mut left = lock(&self.left);
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
        if !self.by_answers {
            *left -= count as u64;
        }
        count
    }

    /// So many have been answered, rightly or not; gives how many of them were wanted.
    pub(super) fn answer(&self, count: usize) -> usize {
        if !self.by_answers {
            return count;
        }
        let mut left = lock(&self.left);
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(count);
        *left -= wanted as u64;
        if *left == 0 {
            self.end();
        }
        wanted
    }

    /// Whether requests are counted when they are answered.
    pub(super) fn is_of_answers(&self) -> bool {
        self.by_answers
    }

    /// Whether there are none left.
    pub(super) fn is_used_up(&self) -> bool {
        *lock(&self.left) == 0
    }

    /// Has nobody wait for what is on its way.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Waits until nobody has to wait for what is on its way.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// How many a rate has to let go: as many as are left, or as many as it takes to have so many answered.
    pub(super) fn due(&self) -> u64 {
        if self.by_answers { u64::MAX } else { *lock(&self.left) }
    }
}
