//! The duel over in-memory streams of a few bytes, under a paused clock: every wait, exactly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use proto::server::connection;
use proto::server::{CloseReason, ConnectionTimeouts, Handler, Shutdown};
use rps_server::config::Config;
use rps_server::duel::handler::DuelHandler;
use rps_server::duel::hub::DuelHub;
use rps_server::house::{House, ThreadGenerator};
use rps_server::solo::SoloHandler;
use support::join_in_memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(30);

/// A duel in memory, with the default configuration.
struct Duel {
    table: Arc<DuelHub>,
    shutdown: Shutdown,
}

impl Duel {
    fn new() -> Self {
        Self { table: DuelHub::new(WINDOW), shutdown: Shutdown::new(8 * SECOND) }
    }

    /// A player's end of a connection that holds `room` bytes each way, and what will become of it.
    fn join(&self, room: usize) -> (DuplexStream, JoinHandle<CloseReason>) {
        let (ours, theirs) = duplex(room);
        (ours, join_in_memory(theirs, &self.table, &self.shutdown))
    }

    /// Two players who are partners by now.
    async fn partners(&self) -> [(DuplexStream, JoinHandle<CloseReason>); 2] {
        let (mut one, mut other) = (self.join(8), self.join(8));
        one.0.write_all(b"2").await.unwrap();
        other.0.write_all(b"3").await.unwrap();
        assert_eq!((hear(&mut one.0, 1).await, hear(&mut other.0, 1).await), ("z".into(), "y".into()));
        [one, other]
    }
}

async fn hear(player: &mut DuplexStream, length: usize) -> String {
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
async fn nothing_of_a_move_is_told_before_both_have_moved() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, _)] = duel.partners().await;
    for round in 0..5 {
        one.write_all(b"1").await.unwrap();
        for player in [&mut one, &mut other] {
            assert!(timeout(5 * SECOND, player.read_u8()).await.is_err(), "round {round}: neither hears anything");
        }
        other.write_all(b"2").await.unwrap();
        assert_eq!((hear(&mut one, 1).await, hear(&mut other, 1).await), ("z".into(), "y".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_sent_ahead_comes_into_play_when_the_one_before_it_is_answered() {
    let duel = Duel::new();
    let (mut one, _served) = duel.join(8);
    let start = Instant::now();
    one.write_all(b"12\r\n3").await.unwrap();
    for answered in 1..=2 {
        assert_eq!(hear(&mut one, 1).await, "v");
        assert_eq!(start.elapsed(), answered * WINDOW);
    }
    // The third has been in play for a moment of its own window by now.
    let (mut other, _served) = duel.join(8);
    other.write_all(b"1").await.unwrap();
    assert_eq!((hear(&mut one, 1).await, hear(&mut other, 1).await), ("z".into(), "y".into()));
    assert_eq!(start.elapsed(), 2 * WINDOW);
}

#[tokio::test(start_paused = true)]
async fn games_of_moves_that_were_all_sent_ahead_are_judged_one_by_one() {
    for room in [1, 2, 7, 64, 4096] {
        let duel = Duel::new();
        let start = Instant::now();
        let moves = [b"123123123".repeat(50), b"111222333".repeat(50)];
        let playing = moves.map(|moves| {
            let (mut read, mut write) = tokio::io::split(duel.join(room).0);
            tokio::spawn(async move { (write.write_all(&moves).await, write.shutdown().await) });
            tokio::spawn(async move {
                let mut answers = String::new();
                read.read_to_string(&mut answers).await.unwrap();
                answers
            })
        });
        let [one, other] = playing;
        assert_eq!(one.await.unwrap(), "xyzzxyyzx".repeat(50), "room for {room}");
        assert_eq!(other.await.unwrap(), "xzyyxzzyx".repeat(50), "room for {room}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_move_is_answered_in_its_turn_and_line_ends_are_not() {
    let duel = Duel::new();
    let (mut one, _served) = duel.join(64);
    let start = Instant::now();
    one.write_all(b"?\n1\r\n?2").await.unwrap();
    assert_eq!(hear(&mut one, 1).await, "e");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(hear(&mut one, 2).await, "ve", "the answer to the second bad byte waits for that to the move");
    assert_eq!(start.elapsed(), WINDOW);
}

#[tokio::test(start_paused = true)]
async fn the_sixteenth_bad_byte_ends_the_connection_and_its_player_is_gone_at_once() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, other_served)] = duel.partners().await;
    let (mut third, _served) = duel.join(8);
    one.write_all(b"1").await.unwrap();
    third.write_all(b"2").await.unwrap();
    let start = Instant::now();
    let (mut read, mut write) = tokio::io::split(&mut other);
    let sending = write.write_all(&[b'?'; 20]);
    let mut answers = String::new();
    let (sent, heard) = tokio::join!(sending, read.read_to_string(&mut answers));
    sent.unwrap();
    heard.unwrap();
    assert_eq!(answers, "e".repeat(16));
    // The survivor meets the one who waits, and not only when the closed connection has ceased to linger.
    assert_eq!((hear(&mut one, 1).await, hear(&mut third, 1).await), ("z".into(), "y".into()));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(matches!(other_served.await.unwrap(), CloseReason::Finished));
}

#[tokio::test(start_paused = true)]
async fn an_idle_player_is_let_go_of_without_a_word_and_one_who_waits_is_not() {
    let duel = Duel::new();
    let start = Instant::now();
    let [(mut one, _), (mut other, served)] = duel.partners().await;
    for _ in 0..10 {
        one.write_all(b"1").await.unwrap();
        assert_eq!(hear(&mut one, 1).await, "v");
    }
    assert_eq!(start.elapsed(), 10 * WINDOW);
    assert_eq!(read_to_end(&mut other).await, "");
    assert_eq!(start.elapsed(), 10 * WINDOW, "five minutes are the idle time");
    drop(other);
    assert!(matches!(served.await.unwrap(), CloseReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_first_move_at_the_end_of_the_idle_time_still_has_its_window() {
    let duel = Duel::new();
    let (mut one, _served) = duel.join(8);
    let start = Instant::now();
    sleep(299 * SECOND).await;
    one.write_all(b"1").await.unwrap();
    assert_eq!(hear(&mut one, 1).await, "v");
    assert_eq!(start.elapsed(), 329 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_player_who_sends_a_million_moves_has_no_more_of_them_taken_than_a_few() {
    let duel = Duel::new();
    let (mut eager, _served) = duel.join(64);
    let mut taken = 0;
    while timeout(SECOND, eager.write_u8(b'1')).await.is_ok_and(|written| written.is_ok()) {
        taken += 1;
        assert!(taken < 1_000_000);
    }
    assert!(taken <= 64 + 16, "{taken}: 64 are still in the stream");
    // Nor are more taken with each window that passes.
    for _ in 0..5 {
        assert_eq!(hear(&mut eager, 1).await, "v");
        let more = timeout(SECOND, eager.write_all(&[b'1'; 100])).await;
        assert!(more.is_err(), "there is no room for a hundred more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_who_never_reads_is_let_go_of_at_the_write_deadline_and_the_partner_plays_on() {
    let duel = Duel::new();
    // One byte of room: the second answer is the one that finds none.
    let (mut deaf, served) = duel.join(1);
    let (mut one, _) = duel.join(8);
    let start = Instant::now();
    let sending = tokio::spawn(async move { deaf.write_all(&[b'1'; 100]).await.map(|()| deaf) });
    one.write_all(b"22").await.unwrap();
    assert_eq!(hear(&mut one, 2).await, "yy");
    one.write_all(b"2").await.unwrap();
    assert!(matches!(served.await.unwrap(), CloseReason::WriteTimeout));
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert!(sending.await.unwrap().is_err());
    // The move that the deaf one never met has gone to the lobby, and has the time that it had left.
    let (mut third, _) = duel.join(8);
    sleep(Duration::from_millis(24_999)).await;
    third.write_all(b"3").await.unwrap();
    assert_eq!((hear(&mut one, 1).await, hear(&mut third, 1).await), ("z".into(), "y".into()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_every_move_that_is_in_play_and_those_behind_it_and_ends_the_stream() {
    let duel = Duel::new();
    let [(mut one, one_served), (mut other, other_served)] = duel.partners().await;
    let (mut third, _) = duel.join(64);
    one.write_all(b"1").await.unwrap();
    third.write_all(b"2?33").await.unwrap();
    sleep(SECOND).await;
    duel.shutdown.trigger();
    let start = Instant::now();
    let (one_heard, other_heard) = tokio::join!(read_to_end(&mut one), read_to_end(&mut other));
    assert_eq!((one_heard.as_str(), other_heard.as_str()), ("v", ""));
    assert_eq!(read_to_end(&mut third).await, "vevv");
    // A moment for a move that may be on its way, once for all that was sent ahead, and one more for what may follow.
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    drop((one, other));
    assert!(matches!(one_served.await.unwrap(), CloseReason::Drained));
    assert!(matches!(other_served.await.unwrap(), CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_moves_meet_that_were_sent_before_it() {
    let duel = Duel::new();
    let [(mut one, _), (mut other, _)] = duel.partners().await;
    one.write_all(b"1").await.unwrap();
    sleep(SECOND).await;
    // On its way when the signal comes.
    other.write_all(b"2").await.unwrap();
    duel.shutdown.trigger();
    assert_eq!((read_to_end(&mut one).await, read_to_end(&mut other).await), ("z".into(), "y".into()));
}

/// A driver of 376 bytes makes a task of 512: tokio adds its own fields and rounds up to a multiple of 128.
#[tokio::test]
async fn an_idle_connection_takes_at_most_376_bytes_in_its_task() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let timeouts = Arc::new(Config::default().connection_timeouts());
    let solo = SoloHandler::new(House::new(ThreadGenerator), 16, Arc::default());
    let duel = DuelHandler::new(DuelHub::new(WINDOW).join(), 16, Arc::default());
    let (solo, duel) = (size(&listener, solo, &timeouts).await, size(&listener, duel, &timeouts).await);
    assert!(solo <= 376 && duel <= 376, "solo {solo}, duel {duel}");
}

async fn size<H: Handler>(listener: &TcpListener, handler: H, timeouts: &Arc<ConnectionTimeouts>) -> usize {
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    size_of_val(&connection::run(stream, handler, Arc::clone(timeouts), Arc::default(), Shutdown::new(SECOND)))
}
