//! The byte stream of a connection: TCP, a Unix socket, TLS over either, a [WebSocket](super::websocket) over any of
//! them, or in memory in tests. It depends on `close_reason`, and on the client's stream, for a server that connects to
//! another one.

use std::future::{self, Future};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::io::ioctl_fionread;
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::close_reason::CloseReason;
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
    fn wait_input(&self) -> impl Future<Output = ()> + Send {
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

/// Waits for an error of the socket.
async fn tcp_error(stream: &TcpStream) -> io::Error {
    // epoll always reports a socket's error (epoll_ctl(2), EPOLLERR).
    match stream.ready(Interest::ERROR).await.and_then(|_| stream.take_error()) {
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
        Ok(Some(error)) | Err(error) => error,
    }
}

impl Stream for TcpStream {
    async fn wait_error(&mut self) -> io::Error {
        tcp_error(self).await
    }

    async fn wait_input(&self) {
        // The read that follows returns the error.
        let _ = self.async_io(Interest::READABLE, || peek(self)).await;
    }

    fn has_unread(&self) -> bool {
        // It fails only if the socket is closed.
        ioctl_fionread(self).is_ok_and(|bytes| bytes > 0)
    }

    fn send_queue(&self) -> SendQueue {
        // It fails only if the socket is closed.
        tcp_info(self).unwrap_or(SendQueue::EMPTY)
    }

    fn set_send_timeout(&self, timeout: Duration) {
        // It fails only if the socket is closed.
        let _ = SockRef::from(self).set_tcp_user_timeout(Some(timeout));
    }

    fn reset_on_close(&self) {
        // It fails only if the socket is closed, and then there is nothing to discard.
        let _ = self.set_zero_linger();
    }
}

/// The stream of an accepted connection.
#[derive(Debug)]
pub enum SocketStream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

impl AsRawFd for SocketStream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Returns at once: a socket buffers nothing outside the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Stream for SocketStream {
    async fn wait_error(&mut self) -> io::Error {
        match self {
            Self::Tcp(stream) => stream.wait_error().await,
            Self::Unix(stream) => stream.wait_error().await,
        }
    }

    async fn wait_input(&self) {
        match self {
            Self::Tcp(stream) => stream.wait_input().await,
            Self::Unix(stream) => stream.wait_input().await,
        }
    }

    fn has_unread(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.has_unread(),
            Self::Unix(stream) => stream.has_unread(),
        }
    }

    fn send_queue(&self) -> SendQueue {
        match self {
            Self::Tcp(stream) => stream.send_queue(),
            Self::Unix(stream) => stream.send_queue(),
        }
    }

    fn set_send_timeout(&self, timeout: Duration) {
        match self {
            Self::Tcp(stream) => stream.set_send_timeout(timeout),
            Self::Unix(stream) => stream.set_send_timeout(timeout),
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Tcp(stream) => stream.reset_on_close(),
            Self::Unix(stream) => stream.reset_on_close(),
        }
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        })
    }
}

/// The kernel has no `TCP_INFO` for a Unix socket, and keeps at most its send buffer for a peer that does not read.
/// Closing with unread requests resets the peer; no option forces a reset otherwise.
impl Stream for UnixStream {
    async fn wait_error(&mut self) -> io::Error {
        match self.ready(Interest::ERROR).await.and_then(|_| self.take_error()) {
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
            Ok(Some(error)) | Err(error) => error,
        }
    }

    async fn wait_input(&self) {
        let _ = self.async_io(Interest::READABLE, || peek(self)).await;
    }

    fn has_unread(&self) -> bool {
        ioctl_fionread(self).is_ok_and(|bytes| bytes > 0)
    }

    fn reset_on_close(&self) {}
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

    async fn wait_input(&self) {
        let (stream, session) = self.get_ref();
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
        match self.tcp() {
            Some(stream) => tcp_error(stream).await,
            None => future::pending().await,
        }
    }

    fn has_unread(&self) -> bool {
        self.tcp().is_some_and(Stream::has_unread)
    }

    fn send_queue(&self) -> SendQueue {
        self.tcp().map_or(SendQueue::EMPTY, Stream::send_queue)
    }

    fn set_send_timeout(&self, timeout: Duration) {
        if let Some(stream) = self.tcp() {
            stream.set_send_timeout(timeout);
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

/// Reads a byte that stays in the kernel. The runtime assumes that a new socket is readable until a read would block.
fn peek(socket: &impl AsFd) -> io::Result<usize> {
    SockRef::from(socket).peek(&mut [MaybeUninit::uninit()])
}

/// The first words of `struct tcp_info` (linux/tcp.h), up to `tcpi_notsent_bytes`, which Linux 4.6 added last of them.
type TcpInfoWords = [u32; 37];

// See `DeferAccept` about this macro. The kernel writes at most as many bytes as the type has, and any bytes are valid.
sockopt_impl!(
    /// `TCP_INFO`, the beginning of a `struct tcp_info` (tcp(7)).
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfoWords
);

fn tcp_info(stream: &TcpStream) -> nix::Result<SendQueue> {
    const CLOSED: u8 = 7; // TCP_CLOSE (linux/tcp_states.h)
    let words = getsockopt(stream, TcpInfo)?;
    // tcpi_state, tcpi_unacked, tcpi_rtt, tcpi_notsent_bytes, and the 64 bits of tcpi_bytes_acked
    let [state, ..] = words[0].to_ne_bytes();
    let [unacknowledged_segments, round_trip_micros, unsent_bytes] = [words[6], words[17], words[36]];
    let [low, high] = if cfg!(target_endian = "little") { [words[30], words[31]] } else { [words[31], words[30]] };
    Ok(SendQueue {
        // A reset drops the queue, but not its length.
        is_empty: state == CLOSED || (unacknowledged_segments == 0 && unsent_bytes == 0),
        acknowledged: u64::from(high) << 32 | u64::from(low),
        round_trip: Duration::from_micros(round_trip_micros.into()),
    })
}

#[cfg(test)]
mod tests {
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
        let (mut client, mut server) = connection().await;
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

    #[tokio::test]
    async fn the_send_queue_is_empty_once_the_peer_has_acknowledged_everything() {
        let (client, mut server) = connection().await;
        assert_eq!(server.send_queue(), SendQueue { round_trip: server.send_queue().round_trip, ..SendQueue::EMPTY });
        let written = std::iter::from_fn(|| server.try_write(&[b'x'; 4096]).ok()).sum::<usize>();
        let queue = server.send_queue();
        assert!(!queue.is_empty && queue.acknowledged < written as u64, "{queue:?}");
        let mut received = vec![0; written];
        let mut client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        std::io::Read::read_exact(&mut client, &mut received).unwrap();
        // The acknowledgement can be delayed.
        let acknowledged = async {
            while !server.send_queue().is_empty {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), acknowledged).await.unwrap();
        assert_eq!(server.send_queue().acknowledged, written as u64);

        server.write_all(b"unread").await.unwrap();
        client.set_nonblocking(true).unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        server.wait_error().await;
        assert!(server.send_queue().is_empty, "a reset discards the queue");
    }
}
