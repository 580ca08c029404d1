//! What a connection runs on: a TCP stream, or in tests one in memory.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest};
use tokio::net::TcpStream;

/// A stream of bytes each way that can break.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Waits until the connection has broken, most often since the peer reset it, and gives the reason.
    ///
    /// Reading tells of a reset too, but not before all has been read that came ahead of it. This tells at once, for
    /// those who do not want to read yet. The peer's half-close does not break a connection.
    fn broken(&self) -> impl Future<Output = io::Error> + Send;

    /// Makes the close drop what the peer has not taken, and tell it so with a reset.
    fn discard_unsent(&self);
}

impl Stream for TcpStream {
    async fn broken(&self) -> io::Error {
        // epoll reports an error of the socket whatever it was asked for (epoll_ctl(2), EPOLLERR).
        match self.ready(Interest::ERROR).await.and_then(|_| self.take_error()) {
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
            Ok(Some(error)) | Err(error) => error,
        }
    }

    fn discard_unsent(&self) {
        // That can fail for a socket which is none any more; then there is nothing to discard.
        let _ = self.set_zero_linger();
    }
}

/// In memory nothing breaks: a peer that has gone is the end of the stream.
impl Stream for DuplexStream {
    async fn broken(&self) -> io::Error {
        std::future::pending().await
    }

    fn discard_unsent(&self) {}
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
        let error = timeout(Duration::from_secs(30), server.broken()).await.unwrap();
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
        assert!(futures::FutureExt::now_or_never(server.broken()).is_none());
    }
}
