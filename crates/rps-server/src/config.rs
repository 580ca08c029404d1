//! The rock-paper-scissors server's configuration; `config/rps-server.toml` says what each key is for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proto::server::ConnectionTimeouts;
use proto::server::config::{AdminConfig, ConnectionLimits, LogConfig, ServerConfig, TimeoutsConfig};
use proto::server::config::{Configuration, Conflict};
use proto::server::config::{Count, OptionalAddress, TimeoutValue};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Threads; 0: one a core.
    pub workers: Count<0, 1024>,
    /// The game against the house.
    pub solo: SoloConfig,
    /// The game of two players.
    pub duel: DuelConfig,
    /// What clients may take up.
    pub limits: RpsLimits,
    /// What is waited for, and how long.
    pub timeouts: TimeoutsConfig,
    /// The log.
    pub log: LogConfig,
    /// Health and metrics.
    pub admin: AdminConfig,
}

/// `[solo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoloConfig {
    /// Where to listen.
    pub listen: OptionalAddress,
}

/// `[duel]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DuelConfig {
    /// Where to listen.
    pub listen: OptionalAddress,
    /// How long a move can meet another one.
    pub window: TimeoutValue<1>,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpsLimits {
    /// Those of any service.
    #[serde(flatten)]
    pub connections: ConnectionLimits,
    /// Bytes of one connection that are no move; the last of them ends it.
    pub max_bad_frames: Count<1, 1_000_000>,
}

impl Default for Config {
    fn default() -> Self {
        const fn loopback(port: u16) -> OptionalAddress {
            OptionalAddress(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)))
        }
        Self {
            workers: const { Count::new(0) },
            solo: SoloConfig { listen: loopback(5001) },
            // The window is the rule of the game.
            duel: DuelConfig { listen: loopback(5002), window: const { TimeoutValue::from_secs(30) } },
            limits: RpsLimits {
                connections: ConnectionLimits::default(),
                // A person's slips, many times over; a program that speaks another protocol is soon told.
                max_bad_frames: const { Count::new(16) },
            },
            timeouts: TimeoutsConfig::with_idle(const { TimeoutValue::from_secs(300) }),
            log: LogConfig::default(),
            admin: AdminConfig::default(),
        }
    }
}

impl Config {
    /// The timeouts of a connection, of either game.
    #[must_use]
    pub fn connection_timeouts(&self) -> ConnectionTimeouts {
        ConnectionTimeouts::new(&self.timeouts, None, const { TimeoutValue::from_secs(0) })
    }

    /// A player has the window to meet a partner's move, and must not be closed as idle before it is over.
    fn window_and_idle(&self) -> Option<Conflict> {
        let (idle, window) = (self.timeouts.idle, self.duel.window);
        (self.duel.listen.0.is_some() && idle <= window).then(|| Conflict {
            keys: ["timeouts.idle", "duel.window"],
            problem: format!("{idle} is no longer than the {window} that a player has to meet another's move"),
            remedy: "make timeouts.idle longer than duel.window",
        })
    }
}

impl Configuration for Config {
    fn conflicts(&self) -> Vec<Conflict> {
        let keys = ["duel.listen", "solo.listen"];
        let listeners = match (self.solo.listen.0, self.duel.listen.0) {
            (None, None) => Some(Conflict {
                keys,
                problem: "there is nothing to listen for where both are off".to_owned(),
                remedy: "give one of them an address, such as \"127.0.0.1:5002\"",
            }),
            (Some(solo), Some(duel)) if solo == duel && duel.port() != 0 => Some(Conflict {
                keys,
                problem: format!("both games cannot listen on {duel}"),
                remedy: "give each a port of its own, or make one of them \"\" for off",
            }),
            _ => None,
        };
        let admin = [("solo.listen", self.solo.listen.0), ("duel.listen", self.duel.listen.0)]
            .map(|(key, address)| self.admin.conflict_with(key, address));
        let others = [listeners, self.window_and_idle(), self.limits.connections.conflicts()];
        others.into_iter().chain(admin).flatten().collect()
    }
}

impl ServerConfig for Config {
    const NEEDS_RESTART: &[&str] =
        &["workers", "solo.listen", "duel.listen", "limits.backlog", "log.format", "admin.listen"];

    fn workers(&self) -> usize {
        self.workers.as_usize()
    }

    fn connection_limits(&mut self) -> &mut ConnectionLimits {
        &mut self.limits.connections
    }

    fn timeouts(&self) -> &TimeoutsConfig {
        &self.timeouts
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn admin(&self) -> &AdminConfig {
        &self.admin
    }
}
