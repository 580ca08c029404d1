//! The rock-paper-scissors server's configuration; `config/rps-server.toml` says what each key is for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proto::server::config::layers::{Configuration, Contradiction};
use proto::server::config::tables::{Admin, ConnectionLimits, Log, Timeouts};
use proto::server::config::value::{Count, Off, OptionalAddress, Period};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Threads; 0: one a core.
    pub workers: Count<0, 1024>,
    /// The game against the house.
    pub solo: Solo,
    /// The game of two players.
    pub duel: Duel,
    /// What clients may take up.
    pub limits: Limits,
    /// What is waited for, and how long.
    pub timeouts: Timeouts,
    /// The log.
    pub log: Log,
    /// Health and metrics.
    pub admin: Admin,
}

/// `[solo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solo {
    /// Where to listen.
    pub listen: OptionalAddress,
}

/// `[duel]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Duel {
    /// Where it listens.
    pub listen: Off,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Those of any service.
    #[serde(flatten)]
    pub connections: ConnectionLimits,
    /// Bytes of one connection that are no move; the last of them ends it.
    pub max_bad_frames: Count<1, 1_000_000>,
}

impl Default for Config {
    fn default() -> Self {
        const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
        Self {
            workers: const { Count::new(0) },
            solo: Solo { listen: OptionalAddress(Some(LISTEN)) },
            duel: Duel::default(),
            limits: Limits {
                connections: ConnectionLimits::default(),
                // A person's slips, many times over; a program that speaks another protocol is soon told.
                max_bad_frames: const { Count::new(16) },
            },
            timeouts: Timeouts::with_idle(const { Period::from_secs(300) }),
            log: Log::default(),
            admin: Admin::default(),
        }
    }
}

impl Configuration for Config {
    fn contradictions(&self) -> Vec<Contradiction> {
        let nothing = self.solo.listen.0.is_none().then(|| Contradiction {
            keys: ["solo.listen", "duel.listen"],
            problem: "there is nothing to listen for where both are off".to_owned(),
            remedy: "give solo.listen an address, such as \"127.0.0.1:5001\"",
        });
        nothing.into_iter().chain(self.limits.connections.contradictions()).collect()
    }
}
