//! The byte stream of a connection: TCP, a Unix socket, TLS over either, a [WebSocket](super::websocket) over any of
//! them, or in memory in tests. It depends on `close_reason`, and on the client's stream, for a server that connects to
//! another one.

use std::future::{self, Future};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, DuplexStream, Interest};
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::close_reason::CloseReason;
use super::socket;
use crate::client::stream::ClientStream;

/// A bidirectional byte stream that reports errors such as a reset.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Whether the stream ends with a message, such as `close_notify` of TLS. Dropping the stream does not send it, so
    /// such a stream is shut down first.
    const HAS_END_MESSAGE: bool = false;

    /// Reads up to `limit` bytes and appends them to `input`. Returns their number, 0 at the end of the stream. It does
    /// a bounded amount of work.
    fn poll_append(&mut self, cx: &mut Context<'_>, input: &mut BytesMut, limit: usize) -> Poll<io::Result<usize>> {
        input.reserve(limit);
        poll_read_buf(Pin::new(self), cx, &mut input.limit(limit))
    }

    /// Waits for an error of the connection, most often a reset by the peer, and returns it.
    ///
    /// A read returns the error only after the data that arrived before it. This method returns it at once, for a
    /// caller that does not read yet. A half-close by the peer is not an error. If the peer has closed both directions,
    /// the error is `ConnectionAborted`, without a number of the kernel.
    fn wait_error(&mut self) -> impl Future<Output = io::Error> + Send;

    /// Waits until the peer has sent bytes or has closed the connection. The default is for streams in memory.
    fn wait_input(&mut self) -> impl Future<Output = ()> + Send {
        future::ready(())
    }

    /// Returns whether the kernel has data to read, even if the runtime has not reported it yet. The default is for
    /// streams in memory.
    fn has_unread(&self) -> bool {
        false
    }

    /// Returns the state of the data that was written and that the peer has not acknowledged. The default is for
    /// streams without such a queue.
    fn send_queue(&self) -> SendQueue {
        SendQueue::EMPTY
    }

    /// Makes the kernel drop written data, and the connection, after the peer has acknowledged nothing for `timeout`:
    /// also after a close. The default is for streams that end with a close.
    fn set_send_timeout(&self, _timeout: Duration) {}

    /// Makes the close discard unsent data and send a RST.
    fn reset_on_close(&self);

    /// Returns the socket of an accepted connection, under which the server has recorded it. The default is for streams
    /// in memory, and for connections that this process has opened.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Sets why the connection ends, before its stream is shut down. The default is for streams whose end has no
    /// reason.
    fn set_close_reason(&mut self, _reason: &CloseReason) {}
}

/// The data that was written to a stream and that the peer has not acknowledged. The kernel holds it, after a close
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendQueue {
    /// Whether the peer has acknowledged everything.
    pub is_empty: bool,
    /// The number of bytes that the peer has acknowledged since the connection was accepted.
    pub acknowledged: u64,
    /// The round-trip time, as far as the kernel knows it.
    pub round_trip: Duration,
}

impl SendQueue {
    /// The queue when the peer has everything.
    pub(crate) const EMPTY: Self = Self { is_empty: true, acknowledged: 0, round_trip: Duration::ZERO };
}

/// A reset, unread data and the send queue are those of the socket. The end of the data is a `close_notify` alert.
impl<S: Stream> Stream for TlsStream<S> {
    const HAS_END_MESSAGE: bool = true;

    /// Reads from the socket until there is data, and then only the data that is decrypted already. `poll_read` would
    /// go on until the socket or the limit is exhausted, through any number of `KeyUpdate` messages.
    fn poll_append(&mut self, cx: &mut Context<'_>, input: &mut BytesMut, limit: usize) -> Poll<io::Result<usize>> {
        let mut appended = 0;
        loop {
            let data = ready!(Pin::new(&mut *self).poll_fill_buf(cx))?;
            let len = data.len().min(limit - appended);
            input.extend_from_slice(&data[..len]);
            Pin::new(&mut *self).consume(len);
            appended += len;
            let has_more = !self.get_ref().1.wants_read();
            if len == 0 || appended == limit || !has_more {
                return Poll::Ready(Ok(appended));
            }
        }
    }

    fn wait_error(&mut self) -> impl Future<Output = io::Error> + Send {
        self.get_mut().0.wait_error()
    }

    async fn wait_input(&mut self) {
        let (stream, session) = self.get_mut();
        // Without decrypted data, the session has to read.
        if session.wants_read() {
            stream.wait_input().await;
        }
    }

    fn has_unread(&self) -> bool {
        self.get_ref().0.has_unread()
    }

    fn send_queue(&self) -> SendQueue {
        self.get_ref().0.send_queue()
    }

    fn set_send_timeout(&self, timeout: Duration) {
        self.get_ref().0.set_send_timeout(timeout);
    }

    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.get_ref().0.socket()
    }
}

/// A connection that this process has opened.
impl Stream for ClientStream {
    const HAS_END_MESSAGE: bool = true;

    async fn wait_error(&mut self) -> io::Error {
        let Some(stream) = self.tcp() else { return future::pending().await };
        // See `SocketStream`.
        match stream.ready(Interest::ERROR).await.and_then(|_| stream.take_error()) {
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
            Ok(Some(error)) | Err(error) => error,
        }
    }

    fn has_unread(&self) -> bool {
        self.tcp().is_some_and(socket::has_unread)
    }

    fn send_queue(&self) -> SendQueue {
        self.tcp().map_or(SendQueue::EMPTY, socket::send_queue)
    }

    fn set_send_timeout(&self, timeout: Duration) {
        if let Some(stream) = self.tcp() {
            socket::set_send_timeout(stream, timeout);
        }
    }

    fn reset_on_close(&self) {
        // It fails only if the socket is closed.
        let _ = self.set_zero_linger();
    }
}

/// An in-memory stream has no errors. Dropping the peer ends the stream.
impl Stream for DuplexStream {
    async fn wait_error(&mut self) -> io::Error {
        std::future::pending().await
    }

    fn reset_on_close(&self) {}
}
