//! A connection's byte stream, which reports each event to an observer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::FutureExt;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::{Error, tls};

/// An event of a connection, from name resolution to the close. The variants are in the order of the events; bytes are
/// sent and received concurrently.
#[derive(Debug)]
pub enum StreamEvent<'a> {
    /// The lookup of this name begins.
    Resolve(&'a str),
    /// The lookup has returned these addresses.
    Resolved(&'a [SocketAddr]),
    /// The attempt to connect to this address begins: `IP:PORT` or `unix:PATH`.
    Connect(String),
    /// The connection is established, from this local address. A Unix socket has none.
    Connected(Option<SocketAddr>),
    /// The TLS handshake is done. All bytes in other events are decrypted.
    Handshaken(tls::Session),
    /// No connection could be established.
    Failed(&'a Error),
    /// The kernel, or the TLS layer, has accepted these bytes for sending.
    Sent(&'a [u8]),
    /// The client has closed its sending direction (shutdown(2), `SHUT_WR`; with TLS after `close_notify`).
    HalfClosed,
    /// These bytes have been received.
    Received(&'a [u8]),
    /// The server has closed its sending direction (EOF; with TLS `close_notify`).
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

/// What carries the bytes of a connection.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ReadWrite for S {}

impl Transport {
    fn stream(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }

    /// Returns the TCP socket, if it is one.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().0),
        }
    }
}

/// A connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct ClientStream {
    transport: Transport,
    observer: Option<Arc<dyn Observer>>,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { transport, observer }
    }

    /// Returns the TCP socket, if the connection has one.
    #[cfg(feature = "server")]
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        self.transport.tcp()
    }

    /// Returns the server's IP address (getpeername(2)). A Unix socket and a broken connection have none.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.transport.tcp()?.peer_addr().ok()
    }

    /// Makes the close send a RST instead of a FIN, so that the server discards the pending reply (socket(7),
    /// `SO_LINGER`). Has no effect on a Unix socket, which has no RST.
    ///
    /// # Errors
    ///
    /// Fails if setsockopt(2) fails.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.transport.tcp().map_or(Ok(()), TcpStream::set_zero_linger)
    }

    /// Sends a FIN at once: over TLS without `close_notify`, so the server takes it for a truncation. To test servers;
    /// a client ends its data with [`shutdown`](tokio::io::AsyncWriteExt::shutdown).
    ///
    /// # Errors
    ///
    /// Fails if shutdown(2) fails.
    pub fn shutdown_socket(&self) -> io::Result<()> {
        let descriptor = match &self.transport {
            Transport::Tcp(stream) => stream.as_raw_fd(),
            Transport::Unix(stream) => stream.as_raw_fd(),
            Transport::Tls(stream) => stream.get_ref().0.as_raw_fd(),
        };
        Ok(shutdown(descriptor, Shutdown::Write)?)
    }

    /// Reads received bytes without waiting.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if no bytes have been received, or an error of read(2).
    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.transport {
            Transport::Tcp(stream) => stream.try_read(buffer),
            Transport::Unix(stream) => stream.try_read(buffer),
            Transport::Tls(stream) => {
                stream.read(buffer).now_or_never().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
            }
        };
        if let Ok(length) = read {
            self.notify(|| received(&buffer[..length]));
        }
        read
    }

    fn notify<'a>(&self, event: impl FnOnce() -> StreamEvent<'a>) {
        if let Some(observer) = &self.observer {
            observer.observe(&event());
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // The end of a TLS connection is `close_notify`; without it the server would report a truncation. Nothing waits
        // for it to be sent. It must not come before a RST, because the server would take it for an ordinary close.
        if let Transport::Tls(stream) = &mut self.transport
            && !matches!(stream.get_ref().0.linger(), Ok(Some(_)))
        {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
        self.notify(|| StreamEvent::Closed);
    }
}

fn received(bytes: &[u8]) -> StreamEvent<'_> {
    if bytes.is_empty() { StreamEvent::Ended } else { StreamEvent::Received(bytes) }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len_before = buffer.filled().len();
        let read = ready!(self.transport.stream().poll_read(context, buffer));
        self.notify(|| match &read {
            Ok(()) => received(&buffer.filled()[len_before..]),
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(read)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.transport.stream().poll_write(context, bytes));
        self.notify(|| match &written {
            Ok(length) => StreamEvent::Sent(&bytes[..*length]),
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(self.transport.stream().poll_shutdown(context));
        self.notify(|| match &shut {
            Ok(()) => StreamEvent::HalfClosed,
            Err(error) => StreamEvent::Broken(error),
        });
        Poll::Ready(shut)
    }
}
