//! The configuration tables that every server has, with the reason for each default.
//!
//! It depends on `builder`, `endpoints`, `trusted_networks` and `types` only.

use serde::{Deserialize, Serialize};

use super::builder::{Configuration, Conflict, InvalidKey};
use super::endpoints::{self, EndpointList, ServerEndpoint};
use super::trusted_networks::ProxyProtocolConfig;
use super::types::{Count, LogFilter, TimeoutValue};

/// A server's configuration: the tables that every server has, and the keys that a reload cannot change.
pub trait ServerConfig: Configuration {
    /// The keys whose changes need a restart: those of bound sockets and running threads. Every server has `workers`,
    /// `limits.backlog`, `log.format`, `admin.listen`, and the addresses of its listeners. A reload logs a change of
    /// any other key as applied.
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

    /// Returns `[tls]`.
    fn tls(&self) -> &TlsConfig;

    /// Returns `[proxy_protocol]`.
    fn proxy_protocol(&self) -> &ProxyProtocolConfig;

    /// Returns the keys of the services' listeners, such as `solo.listen`, and their endpoints.
    fn listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])>;

    /// Returns the keys of listeners that are not for clients, and their endpoints. A health check does not ask them.
    /// The default is an empty list.
    fn internal_listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])> {
        Vec::new()
    }

    /// Returns the number of files that the server may open besides those of clients and listening sockets. They are
    /// reserved under the open-file limit. The default is 0.
    fn internal_files(&self) -> usize {
        0
    }

    /// Returns all listeners except the admin listener.
    fn all_listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])> {
        let mut listeners = self.listeners();
        listeners.extend(self.internal_listeners());
        listeners
    }

    /// Checks the files that the configuration names, except those of `[tls]`. The default checks nothing.
    ///
    /// # Errors
    ///
    /// Returns the key of a file that cannot be used.
    fn check_files(&self) -> Result<(), InvalidKey> {
        Ok(())
    }

    /// Returns the conflicts between the keys of listeners and of TLS.
    fn listener_conflicts(&self) -> Vec<Conflict> {
        let mut listeners = self.all_listeners();
        listeners.push(("admin.listen", self.admin().listen.as_slice()));
        let tls = self.tls().conflicts(&listeners, self.admin());
        endpoints::conflicts(&listeners).into_iter().chain(tls).collect()
    }
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
    /// Maximum time from accept for a PROXY protocol header and a TLS handshake together.
    pub handshake: TimeoutValue<1>,
    /// Maximum time for open connections to finish at shutdown.
    pub drain: TimeoutValue<1>,
}

impl TimeoutsConfig {
    /// Returns the defaults with the service's idle timeout.
    #[must_use]
    pub fn with_idle(idle: TimeoutValue<1>) -> Self {
        // The drain ends before `docker stop` kills the process, which it does after ten seconds.
        Self {
            idle,
            write: const { TimeoutValue::from_secs(5) },
            handshake: const { TimeoutValue::from_secs(5) },
            drain: const { TimeoutValue::from_secs(8) },
        }
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminConfig {
    /// The endpoints to listen on.
    pub listen: EndpointList<0>,
    /// A PEM file: clients of `tls://` endpoints must present a certificate signed by one of these. `""` for off.
    pub client_ca: String,
}

impl AdminConfig {
    /// Returns the defaults with the server's port. Loopback, because the listener has no access control by default.
    #[must_use]
    pub fn with_port(port: u16) -> Self {
        Self { listen: EndpointList::loopback(port), client_ca: String::new() }
    }
}

/// `[tls]`: PEM files, which a reload reads again. `""` for none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TlsConfig {
    /// The certificate chain of the server, its own certificate first.
    pub certificate: String,
    /// The private key of the server.
    pub key: String,
    /// Clients of the services' `tls://` endpoints must present a certificate signed by one of these.
    pub client_ca: String,
}

impl TlsConfig {
    /// Returns the conflicts between these keys and those that need them.
    fn conflicts(&self, listeners: &[(&'static str, &[ServerEndpoint])], admin: &AdminConfig) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut conflict = |keys, problem: String, remedy| conflicts.push(Conflict { keys, problem, remedy });
        let (has_certificate, has_key) = (!self.certificate.is_empty(), !self.key.is_empty());
        if has_certificate != has_key {
            let keys = ["tls.certificate", "tls.key"];
            let keys = if has_certificate { keys } else { [keys[1], keys[0]] };
            conflict(keys, format!("{} is not set", keys[1]), "set both, or neither");
        }
        if !has_certificate {
            let remedy = "set tls.certificate and tls.key";
            for (key, endpoints) in listeners {
                if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.is_tls()) {
                    conflict([key, "tls.certificate"], format!("{endpoint} needs a certificate"), remedy);
                }
            }
            for (key, file) in [("tls.client_ca", &self.client_ca), ("admin.client_ca", &admin.client_ca)] {
                if !file.is_empty() {
                    conflict([key, "tls.certificate"], "client certificates need TLS".to_owned(), remedy);
                }
            }
        }
        conflicts
    }
}
