//! Hostile and faulty clients: each gets its error reply or a close, and other clients are unaffected.

mod support;

use std::time::Duration;

use proto::server::connection::Summary;
use proto::testing::TEST_TIMEOUT;
use proto::testing::blocking::{random_bytes, random_input};
use proto::testing::nonblocking::expect;
use socket2::SockRef;
use support::{read_to_end, start};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn an_endless_request_gets_an_error_reply_that_no_reset_destroys() {
    let server = start(&[]);
    for byte in [b'1', b'x', b' ', 0] {
        let mut request = vec![byte; 1 << 20];
        request[0] = b'a';
        assert_eq!(
            server.send_and_wait(&request).await,
            "eTOOLONG a request has at most 512 bytes before its end",
            "{byte}"
        );
    }
    assert!(server.serves().await);
}

#[tokio::test]
async fn other_protocols_get_an_error_reply_per_line() {
    let server = start(&[]);
    let received = server.exchange(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").await;
    assert_eq!(received.lines().count(), 3);
    assert!(received.lines().all(|line| line.starts_with("eBADOP '")), "{received}");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert!(server.send_and_wait(hello).await.starts_with(r"eBADOP '\x16'"));
}

#[tokio::test]
async fn random_bytes_get_replies_and_a_clean_close() {
    let server = start(&[]);
    let mut random = random_bytes(1);
    for _ in 0..1_000 {
        let received = server.exchange(&random_input(&mut random)).await;
        assert!(received.is_ascii());
        assert!(received.lines().all(|line| line.starts_with(['d', 'e'])), "{received}");
    }
    assert_eq!(server.stop().await, Summary { accepted: 1_000, ..Summary::default() });
}

#[tokio::test]
async fn connections_that_are_reset_free_their_permits() {
    let server = start(&[("limits.max_connections", "10")]);
    for request in [&b""[..], b"a", b"a2", b"a2\nb3\n"] {
        for _ in 0..50 {
            let mut stream = server.connect().await;
            // At most ten are admitted; a rejected one may be closed before this write.
            let _ = stream.write_all(request).await;
            // Closing with a linger time of zero sends a reset (socket(7), SO_LINGER).
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
        }
    }
    // If the 200 connections above held their permits, this one would be rejected.
    timeout(TEST_TIMEOUT, async { while !server.serves().await {} }).await.unwrap();
    assert_eq!(server.stop().await.panicked, 0);
}

#[tokio::test]
async fn a_client_over_the_limit_is_rejected_and_a_closed_connection_makes_room() {
    let server = start(&[("limits.max_connections", "2"), ("timeouts.request", "1h"), ("timeouts.idle", "1h")]);
    let mut first = server.connect().await;
    first.write_all(b"a2").await.unwrap();
    expect(&mut first, "d4.0").await;
    let mut second = server.connect().await;
    second.write_all(b"a2\n").await.unwrap();
    expect(&mut second, "d4.0\n").await;
    let busy = "eBUSY as many connections are open as this server takes: try again later";
    for _ in 0..100 {
        assert_eq!(server.send_and_wait(b"").await, busy);
    }
    drop(first);
    timeout(TEST_TIMEOUT, async { while !server.serves().await {} }).await.unwrap();
    second.write_all(b"b2\n").await.unwrap();
    expect(&mut second, "d8.0\n").await;
}

#[tokio::test]
async fn a_client_over_the_limit_per_ip_is_rejected() {
    let server = start(&[("limits.max_connections_per_ip", "1"), ("timeouts.request", "1h"), ("timeouts.idle", "1h")]);
    let _first = server.connect().await;
    assert!(server.send_and_wait(b"").await.starts_with("eBUSY "));
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(server.address).await.unwrap();
    other.write_all(b"a2").await.unwrap();
    expect(&mut other, "d4.0").await;
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_all_served() {
    let server = start(&[]);
    let clients: Vec<_> = (0..1_000).map(|_| server.exchange(b"a2")).collect();
    for reply in futures::future::join_all(clients).await {
        assert_eq!(reply, "d4.0");
    }
}

#[tokio::test]
async fn a_drain_replies_to_every_request_and_closes_cleanly() {
    let server = start(&[]);
    let mut idle = server.connect().await;
    idle.write_all(b"a2\n").await.unwrap();
    expect(&mut idle, "d4.0\n").await;
    // These requests are sent. When the drain begins they may be read, in a socket, or in the accept queue.
    let mut requests = Vec::new();
    for _ in 0..100 {
        let mut stream = server.connect().await;
        stream.write_all(b"c2").await.unwrap();
        requests.push(stream);
    }
    server.shutdown.trigger();
    for mut stream in requests {
        assert_eq!(read_to_end(&mut stream).await, "d16.0");
    }
    assert_eq!(read_to_end(&mut idle).await, "");
    drop(idle);
    assert_eq!(server.stop().await, Summary { accepted: 101, ..Summary::default() });
}

/// Clients connect and send requests at full speed during the shutdown: every connection that is made gets its reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_no_request() {
    for _ in 0..3 {
        let server = start(&[]);
        let address = server.address;
        let clients: Vec<_> = (0..16)
            .map(|_| {
                tokio::spawn(async move {
                    let mut replied = 0_u64;
                    while let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
                        stream.write_all(b"a2").await.unwrap();
                        stream.shutdown().await.unwrap();
                        assert_eq!(read_to_end(&mut stream).await, "d4.0");
                        replied += 1;
                    }
                    replied
                })
            })
            .collect();
        for _ in 0..100 {
            assert!(server.serves().await);
        }
        let summary = server.stop().await;
        let mut replied = 100;
        for client in clients {
            replied += client.await.unwrap();
        }
        assert_eq!(summary, Summary { accepted: replied, ..Summary::default() });
    }
}
