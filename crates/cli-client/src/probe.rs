//! `probe`: whether a server works, found out by a real exchange.

use std::fmt;
use std::time::Duration;

use proto::client::power::Client;
use proto::client::rps::{Connection, Round};
use proto::client::{Endpoint, Timeouts};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::Move;
use tokio::time::{Instant, sleep};

use crate::arguments::{ProbeCommand, Service};
use crate::failure::Failure;
use crate::output::answer;

/// The pause before it is tried again: short against the start of a server, long against an exchange.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until it works, or once where nothing says how long to try, and prints how long the exchange took.
///
/// # Errors
///
/// What went wrong in the last try.
pub async fn run(command: ProbeCommand, timeout: Duration) -> Result<(), Failure> {
    let (server, wait) = match command.service {
        Service::Power(arguments) => (Server::Power(arguments.address.resolve()?), arguments.wait),
        Service::Rps(arguments) => (Server::Rps(arguments.address.resolve()?), arguments.wait),
        Service::Duel(arguments) => (Server::Duel(arguments.address.resolve()?), arguments.wait),
    };
    let until = Instant::now() + wait.limit.unwrap_or_default();
    loop {
        let started = Instant::now();
        // The last try may take no longer than there is time, but always has a moment.
        let limit = match wait.limit {
            Some(_) => timeout.min(whole_millis(until - started).max(PAUSE)),
            None => timeout,
        };
        match server.exchange(Timeouts::all(limit)).await {
            Ok(()) => {
                let took = started.elapsed();
                return answer(format_args!("{server} works ({:.1} ms)", took.as_secs_f64() * 1000.0));
            }
            Err(failure) if Instant::now() + PAUSE >= until => return Err(failure),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// What messages show is easier to read without fractions.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A server that is checked, by its address.
enum Server {
    Power(String),
    Rps(String),
    Duel(String),
}

impl Server {
    async fn exchange(&self, timeouts: Timeouts) -> Result<(), Failure> {
        match self {
            Self::Power(address) => power(address, timeouts).await,
            Self::Rps(address) => rps(address, timeouts).await,
            Self::Duel(address) => duel(address, timeouts).await,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(address) => write!(f, "power at {address}"),
            Self::Rps(address) => write!(f, "rps at {address}"),
            Self::Duel(address) => write!(f, "duel at {address}"),
        }
    }
}

fn endpoint(address: &str, timeouts: Timeouts) -> Endpoint {
    Endpoint::new(address).with_timeouts(timeouts)
}

async fn power(address: &str, timeouts: Timeouts) -> Result<(), Failure> {
    let (asked, right) = (Number::from(3), Number::from(9));
    match Client::new(endpoint(address, timeouts)).ask(Operation::Square, asked).await? {
        Ok(square) if square == right => Ok(()),
        Ok(square) => Err(Failure::WrongAnswer(format!("{address}: the square of {asked} came back as {square}"))),
        Err(refusal) => Err(Failure::WrongAnswer(format!("{address}: the server refused: {refusal}"))),
    }
}

async fn rps(address: &str, timeouts: Timeouts) -> Result<(), Failure> {
    match Connection::open(endpoint(address, timeouts)).await?.throw(Move::Rock).await? {
        Round::Judged(_) => Ok(()),
        Round::Void => Err(Failure::WrongAnswer(format!("{address}: it voids a round that the house always plays"))),
    }
}

/// A move would be a round for somebody who waits for another player, or would wait for one itself.
async fn duel(address: &str, timeouts: Timeouts) -> Result<(), Failure> {
    Ok(Connection::open(endpoint(address, timeouts)).await?.check().await?)
}
