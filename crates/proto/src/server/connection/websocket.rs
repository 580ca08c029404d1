//! The stream of a WebSocket connection (RFC 6455), after the handshake.
//!
//! It depends on `stream`, `close_reason` and the frames in [`wire`](crate::wire::websocket). Binary messages carry the
//! bytes of the stream, so the driver and the handler are the same as for TCP. A close frame from the peer is the end
//! of the stream. Pings are answered, and sent every [`PING_INTERVAL`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::close_reason::CloseReason;
use super::stream::{SendQueue, Stream};
use crate::wire::websocket::{CloseCode, Control, FrameDecoder, Violation};
use crate::wire::websocket::{encode_binary, encode_close, encode_ping, encode_pong};

/// The time between two pings. Proxies close a connection without traffic after 60 s (nginx) or,
/// as their examples configure it, 50 s (`HAProxy`).
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Maximum control frames of a peer within a [`PING_INTERVAL`], without data between them: a dozen per second, more
/// than any client needs.
const MAX_CONTROLS: u32 = 256;

/// Minimum bytes of a read from the inner stream. A move of one byte is a frame of seven.
const MIN_READ: usize = 512;

/// Maximum payload that is read while the peer waits for a reply, so that its pings are answered.
const MAX_AHEAD: usize = 1024;

/// No pong is sent while this many bytes have not left: the peer does not read.
const MAX_OUTGOING: usize = 1024;

/// The buffers of a thread. Each use ends within one poll.
#[derive(Default)]
struct Scratch {
    frames: BytesMut,
    data: BytesMut,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The payload of a WebSocket connection as a byte stream.
#[derive(Debug)]
pub(crate) struct WebSocketStream<S> {
    inner: S,
    decoder: FrameDecoder,
    /// Payload that the driver has not read.
    ahead: BytesMut,
    /// Frames that the inner stream had no room for.
    outgoing: BytesMut,
    end: InputEnd,
    /// The close frame to send; `None` once it is in `outgoing`.
    close: Option<(CloseCode, Cow<'static, str>)>,
    ping: Pin<Box<Sleep>>,
    /// The control frames of the peer since its last data, or the last ping.
    controls: u32,
}

/// How the peer's data has ended.
#[derive(Debug)]
enum InputEnd {
    /// It has not ended.
    Open,
    /// With a close frame of this code: the peer does not read any more.
    CloseFrame(CloseCode),
    /// With a FIN: the peer still reads.
    Fin,
    /// With a violation or an error that the driver has not seen.
    Failed(io::Error),
    /// With a violation or an error. What still arrives is discarded, because closing with unread data would reset the
    /// connection, and the peer would not get the close frame.
    Discarding,
}

impl<S: Stream> WebSocketStream<S> {
    /// Creates the stream after the handshake. `frames` has the bytes that the peer has sent behind it.
    pub(crate) fn new(inner: S, frames: &[u8]) -> Self {
        let mut stream = Self {
            inner,
            decoder: FrameDecoder::default(),
            ahead: BytesMut::new(),
            outgoing: BytesMut::new(),
            end: InputEnd::Open,
            close: Some((CloseCode::NORMAL, Cow::Borrowed(""))),
            ping: Box::pin(sleep(PING_INTERVAL)),
            controls: 0,
        };
        if !frames.is_empty() {
            let mut data = BytesMut::new();
            stream.decode(&mut frames.into(), &mut data);
            stream.ahead = data;
        }
        stream
    }

    /// Reads from the inner stream once, and appends the payload to `data`. It can be empty.
    fn poll_receive(&mut self, cx: &mut Context<'_>, data: &mut BytesMut, limit: usize) -> Poll<io::Result<()>> {
        self.poll_ping(cx)?;
        // Frames that had no room, such as a ping, leave as soon as there is room.
        let _ = self.poll_outgoing(cx)?;
        let received = SCRATCH.with_borrow_mut(|Scratch { frames, .. }| {
            frames.clear();
            let received = self.inner.poll_append(cx, frames, limit.max(MIN_READ));
            if let Poll::Ready(Ok(1..)) = received {
                self.decode(frames, data);
            }
            received
        });
        if ready!(received)? == 0 {
            self.end = InputEnd::Fin;
        }
        // The pong to a ping.
        let _ = self.poll_outgoing(cx)?;
        Poll::Ready(Ok(()))
    }

    /// Decodes frames until their end, or the end of the peer's data. Answers only the last ping, as RFC 6455, section
    /// 5.5.3, allows.
    fn decode(&mut self, frames: &mut BytesMut, data: &mut BytesMut) {
        let mut ping = None;
        loop {
            let len_before = data.len();
            let decoded = self.decoder.decode(frames, data);
            if data.len() > len_before {
                self.controls = 0;
            }
            let control = match decoded {
                Ok(Some(Control::Ping(_) | Control::Pong)) if self.controls == MAX_CONTROLS => {
                    Err(Violation::TooManyControls)
                }
                other => other,
            };
            match control {
                Ok(None) => break,
                Ok(Some(Control::Ping(payload))) => ping = Some(payload),
                Ok(Some(Control::Pong)) => {}
                Ok(Some(Control::Close(code))) => {
                    self.end = InputEnd::CloseFrame(code.unwrap_or(CloseCode::NORMAL));
                    break;
                }
                Err(violation) => {
                    self.end = InputEnd::Failed(io::Error::new(io::ErrorKind::InvalidData, violation));
                    break;
                }
            }
            self.controls += 1;
        }
        if let Some(payload) = ping
            && self.close.is_some()
            && self.outgoing.len() < MAX_OUTGOING
        {
            encode_pong(&payload, &mut self.outgoing);
        }
    }

    /// Sends a ping if it is time to.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.ping.as_mut().poll(cx).is_ready() {
            self.ping.as_mut().reset(Instant::now() + PING_INTERVAL);
            self.controls = 0;
            if self.close.is_some() && self.outgoing.is_empty() {
                encode_ping(&mut self.outgoing);
                let _ = self.poll_outgoing(cx)?;
            }
        }
        Ok(())
    }

    /// Writes the frames that wait for room in the inner stream, and flushes it.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
        }
        // An idle connection holds no buffer.
        self.outgoing = BytesMut::new();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Reads while the driver does not. Ready when the buffer is full, or the peer's data has ended.
    ///
    /// # Errors
    ///
    /// Fails if the stream does, and at a close frame: no reply would be read any more.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ping(cx)?;
        match self.end {
            InputEnd::CloseFrame(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            InputEnd::Open if self.ahead.len() < MAX_AHEAD => {}
            _ => return Poll::Ready(Ok(())),
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        let received = self.poll_receive(cx, &mut ahead, MIN_READ);
        self.ahead = ahead;
        match ready!(received) {
            // An error of TLS concerns later bytes. The move before them still waits for its reply.
            Err(error) if error.raw_os_error().is_none() => self.end = InputEnd::Failed(error),
            Err(error) => return Poll::Ready(Err(error)),
            Ok(()) => {}
        }
        // One read a turn: a peer that sends without a pause takes turns with the other connections of the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> Stream for WebSocketStream<S> {
    const HAS_END_MESSAGE: bool = true;

    fn poll_append(&mut self, cx: &mut Context<'_>, input: &mut BytesMut, limit: usize) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() && matches!(self.end, InputEnd::Open) {
            let mut data = SCRATCH.with_borrow_mut(|Scratch { data, .. }| std::mem::take(data));
            data.clear();
            let received = self.poll_receive(cx, &mut data, limit);
            let len = data.len().min(limit);
            input.extend_from_slice(&data[..len]);
            // Copied, so that the buffer stays with the thread.
            self.ahead.extend_from_slice(&data[len..]);
            SCRATCH.with_borrow_mut(|scratch| scratch.data = data);
            ready!(received)?;
            if len > 0 {
                return Poll::Ready(Ok(len));
            }
            if matches!(self.end, InputEnd::Open) {
                // Control frames, or a part of a frame. A peer that sends only these takes turns with the others.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if !self.ahead.is_empty() {
            let len = self.ahead.len().min(limit);
            input.extend_from_slice(&self.ahead[..len]);
            self.ahead.advance(len);
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(len));
        }
        match std::mem::replace(&mut self.end, InputEnd::Discarding) {
            InputEnd::Failed(error) => Poll::Ready(Err(error)),
            end @ (InputEnd::CloseFrame(_) | InputEnd::Fin) => {
                self.end = end;
                Poll::Ready(Ok(0))
            }
            InputEnd::Open | InputEnd::Discarding => self.inner.poll_append(cx, input, limit),
        }
    }

    /// Reads ahead, so that pings are answered while the peer waits for a reply.
    async fn wait_error(&mut self) -> io::Error {
        loop {
            if let Err(error) = poll_fn(|cx| self.poll_read_ahead(cx)).await {
                return error;
            }
            tokio::select! {
                biased;
                error = self.inner.wait_error() => return error,
                () = self.ping.as_mut() => {}
            }
        }
    }

    fn wait_input(&mut self) -> impl Future<Output = ()> + Send {
        self.inner.wait_input()
    }

    fn has_unread(&self) -> bool {
        !self.ahead.is_empty() || self.inner.has_unread()
    }

    fn send_queue(&self) -> SendQueue {
        self.inner.send_queue()
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.inner.socket()
    }

    fn set_send_timeout(&self, timeout: Duration) {
        self.inner.set_send_timeout(timeout);
    }

    fn reset_on_close(&self) {
        self.inner.reset_on_close();
    }

    fn set_close_reason(&mut self, reason: &CloseReason) {
        let peer_code = if let InputEnd::CloseFrame(code) = self.end { code } else { CloseCode::NORMAL };
        if let Some(close) = &mut self.close {
            *close = close_frame(reason, peer_code);
        }
    }
}

/// Returns the code and the text of the close frame for a close reason. `peer_code` is that of the peer's close frame,
/// which is sent back (RFC 6455, section 5.5.1).
fn close_frame(reason: &CloseReason, peer_code: CloseCode) -> (CloseCode, Cow<'static, str>) {
    let code = match reason {
        CloseReason::PeerClosed => return (peer_code, "".into()),
        CloseReason::IdleTimeout => CloseCode::NORMAL,
        CloseReason::Drained => CloseCode::GOING_AWAY,
        CloseReason::WebSocketFailed(error) => {
            let Some(violation) = Violation::of(error) else { return (CloseCode::PROTOCOL_ERROR, "".into()) };
            return (violation.close_code(), violation.to_string().into());
        }
        // A handler closes a connection whose client does not follow its protocol.
        CloseReason::Finished | CloseReason::RequestTimeout => CloseCode::POLICY_VIOLATION,
        _ => CloseCode::INTERNAL_ERROR,
    };
    (code, reason.label().into())
}

impl<S: Stream> AsyncRead for WebSocketStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut input = BytesMut::new();
        ready!(self.get_mut().poll_append(cx, &mut input, buffer.remaining()))?;
        buffer.put_slice(&input);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for WebSocketStream<S> {
    /// Writes a message. Like TLS, it accepts all bytes, and holds what the inner stream has no room for.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        SCRATCH.with_borrow_mut(|Scratch { frames, .. }| {
            frames.clear();
            encode_binary(bytes, frames);
            if let Poll::Ready(written) = Pin::new(&mut this.inner).poll_write(cx, frames)? {
                frames.advance(written);
            }
            this.outgoing.extend_from_slice(frames);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    /// Sends a close frame and then a FIN.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some((code, text)) = this.close.take() {
            encode_close(code, &text, &mut this.outgoing);
        }
        ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
