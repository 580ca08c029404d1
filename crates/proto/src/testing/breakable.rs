//! An in-memory stream that a test can break, as a RST breaks a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio_util::sync::CancellationToken;

use crate::server::connection::Stream;

/// The server's end of the stream.
#[derive(Debug)]
pub struct BreakableStream {
    stream: DuplexStream,
    broken: CancellationToken,
}

/// Returns the peer's end, the server's end, and a token that breaks the stream when it is cancelled. Each direction
/// buffers `capacity` bytes.
pub fn breakable_stream(capacity: usize) -> (DuplexStream, BreakableStream, CancellationToken) {
    let (peer, stream) = duplex(capacity);
    let broken = CancellationToken::new();
    (peer, BreakableStream { stream, broken: broken.clone() }, broken)
}

impl Stream for BreakableStream {
    async fn wait_error(&mut self) -> io::Error {
        self.broken.cancelled().await;
        io::ErrorKind::ConnectionReset.into()
    }

    fn reset_on_close(&self) {}
}

impl AsyncRead for BreakableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
