//! The listening socket. On Linux a connection inherits what is set here, so accepting one needs no further calls.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

/// A peer that has been silent for so long is probed, and then again and again, since it may have vanished without a
/// word. The kernel's own two hours (tcp(7), `tcp_keepalive_time`) would be long for that.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A peer that has acknowledged nothing for so long is given up (tcp(7), `TCP_USER_TIMEOUT`), be it probes, of which the
/// one that is due next, after 105 s, finds this over, or an answer, which would be sent again and again for a quarter of
/// an hour otherwise (`tcp_retries2`). Long enough for a network that stumbles, and under two minutes in all.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(100);

/// The most that the kernel holds of the answers that a peer has not taken; it doubles the number for its own needs
/// (socket(7), `SO_SNDBUF`), and would go to 4 MiB by itself (tcp(7), `tcp_wmem`). It is the answers to the largest read
/// many times over.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// How a listening socket treats those who connect to it.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// How many connections wait to be accepted at the most (the kernel cuts it to `net.core.somaxconn`).
    pub backlog: u32,
    /// Whether those who have sent nothing are kept by the kernel for a second.
    pub defer_accept: bool,
}

/// Where a client has to speak first, the kernel keeps its connection to itself until it has, or for so many seconds
/// (tcp(7), `TCP_DEFER_ACCEPT`). A connection is then accepted together with its request, which saves the kernel a part
/// of the work, and one that stays silent costs no file here for that time. It has its place among the `backlog` of those
/// whose handshake is not done; where they are too many, the kernel answers with cookies, which defer nothing (tcp(7),
/// `tcp_syncookies`).
const DEFER_ACCEPT_SECS: u32 = 1;

// This macro expands the `unsafe` call of setsockopt(2), which is nix's code, in this crate; the lint `unsafe_code` does
// not report what another crate's macro expands. No crate has a safe function for this option yet, and that of the
// standard library is unstable (rust-lang/rust#119639). The call is sound if the type is right: the kernel reads an `int`.
sockopt_impl!(
    /// `TCP_DEFER_ACCEPT`, an `int` of seconds (tcp(7)).
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// Opens a listening socket at `address`. Call it within a tokio runtime.
///
/// # Errors
///
/// If the address cannot be had, be it that another socket listens there. `SO_REUSEADDR` lets a restart bind amid
/// connections in `TIME_WAIT`; without `SO_REUSEPORT`, a second instance is refused.
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    open(address, options).map_err(explain)
}

fn open(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // An answer is written whole; holding it back for more to come (Nagle) would only delay it.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    if options.defer_accept {
        // It saves work; where the kernel does not know it, all goes well without.
        let _ = setsockopt(&socket, DeferAccept, &DEFER_ACCEPT_SECS);
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Lets nobody begin to connect to a listener any more, while those who have begun can still be accepted.
///
/// Closing a listener resets what waits in its queue, and a connection that is made between the last look into the
/// queue and the close would be lost together with the request that its client has sent. So what begins a connection,
/// a segment with SYN and without ACK, is dropped first (socket(7), `SO_ATTACH_FILTER`). The client's kernel tries
/// again a second later, and finds the listener closed. Those who have sent nothing yet where clients speak first are not
/// handed over in time: the kernel forgets them with the listener, and they hear of it when they speak.
///
/// # Errors
///
/// If the filter cannot be attached.
pub(crate) fn drop_new_syns(listener: &TcpListener) -> io::Result<()> {
    const FLAGS: u32 = 13; // the offset of the flags in a TCP header (RFC 9293, section 3.1)
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Classic BPF, as in linux/filter.h: load a byte, mask it, compare, return how many bytes to keep.
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN | ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ])
}

/// Where a client on this machine reaches a listener at `address`: a wildcard becomes the loopback address.
#[must_use]
pub fn connect_addr(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const OPTIONS: ListenOptions = ListenOptions { backlog: 16, defer_accept: false };

    #[tokio::test]
    async fn an_accepted_connection_inherits_the_options() {
        let listener = bind(ANY_PORT, OPTIONS).unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        let (stream, _client) = (accepted.unwrap().0, client.unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(TCP_USER_TIMEOUT));
        assert!(socket.send_buffer_size().unwrap() <= 2 * SEND_BUFFER_BYTES);
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_it() {
        let first = bind(ANY_PORT, OPTIONS).unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken, OPTIONS).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }

    #[tokio::test]
    async fn with_deferred_accept_a_client_that_has_sent_comes_before_one_that_has_not() {
        let mut listener = bind(ANY_PORT, ListenOptions { defer_accept: true, ..OPTIONS }).unwrap();
        let address = listener.local_addr().unwrap();
        let began = Instant::now();
        let silent = std::net::TcpStream::connect(address).unwrap();
        let mut speaks = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut speaks, b"a2").unwrap();
        // On a machine that stands still meanwhile, the silent one's time may be over.
        let late = began.elapsed() >= Duration::from_millis(900);
        let mut next = async || crate::server::listener::accept::Listener::accept(&mut listener).await.unwrap().1;
        let order = [next().await, next().await];
        let (silent, speaks) = (silent.local_addr().unwrap(), speaks.local_addr().unwrap());
        assert!(order == [speaks, silent] || (late && order == [silent, speaks]), "{order:?}");
    }

    #[tokio::test]
    async fn refusing_new_connections_keeps_those_that_have_been_made() {
        let mut listener = bind(ANY_PORT, OPTIONS).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = std::net::TcpStream::connect(address).unwrap();
        drop_new_syns(&listener).unwrap();
        let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        std::io::Write::write_all(&mut queued, b"hello").unwrap();
        let (mut accepted, _) = crate::server::listener::accept::Listener::accept(&mut listener).await.unwrap();
        let mut heard = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut accepted, &mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[test]
    fn a_wildcard_is_reached_at_the_loopback_address() {
        for (bound, reached) in
            [("0.0.0.0:5000", "127.0.0.1:5000"), ("[::]:5000", "[::1]:5000"), ("192.0.2.1:7", "192.0.2.1:7")]
        {
            assert_eq!(connect_addr(bound.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
