//! A fixed rate: the intended start time of each request, independent of the replies.

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::timeout_at;

/// Minimum interval at which each request has its own wake-up of the timer, which takes two system calls and a context
/// switch.
const MIN_WAKE_INTERVAL: Duration = Duration::from_micros(50);

/// Minimum time between two wake-ups with shorter intervals. One wake-up then releases several requests, which start up
/// to this time late; their latency includes the delay.
const MIN_SLEEP: Duration = Duration::from_micros(100);

/// The schedule of a thread's requests. A connection that is free takes requests that are due at once; only if none is
/// due, it waits for the timer.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    /// When the run ends: requests that are due later are never released. `None` for a count-limited run.
    until: Option<Instant>,
    /// Number of warm-up requests, which come first.
    warmup: u64,
    /// Number of all requests.
    total: u64,
    /// Maximum number of requests that a connection takes together.
    batch: usize,
    /// Number of requests taken.
    taken: AtomicU64,
    /// Number of connections that wait for a request.
    waiting: AtomicUsize,
    /// Wakes a connection that waits for a request.
    due: Notify,
    /// Wakes the timer when a connection begins to wait.
    idle: Notify,
}

/// Requests that a connection has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Number of the first request in the schedule.
    pub(super) first: u64,
    pub(super) count: usize,
    /// When they were taken.
    pub(super) at: Instant,
}

impl Schedule {
    /// Creates a schedule with one request per interval from `start` on: first `warmup` requests that are not counted,
    /// then `count` that are. A connection takes at most `batch` requests together.
    pub(super) fn new(
        start: Instant,
        interval: Duration,
        until: Option<Instant>,
        warmup: u64,
        count: u64,
        batch: usize,
    ) -> Self {
        Self {
            start,
            interval,
            until,
            warmup,
            total: count.saturating_add(warmup),
            batch,
            taken: AtomicU64::default(),
            waiting: AtomicUsize::default(),
            due: Notify::new(),
            idle: Notify::new(),
        }
    }

    /// Returns the intended start time of a request.
    pub(super) fn intended(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.interval.as_nanos();
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(MAX_OFFSET))
    }

    /// Waits until a request is due, and takes all due requests, at most `max`. Returns `None` when all have been
    /// taken.
    pub(super) async fn take(&self, max: usize) -> Option<Taken> {
        loop {
            let now = Instant::now();
            let first = self.taken();
            if let Some(due @ 1..) = self.released_before(now).checked_sub(first) {
                // A batch has either warm-up requests or counted ones.
                let limit = if first < self.warmup { due.min(self.warmup - first) } else { due };
                let count = usize::try_from(limit).unwrap_or(usize::MAX).min(max);
                self.taken.store(first + count as u64, Ordering::Relaxed);
                return Some(Taken { first, count, at: now });
            }
            if self.has_ended(now) {
                self.due.notify_waiters();
                return None;
            }
            let mut woken = pin!(self.due.notified());
            // Waits from here on: the number of waiting connections is exact.
            woken.as_mut().enable();
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.idle.notify_one();
            woken.await;
        }
    }

    /// Puts back the last `count` taken requests, which are not sent.
    pub(super) fn put_back(&self, count: usize) {
        self.taken.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Whether a request is counted; warm-up requests are not.
    pub(super) fn is_counted(&self, number: u64) -> bool {
        number >= self.warmup
    }

    /// Returns the number of requests that are due and not taken.
    pub(super) fn backlog(&self, now: Instant) -> u64 {
        self.released_before(now).saturating_sub(self.taken())
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn due_before(&self, end: Instant) -> u64 {
        let elapsed = end.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed.div_ceil(self.interval.as_nanos())).unwrap_or(u64::MAX).min(self.total)
    }

    /// Returns the number of requests that are due before `now` and before the end of the run.
    fn released_before(&self, now: Instant) -> u64 {
        self.due_before(self.until.map_or(now, |until| until.min(now)))
    }

    /// Whether no more requests will be due.
    fn has_ended(&self, now: Instant) -> bool {
        self.taken() >= self.total || self.until.is_some_and(|until| now >= until)
    }

    /// Returns the numbers of the counted requests that were due before `end` and never taken.
    pub(super) fn unsent(&self, end: Instant) -> Range<u64> {
        self.taken().max(self.warmup)..self.due_before(end)
    }

    /// Returns how long `count` counted requests take at this rate.
    pub(super) fn length(&self, count: u64) -> Duration {
        self.intended(self.warmup.saturating_add(count)).saturating_duration_since(self.intended(self.warmup))
    }

    /// Wakes waiting connections when requests become due, until no more will be due. While no connection waits, it
    /// sleeps without a timer. Uses a kernel timer, because the runtime's timer has a resolution of 1 ms.
    pub(super) async fn run(&self) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(
            deprecated,
            reason = "AsyncFd::register is unsafe, because other types may close the descriptor while it is \
                      registered; an OwnedFd does not"
        )]
        let timer = AsyncFd::new(timer)?;
        loop {
            let now = Instant::now();
            if self.has_ended(now) {
                break;
            }
            let released = self.released_before(now);
            self.wake(released.saturating_sub(self.taken()));
            if self.waiting.load(Ordering::Relaxed) == 0 {
                let idle = self.idle.notified();
                match self.until {
                    Some(until) => _ = timeout_at(until.into(), idle).await,
                    None => idle.await,
                }
                continue;
            }
            let sleep = if self.interval < MIN_WAKE_INTERVAL { MIN_SLEEP } else { Duration::ZERO };
            let next = self.intended(released).max(now + sleep);
            let next = self.until.map_or(next, |until| until.min(next)).saturating_duration_since(now);
            // Zero would disarm the timer.
            let it_value = next.max(Duration::from_nanos(1)).try_into().map_err(io::Error::other)?;
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
            // The registration is edge-triggered and reports each expiration, so the timer need not be read.
            timer.readable().await?.clear_ready();
        }
        self.due.notify_waiters();
        Ok(())
    }

    /// Wakes as many waiting connections as these due requests need.
    fn wake(&self, due: u64) {
        let needed = usize::try_from(due.div_ceil(self.batch as u64)).unwrap_or(usize::MAX);
        let woken = needed.min(self.waiting.load(Ordering::Relaxed));
        self.waiting.fetch_sub(woken, Ordering::Relaxed);
        (0..woken).for_each(|_| self.due.notify_one());
    }
}

/// Maximum offset from the start in nanoseconds: 100 days. Longer than any run, and adding it to a clock does not
/// overflow.
const MAX_OFFSET: u64 = 100 * 24 * 3_600_000_000_000;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::{Builder, Runtime};
    use tokio::task::spawn;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(1);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn requests_that_are_due_need_no_timer() {
        let begin = Instant::now().checked_sub(100 * INTERVAL).unwrap();
        let schedule = Schedule::new(begin, INTERVAL, None, 3, 5, 4);
        // Nothing runs the timer.
        let take = || runtime().block_on(schedule.take(4)).map(|taken| (taken.first, taken.count));
        // Warm-up requests and counted ones are not in one batch.
        assert_eq!([take(), take(), take(), take()], [Some((0, 3)), Some((3, 4)), Some((7, 1)), None]);
        schedule.put_back(1);
        assert_eq!((schedule.backlog(Instant::now()), take()), (1, Some((7, 1))));
    }

    #[test]
    fn the_timer_wakes_each_waiting_connection_in_turn_and_all_at_the_end() {
        let runtime = runtime();
        let begin = Instant::now();
        let schedule = Arc::new(Schedule::new(begin, INTERVAL, Some(begin + 20 * INTERVAL), 0, u64::MAX, 1));
        let taken = runtime.block_on(async {
            let connection = |_| {
                let schedule = Arc::clone(&schedule);
                spawn(async move {
                    let mut taken = Vec::new();
                    while let Some(Taken { first, count, at }) = schedule.take(1).await {
                        assert!(count == 1 && at > schedule.intended(first));
                        taken.push(first);
                    }
                    taken
                })
            };
            let connections: Vec<_> = (0..3).map(connection).collect();
            schedule.run().await.unwrap();
            let mut taken = Vec::new();
            for connection in connections {
                taken.extend(connection.await.unwrap());
            }
            taken.sort_unstable();
            taken
        });
        assert_eq!(taken, (0..20).collect::<Vec<_>>());
    }
}
