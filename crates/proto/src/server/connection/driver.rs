//! One connection, from its first byte to a close that loses nothing.
//!
//! [`run`] carries bytes between a stream and a [`Conversation`], which knows of no I/O. Reading, answering and writing
//! happen within one poll, in buffers that belong to the thread. A connection that waits owns no buffer: at most it
//! owns the requests of one read that wait for an answer or have come in part, or the answers that its peer has not
//! taken.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use futures::future::{BoxFuture, OptionFuture};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::io::poll_read_buf;

use crate::server::connection::close_reason::Closed;
use crate::server::connection::handler::{self, Arrival, Conversation, Next};
use crate::server::connection::metrics::Connections;
use crate::server::connection::stream::Stream;
use crate::server::connection::timer::{Deadlines, Expiry, Watch};
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::observe::metrics::durations::Durations;

/// A close waits so long for the peer's own before it lets go. As long as the peer may still send, letting go could
/// answer its bytes with a reset, and a reset eats the reply that is still on its way.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read at once of bytes that nobody will look at.
const DISCARD_BYTES: usize = 16 * 1024;

/// The buffers of a thread. They are used within one poll alone, so a thread needs no more than one of each.
struct Scratch {
    input: BytesMut,
    output: BytesMut,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { input: BytesMut::new(), output: BytesMut::new() });
}

/// Serves one connection until it ends.
///
/// An answer is not flushed: a stream that buffers what is written is not for this. How long each took, from when all
/// that it needs was there, is counted in `connections`.
///
/// What a connection holds while it waits is this future, so it is kept small. What it is given is used where it is,
/// since what an `async fn` is given and moves has its place twice; what is not needed after a wait is in a block of its
/// own, since it has its place until the end of that; and what few come to need is in a box.
pub fn run<S, C>(
    stream: S,
    conversation: C,
    deadlines: Arc<Deadlines>,
    connections: Arc<Connections>,
    shutdown: Shutdown,
) -> impl Future<Output = Closed> + Send + use<S, C>
where
    S: Stream,
    C: Conversation + 'static,
{
    let mut exchange = Exchange::new(stream, conversation);
    let mut watch = Watch::new(&deadlines, Instant::now());
    async move {
        // Most deadlines move further off before they are reached, so the alarm is left as it is until it rings too
        // early; only a nearer deadline sets it at once.
        let mut alarm = pin!(sleep_until(watch.next(&deadlines, &shutdown).0));
        // In a box, for which there is room in the gap behind the task: the allocator rounds that one up.
        let mut shutdown_begun = Some(Box::pin(shutdown.begun()));
        let (mut rung, mut found_more) = (false, false);
        let closed = loop {
            let due = {
                let (at, expiry) = watch.next(&deadlines, &shutdown);
                let now = if rung { Instant::now() } else { watch.last() };
                // Not what is due, since it would ring at once, and the yield below would not let anybody else go first.
                if now < at && (rung || at < alarm.deadline()) {
                    alarm.as_mut().reset(at);
                }
                (now >= at).then_some(expiry)
            };
            rung = false;
            let (mut told, mut last_look) = (None, false);
            match due {
                None => {}
                Some(Expiry::Settled) => told = Some(Arrival::Silence),
                Some(Expiry::Request) => told = Some(Arrival::Deadline),
                Some(Expiry::Due) => told = Some(Arrival::Answer),
                Some(Expiry::Idle) => break Closed::Idle,
                Some(Expiry::GivenUp | Expiry::Drained) if found_more && shutdown.is_past_deadline() => {
                    return Closed::Cut;
                }
                Some(Expiry::GivenUp) => told = Some(Arrival::Drain),
                Some(Expiry::Drained) => {
                    // What has been sent counts as asked. The runtime hears of it when this task is out of its way.
                    yield_now().await;
                    last_look = true;
                }
                Some(Expiry::Cut) => return Closed::Cut,
            }
            let turn = {
                let begun = shutdown_begun.as_mut().map(Pin::as_mut);
                let event = if watch.awaits_answer() && told.is_none() {
                    exchange.answer_awaited(begun, alarm.as_mut()).await
                } else {
                    exchange.turn(told, last_look, begun, alarm.as_mut()).await
                };
                match event {
                    Event::Turn(Ok(turn)) => turn,
                    Event::Turn(Err(error)) => return Closed::Failed(error),
                    Event::NothingMore => break Closed::Drained,
                    Event::Shutdown => {
                        shutdown_begun = None;
                        continue;
                    }
                    Event::Alarm => {
                        rung = true;
                        continue;
                    }
                }
            };
            let turn = match exchange.unsent.take() {
                None => turn,
                Some(unsent) => match exchange.write(unsent, turn, deadlines.write, &shutdown).await {
                    Ok(turn) => turn,
                    Err(closed) => return closed,
                },
            };
            let now = Instant::now();
            turn.observe(&connections.durations, watch.last(), now);
            match (turn.arrival, turn.next) {
                (Arrival::End, _) => return Closed::ByPeer,
                (Arrival::Deadline, _) => break Closed::TimedOut,
                (_, Next::Close) => break Closed::Over,
                _ => {}
            }
            found_more = last_look;
            watch.note(turn.spoke, turn.used, turn.next, &deadlines, now);
        };
        exchange.close(closed, &shutdown).await
    }
}

/// What a connection waits for.
enum Event {
    /// There was something to say or to hear.
    Turn(io::Result<Turn>),
    /// There was not, and nobody wanted to wait for it.
    NothingMore,
    /// The shutdown has begun.
    Shutdown,
    /// The alarm has rung.
    Alarm,
}

/// What a turn came to.
#[derive(Clone, Copy)]
struct Turn {
    arrival: Arrival,
    began: Instant,
    /// Whether anything was said.
    spoke: bool,
    /// Whether any bytes were used up.
    used: bool,
    /// How many requests were answered.
    answered: u64,
    next: Next,
}

impl Turn {
    /// Counts how long its answers took that are written `now`, where the turn before ended at `last`.
    fn observe(self, durations: &Durations, last: Instant, now: Instant) {
        let at_once = match self.arrival {
            Arrival::Bytes | Arrival::End => self.answered,
            // The first answer is to what has waited since then.
            Arrival::Silence | Arrival::Deadline | Arrival::Answer | Arrival::Drain => {
                durations.observe(now - last, self.answered.min(1));
                self.answered.saturating_sub(1)
            }
        };
        if at_once > 0 {
            durations.observe(now - self.began, at_once);
        }
    }
}

struct Exchange<S, C> {
    stream: S,
    conversation: C,
    /// What has come and is not answered: a part of a request, or those behind one whose answer is awaited. In a box, as
    /// most connections have nothing to keep most of the time.
    pending: Option<Box<[u8]>>,
    /// The part of an answer that the socket had no room for.
    unsent: Option<Box<[u8]>>,
}

impl<S, C> Exchange<S, C>
where
    S: Stream,
    C: Conversation,
{
    fn new(stream: S, conversation: C) -> Self {
        Self { stream, conversation, pending: None, unsent: None }
    }

    /// Takes one turn, about what the conversation is `told` or else about what the stream delivers, unless something else
    /// happens while it waits for that. At the `last_look` it does not wait.
    fn turn(
        &mut self,
        told: Option<Arrival>,
        last_look: bool,
        mut begun: Option<Pin<&mut (impl Future<Output = ()> + Send)>>,
        mut alarm: Pin<&mut Sleep>,
    ) -> impl Future<Output = Event> + Send {
        poll_fn(move |cx| {
            if let Poll::Ready(turn) = self.poll_turn(cx, told) {
                Poll::Ready(Event::Turn(turn))
            } else if last_look {
                Poll::Ready(Event::NothingMore)
            } else if begun.as_mut().is_some_and(|begun| begun.as_mut().poll(cx).is_ready()) {
                Poll::Ready(Event::Shutdown)
            } else {
                alarm.as_mut().poll(cx).map(|()| Event::Alarm)
            }
        })
    }

    /// As [`turn`](Self::turn), about the answer that comes from elsewhere. Nothing is read meanwhile: what a peer has
    /// sent ahead waits in its socket, and a reset is noticed there.
    fn answer_awaited<'a>(
        &'a mut self,
        begun: Option<Pin<&'a mut (impl Future<Output = ()> + Send)>>,
        alarm: Pin<&'a mut Sleep>,
    ) -> BoxFuture<'a, Event> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.conversation.poll_answer(cx)) => {}
                error = self.stream.broken() => return Event::Turn(Err(error)),
                Some(()) = OptionFuture::from(begun) => return Event::Shutdown,
                () = alarm => return Event::Alarm,
            }
            Event::Turn(poll_fn(|cx| self.poll_turn(cx, Some(Arrival::Answer))).await)
        })
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, told: Option<Arrival>) -> Poll<io::Result<Turn>> {
        SCRATCH.with_borrow_mut(|Scratch { input, output }| {
            input.clear();
            output.clear();
            input.extend_from_slice(self.pending.as_deref().unwrap_or_default());
            let arrival = match told {
                Some(arrival) => arrival,
                None => match task::ready!(poll_read(&mut self.stream, cx, input, C::READ_BYTES))? {
                    0 => Arrival::End,
                    _ => Arrival::Bytes,
                },
            };
            let (began, given) = (Instant::now(), input.len());
            let handler::Turn { answered, next } = self.conversation.turn(arrival, input, output);
            let (spoke, used) = (!output.is_empty(), input.len() < given);
            self.pending = kept(input);
            while !output.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, output)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => output.advance(written),
                    Poll::Pending => {
                        self.unsent = kept(output);
                        break;
                    }
                }
            }
            Poll::Ready(Ok(Turn { arrival, began, spoke, used, answered, next }))
        })
    }

    /// Writes what the socket had no room for at the end of a `turn`, and gives the turn back, which nobody has to hold
    /// meanwhile. Nothing is read: a peer that does not take its answers is given no more of them.
    fn write<'a>(
        &'a mut self,
        unsent: Box<[u8]>,
        turn: Turn,
        limit: Duration,
        shutdown: &'a Shutdown,
    ) -> BoxFuture<'a, Result<Turn, Closed>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                written = self.stream.write_all(&unsent) => written.map(|()| turn).map_err(Closed::Failed),
                () = sleep(limit) => {
                    // What it has not taken would stay in the kernel for minutes after an ordinary close.
                    self.stream.discard_unsent();
                    Err(Closed::NotRead)
                }
                () = shutdown.deadline_passed() => Err(Closed::Cut),
            }
        })
    }

    /// Ends the conversation, and with it what the connection has to do with others, and then closes the stream.
    fn close(self, closed: Closed, shutdown: &Shutdown) -> BoxFuture<'_, Closed> {
        let Self { mut stream, conversation, .. } = self;
        // At once, since others may be waiting to hear that it is over.
        drop(conversation);
        Box::pin(async move {
            close(&mut stream, LINGER, shutdown).await;
            closed
        })
    }
}

/// What is left of a thread's buffer and has to be there later.
fn kept(bytes: &[u8]) -> Option<Box<[u8]>> {
    (!bytes.is_empty()).then(|| bytes.into())
}

/// Closes a stream from this side: ends what is written to it, then takes and drops what the peer still sends, until
/// the peer closes too or `linger` is over.
pub(crate) async fn close<S>(stream: &mut S, linger: Duration, shutdown: &Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let last_words = async {
        stream.shutdown().await?;
        while poll_fn(|cx| poll_discard(stream, cx)).await? > 0 {}
        io::Result::Ok(())
    };
    // How this ends does not matter: the connection is over either way. It is `timeout` that keeps the time, since that
    // rings even if there is always more to read; a `sleep` beside it would not be asked then.
    tokio::select! {
        biased;
        _ = timeout(linger, last_words) => {}
        () = shutdown.deadline_passed() => {}
    }
}

/// As [`close`], but takes no more than what a new socket holds (128 KiB, tcp(7), `tcp_rmem`) and waits for nothing that
/// is not there.
pub(crate) async fn close_at_once<S>(stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _ = stream.shutdown().await;
    for _ in 0..(128 * 1024 / DISCARD_BYTES) {
        if !matches!(poll_fn(|cx| poll_discard(stream, cx)).await, Ok(1..)) {
            break;
        }
    }
}

fn poll_discard<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.input.clear();
        poll_read(stream, cx, &mut scratch.input, DISCARD_BYTES)
    })
}

/// Reads up to `most` bytes behind what `input` holds.
fn poll_read<S>(stream: &mut S, cx: &mut Context<'_>, input: &mut BytesMut, most: usize) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    input.reserve(most);
    poll_read_buf(Pin::new(stream), cx, &mut input.limit(most))
}

#[cfg(test)]
mod tests;
