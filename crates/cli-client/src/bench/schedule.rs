//! A fixed rate: the intended start time of each request, independent of the others.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout_at;

/// When each request should go out. Requests that are due wait here for a connection that is free.
#[derive(Debug)]
pub(super) struct Schedule {
    /// A permit for each request that is due and not taken. It is closed once no more will be due.
    due: Semaphore,
    /// How many requests have been taken.
    taken: AtomicU64,
    start: Instant,
    interval: Duration,
    /// How many of the first requests are to warm up.
    warming: u64,
    /// How many requests there are in all.
    total: u64,
}

impl Schedule {
    /// A request each interval from `start` on: first those to warm up, then `count` that count.
    pub(super) fn new(start: Instant, interval: Duration, warming: u64, count: u64) -> Self {
        let total = count.saturating_add(warming);
        Self { due: Semaphore::new(0), taken: AtomicU64::default(), start, interval, warming, total }
    }

    /// When the request of this number should go out.
    pub(super) fn intended(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.interval.as_nanos();
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(FARTHEST))
    }

    /// Waits for a request to be due, and takes all that are, `most` at the most: the number of the first, and how many.
    /// `None` once all have been taken.
    pub(super) async fn take(&self, most: usize) -> Option<(u64, usize)> {
        // Once no more will be due, there is nothing to wait for.
        let waited = self.due.acquire().await.map(SemaphorePermit::forget).is_ok();
        let first = self.taken.load(Ordering::Relaxed);
        // No request that counts goes out with one that does not.
        let most = match usize::try_from(self.warming.saturating_sub(first)).unwrap_or(usize::MAX) {
            0 => most,
            warming => most.min(warming),
        };
        let waited = usize::from(waited);
        let taken = waited + self.due.forget_permits(most - waited);
        self.taken.fetch_add(taken as u64, Ordering::Relaxed);
        (taken > 0).then_some((first, taken))
    }

    /// The last `count` requests that were taken will not go out after all.
    pub(super) fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Whether a request counts, or is to warm up.
    pub(super) fn counts(&self, number: u64) -> bool {
        number >= self.warming
    }

    fn due_before(&self, end: Instant) -> u64 {
        let elapsed = end.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed.div_ceil(self.interval.as_nanos())).unwrap_or(u64::MAX).min(self.total)
    }

    /// Returns the numbers of the requests that count, were due before `end` and were never taken.
    pub(super) fn unsent(&self, end: Instant) -> Range<u64> {
        self.taken.load(Ordering::Relaxed).max(self.warming)..self.due_before(end)
    }

    /// How long `count` requests take at this rate, those to warm up left out.
    pub(super) fn length(&self, count: u64) -> Duration {
        self.intended(self.warming.saturating_add(count)).saturating_duration_since(self.intended(self.warming))
    }

    /// Releases requests as they are due, and none that is due after `until`. The kernel's own timer wakes this, since
    /// the runtime's counts in milliseconds.
    pub(super) async fn keep(&self, until: Option<Instant>) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Zero would stop the timer.
        let first = self.start.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = first.try_into().map_err(io::Error::other)?;
        let it_interval = self.interval.try_into().map_err(io::Error::other)?;
        let value = Itimerspec { it_interval, it_value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &value)?;
        #[allow(deprecated, reason = "its successor is unsafe for what, unlike an OwnedFd, may close behind its back")]
        let timer = AsyncFd::new(timer)?;
        let mut released = 0;
        loop {
            let now = Instant::now();
            let due = self.due_before(until.map_or(now, |until| until.min(now)));
            self.due.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
            released = due;
            if due == self.total || until.is_some_and(|until| now >= until) {
                break;
            }
            // At a high rate the next request is due already, and the connections have to have their turn.
            yield_now().await;
            let readable = async {
                let mut ready = timer.readable().await?;
                match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
                    Ok(Err(error)) => Err(error),
                    // How often it has expired, or not yet after all: the clock says how many are due.
                    Ok(Ok(_)) | Err(_) => Ok(()),
                }
            };
            match until {
                Some(until) => timeout_at(until.into(), readable).await.unwrap_or(Ok(()))?,
                None => readable.await?,
            }
        }
        self.due.close();
        Ok(())
    }
}

/// Farther from the start than any run lasts, and near enough for a clock, in nanoseconds: a hundred days.
const FARTHEST: u64 = 100 * 24 * 3_600_000_000_000;
