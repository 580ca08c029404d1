//! Answers that come from elsewhere.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::breakable::breakable_stream;

const LATEST: Duration = Duration::from_secs(30);

/// A handler whose replies come from elsewhere: each byte gets what the test sends, `d` at the deadline, or `v` in a
/// drain. `!` closes.
struct Relay {
    answers: mpsc::UnboundedReceiver<u8>,
    answer: Option<u8>,
}

impl Handler for Relay {
    const READ_BYTES: usize = 4;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        match event {
            Event::ReplyReady => output.put_u8(self.answer.take().unwrap_or(b'd')),
            Event::Shutdown => output.put_u8(b'v'),
            Event::Data | Event::Settled | Event::RequestTimeout | Event::Eof => {}
        }
        let wait_for = if input.is_empty() {
            WaitFor::Request
        } else if input.get_u8() == b'!' {
            WaitFor::Close
        } else {
            WaitFor::Reply { deadline: Instant::now() + LATEST }
        };
        Progress { replies: output.len() as u64, wait_for }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.answer = task::ready!(self.answers.poll_recv(cx));
        Poll::Ready(())
    }
}

/// A connection whose answers a test gives.
struct Relayed {
    peer: DuplexStream,
    /// Gives answers; closed when the handler is dropped.
    answers: mpsc::UnboundedSender<u8>,
    broken: CancellationToken,
    served: JoinHandle<CloseReason>,
}

fn relay(room: usize, shutdown: &Shutdown) -> Relayed {
    let (peer, stream, broken) = breakable_stream(room);
    let (answers, receiver) = mpsc::unbounded_channel();
    let timeouts = ConnectionTimeouts { request: None, ..timeouts() };
    let relay = Relay { answers: receiver, answer: None };
    let served = tokio::spawn(run(stream, relay, timeouts.into(), Arc::default(), shutdown.clone()));
    Relayed { peer, answers, broken, served }
}

#[tokio::test(start_paused = true)]
async fn answers_are_given_when_they_come_and_in_order() {
    let mut relayed = relay(1, &running());
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(relayed.peer);
    let asking = tokio::spawn(async move { write.write_all(&[b'?'; 20]).await });
    for answer in b'a'..b'a' + 20 {
        sleep(SECOND).await;
        relayed.answers.send(answer).unwrap();
        assert_eq!(read.read_u8().await.unwrap(), answer);
    }
    assert_eq!(start.elapsed(), 20 * SECOND);
    asking.await.unwrap().unwrap();
    drop(read);
    // What is not asked is not answered, and the end of the stream is the end.
    assert!(matches!((&mut relayed.served).await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_due_at_its_time_and_so_is_the_next_one() {
    let mut relayed = relay(8, &running());
    let start = Instant::now();
    relayed.peer.write_all(b"??").await.unwrap();
    assert_eq!(hear(&mut relayed.peer, 1).await, "d");
    assert_eq!(start.elapsed(), LATEST);
    assert_eq!(hear(&mut relayed.peer, 1).await, "d");
    assert_eq!(start.elapsed(), 2 * LATEST, "it was not in play before the first was answered");
    // An answer that was awaited for half of the idle time has not used any of it up.
    let idle = Instant::now();
    assert_eq!(hear_to_the_end(&mut relayed.peer).await, "");
    assert_eq!(idle.elapsed(), timeouts().idle);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_read_while_an_answer_is_awaited() {
    let mut relayed = relay(100, &running());
    let mut sent = 0;
    while timeout(SECOND, relayed.peer.write_u8(b'?')).await.is_ok_and(|written| written.is_ok()) {
        sent += 1;
    }
    assert_eq!(sent, 100 + Relay::READ_BYTES);
    relayed.peer.shutdown().await.unwrap();
    for _ in 0..sent {
        relayed.answers.send(b'a').unwrap();
    }
    assert_eq!(hear_to_the_end(&mut relayed.peer).await.len(), sent, "all are answered before the end is heard of");
    assert!(matches!(relayed.served.await.unwrap(), CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_while_it_waits_is_over_at_once() {
    let mut relayed = relay(8, &running());
    let start = Instant::now();
    relayed.peer.write_all(b"????????").await.unwrap();
    sleep(SECOND).await;
    relayed.broken.cancel();
    assert!(matches!(relayed.served.await.unwrap(), CloseReason::Io(_)));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_before_its_connection_is_closed() {
    let mut relayed = relay(8, &running());
    let start = Instant::now();
    relayed.peer.write_all(b"!").await.unwrap();
    relayed.answers.closed().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(matches!(relayed.served.await.unwrap(), CloseReason::Finished));
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_an_answer_as_long_as_for_a_request_and_answers_all_that_was_asked() {
    let shutdown = running();
    let mut relayed = relay(1000, &shutdown);
    relayed.peer.write_all(&[b'?'; 500]).await.unwrap();
    sleep(SECOND).await;
    shutdown.trigger();
    let start = Instant::now();
    relayed.answers.send(b'a').unwrap();
    assert_eq!(hear(&mut relayed.peer, 1).await, "a");
    assert_eq!(hear(&mut relayed.peer, 1).await, "v");
    assert_eq!(start.elapsed(), DRAIN_IDLE_GRACE);
    let rest = hear_to_the_end(&mut relayed.peer).await;
    assert_eq!(rest, "v".repeat(498));
    // Each has its moment, up to a second in all, and the last one all of it.
    assert_eq!(start.elapsed(), SECOND + DRAIN_IDLE_GRACE);
    drop(relayed.peer);
    assert!(matches!(relayed.served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test]
async fn a_drain_cuts_a_peer_that_asks_on_and_on_for_what_does_not_come() {
    let shutdown = Shutdown::new(SECOND / 2);
    shutdown.trigger();
    let start = Instant::now();
    let (_answers, receiver) = mpsc::unbounded_channel();
    let timeouts = ConnectionTimeouts { request: None, ..timeouts() };
    let relay = Relay { answers: receiver, answer: None };
    let served = tokio::spawn(run(Endless { what: b"????" }, relay, timeouts.into(), Arc::default(), shutdown));
    let closed = timeout(30 * SECOND, served).await.expect("the drain has an end").unwrap();
    assert!(matches!(closed, CloseReason::Aborted), "{closed:?}");
    assert!(start.elapsed() >= SECOND / 3);
}
