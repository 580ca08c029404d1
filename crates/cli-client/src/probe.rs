//! `probe`: checks with one real exchange that a server works.

use std::time::Duration;

use proto::client::power::Client;
use proto::client::rps::{Connection, Round};
use proto::client::{Connector, ErrorKind, Phase, Timeouts};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::Move;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::arguments::{DuelProbeArguments, ProbeArguments, ProbeCommand};
use crate::error::CliError;
use crate::language::texts;
use crate::output::write_stderr;
use crate::session::Session;
use crate::status_line::StatusLine;
use crate::target::Target;
use crate::terminal::EchoOff;

/// Pause between two attempts: short compared with a server start, long compared with an exchange.
const PAUSE: Duration = Duration::from_millis(100);

/// Probes each server in turn: repeats the exchange until it succeeds, or makes one without `--wait`, and prints how
/// long it took. A failure is reported, and the next server is still probed.
///
/// # Errors
///
/// The exit code of the first failure.
pub(crate) async fn run(command: ProbeCommand, session: &Session) -> Result<(), CliError> {
    let (target, endpoints, wait) = match command {
        ProbeCommand::Power(ProbeArguments { addr, wait }) => {
            (Target::Power, vec![Target::Power.endpoint(addr)?], wait)
        }
        ProbeCommand::Rps(ProbeArguments { addr, wait }) => (Target::Rps, vec![Target::Rps.endpoint(addr)?], wait),
        ProbeCommand::Duel(DuelProbeArguments { addr, wait }) => (Target::Duel, Target::Duel.endpoints(addr)?, wait),
    };
    // The first connector reads the system's authorities, which is not part of an exchange.
    let connectors: Vec<_> = endpoints.iter().map(|endpoint| session.connector(endpoint)).collect();
    let deadline = wait.map(|wait| Instant::now() + wait);
    let mut result = Ok(());
    for connector in connectors {
        let status_line = StatusLine::new(deadline.is_some() && !session.output.quiet && !session.output.json);
        let _echo_off = status_line.is_shown().then(EchoOff::start);
        let server = texts::server_at(target.name(), connector.address());
        let measured = status_line.run(measure_latency(target, &connector, deadline, session), || {
            let left = deadline.map_or(Duration::ZERO, |deadline| deadline - Instant::now()).as_secs();
            (texts::probing(&server, left), left.to_string())
        });
        match measured.await {
            Ok(_) if session.output.quiet => {}
            Ok(latency) => {
                let (probe, address) = (target.name(), connector.address());
                let millis = format!("{:.1}", latency.as_secs_f64() * 1e3);
                let line = texts::works(texts::server_at(probe, address), millis);
                session.output.print(line, &ProbeResult { probe, address, latency_us: latency.as_micros() })?;
            }
            Err(error) => {
                session.output.report_error(&(), &error);
                result = result.and(Err(CliError::Reported(error.code())));
            }
        }
    }
    result
}

/// Repeats the exchange until it succeeds or the deadline is near, or makes one without a deadline. Returns how long
/// the last exchange took.
///
/// # Errors
///
/// The error of the last attempt.
async fn measure_latency(
    target: Target,
    connector: &Connector,
    deadline: Option<Instant>,
    session: &Session,
) -> Result<Duration, CliError> {
    loop {
        let started = Instant::now();
        let timeout = session.timeouts.reply;
        // The last attempt ends with the wait, but has at least [`PAUSE`].
        let attempt_timeout =
            deadline.map_or(timeout, |deadline| timeout.min(whole_millis(deadline - started).max(PAUSE)));
        let mut connector = connector.clone().with_timeouts(Timeouts::all(attempt_timeout));
        if deadline.is_some() {
            // All phases of an attempt share its time.
            connector = connector.with_deadline(started + attempt_timeout);
        }
        match exchange(target, connector).await {
            Ok(()) => return Ok(started.elapsed()),
            Err(error) if deadline.is_none_or(|deadline| Instant::now() + PAUSE >= deadline) => return Err(error),
            Err(error) => {
                if session.verbose {
                    write_stderr(&format!("{}\n", texts::not_yet(error.message().unwrap_or_default())));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Rounds down to whole milliseconds, for shorter messages.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[derive(Serialize)]
struct ProbeResult<'a> {
    probe: &'static str,
    address: &'a str,
    latency_us: u128,
}

/// Makes one exchange, and verifies the reply.
async fn exchange(target: Target, connector: Connector) -> Result<(), CliError> {
    match target {
        Target::Power => power(connector).await,
        Target::Rps => rps(connector).await,
        // A valid move would start a round with a waiting player, or wait for one.
        Target::Duel => Ok(Connection::open(connector).await?.check().await?),
    }
}

async fn power(connector: Connector) -> Result<(), CliError> {
    let (operand, expected) = (Number::from(3), Number::from(9));
    let address = connector.address().to_owned();
    match Client::new(connector).request(Operation::Square, operand).await? {
        Ok(square) if square == expected => Ok(()),
        Ok(square) => Err(CliError::WrongReply(texts::wrong_square(&address, operand, square, expected))),
        Err(reply) => Err(CliError::from_reply(&address, &reply)),
    }
}

async fn rps(connector: Connector) -> Result<(), CliError> {
    let address = connector.address().to_owned();
    let round = Connection::open(connector).await?.throw(Move::Rock).await.map_err(|error| {
        CliError::from(error).with_hint(|kind, phase| {
            matches!((kind, phase), (ErrorKind::TimedOut(_), Phase::Reply)).then(texts::hint_is_duel)
        })
    })?;
    match round {
        Round::Judged(_) => Ok(()),
        Round::Void => Err(CliError::WrongReply(texts::house_void(&address))),
    }
}
