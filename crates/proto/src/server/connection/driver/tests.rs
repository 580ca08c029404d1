//! A connection over in-memory streams of a few bytes, under a paused clock.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{self, Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::server::connection::close::LINGER;
use crate::server::connection::handler::Progress;
use crate::server::connection::timer::DRAIN_IDLE_GRACE;

mod awaited;

const SECOND: Duration = Duration::from_secs(1);

/// A handler for these tests: words that end in a point are answered in capitals, `!` ends it, and a word that
/// ends in a comma is whole once it has settled.
struct Words;

impl Handler for Words {
    const READ_BYTES: usize = 64;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        let wait_for = Self::say(event, input, output);
        let answered = output.iter().filter(|byte| b".,!".contains(byte)).count();
        Progress { replies: answered as u64, wait_for }
    }
}

impl Words {
    fn say(event: Event, input: &mut BytesMut, output: &mut BytesMut) -> WaitFor {
        if event == Event::RequestTimeout {
            output.extend_from_slice(b"late.");
            return WaitFor::Close;
        }
        let mut take = |input: &mut BytesMut, length| output.extend(input.split_to(length).to_ascii_uppercase());
        while let Some(end) = input.iter().position(|byte| b".!".contains(byte)) {
            let last = input[end] == b'!';
            take(input, end + 1);
            if last {
                return WaitFor::Close;
            }
        }
        if matches!(event, Event::Eof | Event::Settled) {
            take(input, input.len());
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

/// The peer's end of a connection that holds `room` bytes each way, and what will become of it.
fn connect(room: usize, shutdown: &Shutdown) -> (DuplexStream, JoinHandle<CloseReason>) {
    let (ours, theirs) = duplex(room);
    (ours, tokio::spawn(run(theirs, Words, timeouts().into(), Arc::default(), shutdown.clone())))
}

fn running() -> Shutdown {
    Shutdown::new(8 * SECOND)
}

async fn hear(peer: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn hear_to_the_end(peer: &mut DuplexStream) -> String {
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn answers_are_whole_and_in_order_however_the_stream_cuts_them() {
    for room in [1, 2, 3, 8, 64, 1024] {
        let (peer, served) = connect(room, &running());
        let (mut read, mut write) = tokio::io::split(peer);
        let asking = tokio::spawn(async move {
            write.write_all(&b"one.two.three.".repeat(50)).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut answers = String::new();
        read.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers, "ONE.TWO.THREE.".repeat(50), "room for {room}");
        asking.await.unwrap();
        assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
    }
}

#[tokio::test(start_paused = true)]
async fn half_closing_ends_the_request_and_its_answer_still_comes() {
    let (mut peer, served) = connect(8, &running());
    peer.write_all(b"one.tw").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(hear_to_the_end(&mut peer).await, "ONE.TW");
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up_at_the_request_deadline_with_a_word() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &running());
    assert_eq!(hear_to_the_end(&mut peer).await, "late.");
    assert_eq!(start.elapsed().as_secs(), 5);
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::RequestTimeout));
}

#[tokio::test(start_paused = true)]
async fn dribbling_does_not_stretch_the_deadline_of_any_request() {
    let (mut peer, served) = connect(8, &running());
    peer.write_all(b"one.").await.unwrap();
    assert_eq!(hear(&mut peer, 4).await, "ONE.");
    advance(30 * SECOND).await;
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(peer);
    let dribbling = tokio::spawn(async move {
        for byte in std::iter::repeat_n(b"x", 20) {
            if write.write_all(byte).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
    });
    let mut last = String::new();
    read.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "late.");
    assert_eq!(start.elapsed().as_secs(), 5);
    dribbling.abort();
    drop((read, dribbling.await));
    assert!(matches!(served.await.unwrap(), CloseReason::RequestTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let (mut peer, served) = connect(8, &running());
    peer.write_all(b"one.").await.unwrap();
    assert_eq!(hear(&mut peer, 4).await, "ONE.");
    let start = Instant::now();
    assert_eq!(hear_to_the_end(&mut peer).await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn what_has_settled_is_answered() {
    let start = Instant::now();
    let (mut peer, _served) = connect(8, &running());
    peer.write_all(b"a,").await.unwrap();
    sleep(SECOND).await;
    peer.write_all(b"b,").await.unwrap();
    assert_eq!(hear(&mut peer, 4).await, "A,B,");
    assert_eq!(start.elapsed().as_secs(), 3, "two seconds after the last byte");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_let_go_of_at_the_write_deadline() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &running());
    let sent = async { peer.write_all(&b"word.".repeat(100)).await };
    let (sent, closed) = tokio::join!(sent, served);
    assert!(matches!(closed.unwrap(), CloseReason::WriteTimeout));
    assert_eq!(start.elapsed().as_secs(), 4);
    assert!(sent.is_err(), "nothing more is read from a peer that does not read");
}

#[tokio::test(start_paused = true)]
async fn a_close_takes_what_still_comes_until_the_peer_closes_too() {
    let (mut peer, served) = connect(8, &running());
    peer.write_all(b"end!").await.unwrap();
    assert_eq!(hear_to_the_end(&mut peer).await, "END!");
    // Room for eight bytes, and these are taken: nobody is left with bytes that were not read, so nothing is reset.
    peer.write_all(&[b'x'; 1000]).await.unwrap();
    assert!(!served.is_finished());
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_close_does_not_wait_for_long() {
    let start = Instant::now();
    let (mut peer, served) = connect(8, &running());
    peer.write_all(b"end!").await.unwrap();
    assert!(matches!(served.await.unwrap(), CloseReason::Finished));
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_close_is_not_answered() {
    let (mut peer, _served) = connect(64, &running());
    peer.write_all(b"one.end!two.").await.unwrap();
    assert_eq!(hear_to_the_end(&mut peer).await, "ONE.END!");
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_was_asked_and_closes_the_idle() {
    let shutdown = running();
    let (mut idle, idle_served) = connect(8, &shutdown);
    let (mut asked, asked_served) = connect(8, &shutdown);
    idle.write_all(b"one.").await.unwrap();
    assert_eq!(hear(&mut idle, 4).await, "ONE.");
    asked.write_all(b"two.").await.unwrap();
    shutdown.trigger();
    let start = Instant::now();
    assert_eq!(hear_to_the_end(&mut asked).await, "TWO.");
    assert_eq!(hear_to_the_end(&mut idle).await, "");
    assert_eq!(start.elapsed(), DRAIN_IDLE_GRACE);
    drop((asked, idle));
    assert!(matches!(idle_served.await.unwrap(), CloseReason::Drained));
    assert!(matches!(asked_served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_request_be_finished() {
    let shutdown = running();
    let (mut peer, served) = connect(8, &shutdown);
    peer.write_all(b"on").await.unwrap();
    sleep(SECOND).await;
    shutdown.trigger();
    sleep(3 * SECOND).await;
    peer.write_all(b"e.").await.unwrap();
    assert_eq!(hear_to_the_end(&mut peer).await, "ONE.");
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_a_peer_that_asks_on_and_on_between_two_requests() {
    let shutdown = running();
    let (mut peer, served) = connect(8, &shutdown);
    shutdown.trigger();
    let start = Instant::now();
    let mut answered = 0;
    while peer.write_all(b"one.").await.is_ok() {
        match hear_if_any(&mut peer).await.as_str() {
            "ONE." => answered += 1,
            rest => {
                assert_eq!(rest, "", "whole answers alone");
                break;
            }
        }
        sleep(Duration::from_millis(30)).await;
    }
    assert!(answered > 30, "it is still answered meanwhile: {answered}");
    assert!((1..=2).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

/// Four bytes, or fewer at the end of the stream.
async fn hear_if_any(peer: &mut DuplexStream) -> String {
    let mut text = String::new();
    peer.take(4).read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_all_that_was_sent_even_if_its_answers_are_taken_late() {
    let shutdown = Shutdown::new(60 * SECOND);
    // Room for whole words, so that none is left half sent.
    let (mut peer, served) = connect(60, &shutdown);
    // As much as the two directions hold, and no more: the last of it is still unread when the drain begins.
    let mut sent = 0;
    while timeout(SECOND / 10, peer.write_all(b"word.")).await.is_ok_and(|written| written.is_ok()) {
        sent += 1;
    }
    shutdown.trigger();
    sleep(2 * SECOND).await;
    let heard = hear_to_the_end(&mut peer).await;
    assert!(heard.len() / 5 >= sent && sent > 10, "sent {sent}, heard {}", heard.len() / 5);
    assert!(heard.split_inclusive('.').all(|word| word == "WORD."), "{heard}");
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn what_has_come_by_the_end_of_the_grace_is_answered_even_if_the_runtime_has_not_heard_of_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let shutdown = running();
    let served = tokio::spawn(run(stream, Words, timeouts().into(), Arc::default(), shutdown.clone()));
    shutdown.trigger();
    sleep(DRAIN_IDLE_GRACE).await;
    // At the instant of the last look: the runtime has not asked the kernel since.
    std::io::Write::write_all(&mut peer, b"one.").unwrap();
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut peer, &mut heard).unwrap();
    assert_eq!(heard, "ONE.");
}

/// A peer that has always sent more already. In-memory pipes pause when they are empty, and real time is needed since a
/// paused clock stands still as long as anybody has something to do.
struct Endless {
    what: &'static [u8],
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let coop = task::ready!(tokio::task::coop::poll_proceed(cx));
        coop.made_progress();
        while into.remaining() >= self.what.len() {
            into.put_slice(self.what);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
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

impl Stream for Endless {
    fn reset_on_close(&self) {}

    async fn wait_error(&self) -> io::Error {
        std::future::pending().await
    }
}

async fn serve_endless(
    what: &'static [u8],
    timeouts: ConnectionTimeouts,
    shutdown: Shutdown,
) -> (CloseReason, Duration) {
    let start = Instant::now();
    let served = tokio::spawn(run(Endless { what }, Words, timeouts.into(), Arc::default(), shutdown));
    let closed = timeout(30 * SECOND, served).await.expect("nothing that a peer sends keeps a deadline from passing");
    (closed.unwrap(), start.elapsed())
}

#[tokio::test]
async fn a_close_ends_in_time_even_if_the_peer_sends_on_and_on() {
    let (closed, took) = serve_endless(b"end!", timeouts(), running()).await;
    assert!(matches!(closed, CloseReason::Finished));
    assert!(took >= LINGER, "{took:?}");
}

#[tokio::test]
async fn a_drain_cuts_a_peer_that_has_always_asked_more_already() {
    let shutdown = Shutdown::new(SECOND / 2);
    shutdown.trigger();
    let (closed, took) = serve_endless(b"more.", timeouts(), shutdown).await;
    assert!(matches!(closed, CloseReason::Aborted), "{closed:?}");
    assert!(took >= SECOND / 3, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_what_is_not_done_at_its_deadline() {
    // The last tenth of it, or of a second, is for counting.
    let shutdown = Shutdown::new(2 * SECOND + SECOND / 10);
    let (mut part, part_served) = connect(8, &shutdown);
    let (mut unread, unread_served) = connect(8, &shutdown);
    part.write_all(b"on").await.unwrap();
    let writing = tokio::spawn(async move { unread.write_all(&b"word.".repeat(100)).await });
    sleep(SECOND).await;
    shutdown.trigger();
    let start = Instant::now();
    assert!(matches!(part_served.await.unwrap(), CloseReason::Aborted));
    assert!(matches!(unread_served.await.unwrap(), CloseReason::Aborted));
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert!(writing.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_connection_owns_no_buffer() {
    let (mut peer, stream) = duplex(64);
    let mut io = ConnectionIo::new(stream, Words);
    peer.write_all(b"one.tw").await.unwrap();
    poll_fn(|cx| io.poll_data(cx)).await.unwrap();
    assert_eq!(io.pending.as_deref(), Some(&b"tw"[..]), "no more than the part that has come");
    peer.write_all(b"o.").await.unwrap();
    poll_fn(|cx| io.poll_data(cx)).await.unwrap();
    assert_eq!((io.pending, io.unsent), (None, None));
}
