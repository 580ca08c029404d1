//! A connection's byte stream, which reports each event to an observer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Error;

/// An event of a connection, from name resolution to the close. The variants are in the order of the events; bytes are
/// sent and received concurrently.
#[derive(Debug)]
pub enum StreamEvent<'a> {
    /// The lookup of this name begins.
    Resolve(&'a str),
    /// The lookup has returned these addresses.
    Resolved(&'a [SocketAddr]),
    /// The attempt to connect to this address begins.
    Connect(SocketAddr),
    /// The connection is established, from this local address (`None` if getsockname(2) fails).
    Connected(Option<SocketAddr>),
    /// No connection could be established.
    Failed(&'a Error),
    /// The kernel has accepted these bytes for sending.
    Sent(&'a [u8]),
    /// The client has closed its sending direction (shutdown(2), `SHUT_WR`).
    HalfClosed,
    /// These bytes have been received.
    Received(&'a [u8]),
    /// The server has closed its sending direction (EOF).
    Ended,
    /// Reading or writing has failed.
    Broken(&'a io::Error),
    /// The client has closed the connection.
    Closed,
}

/// A listener for the events of a connection.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Handles an event. The stream continues only after this returns.
    fn observe(&self, event: &StreamEvent<'_>);
}

/// The observer of a connection, if any. When the last clone is dropped, the connection is closed.
#[derive(Clone, Debug)]
struct Hook(Option<Arc<CloseGuard>>);

impl Hook {
    fn notify<'a>(&self, event: impl FnOnce() -> StreamEvent<'a>) {
        if let Some(guard) = &self.0 {
            guard.0.observe(&event());
        }
    }
}

/// Reports [`StreamEvent::Closed`] when it is dropped.
#[derive(Debug)]
struct CloseGuard(Arc<dyn Observer>);

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.0.observe(&StreamEvent::Closed);
    }
}

/// A connection, or one direction of it.
#[derive(Debug)]
pub struct ClientStream<S = TcpStream> {
    stream: S,
    hook: Hook,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { stream, hook: Hook(observer.map(|observer| Arc::new(CloseGuard(observer)))) }
    }

    /// Returns the server's address (getpeername(2)).
    ///
    /// # Errors
    ///
    /// Fails if the socket is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Makes the close send a RST instead of a FIN, so that the server discards the pending reply (socket(7),
    /// `SO_LINGER`).
    ///
    /// # Errors
    ///
    /// Fails if setsockopt(2) fails.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// Reads received bytes without waiting.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if no bytes have been received, or an error of read(2).
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.try_read(buffer);
        if let Ok(length) = read {
            self.hook.notify(|| received(&buffer[..length]));
        }
        read
    }

    pub(super) fn into_split(self) -> (ClientStream<OwnedReadHalf>, ClientStream<OwnedWriteHalf>) {
        let (read, write) = self.stream.into_split();
        (ClientStream { stream: read, hook: self.hook.clone() }, ClientStream { stream: write, hook: self.hook })
    }
}

fn received(bytes: &[u8]) -> StreamEvent<'_> {
    if bytes.is_empty() { StreamEvent::Ended } else { StreamEvent::Received(bytes) }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len_before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.hook.notify(|| match &read {
            Ok(()) => received(&buffer.filled()[len_before..]),
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.hook.notify(|| match &written {
            Ok(length) => StreamEvent::Sent(&bytes[..*length]),
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        self.hook.notify(|| match &shut {
            Ok(()) => StreamEvent::HalfClosed,
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(shut)
    }
}
