//! One test in real time for each kind of timeout: a timer that is never started passes every test on a paused clock.
//! Those for a silent or dribbling client and for one that never reads are rows 2 and 6 in `faults.rs`.

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
async fn an_idle_connection_is_closed_without_a_word() {
    let server = start(&[("timeouts.idle", "\"300ms\"")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn bare_bytes_are_a_request_once_they_have_settled() {
    let server = start(&[("framing.settle", "\"300ms\"")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.exchange(b"a2\n").await, "d4.0\n", "a line has nothing to settle");
}

#[tokio::test]
async fn a_drain_ends_by_its_deadline() {
    let server = start(&[("timeouts.drain", "\"300ms\""), ("timeouts.request", "1h"), ("timeouts.idle", "2h")]);
    let mut part = server.connect().await;
    part.write_all(b"a").await.unwrap();
    assert!(server.serves().await);
    let began = Instant::now();
    let summary = server.stop().await;
    assert_eq!((summary.accepted, summary.aborted), (2, 1));
    // The last tenth is for letting go and counting.
    assert!(began.elapsed() >= Duration::from_millis(270));
}
