//! Tests the clients as a library: the phase and kind of each error, the observer, and the pipeline.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::{StreamExt, stream};
use proto::client::power::{Chunking, Client};
use proto::client::rps::Connection;
use proto::client::stream::{Observer, StreamEvent};
use proto::client::{Connector, Error, ErrorKind, Phase, Pipeline, Timeouts, Tls, Violation};
use proto::testing::TEST_TIMEOUT;
use proto::testing::certificates::Authority;
use proto::testing::front::{End, Front, TLS13, server_config};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::rps::Move;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::codec::BytesCodec;

const SHORT: Timeouts = Timeouts::all(Duration::from_millis(200));

fn connector(address: &str) -> Connector {
    Connector::new(address.parse().unwrap()).with_timeouts(SHORT)
}

/// Starts a server that sends `reply` to each client after its first byte, and then keeps the connection open.
async fn server(reply: &'static [u8]) -> Result<String, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read_u8().await.is_ok() && stream.write_all(reply).await.is_ok() {
                open.push(stream);
            }
        }
    });
    Ok(address)
}

async fn request(address: String) -> Option<Error> {
    Client::new(connector(&address)).request(Operation::Square, Number::from(2)).await.err()
}

async fn throw(address: &str) -> Option<Error> {
    match Connection::open(connector(address)).await {
        Ok(mut game) => game.throw(Move::Rock).await.err(),
        Err(error) => Some(error),
    }
}

#[track_caller]
fn assert_failed(error: Option<Error>, phase: Phase) -> ErrorKind {
    let error = error.expect("the request fails");
    assert_eq!(error.phase, phase, "{error}");
    error.kind
}

#[tokio::test]
async fn an_unknown_host_name_fails_in_the_resolve_phase() {
    assert_failed(request("nosuchhost.invalid:1".to_owned()).await, Phase::Resolve);
}

#[tokio::test]
async fn an_unreachable_server_fails_in_the_connect_phase() {
    // A port that was just freed: the kernel does not assign it again at once.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let kind = assert_failed(request(address.clone()).await, Phase::Connect);
    assert!(matches!(kind, ErrorKind::Io(_)), "{kind:?}");
    assert_failed(throw(&address).await, Phase::Connect);
}

#[tokio::test]
async fn a_silent_server_fails_in_the_reply_phase() {
    let address = server(b"").await.unwrap();
    let kind = assert_failed(request(address.clone()).await, Phase::Reply);
    assert!(matches!(kind, ErrorKind::TimedOut(limit) if limit == SHORT.reply), "{kind:?}");
    assert_failed(throw(&address).await, Phase::Reply);
}

#[tokio::test]
async fn a_deadline_ends_every_phase_before_its_timeout() {
    let long = Timeouts::all(TEST_TIMEOUT);
    let silent = server(b"").await.unwrap();
    let connector = |address: &str| {
        Connector::new(address.parse().unwrap())
            .with_timeouts(long)
            .with_deadline(Instant::now() + Duration::from_secs(1))
    };
    // The error reports the timeout of its phase, which has not passed.
    let started = Instant::now();
    let assert_timed_out = |error: Option<Error>, phase| {
        let kind = assert_failed(error, phase);
        assert!(matches!(kind, ErrorKind::TimedOut(limit) if limit == long.reply), "{kind:?}");
    };
    let client = Client::new(connector(&silent));
    assert_timed_out(client.request(Operation::Square, Number::from(2)).await.err(), Phase::Reply);
    let mut game = Connection::open(connector(&silent)).await.unwrap();
    assert_timed_out(game.throw(Move::Rock).await.err(), Phase::Reply);
    let (mut requests, mut replies) = Client::new(connector(&silent)).connect().await.unwrap();
    requests.send(Operation::Square, Number::from(2)).await.unwrap();
    requests.flush().await.unwrap();
    assert_timed_out(replies.receive().await.err(), Phase::Reply);

    // A listener that accepts nothing: once its accept queue is full, a connect waits.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    let error = loop {
        match connector(&listener.local_addr().unwrap().to_string()).connect().await {
            Ok(stream) => queue.push(stream),
            Err(error) => break error,
        }
        assert!(queue.len() < 100, "a backlog of 1 never fills");
    };
    assert_timed_out(Some(error), Phase::Connect);
    assert!(started.elapsed() < TEST_TIMEOUT);
}

#[tokio::test]
async fn an_incomplete_reply_fails_in_the_end_phase() {
    let kind = assert_failed(request(server(b"d4.0").await.unwrap()).await, Phase::End);
    assert!(matches!(kind, ErrorKind::TimedOut(_)), "{kind:?}");
}

#[tokio::test]
async fn an_invalid_reply_is_a_violation_in_the_reply_phase() {
    let kind = assert_failed(request(server(b"HTTP/1.1 400\r\n").await.unwrap()).await, Phase::Reply);
    assert!(matches!(kind, ErrorKind::Protocol(_)), "{kind:?}");
    let kind = assert_failed(throw(&server(b"?").await.unwrap()).await, Phase::Reply);
    assert!(matches!(kind, ErrorKind::Protocol(_)), "{kind:?}");
    let kind = assert_failed(throw(&server(b"f").await.unwrap()).await, Phase::Reply);
    assert!(matches!(kind, ErrorKind::Full), "{kind:?}");
}

/// Plays `moves` against a server that sends one of `replies` per move. After the last reply, the server reads until
/// the client closes the connection. Returns the number of bytes read, or the error.
async fn close_after(replies: &'static [u8], moves: usize) -> std::io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let playing = async {
        let mut game = Connection::open(connector(&address)).await.unwrap();
        for _ in 0..moves {
            let _ = game.throw(Move::Rock).await;
        }
    };
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for reply in replies {
            stream.read_u8().await.unwrap();
            stream.write_u8(*reply).await.unwrap();
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await
    };
    tokio::join!(playing, serving).1
}

#[tokio::test]
async fn dropping_a_connection_resets_it_only_if_a_move_has_no_reply() {
    assert_eq!(close_after(b"yv", 3).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(close_after(b"yv", 2).await.unwrap(), 0, "every move has a reply, so the close is ordinary");
    assert_eq!(close_after(b"", 0).await.unwrap(), 0);
}

#[tokio::test]
async fn after_a_timeout_the_connection_rejects_the_next_move() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut game = Connection::open(connector(&listener.local_addr().unwrap().to_string())).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(game.throw(Move::Rock).await.unwrap_err().phase, Phase::Reply);
    stream.write_u8(b'y').await.unwrap();
    let error = game.throw(Move::Paper).await.unwrap_err();
    assert!(error.to_string().contains("an earlier move on this connection has no reply"), "{error}");
    assert_eq!(stream.read_u8().await.unwrap(), b'2');
    drop(game);
    assert!(stream.read_u8().await.is_err(), "the second move is not sent");
}

#[tokio::test]
async fn a_check_accepts_only_the_error_for_an_invalid_move() {
    for (reply, is_valid) in [(&b"e"[..], true), (b"v", false), (b"x", false), (b"f", false)] {
        let mut game = Connection::open(connector(&server(reply).await.unwrap())).await.unwrap();
        assert_eq!(game.check().await.is_ok(), is_valid, "{}", reply.escape_ascii());
    }
}

/// An observer that records the events as text.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn observe(&self, event: &StreamEvent<'_>) {
        let line = match event {
            StreamEvent::Resolve(_) => "resolve".to_owned(),
            StreamEvent::Resolved(addresses) => format!("{} resolved", addresses.len()),
            StreamEvent::Connect(address) if address.starts_with("unix:") => "connect to a Unix socket".to_owned(),
            StreamEvent::Connect(_) => "connect".to_owned(),
            StreamEvent::Connected(Some(local)) => format!("connected from {}", local.ip()),
            StreamEvent::Connected(None) => "connected".to_owned(),
            StreamEvent::Handshaken(session) => format!("{} with {}", session.version, session.subject),
            StreamEvent::Failed(error) => format!("failed: {:?}", error.phase),
            StreamEvent::Sent(bytes) => format!("> {}", bytes.escape_ascii()),
            StreamEvent::HalfClosed => "half-closed".to_owned(),
            StreamEvent::Received(bytes) => format!("< {}", bytes.escape_ascii()),
            StreamEvent::Ended => "ended".to_owned(),
            StreamEvent::Broken(error) => format!("broken: {:?}", error.kind()),
            StreamEvent::Closed => "closed".to_owned(),
        };
        self.0.lock().unwrap().push(line);
    }
}

/// Starts a server that reads to EOF, sends `reply`, and closes the connection.
async fn server_after_eof(reply: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            stream.write_all(reply).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_observer_gets_all_events_in_order() {
    let recorder = Arc::new(Recorder::default());
    let connector = connector(&server_after_eof(b"d4.0").await).with_observer(recorder.clone());
    Client::new(connector.clone()).request(Operation::Square, Number::from(2)).await.unwrap().unwrap();
    let short = ["resolve", "1 resolved", "connect", "connected from 127.0.0.1"];
    let short = [&short[..], &["> a2.0", "half-closed", "< d4.0", "ended", "closed"]].concat();
    assert_eq!(*recorder.0.lock().unwrap(), short);

    recorder.0.lock().unwrap().clear();
    let chunking = Chunking { bytes: NonZeroUsize::new(3).unwrap(), pause: Duration::from_millis(1) };
    let client = Client::new(connector).with_chunking(chunking);
    client.request(Operation::Cube, Number::from(-3)).await.unwrap().unwrap();
    let (mut requests, replies) = client.connect().await.unwrap();
    requests.send(Operation::Square, Number::from(2)).await.unwrap();
    drop((requests, replies));
    let events = recorder.0.lock().unwrap().join(" ");
    assert!(events.contains("> b-3 > .0 half-closed"), "{events}");
    assert!(events.ends_with(r"> a2. > 0\n half-closed closed") || events.ends_with(r"> a2. > 0\n closed"), "{events}");
}

#[tokio::test]
async fn an_observer_gets_the_event_of_a_failed_connect() {
    let recorder = Arc::new(Recorder::default());
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let result = connector(&unused.to_string()).with_observer(recorder.clone()).connect().await;
    assert_failed(result.err(), Phase::Connect);
    assert_eq!(*recorder.0.lock().unwrap(), ["resolve", "1 resolved", "connect", "failed: Connect"]);
}

#[tokio::test]
async fn a_connection_uses_the_given_local_address() {
    let recorder = Arc::new(Recorder::default());
    let connector = connector(&server_after_eof(b"d4.0").await).with_observer(recorder.clone());
    let connector = connector.with_local_addrs([[127, 0, 0, 9].into()]);
    Client::new(connector).request(Operation::Square, Number::from(2)).await.unwrap().unwrap();
    assert!(recorder.0.lock().unwrap().contains(&"connected from 127.0.0.9".to_owned()));
}

/// Opens a pipeline to a server that sends `early`, reads `length` bytes of requests, sends `replies`, and closes.
async fn pipeline(final_error: Option<u8>, early: &'static [u8], length: usize, replies: &'static [u8]) -> Pipeline {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let pipeline = Pipeline::open(connector(&address), 64, final_error).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(early).await.unwrap();
    tokio::spawn(async move {
        let mut requests = vec![0; length];
        stream.read_exact(&mut requests).await.unwrap();
        stream.write_all(replies).await.unwrap();
    });
    pipeline
}

#[tokio::test]
async fn replies_arrive_in_order_and_a_close_after_them_is_not_a_violation() {
    let mut codec = ClientCodec::new(Framing::Line);
    let mut pipeline = pipeline(Some(b'e'), b"", 10, b"d4.0\nd9.0\n").await;
    pipeline.send(b"a2.0\na3.0\n"[..].into(), false);
    for square in ["4.0", "9.0"] {
        assert_eq!(pipeline.reply(&mut codec).await.unwrap().unwrap().to_string(), square);
    }
    pipeline.check_unsolicited().unwrap();
    let error = pipeline.reply(&mut codec).await.unwrap_err();
    assert!(matches!((error.phase, error.kind), (Phase::Reply, ErrorKind::Closed)));
}

#[tokio::test]
async fn requests_larger_than_the_socket_buffers_do_not_deadlock() {
    // More than the buffers of both sockets hold: a client that sends 8 MiB before it reads deadlocks.
    const COUNT: usize = 1 << 24;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connector = Connector::new(address.parse().unwrap()).with_timeouts(Timeouts::all(TEST_TIMEOUT));
    let mut pipeline = Pipeline::open(connector, 65_536, None).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    pipeline.send(vec![b'x'; COUNT].into(), true);
    let mut bytes = 0;
    while bytes < COUNT {
        bytes += pipeline.reply(&mut BytesCodec::new()).await.unwrap().len();
    }
    assert_eq!(bytes, COUNT);
    assert!(matches!(pipeline.reply(&mut BytesCodec::new()).await.unwrap_err().kind, ErrorKind::Closed));
}

#[tokio::test]
async fn an_unsolicited_reply_is_an_error_unless_it_is_a_final_error() {
    let mut codec = ClientCodec::new(Framing::Line);
    let mut extra_number = pipeline(Some(b'e'), b"", 5, b"d4.0\nd4.0\n").await;
    extra_number.send(b"a2.0\n"[..].into(), false);
    extra_number.reply(&mut codec).await.unwrap().unwrap();
    let error = extra_number.check_unsolicited().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol(Violation::Unsolicited)), "{error}");

    let mut extra_error = pipeline(Some(b'e'), b"", 5, b"d4.0\neBADOP x\n").await;
    extra_error.send(b"a2.0\n"[..].into(), false);
    extra_error.reply(&mut codec).await.unwrap().unwrap();
    let error = extra_error.check_unsolicited().unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Protocol(Violation::Unsolicited)),
        "an error reply after the last reply is unsolicited, too: {error}"
    );

    let mut final_error = pipeline(Some(b'e'), b"eBUSY later", 5, b"").await;
    final_error.check_early().unwrap();
    final_error.send(b"a2.0\n"[..].into(), false);
    assert_eq!(final_error.reply(&mut codec).await.unwrap().unwrap_err().message, "later");

    let mut early = pipeline(None, b"eBUSY later", 5, b"").await;
    // A reply still in flight is not detected, so repeat the check.
    let detected = async {
        loop {
            match early.check_early() {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    };
    let error = timeout(TEST_TIMEOUT, detected).await.unwrap();
    assert!(matches!(error.kind, ErrorKind::Protocol(Violation::Unsolicited)), "{error}");
}

#[tokio::test]
async fn operands_before_an_error_get_their_replies() {
    let client = Client::new(connector(&server_after_eof(b"d4.0\nd9.0\n").await));
    let error = Error { address: "input".to_owned(), phase: Phase::Send, kind: ErrorKind::Closed };
    let operands = stream::iter([Ok(Number::from(2)), Ok(Number::from(3)), Err(error)]);
    let mut replies = Vec::new();
    let result = client.request_all(Operation::Square, operands, |operand, reply| {
        replies.push((operand.value(), reply.expect("a number").value()));
        Ok(())
    });
    assert_eq!(result.await.map_err(|error| error.address), Err("input".to_owned()));
    assert_eq!(replies, [(2.0, 4.0), (3.0, 9.0)]);
}

/// The server closes the idle connection just before the client reads the last operand and the error.
#[tokio::test]
async fn an_operand_error_outlives_an_idle_close() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (close, closing) = channel();
    let (closed, was_closed) = channel();
    let server = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        first.read_exact(&mut [0; 5]).unwrap();
        first.write_all(b"d4.0\n").unwrap();
        closing.recv_timeout(TEST_TIMEOUT).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        closed.send(()).unwrap();
        let (mut second, _) = listener.accept().unwrap();
        let mut request = String::new();
        second.read_to_string(&mut request).unwrap();
        second.write_all(b"d9.0\n").unwrap();
        request
    });
    let replied = Notify::new();
    let late = async {
        replied.notified().await;
        // Blocks this thread, so that the client does not see the close before it sends the operand.
        close.send(()).unwrap();
        was_closed.recv_timeout(TEST_TIMEOUT).unwrap();
        Ok(Number::from(3))
    };
    let error = Error { address: "input".to_owned(), phase: Phase::Send, kind: ErrorKind::Closed };
    let operands = stream::iter([Ok(Number::from(2))]).chain(stream::once(late)).chain(stream::iter([Err(error)]));
    let client = Client::new(connector(&address).with_timeouts(Timeouts::all(TEST_TIMEOUT)));
    let mut squares = Vec::new();
    let result = client.request_all(Operation::Square, operands, |operand, reply| {
        squares.push((operand.value(), reply.expect("a number").value()));
        replied.notify_one();
        Ok(())
    });
    assert_eq!(result.await.map_err(|error| error.address), Err("input".to_owned()));
    assert_eq!(squares, [(2.0, 4.0), (3.0, 9.0)]);
    assert_eq!(server.join().unwrap(), "a3.0\n");
}

/// Starts a TLS server in front of `backend`, and returns a connector that trusts it.
fn tls(backend: &str) -> (Front, Connector) {
    let authority = Authority::new();
    let config = server_config(&authority.issue_server(), None, &TLS13);
    let front = Front::tls(backend.parse().unwrap(), config, End::CloseNotify);
    let trusting = Tls::default().with_authorities(&authority.certificate).unwrap();
    let connector = Connector::new(front.endpoint.parse().unwrap()).with_tls(Arc::new(trusting));
    (front, connector.with_timeouts(Timeouts::all(TEST_TIMEOUT)))
}

#[tokio::test]
async fn the_handshake_has_its_own_timeout_and_phase() {
    let address = server(b"").await.unwrap();
    let timeouts = Timeouts { handshake: Duration::from_millis(100), ..Timeouts::all(TEST_TIMEOUT) };
    let recorder = Arc::new(Recorder::default());
    let trusting = Tls::default().with_authorities(&Authority::new().certificate).unwrap();
    let connector = Connector::new(format!("tls://{address}").parse().unwrap()).with_tls(Arc::new(trusting));
    let connector = connector.with_timeouts(timeouts).with_observer(recorder.clone());
    let kind = assert_failed(connector.connect().await.err(), Phase::Handshake);
    assert!(matches!(kind, ErrorKind::TimedOut(timeout) if timeout == timeouts.handshake), "{kind:?}");
    assert_eq!(recorder.0.lock().unwrap().last().unwrap(), "failed: Handshake");
}

#[tokio::test]
async fn an_inherited_socket_cannot_be_connected_to() {
    let kind = assert_failed(connector("fd:power").connect().await.err(), Phase::Connect);
    assert!(matches!(kind, ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::Unsupported));
}

#[tokio::test]
async fn an_observer_gets_the_events_of_tls_and_of_a_unix_socket() {
    let backend = server_after_eof(b"d4.0").await;
    let rest = ["> a2.0", "half-closed", "< d4.0", "ended", "closed"];
    let recorder = Arc::new(Recorder::default());
    let (_front, trusting) = tls(&backend);
    let client = Client::new(trusting.with_observer(recorder.clone()));
    client.request(Operation::Square, Number::from(2)).await.unwrap().unwrap();
    let first = ["resolve", "1 resolved", "connect", "connected from 127.0.0.1", "TLS 1.3 with CN=test server"];
    assert_eq!(*recorder.0.lock().unwrap(), [&first[..], &rest].concat());

    let recorder = Arc::new(Recorder::default());
    let folder = tempfile::tempdir().unwrap();
    let front = Front::unix(backend.parse().unwrap(), &folder.path().join("socket"));
    let connector = connector(&front.endpoint).with_observer(recorder.clone());
    assert_eq!(connector.connect().await.unwrap().peer_addr(), None);
    recorder.0.lock().unwrap().clear();
    Client::new(connector).request(Operation::Square, Number::from(2)).await.unwrap().unwrap();
    assert_eq!(*recorder.0.lock().unwrap(), [&["connect to a Unix socket", "connected"][..], &rest].concat());
}

#[tokio::test]
async fn large_requests_over_tls_do_not_deadlock() {
    const COUNT: usize = 1 << 22;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_front, connector) = tls(&listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut pipeline = Pipeline::open(connector, 65_536, None).await.unwrap();
    pipeline.send(vec![b'x'; COUNT].into(), true);
    let mut bytes = 0;
    while bytes < COUNT {
        bytes += pipeline.reply(&mut BytesCodec::new()).await.unwrap().len();
    }
    assert_eq!(bytes, COUNT);
    assert!(matches!(pipeline.reply(&mut BytesCodec::new()).await.unwrap_err().kind, ErrorKind::Closed));
}

#[tokio::test]
async fn an_early_reply_over_tls_is_a_violation() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_front, connector) = tls(&listener.local_addr().unwrap().to_string());
    let mut pipeline = Pipeline::open(connector, 64, Some(b'e')).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    pipeline.check_early().unwrap();
    stream.write_all(b"d4.0\n").await.unwrap();
    let early = async {
        loop {
            if let Err(error) = pipeline.check_early() {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = timeout(TEST_TIMEOUT, early).await.unwrap();
    assert!(matches!(error.kind, ErrorKind::Protocol(Violation::Unsolicited)), "{error}");
}
