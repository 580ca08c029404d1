//! A server's address, and how a client connects to it.

use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::stream::{ClientStream, Observer, StreamEvent};
use super::{Error, ErrorKind, Phase, Timeouts};
use crate::wire::quoted::is_printable;

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

/// A server's address and the options of every connection to it.
#[derive(Clone, Debug)]
pub struct Connector {
    address: Arc<str>,
    timeouts: Timeouts,
    deadline: Option<Instant>,
    local_addrs: Arc<LocalAddrs>,
    observer: Option<Arc<dyn Observer>>,
}

impl Connector {
    /// Creates a connector for `address`, a host name or an IP address with a port. Does not connect yet.
    #[must_use]
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
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

    /// Sets the observer of all events on the connections.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Returns the address as given to [`Self::new`].
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
    /// Fails if the name cannot be resolved or no address can be connected to within the timeouts.
    pub async fn connect(&self) -> Result<ClientStream, Error> {
        self.notify(|| StreamEvent::Resolve(&self.address));
        let resolved = self.with_timeout(self.timeouts.resolve, lookup_host(&*self.address)).await;
        let resolved = resolved.map_err(|kind| self.failed(Phase::Resolve, kind))?;
        let local = self.local_addrs.next();
        // An IPv4 source address reaches only IPv4 addresses, an IPv6 source address only IPv6 addresses.
        let is_reachable = |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        let resolved: Vec<_> = resolved.filter(is_reachable).collect();
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
            self.notify(|| StreamEvent::Connect(address));
            match self.with_timeout(share, connect(address, local)).await {
                Ok(stream) => {
                    // Each request is one write, so Nagle's algorithm would only delay it. If the option cannot be set,
                    // the connection is broken, and the next read or write returns a better error.
                    let _ = stream.set_nodelay(true);
                    self.notify(|| StreamEvent::Connected(stream.local_addr().ok()));
                    return Ok(ClientStream::new(stream, self.observer.clone()));
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

    pub(super) fn error(&self, phase: Phase, kind: ErrorKind) -> Error {
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

impl FromStr for Connector {
    type Err = InvalidAddress;

    /// Parses a host name, an IPv4 address or an IPv6 address in brackets, and a port. The name is not resolved yet.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // An IPv6 address needs brackets: without them its last group would parse as the port. A URL is not an address.
        let is_in_name =
            |character: char| is_printable(character) && !character.is_whitespace() && !":/[]".contains(character);
        let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(is_in_name),
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

/// The error for a text that is not a host and a port.
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
        for valid in ["localhost:5000", "石头.example:80", "127.0.0.1:1", "[::1]:65535", "example.com:80"] {
            assert!(valid.parse::<Connector>().is_ok_and(|connector| connector.address() == valid), "{valid}");
        }
        for invalid in [
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
            "h h:80",
            "h\n:80",
            "\u{1b}[2J:80",
            "h\u{202e}:80",
            "http://h:80",
        ] {
            assert!(invalid.parse::<Connector>().is_err(), "{invalid}");
        }
    }
}
