//! The rock-paper-scissors server under test: in this process, as a program, or one connection in memory.

#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on fails, and not every test uses all of it")]

pub(crate) mod program;

use std::net::SocketAddr;
use std::sync::Arc;

use proto::server::{CloseReason, Shutdown, Stream, Summary};
use proto::testing::server::{self, ServerTask, config, listen};
use proto::testing::{PATIENCE, nonblocking};
use rps_server::config::Config;
use rps_server::duel::handler::DuelHandler;
use rps_server::duel::hub::DuelHub;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, Server as RpsServer};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A server on ports of its own.
pub(crate) struct TestServer {
    solo: SocketAddr,
    duel: SocketAddr,
    pub(crate) table: Arc<DuelHub>,
    pub(crate) shutdown: Shutdown,
    task: ServerTask,
}

/// Starts a server with these settings over the defaults, and for each connection a house with such a generator.
pub(crate) fn start<G, R>(settings: &[(&str, &str)], generator: G) -> TestServer
where
    G: Fn() -> R + Send + Sync + 'static,
    R: rand::CryptoRng + Send + 'static,
{
    let config: Config = config(settings);
    let [(solo, solo_listener), (duel, duel_listener)] = [(); 2].map(|()| {
        let listener = listen();
        // A small send buffer, which accepted connections inherit, so that a player who does not read is noticed soon.
        SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
        (listener.local_addr().unwrap(), listener)
    });
    let shutdown = Shutdown::new(config.timeouts.drain.get());
    let games = RpsServer::new(&config, move || House::new(generator()), shutdown.clone());
    let table = Arc::clone(games.hub());
    let listeners = Listeners { solo: Some(solo_listener), duel: Some(duel_listener) };
    let task = ServerTask::spawn(shutdown.clone(), async move { games.serve(listeners).await });
    TestServer { solo, duel, table, shutdown, task }
}

/// Starts a server with these settings over the defaults, for tests that do not look at what the house shows.
pub(crate) fn start_duel(settings: &[(&str, &str)]) -> TestServer {
    start(settings, || ThreadGenerator)
}

/// Serves a duel's connection with the default configuration.
pub(crate) fn join_in_memory(
    stream: impl Stream,
    table: &Arc<DuelHub>,
    shutdown: &Shutdown,
) -> JoinHandle<CloseReason> {
    let config = Config::default();
    let duel = DuelHandler::new(table.join(), config.limits.max_bad_frames.get(), Arc::default());
    server::serve(stream, duel, config.connection_timeouts(), shutdown.clone())
}

impl TestServer {
    /// Where the duel listens.
    pub(crate) fn duel_address(&self) -> SocketAddr {
        self.duel
    }

    /// A player against the house.
    pub(crate) async fn connect(&self) -> TcpStream {
        nonblocking::connect(self.solo).await
    }

    /// A player against other players.
    pub(crate) async fn join(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(self.duel).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Plays against the house: sends `bytes`, half-closes, and reads to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        nonblocking::exchange(self.solo, bytes).await
    }

    pub(crate) async fn stop(self) -> Summary {
        self.task.stop().await
    }
}

/// Reads one answer.
pub(crate) async fn hear(stream: &mut TcpStream) -> u8 {
    timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap()
}
