//! A fixed rate: when each request should go out, whatever becomes of the others.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::timeout_at;

/// When each request should go out. Those whose time has come wait here for a connection that is free.
#[derive(Debug)]
pub(super) struct Pace {
    due: Semaphore,
    /// How many were ever due, and how many of them have been taken.
    released: AtomicU64,
    taken: AtomicU64,
    start: Instant,
    interval: Duration,
    /// How many of the first are there to warm up.
    warming: u64,
}

impl Pace {
    /// A request each interval from `start` on, and so many of the first to warm up.
    pub(super) fn new(start: Instant, interval: Duration, warming: u64) -> Self {
        Self {
            due: Semaphore::new(0),
            released: AtomicU64::default(),
            taken: AtomicU64::default(),
            start,
            interval,
            warming,
        }
    }

    /// When the request of this number should go out.
    pub(super) fn intended(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.interval.as_nanos();
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(FARTHEST))
    }

    /// Waits for a request to be due, and takes all that are, up to so many: the number of the first, and how many.
    /// `None` once all that ever were have been taken.
    pub(super) async fn take(&self, most: usize) -> Option<(u64, usize)> {
        self.due.acquire().await.ok()?.forget();
        let first = self.taken.load(Ordering::Relaxed);
        // None that counts goes out with one that does not.
        let warming = usize::try_from(self.warming.saturating_sub(first)).unwrap_or(usize::MAX);
        let most = if warming > 0 { most.min(warming) } else { most };
        let mut taken = 1;
        while taken < most
            && let Ok(more) = self.due.try_acquire()
        {
            more.forget();
            taken += 1;
        }
        let left = self.released.load(Ordering::Relaxed).saturating_sub(first);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(taken);
        self.taken.fetch_add(taken as u64, Ordering::Relaxed);
        (taken > 0).then_some((first, taken))
    }

    /// So many that were taken last will not go out after all.
    pub(super) fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Whether a request counts, or is there to warm up.
    pub(super) fn counts(&self, number: u64) -> bool {
        number >= self.warming
    }

    fn due_before(&self, end: Instant) -> u64 {
        let elapsed = end.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed.div_ceil(self.interval.as_nanos())).unwrap_or(u64::MAX)
    }

    /// The requests that count and were due before `end` and never taken: how many, and for how long the first and the
    /// last of them had waited by then.
    pub(super) fn unsent(&self, count: u64, end: Instant) -> (u64, Duration, Duration) {
        let due = self.due_before(end).min(count.saturating_add(self.warming));
        let first = self.taken.load(Ordering::Relaxed).max(self.warming);
        let waited = |number| end.saturating_duration_since(self.intended(number));
        (due.saturating_sub(first), waited(first), waited(due.saturating_sub(1)))
    }

    /// How long so many requests take at this rate, those to warm up left out.
    pub(super) fn length(&self, count: u64) -> Duration {
        self.intended(self.warming.saturating_add(count)).saturating_duration_since(self.intended(self.warming))
    }

    /// Lets requests go out as they are due: so many that count, and none after `until`. The kernel's own timer wakes
    /// this, since the runtime's counts in milliseconds.
    pub(super) async fn keep(&self, count: u64, until: Option<Instant>) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let spec = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        };
        // None at all would stop the timer.
        let first = self.start.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Itimerspec { it_interval: spec(self.interval), it_value: spec(first) };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &value)?;
        #[allow(deprecated, reason = "its successor is unsafe for what, unlike an OwnedFd, may close behind its back")]
        let timer = AsyncFd::new(timer)?;
        let mut left = count.saturating_add(self.warming);
        while left > 0 && until.is_none_or(|until| Instant::now() < until) {
            let mut ready = match until {
                Some(until) => match timeout_at(until.into(), timer.readable()).await {
                    Ok(ready) => ready?,
                    Err(_) => break,
                },
                None => timer.readable().await?,
            };
            let mut expired = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expired)?)) {
                Ok(Ok(_)) => {
                    let due = u64::from_ne_bytes(expired).min(left);
                    left -= due;
                    self.released.fetch_add(due, Ordering::Relaxed);
                    // So many fit, as the timer counts no more than have passed since it was last read.
                    self.due.add_permits(usize::try_from(due).unwrap_or(usize::MAX));
                }
                Ok(Err(error)) => return Err(error),
                // Not yet, after all.
                Err(_) => {}
            }
            // At a high rate the next is due already, and those that wait have to have their turn.
            yield_now().await;
        }
        // The timer need not have told of the last that were due.
        if let Some(until) = until {
            let due = self.due_before(until).saturating_sub(self.released.load(Ordering::Relaxed)).min(left);
            self.released.fetch_add(due, Ordering::Relaxed);
            self.due.add_permits(usize::try_from(due).unwrap_or(usize::MAX).min(ENDED));
        }
        // Whoever waits for more than there were learns that there are none.
        self.due.add_permits(ENDED);
        Ok(())
    }
}

/// Farther from the start than any run lasts, and near enough for a clock, in nanoseconds: a hundred days.
const FARTHEST: u64 = 100 * 24 * 3_600_000_000_000;

/// More than there can be connections that wait.
const ENDED: usize = Semaphore::MAX_PERMITS >> 8;
