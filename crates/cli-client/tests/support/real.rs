//! Our own servers, in this process, on ports that the system chooses.

use std::fmt;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use power_server::config::Config as PowerConfig;
use proto::server::config::types::{Count, Period};
use proto::server::connection::metrics::Summary;
use proto::server::lifecycle::shutdown::Shutdown;
use proto::server::listener::socket;
use rps_server::Listeners;
use rps_server::config::Config as RpsConfig;
use rps_server::house::{House, ThreadGenerator};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};

use super::LIMIT;

const TERMS: socket::ListenOptions = socket::ListenOptions { backlog: 1024, defer_accept: false };

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start<S>(
        open: impl FnOnce() -> io::Result<TcpListener> + Send + 'static,
        serve: impl FnOnce(TcpListener, Shutdown) -> S + Send + 'static,
    ) -> io::Result<Self>
    where
        S: Future<Output = Summary>,
    {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let (sender, receiver) = channel();
        let told = shutdown.clone();
        let thread = thread::spawn(move || {
            let runtime = runtime();
            let _within = runtime.enter();
            let opened = open().and_then(|listener| Ok((listener.local_addr()?, listener)));
            match opened {
                Ok((address, listener)) => {
                    drop(sender.send(Ok(address)));
                    runtime.block_on(serve(listener, told));
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        });
        let address = receiver.recv().expect("the thread says how it went")?;
        Ok(Self { address, shutdown, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes a place with a connection that sends this; that it is answered shows that it has got the place.
    pub(crate) fn occupy(&self, request: &str) -> TcpStream {
        let mut occupant = TcpStream::connect(self.address).expect("the server listens");
        occupant.set_read_timeout(Some(LIMIT)).expect("the option can be set");
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
        self.shutdown.begin();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A runtime for one thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("there is a runtime")
}

/// A power server.
pub(crate) fn power() -> Server {
    power_at("127.0.0.1:0").expect("there is a free port")
}

/// A power server at this address.
pub(crate) fn power_at(address: &str) -> io::Result<Server> {
    let address = address.parse().expect("an address");
    Server::start(move || socket::bind(address, TERMS), |listener, shutdown| serve_power(listener, None, shutdown))
}

/// A power server with room for so many connections.
pub(crate) fn power_with_room_for<const CONNECTIONS: u32>() -> Server {
    let room = const { Count::new(CONNECTIONS) };
    Server::start(any_port, move |listener, shutdown| serve_power(listener, Some(room), shutdown))
        .expect("there is a free port")
}

/// A power server that waits for the end of a request, for far longer than the pieces of one are apart.
pub(crate) fn power_that_settles() -> Server {
    let serve = |listener, shutdown| async {
        let mut config = PowerConfig::default();
        config.framing.settle = const { Period::from_secs(1) };
        power_server::Server::new(&config, shutdown).serve(listener).await
    };
    Server::start(any_port, serve).expect("there is a free port")
}

/// A solo rock-paper-scissors server.
pub(crate) fn rps() -> Server {
    Server::start(any_port, |listener, shutdown| serve_rps(listener, None, shutdown)).expect("there is a free port")
}

/// A solo rock-paper-scissors server with room for so many connections.
pub(crate) fn rps_with_room_for<const CONNECTIONS: u32>() -> Server {
    let room = const { Count::new(CONNECTIONS) };
    Server::start(any_port, move |listener, shutdown| serve_rps(listener, Some(room), shutdown))
        .expect("there is a free port")
}

fn any_port() -> io::Result<TcpListener> {
    socket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), TERMS)
}

async fn serve_power(listener: TcpListener, room: Option<Count<1, 1_000_000>>, shutdown: Shutdown) -> Summary {
    let mut config = PowerConfig::default();
    let limits = &mut config.limits.connections;
    limits.max_connections = room.unwrap_or(limits.max_connections);
    power_server::Server::new(&config, shutdown).serve(listener).await
}

async fn serve_rps(listener: TcpListener, room: Option<Count<1, 1_000_000>>, shutdown: Shutdown) -> Summary {
    let mut config = RpsConfig::default();
    let limits = &mut config.limits.connections;
    limits.max_connections = room.unwrap_or(limits.max_connections);
    let listeners = Listeners { solo: Some(listener), duel: None };
    rps_server::Server::new(&config, || House::new(ThreadGenerator), shutdown).serve(listeners).await
}

/// A rock-paper-scissors server for duels, where a move waits so long for another.
pub(crate) fn duel(window: Duration) -> Server {
    let serve = move |listener, shutdown| async move {
        let listeners = Listeners { solo: None, duel: Some(listener) };
        let server = rps_server::Server::new(&RpsConfig::default(), || House::new(ThreadGenerator), shutdown);
        server.table().set_window(window);
        server.serve(listeners).await
    };
    Server::start(any_port, serve).expect("there is a free port")
}

/// A power server that drops its first connection without a word, as one does that is not ready yet.
pub(crate) fn power_after_a_false_start() -> Server {
    let serve = |mut listener, shutdown| async {
        drop_first(&mut listener, &shutdown).await;
        serve_power(listener, None, shutdown).await
    };
    Server::start(any_port, serve).expect("there is a free port")
}

/// The same for rock-paper-scissors.
pub(crate) fn rps_after_a_false_start() -> Server {
    let serve = |mut listener, shutdown| async {
        drop_first(&mut listener, &shutdown).await;
        serve_rps(listener, None, shutdown).await
    };
    Server::start(any_port, serve).expect("there is a free port")
}

async fn drop_first(listener: &mut TcpListener, shutdown: &Shutdown) {
    tokio::select! {
        accepted = listener.accept() => drop(accepted),
        () = shutdown.begun() => {}
    }
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
        Server::start(move || self.listen(1024), |listener, shutdown| serve_power(listener, None, shutdown))
            .expect("the port is free")
    }

    /// A solo rock-paper-scissors server starts on this port.
    pub(crate) fn serve_rps(self) -> Server {
        Server::start(move || self.listen(1024), |listener, shutdown| serve_rps(listener, None, shutdown))
            .expect("the port is free")
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
