//! The listening socket of an endpoint.
//!
//! It depends on `socket`, `unix`, `inherited`, `handshake` and `peer`, on the table of connections in `observe`, and
//! implements the [`Listener`] of the accept loop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockRef;

use super::accept::{Accepted, Listener, is_connection_error};
use super::handshake::{Handshakes, ListenerHandshakes, ListenerKind};
use super::inherited::InheritedSockets;
use super::peer::Peer;
use super::socket::{self, ListenOptions, ListeningSocket, PolledSocket, SocketBuffers};
use super::unix::{self, SocketFile};
use crate::endpoint::Endpoint;
use crate::server::config::endpoints::ServerEndpoint;
use crate::server::connection::socket::SocketStream;
use crate::server::lifecycle::watchdog::{Heartbeat, Heartbeats};
use crate::server::observe::connections::table::{AcceptingEndpoint, CONNECTIONS, EndpointNumber, LocalAddress};

/// A listening socket with the handshake of its connections.
#[derive(Debug)]
pub struct EndpointListener {
    /// The file of a Unix socket; `None` if it is not that of this process, or is removed already. It is dropped before
    /// the socket.
    file: Option<SocketFile>,
    socket: PolledSocket,
    /// The name of the inherited socket. Another process goes on accepting from it.
    inherited: Option<String>,
    /// Beats while the accept loop waits for connections.
    heartbeat: Heartbeat,
    connections: ConnectionSettings,
}

/// The settings of accepted connections.
#[derive(Debug)]
struct ConnectionSettings {
    /// The size of the send buffer, which a Unix socket does not inherit from its listening socket.
    send_buffer: usize,
    /// `None` without any handshake.
    handshakes: Option<ListenerHandshakes>,
    /// The default if the connections are not listed: they are not clients of the service.
    number: EndpointNumber,
}

impl ConnectionSettings {
    fn accepted(&mut self, socket: OwnedFd, peer: Peer) -> Accepted<SocketStream> {
        CONNECTIONS.on_accept(socket.as_raw_fd(), self.number);
        if peer == Peer::Unix {
            // The kernel holds at most this for a client that does not read. It fails only if the socket is closed.
            let _ = SockRef::from(&socket).set_send_buffer_size(self.send_buffer);
        }
        let handshake = self.handshakes.as_mut().and_then(|handshakes| handshakes.for_connection(peer));
        Accepted { stream: socket.into(), peer, handshake }
    }
}

/// Opens a listening TCP socket whose connections begin with a request. Call it within a tokio runtime.
///
/// # Errors
///
/// Fails if the socket cannot listen on `address`, most often because another socket does.
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<EndpointListener> {
    let listener = socket::bind(address, options)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {}", reason_of(&error))))?;
    listener.try_into()
}

/// A non-blocking socket that the caller has opened. Its connections begin with a request. Call it within a tokio
/// runtime.
impl TryFrom<TcpListener> for EndpointListener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Self> {
        let (send_buffer, number) = (SocketBuffers::default().send, EndpointNumber::default());
        let connections = ConnectionSettings { send_buffer, handshakes: None, number };
        let socket = PolledSocket::new(ListeningSocket::Tcp(listener))?;
        Ok(Self { file: None, socket, inherited: None, heartbeat: Heartbeat::default(), connections })
    }
}

/// Returns the reason of an error as a part of a sentence: `address already in use` for an error of the kernel.
pub(crate) fn reason_of(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    // The text of `io::Error` begins with a capital and ends with the number, as in `(os error 98)`.
    let mut reason = Errno::from_raw(number).desc().to_owned();
    if let Some(first) = reason.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    reason
}

/// Opens the listening sockets of endpoints.
#[derive(Debug)]
pub(crate) struct Binder<'a> {
    /// The inherited sockets that no endpoint has taken yet.
    pub(crate) inherited: &'a mut InheritedSockets,
    pub(crate) handshakes: &'a Handshakes,
    /// Each accept loop beats.
    pub(crate) heartbeats: &'a Heartbeats,
    pub(crate) kind: ListenerKind,
    /// Whether the connections of clients are listed at the admin listener.
    pub(crate) lists_connections: bool,
    pub(crate) options: ListenOptions,
    /// The number of listening sockets of a TCP endpoint.
    pub(crate) accept_loops: usize,
}

/// A listening socket of an endpoint.
struct Opened {
    socket: ListeningSocket,
    /// The file of a Unix socket that this process has created.
    file: Option<SocketFile>,
    /// The name of the inherited socket.
    inherited: Option<String>,
}

impl Binder<'_> {
    /// Opens the listening sockets of `endpoint`: one for each accept loop, or all inherited ones of a name. A Unix socket
    /// has one. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the socket cannot listen on the endpoint. An error that is not from the kernel contains its remedy.
    pub(crate) fn bind(&mut self, endpoint: &ServerEndpoint) -> io::Result<Vec<EndpointListener>> {
        let sockets = self.open(endpoint)?.into_iter();
        sockets.map(|opened| self.listener(opened, endpoint.is_tls())).collect()
    }

    fn open(&mut self, endpoint: &ServerEndpoint) -> io::Result<Vec<Opened>> {
        match endpoint {
            Endpoint::Tcp(address) | Endpoint::Tls(address) => {
                let group = socket::bind_group(*address, self.options, self.accept_loops).map_err(|error| {
                    // A socket unit and the server have the same address.
                    let inherited =
                        (error.kind() == io::ErrorKind::AddrInUse).then(|| self.inherited.name_at(*address));
                    let Some(name) = inherited.flatten() else { return error };
                    let scheme = if endpoint.is_tls() { "tls+fd" } else { "fd" };
                    let text = format!(
                        "{}; the inherited socket {name:?} has this address: use {scheme}:{name} as the endpoint",
                        reason_of(&error)
                    );
                    io::Error::new(error.kind(), text)
                })?;
                let opened = |listener| Opened { socket: ListeningSocket::Tcp(listener), file: None, inherited: None };
                Ok(group.into_iter().map(opened).collect())
            }
            Endpoint::Unix(path) => {
                let (listener, file) = unix::bind(path.as_path(), self.options.backlog)?;
                Ok(vec![Opened { socket: ListeningSocket::Unix(listener), file: Some(file), inherited: None }])
            }
            Endpoint::Inherited { name, .. } => {
                let inherited = self.inherited.take(name.as_ref())?.into_iter();
                let configure = |(name, socket)| {
                    if let ListeningSocket::Tcp(listener) = &socket {
                        socket::configure(listener, self.options)?;
                    }
                    Ok(Opened { socket, file: None, inherited: Some(name) })
                };
                inherited.map(configure).collect()
            }
        }
    }

    fn listener(&self, opened: Opened, is_tls: bool) -> io::Result<EndpointListener> {
        let Opened { socket, file, inherited } = opened;
        if let (ListenerKind::Admin, ListeningSocket::Tcp(listener)) = (self.kind, &socket) {
            // An accepted connection inherits this. Closing one before its client has closed sends a RST, and the
            // kernel drops the part of the response that was not read, instead of keeping it after the exchange
            // (socket(7), `SO_LINGER`).
            SockRef::from(listener).set_linger(Some(Duration::ZERO))?;
        }
        let handshakes = Some(self.handshakes.of_listener(self.kind, is_tls));
        let (send_buffer, number) = (self.options.buffers.send, EndpointNumber::default());
        let connections = ConnectionSettings { send_buffer, handshakes, number };
        let (socket, heartbeat) = (PolledSocket::new(socket)?, self.heartbeats.add());
        let mut listener = EndpointListener { file, socket, inherited, heartbeat, connections };
        if self.lists_connections
            && let (ListenerKind::Service | ListenerKind::Web, Some(local)) =
                (self.kind, listener.socket.local_address())
        {
            let (name, transport) = (listener.endpoint().into(), listener.transport());
            listener.connections.number = CONNECTIONS.add_endpoint(AcceptingEndpoint { name, transport, local });
        }
        Ok(listener)
    }
}

impl EndpointListener {
    /// Registers the listening socket with the current runtime instead of the one in which it was opened.
    ///
    /// # Errors
    ///
    /// Fails if the kernel lacks memory.
    pub(crate) fn reregister(self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.reregister()?, ..self })
    }

    /// Returns the address of a TCP socket.
    ///
    /// # Errors
    ///
    /// Fails if it is a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            PolledSocket::Tcp(socket) => socket.local_addr(),
            PolledSocket::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a Unix socket has no IP address")),
        }
    }

    /// Takes the file of a Unix socket. The caller drops it when the listener stops.
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Returns the name of the inherited socket.
    pub(crate) fn inherited(&self) -> Option<&str> {
        self.inherited.as_deref()
    }
}

impl Listener for EndpointListener {
    type Stream = SocketStream;

    async fn accept(&mut self) -> io::Result<Accepted<SocketStream>> {
        let (socket, peer) = self.heartbeat.during(self.socket.accept()).await?;
        Ok(self.connections.accepted(socket, peer))
    }

    fn endpoint(&self) -> String {
        let is_tls = self.connections.handshakes.as_ref().is_some_and(ListenerHandshakes::is_tls);
        match &self.socket {
            PolledSocket::Tcp(socket) => {
                let scheme = if is_tls { "tls://" } else { "" };
                socket.local_addr().map(|address| format!("{scheme}{address}")).unwrap_or_default()
            }
            PolledSocket::Unix(socket) => {
                let scheme = if is_tls { "tls+unix:" } else { "unix:" };
                let address = socket.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("{scheme}{}", path.map(Path::display).map(|path| path.to_string()).unwrap_or_default())
            }
        }
    }

    fn transport(&self) -> &'static str {
        let handshakes = self.connections.handshakes.as_ref();
        match &self.socket {
            _ if handshakes.is_some_and(ListenerHandshakes::is_web) => "websocket",
            _ if handshakes.is_some_and(ListenerHandshakes::is_tls) => "tls",
            PolledSocket::Tcp(_) => "tcp",
            PolledSocket::Unix(_) => "unix",
        }
    }

    fn is_inherited(&self) -> bool {
        self.inherited.is_some()
    }

    fn refuse_new(&mut self) {
        self.file = None;
        if let PolledSocket::Tcp(socket) = &self.socket
            && let Err(error) = socket::drop_new_syns(socket)
        {
            tracing::debug!(%error, "cannot drop new SYNs; connections in handshake may be reset");
        }
    }

    fn close(self) -> impl Iterator<Item = Accepted<SocketStream>> + Send {
        // Accept from the kernel directly: the runtime may not have been notified yet of connections that the kernel
        // has queued. The socket is non-blocking, so this ends with the queue, or after `MAX_BACKLOG` connections.
        let Self { socket, mut connections, .. } = self;
        let mut attempts = 0..MAX_BACKLOG;
        std::iter::from_fn(move || {
            let accepted = attempts.find_map(|_| match socket.accept_now() {
                Ok(accepted) => Some(Ok(accepted)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Err(error)),
                Err(error) if is_connection_error(&error) => None,
                Err(error) => {
                    tracing::warn!(%error, "cannot empty the accept queue; queued connections are reset");
                    Some(Err(error))
                }
            });
            let (socket, peer) = accepted?.ok()?;
            Some(connections.accepted(socket, peer))
        })
    }
}

/// Maximum connections accepted from the queue of a listener that closes: more than the largest backlog that can be
/// configured, 65,535 (listen(2): a 16-bit value on older kernels, and limited to `net.core.somaxconn` on all).
const MAX_BACKLOG: usize = 65_536;

impl PolledSocket {
    /// Returns the address; `None` for a Unix socket without a path.
    fn local_address(&self) -> Option<LocalAddress> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(LocalAddress::Tcp),
            Self::Unix(socket) => {
                socket.local_addr().ok()?.as_pathname().map(|path| LocalAddress::Unix(path.to_owned()))
            }
        }
    }
}
