//! `bench`: puts load on a server, verifies every answer, and measures.
//!
//! - `plan`: what a run is to do; `load`: does it, with threads and, in each, a `link` for every connection;
//! - `thread_load`: which request goes next, as `quota` and, for a fixed rate, `pace` have it;
//! - `tally`: what came of it; `report`: how that is told, with its numbers as `figures`.

mod figures;
mod link;
mod load;
mod lock;
mod pace;
mod plan;
mod quota;
mod report;
mod tally;
mod thread_load;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::client::Endpoint;
use proto::client::rps::Connection;
use proto::wire::power::client::Framing;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::arguments::bench::{BenchCommand, ExchangeArguments, PowerArguments};
use crate::arguments::values::Sources;
use crate::failure::Failure;
use crate::language::texts;
use crate::service::Service;
use crate::session::Session;
use crate::status_line::StatusLine;

use link::{Link, Told};
use plan::{Plan, Style, Work};
use report::{Comparison, Report};
use tally::Tally;
use thread_load::Progress;

/// How many requests are in flight in the third run of a comparison, where nothing says it: enough that what is done for
/// a read or a write counts for little beside what is done for a request.
const COMPARED_PIPELINE: u64 = 64;

/// Files that this process has open beside its connections: the standard ones, timers, what waits for them.
const FILES_BESIDE: u64 = 64;

/// Loads a server as the arguments say and tells what came of it.
///
/// # Errors
///
/// What keeps the load from beginning; that not every request was answered right, by the kind of the most; or that the
/// client was asked to end, in which case what came of it so far is told.
pub(crate) async fn run(command: BenchCommand, session: &Session) -> Result<(), Failure> {
    let timeouts = session.timeouts;
    match command {
        BenchCommand::Power(arguments) => power(arguments, session).await,
        BenchCommand::Rps(arguments) => {
            let address = Service::Rps.address(arguments.addr)?;
            let plan = Plan::new(Work::Rps, arguments.load, arguments.pipeline, timeouts.reply);
            bench(plan, &address, session).await
        }
        BenchCommand::Duel(arguments) => {
            let address = Service::Duel.address(arguments.addr)?;
            let limit = timeouts.reply + arguments.window;
            let plan = Plan::new(Work::Duel, arguments.load, arguments.pipeline, limit);
            bench(plan, &address, session).await
        }
        BenchCommand::Exchange(ExchangeArguments { load, keep_alive, pipeline, send, expect, address }) => {
            let style = if keep_alive || pipeline.is_some() { Style::Kept } else { Style::Short(Framing::Bare) };
            let work = Work::Exchange { send, expect, style };
            bench(Plan::new(work, load, pipeline.unwrap_or(1), timeouts.reply), &address, session).await
        }
    }
}

async fn bench(plan: Plan, address: &str, session: &Session) -> Result<(), Failure> {
    let report = run_plan(plan, address, session).await?;
    session.output.answer(&report, &report)?;
    ended(std::slice::from_ref(&report), session)
}

async fn run_plan(plan: Plan, address: &str, session: &Session) -> Result<Report, Failure> {
    let plan = session.until_asked_to_end(checked(plan, address, session)).await?;
    let tally = measured(&plan, session).await?;
    Ok(Report::new(&plan, address, tally, session.output.quiet))
}

async fn power(arguments: PowerArguments, session: &Session) -> Result<(), Failure> {
    let address = Service::Power.address(arguments.addr)?;
    let plan = |style, in_flight| {
        let work = Work::power(arguments.op, arguments.number, style);
        let work = work.ok_or_else(|| Failure::Usage(texts::no_such_power()))?;
        Ok::<_, Failure>(Plan::new(work, arguments.load.clone(), in_flight, session.timeouts.reply))
    };
    let short = Style::Short(arguments.framing.unwrap_or_default().into());
    if !arguments.compare {
        let kept = arguments.keep_alive || arguments.pipeline.is_some();
        let style = if kept { Style::Kept } else { short };
        return bench(plan(style, arguments.pipeline.unwrap_or(1))?, &address, session).await;
    }
    let pipeline = arguments.pipeline.unwrap_or(COMPARED_PIPELINE);
    let mut runs = Vec::new();
    let mut broken = Ok(());
    for (style, in_flight) in [(short, 1), (Style::Kept, 1), (Style::Kept, pipeline)] {
        match run_plan(plan(style, in_flight)?, &address, session).await {
            Ok(report) if session.interrupt.is_asked() && report.is_empty() => {}
            Ok(report) => runs.push(report),
            Err(failure) => broken = Err(failure),
        }
        if broken.is_err() || session.interrupt.is_asked() {
            break;
        }
    }
    // What was measured before it broke is told all the same.
    let comparison = Comparison::new(runs);
    if let Some(comparison) = &comparison {
        session.output.answer(comparison, comparison)?;
    }
    broken?;
    ended(comparison.as_ref().map(Comparison::runs).unwrap_or_default(), session)
}

/// Whether all went as it should: a wrong answer decides, or else the most frequent failure of all runs.
fn ended(reports: &[Report], session: &Session) -> Result<(), Failure> {
    if session.interrupt.is_asked() {
        return Err(session.interrupt.failure());
    }
    let worst = reports.iter().filter_map(Report::worst).max();
    worst.map_or(Ok(()), |(_, code)| Err(Failure::Reported(code)))
}

/// The plan with the addresses to connect to and from, once one exchange has shown that the server is there: a load on
/// nobody measures nothing.
async fn checked(mut plan: Plan, address: &str, session: &Session) -> Result<Plan, Failure> {
    enough_files(plan.load.connections)?;
    let mut first = session.endpoint(address);
    if let Some(Sources(sources)) = &plan.load.sources {
        for source in sources {
            UdpSocket::bind((*source, 0))
                .map_err(|error| Failure::Usage(texts::foreign_source(&source.to_string(), &error.to_string())))?;
        }
        first = first.from_source(sources[0]);
    }
    let peer = match (&plan.work, plan.work.style()) {
        (Work::Duel, _) => {
            let mut connection = Connection::open(first.clone()).await?;
            connection.check().await?;
            connection.peer_addr()
        }
        (_, style) => {
            let mut link = Link::new(&Plan { in_flight: 1, ..plan.clone() });
            let mut stream = link.connect(&first).await?;
            let peer = stream.peer_addr();
            if let Style::Short(framing) = style {
                link.ask_once(&mut stream, &first, framing).await?;
            } else {
                let mut not_right = Ok(());
                let asked = link.ask(&mut stream, &first, 1, |told| {
                    if let Told::NotRight(failure) = told {
                        not_right = Err(failure);
                    }
                });
                asked.await?;
                not_right?;
            }
            peer
        }
    };
    // A name is resolved once, not for each connection.
    let peer = peer.map_or_else(|_| address.to_owned(), |peer| peer.to_string());
    let endpoint = Endpoint::new(peer).with_timeouts(*first.timeouts());
    plan.endpoints = match &plan.load.sources {
        None => vec![endpoint],
        Some(Sources(sources)) => sources.iter().map(|&source| endpoint.clone().from_source(source)).collect(),
    };
    Ok(plan)
}

/// Raises this process's own limit as far as it may, as long as that is enough.
fn enough_files(connections: u64) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, it is as it was.
    let _ = setrlimit(Resource::Nofile, limit);
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < connections + FILES_BESIDE => {
            Err(Failure::Usage(texts::too_many_connections(connections, files.saturating_sub(FILES_BESIDE))))
        }
        _ => Ok(()),
    }
}

/// Runs a plan, and shows a person at a terminal how far it is.
async fn measured(plan: &Plan, session: &Session) -> Result<Tally, Failure> {
    let stop = CancellationToken::new();
    let progress = Arc::new(Progress::default());
    let line = StatusLine::new(!session.output.quiet && !session.output.json);
    let begun = Instant::now();
    let running = load::run(plan, &stop, &progress);
    tokio::pin!(running);
    let mut seconds = interval(Duration::from_secs(1));
    let mut last = (begun, 0);
    let tally = loop {
        tokio::select! {
            biased;
            () = session.interrupt.asked(), if !stop.is_cancelled() => stop.cancel(),
            tally = &mut running => break tally,
            _ = seconds.tick() => {
                let right = progress.right.load(Ordering::Relaxed);
                let not_right = progress.not_right.load(Ordering::Relaxed);
                let (before, counted) = last;
                let rate = figures::per_second(right - counted, before.elapsed());
                last = (Instant::now(), right);
                let elapsed = humantime::format_duration(Duration::from_secs(begun.elapsed().as_secs()));
                let progress = texts::bench_progress(&figures::grouped(right), &rate, &figures::grouped(not_right));
                line.draw(&format!("{elapsed}  {progress}"), &elapsed.to_string());
            }
        }
    };
    line.clear();
    tally.map_err(Failure::System)
}
