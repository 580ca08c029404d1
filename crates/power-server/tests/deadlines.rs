//! One test in real time for each kind of deadline: a timer that is never started passes every test on a paused clock.

mod support;

use std::time::{Duration, Instant};

use proto::testing::PATIENCE;
use proto::testing::nonblocking::expect;
use support::{hear_to_the_end, start};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn a_client_that_stays_silent_is_told_at_the_request_deadline() {
    let server = start(&[("timeouts.request", "\"300ms\"")]);
    let began = Instant::now();
    let mut stream = server.connect().await;
    assert_eq!(hear_to_the_end(&mut stream).await, "eTIMEOUT no whole request came within 300ms");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_client_that_dribbles_is_told_at_the_same_deadline() {
    let server = start(&[("timeouts.request", "\"500ms\"")]);
    let began = Instant::now();
    let (mut read, mut write) = server.connect().await.into_split();
    let dribbling = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        write.write_all(b"a").await.unwrap();
        // A blank more keeps it a part of a request, for as long as one likes.
        while write.write_all(b" ").await.is_ok() {
            every.tick().await;
        }
    });
    let mut heard = String::new();
    timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_string(&mut read, &mut heard)).await.unwrap().unwrap();
    dribbling.abort();
    assert_eq!(heard, "eTIMEOUT no whole request came within 500ms");
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_later_request_has_its_own_deadline_and_its_error_is_a_line() {
    let server = start(&[("timeouts.request", "\"300ms\"")]);
    let mut stream = server.connect().await;
    stream.write_all(b"a2\na").await.unwrap();
    assert_eq!(hear_to_the_end(&mut stream).await, "d4.0\neTIMEOUT no whole request came within 300ms\n");
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let server = start(&[("timeouts.idle", "\"300ms\"")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    assert_eq!(hear_to_the_end(&mut stream).await, "");
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
async fn a_client_that_never_reads_is_let_go_of_at_the_write_deadline() {
    let server = start(&[("timeouts.write", "\"300ms\""), ("timeouts.idle", "1h"), ("timeouts.request", "1h")]);
    let mut stream = server.connect().await;
    let began = Instant::now();
    let error = timeout(PATIENCE, async {
        loop {
            if let Err(error) = stream.write_all(&b"x\n".repeat(4096)).await {
                return error;
            }
        }
    });
    let error = error.await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300), "{error}");
    assert!(server.serves().await);
}

#[tokio::test]
async fn a_drain_ends_by_its_deadline() {
    let server = start(&[("timeouts.drain", "\"300ms\""), ("timeouts.request", "1h"), ("timeouts.idle", "2h")]);
    let mut part = server.connect().await;
    part.write_all(b"a").await.unwrap();
    assert!(server.serves().await);
    let began = Instant::now();
    let summary = server.stop().await;
    assert_eq!((summary.accepted, summary.cut), (2, 1));
    // The last tenth is for letting go and counting.
    assert!(began.elapsed() >= Duration::from_millis(270));
}
