//! Where a server is, and how it is connected to.

use std::error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::Instant;

use super::stream::{ClientStream, Observer, StreamEvent};
use super::{Error, ErrorKind, Phase, Timeouts, with_timeout};

/// Own addresses to connect from, in turn. None leaves the choice to the system.
#[derive(Debug, Default)]
struct LocalAddrs {
    addresses: Vec<IpAddr>,
    /// The number of connections so far, of all clones of an endpoint.
    taken: AtomicUsize,
}

impl LocalAddrs {
    fn next(&self) -> Option<IpAddr> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.addresses.get(number.checked_rem(self.addresses.len())?).copied()
    }
}

/// A server's address, and what holds for every connection to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: Arc<str>,
    timeouts: Timeouts,
    sources: Arc<LocalAddrs>,
    observer: Option<Arc<dyn Observer>>,
}

impl Endpoint {
    /// The server at `address`, a name or an IP address with a port. Nothing is sent yet.
    #[must_use]
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self { address: address.into(), timeouts: Timeouts::default(), sources: Arc::default(), observer: None }
    }

    /// The same server with other limits.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Returns the same server, connected to from these addresses of the machine's own in turn. Each has ports of its
    /// own, so that more of them carry more connections.
    #[must_use]
    pub fn with_local_addrs(self, sources: impl IntoIterator<Item = IpAddr>) -> Self {
        let sources = LocalAddrs { addresses: sources.into_iter().collect(), taken: AtomicUsize::default() };
        Self { sources: Arc::new(sources), ..self }
    }

    /// The same server, with somebody who is told of all that happens on a connection to it.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The address, as it was told.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long to wait in each phase.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Connects; a name's addresses are tried in turn, each with its share of the time.
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being made within the limits.
    pub async fn connect(&self) -> Result<ClientStream, Error> {
        self.tell(|| StreamEvent::Resolve(&self.address));
        let resolved = with_timeout(self.timeouts.resolve, lookup_host(&*self.address)).await;
        let resolved = resolved.map_err(|kind| self.failed(Phase::Resolve, kind))?;
        let source = self.sources.next();
        // From an address of one kind, only addresses of that kind can be reached.
        let reachable = |address: &SocketAddr| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        let resolved: Vec<_> = resolved.filter(reachable).collect();
        self.tell(|| StreamEvent::Resolved(&resolved));
        if resolved.is_empty() {
            let none = io::Error::new(io::ErrorKind::NotFound, "it has no address of the kind that is needed");
            return Err(self.failed(Phase::Resolve, none.into()));
        }
        let mut last = ErrorKind::TimedOut(self.timeouts.connect);
        // What the quick ones leave is for the others: a name whose first address is a black hole still has its second.
        let until = Instant::now() + self.timeouts.connect;
        for (tried, &address) in resolved.iter().enumerate() {
            let left = u32::try_from(resolved.len() - tried).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / left;
            self.tell(|| StreamEvent::Connect(address));
            match connect(address, source, share).await {
                Ok(stream) => {
                    // A request is written whole; holding it back for more to come (Nagle) would only delay it. Where
                    // the option cannot be set the connection is as good as gone, and the next step says so better.
                    let _ = stream.set_nodelay(true);
                    self.tell(|| StreamEvent::Connected(stream.local_addr().ok()));
                    return Ok(ClientStream::new(stream, self.observer.clone()));
                }
                // Its share of the limit, which is told as the whole.
                Err(ErrorKind::TimedOut(_)) => last = ErrorKind::TimedOut(self.timeouts.connect),
                Err(kind) => last = kind,
            }
        }
        Err(self.failed(Phase::Connect, last))
    }

    /// Tells of an event, which costs nothing where nobody hears of it.
    fn tell<'a>(&self, event: impl FnOnce() -> StreamEvent<'a>) {
        if let Some(observer) = &self.observer {
            observer.observe(&event());
        }
    }

    fn failed(&self, phase: Phase, kind: ErrorKind) -> Error {
        let error = self.error(phase, kind);
        self.tell(|| StreamEvent::Failed(&error));
        error
    }

    pub(super) fn error(&self, phase: Phase, kind: ErrorKind) -> Error {
        Error { address: self.address.to_string(), phase, kind }
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>, limit: Duration) -> Result<TcpStream, ErrorKind> {
    let Some(source) = source else { return with_timeout(limit, TcpStream::connect(address)).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without this option the port is chosen now, for this source and all destinations alike, and one that has been
    // closed within the last minute is taken for used (ip(7), IP_BIND_ADDRESS_NO_PORT). Where it cannot be set,
    // there are just fewer ports.
    let _ = setsockopt(&socket.as_fd(), IpBindAddressNoPort, &true);
    socket.bind(SocketAddr::new(source, 0))?;
    with_timeout(limit, socket.connect(address)).await
}

impl FromStr for Endpoint {
    type Err = InvalidAddress;

    /// Parses a host name, an IPv4 address or an IPv6 address in brackets, and a port. The name is not resolved yet.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // Without brackets, the last group of an IPv6 address would be taken for the port. A URL is not an address.
        let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', '[', ']']),
        };
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && is_port(port) => Ok(Self::new(text)),
            _ => Err(InvalidAddress),
        }
    }
}

/// A text that is not a host and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a host and a port, such as localhost:5000 or [::1]:5000")
    }
}

impl error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for right in ["localhost:5000", "127.0.0.1:1", "[::1]:65535", "example.com:80"] {
            assert!(right.parse::<Endpoint>().is_ok_and(|endpoint| endpoint.address() == right), "{right}");
        }
        for wrong in [
            "",
            "localhost",
            ":5000",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "localhost:0",
            "::1",
            "::1:5000",
            "[::1]",
            "[x]:1",
            "h:+80",
            "http://h:80",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
