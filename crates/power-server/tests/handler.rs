//! The handler over in-memory streams of a few bytes and with a paused clock, so that every split and every timeout is
//! exact.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use power_server::config::Config;
use power_server::handler::{PowerHandler, PowerSettings};
use proto::server::connection::{ConnectionContext, run};
use proto::server::{Event, Handler, MAX_OUTPUT_BYTES, Shutdown, SocketStream, WaitFor};
use support::connect_in_memory as connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Sends one piece per second and reads to the end. Returns the replies and the time that it took.
async fn converse(client: DuplexStream, pieces: &'static [&str], half_close: bool) -> (String, Duration) {
    let began = Instant::now();
    let (mut read, mut write) = split(client);
    let sending = tokio::spawn(async move {
        for piece in pieces {
            // The server may close before the last piece.
            let _ = write.write_all(piece.as_bytes()).await;
            sleep(SECOND).await;
        }
        if half_close {
            let _ = write.shutdown().await;
        }
        write
    });
    let mut received = String::new();
    read.read_to_string(&mut received).await.unwrap();
    let took = began.elapsed();
    drop(sending.await.unwrap());
    (received, took)
}

#[tokio::test(start_paused = true)]
async fn lines_get_replies_through_streams_of_any_size() {
    for room in [1, 2, 3, 8, 64, 4096] {
        let (mut read, mut write) = split(connect(room, &[]));
        let sending = tokio::spawn(async move {
            write.write_all("\na2\r\nb-2\n\nx\nc0.5\nd1e5".as_bytes()).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut received = String::new();
        read.read_to_string(&mut received).await.unwrap();
        sending.await.unwrap();
        let lines: Vec<_> = received.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 5, "{received}");
        assert!(lines[2].starts_with("eBADOP 'x'"));
        assert_eq!([lines[0], lines[1], lines[3], lines[4]], ["d4.0\n", "d-8.0\n", "d0.0625\n", "d100000.0\n"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_request_waits_for_more_bytes() {
    assert_eq!(converse(connect(8, &[]), &["a", "-", "2"], true).await.0, "d4.0");
    assert_eq!(converse(connect(8, &[]), &["a1e", "2"], true).await.0, "d10000.0");
    assert_eq!(converse(connect(8, &[]), &["a2\r", "\n"], true).await.0, "d4.0\n");
}

#[tokio::test(start_paused = true)]
async fn a_partial_request_times_out_at_its_deadline() {
    let late = "eTIMEOUT no whole request came within 5s";
    assert_eq!(converse(connect(64, &[]), &["a"], false).await, (late.to_owned(), 5 * SECOND));
    assert_eq!(converse(connect(64, &[]), &["a", " ", " ", " ", " ", " "], false).await, (late.to_owned(), 5 * SECOND));
    let (received, took) = converse(connect(64, &[]), &["a2\n", "b"], false).await;
    assert_eq!(
        (received, took),
        (format!("d4.0\n{late}\n"), 6 * SECOND),
        "counted from the first byte of the second request"
    );
}

#[tokio::test(start_paused = true)]
async fn blank_lines_are_not_requests_and_extend_no_deadline() {
    let (received, took) = converse(connect(64, &[]), &["\n", "\n", "\r\n", "\n", "\n", "\n"], false).await;
    assert_eq!((received.as_str(), took), ("eTIMEOUT no whole request came within 5s\n", 5 * SECOND));
    let (received, took) = converse(connect(64, &[("timeouts.idle", "3s")]), &["a2\n", "\n", "\n", "\n"], false).await;
    assert_eq!((received.as_str(), took), ("d4.0\n", 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn settling_joins_the_pieces_of_a_bare_request() {
    let settle = [("framing.settle", "2s")];
    let (received, took) = converse(connect(64, &settle), &["a1", "2"], true).await;
    assert_eq!((received.as_str(), took), ("d144.0", 2 * SECOND), "the half-close ends the wait");
    let settle = [("framing.settle", "2s"), ("timeouts.idle", "10s")];
    let (received, took) = converse(connect(64, &settle), &["a1", "2"], false).await;
    assert_eq!(
        (received.as_str(), took),
        ("d144.0", 13 * SECOND),
        "settled 2 s after the last byte, then idle for 10 s"
    );
    let settle = [("framing.settle", "500ms"), ("timeouts.idle", "10s")];
    let (received, _) = converse(connect(64, &settle), &["a1", "2"], false).await;
    assert!(received.starts_with("d1.0eBADOP"), "{received}");
}

#[tokio::test(start_paused = true)]
async fn a_settling_request_is_complete_at_the_request_deadline() {
    let settle = [("framing.settle", "3s"), ("timeouts.request", "4s"), ("timeouts.idle", "10s")];
    let (received, took) = converse(connect(64, &settle), &["a1", "1", "1"], false).await;
    assert_eq!((received.as_str(), took), ("d12321.0", 14 * SECOND));
}

/// A driver of 368 bytes makes a task of 512: the server and tokio add fields and round up to a multiple of 128.
#[tokio::test]
async fn an_idle_connection_takes_at_most_368_bytes_in_its_task() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = SocketStream::from(OwnedFd::from(stream));
    let config = Config::default();
    let handler = PowerHandler::new(Arc::new(PowerSettings::new(&config, Arc::default())));
    let timeouts = config.connection_timeouts();
    let context = ConnectionContext::new(timeouts, Arc::default(), Shutdown::new(SECOND));
    let driver = run(stream, handler, Arc::new(context));
    assert!(size_of_val(&driver) <= 368, "{} bytes", size_of_val(&driver));
}

/// Bad lines have the longest replies for their length.
#[test]
fn a_turn_writes_a_bounded_number_of_bytes_and_the_next_one_continues() {
    let mut handler = PowerHandler::new(Arc::new(PowerSettings::new(&Config::default(), Arc::default())));
    let lines = PowerHandler::READ_BYTES / 2;
    let mut input = BytesMut::from(&b"x\n".repeat(lines)[..]);
    let (mut replies, mut turns) = (0, 0);
    loop {
        let mut output = BytesMut::new();
        let progress = handler.handle(Event::Data, &mut input, &mut output, usize::MAX);
        replies += progress.replies;
        turns += 1;
        assert!(output.len() < MAX_OUTPUT_BYTES + 256, "{} bytes", output.len());
        assert_eq!(output[..].split(|&byte| byte == b'\n').skip(1).count() as u64, progress.replies);
        if progress.wait_for != WaitFor::Turn {
            assert_eq!(progress.wait_for, WaitFor::Request);
            break;
        }
    }
    assert_eq!((replies, input.is_empty()), (lines as u64, true));
    assert!(turns > 10, "{turns}");

    let mut input = BytesMut::from(&b"a1\na2\na3"[..]);
    let mut output = BytesMut::new();
    let progress = handler.handle(Event::Data, &mut input, &mut output, 1);
    assert_eq!((&output[..], progress.wait_for), (&b"d1.0\n"[..], WaitFor::Turn));
    let progress = handler.handle(Event::Data, &mut input, &mut output, 1);
    assert_eq!((&output[..], progress.wait_for), (&b"d1.0\nd4.0\n"[..], WaitFor::Turn));
    let progress = handler.handle(Event::Data, &mut input, &mut output, 1);
    assert_eq!((progress.replies, progress.wait_for), (0, WaitFor::MoreData));
}

/// Returns how many of ten equal requests get a reply in the first turn of at most `max_replies`.
fn replies_of_a_turn(request: &str, max_replies: usize) -> u64 {
    let mut handler = PowerHandler::new(Arc::new(PowerSettings::new(&Config::default(), Arc::default())));
    let mut input = BytesMut::from(request.repeat(10).as_bytes());
    let mut output = BytesMut::new();
    let progress = handler.handle(Event::Data, &mut input, &mut output, max_replies);
    assert_eq!(output[..].split(|&byte| byte == b'\n').skip(1).count() as u64, progress.replies, "{request:?}");
    assert_eq!(progress.wait_for == WaitFor::Turn, progress.replies < 10, "{request:?}");
    progress.replies
}

#[test]
fn a_turn_has_few_requests_that_take_long_to_parse() {
    let longest = format!("d1.{}e-300\n", "7".repeat(500));
    for costly in
        ["d2.22507385850720138309e-308\n", "d17976931348623158079e289\r\n", " \n\nd12345678901234567890\n", &longest]
    {
        assert_eq!(replies_of_a_turn(costly, PowerHandler::TURN_REPLIES), 2, "{costly:?}");
        assert_eq!(replies_of_a_turn(costly, 1), 1, "{costly:?}");
        assert_eq!(replies_of_a_turn(costly, usize::MAX), 10, "{costly:?}");
    }
    let padded = format!("d{}1\n", " ".repeat(300));
    let invalid = format!("d{}x\n", "1".repeat(300));
    for cheap in [
        "a2\n",
        "d-2.2250738585072014e-308\r\n",
        "d-0.00012345678901234567\n",
        "d9007199254740993.0\n",
        &padded,
        &invalid,
    ] {
        assert_eq!(replies_of_a_turn(cheap, 9), 9, "{cheap:?}");
    }
}

#[test]
fn the_codes_of_error_replies_are_found_in_an_output() {
    let codes = |output: &[u8]| {
        let mut codes = Vec::new();
        PowerHandler::error_codes(output, &mut |code| codes.push(code));
        codes.join(" ")
    };
    for (output, expected) in [
        ("", ""),
        ("d4.0\nd1e+16\n", ""),
        ("eBADOP 'x' is not an op letter\nd4.0\neRANGE the result is too large\n", "badop range"),
        // The late line end of an earlier reply, and a last reply without one.
        ("\neTIMEOUT no whole request came within 5s", "timeout"),
        ("eOTHER\ne\neBADNUMBER x\n", ""),
    ] {
        assert_eq!(codes(output.as_bytes()), expected, "{output}");
    }
}
