//! Puts a load on a server: threads, each with its share of the connections, and what they counted put together.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use proto::client::Endpoint;
use proto::client::stream::Stream;
use proto::wire::power::client::Framing;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Told};
use super::pace::Pace;
use super::plan::{Plan, Style};
use super::tally::{Outcomes, Tally};
use crate::failure::{Failure, Kind};

/// A connection that met with trouble waits so long before the next try: a server that turns everybody away is not to be
/// measured by how fast it does that.
const PAUSE: Duration = Duration::from_millis(10);

/// So many connections of a thread are being made at once, since a server's queue of those it has not accepted yet is
/// bounded, and whoever finds no room in it waits for a second (listen(2)).
const CONNECTING: usize = 128;

/// So long a server may be gone, to be started anew, before a run that counts requests is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much later than its end a run at a fixed rate may still send what was due before.
const GRACE: Duration = Duration::from_millis(10);

/// How long threads, timers and first connections may take to be there.
const LEAD: Duration = Duration::from_millis(50);

/// How far a run is, for whoever looks on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) right: AtomicU64,
    pub(super) not_right: AtomicU64,
}

/// When a run counts.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// From here on there are requests, at a fixed rate.
    begin: Instant,
    /// From here on requests are counted; before it they are there to warm up.
    counted_from: Instant,
    /// From here on there are none.
    until: Option<Instant>,
}

/// Runs a plan to its end, or until `stop`, and gives what came of it.
pub(super) async fn run(plan: &Plan, stop: &CancellationToken, progress: &Arc<Progress>) -> io::Result<Tally> {
    // A rate begins when everything is there that has to keep it.
    let begin = Instant::now() + if plan.load.rate.is_some() { LEAD } else { Duration::ZERO };
    let counted_from = begin + plan.load.warmup.unwrap_or_default();
    let times = Times { begin, counted_from, until: plan.load.duration.map(|duration| counted_from + duration) };
    let threads = plan.load.threads.min(plan.load.connections);
    let mut running = Vec::new();
    let requests = plan.load.requests.unwrap_or(u64::MAX);
    // Players of one thread meet those of another, so all of them end together.
    let of_all = plan.work.leaves_unanswered().then(|| Quota::new(requests, true));
    for number in 0..threads {
        let part = plan.load.requests.map_or(u64::MAX, |_| requests / threads + u64::from(number < requests % threads));
        let quota = of_all.clone().unwrap_or_else(|| Quota::new(part, false));
        let share = Share::of(plan, number, threads, times, quota, progress)?;
        let (sender, receiver) = oneshot::channel();
        let (plan, stop) = (plan.clone(), stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().spawn(move || {
            let done = runtime.block_on(share.drive(&plan, &stop));
            // Whoever does not wait for it any more has no use for it.
            let _ = sender.send(done);
        })?;
        running.push(receiver);
    }
    // What it costs to get ready and warm does not count.
    if counted_from > Instant::now() {
        tokio::select! {
            () = sleep_until(counted_from.into()) => {}
            () = stop.cancelled() => {}
        }
    }
    let cpu_before = cpu_time();
    let mut all = new_tally()?;
    for receiver in running {
        let tally = receiver.await.map_err(|_| io::Error::other("a thread of the load ended early"))?;
        all.add(&tally?);
    }
    all.cpu = cpu_time().saturating_sub(cpu_before);
    Ok(all)
}

/// The CPU time that this process has used so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

fn new_tally() -> io::Result<Tally> {
    Tally::new().ok_or_else(|| io::Error::other("there is no room for a histogram"))
}

/// One thread's share of a load.
#[derive(Debug)]
struct Share {
    connections: u64,
    first_connection: u64,
    load: Arc<ThreadLoad>,
}

/// What the connections of a thread share.
#[derive(Debug)]
struct ThreadLoad {
    times: Times,
    quota: Arc<Quota>,
    pace: Option<Pace>,
    /// How many requests the rate lets go.
    due: u64,
    /// How many requests that count are asked and not answered.
    in_flight: AtomicU64,
    /// When the last right answer came, or else when the first could.
    last_right: Mutex<Instant>,
    /// For how long nothing has to be answered for a run to be given up that would end by itself only after many more
    /// failures.
    patience: Option<Duration>,
    tally: Mutex<Tally>,
    connecting: Semaphore,
    progress: Arc<Progress>,
}

/// How many requests are still to be counted.
#[derive(Debug)]
struct Quota {
    left: Mutex<u64>,
    /// Whether they are counted when they are answered, not when they are asked: for a run that leaves some unanswered.
    by_answers: bool,
    /// There are none left, and nobody waits for those that are on their way.
    ended: CancellationToken,
}

impl Quota {
    fn new(requests: u64, by_answers: bool) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(requests), by_answers, ended: CancellationToken::new() })
    }

    /// Takes requests to ask, up to so many.
    fn ask(&self, most: usize) -> usize {
        let mut left = lock(&self.left);
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
        if !self.by_answers {
            *left -= count as u64;
        }
        count
    }

    /// So many have been answered, rightly or not; gives how many of them were wanted.
    fn answer(&self, count: usize) -> usize {
        if !self.by_answers {
            return count;
        }
        let mut left = lock(&self.left);
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(count);
        *left -= wanted as u64;
        if *left == 0 {
            self.ended.cancel();
        }
        wanted
    }

    /// How many a rate has to let go: as many as are left, or as many as it takes to have so many answered.
    fn due(&self) -> u64 {
        if self.by_answers { u64::MAX } else { *lock(&self.left) }
    }
}

/// Requests that go out together.
#[derive(Clone, Copy, Debug)]
struct Batch {
    count: usize,
    /// When it was begun, if they all were at once.
    begun: Instant,
    /// The number of its first request, at a fixed rate.
    first: u64,
    /// Whether it counts, or is there to warm up.
    counted: bool,
}

impl Share {
    fn of(
        plan: &Plan,
        number: u64,
        threads: u64,
        times: Times,
        quota: Arc<Quota>,
        progress: &Arc<Progress>,
    ) -> io::Result<Self> {
        let (connections, more) = (plan.load.connections / threads, plan.load.connections % threads);
        let pace = plan.load.rate.map(|rate| {
            let nanos = u128::from(threads) * 1_000_000_000 / u128::from(rate);
            let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1));
            // The threads take turns.
            let turn = interval * u32::try_from(number).unwrap_or_default() / u32::try_from(threads).unwrap_or(1);
            let warming = plan.load.warmup.unwrap_or_default().as_nanos() / interval.as_nanos();
            Pace::new(times.begin + turn, interval, u64::try_from(warming).unwrap_or(u64::MAX))
        });
        Ok(Self {
            connections: connections + u64::from(number < more),
            first_connection: connections * number + number.min(more),
            load: Arc::new(ThreadLoad {
                times,
                due: quota.due(),
                quota,
                pace,
                in_flight: AtomicU64::new(0),
                last_right: Mutex::new(times.counted_from),
                patience: times.until.is_none().then(|| plan.limit.max(PATIENCE)),
                tally: Mutex::new(new_tally()?),
                connecting: Semaphore::new(CONNECTING),
                progress: Arc::clone(progress),
            }),
        })
    }

    async fn drive(self, plan: &Plan, stop: &CancellationToken) -> io::Result<Tally> {
        let load = self.load;
        let mut connections = JoinSet::new();
        let endpoints: Arc<[Endpoint]> = plan.endpoints.clone().into();
        let first = Link::new(plan);
        for number in 0..self.connections {
            let number = usize::try_from(self.first_connection + number).unwrap_or_default();
            // Each connection begins with an address of its own.
            let mut endpoints = Endpoints { all: Arc::clone(&endpoints), next: number % plan.endpoints.len() };
            let (load, link) = (Arc::clone(&load), first.another());
            match plan.work.style() {
                Style::Short(framing) => {
                    connections.spawn(short(load, link, endpoints, framing));
                }
                Style::Kept => {
                    connections.spawn(kept(load, link, endpoints.next(), plan.batch()));
                }
            }
        }
        let working = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // A duel that is over leaves moves waiting for players who are done.
            () = load.quota.ended.cancelled() => {}
            () = working => {}
            error = load.pacing() => return Err(error),
        }
        Ok(load.ended())
    }
}

/// The server, from one address of our own after the other.
struct Endpoints {
    all: Arc<[Endpoint]>,
    next: usize,
}

impl Endpoints {
    fn next(&mut self) -> Endpoint {
        let endpoint = self.all[self.next].clone();
        self.next = (self.next + 1) % self.all.len();
        endpoint
    }
}

async fn short(load: Arc<ThreadLoad>, mut link: Link, mut endpoints: Endpoints, framing: Framing) {
    while let Some(batch) = load.take(1).await {
        let endpoint = endpoints.next();
        let asked = async {
            let mut stream = load.connect(&mut link, &endpoint).await?;
            link.ask_once(&mut stream, &endpoint, framing).await
        };
        match asked.await {
            Ok(()) => load.answered(&batch, 0, 1, Outcomes::default()),
            Err(failure) => {
                load.failed(&batch, 1, &failure);
                sleep(PAUSE).await;
            }
        }
    }
}

async fn kept(load: Arc<ThreadLoad>, mut link: Link, endpoint: Endpoint, in_flight: usize) {
    let mut stream = None;
    loop {
        let connected = match &mut stream {
            Some(stream) => stream,
            None => match load.connect(&mut link, &endpoint).await {
                Ok(made) => stream.insert(made),
                // A request that could not even be asked is one that was not answered.
                Err(failure) => {
                    let Some(batch) = load.take(1).await else { return };
                    load.failed(&batch, 1, &failure);
                    sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let Some(batch) = load.take(in_flight).await else { return };
        let (mut answered, mut trusted) = (0, true);
        let asked = link.ask(connected, &endpoint, batch.count, |told| match told {
            Told::Right(count, outcomes) => {
                load.answered(&batch, answered, count, outcomes);
                answered += count;
            }
            Told::NotRight(failure) => {
                load.failed(&batch, 1, &failure);
                answered += 1;
                trusted = false;
            }
        });
        if let Err(failure) = asked.await {
            // What was not asked for is one thing too many, also where all the answers have come.
            load.failed(&batch, (batch.count - answered).max(1), &failure);
            trusted = false;
        }
        if !trusted {
            stream = None;
            sleep(PAUSE).await;
        }
    }
}

impl ThreadLoad {
    /// Lets requests go out at their rate, if there is one, and ends what would not end by itself.
    ///
    /// This goes on for as long as there is no error.
    async fn pacing(&self) -> io::Error {
        if let Some(pace) = &self.pace
            && let Err(error) = pace.keep(self.due, self.times.until).await
        {
            return error;
        }
        if let Some(until) = self.times.until {
            sleep_until(until.into()).await;
            if self.quota.by_answers {
                self.quota.ended.cancel();
            }
        }
        pending().await
    }

    /// What came of it all, now that it has ended.
    fn ended(&self) -> Tally {
        let now = Instant::now();
        let mut tally = lock(&self.tally).clone();
        let by_itself = lock(&self.quota.left).eq(&0);
        let end = match self.times.until {
            Some(until) if now >= until => Some(until),
            // Whoever ended it did so now.
            _ if !by_itself => Some(now),
            _ => None,
        };
        if let Some(end) = end {
            tally.took = end.saturating_duration_since(self.times.counted_from);
        }
        if let Some(pace) = &self.pace {
            match end {
                Some(end) => {
                    let (unsent, longest, shortest) = pace.unsent(self.due, end);
                    tally.not_sent_in_turn(unsent, longest, shortest);
                }
                None => tally.took = tally.took.max(pace.length(tally.right + tally.not_right())),
            }
        }
        if self.quota.by_answers {
            tally.in_play = self.in_flight.load(Ordering::Relaxed);
        }
        tally
    }

    async fn connect(&self, link: &mut Link, endpoint: &Endpoint) -> Result<Stream, Failure> {
        // It is never closed.
        let _turn = self.connecting.acquire().await;
        link.connect(endpoint).await
    }

    /// Takes requests to ask, up to so many; `None` once there are no more.
    async fn take(&self, most: usize) -> Option<Batch> {
        let (first, due) = match &self.pace {
            Some(pace) => pace.take(most).await?,
            None => (0, most),
        };
        let now = Instant::now();
        // What was due in time still goes out, where it has not had to wait.
        let grace = if self.pace.is_some() { GRACE } else { Duration::ZERO };
        let over = self.times.until.is_some_and(|until| now >= until + grace);
        let counted = match &self.pace {
            Some(pace) => pace.counts(first),
            None => now >= self.times.counted_from,
        };
        let count = match (over, counted) {
            (true, _) => 0,
            (false, true) => self.quota.ask(due),
            (false, false) => due,
        };
        if let Some(pace) = &self.pace {
            pace.give_back(due - count);
        }
        if counted {
            self.in_flight.fetch_add(count as u64, Ordering::Relaxed);
        }
        (count > 0).then_some(Batch { count, begun: now, first, counted })
    }

    /// Answers have come: so many of a batch, after so many before them.
    fn answered(&self, batch: &Batch, before: usize, count: usize, outcomes: Outcomes) {
        if !batch.counted || count == 0 {
            return;
        }
        self.in_flight.fetch_sub(count as u64, Ordering::Relaxed);
        let right = self.quota.answer(count) as u64;
        if right == 0 {
            return;
        }
        let now = Instant::now();
        *lock(&self.last_right) = now;
        let mut tally = lock(&self.tally);
        match &self.pace {
            Some(pace) => {
                let first = batch.first + before as u64;
                for number in first..first + right {
                    tally.answered(1, now.saturating_duration_since(pace.intended(number)));
                }
            }
            None => tally.answered(right, now - batch.begun),
        }
        tally.outcomes += outcomes;
        tally.until(self.times.counted_from, now);
        self.progress.right.fetch_add(right, Ordering::Relaxed);
    }

    /// Requests of a batch were not answered right. A wrong answer is one while it warms up too.
    fn failed(&self, batch: &Batch, count: usize, failure: &Failure) {
        let now = Instant::now();
        let mut wanted = 1;
        if batch.counted {
            // Of what was sent without having been asked for, nothing was in flight.
            let in_flight = self.in_flight.load(Ordering::Relaxed).min(count as u64);
            self.in_flight.fetch_sub(in_flight, Ordering::Relaxed);
            wanted = self.quota.answer(count);
        } else if failure.kind() != Kind::Wrong {
            wanted = 0;
        }
        if wanted > 0 {
            let mut tally = lock(&self.tally);
            tally.failed(wanted as u64, failure);
            tally.until(self.times.counted_from, now);
            self.progress.not_right.fetch_add(wanted as u64, Ordering::Relaxed);
        }
        let without = now.saturating_duration_since(*lock(&self.last_right));
        if self.patience.is_some_and(|patience| without > patience) {
            lock(&self.tally).given_up = true;
            self.quota.ended.cancel();
        }
    }
}

/// Nothing panics while it holds one of these, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
