//! `probe`: whether a server works, found out by a real exchange.

use std::fmt;
use std::time::Duration;

use proto::client::power::Client;
use proto::client::rps::{Connection, Round};
use proto::client::{Endpoint, Phase, Timeouts};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::Move;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::arguments::ProbeCommand;
use crate::arguments::probe::Service;
use crate::failure::{Failure, Kind};
use crate::language::texts;
use crate::output::tell;
use crate::session::Session;

/// The pause before it is tried again: short against the start of a server, long against an exchange.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until it works, or once where nothing says how long to try, and prints how long the exchange took.
///
/// # Errors
///
/// What went wrong in the last try.
pub async fn run(command: ProbeCommand, session: &Session) -> Result<(), Failure> {
    let (server, address, wait) = match command.service {
        Service::Power(arguments) => (Server::Power, arguments.address.resolve()?, arguments.wait),
        Service::Rps(arguments) => (Server::Rps, arguments.address.resolve()?, arguments.wait),
        Service::Duel(arguments) => (Server::Duel, arguments.address.resolve()?, arguments.wait),
    };
    let until = Instant::now() + wait.limit.unwrap_or_default();
    loop {
        let started = Instant::now();
        let timeout = session.timeouts.reply;
        // The last try may take no longer than there is time, but always has a moment.
        let limit = match wait.limit {
            Some(_) => timeout.min(whole_millis(until - started).max(PAUSE)),
            None => timeout,
        };
        match server.exchange(session.endpoint(&address).with_timeouts(Timeouts::all(limit))).await {
            Ok(()) if session.output.is_quiet() => return Ok(()),
            Ok(()) => return session.output.answer(&Works { server, address, took: started.elapsed() }),
            Err(failure) if Instant::now() + PAUSE >= until => return Err(failure),
            Err(failure) => {
                if session.verbose {
                    tell(&format!("{}\n", texts::not_yet(&failure.message().unwrap_or_default())));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// What messages show is easier to read without fractions.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// That a server works, and how long the exchange took.
#[derive(Serialize)]
struct Works {
    #[serde(rename = "probe")]
    server: Server,
    address: String,
    #[serde(rename = "latency_us", serialize_with = "micros")]
    took: Duration,
}

fn micros<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(took.as_micros())
}

impl fmt::Display for Works {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = format!("{:.1}", self.took.as_secs_f64() * 1e3);
        f.write_str(&texts::works(self.server.name(), &self.address, &millis))
    }
}

/// A server that is checked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Server {
    Power,
    Rps,
    Duel,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Rps => "rps",
            Self::Duel => "duel",
        }
    }

    /// One real exchange, and whether it was right.
    async fn exchange(self, endpoint: Endpoint) -> Result<(), Failure> {
        match self {
            Self::Power => power(endpoint).await,
            Self::Rps => rps(endpoint).await,
            // A move would be a round for somebody who waits for another player, or would wait for one itself.
            Self::Duel => Ok(Connection::open(endpoint).await?.check().await?),
        }
    }
}

async fn power(endpoint: Endpoint) -> Result<(), Failure> {
    let (asked, right) = (Number::from(3), Number::from(9));
    let address = endpoint.address().to_owned();
    match Client::new(endpoint).ask(Operation::Square, asked).await? {
        Ok(square) if square == right => Ok(()),
        Ok(square) => Err(Failure::WrongAnswer(texts::wrong_square(&address, &asked.to_string(), &square.to_string()))),
        Err(refusal) => Err(Failure::refused(&address, &refusal)),
    }
}

async fn rps(endpoint: Endpoint) -> Result<(), Failure> {
    let address = endpoint.address().to_owned();
    let round = Connection::open(endpoint).await?.throw(Move::Rock).await.map_err(|error| {
        match (Kind::of(&error), error.phase) {
            (Kind::Timeout, Phase::Reply) => Failure::NoAnswer(error, texts::hint_is_duel()),
            _ => Failure::from(error),
        }
    })?;
    match round {
        Round::Judged(_) => Ok(()),
        Round::Void => Err(Failure::WrongAnswer(texts::house_voids(&address))),
    }
}
