//! The configuration of the rock-paper-scissors server. `config/rps-server.toml` explains each key.

use proto::server::ConnectionTimeouts;
use proto::server::config::{AdminConfig, ConnectionLimits, LogConfig, ServerConfig, TimeoutsConfig, TlsConfig};
use proto::server::config::{Configuration, Conflict, InvalidKey, ProxyProtocolConfig};
use proto::server::config::{Count, EndpointList, ServerEndpoint, TimeoutValue};
use serde::{Deserialize, Serialize};

use crate::duel::cluster;
use crate::duel::cluster::config::ClusterConfig;
use crate::web::config::WebConfig;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Worker threads; 0 for one per CPU core, or fewer under a limit on tasks.
    pub workers: Count<0, 1024>,
    /// The game against the house.
    pub solo: SoloConfig,
    /// The game of two players.
    pub duel: DuelConfig,
    /// Both games in a browser.
    pub web: WebConfig,
    /// Limits on connections and on invalid bytes.
    pub limits: RpsLimits,
    /// The timeouts of connections and of the drain.
    pub timeouts: TimeoutsConfig,
    /// The certificate of `tls://` endpoints.
    pub tls: TlsConfig,
    /// The clients that send a PROXY protocol header.
    pub proxy_protocol: ProxyProtocolConfig,
    /// The log.
    pub log: LogConfig,
    /// The admin listener.
    pub admin: AdminConfig,
}

/// `[solo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoloConfig {
    /// The endpoints to listen on; off if empty.
    pub listen: EndpointList<0>,
}

/// `[duel]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DuelConfig {
    /// The endpoints to listen on; off if empty.
    pub listen: EndpointList<0>,
    /// How long a move waits for another move.
    pub window: TimeoutValue<1>,
    /// Players of other replicas.
    pub cluster: ClusterConfig,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpsLimits {
    /// The limits that every service has.
    #[serde(flatten)]
    pub connections: ConnectionLimits,
    /// The number of invalid bytes on a connection after which it is closed.
    pub max_bad_frames: Count<1, 1_000_000>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: const { Count::new(0) },
            solo: SoloConfig { listen: EndpointList::loopback(5001) },
            // 30 s is the rule of the game.
            duel: DuelConfig {
                listen: EndpointList::loopback(5002),
                window: const { TimeoutValue::from_secs(30) },
                cluster: ClusterConfig::default(),
            },
            web: WebConfig::default(),
            limits: RpsLimits {
                connections: ConnectionLimits::default(),
                // Enough for the typing errors of a person, and few enough to close a client of another protocol soon.
                max_bad_frames: const { Count::new(16) },
            },
            timeouts: TimeoutsConfig::with_idle(const { TimeoutValue::from_secs(300) }),
            tls: TlsConfig::default(),
            proxy_protocol: ProxyProtocolConfig::default(),
            log: LogConfig::default(),
            admin: AdminConfig::with_port(9501),
        }
    }
}

impl Config {
    /// Returns the timeouts of a connection; they are the same for both games.
    #[must_use]
    pub fn connection_timeouts(&self) -> ConnectionTimeouts {
        ConnectionTimeouts::new(&self.timeouts, None, const { TimeoutValue::from_secs(0) })
    }

    /// Returns a conflict unless the idle timeout is longer than the duel window: a player must not be closed as idle
    /// while the partner's move is in play.
    fn idle_conflict(&self) -> Option<Conflict> {
        let (idle, window) = (self.timeouts.idle, self.duel.window);
        (self.has_duel() && idle <= window).then(|| Conflict {
            keys: ["timeouts.idle", "duel.window"],
            problem: format!("{idle} is not longer than the duel window of {window}"),
            remedy: "make timeouts.idle longer than duel.window",
        })
    }

    /// Whether the duel has an endpoint.
    fn has_duel(&self) -> bool {
        !self.duel.listen.is_empty() || !self.web.listen.is_empty()
    }

    /// Returns a conflict between `[duel.cluster]` and other tables.
    fn cluster_conflict(&self) -> Option<Conflict> {
        let is_useless = self.duel.cluster.is_on() && !self.has_duel();
        let off = is_useless.then(|| Conflict {
            keys: ["duel.cluster.engine", "duel.listen"],
            problem: "the duel is off".to_owned(),
            remedy: "give duel.listen an endpoint, or set duel.cluster.engine to \"\"",
        });
        off.or_else(|| self.duel.cluster.conflict())
    }
}

impl Configuration for Config {
    fn conflicts(&self) -> Vec<Conflict> {
        let all_off = (self.solo.listen.is_empty() && !self.has_duel()).then(|| Conflict {
            keys: ["duel.listen", "solo.listen"],
            problem: "both games are off".to_owned(),
            remedy: "give one of them an endpoint, such as \"127.0.0.1:5002\"",
        });
        let conflicts = [all_off, self.idle_conflict(), self.limits.connections.conflict(), self.cluster_conflict()]
            .into_iter()
            .flatten();
        conflicts.chain(self.listener_conflicts()).collect()
    }
}

impl ServerConfig for Config {
    const NEEDS_RESTART: &[&str] = &[
        "workers",
        "solo.listen",
        "duel.listen",
        "web.listen",
        "duel.cluster.engine",
        "duel.cluster.listen",
        "duel.cluster.advertise",
        "duel.cluster.secret_file",
        "duel.cluster.name",
        "limits.backlog",
        "log.format",
        "admin.listen",
    ];

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

    fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    fn proxy_protocol(&self) -> &ProxyProtocolConfig {
        &self.proxy_protocol
    }

    fn listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])> {
        vec![
            ("solo.listen", self.solo.listen.as_slice()),
            ("duel.listen", self.duel.listen.as_slice()),
            ("web.listen", self.web.listen.as_slice()),
        ]
    }

    fn internal_listeners(&self) -> Vec<(&'static str, &[ServerEndpoint])> {
        let cluster = &self.duel.cluster;
        if cluster.is_on() { vec![("duel.cluster.listen", cluster.listen.as_slice())] } else { Vec::new() }
    }

    fn internal_files(&self) -> usize {
        if self.duel.cluster.is_on() { cluster::MAX_FILES } else { 0 }
    }

    fn check_files(&self) -> Result<(), InvalidKey> {
        if self.duel.cluster.is_on() { self.duel.cluster.secret().map(|_| ()) } else { Ok(()) }
    }
}
