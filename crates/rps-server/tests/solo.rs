//! The solo game: raw bytes to a server in this process.

mod support;

use std::time::{Duration, Instant};

use proto::server::connection::Summary;
use proto::testing::TEST_TIMEOUT;
use proto::testing::generator::Zeros;
use proto::testing::nonblocking::read_to_end;
use proto::wire::rps::{Move, Reply};
use rps_server::game::judge;
use rps_server::house::ThreadGenerator;
use support::{read_reply, start};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn each_move_gets_one_correct_reply() {
    let server = start(&[], || Zeros);
    let moves: Vec<Move> = (0..100_000).map(|n| Move::ALL[n % 7 % 3]).collect();
    let bytes: Vec<u8> = moves.iter().map(|mv| mv.byte()).collect();
    let expected: Vec<u8> = moves.iter().map(|&mine| Reply::Judged(judge(mine, Move::Scissors)).byte()).collect();
    assert!(server.exchange(&bytes).await == expected, "100,000 replies, byte for byte");
}

#[tokio::test]
async fn a_client_that_sends_one_byte_and_reads_one_byte_plays_many_rounds() {
    let server = start(&[], || ThreadGenerator);
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for round in 0..300 {
        stream.write_all(&[Move::ALL[round % 3].byte()]).await.unwrap();
        assert!(b"xyz".contains(&read_reply(&mut stream).await));
    }
}

#[tokio::test]
async fn line_ends_get_no_reply_and_each_invalid_byte_gets_an_error_reply() {
    let server = start(&[], || ThreadGenerator);
    let replies = server.exchange(b"1\r\n\n9\n2 x\r3\0").await;
    let kinds: Vec<u8> = replies.iter().map(|reply| if b"xyz".contains(reply) { b'+' } else { *reply }).collect();
    assert_eq!(kinds, b"+e+ee+e");
    assert_eq!(server.exchange(b"").await, b"");
}

#[tokio::test]
async fn the_sixteenth_bad_byte_gets_a_reply_and_the_connection_closes_without_a_reset() {
    let server = start(&[], || ThreadGenerator);
    let mut stream = server.connect().await;
    stream.write_all(&[b'?'; 10_000]).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, [b'e'; 16]);
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let replies = read_to_end(&mut stream).await;
    assert_eq!(replies.split(|&reply| reply == b'e').count() - 1, 16);
}

#[tokio::test]
async fn a_player_over_the_limit_gets_f_and_is_closed() {
    let server = start(&[("limits.max_connections", "1")], || ThreadGenerator);
    let mut first = server.connect().await;
    first.write_all(b"1").await.unwrap();
    read_reply(&mut first).await;
    assert_eq!(read_to_end(&mut server.connect().await).await, b"f");
    first.write_all(b"1").await.unwrap();
    read_reply(&mut first).await;
    drop(first);
    let freed = timeout(TEST_TIMEOUT, async { while server.exchange(b"1").await == b"f" {} });
    freed.await.unwrap();
}

#[tokio::test]
async fn an_idle_player_is_closed_without_a_reply() {
    let server = start(&[("duel.window", "\"100ms\""), ("timeouts.idle", "\"300ms\"")], || ThreadGenerator);
    let started = Instant::now();
    assert_eq!(read_to_end(&mut server.connect().await).await, b"");
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_drain_replies_to_each_move_that_was_sent() {
    let server = start(&[], || ThreadGenerator);
    let mut idle = server.connect().await;
    idle.write_all(b"1").await.unwrap();
    read_reply(&mut idle).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = server.connect().await;
        stream.write_all(b"123").await.unwrap();
        streams.push(stream);
    }
    server.shutdown.trigger();
    for mut stream in streams {
        assert_eq!(read_to_end(&mut stream).await.len(), 3);
    }
    assert_eq!(read_to_end(&mut idle).await, b"");
    drop(idle);
    assert_eq!(server.stop().await, Summary { accepted: 101, ..Summary::default() });
}
