//! A WebSocket connection over in-memory streams.

use tokio::sync::mpsc;

use super::wait_reply::RelayHandler;
use super::*;
use crate::server::connection::websocket::WebSocketStream;
use crate::wire::websocket::tests::frame;

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Like `connect`, for a WebSocket connection after its handshake.
fn open(capacity: usize, shutdown: &Shutdown) -> (DuplexStream, JoinHandle<CloseReason>) {
    let (ours, theirs) = duplex(capacity);
    let timeouts = ConnectionTimeouts { request: None, ..timeouts() };
    (ours, tokio::spawn(run(WebSocketStream::new(theirs, b""), WordHandler, context(timeouts, shutdown))))
}

/// Reads a frame with a payload of less than 126 bytes: its first byte and its payload.
async fn read_frame(peer: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut header = [0; 2];
    peer.read_exact(&mut header).await.unwrap();
    let mut payload = vec![0; header[1].into()];
    peer.read_exact(&mut payload).await.unwrap();
    (header[0], payload)
}

#[tokio::test(start_paused = true)]
async fn replies_are_complete_and_in_order_for_any_segmentation() {
    for capacity in [1, 2, 3, 8, 64, 1024] {
        let (peer, served) = open(capacity, &not_triggered());
        let (mut read, mut write) = tokio::io::split(peer);
        let sender = tokio::spawn(async move {
            let words = [frame(0x02, b"one.tw"), frame(PING, b"x"), frame(0x80, b"o.three.")].concat();
            write.write_all(&words.repeat(50)).await.unwrap();
            write.write_all(&frame(CLOSE, b"\x03\xE8")).await.unwrap();
            write
        });
        let mut replies = Vec::new();
        loop {
            match read_frame(&mut read).await {
                (BINARY, payload) => replies.extend(payload),
                (PONG, payload) => assert_eq!(payload, b"x"),
                (first, payload) => {
                    assert_eq!((first, &payload[..]), (CLOSE, &b"\x03\xE8"[..]));
                    break;
                }
            }
        }
        assert_eq!(String::from_utf8(replies).unwrap(), "ONE.TWO.THREE.".repeat(50), "capacity {capacity}");
        assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
        drop(sender.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_came_behind_the_handshake_are_read_first() {
    let (mut peer, theirs) = duplex(1024);
    let stream = WebSocketStream::new(theirs, &frame(BINARY, b"one.t"));
    tokio::spawn(run(stream, WordHandler, context(timeouts(), &not_triggered())));
    peer.write_all(&frame(BINARY, b"wo.")).await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (BINARY, b"ONE.".to_vec()));
    assert_eq!(read_frame(&mut peer).await, (BINARY, b"TWO.".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_sent_every_twenty_seconds_until_the_idle_timeout() {
    let (mut peer, served) = open(1024, &not_triggered());
    let started = Instant::now();
    for seconds in [20, 40] {
        assert_eq!(read_frame(&mut peer).await, (PING, Vec::new()));
        assert_eq!(started.elapsed().as_secs(), seconds);
        peer.write_all(&frame(PONG, b"")).await.unwrap();
    }
    let (first, payload) = loop {
        match read_frame(&mut peer).await {
            (PING, _) => {}
            other => break other,
        }
    };
    assert_eq!((first, &payload[..]), (CLOSE, &b"\x03\xE8idle_timeout"[..]));
    assert_eq!(started.elapsed().as_secs(), 60, "pings and pongs do not keep a connection from being idle");
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::IdleTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_ping_without_room_leaves_as_soon_as_there_is_room() {
    let (mut peer, _served) = open(1, &not_triggered());
    let started = Instant::now();
    sleep(25 * SECOND).await;
    assert_eq!(read_frame(&mut peer).await, (PING, Vec::new()));
    assert_eq!(started.elapsed(), 25 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_ends_the_wait_for_a_reply() {
    let (mut peer, theirs) = duplex(1024);
    let (replies, receiver) = mpsc::unbounded_channel();
    let handler = RelayHandler { replies: receiver, reply: None };
    let context = context(ConnectionTimeouts { request: None, ..timeouts() }, &not_triggered());
    let served = tokio::spawn(run(WebSocketStream::new(theirs, b""), handler, context));
    peer.write_all(&[frame(BINARY, b"?"), frame(CLOSE, b"\x03\xE9")].concat()).await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (CLOSE, b"\x03\xE9".to_vec()));
    assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
    assert!(replies.is_closed(), "the handler is dropped");
}

#[tokio::test(start_paused = true)]
async fn pings_are_sent_and_answered_while_a_reply_is_pending() {
    let (mut peer, theirs) = duplex(1024);
    let (replies, receiver) = mpsc::unbounded_channel();
    let handler = RelayHandler { replies: receiver, reply: None };
    let context = context(ConnectionTimeouts { request: None, ..timeouts() }, &not_triggered());
    tokio::spawn(run(WebSocketStream::new(theirs, b""), handler, context));
    peer.write_all(&frame(BINARY, b"?")).await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (PING, Vec::new()));
    peer.write_all(&frame(PING, b"1")).await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (PONG, b"1".to_vec()));
    replies.send(b'a').unwrap();
    assert_eq!(read_frame(&mut peer).await, (BINARY, b"a".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_with_1001_after_the_last_reply() {
    let shutdown = not_triggered();
    let (mut peer, served) = open(1024, &shutdown);
    peer.write_all(&frame(BINARY, b"one.")).await.unwrap();
    shutdown.trigger();
    assert_eq!(read_frame(&mut peer).await, (BINARY, b"ONE.".to_vec()));
    assert_eq!(read_frame(&mut peer).await, (CLOSE, b"\x03\xE9drained".to_vec()));
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_reported_after_the_replies_to_what_came_before_it() {
    let (mut peer, served) = open(1024, &not_triggered());
    peer.write_all(&[frame(BINARY, b"one.two."), b"\x81\x81".to_vec(), frame(BINARY, b"three.")].concat())
        .await
        .unwrap();
    assert_eq!(read_frame(&mut peer).await, (BINARY, b"ONE.TWO.".to_vec()));
    assert_eq!(read_frame(&mut peer).await, (CLOSE, b"\x03\xEBtext: send binary messages".to_vec()));
    // What still arrives is discarded.
    peer.write_all(&[b'x'; 4000]).await.unwrap();
    drop(peer);
    assert!(matches!(served.await.unwrap(), CloseReason::WebSocketFailed(_)));
}
