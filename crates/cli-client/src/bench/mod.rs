//! `bench`: loads a server, verifies every reply, and measures.
//!
//! - `plan`: the parameters of a run;
//! - `load`: runs the plan in threads; each has many `connection`s and, at a fixed rate, a `schedule`;
//! - `stats`: the measurements; `threshold`: conditions on them;
//! - `report`: the output at the end, with numbers formatted by `figures` and lines that `layout` fits to the terminal;
//!   `series`: the output of each second;
//! - `compare`: compares the reports of several runs.

mod compare;
mod connection;
mod figures;
mod layout;
mod load;
mod plan;
mod report;
mod schedule;
mod series;
mod stats;
pub(crate) mod threshold;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proto::client::rps::Connection;
use proto::client::{Connector, Timeouts};
use proto::endpoint::Endpoint;
use proto::wire::power::client::Framing;
use tokio_util::sync::CancellationToken;

use crate::arguments::bench::{
    BenchCommand, CompareArguments, DuelLoad, ExchangeLoad, LoadOptions, PowerLoad, RpsLoad,
};
use crate::arguments::values::SourceList;
use crate::error::{CliError, EXIT_FAILURE};
use crate::language::texts;
use crate::open_files::raise_open_files;
use crate::output::write_message;
use crate::session::Session;
use crate::status_line::StatusLine;
use crate::target::Target;

use connection::{LoadConnection, Verdict};
use figures::{grouped, per_second, rate};
use layout::Layout;
use plan::{Plan, Workload};
use report::{Comparison, Report};
use series::Series;
use stats::{Outcomes, Stats};

/// Requests in flight in the third run of a comparison by default. With this many, a system call costs little per
/// request.
const COMPARED_PIPELINE: u64 = 64;

/// Minimum connections of a duel: a player alone waits for the whole window, and gets no verdict.
const MIN_PLAYERS: u64 = 2;

/// File descriptors reserved for other uses than connections: standard streams, timers, event queues.
const RESERVED_FDS: u64 = 64;

/// Runs the load and prints the report, or compares the reports of earlier runs.
///
/// # Errors
///
/// Fails if the load cannot start, if a reply was not correct, if a threshold is not met, or if a signal interrupted
/// the run, whose report is still printed. A wrong reply decides the exit code, or else the most frequent kind of error
/// in all runs, or else the thresholds.
pub(crate) async fn run(command: BenchCommand, session: &Session) -> Result<(), CliError> {
    if let BenchCommand::Compare(CompareArguments { files }) = command {
        return compare::run(&files, session);
    }
    let plans = plans(command, session)?;
    let mut series = match plans.first().and_then(|plan| plan.load.series.clone()) {
        Some(path) => Some(session.run_until_cancelled(Series::create(path)).await?),
        None => None,
    };
    let is_comparison = plans.len() > 1;
    let mut reports = Vec::new();
    let mut result = Ok(());
    for (number, plan) in plans.into_iter().enumerate() {
        let name = is_comparison.then(|| Comparison::NAMES[number]);
        match run_plan(plan, name, series.as_mut(), session).await {
            Ok(report) if is_comparison && session.interrupt.is_cancelled() && report.stats.requests() == 0 => {}
            Ok(report) => reports.push(report),
            Err(error) => result = Err(error),
        }
        if result.is_err() || session.interrupt.is_cancelled() {
            break;
        }
    }
    // Runs before an error are still reported.
    match &reports[..] {
        [] => {}
        [report] if !is_comparison => session.output.print(report, report)?,
        reports => session.output.print(Comparison(reports), &Comparison(reports))?,
    }
    // With `--json` the report contains them.
    if !session.output.json {
        reports.iter().flat_map(Report::failures).for_each(|message| write_message(&message));
    }
    let written = series.as_mut().map_or(Ok(()), Series::result);
    if let Err(error) = &written {
        session.output.report_error(&(), error);
    }
    result?;
    if session.interrupt.is_cancelled() {
        return Err(session.interrupt.error());
    }
    let worst = reports.iter().filter_map(Report::worst).max();
    let failed = written.is_err() || reports.iter().any(Report::has_failures);
    let code = worst.map(|(_, code)| code).or_else(|| failed.then_some(EXIT_FAILURE));
    code.map_or(Ok(()), |code| Err(CliError::Reported(code)))
}

/// Returns the requested runs: one, or the runs to compare.
fn plans(command: BenchCommand, session: &Session) -> Result<Vec<Plan>, CliError> {
    let plan = |workload, endpoints: Vec<Endpoint>, load: LoadOptions, framing, keep_alive, pipeline: Option<u64>| {
        check_sources(&load, &endpoints)?;
        let keep_alive = keep_alive || pipeline.is_some();
        let framing = if keep_alive { Framing::Line } else { framing };
        let in_flight = pipeline.unwrap_or(1);
        let connectors = endpoints.iter().map(|endpoint| session.connector(endpoint)).collect();
        let timeout = session.timeouts.reply;
        let (insecure, server_name) = (session.is_insecure(), session.server_name.clone());
        Ok(Plan {
            workload,
            keep_alive,
            framing,
            connectors,
            load,
            in_flight,
            timeout,
            window: None,
            insecure,
            server_name,
        })
    };
    let plan = match command {
        BenchCommand::Power(PowerLoad { load, keep_alive, pipeline, framing, compare, op, number, addr }) => {
            let endpoint = Target::Power.endpoint(addr)?;
            let workload = Workload::power(op, number).ok_or_else(|| CliError::Usage(texts::power_out_of_range()))?;
            let short = framing.unwrap_or_default();
            let plan = |keep_alive, pipeline| {
                plan(workload.clone(), vec![endpoint.clone()], load.clone(), short, keep_alive, pipeline)
            };
            if compare {
                let pipeline = pipeline.or(Some(COMPARED_PIPELINE));
                return [(false, None), (true, None), (true, pipeline)]
                    .into_iter()
                    .map(|(keep, in_flight)| plan(keep, in_flight))
                    .collect();
            }
            plan(keep_alive, pipeline)?
        }
        BenchCommand::Rps(RpsLoad { load, pipeline, addr }) => {
            plan(Workload::Rps, vec![Target::Rps.endpoint(addr)?], load, Framing::Line, true, Some(pipeline))?
        }
        BenchCommand::Duel(DuelLoad { load, pipeline, window, addr }) => {
            let endpoints = Target::Duel.endpoints(addr)?;
            let (connections, least) = (load.connections, MIN_PLAYERS.max(endpoints.len() as u64));
            if connections < least {
                return Err(CliError::Usage(texts::too_few_players(connections, least)));
            }
            let plan = plan(Workload::Duel, endpoints, load, Framing::Line, true, Some(pipeline))?;
            Plan { window: Some(window), ..plan }
        }
        BenchCommand::Exchange(ExchangeLoad { load, keep_alive, pipeline, send, expect, addr }) => {
            plan(Workload::Exchange { send, expect }, vec![addr], load, Framing::Bare, keep_alive, pipeline)?
        }
        // Makes no run.
        BenchCommand::Compare(_) => return Ok(Vec::new()),
    };
    Ok(vec![plan])
}

/// Checks that each endpoint can be reached from the source addresses, as far as its text shows.
fn check_sources(load: &LoadOptions, endpoints: &[Endpoint]) -> Result<(), CliError> {
    let Some(SourceList(sources)) = &load.sources else { return Ok(()) };
    let is_ipv4 = sources.iter().all(IpAddr::is_ipv4);
    for endpoint in endpoints {
        let message = match endpoint {
            Endpoint::Unix(_) => texts::sources_need_ip(endpoint),
            Endpoint::Tcp(address) | Endpoint::Tls(address) => match address.host().parse::<IpAddr>() {
                Ok(host) if host.is_ipv4() != is_ipv4 => texts::sources_of_other_version(endpoint, sources[0]),
                // A name may have addresses of both versions.
                _ => continue,
            },
            Endpoint::Inherited { .. } => continue,
        };
        return Err(CliError::Usage(message));
    }
    Ok(())
}

/// Runs a plan; `name` is its name in a comparison.
async fn run_plan(
    plan: Plan,
    name: Option<&'static str>,
    series: Option<&mut Series>,
    session: &Session,
) -> Result<Report, CliError> {
    let plan = Arc::new(session.run_until_cancelled(checked(plan, session)).await?);
    let started = SystemTime::now();
    let stats = measured(&plan, name, series, session).await?;
    Ok(Report { plan, name, started, stats, quiet: session.output.quiet, layout: Layout::of_stdout() })
}

/// Makes one exchange with each server to verify that it works, since a load without a server measures nothing. Returns
/// the plan with the resolved addresses and the local addresses.
async fn checked(plan: Plan, session: &Session) -> Result<Plan, CliError> {
    check_open_files(plan.load.connections)?;
    let sources = plan.load.sources.clone().map(|SourceList(sources)| sources).unwrap_or_default();
    for source in &sources {
        UdpSocket::bind((*source, 0)).map_err(|error| CliError::Usage(texts::source_not_local(source, error)))?;
    }
    let timeouts = Timeouts { reply: plan.reply_timeout(), ..session.timeouts };
    let mut connectors = Vec::new();
    for connector in &plan.connectors {
        let peer = check_server(connector.clone().with_local_addrs(sources.clone()), &plan).await?;
        // Resolve the name once, not for each connection.
        let connector = connector.clone().with_local_addrs(sources.clone()).with_timeouts(timeouts);
        connectors.push(connector.with_peer_addr(peer).without_observer());
    }
    Ok(Plan { connectors, ..plan })
}

/// Makes one exchange with a server, and returns its IP address if it has one.
async fn check_server(connector: Connector, plan: &Plan) -> Result<Option<SocketAddr>, CliError> {
    if plan.workload == Workload::Duel {
        let mut connection = Connection::open(connector).await?;
        connection.check().await?;
        return Ok(connection.peer_addr());
    }
    let plan = Plan { in_flight: 1, connectors: vec![connector], ..plan.clone() };
    let mut connection = LoadConnection::new(Arc::new(plan));
    connection.connect().await?;
    let peer = connection.peer_addr();
    let mut verified = Ok(Outcomes::default());
    let requested = connection.request(1, |Verdict { result, .. }| verified = result).await;
    // A wrong reply is the reason, even if more bytes follow it.
    verified?;
    requested.map_err(|error| connection.explained(error))?;
    Ok(peer)
}

/// Raises the open-file limit of this process, and checks that it is enough.
fn check_open_files(connections: u64) -> Result<(), CliError> {
    match raise_open_files() {
        Some(files) if files < connections + RESERVED_FDS => {
            let most = files.saturating_sub(RESERVED_FDS);
            Err(CliError::Usage(texts::too_many_connections(connections, files, most)))
        }
        _ => Ok(()),
    }
}

/// Runs a plan, writes its series, and shows the progress on a terminal.
async fn measured(
    plan: &Arc<Plan>,
    name: Option<&'static str>,
    series: Option<&mut Series>,
    session: &Session,
) -> Result<Stats, CliError> {
    let stop = CancellationToken::new();
    let line = StatusLine::new(!session.output.quiet && !session.output.json);
    let started = Instant::now();
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
    let running = async {
        match series {
            Some(series) => series.record(name, &loads, running).await,
            None => running.await,
        }
    };
    let mut last = (started, 0);
    let progress = || {
        let (correct, error_count): (Vec<u64>, Vec<u64>) = loads.iter().map(|load| load.progress()).unzip();
        let (correct, error_count) = (correct.iter().sum(), error_count.iter().sum());
        let (before, counted) = last;
        last = (Instant::now(), correct);
        let rate = rate(per_second(correct - counted, before.elapsed()));
        let elapsed = humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()));
        let progress = texts::bench_progress(grouped(correct), rate, grouped(error_count));
        (format!("{elapsed}  {progress}"), elapsed.to_string())
    };
    Ok(line.run(running, progress).await?)
}
