//! The clients as a library: what each failure says of its phase, and of whose fault it was.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use proto::client::power::Client;
use proto::client::rps::Connection;
use proto::client::{Error, ErrorKind, Fault, Phase, Timeouts};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::Move;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SHORT: Timeouts = Timeouts::all(Duration::from_millis(200));

/// A server that says this to each client, after its first bytes, and then leaves the connection open.
async fn server(says: &'static [u8]) -> Result<String, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read_u8().await.is_ok() && stream.write_all(says).await.is_ok() {
                open.push(stream);
            }
        }
    });
    Ok(address)
}

async fn ask(address: String) -> Option<Error> {
    Client::new(address).with_timeouts(SHORT).ask(Operation::Square, Number::from(2)).await.err()
}

async fn throw(address: &str) -> Option<Error> {
    match Connection::open(address, SHORT).await {
        Ok(mut game) => game.throw(Move::Rock).await.err(),
        Err(error) => Some(error),
    }
}

#[track_caller]
fn assert_failed(error: Option<Error>, phase: Phase, fault: Fault) -> ErrorKind {
    let error = error.expect("there is no answer");
    assert_eq!((error.phase, error.fault()), (phase, fault), "{error}");
    error.kind
}

#[tokio::test]
async fn an_address_that_nobody_has_is_the_callers_fault() {
    assert_failed(ask("nosuchhost.invalid:1".to_owned()).await, Phase::Resolve, Fault::Caller);
    assert_failed(throw("no port").await, Phase::Resolve, Fault::Caller);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_the_networks() {
    // A port that was free a moment ago, and that is not given out again at once.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let kind = assert_failed(ask(address.clone()).await, Phase::Connect, Fault::Network);
    assert!(matches!(kind, ErrorKind::Io(_)), "{kind:?}");
    assert_failed(throw(&address).await, Phase::Connect, Fault::Network);
}

#[tokio::test]
async fn a_server_that_stays_silent_is_the_servers() {
    let address = server(b"").await.unwrap();
    let kind = assert_failed(ask(address.clone()).await, Phase::Reply, Fault::Server);
    assert!(matches!(kind, ErrorKind::TimedOut(limit) if limit == SHORT.reply), "{kind:?}");
    assert_failed(throw(&address).await, Phase::Reply, Fault::Server);
}

#[tokio::test]
async fn a_reply_without_its_end_is_the_servers() {
    let kind = assert_failed(ask(server(b"d4.0").await.unwrap()).await, Phase::End, Fault::Server);
    assert!(matches!(kind, ErrorKind::TimedOut(_)), "{kind:?}");
}

#[tokio::test]
async fn what_is_no_reply_is_the_servers() {
    let kind = assert_failed(ask(server(b"HTTP/1.1 400\r\n").await.unwrap()).await, Phase::Reply, Fault::Server);
    assert!(matches!(kind, ErrorKind::Protocol(_)), "{kind:?}");
    let kind = assert_failed(throw(&server(b"?").await.unwrap()).await, Phase::Reply, Fault::Server);
    assert!(matches!(kind, ErrorKind::Protocol(_)), "{kind:?}");
    let kind = assert_failed(throw(&server(b"f").await.unwrap()).await, Phase::Reply, Fault::Server);
    assert!(matches!(kind, ErrorKind::Full), "{kind:?}");
}
