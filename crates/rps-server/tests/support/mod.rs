//! A real server in process, on ports of its own, and clients that send and hear raw bytes.

#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on fails, and not every file uses all of it")]

#[path = "../../../proto/tests/support/fragile.rs"]
pub(crate) mod fragile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::server::config::builder::{Layers, Origin};
use proto::server::connection::metrics::Summary;
use proto::server::connection::stream::Stream;
use proto::server::lifecycle::shutdown::Shutdown;
use proto::server::listener::socket;
use rps_server::config::Config;
use rps_server::duel::table::Table;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, Server as RpsServer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for anything; only a broken server lets one wait so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    solo: SocketAddr,
    duel: SocketAddr,
    pub(crate) table: Arc<Table>,
    pub(crate) shutdown: Shutdown,
    served: JoinHandle<Summary>,
}

/// Starts a server with these settings over the defaults, and for each connection a house with such a generator.
pub(crate) fn start<G, R>(settings: &[(&str, &str)], generator: G) -> Server
where
    G: Fn() -> R + Send + Sync + 'static,
    R: rand::CryptoRng + Send + 'static,
{
    let config = config(settings);
    let bind = || {
        let terms = socket::ListenOptions { backlog: config.limits.connections.backlog.get(), defer_accept: false };
        let listener = socket::bind("127.0.0.1:0".parse().unwrap(), terms).unwrap();
        // Little room for answers, which the connections inherit, so that a player who does not read is soon noticed.
        SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
        listener
    };
    let (solo, duel) = (bind(), bind());
    let (solo_address, duel_address) = (solo.local_addr().unwrap(), duel.local_addr().unwrap());
    let listeners = Listeners { solo: Some(solo), duel: Some(duel) };
    let shutdown = Shutdown::new(config.timeouts.drain.get());
    let games = RpsServer::new(&config, move || House::new(generator()), shutdown.clone());
    let table = Arc::clone(games.table());
    let served = tokio::spawn(async move { games.serve(listeners).await });
    Server { solo: solo_address, duel: duel_address, table, shutdown, served }
}

/// Starts a server with these settings over the defaults, for tests that do not look at what the house shows.
pub(crate) fn start_duel(settings: &[(&str, &str)]) -> Server {
    start(settings, || ThreadGenerator)
}

/// These settings over the defaults.
pub(crate) fn config(settings: &[(&str, &str)]) -> Config {
    let mut layers = Layers::<Config>::of_defaults();
    for (key, value) in settings {
        layers.lay_text(key, value, Origin::Argument((*key).to_owned()));
    }
    layers.finish().unwrap()
}

impl Server {
    /// Where the duel listens.
    pub(crate) fn duel_address(&self) -> SocketAddr {
        self.duel
    }

    /// A player against the house.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.solo).await.unwrap()
    }

    /// A player against other players.
    pub(crate) async fn join(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(self.duel).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Plays against the house: sends `bytes` in one write, closes the sending half, and hears to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = self.connect().await.into_split();
        let sending = async {
            write.write_all(bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let hearing = timeout(PATIENCE, read.read_to_end(&mut heard));
        let ((), result) = tokio::join!(sending, hearing);
        result.unwrap().unwrap();
        heard
    }

    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.begin();
        timeout(PATIENCE, self.served).await.unwrap().unwrap()
    }
}

/// Hears until the server closes; a reset is an error, and fails the test.
pub(crate) async fn hear_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    heard
}

/// Hears one answer.
pub(crate) async fn hear(stream: &mut TcpStream) -> u8 {
    timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap()
}
