//! The kernel's data about the TCP sockets of the network namespace, through netlink (`sock_diag(7)`).
//!
//! It depends on no other module. The crates for this protocol would be six new dependencies, and would return a
//! `struct tcp_info` as bytes, or only if it has all fields of the newest kernel. A request and a response have a few
//! fields at fixed places.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

/// The data about a TCP socket that is connected, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub(super) inode: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: &'static str,
    /// Bytes that the process has not read.
    pub(super) receive_queue_bytes: u32,
    /// Bytes that the peer has not acknowledged.
    pub(super) send_queue_bytes: u32,
    /// `None` from a kernel that has less of it, or from another source.
    pub(super) traffic: Option<Traffic>,
}

impl TcpSocket {
    /// Creates the data from a state of the kernel, the receive queue and the send queue. The kernel counts a FIN as a
    /// byte: a received one from its arrival until it is read, and in the traffic; a sent one until it is acknowledged,
    /// and then in the traffic. These are not counted here.
    pub(super) fn new(
        inode: u64,
        [local, remote]: [SocketAddr; 2],
        state: u8,
        [mut receive_queue_bytes, mut send_queue_bytes]: [u32; 2],
        mut traffic: Option<Traffic>,
    ) -> Self {
        if [CLOSE_WAIT, LAST_ACK, CLOSING].contains(&state) {
            receive_queue_bytes = receive_queue_bytes.saturating_sub(1);
            if let Some(traffic) = &mut traffic {
                traffic.received_bytes = traffic.received_bytes.saturating_sub(1);
            }
        }
        if [FIN_WAIT1, LAST_ACK, CLOSING].contains(&state) {
            send_queue_bytes = send_queue_bytes.saturating_sub(1);
        }
        if state == FIN_WAIT2
            && let Some(traffic) = &mut traffic
        {
            traffic.sent_bytes = traffic.sent_bytes.saturating_sub(1);
        }
        Self { inode, local, remote, state: state_name(state), receive_queue_bytes, send_queue_bytes, traffic }
    }
}

/// The traffic of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// The time since data last came or went.
    pub(super) idle: Duration,
    pub(super) received_bytes: u64,
    /// The bytes that the peer has acknowledged.
    pub(super) sent_bytes: u64,
    pub(super) round_trip: Duration,
}

/// Maximum time for all sockets of a namespace. The kernel takes about 1 µs each.
const TIMEOUT: Duration = Duration::from_secs(2);

/// More than the kernel sends at a time: 32 KiB (netlink(7), `NLMSG_GOODSIZE` in `linux/netlink.h`).
const BUFFER_BYTES: usize = 64 * 1024;

/// Calls `visit` with each connected TCP socket of the network namespace, of all processes.
///
/// # Errors
///
/// Fails if the kernel or a sandbox does not allow it, or if it takes longer than [`TIMEOUT`].
pub(super) fn visit_tcp_sockets(mut visit: impl FnMut(TcpSocket)) -> io::Result<()> {
    let (domain, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_SOCK_DIAG));
    // Without an address, netlink(7) sends to the kernel.
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    let deadline = Instant::now() + TIMEOUT;
    visit_family(&mut socket, libc::AF_INET, deadline, &mut visit)?;
    match visit_family(&mut socket, libc::AF_INET6, deadline, &mut visit) {
        // The kernel has no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn visit_family(
    socket: &mut Socket,
    family: libc::c_int,
    deadline: Instant,
    visit: &mut impl FnMut(TcpSocket),
) -> io::Result<()> {
    socket.write_all(&request(family))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A timeout of less than a microsecond would be none.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let received = match socket.read(&mut buffer) {
            Ok(received) => received,
            // A signal, or the timeout: then no time is left.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
            Err(error) => return Err(error),
        };
        if parse_datagram(&buffer[..received], visit)? {
            return Ok(());
        }
    }
}

/// The lengths of `struct nlmsghdr` (`linux/netlink.h`), and of `struct inet_diag_req_v2` and `struct inet_diag_msg`
/// (`linux/inet_diag.h`).
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
const MESSAGE_BYTES: usize = 72;

/// `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The attribute with a `struct tcp_info` (`linux/inet_diag.h`).
const INET_DIAG_INFO: u16 = 2;

/// The states of a socket that has been accepted and is not closed: all but `SYN_SENT`, `SYN_RECV`, `TIME_WAIT`,
/// `CLOSE` and `LISTEN` (`linux/tcp_states.h`).
const STATES: u32 = 1 << ESTABLISHED | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT | 1 << LAST_ACK | 1 << CLOSING;

const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Returns a `struct nlmsghdr` and a `struct inet_diag_req_v2`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small constants")]
fn request(family: libc::c_int) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    request.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    // The sequence number, and the port, which the kernel chooses.
    request.extend([0; 8]);
    request.extend([family as u8, libc::IPPROTO_TCP as u8, 1 << (INET_DIAG_INFO - 1), 0]);
    request.extend(STATES.to_ne_bytes());
    // Addresses and ports: any.
    request.resize(HEADER_BYTES + REQUEST_BYTES, 0);
    request
}

/// Visits the sockets in a datagram. Returns whether it is the last one of the response.
fn parse_datagram(mut datagram: &[u8], visit: &mut impl FnMut(TcpSocket)) -> io::Result<bool> {
    while datagram.len() >= HEADER_BYTES {
        let bytes = Bytes(datagram);
        let length = bytes.u32_at(0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let kind = bytes.u16_at(4).map_or(0, i32::from);
        let Some(payload) = datagram.get(HEADER_BYTES..length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the kernel is truncated"));
        };
        match kind {
            // Both begin with an error number, negated; 0 without an error.
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                let error = Bytes(payload).u32_at(0).map_or(0, u32::cast_signed);
                return if error == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(error.saturating_neg())) };
            }
            kind if kind == i32::from(SOCK_DIAG_BY_FAMILY) => parse_message(payload).into_iter().for_each(&mut *visit),
            _ => {}
        }
        datagram = datagram.get(align(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// Parses a `struct inet_diag_msg` and the attributes behind it.
fn parse_message(message: &[u8]) -> Option<TcpSocket> {
    let bytes = Bytes(message);
    let family = i32::from(*message.first()?);
    let address = |port_at: usize, address_at: usize| {
        let port = u16::from_be_bytes(bytes.array_at(port_at)?);
        let ip = match family {
            libc::AF_INET => IpAddr::from(Ipv4Addr::from(bytes.array_at::<4>(address_at)?)),
            libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(bytes.array_at::<16>(address_at)?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    };
    let mut attributes = message.get(MESSAGE_BYTES..)?;
    let mut traffic = None;
    // `struct nlattr`: the length with this header, and the type.
    while let (Some(length), Some(kind)) = (Bytes(attributes).u16_at(0), Bytes(attributes).u16_at(2)) {
        let Some(value) = attributes.get(4..usize::from(length)) else { break };
        if kind == INET_DIAG_INFO {
            traffic = parse_tcp_info(value);
        }
        attributes = attributes.get(align(length.into())..).unwrap_or_default();
    }
    Some(TcpSocket::new(
        bytes.u32_at(68)?.into(),
        [address(4, 8)?, address(6, 24)?],
        *message.get(1)?,
        [bytes.u32_at(56)?, bytes.u32_at(60)?],
        traffic,
    ))
}

/// Parses a `struct tcp_info` (`linux/tcp.h`). The fields here exist since Linux 4.1.
fn parse_tcp_info(info: &[u8]) -> Option<Traffic> {
    let bytes = Bytes(info);
    let [last_data_sent, last_data_received] = [bytes.u32_at(44)?, bytes.u32_at(52)?];
    Some(Traffic {
        idle: Duration::from_millis(last_data_sent.min(last_data_received).into()),
        round_trip: Duration::from_micros(bytes.u32_at(68)?.into()),
        sent_bytes: u64::from_ne_bytes(bytes.array_at(120)?),
        received_bytes: u64::from_ne_bytes(bytes.array_at(128)?),
    })
}

/// Returns the name of a state in `linux/tcp_states.h`.
fn state_name(state: u8) -> &'static str {
    match state {
        ESTABLISHED => "established",
        2 => "syn_sent",
        3 => "syn_recv",
        FIN_WAIT1 => "fin_wait1",
        FIN_WAIT2 => "fin_wait2",
        6 => "time_wait",
        7 => "close",
        CLOSE_WAIT => "close_wait",
        LAST_ACK => "last_ack",
        10 => "listen",
        CLOSING => "closing",
        _ => "unknown",
    }
}

/// Messages and attributes begin at multiples of 4 bytes. At least 4, so that a loop over them ends.
fn align(length: usize) -> usize {
    length.next_multiple_of(4).max(4)
}

/// Numbers in a message, in the byte order of the machine.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array_at<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }

    fn u16_at(self, offset: usize) -> Option<u16> {
        self.array_at(offset).map(u16::from_ne_bytes)
    }

    fn u32_at(self, offset: usize) -> Option<u32> {
        self.array_at(offset).map(u32::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::testing::blocking::connect_with_small_buffers;
    use crate::testing::{TEST_TIMEOUT, eventually};

    /// Returns the kernel's data about a socket of this process.
    fn find(inode: u64) -> Option<TcpSocket> {
        let mut found = None;
        visit_tcp_sockets(|socket| {
            if socket.inode == inode {
                found = Some(socket);
            }
        })
        .unwrap();
        found
    }

    fn inode_of(stream: &TcpStream) -> u64 {
        use std::os::fd::AsRawFd;
        std::fs::metadata(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap().ino()
    }

    #[test]
    fn the_kernel_reports_a_socket_and_its_traffic() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, peer) = listener.accept().unwrap();
            client.write_all(b"unread").unwrap();
            client.write_all(b"?").unwrap();
            server.read_exact(&mut [0; 3]).unwrap();
            server.write_all(b"reply").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
            // The acknowledgement can be delayed; the next segment carries it.
            client.write_all(b"!").unwrap();
            server.read_exact(&mut [0; 5]).unwrap();
            client.write_all(b"left").unwrap();
            server.peek(&mut [0; 4]).unwrap();
            let found = find(inode_of(&server)).unwrap();
            assert_eq!((found.local, found.remote), (listener.local_addr().unwrap(), peer));
            assert_eq!((found.state, found.receive_queue_bytes, found.send_queue_bytes), ("established", 4, 0));
            let traffic = found.traffic.unwrap();
            assert_eq!((traffic.received_bytes, traffic.sent_bytes), (12, 5));
            assert!(traffic.round_trip > Duration::ZERO && traffic.round_trip < Duration::from_mins(1));
            assert!(traffic.idle < Duration::from_mins(1));

            client.shutdown(std::net::Shutdown::Write).unwrap();
            server.read_exact(&mut [0; 4]).unwrap();
            assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
            let found = find(inode_of(&server)).unwrap();
            assert_eq!((found.state, found.receive_queue_bytes), ("close_wait", 0));
            assert_eq!(found.traffic.unwrap().received_bytes, 12);
            let inode = inode_of(&server);
            drop(server);
            assert_eq!(find(inode), None);
        }
    }

    #[test]
    fn a_fin_is_no_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let mut client = connect_with_small_buffers(listener.local_addr().unwrap());
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"unread").unwrap();
            server.set_nonblocking(true).unwrap();
            // The client does not read, so that the FIN of the server waits behind data.
            let mut written = 0;
            while let Ok(count) = server.write(&[0; 4096]) {
                written += count as u64;
            }
            server.set_nonblocking(false).unwrap();
            (client, server, written)
        };
        let check = |server: &TcpStream, state: &str, written: u64| {
            let inode = inode_of(server);
            let is_in_state = || find(inode).is_some_and(|found| found.state == state);
            assert!(eventually(TEST_TIMEOUT, is_in_state), "{state}: {:?}", find(inode));
            let found = find(inode).unwrap();
            let traffic = found.traffic.unwrap();
            assert_eq!((found.receive_queue_bytes, traffic.received_bytes), (6, 6), "{state}");
            assert_eq!(u64::from(found.send_queue_bytes) + traffic.sent_bytes, written, "{state}");
        };
        let (client, server, written) = connect();
        check(&server, "established", written);
        server.shutdown(Shutdown::Write).unwrap();
        check(&server, "fin_wait1", written);
        let mut other = client.try_clone().unwrap();
        let reading = std::thread::spawn(move || other.read_to_end(&mut Vec::new()).unwrap());
        check(&server, "fin_wait2", written);
        assert_eq!(reading.join().unwrap() as u64, written);
        drop(client);

        let (client, server, written) = connect();
        server.shutdown(Shutdown::Write).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        check(&server, "closing", written);

        let (client, server, written) = connect();
        client.shutdown(Shutdown::Write).unwrap();
        check(&server, "close_wait", written);
        server.shutdown(Shutdown::Write).unwrap();
        check(&server, "last_ack", written);
        drop(client);
    }

    #[test]
    fn an_error_of_the_kernel_is_reported() {
        let message = |kind: i32, payload: &[u8]| {
            let mut message = u32::try_from(HEADER_BYTES + payload.len()).unwrap().to_ne_bytes().to_vec();
            message.extend(u16::try_from(kind).unwrap().to_ne_bytes());
            message.resize(HEADER_BYTES, 0);
            message.extend(payload);
            message
        };
        let parse = |datagram: &[u8]| parse_datagram(datagram, &mut |_| {});
        let denied = (-libc::EPERM).to_ne_bytes();
        assert_eq!(parse(&message(libc::NLMSG_ERROR, &denied)).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(parse(&message(libc::NLMSG_DONE, &[0; 4])).unwrap());
        assert!(!parse(&message(libc::NLMSG_NOOP, &[])).unwrap());
        assert!(!parse(&[]).unwrap());
    }

    #[test]
    fn a_truncated_message_is_no_endless_loop_and_no_panic() {
        let full = {
            let mut message = vec![0; HEADER_BYTES + MESSAGE_BYTES + 8];
            let length = u32::try_from(message.len()).unwrap();
            message[..4].copy_from_slice(&length.to_ne_bytes());
            message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            message[HEADER_BYTES] = u8::try_from(libc::AF_INET).unwrap();
            message
        };
        for length in 0..full.len() {
            for byte in [0, 1, 3, 0xff] {
                let mut datagram = full[..length].to_vec();
                datagram.resize(full.len(), byte);
                for first in [0, byte] {
                    datagram[0] = first;
                    let _ = parse_datagram(&datagram, &mut |_| {});
                }
                let _ = parse_datagram(&full[..length], &mut |_| {});
            }
        }
        let mut sockets = Vec::new();
        assert!(!parse_datagram(&full, &mut |socket| sockets.push(socket)).unwrap());
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].traffic, None);
    }
}
