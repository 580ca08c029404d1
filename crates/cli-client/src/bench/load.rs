//! Puts a load on a server: threads, each with its share of the connections, and what they counted put together.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proto::client::Endpoint;
use proto::wire::power::client::Framing;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Told};
use super::pace::Pace;
use super::plan::{Plan, Style};
use super::quota::Quota;
use super::tally::{Outcomes, Tally};
use super::thread_load::{Progress, ThreadLoad, Times};

/// A connection that met with trouble waits so long before the next try: a server that turns everybody away is not to be
/// measured by how fast it does that.
const PAUSE: Duration = Duration::from_millis(10);

/// So long a server may be gone, to be started anew, before a run that counts requests is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long threads, timers and first connections may take to be there.
const LEAD: Duration = Duration::from_millis(50);

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
    let mut all = Tally::new()?;
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

/// One thread's share of a load.
#[derive(Debug)]
struct Share {
    connections: u64,
    first_connection: u64,
    load: Arc<ThreadLoad>,
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
        let load = ThreadLoad::new(times, quota, pace, plan.limit.max(PATIENCE), Arc::clone(progress))?;
        Ok(Self {
            connections: connections + u64::from(number < more),
            first_connection: connections * number + number.min(more),
            load: Arc::new(load),
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
            () = load.quota_ended() => {}
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
