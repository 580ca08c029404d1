//! The duel over in-memory streams that hold a few bytes, with a paused clock, so that each time is exact.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use proto::server::connection::{self, ConnectionContext};
use proto::server::{CloseReason, ConnectionTimeouts, Handler, Shutdown, SocketStream};
use rps_server::config::Config;
use rps_server::duel::handler::DuelHandler;
use rps_server::duel::hub::DuelHub;
use rps_server::house::{House, ThreadGenerator};
use rps_server::solo::SoloHandler;
use support::join_in_memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(30);

/// A duel in memory, with the default configuration.
struct Duel {
    hub: Arc<DuelHub>,
    shutdown: Shutdown,
}

impl Duel {
    fn new() -> Self {
        Self { hub: DuelHub::new(WINDOW), shutdown: Shutdown::new(8 * SECOND) }
    }

    /// Adds a player whose stream holds `capacity` bytes each way. Returns the player's end of the stream, and the server's
    /// task, which returns the close reason.
    fn join(&self, capacity: usize) -> (DuplexStream, JoinHandle<CloseReason>) {
        let (client, server) = duplex(capacity);
        (client, join_in_memory(server, &self.hub, &self.shutdown))
    }

    /// Adds two players and plays one round, so that they are partners.
    async fn partners(&self) -> [(DuplexStream, JoinHandle<CloseReason>); 2] {
        let (mut one, mut other) = (self.join(8), self.join(8));
        one.0.write_all(b"2").await.unwrap();
        other.0.write_all(b"3").await.unwrap();
        assert_eq!((read_replies(&mut one.0, 1).await, read_replies(&mut other.0, 1).await), ("z".into(), "y".into()));
        [one, other]
    }
}

async fn read_replies(player: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    player.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn read_to_end(player: &mut DuplexStream) -> String {
    let mut text = String::new();
    player.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn the_server_sends_nothing_about_a_move_before_both_players_have_moved() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, _)] = duel.partners().await;
    for round in 0..5 {
        one.write_all(b"1").await.unwrap();
        for player in [&mut one, &mut other] {
            assert!(
                timeout(5 * SECOND, player.read_u8()).await.is_err(),
                "round {round}: a byte before the second move"
            );
        }
        other.write_all(b"2").await.unwrap();
        assert_eq!((read_replies(&mut one, 1).await, read_replies(&mut other, 1).await), ("z".into(), "y".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_sent_ahead_comes_into_play_after_the_reply_to_the_move_before_it() {
    let duel = Duel::new();
    let (mut one, _server) = duel.join(8);
    let start = Instant::now();
    one.write_all(b"12\r\n3").await.unwrap();
    for replies in 1..=2 {
        assert_eq!(read_replies(&mut one, 1).await, "v");
        assert_eq!(start.elapsed(), replies * WINDOW);
    }
    // The third move has come into play, and its window has begun.
    let (mut other, _server) = duel.join(8);
    other.write_all(b"1").await.unwrap();
    assert_eq!((read_replies(&mut one, 1).await, read_replies(&mut other, 1).await), ("z".into(), "y".into()));
    assert_eq!(start.elapsed(), 2 * WINDOW);
}

#[tokio::test(start_paused = true)]
async fn moves_that_are_all_sent_ahead_are_judged_in_order() {
    for capacity in [1, 2, 7, 64, 4096] {
        let duel = Duel::new();
        let start = Instant::now();
        let moves = [b"123123123".repeat(50), b"111222333".repeat(50)];
        let players = moves.map(|moves| {
            let (mut read, mut write) = tokio::io::split(duel.join(capacity).0);
            tokio::spawn(async move { (write.write_all(&moves).await, write.shutdown().await) });
            tokio::spawn(async move {
                let mut replies = String::new();
                read.read_to_string(&mut replies).await.unwrap();
                replies
            })
        });
        let [one, other] = players;
        assert_eq!(one.await.unwrap(), "xyzzxyyzx".repeat(50), "capacity {capacity}");
        assert_eq!(other.await.unwrap(), "xzyyxzzyx".repeat(50), "capacity {capacity}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_byte_gets_its_reply_in_order_and_a_line_end_gets_no_reply() {
    let duel = Duel::new();
    let (mut one, _server) = duel.join(64);
    let start = Instant::now();
    one.write_all(b"?\n1\r\n?2").await.unwrap();
    assert_eq!(read_replies(&mut one, 1).await, "e");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(read_replies(&mut one, 2).await, "ve", "the second error reply comes after the reply to the move");
    assert_eq!(start.elapsed(), WINDOW);
}

#[tokio::test(start_paused = true)]
async fn the_sixteenth_bad_byte_closes_the_connection_and_the_player_leaves_at_once() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, other_server)] = duel.partners().await;
    let (mut third, _server) = duel.join(8);
    one.write_all(b"1").await.unwrap();
    third.write_all(b"2").await.unwrap();
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(&mut other);
    let sending = write.write_all(&[b'?'; 20]);
    let mut replies = String::new();
    let (sent, received) = tokio::join!(sending, read.read_to_string(&mut replies));
    sent.unwrap();
    received.unwrap();
    assert_eq!(replies, "e".repeat(16));
    // The remaining partner meets the third player at once, while the closed connection still discards input.
    assert_eq!((read_replies(&mut one, 1).await, read_replies(&mut third, 1).await), ("z".into(), "y".into()));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(matches!(other_server.await.unwrap(), CloseReason::Finished));
}

#[tokio::test(start_paused = true)]
async fn an_idle_player_is_closed_without_a_reply_and_a_player_with_a_move_in_play_is_not() {
    let duel = Duel::new();
    let start = Instant::now();
    let [(mut one, _), (mut other, server)] = duel.partners().await;
    for _ in 0..10 {
        one.write_all(b"1").await.unwrap();
        assert_eq!(read_replies(&mut one, 1).await, "v");
    }
    assert_eq!(start.elapsed(), 10 * WINDOW);
    assert_eq!(read_to_end(&mut other).await, "");
    assert_eq!(start.elapsed(), 10 * WINDOW, "the idle timeout is five minutes");
    drop(other);
    assert!(matches!(server.await.unwrap(), CloseReason::IdleTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_first_move_at_the_end_of_the_idle_timeout_gets_its_whole_window() {
    let duel = Duel::new();
    let (mut one, _server) = duel.join(8);
    let start = Instant::now();
    sleep(299 * SECOND).await;
    one.write_all(b"1").await.unwrap();
    assert_eq!(read_replies(&mut one, 1).await, "v");
    assert_eq!(start.elapsed(), 329 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_server_reads_at_most_16_moves_ahead() {
    let duel = Duel::new();
    let (mut player, _server) = duel.join(64);
    let mut sent = 0;
    while timeout(SECOND, player.write_u8(b'1')).await.is_ok_and(|written| written.is_ok()) {
        sent += 1;
        assert!(sent < 1_000_000);
    }
    assert!(sent <= 64 + 16, "{sent} moves, of which the stream holds 64");
    // Each reply makes room for few further moves.
    for _ in 0..5 {
        assert_eq!(read_replies(&mut player, 1).await, "v");
        let more = timeout(SECOND, player.write_all(&[b'1'; 100])).await;
        assert!(more.is_err(), "the server has read 100 more moves");
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_who_never_reads_is_closed_at_the_write_timeout_and_the_partner_stays() {
    let duel = Duel::new();
    // The stream holds one byte, so the second reply does not fit.
    let (mut never_reads, server) = duel.join(1);
    let (mut one, _) = duel.join(8);
    let start = Instant::now();
    let sending = tokio::spawn(async move { never_reads.write_all(&[b'1'; 100]).await.map(|()| never_reads) });
    one.write_all(b"22").await.unwrap();
    assert_eq!(read_replies(&mut one, 2).await, "yy");
    one.write_all(b"2").await.unwrap();
    assert!(matches!(server.await.unwrap(), CloseReason::WriteTimeout));
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert!(sending.await.unwrap().is_err());
    // The partner's move has gone to the lobby with the time that it had left.
    let (mut third, _) = duel.join(8);
    sleep(Duration::from_millis(24_999)).await;
    third.write_all(b"3").await.unwrap();
    assert_eq!((read_replies(&mut one, 1).await, read_replies(&mut third, 1).await), ("z".into(), "y".into()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_replies_to_moves_in_play_and_the_moves_behind_them_and_closes() {
    let duel = Duel::new();
    let [(mut one, one_server), (mut other, other_server)] = duel.partners().await;
    let (mut third, _) = duel.join(64);
    one.write_all(b"1").await.unwrap();
    third.write_all(b"2?33").await.unwrap();
    sleep(SECOND).await;
    duel.shutdown.trigger();
    let start = Instant::now();
    let (one_replies, other_replies) = tokio::join!(read_to_end(&mut one), read_to_end(&mut other));
    assert_eq!((one_replies.as_str(), other_replies.as_str()), ("v", ""));
    assert_eq!(read_to_end(&mut third).await, "vevv");
    // One grace period of 50 ms for the pending reply and all moves sent ahead, and one for further moves in flight.
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    drop((one, other));
    assert!(matches!(one_server.await.unwrap(), CloseReason::Drained));
    assert!(matches!(other_server.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_judges_moves_that_were_sent_before_it() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, _)] = duel.partners().await;
    one.write_all(b"1").await.unwrap();
    sleep(SECOND).await;
    // In flight when the drain begins.
    other.write_all(b"2").await.unwrap();
    duel.shutdown.trigger();
    assert_eq!((read_to_end(&mut one).await, read_to_end(&mut other).await), ("z".into(), "y".into()));
}

/// A driver of up to 376 bytes makes a task of 512: the server and tokio add fields and round up to a multiple of 128.
#[tokio::test]
async fn an_idle_connection_takes_at_most_376_bytes_in_its_task() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeouts = Config::default().connection_timeouts();
    let solo = SoloHandler::new(House::new(ThreadGenerator), 16, Arc::default());
    let duel = DuelHandler::new(DuelHub::new(WINDOW).join(), 16, Arc::default());
    let (solo, duel) = (size(&listener, solo, timeouts), size(&listener, duel, timeouts));
    assert!(solo <= 376 && duel <= 376, "solo {solo}, duel {duel}");
}

fn size<H: Handler>(listener: &TcpListener, handler: H, timeouts: ConnectionTimeouts) -> usize {
    let stream = SocketStream::from(OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
    let context = ConnectionContext::new(timeouts, Arc::default(), Shutdown::new(SECOND));
    size_of_val(&connection::run(stream, handler, Arc::new(context)))
}
