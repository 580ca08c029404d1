//! TCP clients for tests that run in a runtime: they send and receive raw bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// Connects.
pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends `bytes` in one write while it reads, half-closes, and reads to the end; a reset fails the test.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = connect(address).await.into_split();
    let sending = async {
        write.write_all(bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let ((), result) = tokio::join!(sending, timeout(PATIENCE, read.read_to_end(&mut heard)));
    result.unwrap().unwrap();
    heard
}

/// Reads until the server closes; a reset fails the test.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    heard
}

/// Reads as many bytes as `expected` has, and compares.
pub async fn expect(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}
