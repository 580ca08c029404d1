//! Starts the rock-paper-scissors server for tests: in this process, as a program, or as one connection in memory.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that cannot go on fails, and no test uses every item"
)]

pub(crate) mod engine_model;
pub(crate) mod program;
pub(crate) mod redis_server;

use std::net::SocketAddr;
use std::sync::Arc;

use proto::server::{CloseReason, ListenOptions, Shutdown, SocketBuffers, Stream, Summary, bind};
use proto::testing::server::{self, ServerTask, config};
use proto::testing::{TEST_TIMEOUT, nonblocking};
use rps_server::config::Config;
use rps_server::duel::handler::DuelHandler;
use rps_server::duel::hub::DuelHub;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, Server as RpsServer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A server in this process, on free ports.
pub(crate) struct TestServer {
    solo: SocketAddr,
    duel: SocketAddr,
    pub(crate) hub: Arc<DuelHub>,
    pub(crate) shutdown: Shutdown,
    running: ServerTask,
}

/// Starts a server with `settings` over the defaults. Calls `generator` once per solo connection, for the house.
pub(crate) fn start<G, R>(settings: &[(&str, &str)], generator: G) -> TestServer
where
    G: Fn() -> R + Send + Sync + 'static,
    R: rand::CryptoRng + Send + 'static,
{
    let config: Config = config(settings);
    let [(solo, solo_listener), (duel, duel_listener)] = [(); 2].map(|()| {
        // This send buffer fills soon if a player does not read.
        let buffers = SocketBuffers { send: 4096, ..SocketBuffers::default() };
        let options = ListenOptions { backlog: 1024, defer_accept: false, buffers };
        let listener = bind(([127, 0, 0, 1], 0).into(), options).unwrap();
        (listener.local_addr().unwrap(), listener)
    });
    let shutdown = Shutdown::new(config.timeouts.drain.get());
    let server = RpsServer::new(&config, move || House::new(generator()), shutdown.clone());
    let hub = Arc::clone(server.hub());
    let listeners =
        Listeners { solo: vec![solo_listener], duel: vec![duel_listener], web: Vec::new(), cluster: Vec::new() };
    let running = ServerTask::spawn(shutdown.clone(), async move { server.serve(listeners).await });
    TestServer { solo, duel, hub, shutdown, running }
}

/// Starts a server with `settings` over the defaults, for tests that do not depend on the moves of the house.
pub(crate) fn start_duel(settings: &[(&str, &str)]) -> TestServer {
    start(settings, || ThreadGenerator)
}

/// Serves one duel connection on `stream`, with the default configuration.
pub(crate) fn join_in_memory(stream: impl Stream, hub: &Arc<DuelHub>, shutdown: &Shutdown) -> JoinHandle<CloseReason> {
    let config = Config::default();
    let handler = DuelHandler::new(hub.join(), config.limits.max_bad_frames.get(), Arc::default());
    server::serve(stream, handler, config.connection_timeouts(), shutdown.clone())
}

impl TestServer {
    /// Returns the address of the duel.
    pub(crate) fn duel_address(&self) -> SocketAddr {
        self.duel
    }

    /// Connects a player to the solo game.
    pub(crate) async fn connect(&self) -> TcpStream {
        nonblocking::connect(self.solo).await
    }

    /// Connects a player to the duel.
    pub(crate) async fn join(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(self.duel).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Plays the solo game: sends `bytes`, half-closes, and reads to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        nonblocking::exchange(self.solo, bytes).await
    }

    pub(crate) async fn stop(self) -> Summary {
        self.running.stop().await
    }
}

/// Reads one reply.
pub(crate) async fn read_reply(stream: &mut TcpStream) -> u8 {
    timeout(TEST_TIMEOUT, stream.read_u8()).await.unwrap().unwrap()
}
