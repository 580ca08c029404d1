//! The long connection: a client connects and plays many rounds of rock-paper-scissors, one byte per move.
//!
//! - [`game`]: which move beats which;
//! - [`house`]: the opponent in the solo game;
//! - [`solo`]: the handler of one solo connection;
//! - [`duel`]: the game of two players: its rule, its state machine and the handler of one connection;
//! - [`web`]: both games in a browser;
//! - [`metrics`]: the counters of both games;
//! - [`config`]: the server's configuration;
//! - [`Server`]: both games on their listeners, until the shutdown.
//!
//! # The path of a move
//!
//! In the solo game, the [driver](proto::server::connection::run) reads moves. [`solo`] decodes each move, draws the
//! house's move, judges the round and encodes the reply. The driver writes all replies to one read at once.
//!
//! In a [`duel`], a move is judged against another player's move. The handler passes it to the [`hub`](duel::hub), which
//! applies it to a state machine, the [`replica`](duel::replica) around the [`rounds`](duel::rounds), under one lock. The
//! state machine returns the state of each affected reply: ready, or pending until a deadline. While a reply is pending, the
//! driver reads nothing from that connection. It waits until the hub wakes it with the reply, or until the deadline.

pub mod config;
pub mod duel;
pub mod game;
pub mod house;
pub mod metrics;
pub mod solo;
pub mod web;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::collector::Collector;
use proto::client::rps::{Connection, Round};
use proto::client::{Error, ErrorKind, HandshakeError, Timeouts};
use proto::server::config::InvalidKey;
use proto::server::healthcheck;
use proto::server::observe::metrics::registry;
use proto::server::program::Operations;
use proto::server::{self, Admission, ConnectionTimeouts, LimitReached, Listener, Service, Shutdown, Summary};
use proto::wire::rps::{Move, Reply};
use rand::CryptoRng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use config::Config;
use duel::cluster::Links;
use duel::cluster::config::ClusterConfig;
use duel::cluster::engine::Engine;
use duel::cluster::metrics::ClusterCollector;
use duel::handler::DuelHandler;
use duel::hub::DuelHub;
use house::House;
use metrics::{GamesCollector, GamesStatus, Metrics};
use solo::SoloHandler;
use web::WebService;

/// The listeners of both games; none for an endpoint list that is off.
#[derive(Debug)]
pub struct Listeners<L> {
    /// For games against the house.
    pub solo: Vec<L>,
    /// For games between two players.
    pub duel: Vec<L>,
    /// For both games in a browser: [web endpoints](proto::server::Site).
    pub web: Vec<L>,
    /// For other replicas; none without a cluster.
    pub cluster: Vec<L>,
}

/// A server of both games. It holds the state that connections share, and the settings that a reload can change.
#[derive(Debug)]
pub struct Server<H> {
    solo: watch::Sender<Arc<SoloService<H>>>,
    duel: watch::Sender<Arc<DuelService>>,
    web: watch::Sender<Arc<WebService<H>>>,
    /// One for all endpoints, since the limits are per process.
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    house: Arc<H>,
    hub: Arc<DuelHub>,
    /// `None` without a cluster.
    links: Option<Arc<Links>>,
    shutdown: Shutdown,
}

impl<H, R> Server<H>
where
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send + 'static,
{
    /// Creates a server that uses `config` and drains when `shutdown` is triggered. Calls `house` once per solo
    /// connection, for the opponent.
    #[must_use]
    pub fn new(config: &Config, house: H, shutdown: Shutdown) -> Self {
        Self::with_hub(config, house, shutdown, DuelHub::new(config.duel.window.get()))
    }

    /// Creates a server whose duel has players of other replicas too. Other replicas reach it at `address`.
    ///
    /// # Errors
    ///
    /// Fails if the cluster is off, the secret cannot be read or the address cannot be in a ticket.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn with_cluster(config: &Config, house: H, shutdown: Shutdown, address: String) -> io::Result<Self> {
        let ClusterConfig { engine, name, .. } = &config.duel.cluster;
        let engine = engine.url().ok_or_else(|| io::Error::other("duel.cluster.engine is off"))?;
        let secret = config.duel.cluster.secret().map_err(|InvalidKey { problem, .. }| io::Error::other(problem))?;
        let hub = DuelHub::with_cluster(config.duel.window.get(), rand::random());
        let engine =
            Engine::new(engine, &name.to_string(), rand::random(), address.clone()).map_err(io::Error::other)?;
        let links = Links::new(Arc::clone(&hub), engine, secret, address, config.tls.clone());
        Ok(Self { links: Some(Arc::new(links)), ..Self::with_hub(config, house, shutdown, hub) })
    }

    fn with_hub(config: &Config, house: H, shutdown: Shutdown, hub: Arc<DuelHub>) -> Self {
        let metrics = Arc::<Metrics>::default();
        let house = Arc::new(house);
        let Services { solo, duel, web } = Services::new(config, &metrics, &house, &hub);
        Self {
            solo: watch::Sender::new(solo),
            duel: watch::Sender::new(duel),
            web: watch::Sender::new(web),
            admission: Admission::new(&config.limits.connections),
            metrics,
            house,
            hub,
            links: None,
            shutdown,
        }
    }

    /// Applies a reloaded configuration. Open connections keep the timeouts and limits that were current when they were
    /// accepted, and moves in play keep their deadlines. A new drain timeout holds for all connections.
    pub fn apply(&self, config: &Config) {
        self.admission.set_limits(&config.limits.connections);
        self.shutdown.set_timeout(config.timeouts.drain.get());
        self.hub.set_window(config.duel.window.get());
        let Services { solo, duel, web } = Services::new(config, &self.metrics, &self.house, &self.hub);
        self.solo.send_replace(solo);
        self.duel.send_replace(duel);
        self.web.send_replace(web);
    }

    /// Serves both games on `listeners` until the shutdown is triggered, and then drains.
    pub async fn serve<L: Listener + 'static>(&self, listeners: Listeners<L>) -> Summary {
        // In separate tasks, so that a flood of connections on one endpoint does not delay the others.
        let mut accept_loops = JoinSet::new();
        for listener in listeners.solo {
            accept_loops.spawn(self.serve_listener(listener, self.solo.subscribe()));
        }
        for listener in listeners.duel {
            accept_loops.spawn(self.serve_listener(listener, self.duel.subscribe()));
        }
        for listener in listeners.web {
            accept_loops.spawn(self.serve_listener(listener, self.web.subscribe()));
        }
        let mut link_tasks = JoinSet::new();
        if let Some(links) = &self.links {
            for listener in listeners.cluster {
                link_tasks.spawn(links.serve_listener(listener));
            }
            link_tasks.spawn(Arc::clone(links).run(self.shutdown.clone()));
        }
        accept_loops.join_all().await;
        if let Some(links) = &self.links {
            // The players' connections have ended; until then, other replicas may have their moves.
            links.shutdown().trigger();
            link_tasks.join_all().await;
        }
        self.metrics.connections.summary()
    }

    fn serve_listener<L, S>(
        &self,
        listener: L,
        services: watch::Receiver<Arc<S>>,
    ) -> impl Future<Output = ()> + use<L, S, H, R>
    where
        L: Listener,
        S: Service,
    {
        let connections = Arc::clone(&self.metrics.connections);
        server::serve(listener, services, Arc::clone(&self.admission), connections, self.shutdown.clone())
    }

    /// Returns the counters of connections and games.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns the hub of the duel's players.
    #[must_use]
    pub fn hub(&self) -> &Arc<DuelHub> {
        &self.hub
    }

    /// Returns what the admin listener shows: this server, and the metrics of `others`.
    #[must_use]
    pub fn operations(&self, others: impl Collector) -> Operations {
        let games = GamesCollector { metrics: Arc::clone(&self.metrics), hub: Arc::clone(&self.hub) };
        let cluster = self.links.as_ref().map(|links| {
            let (hub, engine) = (Arc::clone(&self.hub), links.engine_health());
            ClusterCollector { hub, engine }
        });
        let mut collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(games.clone()),
            Box::new(Arc::clone(&self.metrics.connections)),
            Box::new(Arc::clone(&self.admission)),
            Box::new(others),
        ];
        if let Some(cluster) = &cluster {
            collectors.push(Box::new(cluster.clone()));
        }
        Operations {
            service: SERVICE,
            registry: registry(SERVICE, env!("CARGO_PKG_VERSION"), collectors),
            admission: Arc::clone(&self.admission),
            connections: Arc::clone(&self.metrics.connections),
            status: Arc::new(GamesStatus { games, cluster }),
        }
    }
}

/// The name of the service: the prefix of its metrics, and its name on the pages of the admin listener.
const SERVICE: &str = "rps";

/// The settings and counters that connections of both games share.
#[derive(Clone, Debug)]
struct Shared {
    timeouts: ConnectionTimeouts,
    max_bad_frames: u32,
    metrics: Arc<Metrics>,
}

/// The services of the endpoints.
struct Services<H> {
    solo: Arc<SoloService<H>>,
    duel: Arc<DuelService>,
    web: Arc<WebService<H>>,
}

impl<H> Services<H> {
    fn new(config: &Config, metrics: &Arc<Metrics>, house: &Arc<H>, hub: &Arc<DuelHub>) -> Self {
        let shared = Shared {
            timeouts: config.connection_timeouts(),
            max_bad_frames: config.limits.max_bad_frames.get(),
            metrics: Arc::clone(metrics),
        };
        let solo = Arc::new(SoloService { shared: shared.clone(), house: Arc::clone(house) });
        let duel = Arc::new(DuelService { shared, hub: Arc::clone(hub) });
        let site = web::site(&config.web, config.duel.window.get());
        let web = Arc::new(WebService { solo: Arc::clone(&solo), duel: Arc::clone(&duel), site });
        Self { solo, duel, web }
    }
}

/// The bytes that a rejected connection gets.
const FULL: [u8; 1] = [Reply::Full.byte()];

/// Makes the handlers of solo connections.
#[derive(Debug)]
pub(crate) struct SoloService<H> {
    shared: Shared,
    house: Arc<H>,
}

impl<H, R> Service for SoloService<H>
where
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send + 'static,
{
    type Handler = SoloHandler<R>;

    fn handler(&self) -> SoloHandler<R> {
        let Shared { max_bad_frames, metrics, .. } = &self.shared;
        SoloHandler::new((self.house)(), *max_bad_frames, Arc::clone(metrics))
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        self.shared.timeouts
    }

    fn rejection(&self, _: LimitReached) -> Bytes {
        Bytes::from_static(&FULL)
    }
}

/// Makes the handlers of duel connections.
#[derive(Debug)]
pub(crate) struct DuelService {
    shared: Shared,
    hub: Arc<DuelHub>,
}

impl Service for DuelService {
    type Handler = DuelHandler;

    fn handler(&self) -> DuelHandler {
        let Shared { max_bad_frames, metrics, .. } = &self.shared;
        DuelHandler::new(self.hub.join(), *max_bad_frames, Arc::clone(metrics))
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        self.shared.timeouts
    }

    fn rejection(&self, _: LimitReached) -> Bytes {
        Bytes::from_static(&FULL)
    }
}

/// Checks the server that runs with `config` on each of its listeners. It plays one round against the house; to the duel
/// it sends a byte that is not a move, and expects the error reply, so that no player is paired with the check. A web
/// endpoint has to send the page. A server that replies that it is full counts as healthy: a restart would disconnect all
/// its players.
///
/// # Errors
///
/// Returns a sentence that says which listener failed and why.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    healthcheck::healthcheck(config, Timeouts::default(), async |key, connector| {
        let address = connector.address().to_owned();
        if key == "web.listen" {
            return healthcheck::ask_http(&connector, "/", &["200", "503"]).await;
        }
        if key == "duel.listen" {
            return unless_full(async { Connection::open(connector).await?.check().await }.await).map(|_| ());
        }
        let round = unless_full(async { Connection::open(connector).await?.throw(Move::Rock).await }.await)?;
        if round == Some(Round::Void) {
            return Err(format!("{address}: the house voided the round, but it always moves"));
        }
        Ok(())
    })
    .await
}

/// Returns the result of a check; `None` if the server is full.
fn unless_full<T>(result: Result<T, Error>) -> Result<Option<T>, String> {
    match result {
        Ok(checked) => Ok(Some(checked)),
        // A full server closes the connection of a TLS client without a reply.
        Err(Error { kind: ErrorKind::Full | ErrorKind::Handshake(HandshakeError::Closed), .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
