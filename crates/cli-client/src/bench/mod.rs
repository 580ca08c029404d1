//! `bench`: puts load on a server, verifies every reply, and measures.
//!
//! - `plan`: the parameters of a run;
//! - `load`: runs it, in threads, each with many of `connection` and, at a fixed rate, a `schedule`;
//! - `stats`: the measurements; `report`: the output, with numbers formatted by `figures`.

mod connection;
mod figures;
mod load;
mod plan;
mod report;
mod schedule;
mod stats;

use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::client::rps::Connection;
use proto::client::{Endpoint, Timeouts};
use proto::wire::power::client::Framing;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::arguments::bench::{BenchCommand, DuelLoad, ExchangeLoad, PowerLoad, RpsLoad};
use crate::arguments::values::SourceList;
use crate::error::CliError;
use crate::language::texts;
use crate::service::Service;
use crate::session::Session;
use crate::status_line::StatusLine;

use connection::{LoadConnection, Verdict};
use figures::{grouped, per_second, rate};
use plan::{Plan, Workload};
use report::{Comparison, Report};
use stats::{Outcomes, Stats};

/// How many requests are in flight in the third run of a comparison by default: enough that a read or a write costs
/// little beside its requests.
const COMPARED_PIPELINE: u64 = 64;

/// Files that this process has open beside its connections: standard streams, timers, event queues.
const RESERVED_FDS: u64 = 64;

/// Loads a server as the arguments say, and reports.
///
/// # Errors
///
/// If the load cannot begin; if not every reply was right, where a wrong reply decides, or else the most frequent failure
/// of all runs; or if the client was interrupted, which still reports the run so far.
pub(crate) async fn run(command: BenchCommand, session: &Session) -> Result<(), CliError> {
    let plans = plans(command, session.timeouts.reply)?;
    let is_comparison = plans.len() > 1;
    let mut reports = Vec::new();
    let mut broken = Ok(());
    for plan in plans {
        match run_plan(plan, session).await {
            Ok(report) if is_comparison && session.interrupt.is_cancelled() && report.stats.requests() == 0 => {}
            Ok(report) => reports.push(report),
            Err(failure) => broken = Err(failure),
        }
        if broken.is_err() || session.interrupt.is_cancelled() {
            break;
        }
    }
    // The runs before a failure are still reported.
    match &reports[..] {
        [] => {}
        [report] if !is_comparison => session.output.answer(report, report)?,
        reports => session.output.answer(Comparison(reports), &Comparison(reports))?,
    }
    broken?;
    if session.interrupt.is_cancelled() {
        return Err(session.interrupt.error());
    }
    let worst = reports.iter().filter_map(Report::worst).max();
    worst.map_or(Ok(()), |(_, code)| Err(CliError::Reported(code)))
}

/// The runs that are asked for: one, or those to compare.
fn plans(command: BenchCommand, reply_timeout: Duration) -> Result<Vec<Plan>, CliError> {
    let plan = |workload, address: String, load, framing, keep_alive, pipeline: Option<u64>| {
        let kept = keep_alive || pipeline.is_some();
        let framing = if kept { Framing::Line } else { framing };
        let in_flight = pipeline.unwrap_or(1);
        let endpoint = Endpoint::new(&*address);
        Plan { workload, kept, framing, address, endpoint, load, in_flight, reply_timeout }
    };
    let plan = match command {
        BenchCommand::Power(PowerLoad { load, keep_alive, pipeline, framing, compare, op, number, addr }) => {
            let address = Service::Power.address(addr)?;
            let workload = Workload::power(op, number).ok_or_else(|| CliError::Usage(texts::no_such_power()))?;
            let short = framing.unwrap_or_default();
            let plan = |keep_alive, pipeline| {
                plan(workload.clone(), address.clone(), load.clone(), short, keep_alive, pipeline)
            };
            if compare {
                let pipeline = pipeline.or(Some(COMPARED_PIPELINE));
                return Ok(vec![plan(false, None), plan(true, None), plan(true, pipeline)]);
            }
            plan(keep_alive, pipeline)
        }
        BenchCommand::Rps(RpsLoad { load, pipeline, addr }) => {
            plan(Workload::Rps, Service::Rps.address(addr)?, load, Framing::Line, true, Some(pipeline))
        }
        BenchCommand::Duel(DuelLoad { load, pipeline, window, addr }) => {
            let plan = plan(Workload::Duel, Service::Duel.address(addr)?, load, Framing::Line, true, Some(pipeline));
            Plan { reply_timeout: reply_timeout + window, ..plan }
        }
        BenchCommand::Exchange(ExchangeLoad { load, keep_alive, pipeline, send, expect, address }) => {
            plan(Workload::Exchange { send, expect }, address, load, Framing::Bare, keep_alive, pipeline)
        }
    };
    Ok(vec![plan])
}

async fn run_plan(plan: Plan, session: &Session) -> Result<Report, CliError> {
    let plan = Arc::new(session.run_until_cancelled(checked(plan, session)).await?);
    let stats = measured(&plan, session).await?;
    Ok(Report { plan, stats, quiet: session.output.quiet })
}

/// The plan with the addresses to connect to and from, once one exchange has shown that the server is there: a load on
/// no server measures nothing.
async fn checked(mut plan: Plan, session: &Session) -> Result<Plan, CliError> {
    raise_nofile(plan.load.connections)?;
    let sources = plan.load.sources.clone().map(|SourceList(sources)| sources).unwrap_or_default();
    for source in &sources {
        UdpSocket::bind((*source, 0)).map_err(|error| CliError::Usage(texts::foreign_source(source, error)))?;
    }
    let endpoint = session.endpoint(&plan.address).with_local_addrs(sources.clone());
    let peer = if plan.workload == Workload::Duel {
        let mut connection = Connection::open(endpoint).await?;
        connection.check().await?;
        connection.peer_addr().ok()
    } else {
        let mut connection = LoadConnection::new(Arc::new(Plan { in_flight: 1, endpoint, ..plan.clone() }));
        connection.connect().await?;
        let peer = connection.peer_addr();
        let mut verified = Ok(Outcomes::default());
        connection.ask(1, |Verdict { result, .. }| verified = result).await?;
        verified?;
        peer
    };
    // A name is resolved once, not for each connection.
    let peer = peer.map_or_else(|| plan.address.clone(), |peer| peer.to_string());
    let timeouts = Timeouts { reply: plan.reply_timeout, ..session.timeouts };
    plan.endpoint = Endpoint::new(peer).with_timeouts(timeouts).with_local_addrs(sources);
    Ok(plan)
}

/// Raises this process's own limit as far as it may, as long as that is enough.
fn raise_nofile(connections: u64) -> Result<(), CliError> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, it is as it was.
    let _ = setrlimit(Resource::Nofile, limit);
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < connections + RESERVED_FDS => {
            Err(CliError::Usage(texts::too_many_connections(connections, files.saturating_sub(RESERVED_FDS))))
        }
        _ => Ok(()),
    }
}

/// Runs a plan, and shows a person at a terminal how far it is.
async fn measured(plan: &Arc<Plan>, session: &Session) -> Result<Stats, CliError> {
    let stop = CancellationToken::new();
    let line = StatusLine::new(!session.output.quiet && !session.output.json);
    let begun = Instant::now();
    let loads = load::ThreadLoad::all(plan)?;
    let running = async {
        let mut running = pin!(load::run(&loads, &stop));
        tokio::select! {
            biased;
            () = session.interrupt.cancelled() => stop.cancel(),
            stats = &mut running => return stats,
        }
        running.await
    };
    let mut last = (begun, 0);
    let progress = || {
        let (right, not_right): (Vec<u64>, Vec<u64>) = loads.iter().map(|load| load.progress()).unzip();
        let (right, not_right) = (right.iter().sum(), not_right.iter().sum());
        let (before, counted) = last;
        last = (Instant::now(), right);
        let rate = rate(per_second(right - counted, before.elapsed()));
        let elapsed = humantime::format_duration(Duration::from_secs(begun.elapsed().as_secs()));
        let progress = texts::bench_progress(grouped(right), rate, grouped(not_right));
        (format!("{elapsed}  {progress}"), elapsed.to_string())
    };
    Ok(line.run(running, progress).await?)
}
