//! Puts a load on a server: threads, each with its share of the connections, and their stats put together.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{LoadConnection, Verdict};
use super::plan::{ConnMode, Plan};
use super::stats::Stats;
use super::thread_load::{ThreadLoad, part};

/// How long a connection waits after a failure. How fast a server rejects clients is not what is to be measured.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a plan to its end, or until `stop`, with a thread for each load.
pub(super) async fn run(plan: &Arc<Plan>, loads: &[Arc<ThreadLoad>], stop: &CancellationToken) -> io::Result<Stats> {
    let mut running = Vec::new();
    for (number, load) in (0..).zip(loads) {
        let (sender, receiver) = oneshot::channel();
        let (plan, load, stop) = (Arc::clone(plan), Arc::clone(load), stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().spawn(move || {
            let ended = runtime.block_on(drive(plan, &load, number, &stop));
            // The receiver is gone where another thread could not be started.
            let _ = sender.send(ended);
        })?;
        running.push(receiver);
    }
    // CPU time before requests are counted is left out.
    if let Some(load) = loads.first() {
        tokio::select! {
            () = sleep_until(load.counted_from().into()) => {}
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
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// Drives all connections of the thread of this number.
async fn drive(plan: Arc<Plan>, load: &Arc<ThreadLoad>, number: u64, stop: &CancellationToken) -> io::Result<Stats> {
    let connections = |thread| part(plan.load.connections, thread, plan.threads());
    let first_connection: u64 = (0..number).map(connections).sum();
    let template = LoadConnection::new(Arc::clone(&plan));
    let mut driven = JoinSet::new();
    for connection in first_connection..first_connection + connections(number) {
        let connection = template.another(usize::try_from(connection).unwrap_or_default());
        driven.spawn(drive_connection(Arc::clone(load), connection, plan.mode, plan.batch()));
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A duel that is over leaves moves waiting for players who are done.
        () = load.budget_ended() => {}
        () = async { while driven.join_next().await.is_some() {} } => {}
        error = load.keep_schedule() => return Err(error),
    }
    Ok(load.ended())
}

async fn drive_connection(load: Arc<ThreadLoad>, mut connection: LoadConnection, mode: ConnMode, in_flight: usize) {
    loop {
        // To make a short connection is part of its request.
        let connected = if mode == ConnMode::Kept { connection.connect().await } else { Ok(()) };
        // A request that could not even be sent is one that failed.
        let Some(batch) = load.take(if connected.is_ok() { in_flight } else { 1 }).await else { return };
        let (mut replies, mut all_right) = (0, true);
        let asked = async {
            connected?;
            let pass = |verdict| match verdict {
                Verdict::Right(count, outcomes) => {
                    load.right(&batch, replies, count, outcomes);
                    replies += count;
                }
                Verdict::Wrong(failure) | Verdict::Last(failure) => {
                    load.failed(&batch, 1, &failure);
                    replies += 1;
                    all_right = false;
                }
            };
            connection.ask(batch.count, pass).await
        };
        if let Err(failure) = asked.await {
            // A reply that was not asked for is an error, also where all others have come.
            load.failed(&batch, (batch.count - replies).max(1), &failure);
            all_right = false;
        }
        if !all_right {
            connection.close();
            sleep(PAUSE).await;
        }
    }
}
