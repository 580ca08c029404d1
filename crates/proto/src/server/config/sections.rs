//! The tables that both servers have, with their defaults and the reason for each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::builder::{Configuration, Conflict};
use super::types::{Count, LogFilter, OptionalAddress, TimeoutValue};

/// A server's configuration: the sections that every server has, and which keys a reload cannot change.
pub trait ServerConfig: Configuration {
    /// The keys that take a restart: those of sockets that are bound and of threads that run.
    const NEEDS_RESTART: &[&str];

    /// `workers`: the number of threads; 0: one a core.
    fn workers(&self) -> usize;

    /// `[limits]`.
    fn connection_limits(&mut self) -> &mut ConnectionLimits;

    /// `[timeouts]`.
    fn timeouts(&self) -> &TimeoutsConfig;

    /// `[log]`.
    fn log(&self) -> &LogConfig;

    /// `[admin]`.
    fn admin(&self) -> &AdminConfig;
}

/// `[limits]`: what holds for connections, whichever service they are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Connections open at once.
    pub max_connections: Count<1, 1_000_000>,
    /// Connections open at once from one IPv4 address or IPv6 /64; 0 for no limit.
    pub max_connections_per_ip: Count<0, 1_000_000>,
    /// Connections that may wait to be accepted.
    pub backlog: Count<1, 65_535>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            // An idle connection was measured at under 2 KB here, and takes a few more in the kernel.
            max_connections: const { Count::new(10_000) },
            // Off, since many people behind one address translator are the rule, not the exception.
            max_connections_per_ip: const { Count::new(0) },
            // A burst of a thousand connects is served late instead of refused; tokio's own default is 128.
            backlog: const { Count::new(1024) },
        }
    }
}

impl ConnectionLimits {
    /// What in this table contradicts itself.
    #[must_use]
    pub fn conflicts(&self) -> Option<Conflict> {
        let (all, per_ip) = (self.max_connections.get(), self.max_connections_per_ip.get());
        (per_ip > all).then(|| Conflict {
            keys: ["limits.max_connections_per_ip", "limits.max_connections"],
            problem: format!("{per_ip} from one place can never be reached with {all} in all"),
            remedy: "set it to no more than limits.max_connections, or to 0 for no limit",
        })
    }
}

/// `[timeouts]`: what both services wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeoutsConfig {
    /// For the next request.
    pub idle: TimeoutValue<1>,
    /// For the client to take its answer.
    pub write: TimeoutValue<1>,
    /// For connections to end at shutdown.
    pub drain: TimeoutValue<1>,
}

impl TimeoutsConfig {
    /// The defaults, with the service's own idle time.
    #[must_use]
    pub fn with_idle(idle: TimeoutValue<1>) -> Self {
        // Draining ends under the ten seconds after which `docker stop` kills.
        Self { idle, write: const { TimeoutValue::from_secs(5) }, drain: const { TimeoutValue::from_secs(8) } }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Which lines are written.
    pub level: LogFilter,
    /// How they are written.
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line, for programs.
    Json,
}

/// `[admin]`: the listener for health and metrics.
///
/// It is off unless a file or the caller asks for it, as the shipped files do: a port that opens by itself may be one
/// too many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: OptionalAddress,
}

impl AdminConfig {
    /// What it contradicts where a service listens at `address`, as `key` says.
    #[must_use]
    pub fn conflict_with(&self, key: &'static str, address: Option<SocketAddr>) -> Option<Conflict> {
        let both = address.filter(|address| self.listen.0 == Some(*address) && address.port() != 0)?;
        Some(Conflict {
            keys: ["admin.listen", key],
            problem: format!("it cannot listen on {both} as well"),
            remedy: "give each a port of its own, or make admin.listen \"\" for off",
        })
    }
}
