//! The power server's configuration; `config/power-server.toml` says what each key is for.

use proto::server::ConnectionTimeouts;
use proto::server::config::{self, Admin, ConnectionLimits, Log, ServerConfig};
use proto::server::config::{Address, Count, Period};
use proto::server::config::{Configuration, Contradiction};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Where to listen.
    pub listen: Address,
    /// Threads; 0: one a core.
    pub workers: Count<0, 1024>,
    /// What clients may take up.
    pub limits: Limits,
    /// What is waited for, and how long.
    pub timeouts: Timeouts,
    /// Where a request ends.
    pub framing: Framing,
    /// The log.
    pub log: Log,
    /// Health and metrics.
    pub admin: Admin,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Those of any service.
    #[serde(flatten)]
    pub connections: ConnectionLimits,
    /// The longest request, its ending not counted. It has to fit into one read, with room to spare: a part of one that
    /// a read had no room for could be taken for a whole request.
    pub max_request_bytes: Count<2, 4000>,
}

/// `[timeouts]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For a whole request.
    pub request: Period<1>,
    /// Those of any service.
    #[serde(flatten)]
    pub shared: config::Timeouts,
}

/// `[framing]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Framing {
    /// How long bytes without an end wait for more before they are taken for a request.
    pub settle: Period<0>,
}

impl Default for Config {
    fn default() -> Self {
        const LISTEN: std::net::SocketAddr =
            std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
        Self {
            listen: Address(LISTEN),
            workers: const { Count::new(0) },
            limits: Limits {
                connections: ConnectionLimits::default(),
                // No double needs more than 25 bytes; this leaves room for people's zeros.
                max_request_bytes: const { Count::new(512) },
            },
            timeouts: Timeouts {
                request: const { Period::from_secs(5) },
                shared: config::Timeouts::with_idle(const { Period::from_secs(60) }),
            },
            framing: Framing { settle: const { Period::from_secs(0) } },
            log: Log::default(),
            admin: Admin::default(),
        }
    }
}

impl Config {
    /// The timeouts of a connection.
    #[must_use]
    pub fn connection_timeouts(&self) -> ConnectionTimeouts {
        ConnectionTimeouts::new(&self.timeouts.shared, Some(self.timeouts.request), self.framing.settle)
    }
}

impl Configuration for Config {
    fn contradictions(&self) -> Vec<Contradiction> {
        let (settle, request) = (self.framing.settle, self.timeouts.request);
        let settling = (settle.get() >= request.get()).then(|| Contradiction {
            keys: ["framing.settle", "timeouts.request"],
            problem: format!("bytes that settle for {settle} are never a request within {request}"),
            remedy: "set it to less than timeouts.request",
        });
        let admin = self.admin.contradiction("listen", Some(self.listen.0));
        [settling, admin, self.limits.connections.contradictions()].into_iter().flatten().collect()
    }
}

impl ServerConfig for Config {
    const NEEDS_RESTART: &[&str] = &["listen", "workers", "limits.backlog", "log.format", "admin.listen"];

    fn workers(&self) -> usize {
        self.workers.size()
    }

    fn connection_limits(&mut self) -> &mut ConnectionLimits {
        &mut self.limits.connections
    }

    fn timeouts(&self) -> &config::Timeouts {
        &self.timeouts.shared
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn admin(&self) -> &Admin {
        &self.admin
    }
}
