//! Loads a server from several threads. Each thread has its share of the connections and requests, and its own stats.

use std::future::pending;
use std::io;
use std::mem::replace;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{LoadConnection, Verdict};
use super::plan::{Plan, Workload};
use super::schedule::{Schedule, Taken};
use super::stats::{Interval, Stats};
use crate::error::FailureKind;

/// Delay before a schedule starts, in which threads, timers and first connections get ready.
const START_DELAY: Duration = Duration::from_millis(50);

/// How long after its end a run at a fixed rate may still send requests that were due before.
const SEND_GRACE: Duration = Duration::from_millis(10);

/// A count-limited run is aborted at an error if no correct reply came for this long, or for the reply timeout if that
/// is longer. A restart of the server takes less.
const ABORT_AFTER: Duration = Duration::from_secs(5);

/// How long a connection waits after a failure. The load does not measure how fast a server rejects clients.
const ERROR_BACKOFF: Duration = Duration::from_millis(10);

/// Maximum number of steps in which unsent requests are recorded; each step has the wait of its first request.
const MAX_UNSENT_STEPS: u64 = 10_000;

/// Runs each load in its own thread, until all end or `stop` is cancelled.
pub(super) async fn run(loads: &[Arc<ThreadLoad>], stop: &CancellationToken) -> io::Result<Stats> {
    let mut running = Vec::new();
    for load in loads {
        let (sender, receiver) = oneshot::channel();
        let (load, stop) = (Arc::clone(load), stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().spawn(move || {
            // The receiver is dropped if another thread could not be started.
            let _ = sender.send(runtime.block_on(drive(&load, &stop)));
        })?;
        running.push(receiver);
    }
    // Exclude the CPU time before requests are counted.
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

/// Returns the CPU time of this process.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Runs all connections of a thread.
async fn drive(load: &Arc<ThreadLoad>, stop: &CancellationToken) -> io::Result<Stats> {
    let ThreadLoad { plan, number, .. } = &**load;
    let mut plan = (**plan).clone();
    if let Some(until) = load.until {
        // A server that sends each reply just in time must not extend the run by the number of requests in flight. At
        // this deadline every request has waited for the whole reply timeout.
        let deadline = until + SEND_GRACE + plan.reply_timeout();
        plan.connectors =
            plan.connectors.into_iter().map(|connector| connector.with_deadline(deadline.into())).collect();
    }
    let plan = Arc::new(plan);
    let template = LoadConnection::new(Arc::clone(&plan));
    let mut driven = JoinSet::new();
    // The numbers of the connections count over all threads, so that each server gets its share of all connections.
    let threads = usize::try_from(plan.threads()).unwrap_or(usize::MAX);
    for connection in (*number..plan.load.connections).step_by(threads) {
        driven.spawn(drive_connection(Arc::clone(load), template.sibling(connection)));
    }
    let scheduled = Arc::clone(load);
    // A separate task: each wake-up of the future that the runtime blocks on writes to an eventfd.
    let mut schedule = spawn(async move { scheduled.run_schedule().await });
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A duel that has all its replies still has moves in play: their players wait for partners that have finished.
        () = load.budget.ended.cancelled() => {}
        () = async { while driven.join_next().await.is_some() {} } => {}
        error = &mut schedule => return Err(error.unwrap_or_else(io::Error::other)),
    }
    Ok(load.final_stats())
}

async fn drive_connection(load: Arc<ThreadLoad>, mut connection: LoadConnection) {
    loop {
        // On a short connection, connecting is part of the request.
        let connected = if load.plan.keep_alive { connection.connect().await } else { Ok(()) };
        // If the connect failed, one request counts as failed.
        let max = if connected.is_ok() { load.plan.batch() } else { 1 };
        let Some(mut batch) = load.take(max).await else { return };
        let mut all_correct = true;
        let requested = async {
            connected?;
            connection.request(batch.count, |verdict| all_correct &= load.receive(&mut batch, verdict)).await
        };
        if let Err(error) = requested.await {
            // An unsolicited reply is an error even when all requests have their replies.
            let verdict = Verdict { count: batch.count.max(1), result: Err(connection.explained(error)) };
            all_correct = load.receive(&mut batch, verdict);
        }
        if !all_correct {
            sleep(ERROR_BACKOFF).await;
        }
    }
}

/// State shared by the connections of a thread.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    plan: Arc<Plan>,
    /// Number of the thread, from 0.
    number: u64,
    /// Requests before this time are warm-up and not counted.
    counted_from: Instant,
    /// When the load begins.
    begin: Instant,
    /// When the run stops sending requests; `None` for a count-limited run.
    until: Option<Instant>,
    budget: Arc<Budget>,
    schedule: Option<Schedule>,
    state: Mutex<LoadState>,
}

#[derive(Debug)]
struct LoadState {
    stats: Stats,
    /// The replies since the last object of a series, if one is written: those of the warm-up, and the counted ones.
    intervals: Option<[Interval; 2]>,
    /// Time of the last correct reply; at first, the time from which requests are counted.
    last_correct: Instant,
}

/// Requests that are sent together.
#[derive(Debug)]
struct RequestBatch {
    /// Number of requests without a reply.
    count: usize,
    /// Start time of the requests, in a run without a schedule.
    started: Instant,
    /// Number of the first of these requests in the schedule.
    first: u64,
    /// Whether these requests are counted; warm-up requests are not.
    counted: bool,
}

/// Locks a mutex. No code panics while it holds one of these mutexes, so the value is always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a thread's share of `total`.
fn share(total: u64, number: u64, threads: u64) -> u64 {
    total / threads + u64::from(number < total % threads)
}

impl ThreadLoad {
    /// Creates the loads of a plan's threads. None of them has started.
    pub(super) fn all(plan: &Arc<Plan>) -> io::Result<Vec<Arc<Self>>> {
        let begin = Instant::now() + if plan.load.rate.is_some() { START_DELAY } else { Duration::ZERO };
        let warmup = plan.load.warmup.unwrap_or_default();
        let counted_from = begin + warmup;
        let until = plan.duration().map(|duration| counted_from + duration);
        let threads = plan.threads();
        let shared_budget = (plan.workload == Workload::Duel).then(|| Budget::new(plan.requests(), true));
        let load = |number| {
            let budget =
                shared_budget.clone().unwrap_or_else(|| Budget::new(share(plan.requests(), number, threads), false));
            let schedule = plan.load.rate.map(|rate| {
                // A rate is 10 million at most, so the interval is at least 100 ns.
                let interval = Duration::from_secs(threads) / u32::try_from(rate).unwrap_or(u32::MAX);
                // The schedules of the threads interleave.
                let turn = interval * u32::try_from(number).unwrap_or_default() / u32::try_from(threads).unwrap_or(1);
                let warmup_requests = u64::try_from(warmup.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX);
                // A budget that counts requests limits the schedule; one that counts replies does not.
                let count = if budget.counts_replies { u64::MAX } else { budget.left() };
                Schedule::new(begin + turn, interval, until, warmup_requests, count, plan.batch())
            });
            let has_series = plan.load.series.is_some();
            let intervals = if has_series { Some([Interval::new()?, Interval::new()?]) } else { None };
            let state = Mutex::new(LoadState { stats: Stats::new()?, intervals, last_correct: counted_from });
            Ok(Arc::new(Self { plan: Arc::clone(plan), number, begin, counted_from, until, budget, schedule, state }))
        };
        (0..threads).map(load).collect()
    }

    /// Returns the number of correct replies and of errors so far.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.stats.correct, state.stats.error_count())
    }

    /// Returns when the load begins, from when on requests are counted, and when it stops sending.
    pub(super) fn times(&self) -> (Instant, Instant, Option<Instant>) {
        (self.begin, self.counted_from, self.until)
    }

    /// Returns the replies since the last call, of the warm-up or the counted ones.
    pub(super) fn take_interval(&self, is_warmup: bool) -> io::Result<Interval> {
        let empty = Interval::new()?;
        let mut state = lock(&self.state);
        let interval = state.intervals.as_mut().map(|intervals| &mut intervals[usize::from(!is_warmup)]);
        Ok(match interval {
            Some(interval) => replace(interval, empty),
            None => empty,
        })
    }

    /// Returns the number of requests that are due and not sent; `None` without a rate.
    pub(super) fn backlog(&self, now: Instant) -> Option<u64> {
        self.schedule.as_ref().map(|schedule| schedule.backlog(now))
    }

    /// Runs the schedule, if there is one, and ends a duel at the end of its duration. Returns only on error.
    async fn run_schedule(&self) -> io::Error {
        if let Some(schedule) = &self.schedule
            && let Err(error) = schedule.run().await
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

    /// Returns the stats of a load that has just ended.
    fn final_stats(&self) -> Stats {
        let now = Instant::now();
        let mut stats = lock(&self.state).stats.clone();
        let end = match self.until {
            Some(until) if now >= until => Some(until),
            // With requests left in the budget, the run was stopped just now.
            _ => (self.budget.left() > 0).then_some(now),
        };
        if let Some(end) = end {
            stats.elapsed = end.saturating_duration_since(self.counted_from);
        }
        if let Some(schedule) = &self.schedule {
            match end {
                Some(end) => {
                    let Range { start, end: due } = schedule.unsent(end);
                    stats.unsent = due.saturating_sub(start);
                    // The histogram cannot distinguish more steps than this.
                    let step = stats.unsent.div_ceil(MAX_UNSENT_STEPS).max(1);
                    for number in (start..due).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                        stats.record_latency(
                            step.min(due - number),
                            end.saturating_duration_since(schedule.intended(number)),
                        );
                    }
                }
                None => stats.elapsed = stats.elapsed.max(schedule.length(stats.requests())),
            }
        }
        if !self.budget.counts_replies {
            stats.in_play = 0;
        }
        stats
    }

    /// Takes the next requests to send, at most `max`; returns `None` after the last.
    async fn take(&self, max: usize) -> Option<RequestBatch> {
        let Taken { first, count: due, at: now } = match &self.schedule {
            Some(schedule) => schedule.take(max).await?,
            None => Taken { first: 0, count: max, at: Instant::now() },
        };
        // Requests that were due before the end are still sent within `SEND_GRACE`.
        let (grace, counted) = match &self.schedule {
            Some(schedule) => (SEND_GRACE, schedule.is_counted(first)),
            None => (Duration::ZERO, now >= self.counted_from),
        };
        let count = match self.until {
            Some(until) if now >= until + grace => 0,
            _ if counted => self.budget.send(due),
            _ => due,
        };
        if let Some(schedule) = &self.schedule {
            schedule.put_back(due - count);
        }
        if counted {
            lock(&self.state).stats.in_play += count as u64;
        }
        (count > 0).then_some(RequestBatch { count, started: now, first, counted })
    }

    /// Counts replies to the next requests of a batch, and returns whether they are correct. During warm-up only wrong
    /// replies are counted.
    fn receive(&self, batch: &mut RequestBatch, Verdict { count, result }: Verdict) -> bool {
        let now = Instant::now();
        let first = batch.first;
        // An unsolicited reply exceeds the number of requests.
        batch.count = batch.count.saturating_sub(count);
        batch.first += count as u64;
        let counted = match &result {
            _ if batch.counted => self.budget.receive(count) as u64,
            Err(error) => u64::from(error.kind() == FailureKind::Wrong),
            Ok(_) => 0,
        };
        let mut state = lock(&self.state);
        let LoadState { stats, intervals, last_correct } = &mut *state;
        if let Some([warmup, measured]) = intervals {
            let (interval, recorded) = if batch.counted { (measured, counted) } else { (warmup, count as u64) };
            match &result {
                Ok(_) => self
                    .latencies(batch, first, recorded, now, |count, elapsed| interval.record_replies(count, elapsed)),
                Err(error) if recorded > 0 => interval.record_errors(recorded, error.kind()),
                Err(_) => {}
            }
        }
        if batch.counted {
            stats.in_play = stats.in_play.saturating_sub(count as u64);
        }
        if counted > 0 {
            stats.elapsed = now.saturating_duration_since(self.counted_from);
            match &result {
                Ok(_) => {
                    self.latencies(batch, first, counted, now, |count, elapsed| stats.record_replies(count, elapsed));
                }
                Err(error) => stats.record_errors(counted, error),
            }
            if let Ok(outcomes) = result {
                stats.outcomes += outcomes;
                *last_correct = now;
            }
        }
        let abort_after = self.plan.reply_timeout().max(ABORT_AFTER);
        if result.is_err() && self.until.is_none() && now.saturating_duration_since(*last_correct) > abort_after {
            stats.aborted = true;
            self.budget.ended.cancel();
        }
        result.is_ok()
    }

    /// Calls `record` with the latency of these replies of a batch, which arrived at `now`. At a fixed rate each reply
    /// has its own latency.
    fn latencies(
        &self,
        batch: &RequestBatch,
        first: u64,
        count: u64,
        now: Instant,
        mut record: impl FnMut(u64, Duration),
    ) {
        match &self.schedule {
            None => record(count, now - batch.started),
            Some(schedule) => {
                (first..first + count)
                    .for_each(|number| record(1, now.saturating_duration_since(schedule.intended(number))));
            }
        }
    }
}

/// Number of requests still to count. A duel has one budget for all threads, because their players meet each other, and
/// it counts replies, because moves may stay without one. Otherwise each thread has its own budget, which counts
/// requests.
#[derive(Debug)]
struct Budget {
    left: Mutex<u64>,
    counts_replies: bool,
    /// Cancelled when the run no longer waits for requests in flight.
    ended: CancellationToken,
}

impl Budget {
    fn new(requests: u64, counts_replies: bool) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(requests), counts_replies, ended: CancellationToken::new() })
    }

    fn left(&self) -> u64 {
        *lock(&self.left)
    }

    fn take(&self, max: usize) -> usize {
        let mut left = lock(&self.left);
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(max);
        *left -= count as u64;
        count
    }

    /// Returns how many requests may be sent, at most `max`.
    fn send(&self, max: usize) -> usize {
        if self.counts_replies { usize::try_from(self.left()).unwrap_or(usize::MAX).min(max) } else { self.take(max) }
    }

    /// Returns how many of `count` replies, correct or wrong, are counted.
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
