//! A connection over in-memory streams of a few bytes, under a paused clock.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::server::connection::close::{LINGER, half_close};
use crate::server::connection::handler::Progress;
use crate::server::connection::socket::SocketStream;
use crate::server::connection::timer::DRAIN_IDLE_GRACE;

mod wait_reply;
mod websocket;

const SECOND: Duration = Duration::from_secs(1);

/// A handler that replies to words in capitals. A request is a word that ends with `.`, or with `!`, which also closes
/// the connection. A word that ends with `,` is a request once it has settled.
struct WordHandler;

impl Handler for WordHandler {
    const READ_BYTES: usize = 64;
    const TURN_REPLIES: usize = 64;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        let wait_for = Self::reply(event, input, output);
        let replies = output.iter().filter(|byte| b".,!".contains(byte)).count();
        Progress { replies: replies as u64, wait_for }
    }
}

impl WordHandler {
    fn reply(event: Event, input: &mut BytesMut, output: &mut BytesMut) -> WaitFor {
        if event == Event::RequestTimeout {
            output.extend_from_slice(b"late.");
            return WaitFor::Close;
        }
        let mut reply_to = |input: &mut BytesMut, length| output.extend(input.split_to(length).to_ascii_uppercase());
        while let Some(end) = input.iter().position(|byte| b".!".contains(byte)) {
            let is_last = input[end] == b'!';
            reply_to(input, end + 1);
            if is_last {
                return WaitFor::Close;
            }
        }
        if matches!(event, Event::Eof | Event::Settled) {
            reply_to(input, input.len());
        }
        match input.last() {
            None => WaitFor::Request,
            Some(b',') => WaitFor::Settle,
            Some(_) => WaitFor::MoreData,
        }
    }
}

fn timeouts() -> ConnectionTimeouts {
    ConnectionTimeouts { request: Some(5 * SECOND), idle: 60 * SECOND, write: 4 * SECOND, settle: 2 * SECOND }
}

fn context(timeouts: ConnectionTimeouts, shutdown: &Shutdown) -> Arc<ConnectionContext> {
    Arc::new(ConnectionContext::new(timeouts, Arc::default(), shutdown.clone()))
}

/// Returns the peer's end of a connection whose stream buffers `capacity` bytes each way, and the task that serves it.
fn connect(capacity: usize, shutdown: &Shutdown) -> (DuplexStream, JoinHandle<CloseReason>) {
    let (ours, theirs) = duplex(capacity);
    (ours, tokio::spawn(run(theirs, WordHandler, context(timeouts(), shutdown))))
}

fn not_triggered() -> Shutdown {
    Shutdown::new(8 * SECOND)
}

async fn read(peer: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn read_to_end(peer: &mut DuplexStream) -> String {
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn replies_are_complete_and_in_order_for_any_segmentation() {
    for capacity in [1, 2, 3, 8, 64, 1024] {
        let (peer, served) = connect(capacity, &not_triggered());
        let (mut read, mut write) = tokio::io::split(peer);
        let sender = tokio::spawn(async move {
            write.write_all(&b"one.two.three.".repeat(50)).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut replies = String::new();
        read.read_to_string(&mut replies).await.unwrap();
        assert_eq!(replies, "ONE.TWO.THREE.".repeat(50), "capacity {capacity}");
        sender.await.unwrap();
        assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_close_ends_the_last_request_and_its_reply_is_sent() {
    let (mut peer, served) = connect(8, &not_triggered());
    peer.write_all(b"one.tw").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, "ONE.TW");
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_gets_an_error_at_the_request_deadline_and_is_closed() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &not_triggered());
    assert_eq!(read_to_end(&mut peer).await, "late.");
    assert_eq!(start.elapsed().as_secs(), 5);
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::RequestTimeout));
}

#[tokio::test(start_paused = true)]
async fn single_bytes_do_not_extend_the_request_deadline() {
    let (mut peer, served) = connect(8, &not_triggered());
    peer.write_all(b"one.").await.unwrap();
    assert_eq!(read(&mut peer, 4).await, "ONE.");
    advance(30 * SECOND).await;
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(peer);
    let slow_sender = tokio::spawn(async move {
        for byte in std::iter::repeat_n(b"x", 20) {
            if write.write_all(byte).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
    });
    let mut reply = String::new();
    read.read_to_string(&mut reply).await.unwrap();
    assert_eq!(reply, "late.");
    assert_eq!(start.elapsed().as_secs(), 5);
    slow_sender.abort();
    drop((read, slow_sender.await));
    assert!(matches!(served.await.unwrap(), CloseReason::RequestTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_reply() {
    let (mut peer, served) = connect(8, &not_triggered());
    peer.write_all(b"one.").await.unwrap();
    assert_eq!(read(&mut peer, 4).await, "ONE.");
    let start = Instant::now();
    assert_eq!(read_to_end(&mut peer).await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::IdleTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_settled_request_gets_a_reply() {
    let start = Instant::now();
    let (mut peer, _served) = connect(8, &not_triggered());
    peer.write_all(b"a,").await.unwrap();
    sleep(SECOND).await;
    peer.write_all(b"b,").await.unwrap();
    assert_eq!(read(&mut peer, 4).await, "A,B,");
    assert_eq!(start.elapsed().as_secs(), 3, "two seconds after the last byte");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_closed_after_the_write_timeout() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &not_triggered());
    let sent = async { peer.write_all(&b"word.".repeat(100)).await };
    let (sent, closed) = tokio::join!(sent, served);
    assert!(matches!(closed.unwrap(), CloseReason::WriteTimeout));
    assert_eq!(start.elapsed().as_secs(), 4);
    assert!(sent.is_err(), "nothing more is read from a peer that does not read");
}

#[tokio::test(start_paused = true)]
async fn a_close_discards_data_until_the_peer_closes_too() {
    let (mut peer, served) = connect(8, &not_triggered());
    peer.write_all(b"end!").await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, "END!");
    // The stream buffers eight bytes, so this write completes only if the data is read. Unread data would cause a RST.
    peer.write_all(&[b'x'; 1000]).await.unwrap();
    assert!(!served.is_finished());
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_at_most_for_the_linger_time() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &not_triggered());
    peer.write_all(b"end!").await.unwrap();
    assert!(matches!(served.await.unwrap(), CloseReason::Finished));
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn requests_after_a_close_get_no_reply() {
    let (mut peer, _served) = connect(64, &not_triggered());
    peer.write_all(b"one.end!two.").await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, "ONE.END!");
}

#[tokio::test(start_paused = true)]
async fn a_drain_replies_to_sent_requests_and_closes_idle_connections() {
    let shutdown = not_triggered();
    let (mut idle, idle_served) = connect(8, &shutdown);
    let (mut busy, busy_served) = connect(8, &shutdown);
    idle.write_all(b"one.").await.unwrap();
    assert_eq!(read(&mut idle, 4).await, "ONE.");
    busy.write_all(b"two.").await.unwrap();
    shutdown.trigger();
    let start = Instant::now();
    assert_eq!(read_to_end(&mut busy).await, "TWO.");
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(start.elapsed(), DRAIN_IDLE_GRACE);
    drop((busy, idle));
    assert!(matches!(idle_served.await.unwrap(), CloseReason::Drained));
    assert!(matches!(busy_served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_a_second_for_the_rest_of_a_request() {
    let shutdown = not_triggered();
    let (mut peer, served) = connect(8, &shutdown);
    let (mut slow, slow_served) = connect(8, &shutdown);
    peer.write_all(b"on").await.unwrap();
    slow.write_all(b"tw").await.unwrap();
    sleep(SECOND).await;
    shutdown.trigger();
    sleep(SECOND * 9 / 10).await;
    peer.write_all(b"e.").await.unwrap();
    let start = Instant::now();
    assert_eq!(read_to_end(&mut slow).await, "", "a request that stays incomplete does not delay the drain");
    assert_eq!(start.elapsed(), SECOND / 10);
    assert_eq!(read_to_end(&mut peer).await, "ONE.");
    drop((peer, slow));
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
    assert!(matches!(slow_served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_a_connection_that_always_sends_another_request_after_a_reply() {
    let shutdown = not_triggered();
    let (mut peer, served) = connect(8, &shutdown);
    shutdown.trigger();
    let start = Instant::now();
    let mut replies = 0;
    while peer.write_all(b"one.").await.is_ok() {
        match read_reply_if_any(&mut peer).await.as_str() {
            "ONE." => replies += 1,
            rest => {
                assert_eq!(rest, "", "no part of a reply");
                break;
            }
        }
        sleep(Duration::from_millis(30)).await;
    }
    assert!(replies > 30, "requests get replies until then: {replies}");
    assert!((1..=2).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

/// Reads four bytes, or fewer at the end of the stream.
async fn read_reply_if_any(peer: &mut DuplexStream) -> String {
    let mut text = String::new();
    peer.take(4).read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn a_drain_replies_to_all_sent_requests_even_if_the_replies_are_read_late() {
    let shutdown = Shutdown::new(60 * SECOND);
    // A multiple of a word, so that no word is sent in part.
    let (mut peer, served) = connect(60, &shutdown);
    // Fill both directions, so that the last words are still unread when the drain begins.
    let mut sent = 0;
    while timeout(SECOND / 10, peer.write_all(b"word.")).await.is_ok_and(|written| written.is_ok()) {
        sent += 1;
    }
    shutdown.trigger();
    sleep(2 * SECOND).await;
    let replies = read_to_end(&mut peer).await;
    assert!(replies.len() / 5 >= sent && sent > 10, "sent {sent}, received {}", replies.len() / 5);
    assert!(replies.split_inclusive('.').all(|word| word == "WORD."), "{replies}");
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_just_before_the_final_read_gets_a_reply() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = SocketStream::from(std::os::fd::OwnedFd::from(stream));
    let shutdown = not_triggered();
    let served = tokio::spawn(run(stream, WordHandler, context(timeouts(), &shutdown)));
    shutdown.trigger();
    sleep(DRAIN_IDLE_GRACE).await;
    // At the time of the final read: the runtime has not polled the kernel since.
    std::io::Write::write_all(&mut peer, b"one.").unwrap();
    // The paused clock does not wait for the kernel's acknowledgement of the reply.
    assert!(matches!(served.await.unwrap(), CloseReason::Drained | CloseReason::WriteTimeout));
    let mut reply = String::new();
    std::io::Read::read_to_string(&mut peer, &mut reply).unwrap();
    assert_eq!(reply, "ONE.");
}

#[tokio::test(start_paused = true)]
async fn if_connections_arrive_fast_the_fin_is_awaited_before_the_wait() {
    let shutdown = not_triggered();
    let fast = context(timeouts(), &shutdown);
    fast.arrivals.set_fast(true);
    let (mut peer, stream) = duplex(64);
    peer.write_all(b"one.").await.unwrap();
    let served = tokio::spawn(run(stream, WordHandler, Arc::clone(&fast)));
    let mut reply = [0; 4];
    peer.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"ONE.");
    drop(peer);
    tokio::task::yield_now().await;
    assert!(!served.is_finished(), "the end is noticed later");
    let replied = Instant::now();
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
    assert_eq!(replied.elapsed(), SECOND_LOOK);

    // A connection with more requests waits once.
    let (mut peer, stream) = duplex(64);
    let served = tokio::spawn(run(stream, WordHandler, fast));
    let mut waits = Vec::new();
    for _ in 0..3 {
        let sent = Instant::now();
        peer.write_all(b"one.").await.unwrap();
        peer.read_exact(&mut reply).await.unwrap();
        waits.push(sent.elapsed());
    }
    assert_eq!(waits, [Duration::ZERO, SECOND_LOOK, Duration::ZERO]);
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
}

/// A stream whose peer has always sent more data already. A `DuplexStream` pauses whenever it is empty. Tests with this
/// stream need real time, because a paused clock does not advance while a task is ready.
struct EndlessStream {
    data: &'static [u8],
    reads: Arc<AtomicUsize>,
}

impl EndlessStream {
    fn new(data: &'static [u8]) -> Self {
        Self { data, reads: Arc::default() }
    }
}

impl AsyncRead for EndlessStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let coop = task::ready!(tokio::task::coop::poll_proceed(cx));
        coop.made_progress();
        self.reads.fetch_add(1, Ordering::Relaxed);
        while into.remaining() >= self.data.len() {
            into.put_slice(self.data);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EndlessStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for EndlessStream {
    fn reset_on_close(&self) {}

    async fn wait_error(&mut self) -> io::Error {
        std::future::pending().await
    }
}

async fn serve_endless(
    data: &'static [u8],
    timeouts: ConnectionTimeouts,
    shutdown: Shutdown,
) -> (CloseReason, Duration) {
    let start = Instant::now();
    let served = tokio::spawn(run(EndlessStream::new(data), WordHandler, context(timeouts, &shutdown)));
    let closed = timeout(30 * SECOND, served).await.expect("endless data does not stop the timers");
    (closed.unwrap(), start.elapsed())
}

#[tokio::test]
async fn a_close_ends_in_time_even_if_the_peer_never_stops_sending() {
    let (closed, took) = serve_endless(b"end!", timeouts(), not_triggered()).await;
    assert!(matches!(closed, CloseReason::Finished));
    assert!(took >= LINGER, "{took:?}");
}

#[tokio::test]
async fn a_close_lets_other_tasks_run_after_each_discarded_chunk() {
    let mut endless = EndlessStream::new(b"more.");
    let reads = Arc::clone(&endless.reads);
    let closed = tokio::spawn(async move { half_close(&mut endless, 60 * SECOND).await });
    for polls in 1..=1000 {
        yield_now().await;
        let reads = reads.load(Ordering::Relaxed);
        assert!(reads <= 2 * polls, "{reads} reads in {polls} polls");
    }
    assert!(reads.load(Ordering::Relaxed) >= 500);
    closed.abort();
}

#[tokio::test]
async fn a_drain_aborts_a_connection_that_never_runs_out_of_requests() {
    let shutdown = Shutdown::new(SECOND / 2);
    shutdown.trigger();
    let (closed, took) = serve_endless(b"more.", timeouts(), shutdown).await;
    assert!(matches!(closed, CloseReason::Aborted), "{closed:?}");
    assert!(took >= SECOND / 3, "{took:?}");
}

/// A handler that counts its turns and leaves half of its input for the next turn.
struct TurnHandler(Arc<AtomicUsize>);

impl Handler for TurnHandler {
    const READ_BYTES: usize = 64;
    const TURN_REPLIES: usize = 64;

    fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        self.0.fetch_add(1, Ordering::Relaxed);
        output.unsplit(input.split_to(input.len().div_ceil(2)));
        let wait_for = if input.is_empty() { WaitFor::Request } else { WaitFor::Turn };
        Progress { replies: 1, wait_for }
    }
}

#[tokio::test]
async fn a_connection_that_always_has_requests_lets_other_tasks_run_after_each_turn() {
    let turns = Arc::<AtomicUsize>::default();
    let endless = EndlessStream::new(b"more.");
    let served = tokio::spawn(run(endless, TurnHandler(Arc::clone(&turns)), context(timeouts(), &not_triggered())));
    for polls in 1..=1000 {
        yield_now().await;
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns <= 2 * polls, "{turns} turns in {polls} polls");
    }
    assert!(turns.load(Ordering::Relaxed) >= 500);
    served.abort();
}

#[tokio::test(start_paused = true)]
async fn requests_that_a_turn_leaves_are_handled_before_more_is_read() {
    let (mut peer, theirs) = duplex(256);
    let turns = Arc::<AtomicUsize>::default();
    let handler = TurnHandler(Arc::clone(&turns));
    let served = tokio::spawn(run(theirs, handler, context(timeouts(), &not_triggered())));
    let sent: String = ('a'..='z').cycle().take(100).collect();
    peer.write_all(sent.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, sent);
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
    // 64, 36 and 0 bytes are read; each read with data is halved until nothing is left.
    assert_eq!(turns.load(Ordering::Relaxed), 7 + 6 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_aborts_a_connection_with_unread_replies_at_its_deadline() {
    // The deadline is a tenth of a second before the end.
    let shutdown = Shutdown::new(2 * SECOND + SECOND / 10);
    let (mut unread, served) = connect(8, &shutdown);
    let writing = tokio::spawn(async move { unread.write_all(&b"word.".repeat(100)).await });
    sleep(SECOND).await;
    shutdown.trigger();
    let start = Instant::now();
    assert!(matches!(served.await.unwrap(), CloseReason::Aborted));
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert!(writing.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_owns_no_more_than_its_unconsumed_bytes() {
    let (mut peer, stream) = duplex(64);
    let mut io = ConnectionIo::new(stream, WordHandler);
    peer.write_all(b"one.tw").await.unwrap();
    poll_fn(|cx| io.poll_data(cx)).await.unwrap();
    assert_eq!(io.unconsumed.as_deref(), Some(&b"tw"[..]), "only the part that has arrived");
    peer.write_all(b"o.").await.unwrap();
    poll_fn(|cx| io.poll_data(cx)).await.unwrap();
    assert_eq!((io.unconsumed, io.unsent), (None, None));
}
