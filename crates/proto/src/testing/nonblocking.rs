//! Async TCP clients that send and receive raw bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::TEST_TIMEOUT;

/// Connects.
pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends `bytes` in one write and half-closes, while it reads to EOF. A reset fails the test.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = connect(address).await.into_split();
    let sending = async {
        write.write_all(bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), result) = tokio::join!(sending, timeout(TEST_TIMEOUT, read.read_to_end(&mut received)));
    result.unwrap().unwrap();
    received
}

/// Reads to EOF. A reset fails the test.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    received
}

/// Reads as many bytes as `expected` has, and compares.
pub async fn expect(stream: &mut TcpStream, expected: &str) {
    let mut received = vec![0; expected.len()];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&received), expected);
}
