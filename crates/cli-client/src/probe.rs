//! `probe`: checks with a real exchange that a server works.

use std::time::Duration;

use proto::client::power::Client;
use proto::client::rps::{Connection, Round};
use proto::client::{Endpoint, ErrorKind, Phase, Timeouts};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::Move;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::arguments::{ProbeArguments, ProbeCommand};
use crate::error::CliError;
use crate::language::texts;
use crate::output::tell;
use crate::service::Service;
use crate::session::Session;

/// The pause between two tries: short against the start of a server, long against an exchange.
const PAUSE: Duration = Duration::from_millis(100);

/// Tries until an exchange succeeds, or once without `--wait`, and prints how long the exchange took.
///
/// # Errors
///
/// What went wrong in the last try.
pub(crate) async fn run(command: ProbeCommand, session: &Session) -> Result<(), CliError> {
    let (service, ProbeArguments { addr, wait }) = match command {
        ProbeCommand::Power(arguments) => (Service::Power, arguments),
        ProbeCommand::Rps(arguments) => (Service::Rps, arguments),
        ProbeCommand::Duel(arguments) => (Service::Duel, arguments),
    };
    let address = service.address(addr)?;
    let until = Instant::now() + wait.unwrap_or_default();
    loop {
        let started = Instant::now();
        let timeout = session.timeouts.reply;
        // The last try ends with the wait, but always has a moment.
        let limit = match wait {
            Some(_) => timeout.min(whole_millis(until - started).max(PAUSE)),
            None => timeout,
        };
        match exchange(service, session.endpoint(&address).with_timeouts(Timeouts::all(limit))).await {
            Ok(()) if session.output.quiet => return Ok(()),
            Ok(()) => {
                let (probe, latency) = (service.name(), started.elapsed());
                let millis = format!("{:.1}", latency.as_secs_f64() * 1e3);
                let line = texts::works(texts::server_at(probe, &address), millis);
                return session.output.answer(line, &Works { probe, address, latency_us: latency.as_micros() });
            }
            Err(failure) if Instant::now() + PAUSE >= until => return Err(failure),
            Err(failure) => {
                if session.verbose {
                    tell(&format!("{}\n", texts::not_yet(failure.message().unwrap_or_default())));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Messages are easier to read without fractions.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[derive(Serialize)]
struct Works {
    probe: &'static str,
    address: String,
    latency_us: u128,
}

/// One exchange, and whether the reply is right.
async fn exchange(service: Service, endpoint: Endpoint) -> Result<(), CliError> {
    match service {
        Service::Power => power(endpoint).await,
        Service::Rps => rps(endpoint).await,
        // A move would start a round with a waiting player, or wait for one itself.
        Service::Duel => Ok(Connection::open(endpoint).await?.check().await?),
    }
}

async fn power(endpoint: Endpoint) -> Result<(), CliError> {
    let (asked, right) = (Number::from(3), Number::from(9));
    let address = endpoint.address().to_owned();
    match Client::new(endpoint).request(Operation::Square, asked).await? {
        Ok(square) if square == right => Ok(()),
        Ok(square) => Err(CliError::WrongAnswer(texts::wrong_square(&address, asked, square))),
        Err(refusal) => Err(CliError::refused(&address, &refusal)),
    }
}

async fn rps(endpoint: Endpoint) -> Result<(), CliError> {
    let address = endpoint.address().to_owned();
    let round = Connection::open(endpoint).await?.throw(Move::Rock).await.map_err(|error| {
        CliError::from(error).with_hint(|kind, phase| {
            matches!((kind, phase), (ErrorKind::TimedOut(_), Phase::Reply)).then(texts::hint_is_duel)
        })
    })?;
    match round {
        Round::Judged(_) => Ok(()),
        Round::Void => Err(CliError::WrongAnswer(texts::house_voids(&address))),
    }
}
