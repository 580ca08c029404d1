//! Duels between players of different replicas.
//!
//! Replicas with the same engine (Valkey or Redis) and the same name form one lobby. The engine only brings two players
//! together; the replica of the player who waited then judges their rounds, and no verdict depends on the engine.
//!
//! - [`engine`]: posts and takes tickets;
//! - [`link`]: the handler of a connection between two replicas;
//! - [`secret`]: proves that both replicas know the secret;
//! - [`config`]: the table `[duel.cluster]`;
//! - [`metrics`]: the metrics.
//!
//! The decisions are those of the state machine in [`replica`](super::replica). [`Links`] here carries them out.
//!
//! # How two players meet
//!
//! 1. A player who moves and has no partner meets the player who waits at the same replica, if there is one. Otherwise the
//!    player waits there, and the replica asks the engine: in one atomic operation, it takes the ticket of another replica, or
//!    posts its own. It asks again every second while the player waits.
//! 2. The replica that has taken a ticket (the *taker*) claims the waiting move at the replica that posted it (the
//!    *owner*), over a link. The owner accepts only while that very move waits. Meanwhile the taker's player waits in no lobby.
//! 3. After the owner has accepted, the two are partners. The taker sends its player's moves to the owner, and the owner
//!    judges them with the same state machine as all others. In it, the taker's player is a *guest*.
//! 4. A guest's move never waits in the owner's lobby: at the end of its patience, the owner returns it. It then waits in its
//!    own replica's lobby. The two stay partners, and when the partner moves, the owner asks for the move again.
//!
//! # Who decides about a move
//!
//! A move is at one replica at a time. Before the taker has sent it, and after the owner has returned it, its own replica
//! decides: the move can be void. In between, only the owner decides, and the taker waits for its verdict or its return. If the
//! link is lost in between, the outcome is unknown: the connection closes without a reply. So no move gets two verdicts,
//! and a void move is never judged.
//!
//! An owner reads a move some time after it was sent. So deadlines are points in time on the owner's clock, and the owner
//! returns a move that comes too late. The taker makes a move void at the exact end of its window; it does not send a move
//! that could not come back by then (`RETURN_MARGIN`).

pub mod config;
pub mod engine;
pub mod link;
pub mod metrics;
pub mod secret;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::client::tls::{Tls, certificates, private_key};
use proto::client::{Connector, Timeouts};
use proto::endpoint::Endpoint;
use proto::server::config::{ConnectionLimits, Count, TlsConfig};
use proto::server::connection::{ConnectionContext, run};
use proto::server::{
    Admission, ConnectionMetrics, ConnectionTimeouts, LimitReached, Listener, Service, Shutdown, SocketBuffers, serve,
};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, sleep_until, timeout};

use super::hub::{ClusterStep, DuelHub};
use super::replica::{CLAIM_TIMEOUT, LINK_TIMEOUT, LinkId, MAX_LINKS};
use engine::{Engine, EngineHealth};
use link::{LinkHandler, LinkProgress};
use secret::LinkSecret;

/// The timeouts of a link. Both sides send their clock every second, so a link is never idle. The first timeout is also that
/// of each message of the handshake.
const LINK_TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
    request: Some(Duration::from_secs(1)),
    idle: LINK_TIMEOUT,
    write: LINK_TIMEOUT,
    settle: Duration::ZERO,
};

/// Maximum time for the links to close, after the players' connections have ended. No player waits for a message by then.
const LINK_DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The buffers of accepted links: thousands of messages, since a side that writes reads nothing meanwhile. Without
/// `net.core.rmem_max` and `wmem_max` above their defaults, the kernel allows no more.
pub const BUFFERS: SocketBuffers = SocketBuffers { send: 212_992, receive: 212_992 };

/// The engine is checked after this long without a call. While partners stay partners, no call would notice that it hangs.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A replica's connections: to the engine and to other replicas.
#[derive(Debug)]
pub struct Links {
    hub: Arc<DuelHub>,
    engine: Engine,
    secret: Arc<LinkSecret>,
    /// How other replicas reach this one.
    address: String,
    /// For links to `tls://` endpoints: the certificate, and the authorities that have signed those of other replicas.
    tls: TlsConfig,
    context: Arc<ConnectionContext>,
    /// Limits the connections of the cluster's listeners. A connection without a handshake closes after a few seconds. One
    /// address can have half of the connections, so it cannot keep the links of other addresses out.
    admission: Arc<Admission>,
    unreachable: Mutex<Unreachable>,
}

/// The last addresses that could not be connected to, so that the log has one line for each of them and not one for each
/// attempt.
#[derive(Debug, Default)]
struct Unreachable(VecDeque<String>);

impl Unreachable {
    /// Returns whether the address is new.
    fn insert(&mut self, address: &str) -> bool {
        if self.0.iter().any(|other| other == address) {
            return false;
        }
        if self.0.len() == MAX_LINKS {
            self.0.pop_front();
        }
        self.0.push_back(address.to_owned());
        true
    }

    fn remove(&mut self, address: &str) {
        self.0.retain(|other| other != address);
    }
}

/// Maximum connections of the cluster's listeners: twice the links that a replica accepts.
const MAX_CONNECTIONS: u32 = 128;
const _: () = assert!(MAX_CONNECTIONS as usize == 2 * MAX_LINKS);

/// Maximum open files of a replica's links and of its connection to the engine, also while it connects again.
pub const MAX_FILES: usize = 3 * MAX_LINKS + 2;

impl Links {
    /// Creates the connections of `hub`'s replica, and opens none yet. Other replicas reach it at `address`.
    #[must_use]
    pub fn new(hub: Arc<DuelHub>, engine: Engine, secret: LinkSecret, address: String, tls: TlsConfig) -> Self {
        let shutdown = Shutdown::new(LINK_DRAIN_TIMEOUT);
        let context = ConnectionContext::new(LINK_TIMEOUTS, Arc::<ConnectionMetrics>::default(), shutdown);
        let limits = ConnectionLimits {
            max_connections: const { Count::new(MAX_CONNECTIONS) },
            max_connections_per_ip: const { Count::new(MAX_CONNECTIONS / 2) },
            ..Default::default()
        };
        let (secret, context) = (Arc::new(secret), Arc::new(context));
        let admission = Admission::new(&limits);
        Self { hub, engine, secret, address, tls, context, admission, unreachable: Mutex::default() }
    }

    /// Returns the shutdown of the links. It is triggered when the players' connections have ended.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.context.shutdown
    }

    /// Returns a view of whether the engine is available.
    #[must_use]
    pub fn engine_health(&self) -> EngineHealth {
        self.engine.health()
    }

    /// Serves the links that other replicas open, until the [shutdown](Self::shutdown).
    pub fn serve_listener<L: Listener + 'static>(&self, listener: L) -> impl Future<Output = ()> + use<L> {
        let (hub, secret, address) = (Arc::clone(&self.hub), Arc::clone(&self.secret), self.address.clone());
        let service = LinkService { hub, secret, address };
        let (metrics, shutdown) = (Arc::clone(&self.context.metrics), self.shutdown().clone());
        let admission = Arc::clone(&self.admission);
        async move {
            // The service does not change.
            let services = watch::Sender::new(Arc::new(service));
            serve(listener, services.subscribe(), admission, metrics, shutdown).await;
        }
    }

    /// Calls the engine and opens links, until the links' shutdown. At `shutdown`, gives guests back to their replicas.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut links = JoinSet::new();
        let Self { hub, engine, .. } = &*self;
        let calls = async {
            let mut health = engine.health();
            loop {
                tokio::select! {
                    call = hub.next_engine_call() => {
                        if let Some(reply) = engine.call(call).await {
                            hub.on_engine_reply(reply);
                        }
                    }
                    () = health.came_up() => hub.on_engine_up(),
                    () = sleep(CHECK_INTERVAL) => engine.check().await,
                }
            }
        };
        let steps = async {
            loop {
                match hub.next_step() {
                    ClusterStep::Connect(link, address) => {
                        links.spawn(Arc::clone(&self).open_link(link, address));
                        // Links that have ended.
                        while links.try_join_next().is_some() {}
                    }
                    ClusterStep::Wait(at) => tokio::select! {
                        () = hub.clock_changed() => {}
                        () = async {
                            match at {
                                Some(at) => sleep_until(at).await,
                                None => std::future::pending().await,
                            }
                        } => hub.on_time(),
                    },
                }
            }
        };
        let drain = async {
            shutdown.triggered().await;
            hub.drain();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = calls => {}
            () = steps => {}
            () = drain => {}
            () = self.shutdown().triggered() => {}
        }
    }

    /// Opens a link and serves it to its end.
    async fn open_link(self: Arc<Self>, link: LinkId, address: String) {
        let handle = self.hub.opening_link(link);
        let connected = timeout(CLAIM_TIMEOUT, self.connect(&address)).await;
        let result = match connected.map_err(|_| io::ErrorKind::TimedOut.into()).flatten() {
            Ok(stream) => {
                let progress = Arc::<LinkProgress>::default();
                let (secret, address) = (Arc::clone(&self.secret), address.clone());
                let handler = LinkHandler::taker(handle, secret, address, Arc::clone(&progress));
                let reason = run(stream, handler, Arc::clone(&self.context)).await;
                progress.result(reason)
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(reason) => {
                self.unreachable().remove(&address);
                tracing::info!(%address, %reason, "link to another replica closed");
            }
            Err(error) if self.unreachable().insert(&address) => {
                tracing::warn!(%address, %error, "cannot connect to another replica");
            }
            Err(_) => {}
        }
    }

    fn unreachable(&self) -> MutexGuard<'_, Unreachable> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, address: &str) -> io::Result<proto::client::stream::ClientStream> {
        let endpoint: Endpoint = address.parse().map_err(io::Error::other)?;
        let mut connector = Connector::new(endpoint.clone()).with_timeouts(Timeouts::all(CLAIM_TIMEOUT));
        if endpoint.is_tls() {
            let files = self.tls.clone();
            // The files are read again, because they may have been renewed.
            let tls = spawn_blocking(move || client_tls(&files)).await.map_err(io::Error::other)??;
            connector = connector.with_tls(Arc::new(tls));
        }
        connector.connect().await.map_err(io::Error::other)
    }
}

/// Returns the options of links to `tls://` endpoints: this replica's certificate, and the authorities of `tls.client_ca`.
fn client_tls(files: &TlsConfig) -> io::Result<Tls> {
    let chain = certificates(files.certificate.as_ref()).map_err(io::Error::other)?;
    let key = private_key(files.key.as_ref()).map_err(io::Error::other)?;
    let tls = Tls::default().with_identity(chain, key).map_err(io::Error::other)?;
    if files.client_ca.is_empty() {
        return Ok(tls);
    }
    tls.with_authorities(files.client_ca.as_ref()).map_err(io::Error::other)
}

/// Makes the handlers of the links that other replicas open.
#[derive(Debug)]
pub struct LinkService {
    hub: Arc<DuelHub>,
    secret: Arc<LinkSecret>,
    address: String,
}

impl Service for LinkService {
    type Handler = LinkHandler;

    fn handler(&self) -> LinkHandler {
        LinkHandler::owner(Arc::clone(&self.hub), Arc::clone(&self.secret), self.address.clone())
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        LINK_TIMEOUTS
    }

    fn rejection(&self, _: LimitReached) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}
