//! Puts a load on a server: threads, each with its share of the connections, of the requests, and its own stats.

use std::future::pending;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{LoadConnection, Verdict};
use super::plan::{Plan, Workload};
use super::schedule::Schedule;
use super::stats::Stats;
use crate::error::FailureKind;

/// How long threads, timers and first connections may take to be ready before a schedule begins.
const LEAD: Duration = Duration::from_millis(50);

/// How long after its end a run at a fixed rate may still send requests that were due before.
const GRACE: Duration = Duration::from_millis(10);

/// How long a server may be gone, to be restarted, before a run without a duration is aborted.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection waits after a failure. The load does not measure how fast a server rejects clients.
const PAUSE: Duration = Duration::from_millis(10);

/// The maximum number of steps in which unsent requests are counted, each with the wait of its first.
const MAX_UNSENT_STEPS: u64 = 10_000;

/// Runs loads to their end, or until `stop`, each in a separate thread.
pub(super) async fn run(loads: &[Arc<ThreadLoad>], stop: &CancellationToken) -> io::Result<Stats> {
    let mut running = Vec::new();
    for load in loads {
        let (sender, receiver) = oneshot::channel();
        let (load, stop) = (Arc::clone(load), stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().spawn(move || {
            // The receiver is gone where another thread could not be started.
            let _ = sender.send(runtime.block_on(drive(&load, &stop)));
        })?;
        running.push(receiver);
    }
    // CPU time before requests are counted is left out.
    if let Some(load) = loads.first() {
        tokio::select! {
            () = sleep_until(load.counted_from.into()) => {}
            () = stop.cancelled() => {}
        }
    }
    let cpu_before = cpu_time();
    let mut all = Stats::new()?;
    for receiver in running {
        let stats = receiver.await.map_err(|_| io::Error::other("a thread of the load ended early"))?;
        all.add(&stats?);
    }
    all.cpu = cpu_time().saturating_sub(cpu_before);
    Ok(all)
}

/// The CPU time that this process has used so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Drives all connections of a thread.
async fn drive(load: &Arc<ThreadLoad>, stop: &CancellationToken) -> io::Result<Stats> {
    let ThreadLoad { plan, number, .. } = &**load;
    let template = LoadConnection::new(Arc::clone(plan));
    let mut driven = JoinSet::new();
    for _ in 0..part(plan.load.connections, *number, plan.threads()) {
        driven.spawn(drive_connection(Arc::clone(load), template.another()));
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A duel that is over leaves moves waiting for players who are done.
        () = load.budget.ended.cancelled() => {}
        () = async { while driven.join_next().await.is_some() {} } => {}
        error = load.keep_schedule() => return Err(error),
    }
    Ok(load.ended())
}

async fn drive_connection(load: Arc<ThreadLoad>, mut connection: LoadConnection) {
    loop {
        // To make a short connection is part of its request.
        let connected = if load.plan.kept { connection.connect().await } else { Ok(()) };
        // A request that could not even be sent is one that failed.
        let most = if connected.is_ok() { load.plan.batch() } else { 1 };
        let Some(mut batch) = load.take(most).await else { return };
        let mut all_right = true;
        let asked = async {
            connected?;
            connection.ask(batch.count, |verdict| all_right &= load.receive(&mut batch, verdict)).await
        };
        if let Err(failure) = asked.await {
            // A reply that was not asked for is an error, also where all others have come.
            let verdict = Verdict { count: batch.count.max(1), result: Err(failure) };
            all_right = load.receive(&mut batch, verdict);
        }
        if !all_right {
            sleep(PAUSE).await;
        }
    }
}

/// The state that the connections of a thread share.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    plan: Arc<Plan>,
    /// The thread's number, from 0 on.
    number: u64,
    /// From here on requests are counted; those before are to warm up.
    counted_from: Instant,
    /// The end of the requests.
    until: Option<Instant>,
    budget: Arc<Budget>,
    schedule: Option<Schedule>,
    state: Mutex<LoadState>,
}

#[derive(Debug)]
struct LoadState {
    stats: Stats,
    /// When the last right reply came; before it, when the first could have come.
    last_right: Instant,
}

/// Requests that go out together.
#[derive(Debug)]
struct RequestBatch {
    /// How many of them have no reply yet.
    count: usize,
    /// When it was begun, where all its requests were at once.
    begun: Instant,
    /// The number of the first of these in the schedule.
    first: u64,
    /// Whether it counts, or is to warm up.
    counted: bool,
}

/// Locks a mutex. No code panics while it holds one of these, so that the value is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a thread, where `total` is spread over all threads.
fn part(total: u64, number: u64, threads: u64) -> u64 {
    total / threads + u64::from(number < total % threads)
}

impl ThreadLoad {
    /// The loads of a plan's threads, none of which has begun.
    pub(super) fn all(plan: &Arc<Plan>) -> io::Result<Vec<Arc<Self>>> {
        let begin = Instant::now() + if plan.load.rate.is_some() { LEAD } else { Duration::ZERO };
        let warmup = plan.load.warmup.unwrap_or_default();
        let counted_from = begin + warmup;
        let until = plan.duration().map(|duration| counted_from + duration);
        let threads = plan.threads();
        let of_all = (plan.workload == Workload::Duel).then(|| Budget::new(plan.requests(), true));
        let load = |number| {
            let budget = of_all.clone().unwrap_or_else(|| Budget::new(part(plan.requests(), number, threads), false));
            let schedule = plan.load.rate.map(|rate| {
                // A rate is of ten millions at the most, so that an interval has at least a hundred nanoseconds.
                let interval = Duration::from_secs(threads) / u32::try_from(rate).unwrap_or(u32::MAX);
                // The threads take turns.
                let turn = interval * u32::try_from(number).unwrap_or_default() / u32::try_from(threads).unwrap_or(1);
                let warming = u64::try_from(warmup.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX);
                // As many as there are, or as it takes to have that many replies.
                let count = if budget.counts_replies { u64::MAX } else { budget.left() };
                Schedule::new(begin + turn, interval, warming, count)
            });
            let state = Mutex::new(LoadState { stats: Stats::new()?, last_right: counted_from });
            Ok(Arc::new(Self { plan: Arc::clone(plan), number, counted_from, until, budget, schedule, state }))
        };
        (0..threads).map(load).collect()
    }

    /// How many replies were right so far, and how many were not.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.stats.right, state.stats.not_right())
    }

    /// Releases requests at their rate, if there is one, and ends a duel at the end of its duration. Returns only on error.
    async fn keep_schedule(&self) -> io::Error {
        if let Some(schedule) = &self.schedule
            && let Err(error) = schedule.keep(self.until).await
        {
            return error;
        }
        if let Some(until) = self.until {
            sleep_until(until.into()).await;
            if self.budget.counts_replies {
                self.budget.ended.cancel();
            }
        }
        pending().await
    }

    /// The stats of a load that has ended just now.
    fn ended(&self) -> Stats {
        let now = Instant::now();
        let mut stats = lock(&self.state).stats.clone();
        let end = match self.until {
            Some(until) if now >= until => Some(until),
            // If anything is left, something else has ended it just now.
            _ => (self.budget.left() > 0).then_some(now),
        };
        if let Some(end) = end {
            stats.took = end.saturating_duration_since(self.counted_from);
        }
        if let Some(schedule) = &self.schedule {
            match end {
                Some(end) => {
                    let Range { start, end: due } = schedule.unsent(end);
                    // More steps than the histogram can tell apart would only take time.
                    stats.unsent = due.saturating_sub(start);
                    let step = stats.unsent.div_ceil(MAX_UNSENT_STEPS).max(1);
                    for number in (start..due).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                        stats.waited(step.min(due - number), end.saturating_duration_since(schedule.intended(number)));
                    }
                }
                None => stats.took = stats.took.max(schedule.length(stats.requests())),
            }
        }
        if !self.budget.counts_replies {
            stats.in_play = 0;
        }
        stats
    }

    /// Takes requests to send, `most` at the most; `None` after the last.
    async fn take(&self, most: usize) -> Option<RequestBatch> {
        let (first, due) = match &self.schedule {
            Some(schedule) => schedule.take(most).await?,
            None => (0, most),
        };
        let now = Instant::now();
        // Requests that were due in time still go out, where they have not had to wait.
        let (grace, counted) = match &self.schedule {
            Some(schedule) => (GRACE, schedule.counts(first)),
            None => (Duration::ZERO, now >= self.counted_from),
        };
        let count = match self.until {
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
        (count > 0).then_some(RequestBatch { count, begun: now, first, counted })
    }

    /// Counts replies to the next requests of a batch; returns whether they are right. While the load warms up, only wrong
    /// replies count.
    fn receive(&self, batch: &mut RequestBatch, Verdict { count, result }: Verdict) -> bool {
        let now = Instant::now();
        let first = batch.first;
        // A reply that was not asked for is one more than there were requests.
        batch.count = batch.count.saturating_sub(count);
        batch.first += count as u64;
        let counted = match &result {
            _ if batch.counted => self.budget.receive(count) as u64,
            Err(failure) => u64::from(failure.kind() == FailureKind::Wrong),
            Ok(_) => 0,
        };
        let mut state = lock(&self.state);
        let LoadState { stats, last_right } = &mut *state;
        if batch.counted {
            stats.in_play = stats.in_play.saturating_sub(count as u64);
        }
        if counted > 0 {
            stats.took = now.saturating_duration_since(self.counted_from);
            match (&result, &self.schedule) {
                (Err(failure), _) => stats.failed(counted, failure),
                (Ok(_), None) => stats.answered(counted, now - batch.begun),
                (Ok(_), Some(schedule)) => {
                    for number in first..first + counted {
                        stats.answered(1, now.saturating_duration_since(schedule.intended(number)));
                    }
                }
            }
            if let Ok(outcomes) = result {
                stats.outcomes += outcomes;
                *last_right = now;
            }
        }
        let patience = self.plan.reply_timeout.max(PATIENCE);
        if result.is_err() && self.until.is_none() && now.saturating_duration_since(*last_right) > patience {
            stats.given_up = true;
            self.budget.ended.cancel();
        }
        result.is_ok()
    }
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
