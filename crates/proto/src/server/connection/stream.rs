//! The stream under a connection: TCP, or in memory in tests.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest};
use tokio::net::TcpStream;

/// A stream of bytes each way that can break.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Waits until the connection has an error, most often because the peer reset it, and returns it.
    ///
    /// A read returns that error only behind the data that arrived before it; this reports it at once, to a caller that
    /// does not want to read yet. The peer's half-close is not an error.
    fn wait_error(&self) -> impl Future<Output = io::Error> + Send;

    /// Makes the close discard unsent data and reset the connection.
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
        // It fails only for a socket that is already closed; then there is nothing to discard.
        let _ = self.set_zero_linger();
    }
}

/// In memory there are no errors: a peer that is dropped is the end of the stream.
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
    async fn a_reset_is_noticed_behind_bytes_that_nobody_reads() {
        let (mut client, server) = connection().await;
        client.write_all(&[b'1'; 1000]).await.unwrap();
        server.readable().await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let error = timeout(Duration::from_secs(30), server.wait_error()).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_half_close_breaks_nothing() {
        let (mut client, mut server) = connection().await;
        client.write_all(b"1").await.unwrap();
        client.shutdown().await.unwrap();
        // The end has come when it can be read; had it broken the connection, that would be known by then.
        let mut heard = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut server, &mut heard).await.unwrap();
        assert!(futures::FutureExt::now_or_never(server.wait_error()).is_none());
    }
}
