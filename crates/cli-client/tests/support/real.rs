//! Our servers in this process, on ports that the kernel chooses.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proto::server::{EndpointListener, Listener, Shutdown, Summary};
use proto::testing::blocking;
use proto::testing::server::{ServerTask, config, listen, listen_at};
use rps_server::Listeners;
use rps_server::house::{House, ThreadGenerator};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct LocalServer {
    address: SocketAddr,
    runtime: Runtime,
    task: Option<ServerTask>,
}

impl LocalServer {
    fn start<S>(
        open: impl FnOnce() -> io::Result<EndpointListener>,
        serve: impl FnOnce(EndpointListener, Shutdown) -> S,
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

    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Occupies a connection: sends this request, and waits for the first byte of the reply.
    pub(crate) fn occupy(&self, request: &str) -> TcpStream {
        let mut occupant = blocking::connect(self.address);
        occupant.write_all(request.as_bytes()).expect("the server reads");
        occupant.read_exact(&mut [0]).expect("the server replies");
        occupant
    }
}

impl fmt::Display for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task.stop());
        }
    }
}

/// Creates a runtime with a separate thread, which runs while the test blocks.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there is a runtime")
}

fn start<S>(serve: impl FnOnce(EndpointListener, Shutdown) -> S) -> LocalServer
where
    S: Future<Output = Summary> + Send + 'static,
{
    LocalServer::start(|| Ok(listen()), serve).expect("there is a free port")
}

fn serve_power(
    settings: &[(&str, &str)],
    listener: EndpointListener,
    shutdown: Shutdown,
) -> impl Future<Output = Summary> + use<> {
    let server = power_server::Server::new(&config(settings), shutdown);
    async move { server.serve([listener]).await }
}

fn serve_rps(
    settings: &[(&str, &str)],
    listeners: Listeners<EndpointListener>,
    shutdown: Shutdown,
) -> impl Future<Output = Summary> + use<> {
    let server = rps_server::Server::new(&config(settings), || House::new(ThreadGenerator), shutdown);
    async move { server.serve(listeners).await }
}

fn solo(listener: EndpointListener) -> Listeners<EndpointListener> {
    Listeners { solo: vec![listener], duel: Vec::new(), web: Vec::new(), cluster: Vec::new() }
}

fn power_with(settings: &[(&str, &str)]) -> LocalServer {
    start(|listener, shutdown| serve_power(settings, listener, shutdown))
}

fn rps_with(settings: &[(&str, &str)]) -> LocalServer {
    start(|listener, shutdown| serve_rps(settings, solo(listener), shutdown))
}

pub(crate) fn power() -> LocalServer {
    power_with(&[])
}

/// Starts a power server on this address.
pub(crate) fn power_at(address: &str) -> io::Result<LocalServer> {
    let address = address.parse().expect("an address");
    LocalServer::start(|| listen_at(address), |listener, shutdown| serve_power(&[], listener, shutdown))
}

/// Starts a power server with this connection limit.
pub(crate) fn power_with_max_connections(connections: u32) -> LocalServer {
    power_with(&[("limits.max_connections", &connections.to_string())])
}

/// Starts a power server with a settle time far longer than the delay between pieces.
pub(crate) fn power_with_settle() -> LocalServer {
    power_with(&[("framing.settle", "1s")])
}

/// Starts a solo rock-paper-scissors server.
pub(crate) fn rps() -> LocalServer {
    rps_with(&[])
}

/// Starts a solo rock-paper-scissors server with this connection limit.
pub(crate) fn rps_with_max_connections(connections: u32) -> LocalServer {
    rps_with(&[("limits.max_connections", &connections.to_string())])
}

/// Starts a duel server with this window.
pub(crate) fn duel(window: Duration) -> LocalServer {
    let window = format!("{}ms", window.as_millis());
    let settings = [("duel.window", window.as_str()), ("timeouts.idle", "1h")];
    start(|listener, shutdown| {
        serve_rps(
            &settings,
            Listeners { solo: Vec::new(), duel: vec![listener], web: Vec::new(), cluster: Vec::new() },
            shutdown,
        )
    })
}

/// Starts a power server that closes its first connection at once, like a server that is not ready yet.
pub(crate) fn power_dropping_first_connection() -> LocalServer {
    dropping_first_connection(|listener, shutdown| serve_power(&[], listener, shutdown))
}

/// Starts a solo rock-paper-scissors server that closes its first connection at once.
pub(crate) fn rps_dropping_first_connection() -> LocalServer {
    dropping_first_connection(|listener, shutdown| serve_rps(&[], solo(listener), shutdown))
}

fn dropping_first_connection<S>(serve: impl FnOnce(EndpointListener, Shutdown) -> S + Send + 'static) -> LocalServer
where
    S: Future<Output = Summary> + Send,
{
    start(|mut listener, shutdown| async move {
        tokio::select! {
            accepted = listener.accept() => drop(accepted),
            () = shutdown.triggered() => {}
        }
        serve(listener, shutdown).await
    })
}

/// A port reserved for a server that starts later. Nothing listens on it until then.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    socket: TcpSocket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a port.
    pub(crate) fn new() -> Self {
        // Without SO_REUSEADDR: with it, Linux gives the port of a bound socket that does not listen to others as well.
        let socket = TcpSocket::new_v4().expect("there is a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("there is a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address }
    }

    /// Returns the address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens with this backlog. Must be called inside a runtime.
    pub(crate) fn listen(self, backlog: u32) -> io::Result<EndpointListener> {
        self.socket.listen(backlog)?.into_std()?.try_into()
    }

    /// Starts a power server on this port.
    pub(crate) fn serve_power(self) -> LocalServer {
        LocalServer::start(|| self.listen(1024), |listener, shutdown| serve_power(&[], listener, shutdown))
            .expect("the port is free")
    }

    /// Starts a solo rock-paper-scissors server on this port.
    pub(crate) fn serve_rps(self) -> LocalServer {
        LocalServer::start(|| self.listen(1024), |listener, shutdown| serve_rps(&[], solo(listener), shutdown))
            .expect("the port is free")
    }
}

impl fmt::Display for ReservedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
