//! What the connections of a thread share: which request is next, and the stats.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Workload};
use super::schedule::Schedule;
use super::stats::{Outcomes, Stats};
use crate::failure::{Failure, Kind};

/// How long threads, timers and first connections may take to be ready before a schedule begins.
const LEAD: Duration = Duration::from_millis(50);

/// How much later than its end a run at a fixed rate may still send what was due before.
const GRACE: Duration = Duration::from_millis(10);

/// How long a server may be gone, to be restarted, before a run that counts requests is aborted.
const PATIENCE: Duration = Duration::from_secs(5);

/// When a run counts.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// From here on requests are counted; those before are to warm up.
    counted_from: Instant,
    /// From here on there are none.
    until: Option<Instant>,
}

/// How many requests are still to be counted. A duel has one budget for all threads, since their players meet each other,
/// and counts replies, since it leaves moves unanswered. All other threads have their own, and count requests.
#[derive(Debug)]
struct Budget {
    left: Mutex<u64>,
    counts_replies: bool,
    /// The requests in flight are not waited for any more.
    ended: CancellationToken,
}

/// What the connections of a thread share.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    times: Times,
    budget: Arc<Budget>,
    schedule: Option<Schedule>,
    /// Abort a count-limited run after this long without a right reply.
    patience: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stats: Stats,
    /// When the last right reply came; before it, when the first could have come.
    last_right: Instant,
}

/// Requests that go out together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) count: usize,
    /// When it was begun, where all its requests were at once.
    begun: Instant,
    /// The number of its first request in the schedule.
    first: u64,
    /// Whether it counts, or is to warm up.
    counted: bool,
}

/// Locks a mutex. Nothing panics while it holds one of these, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a thread, where `total` is spread over all threads.
pub(super) fn part(total: u64, number: u64, threads: u64) -> u64 {
    total / threads + u64::from(number < total % threads)
}

impl Budget {
    fn new(requests: u64, counts_replies: bool) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(requests), counts_replies, ended: CancellationToken::new() })
    }

    fn left(&self) -> u64 {
        *lock(&self.left)
    }

    fn take(&self, most: usize) -> usize {
        let mut left = lock(&self.left);
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
        *left -= count as u64;
        count
    }

    /// How many requests may be sent, `most` at the most.
    fn send(&self, most: usize) -> usize {
        if self.counts_replies { usize::try_from(self.left()).unwrap_or(usize::MAX).min(most) } else { self.take(most) }
    }

    /// How many of `count` replies, right or wrong, are counted.
    fn receive(&self, count: usize) -> usize {
        if !self.counts_replies {
            return count;
        }
        let counted = self.take(count);
        if self.left() == 0 {
            self.ended.cancel();
        }
        counted
    }
}

impl ThreadLoad {
    /// The loads of a plan's threads, none of which has begun.
    pub(super) fn all(plan: &Plan) -> io::Result<Vec<Arc<Self>>> {
        let begin = Instant::now() + if plan.load.rate.is_some() { LEAD } else { Duration::ZERO };
        let warmup = plan.load.warmup.unwrap_or_default();
        let counted_from = begin + warmup;
        let times = Times { counted_from, until: plan.duration().map(|duration| counted_from + duration) };
        let threads = plan.threads();
        let of_all = (plan.workload == Workload::Duel).then(|| Budget::new(plan.requests(), true));
        let load = |number| {
            let budget = of_all.clone().unwrap_or_else(|| Budget::new(part(plan.requests(), number, threads), false));
            let schedule = plan.load.rate.map(|rate| {
                let nanos = u128::from(threads) * 1_000_000_000 / u128::from(rate);
                let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1));
                // The threads take turns.
                let turn = interval * u32::try_from(number).unwrap_or_default() / u32::try_from(threads).unwrap_or(1);
                let warming = u64::try_from(warmup.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX);
                // As many as there are, or as it takes to have that many replies.
                let count = if budget.counts_replies { u64::MAX } else { budget.left() };
                Schedule::new(begin + turn, interval, warming, count)
            });
            let patience = times.until.is_none().then(|| plan.reply_timeout.max(PATIENCE));
            let state = Mutex::new(State { stats: Stats::new()?, last_right: counted_from });
            Ok(Arc::new(Self { times, budget, schedule, patience, state }))
        };
        (0..threads).map(load).collect()
    }

    pub(super) fn counted_from(&self) -> Instant {
        self.times.counted_from
    }

    /// How many replies were right so far, and how many were not.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.stats.right, state.stats.not_right())
    }

    /// Waits until the requests in flight are not waited for any more.
    pub(super) async fn budget_ended(&self) {
        self.budget.ended.cancelled().await;
    }

    /// Releases requests at their rate, where there is one, and ends what would not end by itself. Returns only an error.
    pub(super) async fn keep_schedule(&self) -> io::Error {
        if let Some(schedule) = &self.schedule
            && let Err(error) = schedule.keep(self.times.until).await
        {
            return error;
        }
        if let Some(until) = self.times.until {
            sleep_until(until.into()).await;
            if self.budget.counts_replies {
                self.budget.ended.cancel();
            }
        }
        pending().await
    }

    /// The stats of a load that has ended just now.
    pub(super) fn ended(&self) -> Stats {
        let now = Instant::now();
        let mut stats = lock(&self.state).stats.clone();
        let end = match self.times.until {
            Some(until) if now >= until => Some(until),
            // Something else ended it, and did so now.
            _ if self.budget.left() > 0 => Some(now),
            _ => None,
        };
        if let Some(end) = end {
            stats.took = end.saturating_duration_since(self.times.counted_from);
        }
        if let Some(schedule) = &self.schedule {
            match end {
                Some(end) => {
                    let (unsent, longest, shortest) = schedule.unsent(end);
                    stats.not_sent_in_turn(unsent, longest, shortest);
                }
                None => stats.took = stats.took.max(schedule.length(stats.requests())),
            }
        }
        if !self.budget.counts_replies {
            stats.in_play = 0;
        }
        stats
    }

    /// Takes requests to send, `most` at the most; `None` once there are no more.
    pub(super) async fn take(&self, most: usize) -> Option<Batch> {
        let (first, due) = match &self.schedule {
            Some(schedule) => schedule.take(most).await?,
            None => (0, most),
        };
        let now = Instant::now();
        // What was due in time still goes out, where it has not had to wait.
        let (grace, counted) = match &self.schedule {
            Some(schedule) => (GRACE, schedule.counts(first)),
            None => (Duration::ZERO, now >= self.times.counted_from),
        };
        let count = match self.times.until {
            Some(until) if now >= until + grace => 0,
            _ if counted => self.budget.send(due),
            _ => due,
        };
        if let Some(schedule) = &self.schedule {
            schedule.give_back(due - count);
        }
        if counted {
            lock(&self.state).stats.in_play += count as u64;
        }
        (count > 0).then_some(Batch { count, begun: now, first, counted })
    }

    /// Counts right replies to requests of a batch, `before` of which have a reply already.
    pub(super) fn right(&self, batch: &Batch, before: usize, count: usize, outcomes: Outcomes) {
        if !batch.counted {
            return;
        }
        let right = self.budget.receive(count) as u64;
        let mut state = lock(&self.state);
        let State { stats, last_right } = &mut *state;
        stats.in_play -= count as u64;
        if right == 0 {
            return;
        }
        let now = Instant::now();
        *last_right = now;
        match &self.schedule {
            Some(schedule) => {
                let first = batch.first + before as u64;
                for number in first..first + right {
                    stats.answered(1, now.saturating_duration_since(schedule.intended(number)));
                }
            }
            None => stats.answered(right, now - batch.begun),
        }
        stats.outcomes += outcomes;
        stats.took = now.saturating_duration_since(self.times.counted_from);
    }

    /// Counts requests of a batch without a right reply. A wrong reply counts while the load warms up too.
    pub(super) fn failed(&self, batch: &Batch, count: usize, failure: &Failure) {
        let now = Instant::now();
        let counted =
            if batch.counted { self.budget.receive(count) } else { usize::from(failure.kind() == Kind::Wrong) };
        let mut state = lock(&self.state);
        let State { stats, last_right } = &mut *state;
        if batch.counted {
            // A reply that was not asked for is one more than there were requests.
            stats.in_play = stats.in_play.saturating_sub(count as u64);
        }
        if counted > 0 {
            stats.failed(counted as u64, failure);
            stats.took = now.saturating_duration_since(self.times.counted_from);
        }
        let without = now.saturating_duration_since(*last_right);
        if self.patience.is_some_and(|patience| without > patience) {
            stats.given_up = true;
            self.budget.ended.cancel();
        }
    }
}
