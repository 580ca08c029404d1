//! The long connection: a client connects and plays many rounds of rock-paper-scissors, one byte a move.
//!
//! - [`game`]: which move beats which;
//! - [`house`]: the opponent that every player of the solo game has;
//! - [`solo`]: one connection of the solo game, from bytes to bytes;
//! - [`duel`]: the game of two players: its rule, and how connections meet in it;
//! - [`metrics`]: what is counted of them;
//! - [`config`]: the server's configuration;
//! - [`Server`]: both games on their listeners, until they are told to stop.
//!
//! # The way of a move
//!
//! Against the house: the [driver](proto::server::connection::run) reads moves; [`solo`] decodes each, draws the
//! house's move, judges the round and encodes the reply; the driver writes all replies of a read at once.
//!
//! In a [`duel`], a move has to meet another player's. Its handler brings it to the [`hub`](duel::hub), which applies it to
//! a state machine, the [`rounds`](duel::rounds), under one lock. The state machine returns where replies stand: ready, or
//! pending until a deadline. While a reply is pending, the driver reads nothing more of that connection and keeps the
//! deadline; a reply that becomes ready wakes it.

pub mod config;
pub mod duel;
pub mod game;
pub mod house;
pub mod metrics;
pub mod solo;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::OptionFuture;
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use proto::client::rps::{Connection, Round};
use proto::client::{Endpoint, Error, ErrorKind};
use proto::server::listener::connect_addr;
use proto::server::observe::metrics::registry;
use proto::server::{self, Admission, ConnectionTimeouts, Listener, Service, Shutdown, Summary};
use proto::wire::rps::{Move, Reply};
use rand::CryptoRng;
use tokio::sync::watch;

use config::Config;
use duel::handler::DuelHandler;
use duel::hub::DuelHub;
use house::House;
use metrics::{Games, Metrics};
use solo::SoloHandler;

/// Where players come from, for each game that is on.
#[derive(Debug)]
pub struct Listeners<L> {
    /// Those who play against the house.
    pub solo: Option<L>,
    /// Those who play against each other.
    pub duel: Option<L>,
}

/// A server of both games: what their connections share, and what can change while it runs.
#[derive(Debug)]
pub struct Server<H> {
    solo: watch::Sender<Arc<SoloService<H>>>,
    duel: watch::Sender<Arc<DuelService>>,
    /// One for both, since the limits are those of the process.
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    house: Arc<H>,
    hub: Arc<DuelHub>,
    shutdown: Shutdown,
}

impl<H, R> Server<H>
where
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send + 'static,
{
    /// A server that goes by `config` and stops when `shutdown` begins. Each connection of the solo game plays against
    /// a `house` of its own.
    #[must_use]
    pub fn new(config: &Config, house: H, shutdown: Shutdown) -> Self {
        let metrics = Arc::<Metrics>::default();
        let house = Arc::new(house);
        let hub = DuelHub::new(config.duel.window.get());
        let shared = Shared::new(config, &metrics);
        let solo = SoloService { shared: shared.clone(), house: Arc::clone(&house) };
        let duel = DuelService { shared, hub: Arc::clone(&hub) };
        Self {
            solo: watch::Sender::new(Arc::new(solo)),
            duel: watch::Sender::new(Arc::new(duel)),
            admission: Admission::new(&config.limits.connections),
            metrics,
            house,
            hub,
            shutdown,
        }
    }

    /// Goes by another configuration from now on. Connections that are open keep what held when they came, and moves in
    /// play their window; the time for the drain is everybody's.
    pub fn apply(&self, config: &Config) {
        self.admission.set_limits(&config.limits.connections);
        self.shutdown.set_limit(config.timeouts.drain.get());
        self.hub.set_window(config.duel.window.get());
        let shared = Shared::new(config, &self.metrics);
        self.solo.send_replace(Arc::new(SoloService { shared: shared.clone(), house: Arc::clone(&self.house) }));
        self.duel.send_replace(Arc::new(DuelService { shared, hub: Arc::clone(&self.hub) }));
    }

    /// Serves both games to the connections of their `listeners` until the shutdown begins, and then drains.
    pub async fn serve<L: Listener>(&self, listeners: Listeners<L>) -> Summary {
        let solo = listeners.solo.map(|listener| self.accept(listener, self.solo.subscribe()));
        let duel = listeners.duel.map(|listener| self.accept(listener, self.duel.subscribe()));
        tokio::join!(OptionFuture::from(solo), OptionFuture::from(duel));
        self.metrics.connections.summary()
    }

    fn accept<L, S>(&self, listener: L, services: watch::Receiver<Arc<S>>) -> impl Future<Output = ()> + use<L, S, H, R>
    where
        L: Listener,
        S: Service,
    {
        let connections = Arc::clone(&self.metrics.connections);
        server::serve(listener, services, Arc::clone(&self.admission), connections, self.shutdown.clone())
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where the connections of the duel meet.
    #[must_use]
    pub fn hub(&self) -> &Arc<DuelHub> {
        &self.hub
    }

    /// Everything that is counted here and in `others`, for the admin listener.
    #[must_use]
    pub fn registry(&self, others: impl Collector) -> Registry {
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(Games { metrics: Arc::clone(&self.metrics), hub: Arc::clone(&self.hub) }),
            Box::new(Arc::clone(&self.metrics.connections)),
            Box::new(Arc::clone(&self.admission)),
            Box::new(others),
        ];
        registry("rps", env!("CARGO_PKG_VERSION"), collectors)
    }
}

/// What the connections of both games share.
#[derive(Clone, Debug)]
struct Shared {
    timeouts: Arc<ConnectionTimeouts>,
    max_bad_frames: u32,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            timeouts: config.connection_timeouts().into(),
            max_bad_frames: config.limits.max_bad_frames.get(),
            metrics: Arc::clone(metrics),
        }
    }
}

/// The reply to a connection that is rejected.
const FULL: [u8; 1] = [Reply::Full.byte()];

/// The solo game.
#[derive(Debug)]
struct SoloService<H> {
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

    fn timeouts(&self) -> Arc<ConnectionTimeouts> {
        Arc::clone(&self.shared.timeouts)
    }

    fn rejection(&self) -> Bytes {
        Bytes::from_static(&FULL)
    }
}

/// The duel.
#[derive(Debug)]
struct DuelService {
    shared: Shared,
    hub: Arc<DuelHub>,
}

impl Service for DuelService {
    type Handler = DuelHandler;

    fn handler(&self) -> DuelHandler {
        let Shared { max_bad_frames, metrics, .. } = &self.shared;
        DuelHandler::new(self.hub.join(), *max_bad_frames, Arc::clone(metrics))
    }

    fn timeouts(&self) -> Arc<ConnectionTimeouts> {
        Arc::clone(&self.shared.timeouts)
    }

    fn rejection(&self) -> Bytes {
        Bytes::from_static(&FULL)
    }
}

/// Asks the server that runs with `config` on each of its listeners: plays a round against the house, and has the duel
/// tell that a byte is no move, which draws no player into a round. A server that is full and says so is as it should
/// be: to start it anew would throw out everybody who plays.
///
/// # Errors
///
/// What kept it from answering right, in a sentence.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    if let Some(address) = config.solo.listen.0 {
        let round = unless_full(async { open(address).await?.throw(Move::Rock).await }.await)?;
        if round == Some(Round::Void) {
            return Err(format!("{address}: it voids a round that the house always plays"));
        }
    }
    if let Some(address) = config.duel.listen.0 {
        unless_full(async { open(address).await?.check().await }.await)?;
    }
    Ok(())
}

async fn open(address: SocketAddr) -> Result<Connection, Error> {
    Connection::open(Endpoint::new(connect_addr(address).to_string())).await
}

/// What was answered; `None` from a server that is full.
fn unless_full<T>(answered: Result<T, Error>) -> Result<Option<T>, String> {
    match answered {
        Ok(answer) => Ok(Some(answer)),
        Err(Error { kind: ErrorKind::Full, .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
