//! Whom to play rock-paper-scissors against: the house, or another player.

use std::time::Duration;

use clap::Args;
use proto::client::rps::Connection;
use proto::client::{Endpoint, Error, ErrorKind, Phase, Timeouts};

use crate::address;
use crate::failure::Failure;
use crate::input::duration;

/// The opponent: the house, or another player.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Play against another player, and wait for each of their moves
    #[arg(long)]
    duel: bool,

    /// With --duel: how long the server lets a move wait for the other
    /// player's (its duel.window); --timeout comes on top of it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, requires = "duel")]
    window: Duration,

    #[arg(
        long = "addr",
        value_name = "HOST:PORT",
        value_parser = address::address,
        help = "Where the server listens [env: RPS_ADDR; with --duel, DUEL_ADDR] \
                [default: 127.0.0.1:5001; with --duel, 127.0.0.1:5002]"
    )]
    given: Option<String>,
}

/// Whom to play against, and where.
#[derive(Debug)]
pub struct Opponent {
    address: String,
    /// For another player: how long they may take. The house takes no time.
    pub window: Option<Duration>,
}

impl Arguments {
    /// The opponent at the address to use.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the environment names an address that is none.
    pub fn resolve(self) -> Result<Opponent, Failure> {
        let Self { duel, window, given } = self;
        Ok(if duel {
            Opponent { address: address::duel(given)?, window: Some(window) }
        } else {
            Opponent { address: address::solo(given)?, window: None }
        })
    }
}

impl Opponent {
    /// Connects to play. Another player may take the window to move; only a server that takes longer is late.
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being made.
    pub async fn connect(&self, timeouts: Timeouts) -> Result<Connection, Failure> {
        let reply = timeouts.reply + self.window.unwrap_or_default();
        Ok(Connection::open(Endpoint::new(&*self.address).with_timeouts(Timeouts { reply, ..timeouts })).await?)
    }

    /// Why there is no answer, and what to try: at the address of a duel it may be another player who takes long.
    #[must_use]
    pub fn failure(&self, error: Error) -> Failure {
        match (&error.kind, error.phase, self.window) {
            (ErrorKind::TimedOut(_), Phase::Reply, None) => Failure::NoAnswer(error, DUEL_HINT),
            (ErrorKind::TimedOut(_), Phase::Reply, Some(_)) => Failure::NoAnswer(error, WINDOW_HINT),
            _ => Failure::from(error),
        }
    }
}

const DUEL_HINT: &str = "; --timeout sets how long to wait, and --duel waits for another player";
const WINDOW_HINT: &str = ": that is --window, which should be the server's own, and --timeout on top of it";
