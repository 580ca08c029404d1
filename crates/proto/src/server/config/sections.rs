//! The configuration tables that every server has, with the reason for each default.
//!
//! It depends on `builder` and `types` only.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::builder::{Configuration, Conflict};
use super::types::{Count, LogFilter, OptionalAddress, TimeoutValue};

/// A server's configuration: the tables that every server has, and the keys that a reload cannot change.
pub trait ServerConfig: Configuration {
    /// The keys whose changes need a restart: those of bound sockets and running threads. Every server has `workers`,
    /// `limits.backlog`, `log.format`, `admin.listen`, and the addresses of its listeners. A reload logs a change of any
    /// other key as applied.
    const NEEDS_RESTART: &[&str];

    /// Returns `workers`, the number of threads. 0 means one per core, or fewer under a limit on tasks.
    fn workers(&self) -> usize;

    /// Returns `[limits]`, mutable because the open-file limit can lower `max_connections`.
    fn connection_limits(&mut self) -> &mut ConnectionLimits;

    /// Returns `[timeouts]`.
    fn timeouts(&self) -> &TimeoutsConfig;

    /// Returns `[log]`.
    fn log(&self) -> &LogConfig;

    /// Returns `[admin]`.
    fn admin(&self) -> &AdminConfig;
}

/// `[limits]`: the limits on connections, for all services of a server together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Maximum concurrent connections.
    pub max_connections: Count<1, 1_000_000>,
    /// Maximum concurrent connections of one client network, an IPv4 address or IPv6 /64. 0 means no limit.
    pub max_connections_per_ip: Count<0, 1_000_000>,
    /// Maximum new connections of one client network per second. 0 means no limit.
    pub new_connections_per_ip: Count<0, 1_000_000>,
    /// Maximum requests of one client network per second. 0 means no limit.
    pub requests_per_ip: Count<0, 1_000_000>,
    /// The length of the accept queue.
    pub backlog: Count<1, 65_535>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            // An idle connection was measured at under 2 KB in this process, plus a few KB in the kernel.
            max_connections: const { Count::new(10_000) },
            // Off, because many clients commonly share one address behind a NAT.
            max_connections_per_ip: const { Count::new(0) },
            new_connections_per_ip: const { Count::new(0) },
            requests_per_ip: const { Count::new(0) },
            // A burst of a thousand connects waits instead of failing. tokio's default is 128.
            backlog: const { Count::new(1024) },
        }
    }
}

impl ConnectionLimits {
    /// Returns the conflict of the two limits, if there is one.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        let (total, per_ip) = (self.max_connections.get(), self.max_connections_per_ip.get());
        (per_ip > total).then(|| Conflict {
            keys: ["limits.max_connections_per_ip", "limits.max_connections"],
            problem: format!(
                "{per_ip} connections per client network are more than the {total} connections of the server"
            ),
            remedy: "set it to at most limits.max_connections, or to 0 for no limit",
        })
    }
}

/// `[timeouts]`: the timeouts that every server has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeoutsConfig {
    /// Maximum time from a reply to the next request.
    pub idle: TimeoutValue<1>,
    /// Maximum time for the client to read its replies.
    pub write: TimeoutValue<1>,
    /// Maximum time for open connections to finish at shutdown.
    pub drain: TimeoutValue<1>,
}

impl TimeoutsConfig {
    /// Returns the defaults with the service's idle timeout.
    #[must_use]
    pub fn with_idle(idle: TimeoutValue<1>) -> Self {
        // The drain ends before `docker stop` kills the process, which it does after ten seconds.
        Self { idle, write: const { TimeoutValue::from_secs(5) }, drain: const { TimeoutValue::from_secs(8) } }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The filter of log lines.
    pub level: LogFilter,
    /// The format of log lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, for people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// `[admin]`: the listener for health and metrics.
///
/// Off by default, so that no port opens that the operator does not expect. The shipped configuration files turn it on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdminConfig {
    /// The address to listen on.
    pub listen: OptionalAddress,
}

impl AdminConfig {
    /// Returns the conflict with the service whose address is `address`, the value of `key`, if both are the same.
    #[must_use]
    pub fn conflict_with(&self, key: &'static str, address: Option<SocketAddr>) -> Option<Conflict> {
        let address = address.filter(|address| self.listen.0 == Some(*address) && address.port() != 0)?;
        Some(Conflict {
            keys: ["admin.listen", key],
            problem: format!("{address} is also the address of a service"),
            remedy: "give each listener a different port, or set admin.listen to \"\" for off",
        })
    }
}
