//! One test in real time for each kind of timeout. A timer that is never armed would pass every test with a paused clock.
//! Rows 2 and 6 of `faults.rs` test the request timeout and the write timeout.

mod support;

use std::time::{Duration, Instant};

use proto::testing::nonblocking::expect;
use support::{read_to_end, start};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_later_request_has_its_own_deadline_and_its_error_is_a_line() {
    let server = start(&[("timeouts.request", "\"300ms\"")]);
    let mut stream = server.connect().await;
    stream.write_all(b"a2\na").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "d4.0\neTIMEOUT no whole request came within 300ms\n");
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_reply() {
    let server = start(&[("timeouts.idle", "\"300ms\"")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_bare_request_is_complete_after_the_settle_time() {
    let server = start(&[("framing.settle", "\"300ms\"")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.exchange(b"a2\n").await, "d4.0\n", "a line does not settle");
}

#[tokio::test]
async fn a_drain_ends_by_its_deadline() {
    let drain = [("timeouts.drain", "\"300ms\""), ("timeouts.write", "\"1h\""), ("timeouts.idle", "\"2h\"")];
    let server = start(&drain);
    let mut unread = server.connect().await;
    let sending = tokio::spawn(async move { while unread.write_all(&b"a2\n".repeat(1000)).await.is_ok() {} });
    assert!(server.serves().await);
    let began = Instant::now();
    let summary = server.stop().await;
    assert_eq!((summary.accepted, summary.aborted), (2, 1));
    // Connections are aborted in the last tenth of the timeout (`ABORT_MARGIN`).
    assert!(began.elapsed() >= Duration::from_millis(270));
    sending.await.unwrap();
}
