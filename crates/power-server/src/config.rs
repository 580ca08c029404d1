//! The power server's configuration; `config/power-server.toml` says what each key is for.

use proto::server::ConnectionTimeouts;
use proto::server::config::{self, AdminConfig, ConnectionLimits, LogConfig, ServerConfig, TlsConfig};
use proto::server::config::{Configuration, Conflict, ProxyProtocolConfig};
use proto::server::config::{Count, EndpointList, ServerEndpoint, TimeoutValue};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The endpoints to listen on.
    pub listen: EndpointList<1>,
    /// Worker threads; 0 for one per core, or fewer under a limit on tasks.
    pub workers: Count<0, 1024>,
    /// Limits on connections and requests.
    pub limits: PowerLimits,
    /// The timeouts of connections and of the drain.
    pub timeouts: PowerTimeouts,
    /// How the end of a request is found.
    pub framing: FramingConfig,
    /// The certificate of `tls://` endpoints.
    pub tls: TlsConfig,
    /// The clients that send a PROXY protocol header.
    pub proxy_protocol: ProxyProtocolConfig,
    /// The log.
    pub log: LogConfig,
    /// The admin listener.
    pub admin: AdminConfig,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerLimits {
    /// The settings that both servers have.
    #[serde(flatten)]
    pub connections: ConnectionLimits,
    /// The longest request in bytes, without its terminator. It must fit into one read with room to spare: if a read
    /// had room for only a part of a request, the part could be mistaken for a whole request.
    pub max_request_bytes: Count<2, 4000>,
}

/// `[timeouts]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerTimeouts {
    /// The time for a whole request to arrive.
    pub request: TimeoutValue<1>,
    /// The settings that both servers have.
    #[serde(flatten)]
    pub shared: config::TimeoutsConfig,
}

/// `[framing]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FramingConfig {
    /// The time without new bytes after which a bare request counts as complete.
    pub settle: TimeoutValue<0>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: EndpointList::loopback(5000),
            workers: const { Count::new(0) },
            limits: PowerLimits {
                connections: ConnectionLimits::default(),
                // No double needs more than 25 bytes; this leaves room for leading and trailing zeros.
                max_request_bytes: const { Count::new(512) },
            },
            timeouts: PowerTimeouts {
                request: const { TimeoutValue::from_secs(5) },
                shared: config::TimeoutsConfig::with_idle(const { TimeoutValue::from_secs(60) }),
            },
            framing: FramingConfig { settle: const { TimeoutValue::from_secs(0) } },
            tls: TlsConfig::default(),
            proxy_protocol: ProxyProtocolConfig::default(),
            log: LogConfig::default(),
            admin: AdminConfig::with_port(9500),
        }
    }
}

impl Config {
    /// Returns the timeouts of a connection.
    #[must_use]
    pub fn connection_timeouts(&self) -> ConnectionTimeouts {
        ConnectionTimeouts::new(&self.timeouts.shared, Some(self.timeouts.request), self.framing.settle)
    }
}

impl Configuration for Config {
    fn conflicts(&self) -> Vec<Conflict> {
        let (settle, request) = (self.framing.settle, self.timeouts.request);
        let settling = (settle.get() >= request.get()).then(|| Conflict {
            keys: ["framing.settle", "timeouts.request"],
            problem: format!("the settle time {settle} is not shorter than the request timeout {request}"),
            remedy: "set it to less than timeouts.request",
        });
        let conflicts = [settling, self.limits.connections.conflict()].into_iter().flatten();
        conflicts.chain(self.listener_conflicts()).collect()
    }
}

impl ServerConfig for Config {
    const NEEDS_RESTART: &[&str] = &["listen", "workers", "limits.backlog", "log.format", "admin.listen"];

    fn workers(&self) -> usize {
        self.workers.as_usize()
    }

    fn connection_limits(&mut self) -> &mut ConnectionLimits {
        &mut self.limits.connections
    }

    fn timeouts(&self) -> &config::TimeoutsConfig {
        &self.timeouts.shared
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn admin(&self) -> &AdminConfig {
        &self.admin
    }

    fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    fn proxy_protocol(&self) -> &ProxyProtocolConfig {
        &self.proxy_protocol
    }

    fn listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])> {
        vec![("listen", self.listen.as_slice())]
    }
}
