//! Connections whose replies are pending.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::duplex;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::breakable::breakable_stream;

const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// A handler that replies to each byte with a byte that the test sends, or with `d` at the deadline and `v` in a drain.
/// The byte `!` closes the connection.
pub(super) struct RelayHandler {
    pub(super) replies: mpsc::UnboundedReceiver<u8>,
    pub(super) reply: Option<u8>,
}

impl Handler for RelayHandler {
    const READ_BYTES: usize = 4;
    const TURN_REPLIES: usize = 4;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        match event {
            Event::ReplyReady => output.put_u8(self.reply.take().unwrap_or(b'd')),
            Event::Shutdown => output.put_u8(b'v'),
            Event::Data | Event::Settled | Event::RequestTimeout | Event::RateTimeout | Event::Push | Event::Eof => {}
        }
        let wait_for = if input.is_empty() {
            WaitFor::Request
        } else if input.get_u8() == b'!' {
            WaitFor::Close
        } else {
            WaitFor::Reply { deadline: Instant::now() + REPLY_TIMEOUT }
        };
        Progress { replies: output.len() as u64, wait_for }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply = task::ready!(self.replies.poll_recv(cx));
        Poll::Ready(())
    }
}

/// A connection with a `RelayHandler`.
struct RelayConnection {
    peer: DuplexStream,
    /// Sends replies to the handler. Closed when the handler is dropped.
    replies: mpsc::UnboundedSender<u8>,
    /// Breaks the stream.
    broken: CancellationToken,
    served: JoinHandle<CloseReason>,
}

fn connect(capacity: usize, shutdown: &Shutdown) -> RelayConnection {
    let (peer, stream, broken) = breakable_stream(capacity);
    let (replies, receiver) = mpsc::unbounded_channel();
    let timeouts = ConnectionTimeouts { request: None, ..timeouts() };
    let handler = RelayHandler { replies: receiver, reply: None };
    let served = tokio::spawn(run(stream, handler, context(timeouts, shutdown)));
    RelayConnection { peer, replies, broken, served }
}

#[tokio::test(start_paused = true)]
async fn replies_are_sent_as_soon_as_they_are_ready_and_in_order() {
    let mut connection = connect(1, &not_triggered());
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(connection.peer);
    let sender = tokio::spawn(async move { write.write_all(&[b'?'; 20]).await });
    for reply in b'a'..b'a' + 20 {
        sleep(SECOND).await;
        connection.replies.send(reply).unwrap();
        assert_eq!(read.read_u8().await.unwrap(), reply);
    }
    assert_eq!(start.elapsed(), 20 * SECOND);
    sender.await.unwrap().unwrap();
    drop(read);
    assert!(matches!((&mut connection.served).await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn the_handler_replies_at_the_deadline_and_the_next_request_starts_then() {
    let mut connection = connect(8, &not_triggered());
    let start = Instant::now();
    connection.peer.write_all(b"??").await.unwrap();
    assert_eq!(read(&mut connection.peer, 1).await, "d");
    assert_eq!(start.elapsed(), REPLY_TIMEOUT);
    assert_eq!(read(&mut connection.peer, 1).await, "d");
    assert_eq!(start.elapsed(), 2 * REPLY_TIMEOUT, "the second request starts after the first reply");
    // The idle timeout counts from the last reply, not from the request before it.
    let idle = Instant::now();
    assert_eq!(read_to_end(&mut connection.peer).await, "");
    assert_eq!(idle.elapsed(), timeouts().idle);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_a_reply_is_pending() {
    let mut connection = connect(100, &not_triggered());
    let mut sent = 0;
    while timeout(SECOND, connection.peer.write_u8(b'?')).await.is_ok_and(|written| written.is_ok()) {
        sent += 1;
    }
    assert_eq!(sent, 100 + RelayHandler::READ_BYTES);
    connection.peer.shutdown().await.unwrap();
    for _ in 0..sent {
        connection.replies.send(b'a').unwrap();
    }
    assert_eq!(read_to_end(&mut connection.peer).await.len(), sent, "all replies are sent before the EOF is handled");
    assert!(matches!(connection.served.await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_connection_error_ends_the_wait_for_a_reply() {
    let mut connection = connect(8, &not_triggered());
    let start = Instant::now();
    connection.peer.write_all(b"????????").await.unwrap();
    sleep(SECOND).await;
    connection.broken.cancel();
    assert!(matches!(connection.served.await.unwrap(), CloseReason::Io(_)));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_before_its_connection_is_closed() {
    let mut connection = connect(8, &not_triggered());
    let start = Instant::now();
    connection.peer.write_all(b"!").await.unwrap();
    connection.replies.closed().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(matches!(connection.served.await.unwrap(), CloseReason::Finished));
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_pending_replies_as_long_as_for_requests() {
    let shutdown = not_triggered();
    let mut connection = connect(1000, &shutdown);
    connection.peer.write_all(&[b'?'; 500]).await.unwrap();
    sleep(SECOND).await;
    shutdown.trigger();
    let start = Instant::now();
    connection.replies.send(b'a').unwrap();
    assert_eq!(read(&mut connection.peer, 1).await, "a");
    assert_eq!(read(&mut connection.peer, 1).await, "v");
    assert_eq!(start.elapsed(), DRAIN_IDLE_GRACE);
    let rest = read_to_end(&mut connection.peer).await;
    assert_eq!(rest, "v".repeat(498));
    // Each wait takes the grace, until the drain is a second old. After one more grace, all others get their reply.
    assert_eq!(start.elapsed(), SECOND + DRAIN_IDLE_GRACE);
    drop(connection.peer);
    assert!(matches!(connection.served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test]
async fn a_drain_aborts_a_connection_with_endless_requests_and_no_ready_reply() {
    let shutdown = Shutdown::new(SECOND / 2);
    shutdown.trigger();
    let start = Instant::now();
    let (_replies, receiver) = mpsc::unbounded_channel();
    let timeouts = ConnectionTimeouts { request: None, ..timeouts() };
    let handler = RelayHandler { replies: receiver, reply: None };
    let served = tokio::spawn(run(EndlessStream::new(b"????"), handler, context(timeouts, &shutdown)));
    let closed = timeout(30 * SECOND, served).await.expect("the drain ends").unwrap();
    assert!(matches!(closed, CloseReason::Aborted), "{closed:?}");
    assert!(start.elapsed() >= SECOND / 3);
}

/// A handler that pushes bytes that the test sends, and replies to each byte with itself. The byte `?` waits for a reply past
/// the shutdown, and `u` has no reply.
struct PushHandler {
    pushed: mpsc::UnboundedReceiver<u8>,
    ready: Option<u8>,
    shutdowns: Arc<AtomicUsize>,
}

impl Handler for PushHandler {
    const READ_BYTES: usize = 4;
    const TURN_REPLIES: usize = 4;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        output.extend(self.ready.take());
        let wait_for = match (event, input.first()) {
            (Event::ReplyReady, _) => {
                output.put_u8(b'r');
                WaitFor::Close
            }
            (Event::Shutdown, _) => {
                self.shutdowns.fetch_add(1, Ordering::Relaxed);
                WaitFor::Reply { deadline: Instant::now() + 2 * SECOND }
            }
            (_, Some(b'?')) => WaitFor::Reply { deadline: Instant::now() + REPLY_TIMEOUT },
            (_, Some(b'u')) => WaitFor::CloseUnknown,
            _ => {
                output.extend_from_slice(input);
                WaitFor::Request
            }
        };
        input.clear();
        Progress { replies: 0, wait_for }
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready = task::ready!(self.pushed.poll_recv(cx));
        Poll::Ready(())
    }
}

struct PushConnection {
    peer: DuplexStream,
    pushes: mpsc::UnboundedSender<u8>,
    shutdowns: Arc<AtomicUsize>,
    served: JoinHandle<CloseReason>,
}

fn connect_push(shutdown: &Shutdown) -> PushConnection {
    let (peer, stream) = duplex(64);
    let (sender, pushed) = mpsc::unbounded_channel();
    let shutdowns = Arc::<AtomicUsize>::default();
    let handler = PushHandler { pushed, ready: None, shutdowns: Arc::clone(&shutdowns) };
    let served = tokio::spawn(run(stream, handler, context(timeouts(), shutdown)));
    PushConnection { peer, pushes: sender, shutdowns, served }
}

#[tokio::test(start_paused = true)]
async fn a_handler_pushes_bytes_while_it_waits_for_requests() {
    let mut connection = connect_push(&Shutdown::new(8 * SECOND));
    for byte in [b'1', b'2'] {
        connection.pushes.send(byte).unwrap();
        assert_eq!(connection.peer.read_u8().await.unwrap(), byte);
        connection.peer.write_all(b"q").await.unwrap();
        assert_eq!(connection.peer.read_u8().await.unwrap(), b'q');
    }
    connection.peer.shutdown().await.unwrap();
    assert!(matches!(connection.served.await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_closes_the_connection_without_a_reply() {
    let mut connection = connect_push(&Shutdown::new(8 * SECOND));
    connection.peer.write_all(b"a").await.unwrap();
    assert_eq!(connection.peer.read_u8().await.unwrap(), b'a');
    connection.peer.write_all(b"u").await.unwrap();
    assert_eq!(connection.peer.read(&mut [0]).await.unwrap(), 0);
    drop(connection.peer);
    assert!(matches!(connection.served.await.unwrap(), CloseReason::OutcomeUnknown));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_still_waits_after_the_shutdown_gets_the_event_once() {
    let shutdown = Shutdown::new(8 * SECOND);
    let mut connection = connect_push(&shutdown);
    connection.peer.write_all(b"?").await.unwrap();
    yield_now().await;
    let started = Instant::now();
    shutdown.trigger();
    assert_eq!(connection.peer.read_u8().await.unwrap(), b'r');
    assert!(started.elapsed() >= 2 * SECOND, "{:?}", started.elapsed());
    assert_eq!(connection.shutdowns.load(Ordering::Relaxed), 1);
    drop(connection.peer);
    assert!(matches!(connection.served.await.unwrap(), CloseReason::Finished));
}
