//! The short connection: a client connects, asks for a power of a number, gets the answer, and closes.
//!
//! - [`arithmetic`]: what is answered, and nothing else;
//! - [`handler`]: one connection, from bytes to bytes;
//! - [`metrics`](mod@metrics): what is counted of it;
//! - [`config`]: the server's configuration;
//! - [`Server`]: the service on a listener, until its shutdown.
//!
//! # The path of a request
//!
//! 1. [`server::serve`] accepts the connection, [`Admission`] admits it, and the service makes its [`PowerHandler`].
//! 2. The [driver](proto::server::connection::run) reads the bytes and delivers them to the handler.
//! 3. [`RequestDecoder`](proto::wire::power::server::RequestDecoder) finds the end of the request and parses it,
//!    [`arithmetic::answer`] computes the result, [`ReplyEncoder`] writes the reply.
//! 4. The driver writes the reply to the socket within the same poll. Once the client has closed its half, or a timeout
//!    has passed, it closes the connection so that no reply is lost, and the accept loop counts why it ended.
//!
//! The crate `proto` has all of that except the handler and the arithmetic.

pub mod arithmetic;
pub mod config;
pub mod handler;
pub mod metrics;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use proto::client::power::Client;
use proto::client::{Endpoint, Timeouts};
use proto::server::listener::connect_addr;
use proto::server::observe::metrics::registry;
use proto::server::{self, Admission, ConnectionTimeouts, Listener, Service, Shutdown, Summary};
use proto::wire::number::Number;
use proto::wire::power::server::ReplyEncoder;
use proto::wire::power::{ErrorCode, ErrorReply, Operation, Terminator};
use tokio::sync::watch;
use tokio_util::codec::Encoder;

use config::Config;
use handler::PowerHandler;
use metrics::Metrics;

/// A power server: what its connections share, and what can change while it runs.
#[derive(Debug)]
pub struct Server {
    services: watch::Sender<Arc<PowerService>>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Server {
    /// A server that goes by `config` and stops when `shutdown` begins.
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

    /// Goes by another configuration from now on. Connections that are open keep what held when they came, apart from
    /// the time for the drain.
    pub fn apply(&self, config: &Config) {
        self.admission.set_limits(&config.limits.connections);
        self.shutdown.set_limit(config.timeouts.shared.drain.get());
        self.services.send_replace(Arc::new(PowerService::new(config, Arc::clone(&self.metrics))));
    }

    /// Serves the connections of `listener` until the shutdown begins, and then drains.
    pub async fn serve<L: Listener>(&self, listener: L) -> Summary {
        let connections = Arc::clone(&self.metrics.connections);
        let services = self.services.subscribe();
        server::serve(listener, services, Arc::clone(&self.admission), connections, self.shutdown.clone()).await;
        self.metrics.connections.summary()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Everything that is counted here and in `others`, for the admin listener.
    #[must_use]
    pub fn registry(&self, others: impl Collector) -> Registry {
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(Arc::clone(&self.metrics)),
            Box::new(Arc::clone(&self.metrics.connections)),
            Box::new(Arc::clone(&self.admission)),
            Box::new(others),
        ];
        registry("power", env!("CARGO_PKG_VERSION"), collectors)
    }
}

/// What every connection of this service shares.
#[derive(Debug)]
struct PowerService {
    timeouts: Arc<ConnectionTimeouts>,
    max_request_bytes: usize,
    busy: Bytes,
    metrics: Arc<Metrics>,
}

impl PowerService {
    fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let mut busy = BytesMut::new();
        // Encoding into memory cannot fail.
        let _ = ReplyEncoder.encode((&Err(ErrorReply::busy()), Terminator::Bare), &mut busy);
        Self {
            timeouts: config.connection_timeouts().into(),
            max_request_bytes: config.limits.max_request_bytes.as_usize(),
            busy: busy.freeze(),
            metrics,
        }
    }
}

impl Service for PowerService {
    type Handler = PowerHandler;

    fn handler(&self) -> PowerHandler {
        PowerHandler::new(self.max_request_bytes, &self.timeouts, Arc::clone(&self.metrics))
    }

    fn timeouts(&self) -> Arc<ConnectionTimeouts> {
        Arc::clone(&self.timeouts)
    }

    fn rejection(&self) -> Bytes {
        self.busy.clone()
    }
}

/// Asks the server that runs with `config` a real question. One that is full and says so is as it should be: to start
/// it anew would throw out everybody whom it serves.
///
/// # Errors
///
/// What kept it from answering right, in a sentence.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    let limit = config.timeouts.request.get();
    let address = connect_addr(config.listen.0).to_string();
    let client = Client::new(Endpoint::new(address).with_timeouts(Timeouts::all(limit)));
    let one = Number::from(1);
    match client.request(Operation::Echo, one).await {
        Ok(Ok(answer)) if answer == one => Ok(()),
        Ok(Ok(answer)) => Err(format!("asked for the echo of {one}, it answered {answer}")),
        Ok(Err(refusal)) if refusal.code == ErrorCode::Busy => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
