//! The byte stream of a connection: TCP, or in memory in tests. It depends on no other module.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest};
use tokio::net::TcpStream;

/// A bidirectional byte stream that reports errors such as a reset.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Waits for an error of the connection, most often a reset by the peer, and returns it.
    ///
    /// A read returns the error only after the data that arrived before it. This method returns it at once, for a caller
    /// that does not read yet. A half-close by the peer is not an error.
    fn wait_error(&self) -> impl Future<Output = io::Error> + Send;

    /// Makes the close discard unsent data and send a RST.
    fn reset_on_close(&self);
}

impl Stream for TcpStream {
    async fn wait_error(&self) -> io::Error {
        // epoll always reports a socket's error (epoll_ctl(2), EPOLLERR).
        match self.ready(Interest::ERROR).await.and_then(|_| self.take_error()) {
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
            Ok(Some(error)) | Err(error) => error,
        }
    }

    fn reset_on_close(&self) {
        // It fails only if the socket is closed, and then there is nothing to discard.
        let _ = self.set_zero_linger();
    }
}

/// An in-memory stream has no errors. Dropping the peer ends the stream.
impl Stream for DuplexStream {
    async fn wait_error(&self) -> io::Error {
        std::future::pending().await
    }

    fn reset_on_close(&self) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_reset_is_reported_while_data_is_unread() {
        let (mut client, server) = connection().await;
        client.write_all(&[b'1'; 1000]).await.unwrap();
        server.readable().await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let error = timeout(Duration::from_secs(30), server.wait_error()).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_half_close_is_not_an_error() {
        let (mut client, mut server) = connection().await;
        client.write_all(b"1").await.unwrap();
        client.shutdown().await.unwrap();
        // After the end of the stream is read, an error would be known too.
        let mut received = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut server, &mut received).await.unwrap();
        assert!(futures::FutureExt::now_or_never(server.wait_error()).is_none());
    }
}
