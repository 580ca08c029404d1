//! The power service on short connections: a client connects, sends a request, gets the power of a number, and closes.
//!
//! - [`arithmetic`]: from a request to its reply;
//! - [`handler`]: the handler of one connection, from bytes to bytes;
//! - [`metrics`](mod@metrics): the request counters;
//! - [`config`]: the server's configuration;
//! - [`Server`]: serves listeners until the shutdown.
//!
//! # The path of a request
//!
//! 1. [`server::serve`] accepts the connection, [`Admission`] admits it, and the service makes its [`PowerHandler`].
//! 2. The [driver](proto::server::connection::run) reads the bytes and delivers them to the handler.
//! 3. [`RequestDecoder`](proto::wire::power::server::RequestDecoder) finds the end of the request and parses it,
//!    [`arithmetic::reply`] computes the result, [`ReplyEncoder`] writes the reply.
//! 4. The driver writes the reply to the socket within the same poll. After the client's half-close or a timeout, it closes
//!    the connection so that no reply is lost, and the accept loop counts the close reason.
//!
//! The handler and the arithmetic are in this crate; all else is in `proto`.

pub mod arithmetic;
pub mod config;
pub mod handler;
pub mod metrics;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prometheus_client::collector::Collector;
use proto::client::power::Client;
use proto::client::{Error, ErrorKind, HandshakeError, Timeouts};
use proto::server::healthcheck;
use proto::server::observe::metrics::registry;
use proto::server::program::Operations;
use proto::server::{self, Admission, ConnectionTimeouts, LimitReached, Listener, Service, Shutdown, Summary};
use proto::wire::number::Number;
use proto::wire::power::server::ReplyEncoder;
use proto::wire::power::{ErrorCode, ErrorReply, Operation, Terminator};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::codec::Encoder;

use config::Config;
use handler::{PowerHandler, PowerSettings};
use metrics::Metrics;

/// A power server: the state that its connections share, and the settings that a reload can change.
#[derive(Debug)]
pub struct Server {
    services: watch::Sender<Arc<PowerService>>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Server {
    /// Creates a server with the settings of `config`. It drains when `shutdown` is triggered.
    #[must_use]
    pub fn new(config: &Config, shutdown: Shutdown) -> Self {
        let metrics = Arc::<Metrics>::default();
        Self {
            services: watch::Sender::new(Arc::new(PowerService::new(config, Arc::clone(&metrics)))),
            admission: Admission::new(&config.limits.connections),
            metrics,
            shutdown,
        }
    }

    /// Applies a new configuration. Open connections keep their settings; the drain timeout applies to all.
    pub fn apply(&self, config: &Config) {
        self.admission.set_limits(&config.limits.connections);
        self.shutdown.set_timeout(config.timeouts.shared.drain.get());
        self.services.send_replace(Arc::new(PowerService::new(config, Arc::clone(&self.metrics))));
    }

    /// Serves the connections of `listeners` until the shutdown is triggered, then drains.
    pub async fn serve<L: Listener + 'static>(&self, listeners: impl IntoIterator<Item = L>) -> Summary {
        // In separate tasks, so that a flood of connections on one endpoint does not delay the others.
        let mut accept_loops = JoinSet::new();
        for listener in listeners {
            let connections = Arc::clone(&self.metrics.connections);
            let (services, admission) = (self.services.subscribe(), Arc::clone(&self.admission));
            accept_loops.spawn(server::serve(listener, services, admission, connections, self.shutdown.clone()));
        }
        accept_loops.join_all().await;
        self.metrics.connections.summary()
    }

    /// Returns the metrics of this server.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns what the admin listener shows: this server, and the metrics of `others`.
    #[must_use]
    pub fn operations(&self, others: impl Collector) -> Operations {
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(Arc::clone(&self.metrics)),
            Box::new(Arc::clone(&self.metrics.connections)),
            Box::new(Arc::clone(&self.admission)),
            Box::new(others),
        ];
        Operations {
            service: SERVICE,
            registry: registry(SERVICE, env!("CARGO_PKG_VERSION"), collectors),
            admission: Arc::clone(&self.admission),
            connections: Arc::clone(&self.metrics.connections),
            status: Arc::<Metrics>::clone(&self.metrics),
        }
    }
}

/// The name of the service: the prefix of its metrics, and its name on the pages of the admin listener.
const SERVICE: &str = "power";

/// The service: everything that its connections share.
#[derive(Debug)]
struct PowerService {
    settings: Arc<PowerSettings>,
    busy: Bytes,
    busy_for_client: Bytes,
}

impl PowerService {
    fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let encode = |error_reply| {
            let mut reply = BytesMut::new();
            // Encoding into memory cannot fail.
            let _ = ReplyEncoder.encode((&Err(error_reply), Terminator::Bare), &mut reply);
            reply.freeze()
        };
        Self {
            settings: Arc::new(PowerSettings::new(config, metrics)),
            busy: encode(ErrorReply::busy()),
            busy_for_client: encode(ErrorReply::busy_for_client()),
        }
    }
}

impl Service for PowerService {
    type Handler = PowerHandler;

    fn handler(&self) -> PowerHandler {
        PowerHandler::new(Arc::clone(&self.settings))
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        self.settings.timeouts
    }

    fn rejection(&self, limit: LimitReached) -> Bytes {
        if limit == LimitReached::Server { self.busy.clone() } else { self.busy_for_client.clone() }
    }
}

/// Sends a request to the server that runs with `config` and checks the reply. `eBUSY` counts as healthy: restarting a
/// full server would close the connections that it serves.
///
/// # Errors
///
/// Returns a sentence that says why the check failed.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    let timeouts = Timeouts::all(config.timeouts.request.get());
    healthcheck::healthcheck(config, timeouts, async |_, connector| {
        let one = Number::from(1);
        match Client::new(connector).request(Operation::Echo, one).await {
            Ok(Ok(reply)) if reply == one => Ok(()),
            Ok(Ok(reply)) => Err(format!("the echo of {one} was {reply}")),
            Ok(Err(error_reply)) if error_reply.code == ErrorCode::Busy => Ok(()),
            Ok(Err(error_reply)) => Err(error_reply.to_string()),
            // A full server closes the connection of a TLS client without a reply.
            Err(Error { kind: ErrorKind::Handshake(HandshakeError::Closed), .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}
