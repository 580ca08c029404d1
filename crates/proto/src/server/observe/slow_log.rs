//! The slowest replies of the last hour, for the page `/slow`.
//!
//! It depends on no other module. A process has one log, [`SLOW_LOG`]. Most replies cost one load and one comparison:
//! only one that is slower than the threshold is recorded.
//!
//! The log consists of buckets of five minutes, each with the [`MAX_REPLIES`] slowest replies of its time. The
//! threshold is the fastest of the current bucket once that is full. So together, the buckets have the slowest replies
//! of the whole time that they cover, exactly: the last hour, and up to five minutes before it.
//!
//! Replies are ranked by the time that the server and the network took: the handler's time and that of the write. The
//! time before, in which a request waits for a partner's move, more bytes or its rate limit, is recorded, but does not
//! count: the other player of a duel takes seconds, and would hide all else.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The log of this process.
pub(crate) static SLOW_LOG: SlowLog = SlowLog::new();

/// Maximum replies in a bucket, and in the list of all.
pub(crate) const MAX_REPLIES: usize = 128;

/// The time that a bucket covers.
const BUCKET: Duration = Duration::from_mins(5);

/// A bucket is dropped when it ended this long ago.
const WINDOW: Duration = Duration::from_hours(1);

/// The slowest replies.
#[derive(Debug)]
pub(crate) struct SlowLog {
    /// A reply is recorded if it took more nanoseconds than this. The largest number while the log is off.
    threshold: AtomicU64,
    /// At most 14, oldest first.
    buckets: Mutex<VecDeque<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    started_at: Instant,
    /// The first is the fastest.
    replies: BinaryHeap<Reverse<Ranked>>,
}

/// A slow reply, or the replies to one read: they are written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlowReply {
    /// When it was written.
    pub(crate) time: SystemTime,
    /// `None` for a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// `None` if the connection is not one of a configured endpoint.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) operation: &'static str,
    pub(crate) waited: Duration,
    /// From the event to the end of the first write, which does not wait.
    pub(crate) handler: Duration,
    /// The time in which the socket had no room for the reply.
    pub(crate) write: Duration,
}

impl SlowReply {
    /// The time that ranks it.
    fn rank(&self) -> Duration {
        self.handler + self.write
    }
}

/// Ordered by the time that counts, then by age: of equal replies, the older ones stay.
#[derive(Debug, PartialEq, Eq)]
struct Ranked(SlowReply);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.rank().cmp(&other.0.rank()).then_with(|| other.0.time.cmp(&self.0.time))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

impl SlowLog {
    /// Creates a log that is off until the first [`on_time`](Self::on_time).
    pub(crate) const fn new() -> Self {
        Self { threshold: AtomicU64::new(u64::MAX), buckets: Mutex::new(VecDeque::new()) }
    }

    /// Whether a reply that took this long without its wait may be one of the slowest.
    pub(crate) fn is_slow(&self, duration: Duration) -> bool {
        // Relaxed: a reply that is compared with the last threshold belongs to the last bucket as well as to this one.
        nanos(duration) > self.threshold.load(atomic::Ordering::Relaxed)
    }

    /// Records a reply, if it still is one of the slowest of the current bucket.
    pub(crate) fn record(&self, reply: SlowReply) {
        let mut buckets = self.buckets();
        let Some(Bucket { replies, .. }) = buckets.back_mut() else { return };
        replies.push(Reverse(Ranked(reply)));
        if replies.len() > MAX_REPLIES {
            replies.pop();
        }
        if replies.len() == MAX_REPLIES
            && let Some(Reverse(Ranked(fastest))) = replies.peek()
        {
            self.threshold.store(nanos(fastest.rank()), atomic::Ordering::Relaxed);
        }
    }

    /// Begins a new bucket if it is time. The caller calls it about once per second. The first call turns the log on.
    pub(crate) fn on_time(&self, now: Instant) {
        let mut buckets = self.buckets();
        if buckets.back().is_some_and(|bucket| now < bucket.started_at + BUCKET) {
            return;
        }
        buckets.push_back(Bucket { started_at: now, replies: BinaryHeap::new() });
        self.threshold.store(0, atomic::Ordering::Relaxed);
        while buckets.get(1).is_some_and(|second| second.started_at + WINDOW <= now) {
            buckets.pop_front();
        }
    }

    /// Returns the slowest replies, slowest first.
    pub(crate) fn slowest(&self) -> Vec<SlowReply> {
        let mut all: Vec<_> = {
            let buckets = self.buckets();
            let replies = buckets.iter().flat_map(|bucket| &bucket.replies);
            replies.map(|Reverse(Ranked(reply))| reply.clone()).collect()
        };
        all.sort_by(|one, other| other.rank().cmp(&one.rank()).then_with(|| one.time.cmp(&other.time)));
        all.truncate(MAX_REPLIES);
        all
    }

    fn buckets(&self) -> MutexGuard<'_, VecDeque<Bucket>> {
        // No code that can panic runs while the lock is held.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Offers a reply that took `micros`, as the driver does. Its time tells replies apart.
    fn observe(log: &SlowLog, number: u64, micros: u64) {
        let handler = Duration::from_micros(micros);
        if log.is_slow(handler) {
            let time = UNIX_EPOCH + Duration::from_secs(number);
            log.record(SlowReply {
                time,
                client: None,
                endpoint: None,
                operation: "echo",
                waited: Duration::from_mins(1),
                handler,
                write: Duration::ZERO,
            });
        }
    }

    fn micros(log: &SlowLog) -> Vec<u64> {
        log.slowest().iter().map(|reply| u64::try_from(reply.handler.as_micros()).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_exact_for_the_last_hour() {
        let log = SlowLog::new();
        // All replies that the log was offered, with the time since the start.
        let mut offered = Vec::new();
        let (start, mut state) = (Instant::now(), 1_u64);
        for second in 0..2 * 60 * 60 {
            log.on_time(Instant::now());
            // Xorshift; the slow ones come in bursts, as after a pause of the machine.
            for _ in 0..if second % 601 == 0 { 300 } else { 2 } {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let micros = 1 + state % if second % 601 < 3 { 1_000_000 } else { 1_000 };
                offered.push((second, micros));
                observe(&log, second, micros);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        log.on_time(Instant::now());
        let now = start.elapsed().as_secs();
        // Buckets begin at multiples of five minutes.
        let since = (now - 60 * 60) / 300 * 300;
        let mut expected: Vec<_> =
            offered.iter().filter(|(second, _)| *second >= since).map(|(_, micros)| *micros).collect();
        expected.sort_unstable_by_key(|micros| Reverse(*micros));
        expected.truncate(MAX_REPLIES);
        assert_eq!(micros(&log), expected);
        let buckets = log.buckets();
        assert!(buckets.len() <= 14, "{}", buckets.len());
        assert!(buckets.iter().all(|bucket| bucket.replies.len() <= MAX_REPLIES));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_reply_above_the_threshold_is_recorded() {
        let log = SlowLog::new();
        assert!(!log.is_slow(Duration::from_hours(1)), "the log is off");
        log.on_time(Instant::now());
        assert!(log.is_slow(Duration::from_nanos(1)));
        (0..128).for_each(|number| observe(&log, number, 100 + number));
        assert!(!log.is_slow(Duration::from_micros(100)), "the bucket is full");
        observe(&log, 200, 1000);
        assert!(!log.is_slow(Duration::from_micros(101)), "the threshold has risen");
        assert!(log.is_slow(Duration::from_micros(102)));
        assert_eq!(micros(&log)[..2], [1000, 227]);
        assert_eq!(micros(&log).len(), MAX_REPLIES);

        tokio::time::advance(BUCKET).await;
        assert!(!log.is_slow(Duration::from_micros(1)));
        log.on_time(Instant::now());
        assert!(log.is_slow(Duration::from_micros(1)), "a new bucket is empty");
        assert_eq!(micros(&log)[0], 1000);
        // The first bucket ended now.
        tokio::time::advance(Duration::from_mins(59)).await;
        log.on_time(Instant::now());
        assert_eq!(micros(&log)[0], 1000);
        tokio::time::advance(BUCKET).await;
        log.on_time(Instant::now());
        assert_eq!(micros(&log), [0_u64; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_does_not_rank_a_reply() {
        let log = SlowLog::new();
        log.on_time(Instant::now());
        let reply = |waited: u64, handler: u64, write: u64| {
            let [waited, handler, write] = [waited, handler, write].map(Duration::from_millis);
            let (time, operation) = (UNIX_EPOCH, "duel");
            SlowReply { time, client: None, endpoint: None, operation, waited, handler, write }
        };
        let (wait, work, write) = (reply(30_000, 1, 0), reply(0, 2, 0), reply(0, 1, 5));
        for reply in [&wait, &work, &write] {
            log.record(reply.clone());
        }
        assert_eq!(log.slowest(), [write, work, wait]);
    }
}
