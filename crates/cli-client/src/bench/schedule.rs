//! A fixed rate: the intended start time of each request, independent of the replies.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout_at;

/// The schedule of requests. Requests that are due wait here for a free connection.
#[derive(Debug)]
pub(super) struct Schedule {
    /// One permit per request that is due and not taken. Closed when no more requests will be due.
    due: Semaphore,
    /// Number of requests taken.
    taken: AtomicU64,
    start: Instant,
    interval: Duration,
    /// Number of warm-up requests, which come first.
    warmup: u64,
    /// Number of all requests.
    total: u64,
}

impl Schedule {
    /// Creates a schedule with one request per interval from `start` on: first `warmup` requests that are not counted,
    /// then `count` that are.
    pub(super) fn new(start: Instant, interval: Duration, warmup: u64, count: u64) -> Self {
        let total = count.saturating_add(warmup);
        Self { due: Semaphore::new(0), taken: AtomicU64::default(), start, interval, warmup, total }
    }

    /// Returns the intended start time of a request.
    pub(super) fn intended(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.interval.as_nanos();
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(MAX_OFFSET))
    }

    /// Waits until a request is due, and takes all due requests, at most `max`. Returns the number of the first and
    /// their count, or `None` when all have been taken.
    pub(super) async fn take(&self, max: usize) -> Option<(u64, usize)> {
        // A closed semaphore has no requests to wait for.
        let acquired = self.due.acquire().await.map(SemaphorePermit::forget).is_ok();
        let first = self.taken.load(Ordering::Relaxed);
        // A batch has either warm-up requests or counted ones.
        let max = match usize::try_from(self.warmup.saturating_sub(first)).unwrap_or(usize::MAX) {
            0 => max,
            warmup => max.min(warmup),
        };
        let acquired = usize::from(acquired);
        let taken = acquired + self.due.forget_permits(max - acquired);
        self.taken.fetch_add(taken as u64, Ordering::Relaxed);
        (taken > 0).then_some((first, taken))
    }

    /// Puts back the last `count` taken requests, which are not sent.
    pub(super) fn put_back(&self, count: usize) {
        self.taken.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Whether a request is counted; warm-up requests are not.
    pub(super) fn is_counted(&self, number: u64) -> bool {
        number >= self.warmup
    }

    fn due_before(&self, end: Instant) -> u64 {
        let elapsed = end.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed.div_ceil(self.interval.as_nanos())).unwrap_or(u64::MAX).min(self.total)
    }

    /// Returns the numbers of the counted requests that were due before `end` and never taken.
    pub(super) fn unsent(&self, end: Instant) -> Range<u64> {
        self.taken.load(Ordering::Relaxed).max(self.warmup)..self.due_before(end)
    }

    /// Returns how long `count` counted requests take at this rate.
    pub(super) fn length(&self, count: u64) -> Duration {
        self.intended(self.warmup.saturating_add(count)).saturating_duration_since(self.intended(self.warmup))
    }

    /// Releases requests as they become due, and none that is due after `until`. Uses a kernel timer, because the
    /// runtime's timer has a resolution of 1 ms.
    pub(super) async fn run(&self, until: Option<Instant>) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Zero would disarm the timer.
        let first = self.start.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = first.try_into().map_err(io::Error::other)?;
        let it_interval = self.interval.try_into().map_err(io::Error::other)?;
        let value = Itimerspec { it_interval, it_value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &value)?;
        #[allow(
            deprecated,
            reason = "AsyncFd::register is unsafe, because other types may close the descriptor while it is registered; an OwnedFd does not"
        )]
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
            // At a high rate the next request is due already; the yield lets the connections run.
            yield_now().await;
            let readable = async {
                let mut ready = timer.readable().await?;
                match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
                    Ok(Err(error)) => Err(error),
                    // The expiration count does not matter: the clock decides how many requests are due.
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

/// Maximum offset from the start in nanoseconds: 100 days. Longer than any run, and adding it to a clock does not
/// overflow.
const MAX_OFFSET: u64 = 100 * 24 * 3_600_000_000_000;
