//! Blocking clients of TCP and Unix sockets that send and receive raw bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::TEST_TIMEOUT;

/// Connects. Reads and writes of the connection time out after [`TEST_TIMEOUT`].
pub fn connect(address: SocketAddr) -> TcpStream {
    with_timeouts(TcpStream::connect(address).unwrap())
}

/// Connects from the local address `source`.
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    with_timeouts(OwnedFd::from(socket).into())
}

/// Connects with the smallest buffers that the kernel allows, so that it holds at most 2,304 bytes of unread replies.
pub fn connect_with_small_buffers(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_send_buffer_size(1).unwrap();
    socket.connect(&address.into()).unwrap();
    with_timeouts(OwnedFd::from(socket).into())
}

/// Connects to a Unix socket. Reads and writes of the connection time out after [`TEST_TIMEOUT`].
pub fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// Sends `bytes` to a Unix socket, half-closes, and reads to EOF. A reset fails the test.
pub fn exchange_unix(path: &Path, bytes: &[u8]) -> String {
    let mut stream = connect_unix(path);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

fn with_timeouts(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// Makes the close of a connection send a RST (socket(7), `SO_LINGER`).
pub fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends `bytes`, half-closes, and reads to EOF. A reset fails the test.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

/// Reads to EOF. A reset fails the test.
pub fn read_to_end(stream: &mut impl Read) -> String {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    String::from_utf8(received).unwrap()
}

/// Reads as many bytes as `expected` has, and compares.
pub fn expect(stream: &mut impl Read, expected: &str) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(String::from_utf8_lossy(&received), expected);
}

/// Checks that the server resets the connection after the replies that have been received.
pub fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

/// Sends `requests` repeatedly without reading replies, until the server closes the connection.
pub fn send_without_reading(address: SocketAddr, requests: &[u8]) {
    let mut stream = connect(address);
    let error = loop {
        if let Err(error) = stream.write_all(requests) {
            break error;
        }
    };
    assert!(error.kind() != ErrorKind::WouldBlock, "the test timed out before the server closed the connection");
}

/// Calls `check` with 10,000 random inputs from four threads.
pub fn for_random_inputs(check: impl Fn(&[u8]) + Sync) {
    thread::scope(|scope| {
        for seed in 0..4 {
            let check = &check;
            scope.spawn(move || {
                let mut random = random_bytes(seed);
                for _ in 0..2_500 {
                    check(&random_input(&mut random));
                }
            });
        }
    });
}

/// Returns the next 0 to 255 bytes of a sequence from [`random_bytes`].
pub fn random_input(random: &mut impl FnMut() -> u8) -> Vec<u8> {
    let length = usize::from(random());
    (0..length).map(|_| random()).collect()
}

/// Returns a pseudorandom sequence of bytes (Knuth's linear congruential generator). It depends only on `seed`, so a
/// failure can be reproduced.
pub fn random_bytes(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }
}
