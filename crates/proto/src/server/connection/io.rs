//! The I/O of a connection: reads, calls the handler and writes, all within one poll.
//!
//! It depends on `handler`, `stream`, `close`, `close_reason`, the shutdown, metrics and the log of slow replies. The
//! buffers belong to the thread, so an idle connection owns no buffer. A connection owns bytes only if they must be
//! kept: requests of the last read that are incomplete or wait for a reply, or replies that its peer has not read.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, sleep};

use super::close::close;
use super::close_reason::CloseReason;
use super::handler::{Event, Handler, Progress};
use super::stream::{SendQueue, Stream};
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::observe::connections::table::CONNECTIONS;
use crate::server::observe::metrics::latency::LatencyHistogram;
use crate::server::observe::slow_log::{SLOW_LOG, SlowReply};

/// The buffers of a thread. Each use ends within one poll, so a thread needs one of each.
pub(super) struct Scratch {
    pub(super) input: BytesMut,
    output: BytesMut,
    /// The address of the connection that had the last turn, and the number of its turns in a row.
    last_turns: (usize, usize),
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { input: BytesMut::new(), output: BytesMut::new(), last_turns: (0, 0) });
}

impl Scratch {
    /// Clears the buffers and copies the `pending` bytes of earlier reads to the input.
    fn load(&mut self, pending: Option<&[u8]>) {
        self.input.clear();
        self.output.clear();
        self.input.extend_from_slice(pending.unwrap_or_default());
    }
}

/// An event and the result of handling it.
#[derive(Clone, Copy)]
pub(super) struct Handled {
    pub(super) event: Event,
    pub(super) started: Instant,
    /// Whether the handler wrote anything: replies, or the line end of one.
    pub(super) wrote: bool,
    /// Whether the handler consumed input. If so, the rest belongs to a new request.
    pub(super) consumed: bool,
    pub(super) progress: Progress,
    /// Whether the connection had to wait for the event. If not, it may always have more work to do.
    pub(super) waited: bool,
    /// The number of turns that the read took: 1, or more if TLS had much to do. Messages such as `KeyUpdate` cost it far
    /// more than the data between them.
    pub(super) read_turns: u8,
    /// The time in which the socket had no room for the output.
    pub(super) blocked: Duration,
}

/// The duration of a turn of the read.
const READ_TURN: Duration = Duration::from_micros(20);
/// Maximum turns of one read: more than all messages in a read can take, and a limit on a wrong measurement, for example
/// because the thread was not running.
const MAX_READ_TURNS: u8 = 64;

impl Handled {
    /// Counts the durations of its replies, which were written `duration` after it started. `last` is when the previous
    /// event was handled.
    pub(super) fn observe(&self, latency: &LatencyHistogram, last: Instant, duration: Duration) {
        let mut immediate = self.progress.replies;
        if self.is_delayed() {
            // The first reply is to a request that has waited since `last`.
            latency.observe(self.started - last + duration, self.progress.replies.min(1));
            immediate = immediate.saturating_sub(1);
        }
        if immediate > 0 {
            latency.observe(duration, immediate);
        }
    }

    /// Whether the first reply is to a request that was there at the previous event.
    fn is_delayed(&self) -> bool {
        match self.event {
            Event::Data | Event::Eof | Event::Push => false,
            Event::Settled | Event::RequestTimeout | Event::RateTimeout | Event::ReplyReady | Event::Shutdown => true,
        }
    }
}

/// The stream, the handler, and the bytes between them.
pub(super) struct ConnectionIo<S, H> {
    stream: S,
    handler: H,
    /// Input that is not consumed: a part of a request, or requests that follow a request with a pending reply.
    pub(super) unconsumed: Option<Box<[u8]>>,
    /// Output that the socket had no room for. Boxed twice, because few connections have any, and a pointer to a slice
    /// takes twice as much memory as this one.
    pub(super) unsent: Option<Box<Box<[u8]>>>,
}

impl<S, H> ConnectionIo<S, H>
where
    S: Stream,
    H: Handler,
{
    pub(super) fn new(stream: S, handler: H) -> Self {
        Self { stream, handler, unconsumed: None, unsent: None }
    }

    /// Waits for data, or for something to send, and handles it. Returns `None` when the shutdown is `triggered` or the `sleep` has elapsed.
    pub(super) fn wait_data(
        &mut self,
        mut triggered: Pin<&mut (impl Future<Output = ()> + Send)>,
        mut sleep: Pin<&mut Sleep>,
    ) -> impl Future<Output = io::Result<Option<Handled>>> + Send {
        let mut waited = false;
        poll_fn(move |cx| {
            if let Poll::Ready(handled) = self.poll_data(cx) {
                return Poll::Ready(handled.map(|handled| Some(Handled { waited, ..handled })));
            }
            waited = true;
            if self.handler.poll_push(cx).is_ready() {
                return self.poll_deliver(cx, Event::Push);
            }
            if triggered.as_mut().poll(cx).is_ready() || sleep.as_mut().poll(cx).is_ready() {
                Poll::Ready(Ok(None))
            } else {
                Poll::Pending
            }
        })
    }

    /// Waits for the pending reply and handles it. Otherwise like [`wait_data`](Self::wait_data).
    ///
    /// Nothing is read in the meantime: pipelined requests stay in the socket. A reset ends the wait.
    /// Boxed, because most services never wait for a reply.
    pub(super) fn wait_reply<'a>(
        &'a mut self,
        triggered: Pin<&'a mut (impl Future<Output = ()> + Send)>,
        sleep: Pin<&'a mut Sleep>,
    ) -> BoxFuture<'a, io::Result<Option<Handled>>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.handler.poll_reply(cx)) => {}
                error = self.stream.wait_error() => return Err(error),
                () = triggered => return Ok(None),
                () = sleep => return Ok(None),
            }
            self.deliver(Event::ReplyReady).await
        })
    }

    /// Handles data that has arrived. Returns `None` if no data has.
    pub(super) fn read_now(&mut self) -> impl Future<Output = io::Result<Option<Handled>>> + Send {
        poll_fn(|cx| match self.poll_data(cx) {
            Poll::Ready(handled) => Poll::Ready(handled.map(Some)),
            // The kernel has data that the runtime has not reported yet. The runtime then wakes this task.
            Poll::Pending if self.stream.has_unread() => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(None)),
        })
    }

    /// Handles an event that no read or write caused.
    pub(super) fn deliver(&mut self, event: Event) -> impl Future<Output = io::Result<Option<Handled>>> + Send {
        poll_fn(move |cx| self.poll_deliver(cx, event))
    }

    /// Handles an event. Always ready.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, event: Event) -> Poll<io::Result<Option<Handled>>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.load(self.unconsumed.as_deref());
            Poll::Ready(self.handle(cx, event, scratch).map(Some))
        })
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Handled>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.load(self.unconsumed.as_deref());
            let limit = self.handler.read_bytes();
            // Only TLS can take long. A stream without an end message is not TLS.
            let began = S::HAS_END_MESSAGE.then(Instant::now);
            let read = task::ready!(self.stream.poll_append(cx, &mut scratch.input, limit))?;
            let event = if read == 0 { Event::Eof } else { Event::Data };
            let handled = self.handle(cx, event, scratch)?;
            let read_turns = began.map_or(1, |began| {
                let turns = (handled.started - began).as_nanos() / READ_TURN.as_nanos();
                u8::try_from(turns).unwrap_or(MAX_READ_TURNS).clamp(1, MAX_READ_TURNS)
            });
            Poll::Ready(Ok(Handled { read_turns, ..handled }))
        })
    }

    /// Calls the handler, and writes its replies as far as the socket has room.
    fn handle(&mut self, cx: &mut Context<'_>, event: Event, scratch: &mut Scratch) -> io::Result<Handled> {
        let Scratch { input, output, last_turns } = scratch;
        let (started, len_before) = (Instant::now(), input.len());
        // Short turns let others go first, but each takes a write and a look at the kernel's events. So the turns become
        // longer while no other connection of this thread has one.
        let this = ptr::from_ref(self).addr();
        let turns = if last_turns.0 == this { last_turns.1.saturating_add(1) } else { 1 };
        *last_turns = (this, turns);
        let progress = self.handler.handle(event, input, output, H::TURN_REPLIES.saturating_mul(turns));
        let (wrote, consumed) = (!output.is_empty(), input.len() < len_before);
        self.unconsumed = to_boxed(input);
        while !output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, output)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => output.advance(written),
                Poll::Pending => {
                    self.unsent = to_boxed(output).map(Box::new);
                    break;
                }
            }
        }
        // TLS can hold encrypted bytes that the socket had no room for.
        if self.unsent.is_none() && Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
            self.unsent = Some(Box::default());
        }
        Ok(Handled { event, started, wrote, consumed, progress, waited: true, read_turns: 1, blocked: Duration::ZERO })
    }

    /// Writes the replies that the socket had no room for and flushes the stream, while the peer takes any within each
    /// `timeout`. Returns `handled`, so that the caller need not store it in the meantime. Nothing is read: a peer that
    /// does not read its replies must not cause more of them.
    pub(super) fn flush<'a>(
        &'a mut self,
        unsent: Box<Box<[u8]>>,
        handled: Handled,
        timeout: Duration,
        shutdown: &'a Shutdown,
    ) -> BoxFuture<'a, Result<Handled, CloseReason>> {
        Box::pin(async move {
            let (mut rest, blocked_at) = (&unsent[..], Instant::now());
            loop {
                let acknowledged = self.stream.send_queue().acknowledged;
                let write_or_flush = async {
                    if rest.is_empty() {
                        self.stream.flush().await.map(|()| None)
                    } else {
                        self.stream.write(rest).await.map(Some)
                    }
                };
                tokio::select! {
                    biased;
                    written = write_or_flush => match written {
                        Ok(None) => return Ok(Handled { blocked: blocked_at.elapsed(), ..handled }),
                        Ok(Some(0)) => return Err(CloseReason::Io(io::ErrorKind::WriteZero.into())),
                        Ok(Some(written)) => rest = &rest[written..],
                        Err(error) => return Err(CloseReason::Io(error)),
                    },
                    // A slow peer can take some of the replies without making enough room for more.
                    () = sleep(timeout) => if self.stream.send_queue().acknowledged == acknowledged {
                        // An ordinary close would keep the unread replies in the kernel for minutes.
                        self.stream.reset_on_close();
                        return Err(CloseReason::WriteTimeout);
                    },
                    () = shutdown.deadline_passed() => return Err(CloseReason::Aborted),
                }
            }
        })
    }

    /// Records the replies of `handled`, which were written `duration` after it started, if they are among the slowest.
    /// `last` is when the previous event was handled.
    pub(super) fn log_slow(&self, handled: &Handled, last: Instant, duration: Duration) {
        if SLOW_LOG.is_slow(duration) && handled.progress.replies > 0 {
            self.record_slow(handled, last, duration);
        }
    }

    #[cold]
    fn record_slow(&self, handled: &Handled, last: Instant, duration: Duration) {
        let Some(operation) = self.handler.operation() else { return };
        let socket = self.stream.socket();
        let recorded = socket.and_then(|socket| CONNECTIONS.find(socket.as_raw_fd()));
        let details = recorded.as_ref().and_then(|recorded| CONNECTIONS.details(recorded));
        let address = || SockRef::from(&socket?).peer_addr().ok()?.as_socket();
        SLOW_LOG.record(SlowReply {
            time: SystemTime::now(),
            client: details.and_then(|details| details.proxied_client).or_else(address),
            endpoint: recorded.map(|recorded| Arc::clone(&recorded.endpoint.name)),
            operation,
            waited: if handled.is_delayed() { handled.started - last } else { Duration::ZERO },
            handler: duration.saturating_sub(handled.blocked),
            write: handled.blocked,
        });
    }

    /// Returns the state of the replies that were written and that the peer has not acknowledged.
    pub(super) fn send_queue(&self) -> SendQueue {
        self.stream.send_queue()
    }

    /// Makes the close a RST, which discards the replies that the peer has not taken.
    pub(super) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// Drops the handler, then closes the stream. Returns `reason`, or that the peer has not taken its replies.
    pub(super) fn close(
        self,
        reason: CloseReason,
        write_timeout: Duration,
        shutdown: &Shutdown,
    ) -> BoxFuture<'_, CloseReason> {
        let Self { mut stream, handler, .. } = self;
        // Drop it before the close, which takes time: other connections may wait until this handler is gone.
        drop(handler);
        Box::pin(async move {
            stream.set_close_reason(&reason);
            if close(&mut stream, write_timeout, shutdown).await { reason } else { CloseReason::WriteTimeout }
        })
    }
}

/// Copies the rest of a thread's buffer for the connection to own.
fn to_boxed(bytes: &[u8]) -> Option<Box<[u8]>> {
    (!bytes.is_empty()).then(|| bytes.into())
}
