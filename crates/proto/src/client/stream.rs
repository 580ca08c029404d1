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
pub enum Event<'a> {
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
    fn observe(&self, event: &Event<'_>);
}

/// The observer of a connection, if it has one. The last copy is dropped where the connection is closed.
#[derive(Clone, Debug)]
struct Tap(Option<Arc<Open>>);

impl Tap {
    fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(open) = &self.0 {
            open.0.observe(&event());
        }
    }
}

#[derive(Debug)]
struct Open(Arc<dyn Observer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.observe(&Event::Closed);
    }
}

/// A connection, or a direction of it.
#[derive(Debug)]
pub struct Stream<S = TcpStream> {
    stream: S,
    tap: Tap,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { stream, tap: Tap(observer.map(|observer| Arc::new(Open(observer)))) }
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

    pub(super) fn into_split(self) -> (Stream<OwnedReadHalf>, Stream<OwnedWriteHalf>) {
        let (read, write) = self.stream.into_split();
        (Stream { stream: read, tap: self.tap.clone() }, Stream { stream: write, tap: self.tap })
    }
}

fn received(bytes: &[u8]) -> Event<'_> {
    if bytes.is_empty() { Event::Ended } else { Event::Received(bytes) }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.tap.tell(|| match &read {
            Ok(()) => received(&buffer.filled()[before..]),
            Err(error) => Event::Broken(error),
        });
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.tap.tell(|| match &written {
            Ok(length) => Event::Sent(&bytes[..*length]),
            Err(error) => Event::Broken(error),
        });
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        self.tap.tell(|| match &shut {
            Ok(()) => Event::HalfClosed,
            Err(error) => Event::Broken(error),
        });
        Poll::Ready(shut)
    }
}
