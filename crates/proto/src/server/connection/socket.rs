//! The socket of an accepted connection: TCP or Unix. It depends on `stream`, and on the log's rate limit.
//!
//! A short connection often has to wait for nothing: its request is there when it is accepted, and its FIN when the driver
//! looks for it. So a socket is used without the runtime's reactor until a call would block, and is registered with it
//! then. That saves two calls of `epoll_ctl(2)`, and the wait for the first event.

use std::io;
use std::mem::{MaybeUninit, replace};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::stream::{SendQueue, Stream};
use crate::server::observe::rate_limit::RateLimit;

/// The socket of an accepted connection.
#[derive(Debug)]
pub struct SocketStream(State);

#[derive(Debug)]
enum State {
    /// No call had to wait yet.
    Unregistered(OwnedFd),
    /// A call had to wait. The runtime's type for TCP serves a Unix socket too: both are read with recv(2), written
    /// with send(2) and shut down with shutdown(2).
    Registered(TcpStream),
    /// The socket could not be registered, because of this error, and is closed.
    Failed(io::ErrorKind),
}

/// Maximum bytes of a read before the socket is registered. A read of that length registers it: the connection is not
/// short, and needs longer reads.
const MAX_UNREGISTERED_READ: usize = 4096;

/// A socket that was accepted as non-blocking.
impl From<OwnedFd> for SocketStream {
    fn from(socket: OwnedFd) -> Self {
        Self(State::Unregistered(socket))
    }
}

impl SocketStream {
    /// Returns the registered socket. Registers it with the reactor of the current runtime if it is not.
    ///
    /// # Errors
    ///
    /// Fails if the kernel lacks memory for it, or the user has too many (epoll(7), `max_user_watches`).
    fn registered(&mut self) -> io::Result<&mut TcpStream> {
        if let Self(State::Unregistered(_)) = self
            && let State::Unregistered(socket) = replace(&mut self.0, State::Failed(io::ErrorKind::NotConnected))
        {
            self.0 = match TcpStream::from_std(socket.into()) {
                Ok(stream) => State::Registered(stream),
                Err(error) => {
                    static RATE_LIMIT: RateLimit = RateLimit::new();
                    if let Some(suppressed) = RATE_LIMIT.allow() {
                        tracing::warn!(%error, suppressed, "cannot wait for a connection; it is closed");
                    }
                    State::Failed(error.kind())
                }
            };
        }
        match &mut self.0 {
            State::Registered(stream) => Ok(stream),
            State::Failed(kind) => Err((*kind).into()),
            State::Unregistered(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Calls `call` if the socket is not registered. Returns `None` if it is, or if the call would block.
    fn call_unregistered<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>) -> Option<io::Result<T>> {
        let Self(State::Unregistered(socket)) = self else { return None };
        match call(socket.as_fd()) {
            Err(Errno::AGAIN) => None,
            result => Some(result.map_err(Into::into)),
        }
    }

    /// Reads if the socket is not registered. Returns `None` if it is, or if the read would block.
    ///
    /// A separate function, so that the stack of other reads does not hold its buffer.
    #[inline(never)]
    fn read_unregistered(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<usize>> {
        self.call_unregistered(|socket| {
            let mut bytes = [MaybeUninit::uninit(); MAX_UNREGISTERED_READ];
            let limit = buffer.remaining().min(MAX_UNREGISTERED_READ);
            let ((read, _), _) = recv(socket, &mut bytes[..limit], RecvFlags::empty())?;
            buffer.put_slice(read);
            Ok(read.len())
        })
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Self(State::Registered(stream)) = this {
            return Pin::new(stream).poll_read(cx, buffer);
        }
        match this.read_unregistered(buffer) {
            Some(Ok(MAX_UNREGISTERED_READ)) => {
                // The next call returns the error.
                let _ = this.registered();
                Poll::Ready(Ok(()))
            }
            Some(result) => Poll::Ready(result.map(drop)),
            None => Pin::new(this.registered()?).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.call_unregistered(|socket| send(socket, bytes, SendFlags::NOSIGNAL)) {
            Some(result) => Poll::Ready(result),
            None => Pin::new(this.registered()?).poll_write(cx, bytes),
        }
    }

    /// Returns at once: a socket buffers nothing outside the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Never waits.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = |socket| SockRef::from(&socket).shutdown(Shutdown::Write);
        Poll::Ready(self.socket().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), shut_down))
    }
}

/// The kernel has no `TCP_INFO` for a Unix socket, and keeps at most its send buffer for a peer that does not read.
/// Closing with unread requests resets the peer; no option forces a reset otherwise.
impl Stream for SocketStream {
    async fn wait_error(&mut self) -> io::Error {
        let stream = match self.registered() {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        // epoll always reports a socket's error (epoll_ctl(2), EPOLLERR).
        match stream.ready(Interest::ERROR).await.and_then(|_| stream.take_error()) {
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
            Ok(Some(error)) | Err(error) => error,
        }
    }

    async fn wait_input(&mut self) {
        // Reads a byte that stays in the kernel. The read that follows returns the error, or after a reset the end of the
        // data.
        let peek = |socket: BorrowedFd<'_>| recv(socket, &mut [MaybeUninit::uninit()], RecvFlags::PEEK).map(drop);
        if self.call_unregistered(peek).is_none()
            && let Ok(stream) = self.registered()
        {
            let _ = stream.async_io(Interest::READABLE, || Ok(peek(stream.as_fd())?)).await;
        }
    }

    fn has_unread(&self) -> bool {
        self.socket().is_some_and(|socket| has_unread(&socket))
    }

    fn send_queue(&self) -> SendQueue {
        self.socket().map_or(SendQueue::EMPTY, |socket| send_queue(&socket))
    }

    fn set_send_timeout(&self, timeout: Duration) {
        if let Some(socket) = self.socket() {
            set_send_timeout(&socket, timeout);
        }
    }

    fn reset_on_close(&self) {
        if let Some(socket) = self.socket() {
            // It fails only if the socket is closed, and then there is nothing to discard.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            State::Unregistered(socket) => Some(socket.as_fd()),
            State::Registered(stream) => Some(stream.as_fd()),
            State::Failed(_) => None,
        }
    }
}

/// See [`Stream::has_unread`].
pub(super) fn has_unread(socket: &impl AsFd) -> bool {
    // It fails only if the socket is closed.
    ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0)
}

/// See [`Stream::send_queue`]. The queue of a Unix socket counts as empty.
pub(super) fn send_queue(socket: &impl AsFd) -> SendQueue {
    // It fails if the socket is closed, or a Unix socket.
    tcp_info(socket).unwrap_or(SendQueue::EMPTY)
}

/// See [`Stream::set_send_timeout`]. It has no effect on a Unix socket.
pub(super) fn set_send_timeout(socket: &impl AsFd, timeout: Duration) {
    // It fails if the socket is closed, or a Unix socket.
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(timeout));
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

fn tcp_info(socket: &impl AsFd) -> nix::Result<SendQueue> {
    const CLOSED: u8 = 7; // TCP_CLOSE (linux/tcp_states.h)
    let words = getsockopt(socket, TcpInfo)?;
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
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use bytes::BytesMut;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn connection() -> (TcpStream, SocketStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, OwnedFd::from(server).into())
    }

    fn unix_connection() -> (UnixStream, SocketStream) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, OwnedFd::from(server).into())
    }

    async fn append(stream: &mut SocketStream) -> BytesMut {
        let mut input = BytesMut::new();
        poll_fn(|cx| stream.poll_append(cx, &mut input, 4096)).await.unwrap();
        input
    }

    /// Waits until the peer's data or FIN is there, without the runtime.
    fn wait_for_arrival(stream: &SocketStream) {
        let socket = stream.socket().unwrap();
        while recv(socket, &mut [0], RecvFlags::PEEK) == Err(Errno::AGAIN) {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_connection_that_never_waits_is_not_registered() {
        let (mut client, mut server) = connection();
        client.write_all(b"a2").unwrap();
        wait_for_arrival(&server);
        server.wait_input().await;
        assert_eq!(append(&mut server).await, "a2");
        server.write_all(b"d4.0").await.unwrap();
        let mut reply = [0; 4];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"d4.0");
        drop(client);
        wait_for_arrival(&server);
        assert_eq!(append(&mut server).await, "", "the FIN is there");
        assert!(matches!(server.0, State::Unregistered(_)));
    }

    #[tokio::test]
    async fn a_long_read_registers_the_socket() {
        let (mut client, mut server) = connection();
        client.write_all(&[b'1'; 2 * MAX_UNREGISTERED_READ]).unwrap();
        while ioctl_fionread(server.socket().unwrap()).unwrap() < 2 * MAX_UNREGISTERED_READ as u64 {
            std::thread::yield_now();
        }
        assert_eq!(append(&mut server).await.len(), MAX_UNREGISTERED_READ);
        assert!(matches!(server.0, State::Registered(_)));
        assert_eq!(timeout(LIMIT, append(&mut server)).await.unwrap().len(), MAX_UNREGISTERED_READ);
    }

    async fn registers_when_it_first_has_to_wait(mut client: impl Read + Write, mut server: SocketStream) {
        assert!(append(&mut server).now_or_never().is_none());
        assert!(matches!(server.0, State::Registered(_)));
        client.write_all(b"1").unwrap();
        assert_eq!(timeout(LIMIT, append(&mut server)).await.unwrap(), "1");
        let mut one = [0];
        client.write_all(b"23").unwrap();
        for expected in [b"2", b"3"] {
            timeout(LIMIT, server.read_exact(&mut one)).await.unwrap().unwrap();
            assert_eq!(&one, expected);
        }
        drop(client);
        assert_eq!(timeout(LIMIT, append(&mut server)).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_socket_is_registered_when_it_first_has_to_wait() {
        let (client, server) = connection();
        registers_when_it_first_has_to_wait(client, server).await;
        let (client, server) = unix_connection();
        registers_when_it_first_has_to_wait(client, server).await;
    }

    async fn writes_what_the_peer_takes(mut client: impl Read + Send + 'static, mut server: SocketStream) {
        const LEN: usize = 16 << 20;
        let written = tokio::spawn(async move {
            server.write_all(&vec![b'x'; LEN]).await.unwrap();
            server
        });
        let read = tokio::task::spawn_blocking(move || {
            client.read_exact(&mut vec![0; LEN]).unwrap();
            client
        });
        let _client = timeout(LIMIT, read).await.unwrap().unwrap();
        assert!(matches!(written.await.unwrap().0, State::Registered(_)));
    }

    #[tokio::test]
    async fn a_write_waits_until_the_socket_has_room() {
        let (client, server) = connection();
        writes_what_the_peer_takes(client, server).await;
        let (client, server) = unix_connection();
        writes_what_the_peer_takes(client, server).await;
    }

    #[tokio::test]
    async fn a_reset_is_reported_while_data_is_unread() {
        let (mut client, mut server) = connection();
        client.write_all(&[b'1'; 1000]).unwrap();
        server.wait_input().await;
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let error = timeout(LIMIT, server.wait_error()).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_half_close_is_not_an_error() {
        let (mut client, mut server) = connection();
        client.write_all(b"1").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // After the end of the stream is read, an error would be known too.
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert!(timeout(Duration::from_millis(50), server.wait_error()).await.is_err());
    }

    #[tokio::test]
    async fn the_send_queue_is_empty_once_the_peer_has_acknowledged_everything() {
        let (mut client, mut server) = connection();
        assert_eq!(server.send_queue(), SendQueue { round_trip: server.send_queue().round_trip, ..SendQueue::EMPTY });
        let write = |_| server.write(&[b'x'; 4096]).now_or_never()?.ok();
        let written: usize = (0..).map_while(write).sum();
        let queue = server.send_queue();
        assert!(!queue.is_empty && queue.acknowledged < written as u64, "{queue:?}");
        client.read_exact(&mut vec![0; written]).unwrap();
        // The acknowledgement can be delayed.
        let acknowledged = async {
            while !server.send_queue().is_empty {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, acknowledged).await.unwrap();
        assert_eq!(server.send_queue().acknowledged, written as u64);

        server.write_all(b"unread").await.unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        server.wait_error().await;
        assert!(server.send_queue().is_empty, "a reset discards the queue");
    }
}
