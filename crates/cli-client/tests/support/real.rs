//! Our own servers, in this process, on ports that the system chooses.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proto::server::connection::Summary;
use proto::server::lifecycle::Shutdown;
use proto::testing::blocking;
use proto::testing::server::{ServerTask, config, listen, listen_at};
use rps_server::Listeners;
use rps_server::house::{House, ThreadGenerator};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Runtime,
    task: Option<ServerTask>,
}

impl Server {
    fn start<S>(
        open: impl FnOnce() -> io::Result<TcpListener>,
        serve: impl FnOnce(TcpListener, Shutdown) -> S,
    ) -> io::Result<Self>
    where
        S: Future<Output = Summary> + Send + 'static,
    {
        let runtime = runtime();
        let (address, task) = {
            let _entered = runtime.enter();
            let listener = open()?;
            let address = listener.local_addr()?;
            let shutdown = Shutdown::new(Duration::from_secs(1));
            (address, ServerTask::spawn(shutdown.clone(), serve(listener, shutdown)))
        };
        Ok(Self { address, runtime, task: Some(task) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Occupies a connection: sends this, and waits for the first byte of the answer.
    pub(crate) fn occupy(&self, request: &str) -> TcpStream {
        let mut occupant = blocking::connect(self.address);
        occupant.write_all(request.as_bytes()).expect("the server reads");
        occupant.read_exact(&mut [0]).expect("the server answers");
        occupant
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task.stop());
        }
    }
}

/// A runtime with one thread of its own, so that it runs while a test blocks.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there is a runtime")
}

fn start<S>(serve: impl FnOnce(TcpListener, Shutdown) -> S) -> Server
where
    S: Future<Output = Summary> + Send + 'static,
{
    Server::start(|| Ok(listen()), serve).expect("there is a free port")
}

fn serve_power(
    settings: &[(&str, &str)],
    listener: TcpListener,
    shutdown: Shutdown,
) -> impl Future<Output = Summary> + use<> {
    let server = power_server::Server::new(&config(settings), shutdown);
    async move { server.serve(listener).await }
}

fn serve_rps(
    settings: &[(&str, &str)],
    listeners: Listeners<TcpListener>,
    shutdown: Shutdown,
) -> impl Future<Output = Summary> + use<> {
    let server = rps_server::Server::new(&config(settings), || House::new(ThreadGenerator), shutdown);
    async move { server.serve(listeners).await }
}

fn solo(listener: TcpListener) -> Listeners<TcpListener> {
    Listeners { solo: Some(listener), duel: None }
}

fn power_with(settings: &[(&str, &str)]) -> Server {
    start(|listener, shutdown| serve_power(settings, listener, shutdown))
}

fn rps_with(settings: &[(&str, &str)]) -> Server {
    start(|listener, shutdown| serve_rps(settings, solo(listener), shutdown))
}

/// A power server.
pub(crate) fn power() -> Server {
    power_with(&[])
}

/// A power server at this address.
pub(crate) fn power_at(address: &str) -> io::Result<Server> {
    let address = address.parse().expect("an address");
    Server::start(|| listen_at(address), |listener, shutdown| serve_power(&[], listener, shutdown))
}

/// A power server with room for so many connections.
pub(crate) fn power_with_room_for(connections: u32) -> Server {
    power_with(&[("limits.max_connections", &connections.to_string())])
}

/// A power server that waits for the end of a request, for far longer than the pieces of one are apart.
pub(crate) fn power_that_settles() -> Server {
    power_with(&[("framing.settle", "1s")])
}

/// A solo rock-paper-scissors server.
pub(crate) fn rps() -> Server {
    rps_with(&[])
}

/// A solo rock-paper-scissors server with room for so many connections.
pub(crate) fn rps_with_room_for(connections: u32) -> Server {
    rps_with(&[("limits.max_connections", &connections.to_string())])
}

/// A rock-paper-scissors server for duels, where a move waits so long for another.
pub(crate) fn duel(window: Duration) -> Server {
    let window = format!("{}ms", window.as_millis());
    let settings = [("duel.window", window.as_str()), ("timeouts.idle", "1h")];
    start(|listener, shutdown| serve_rps(&settings, Listeners { solo: None, duel: Some(listener) }, shutdown))
}

/// A power server that drops its first connection without a word, as one does that is not ready yet.
pub(crate) fn power_after_a_false_start() -> Server {
    after_a_false_start(|listener, shutdown| serve_power(&[], listener, shutdown))
}

/// The same for rock-paper-scissors.
pub(crate) fn rps_after_a_false_start() -> Server {
    after_a_false_start(|listener, shutdown| serve_rps(&[], solo(listener), shutdown))
}

fn after_a_false_start<S>(serve: impl FnOnce(TcpListener, Shutdown) -> S + Send + 'static) -> Server
where
    S: Future<Output = Summary> + Send,
{
    start(|listener, shutdown| async move {
        tokio::select! {
            accepted = listener.accept() => drop(accepted),
            () = shutdown.triggered() => {}
        }
        serve(listener, shutdown).await
    })
}

/// A port that nobody else gets and nobody listens on, until a server does.
#[derive(Debug)]
pub(crate) struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    /// A port.
    pub(crate) fn new() -> Self {
        // Without SO_REUSEADDR, with which Linux gives the port of a socket that does not listen to others too.
        let socket = TcpSocket::new_v4().expect("there is a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("there is a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address }
    }

    /// Where nobody listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, with room for so many connections that wait. Call it within a runtime.
    pub(crate) fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.socket.listen(backlog)
    }

    /// A power server starts on this port.
    pub(crate) fn serve_power(self) -> Server {
        Server::start(|| self.listen(1024), |listener, shutdown| serve_power(&[], listener, shutdown))
            .expect("the port is free")
    }

    /// A solo rock-paper-scissors server starts on this port.
    pub(crate) fn serve_rps(self) -> Server {
        Server::start(|| self.listen(1024), |listener, shutdown| serve_rps(&[], solo(listener), shutdown))
            .expect("the port is free")
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
