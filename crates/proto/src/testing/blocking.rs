//! Blocking TCP clients that send and receive raw bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::PATIENCE;

/// Connects; the connection's reads and writes have a timeout.
pub fn connect(address: SocketAddr) -> TcpStream {
    with_timeouts(TcpStream::connect(address).unwrap())
}

/// The same from this address of the machine.
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    with_timeouts(OwnedFd::from(socket).into())
}

fn with_timeouts(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Makes the close of a connection a reset (socket(7), `SO_LINGER`).
pub fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends `bytes`, half-closes, and reads to the end; a reset fails the test.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

/// Reads until the server closes; a reset fails the test.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// Reads as many bytes as `expected` has, and compares.
pub fn expect(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

/// Sends `flight` over and over and reads nothing, until the server closes the connection.
pub fn send_without_reading(address: SocketAddr, flight: &[u8]) {
    let mut stream = connect(address);
    let error = loop {
        if let Err(error) = stream.write_all(flight) {
            break error;
        }
    };
    assert!(error.kind() != ErrorKind::WouldBlock, "the test timed out before the server closed the connection");
}

/// Calls `check` with 10,000 random inputs, from four threads.
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

/// The next 0 to 255 bytes of such a sequence.
pub fn random_input(random: &mut impl FnMut() -> u8) -> Vec<u8> {
    let length = usize::from(random());
    (0..length).map(|_| random()).collect()
}

/// A fixed sequence of bytes (Knuth's linear congruence), so that a failure can be repeated.
pub fn random_bytes(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }
}
