//! A server's endpoint, and how a client connects to it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::stream::{ClientStream, Observer, StreamEvent, Transport};
use super::tls::{self, Tls};
use super::{Error, ErrorKind, Phase, Timeouts};
use crate::endpoint::{Endpoint, HostPort, SocketPath};
use crate::wire::proxy_header;

/// The local addresses to connect from, used in turn. If the list is empty, the kernel chooses.
#[derive(Debug, Default)]
struct LocalAddrs {
    addresses: Vec<IpAddr>,
    /// The number of connections so far. All clones of a connector share it.
    count: AtomicUsize,
}

impl LocalAddrs {
    fn next(&self) -> Option<IpAddr> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.addresses.get(number.checked_rem(self.addresses.len())?).copied()
    }
}

/// How long to wait before another attempt to connect to a Unix socket whose accept queue is full.
const QUEUE_RETRY: Duration = Duration::from_millis(5);

/// A server's endpoint and the options of every connection to it.
#[derive(Clone, Debug)]
pub struct Connector {
    endpoint: Arc<Endpoint>,
    /// The text of the endpoint.
    address: Arc<str>,
    peer_addr: Option<SocketAddr>,
    /// Whether connections begin with a PROXY protocol header.
    sends_header: bool,
    tls: Arc<Tls>,
    timeouts: Timeouts,
    deadline: Option<Instant>,
    local_addrs: Arc<LocalAddrs>,
    observer: Option<Arc<dyn Observer>>,
}

impl Connector {
    /// Creates a connector for this endpoint. Does not connect yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            address: endpoint.to_string().into(),
            endpoint: Arc::new(endpoint),
            peer_addr: None,
            sends_header: false,
            tls: Arc::default(),
            timeouts: Timeouts::default(),
            deadline: None,
            local_addrs: Arc::default(),
            observer: None,
        }
    }

    /// Sets the timeouts of each connection.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Sets a point in time at which every phase ends, also one whose timeout is later. The timeouts limit single
    /// phases and single replies, so without a deadline their number decides how long many of them take.
    ///
    /// An error at the deadline reports the timeout of its phase.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Sets the local addresses to connect from, used in turn. Each address has a separate range of ports, so several
    /// addresses allow more connections.
    #[must_use]
    pub fn with_local_addrs(self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let local_addrs = LocalAddrs { addresses: addresses.into_iter().collect(), count: AtomicUsize::default() };
        Self { local_addrs: Arc::new(local_addrs), ..self }
    }

    /// Sets the IP address and port to connect to, so that the host of the endpoint is not resolved.
    #[must_use]
    pub fn with_peer_addr(self, peer_addr: Option<SocketAddr>) -> Self {
        Self { peer_addr, ..self }
    }

    /// Sets the options of TLS. For a TLS endpoint, reads the authorities of the system now, not while connecting.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        if self.endpoint.is_tls() {
            // The first connection reports the error.
            let _ = tls.config();
        }
        Self { tls, ..self }
    }

    /// Begins connections with the PROXY protocol header of a health check, which names no client. For servers that expect
    /// a header.
    #[must_use]
    pub fn with_local_header(self) -> Self {
        Self { sends_header: true, ..self }
    }

    /// Sets the observer of all events on the connections.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Removes the observer.
    #[must_use]
    pub fn without_observer(self) -> Self {
        Self { observer: None, ..self }
    }

    /// Returns the text of the endpoint.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the timeout of each phase.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Connects. A name's addresses are tried in turn; each gets an equal share of the remaining time.
    ///
    /// # Errors
    ///
    /// Fails if the name cannot be resolved, no address can be connected to or the handshake is not done within the
    /// timeouts; for [`Endpoint::Inherited`] always, with [`io::ErrorKind::Unsupported`].
    pub async fn connect(&self) -> Result<ClientStream, Error> {
        let transport = match &*self.endpoint {
            Endpoint::Tcp(address) => Transport::Tcp(self.connect_tcp(address).await?),
            Endpoint::Tls(address) => {
                let stream = self.connect_tcp(address).await?;
                // Boxed, because the state of a handshake would make the futures of all connections larger.
                let handshake = Box::pin(self.tls.handshake(stream, address.host()));
                let stream = self.with_timeout(self.timeouts.handshake, handshake).await;
                let stream = stream.map_err(|kind| self.failed(Phase::Handshake, kind))?;
                self.notify(|| StreamEvent::Handshaken(tls::Session::of(&stream)));
                Transport::Tls(Box::new(stream))
            }
            Endpoint::Unix(path) => Transport::Unix(self.connect_unix(path).await?),
            Endpoint::Inherited { .. } => {
                let error = io::Error::new(io::ErrorKind::Unsupported, "only a server can use an inherited socket");
                return Err(self.failed(Phase::Connect, error.into()));
            }
        };
        Ok(ClientStream::new(transport, self.observer.clone()))
    }

    async fn connect_unix(&self, path: &SocketPath) -> Result<UnixStream, Error> {
        self.notify(|| StreamEvent::Connect(self.address.to_string()));
        let connecting = async {
            loop {
                match UnixStream::connect(path.as_path()).await {
                    // The accept queue is full. TCP would wait by itself.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_RETRY).await,
                    done => return done,
                }
            }
        };
        let stream = self.with_timeout(self.timeouts.connect, connecting).await;
        let stream = stream.map_err(|kind| self.failed(Phase::Connect, kind))?;
        self.notify(|| StreamEvent::Connected(None));
        self.send_header(stream).await
    }

    /// Sends the PROXY protocol header, if there is one.
    async fn send_header<S: AsyncWrite + Unpin>(&self, mut stream: S) -> Result<S, Error> {
        if self.sends_header {
            let sent = self.with_timeout(self.timeouts.send, stream.write_all(&proxy_header::LOCAL)).await;
            sent.map_err(|kind| self.failed(Phase::Connect, kind))?;
        }
        Ok(stream)
    }

    async fn resolve(&self, address: &HostPort) -> Result<Vec<SocketAddr>, Error> {
        if let Some(peer_addr) = self.peer_addr {
            return Ok(vec![peer_addr]);
        }
        self.notify(|| StreamEvent::Resolve(address.as_str()));
        let resolved = self.with_timeout(self.timeouts.resolve, lookup_host((address.host(), address.port()))).await;
        Ok(resolved.map_err(|kind| self.failed(Phase::Resolve, kind))?.collect())
    }

    async fn connect_tcp(&self, address: &HostPort) -> Result<TcpStream, Error> {
        let mut resolved = self.resolve(address).await?;
        let local = self.local_addrs.next();
        // An IPv4 source address reaches only IPv4 addresses, an IPv6 source address only IPv6 addresses.
        let is_reachable = |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        resolved.retain(is_reachable);
        self.notify(|| StreamEvent::Resolved(&resolved));
        if resolved.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "it has no address of the source address's family");
            return Err(self.failed(Phase::Resolve, error.into()));
        }
        let mut last_error = ErrorKind::TimedOut(self.timeouts.connect);
        // Divide the time between the addresses, so that the second one is tried even if the first drops all packets.
        // Time that an early failure leaves goes to the remaining addresses.
        let deadline = Instant::now() + self.timeouts.connect;
        for (tried, &address) in resolved.iter().enumerate() {
            let remaining = u32::try_from(resolved.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / remaining;
            self.notify(|| StreamEvent::Connect(address.to_string()));
            match self.with_timeout(share, connect(address, local)).await {
                Ok(stream) => {
                    // Each request is one write, so Nagle's algorithm would only delay it. If the option cannot be set,
                    // the connection is broken, and the next read or write returns a better error.
                    let _ = stream.set_nodelay(true);
                    self.notify(|| StreamEvent::Connected(stream.local_addr().ok()));
                    return self.send_header(stream).await;
                }
                // Report the whole timeout, not this address's share of it.
                Err(ErrorKind::TimedOut(_)) => last_error = ErrorKind::TimedOut(self.timeouts.connect),
                Err(kind) => last_error = kind,
            }
        }
        Err(self.failed(Phase::Connect, last_error))
    }

    /// Awaits `future`. Returns [`ErrorKind::TimedOut`] if it takes longer than `timeout`, or lasts until the deadline.
    pub(super) async fn with_timeout<T, E: Into<ErrorKind>>(
        &self,
        timeout: Duration,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ErrorKind> {
        let end = Instant::now() + timeout;
        match timeout_at(self.deadline.map_or(end, |deadline| deadline.min(end)), future).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(ErrorKind::TimedOut(timeout)),
        }
    }

    /// Returns the first byte of the replies that may end with a RST instead of a FIN: the error of a server that closes
    /// without reading the requests. With TLS there is none, because anyone on the network path can forge a RST.
    pub(super) fn reset_error(&self, final_error: Option<u8>) -> Option<u8> {
        final_error.filter(|_| !self.endpoint.is_tls())
    }

    /// Passes an event to the observer. Without an observer, the event is not built.
    fn notify<'a>(&self, event: impl FnOnce() -> StreamEvent<'a>) {
        if let Some(observer) = &self.observer {
            observer.observe(&event());
        }
    }

    fn failed(&self, phase: Phase, kind: ErrorKind) -> Error {
        let error = self.error(phase, kind);
        self.notify(|| StreamEvent::Failed(&error));
        error
    }

    /// Returns the error of this phase, or of the handshake if that is why the phase failed.
    pub(super) fn error(&self, phase: Phase, kind: ErrorKind) -> Error {
        let kind = self.tls.explain(kind);
        let phase = if let ErrorKind::Handshake(_) = kind { Phase::Handshake } else { phase };
        Error { address: self.address.to_string(), phase, kind }
    }
}

async fn connect(address: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(local) = local else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without this option, bind(2) chooses the port, one for all destinations, and a port in TIME_WAIT (one minute
    // after the close) cannot be chosen (ip(7), IP_BIND_ADDRESS_NO_PORT). If the option cannot be set, fewer ports are
    // available.
    let _ = setsockopt(&socket.as_fd(), IpBindAddressNoPort, &true);
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(address).await
}
