//! A connection's bytes, and an observer who is told of each that crosses.

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

/// What happens on the way of a connection from its name to its end, in this order; bytes cross both ways at once.
#[derive(Debug)]
pub enum StreamEvent<'a> {
    /// The addresses of this name are looked for.
    Resolve(&'a str),
    /// These are they.
    Resolved(&'a [SocketAddr]),
    /// A connection to this address is tried.
    Connect(SocketAddr),
    /// It is made, from this address of our own, where the system still knows it.
    Connected(Option<SocketAddr>),
    /// There is none, for this reason.
    Failed(&'a Error),
    /// These bytes were given to the network.
    Sent(&'a [u8]),
    /// Our direction was closed: nothing more will be sent (shutdown(2), `SHUT_WR`).
    HalfClosed,
    /// These bytes have come.
    Received(&'a [u8]),
    /// The server has closed its direction: nothing more will come.
    Ended,
    /// The connection broke.
    Broken(&'a io::Error),
    /// We have closed the connection.
    Closed,
}

/// Somebody who is told of all that happens on a connection. Told of the next event, it has heard of the one before.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Is told.
    fn observe(&self, event: &StreamEvent<'_>);
}

/// The observer of a connection, if it has one. The last copy is dropped where the connection is closed.
#[derive(Clone, Debug)]
struct Hook(Option<Arc<CloseGuard>>);

impl Hook {
    fn tell<'a>(&self, event: impl FnOnce() -> StreamEvent<'a>) {
        if let Some(open) = &self.0 {
            open.0.observe(&event());
        }
    }
}

#[derive(Debug)]
struct CloseGuard(Arc<dyn Observer>);

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.0.observe(&StreamEvent::Closed);
    }
}

/// A connection, or a direction of it.
#[derive(Debug)]
pub struct ClientStream<S = TcpStream> {
    stream: S,
    tap: Hook,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { stream, tap: Hook(observer.map(|observer| Arc::new(CloseGuard(observer)))) }
    }

    /// The server's address, where the system still knows it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Makes the close a reset, which tells the server that its answer is not wanted any more.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// What is there already, without waiting; an error of the kind [`io::ErrorKind::WouldBlock`] if nothing is.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.try_read(buffer);
        if let Ok(length) = read {
            self.tap.tell(|| received(&buffer[..length]));
        }
        read
    }

    pub(super) fn into_split(self) -> (ClientStream<OwnedReadHalf>, ClientStream<OwnedWriteHalf>) {
        let (read, write) = self.stream.into_split();
        (ClientStream { stream: read, tap: self.tap.clone() }, ClientStream { stream: write, tap: self.tap })
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
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.tap.tell(|| match &read {
            Ok(()) => received(&buffer.filled()[before..]),
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.tap.tell(|| match &written {
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
        self.tap.tell(|| match &shut {
            Ok(()) => StreamEvent::HalfClosed,
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(shut)
    }
}
