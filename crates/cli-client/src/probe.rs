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

use crate::arguments::{ProbeArguments, ProbeCommand};
use crate::error::CliError;
use crate::language::texts;
use crate::output::write_stderr;
use crate::session::Session;
use crate::target::Target;

/// Pause between two attempts: short compared with a server start, long compared with an exchange.
const PAUSE: Duration = Duration::from_millis(100);

/// Repeats the exchange until it succeeds, or makes one without `--wait`, and prints how long it took.
///
/// # Errors
///
/// The error of the last attempt.
pub(crate) async fn run(command: ProbeCommand, session: &Session) -> Result<(), CliError> {
    let (target, ProbeArguments { addr, wait }) = match command {
        ProbeCommand::Power(arguments) => (Target::Power, arguments),
        ProbeCommand::Rps(arguments) => (Target::Rps, arguments),
        ProbeCommand::Duel(arguments) => (Target::Duel, arguments),
    };
    // The first connector reads the system's authorities, which is not part of an exchange.
    let connector = session.connector(&target.endpoint(addr)?);
    let address = connector.address();
    let deadline = Instant::now() + wait.unwrap_or_default();
    loop {
        let started = Instant::now();
        let timeout = session.timeouts.reply;
        // The last attempt ends with the wait, but has at least [`PAUSE`].
        let attempt_timeout = match wait {
            Some(_) => timeout.min(whole_millis(deadline - started).max(PAUSE)),
            None => timeout,
        };
        let mut connector = connector.clone().with_timeouts(Timeouts::all(attempt_timeout));
        if wait.is_some() {
            // All phases of an attempt share its time.
            connector = connector.with_deadline(started + attempt_timeout);
        }
        match exchange(target, connector).await {
            Ok(()) if session.output.quiet => return Ok(()),
            Ok(()) => {
                let (probe, latency) = (target.name(), started.elapsed());
                let millis = format!("{:.1}", latency.as_secs_f64() * 1e3);
                let line = texts::works(texts::server_at(probe, address), millis);
                return session.output.print(line, &ProbeResult { probe, address, latency_us: latency.as_micros() });
            }
            Err(error) if Instant::now() + PAUSE >= deadline => return Err(error),
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
