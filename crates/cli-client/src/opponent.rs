//! Whom to play rock-paper-scissors against: the house, or another player.

use std::time::Duration;

use clap::Args;
use proto::client::rps::Connection;
use proto::client::{Error, ErrorKind, Phase, Timeouts};

use crate::address;
use crate::failure::Failure;
use crate::input::duration;
use crate::language::texts;
use crate::session::Session;

/// The opponent: the house, or another player.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Against another player.
    #[arg(long, help = texts::duel())]
    duel: bool,

    /// How long the server lets a move wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, requires = "duel",
          help = texts::window())]
    window: Duration,

    #[arg(
        long = "addr",
        value_name = "HOST:PORT",
        value_parser = address::address,
        help = texts::opponent_addr()
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
    pub async fn connect(&self, session: &Session) -> Result<Connection, Failure> {
        let reply = session.timeouts.reply + self.window.unwrap_or_default();
        let endpoint = session.endpoint(&self.address).with_timeouts(Timeouts { reply, ..session.timeouts });
        Ok(Connection::open(endpoint).await?)
    }

    /// Why there is no answer, and what to try: at the address of a duel it may be another player who takes long.
    #[must_use]
    pub fn failure(&self, error: Error) -> Failure {
        match (&error.kind, error.phase, self.window) {
            (ErrorKind::TimedOut(_), Phase::Reply, None) => Failure::NoAnswer(error, texts::hint_duel()),
            (ErrorKind::TimedOut(_), Phase::Reply, Some(_)) => Failure::NoAnswer(error, texts::hint_window()),
            _ => Failure::from(error),
        }
    }
}
