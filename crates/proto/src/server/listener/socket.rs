//! The listening socket and its options.
//!
//! It depends on `peer`. On Linux, an accepted connection inherits the options of its listening socket, so an
//! accept needs no further system calls.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::peer::Peer;

/// A connection without traffic for this long is probed, to detect a peer that vanished without a FIN or RST. The
/// kernel's default is two hours (tcp(7), `tcp_keepalive_time`).
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// The time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The kernel aborts a connection whose peer acknowledges nothing for this long (tcp(7), `TCP_USER_TIMEOUT`).
///
/// For an idle connection, the kernel checks this at the next probe, 105 s after the last traffic. Unacknowledged replies
/// would be retransmitted for a quarter of an hour by default (`tcp_retries2`); `timeouts.write` ends most of them earlier.
/// The value tolerates a short network outage and keeps the total below two minutes.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(100);

/// A listening socket that the runtime does not poll. It is non-blocking.
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket that the runtime polls.
///
/// The runtime's types for listening sockets register each connection that they accept with the reactor, and this one
/// leaves that to [`SocketStream`](crate::server::connection::SocketStream). So the socket has the type of a connection,
/// which is as good for waiting.
#[derive(Debug)]
pub(crate) enum PolledSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl PolledSocket {
    /// Registers a socket with the reactor of the current runtime.
    ///
    /// # Errors
    ///
    /// Fails if the kernel lacks memory.
    pub(crate) fn new(socket: ListeningSocket) -> io::Result<Self> {
        match socket {
            ListeningSocket::Tcp(listener) => TcpStream::from_std(OwnedFd::from(listener).into()).map(Self::Tcp),
            ListeningSocket::Unix(listener) => UnixStream::from_std(OwnedFd::from(listener).into()).map(Self::Unix),
        }
    }

    /// Moves the registration to the reactor of the current runtime.
    ///
    /// # Errors
    ///
    /// Fails if the kernel lacks memory.
    pub(crate) fn reregister(self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => TcpStream::from_std(socket.into_std()?).map(Self::Tcp),
            Self::Unix(socket) => UnixStream::from_std(socket.into_std()?).map(Self::Unix),
        }
    }

    /// Waits for a connection in the accept queue and accepts it. Its socket is non-blocking.
    ///
    /// # Errors
    ///
    /// Fails if accept(2) does.
    pub(crate) async fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match self {
            Self::Tcp(socket) => socket.async_io(Interest::READABLE, || accept_tcp(socket)).await,
            Self::Unix(socket) => socket.async_io(Interest::READABLE, || accept_unix(socket)).await,
        }
    }

    /// Accepts a connection that is in the accept queue, whether or not the runtime knows of it.
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if the queue is empty, and if accept(2) fails otherwise.
    pub(crate) fn accept_now(&self) -> io::Result<(OwnedFd, Peer)> {
        match self {
            Self::Tcp(socket) => accept_tcp(socket),
            Self::Unix(socket) => accept_unix(socket),
        }
    }
}

const ACCEPT_FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

fn accept_tcp(socket: &TcpStream) -> io::Result<(OwnedFd, Peer)> {
    let (connection, address) = acceptfrom_with(socket, ACCEPT_FLAGS)?;
    let address = SocketAddr::try_from(address.ok_or(Errno::AFNOSUPPORT)?)?;
    Ok((connection, Peer::Ip(address)))
}

fn accept_unix(socket: &UnixStream) -> io::Result<(OwnedFd, Peer)> {
    Ok((accept_with(socket, ACCEPT_FLAGS)?, Peer::Unix))
}

/// The options of a listening socket that depend on the service.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The length of the accept queue. The kernel limits it to `net.core.somaxconn`.
    pub backlog: u32,
    /// Whether the kernel defers the accept of a connection for up to a second, until the client has sent data. Use it if
    /// clients send first. The timeouts, and the rejection of a silent client, then start up to a second later, and a
    /// drain drops silent connections that are not accepted yet.
    pub defer_accept: bool,
    /// Maximum bytes that the kernel holds for one connection. The kernel doubles them for its bookkeeping (socket(7)), and
    /// no longer adapts them to the connection. Adapted buffers let a peer make it hold 4 MiB of replies and 6 MiB of
    /// requests (tcp(7), `tcp_wmem` and `tcp_rmem`).
    pub buffers: SocketBuffers,
}

/// The sizes of a connection's buffers in the kernel, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct SocketBuffers {
    /// Replies that the client has not acknowledged (`SO_SNDBUF`). Replies to one read should fit.
    pub send: usize,
    /// Requests that the server has not read (`SO_RCVBUF`). A client that pipelines over a long distance sends at most this
    /// many bytes per round trip.
    pub receive: usize,
}

impl Default for SocketBuffers {
    /// Returns sizes for short requests and replies.
    fn default() -> Self {
        Self { send: 16 * 1024, receive: 16 * 1024 }
    }
}

/// How long the kernel defers the accept of a connection whose client has sent nothing (tcp(7), `TCP_DEFER_ACCEPT`).
///
/// For protocols in which the client sends first. The connection is accepted together with its request, which saves some
/// of the kernel's work, and a silent client occupies no file in this process for that time. A deferred connection counts
/// against the `backlog` of incomplete handshakes; when that is full, the kernel sends SYN cookies, which do not defer
/// (tcp(7), `tcp_syncookies`).
const DEFER_ACCEPT_SECS: u32 = 1;

// This macro expands to an `unsafe` call of setsockopt(2), written in nix, inside this crate; the lint `unsafe_code` does
// not report code that another crate's macro expands to. No crate has a safe function for this option yet, and that of
// the standard library is unstable (rust-lang/rust#119639). The call is sound if the type is correct: the kernel reads an
// `int`.
sockopt_impl!(
    /// `TCP_DEFER_ACCEPT`, an `int` of seconds (tcp(7)).
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// Opens a listening socket on `address`.
///
/// `SO_REUSEADDR` is set, so that a restarted server can bind while old connections are in `TIME_WAIT`. `SO_REUSEPORT` is
/// not set, so that a second instance fails.
///
/// # Errors
///
/// Fails if the socket cannot listen on `address`, most often because another socket does.
pub(super) fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket = new_socket(address, options)?;
    socket.bind(&address.into())?;
    listen(socket, options)
}

/// Opens `count` listening sockets on `address`, at least one. The kernel divides the connections between them, by the
/// addresses of each connection (socket(7), `SO_REUSEPORT`). Each socket has its own accept queue.
///
/// The first socket gets `SO_REUSEPORT` only when it listens already, so a second instance fails here too.
///
/// # Errors
///
/// Fails like [`bind`].
pub(super) fn bind_group(address: SocketAddr, options: ListenOptions, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = bind(address, options)?;
    SockRef::from(&first).set_reuse_port(count > 1)?;
    // With the port that the kernel has chosen for port 0.
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = new_socket(address, options)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(listen(socket, options)?);
    }
    Ok(sockets)
}

/// Opens a socket for `address`, and does not bind it.
fn new_socket(address: SocketAddr, options: ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Before the listen, because the window is negotiated in the handshake (tcp(7), `SO_RCVBUF`).
    configure(&socket, options)?;
    Ok(socket)
}

fn listen(socket: Socket, options: ListenOptions) -> io::Result<TcpListener> {
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Sets the options that accepted connections inherit, also on a socket that listens already.
///
/// # Errors
///
/// Fails if the kernel does not know one of them.
pub(super) fn configure(listener: &impl AsFd, options: ListenOptions) -> io::Result<()> {
    let socket = SockRef::from(listener);
    // A reply is written whole, so Nagle's algorithm would only delay it.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.set_send_buffer_size(options.buffers.send)?;
    socket.set_recv_buffer_size(options.buffers.receive)?;
    // An inherited socket may have it from an earlier use as an admin listener.
    socket.set_linger(None)?;
    // An optimization only: a kernel without this option works too.
    let _ = setsockopt(listener, DeferAccept, &if options.defer_accept { DEFER_ACCEPT_SECS } else { 0 });
    Ok(())
}

/// Drops the SYNs of new connections. Connections whose handshake has begun can still be accepted.
///
/// Closing a listener resets the connections in its accept queue. A connection that arrives between the last accept and
/// the close would be reset, together with the request that its client may have sent. So drop segments with SYN and
/// without ACK first (socket(7), `SO_ATTACH_FILTER`). The client's kernel retries a second later and finds the listener
/// closed.
///
/// A connection that is still deferred (see `DEFER_ACCEPT_SECS`) cannot be accepted in time. The kernel drops it
/// together with the listener, and sends a RST in response to the client's next segment.
///
/// # Errors
///
/// Fails if the filter cannot be attached.
pub(crate) fn drop_new_syns(listener: &impl AsFd) -> io::Result<()> {
    const FLAGS: u32 = 13; // the offset of the flags in a TCP header (RFC 9293, section 3.1)
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Classic BPF, as in linux/filter.h: load a byte, mask it, compare it, return the number of bytes to keep.
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN | ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use rustix::fs::OFlags;
    use rustix::io::FdFlags;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    const BUFFERS: SocketBuffers = SocketBuffers { send: 8 * 1024, receive: 32 * 1024 };
    const OPTIONS: ListenOptions = ListenOptions { backlog: 16, defer_accept: false, buffers: BUFFERS };

    /// Listens, and returns the address too.
    fn listen(options: ListenOptions) -> (PolledSocket, SocketAddr) {
        let listener = bind(ANY_PORT, options).unwrap();
        let address = listener.local_addr().unwrap();
        (PolledSocket::new(ListeningSocket::Tcp(listener)).unwrap(), address)
    }

    #[tokio::test]
    async fn an_accepted_connection_inherits_the_options() {
        let (listener, address) = listen(OPTIONS);
        let client = TcpStream::connect(address).unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, Peer::Ip(client.local_addr().unwrap()));
        assert!(rustix::fs::fcntl_getfl(&accepted).unwrap().contains(OFlags::NONBLOCK));
        assert!(rustix::io::fcntl_getfd(&accepted).unwrap().contains(FdFlags::CLOEXEC));
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(TCP_USER_TIMEOUT));
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * BUFFERS.send);
        assert_eq!(socket.recv_buffer_size().unwrap(), 2 * BUFFERS.receive);
    }

    #[tokio::test]
    async fn with_deferred_accept_a_client_that_has_sent_data_is_accepted_first() {
        let (listener, address) = listen(ListenOptions { defer_accept: true, ..OPTIONS });
        let start = Instant::now();
        let silent = TcpStream::connect(address).unwrap();
        let mut sender = TcpStream::connect(address).unwrap();
        sender.write_all(b"a2").unwrap();
        // On an overloaded machine, the deferral of the silent client may be over by now.
        let is_late = start.elapsed() >= Duration::from_millis(900);
        let next = async || listener.accept().await.unwrap().1;
        let order = [next().await, next().await];
        let [silent, sender] = [silent, sender].map(|client| Peer::Ip(client.local_addr().unwrap()));
        assert!(order == [sender, silent] || (is_late && order == [silent, sender]), "{order:?}");
    }

    #[test]
    fn a_group_divides_the_connections_and_a_second_instance_fails() {
        let options = ListenOptions { backlog: 64, ..OPTIONS };
        let group = bind_group(ANY_PORT, options, 3).unwrap();
        let address = group[0].local_addr().unwrap();
        assert!(group.iter().all(|listener| listener.local_addr().unwrap() == address));
        for error in [bind(address, options).err(), bind_group(address, options, 3).err()] {
            assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        }
        let _clients = [(); 60].map(|()| TcpStream::connect(address).unwrap());
        let accept = |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let accepted: Vec<_> = group.iter().map(accept).collect();
        // One of them gets none by chance in one of 10¹⁰ runs.
        assert!(accepted.iter().all(|&count| count > 0) && accepted.iter().sum::<usize>() == 60, "{accepted:?}");
        drop(group);
        assert_eq!(bind_group(address, options, 1).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn dropping_new_syns_keeps_queued_connections() {
        let listener = bind(ANY_PORT, OPTIONS).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = TcpStream::connect(address).unwrap();
        drop_new_syns(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        queued.write_all(b"hello").unwrap();
        let listener = PolledSocket::new(ListeningSocket::Tcp(listener)).unwrap();
        let mut accepted = TcpStream::from(listener.accept().await.unwrap().0);
        accepted.set_nonblocking(false).unwrap();
        let mut received = [0; 5];
        accepted.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"hello");
    }
}
