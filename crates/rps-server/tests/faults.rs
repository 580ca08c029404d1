//! The rows of FAULTS.md about long connections, tested against the program. The table is
//! `crates/power-server/tests/FAULTS.md`. After each fault the server runs, has had no panic, and holds no more files
//! than before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proto::testing::blocking::{self, connect, connect_from, exchange, expect, read_to_end, reset_on_close};
use proto::testing::clients::Clients;
use proto::testing::program::ServerProcess;
use proto::testing::{TEST_TIMEOUT, eventually, unread};
use rps_server::duel::hub::DuelHub;
use support::join_in_memory;
use support::program::start;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::{self, sleep};

fn read_reply(stream: &mut TcpStream) -> u8 {
    let mut reply = [0];
    stream.read_exact(&mut reply).unwrap();
    reply[0]
}

#[test]
fn row_03_after_a_half_close_the_client_gets_its_replies_and_a_clean_close() {
    let server = start(&["--set", "duel.window=300ms"]);
    let baseline = server.baseline();
    assert_eq!(exchange(server.address("solo"), b""), "");
    assert_eq!(exchange(server.address("solo"), b"123\r\n").len(), 3);
    assert_eq!(exchange(server.address("duel"), b""), "");
    assert_eq!(exchange(server.address("duel"), b"1"), "v");
    server.returns_to(baseline, "rps");
}

#[test]
fn row_04_each_byte_gets_a_reply_up_to_the_sixteenth_bad_byte() {
    let server = start(&["--set", "duel.window=100ms"]);
    let baseline = server.baseline();
    for service in ["solo", "duel"] {
        for sent in [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            &vec![0; 1 << 20],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaa",
        ] {
            let mut stream = connect(server.address(service));
            stream.write_all(sent).unwrap();
            let replies = read_to_end(&mut stream);
            // Count errors only: the inputs also contain moves, which get `v` in the duel.
            assert_eq!(replies.bytes().filter(|&reply| reply == b'e').count(), 16, "{service}: {replies}");
        }
    }
    let solo = server.address("solo");
    blocking::for_random_inputs(|bytes| assert_eq!(exchange(solo, bytes).len(), reply_count(bytes)));
    server.returns_to(baseline, "rps");
}

/// Returns the number of replies to `bytes` in the solo game: one per byte that is not a line end, up to the sixteenth bad
/// byte.
fn reply_count(bytes: &[u8]) -> usize {
    let frames = bytes.iter().filter(|byte| !b"\r\n".contains(byte));
    let mut bad_before = 0;
    frames
        .take_while(|byte| {
            let is_open = bad_before < 16;
            bad_before += usize::from(!b"123".contains(byte));
            is_open
        })
        .count()
}

#[test]
fn row_06_a_player_who_never_reads_is_closed_at_the_write_timeout() {
    let server = start(&["--set", "timeouts.write=300ms"]);
    let baseline = server.baseline();
    let moves = vec![b'1'; 1 << 20];
    let started = Instant::now();
    for _ in 0..2 {
        blocking::send_without_reading(server.address("solo"), &moves);
    }
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert_eq!(exchange(server.address("solo"), b"1").len(), 1);
    server.returns_to(baseline, "rps");
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"write_timeout\"}"), 2);
}

#[test]
fn row_07_both_games_share_one_limit_and_rejected_players_get_f() {
    let server = start(&["--set", "limits.max_connections=2"]);
    let baseline = server.baseline();
    let mut solo = connect(server.address("solo"));
    solo.write_all(b"1").unwrap();
    assert!(b"xyz".contains(&read_reply(&mut solo)));
    let mut duel = connect(server.address("duel"));
    duel.write_all(b"?").unwrap();
    assert_eq!(read_reply(&mut duel), b'e');
    for _ in 0..50 {
        for service in ["solo", "duel"] {
            assert_eq!(read_to_end(&mut connect(server.address(service))), "f");
        }
    }
    assert_eq!(server.metric("rps_connections_total{result=\"rejected\"}"), 100);
    assert_eq!(server.metric("rps_duel_players"), 1);
    drop(duel);
    server.eventually(|server| server.metric("rps_connections") == 1, "releases the slot of the closed connection");
    assert_eq!(exchange(server.address("solo"), b"22").len(), 2);
    drop(solo);
    server.returns_to(baseline, "rps");
}

#[test]
fn row_16_a_drain_finishes_rounds_and_aborts_no_connection() {
    let server = start(&[]);
    let mut idle = connect(server.address("solo"));
    idle.write_all(b"3").unwrap();
    assert!(b"xyz".contains(&read_reply(&mut idle)));
    let mut alone = connect(server.address("duel"));
    alone.write_all(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a player in the lobby");
    server.signal("TERM");
    assert_eq!(read_to_end(&mut alone), "v");
    assert_eq!(read_to_end(&mut idle), "");
    drop((alone, idle));
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0));
    assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=0"), "{log}");
}

#[test]
fn row_20_a_thousand_moves_in_flight_get_a_thousand_replies_during_a_drain() {
    let server = start(&[]);
    let moves = b"123".repeat(334)[..1000].to_vec();
    let mut solo = connect(server.address("solo"));
    let mut pair = [connect(server.address("duel")), connect(server.address("duel"))];
    // Each player gets a reply first, so that all three connections have been accepted when the drain begins.
    solo.write_all(b"1").unwrap();
    assert!(b"xyz".contains(&read_reply(&mut solo)));
    for player in &mut pair {
        player.write_all(b"1").unwrap();
    }
    for player in &mut pair {
        expect(player, "x");
    }
    for stream in pair.iter_mut().chain([&mut solo]) {
        stream.write_all(&moves).unwrap();
    }
    server.signal("TERM");
    assert_eq!(read_to_end(&mut solo).len(), 1000);
    let [one, other] = pair.each_mut().map(read_to_end);
    assert_eq!((one.len(), other.len()), (1000, 1000));
    for (mine, theirs) in one.bytes().zip(other.bytes()) {
        assert!([(b'x', b'x'), (b'v', b'v'), (b'y', b'z'), (b'z', b'y')].contains(&(mine, theirs)), "{mine} {theirs}");
    }
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0));
    assert!(log.contains("aborted=0"), "{log}");
}

#[test]
fn row_20_a_thousand_moves_in_flight_get_a_thousand_replies_while_windows_end() {
    let server = start(&["--set", "duel.window=2ms"]);
    let baseline = server.baseline();
    let started = Instant::now();
    let alone = exchange(server.address("duel"), &b"123".repeat(334)[..1000]);
    assert_eq!(alone, "v".repeat(1000));
    assert!(started.elapsed() >= Duration::from_secs(2), "each move stays in play for its whole window");
    server.returns_to(baseline, "rps");
    assert_eq!(server.metric("rps_rounds_total{mode=\"duel\",outcome=\"void\"}"), 1000);
}

/// The server has one worker, which each flooder alone can keep busy. `faults_alone.rs` tests for how long others wait.
#[test]
fn row_21_players_beside_floods_get_their_replies() {
    // A slow machine may delay the players for longer than the default timeout.
    let server = start(&["--set", "workers=1", "--set", "timeouts.write=1h"]);
    let baseline = server.baseline();
    let [solo, duel] = ["solo", "duel"].map(|service| server.address(service));
    let floods = [solo, duel].map(|address| Clients::flood(address, 8, &"1".repeat(16 * 1024)));
    let players =
        [solo, duel].map(|address| Clients::ping_pong(address, 16, "1", 1, |reply| b"xyz".contains(&reply[0])));
    for _ in 0..20 {
        assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
    }
    let progress = |clients: &Clients| clients.least_progress() >= 20;
    assert!(eventually(TEST_TIMEOUT, || players.iter().chain(&floods).all(progress)));
    for clients in players.into_iter().chain(floods) {
        clients.stop();
    }
    server.returns_to(baseline, "rps");
}

/// Checks how long a player who does not read the replies holds a place.
fn hold_place(settings: &[&str], is_half_closed: bool) -> Duration {
    let server = start(&[&unread::ONE_PLACE[..], settings].concat());
    unread::hold_place(&server, "solo", "rps", &[b'1'; 8000], is_half_closed)
}

#[test]
fn row_23_unread_replies_hold_a_place_after_a_half_close_until_the_write_timeout() {
    hold_place(&[], true);
}

#[test]
fn row_23_an_open_connection_with_unread_replies_is_closed_at_the_write_timeout() {
    hold_place(&["--set", "timeouts.idle=1h"], false);
}

#[test]
fn row_23_after_an_idle_timeout_unread_replies_hold_a_place_until_the_write_timeout() {
    let took = hold_place(&["--set", "timeouts.idle=500ms", "--set", "duel.window=100ms"], false);
    // The write timeout begins anew with the close.
    assert!(took >= unread::WRITE_TIMEOUT + Duration::from_millis(500), "{took:?}");
}

#[test]
fn row_23_a_player_who_reads_slowly_keeps_the_connection() {
    let server = start(&["--set", "timeouts.write=4s", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    assert!((0..10).any(|_| unread::read_slowly(&server, "solo", &[b'1'; 8000])), "the machine is too slow");
    server.returns_to(baseline, "rps");
}

/// How long a connection may be idle in the test of row 24.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

#[test]
fn row_24_moves_that_arrive_while_the_process_is_stopped_get_their_replies() {
    // The server need not reply to moves that the test sends too late. Then the test tries again.
    assert!((0..10).any(|_| stop_past_the_idle_timeout()), "the machine is too slow");
}

/// Returns whether the moves were sent in time. If so, all must get their replies.
fn stop_past_the_idle_timeout() -> bool {
    let server = start(&["--set", "timeouts.idle=3s", "--set", "duel.window=2s"]);
    let (baseline, began) = (server.baseline(), Instant::now());
    let player = |_| {
        let mut player = connect(server.address("solo"));
        player.write_all(b"1").unwrap();
        assert!(b"xyz".contains(&read_reply(&mut player)));
        player
    };
    let mut players: Vec<_> = (0..100).map(player).collect();
    server.signal("STOP");
    server.eventually(ServerProcess::is_stopped, "is stopped");
    for player in &mut players {
        // It fails if it is too late.
        let _ = player.write_all(b"2");
    }
    let is_in_time = began.elapsed() < IDLE_TIMEOUT;
    // The idle timeouts pass meanwhile.
    thread::sleep(IDLE_TIMEOUT);
    server.signal("CONT");
    if is_in_time {
        for player in &mut players {
            assert!(b"xyz".contains(&read_reply(player)));
        }
    }
    drop(players);
    server.returns_to(baseline, "rps");
    is_in_time
}

/// The window, the patience, and the honest player's time from a reply to its next move, in the test of row 25.
const WINDOW: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(3);
const THINKING: Duration = Duration::from_millis(100);

/// Runs in memory and on a paused clock, so that the times are exact on any machine.
#[test]
fn row_25_a_player_with_a_silent_partner_gets_ten_rounds_a_window() {
    for attack in [Attack::Silence, Attack::Delay, Attack::LatePairs, Attack::ManyChains] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let [one, other] = runtime.block_on(play_under(attack));
        for (judged, voids) in [one, other] {
            assert_eq!(voids, 0, "{attack:?}: {judged} rounds and {voids} void moves");
            assert!(judged >= 90, "{attack:?}: {judged} rounds in ten windows");
        }
        // The attacks that always have a move in the lobby keep the two players apart all the time.
        let keeps_apart = matches!(attack, Attack::Silence | Attack::Delay);
        assert!(!keeps_apart || one.0.max(other.0) <= 101, "{attack:?} is not at full strength: {one:?}, {other:?}");
    }
}

/// How an attacker with free connections keeps two players apart.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// One move always waits in the lobby; a player whose move has been met falls silent.
    Silence,
    /// As before, but a player who has been met moves just before the patience ends.
    Delay,
    /// Moves with late partners fill the lobby; a player whose move has been met falls silent.
    LatePairs,
    /// Several players enter the lobby, and also meet each other.
    ManyChains,
}

/// An attacker's access to the duel, and its silent connections.
#[derive(Clone)]
struct Attacker {
    duel: MemoryDuel,
    silent: Arc<Mutex<Vec<DuplexStream>>>,
}

#[derive(Clone)]
struct MemoryDuel {
    hub: Arc<DuelHub>,
    shutdown: proto::server::Shutdown,
}

impl MemoryDuel {
    fn join(&self) -> DuplexStream {
        let (client, server) = duplex(8);
        drop(join_in_memory(server, &self.hub, &self.shutdown));
        client
    }
}

/// Returns the judged rounds and the void moves of two players who play for ten windows beside an attacker.
async fn play_under(attack: Attack) -> [(u32, u32); 2] {
    let duel = MemoryDuel { hub: DuelHub::new(WINDOW), shutdown: proto::server::Shutdown::new(WINDOW) };
    let attacker = Attacker { duel: duel.clone(), silent: Arc::default() };
    let mut attackers = JoinSet::new();
    match attack {
        Attack::Silence => {
            attackers.spawn(attacker.stay_in_the_lobby(Duration::ZERO));
        }
        Attack::Delay => {
            attackers.spawn(attacker.delay_each_round());
        }
        Attack::LatePairs => {
            for _ in 0..4 {
                attackers.spawn(attacker.clone().send_late_pairs());
            }
        }
        Attack::ManyChains => {
            for chain in 1..=8 {
                attackers.spawn(attacker.clone().stay_in_the_lobby(chain * THINKING));
            }
        }
    }
    // The attacker's first moves are in the lobby before the players join.
    sleep(PATIENCE).await;
    let players = [0, 1].map(|_| tokio::spawn(play_for_ten_windows(duel.join())));
    let [one, other] = players;
    [one.await.unwrap(), other.await.unwrap()]
}

/// Plays without pause except for `THINKING`. Returns the judged rounds and the void moves.
async fn play_for_ten_windows(mut player: DuplexStream) -> (u32, u32) {
    let (mut judged, mut voids) = (0, 0);
    let end = time::Instant::now() + 10 * WINDOW;
    while time::Instant::now() < end {
        match throw(&mut player).await {
            b'v' => voids += 1,
            _ => judged += 1,
        }
        sleep(THINKING).await;
    }
    (judged, voids)
}

async fn throw(player: &mut DuplexStream) -> u8 {
    player.write_all(b"1").await.unwrap();
    player.read_u8().await.unwrap()
}

impl Attacker {
    /// Enters the lobby until another move meets this one.
    async fn wait_in_lobby(&self) -> DuplexStream {
        let mut player = self.duel.join();
        while throw(&mut player).await == b'v' {}
        player
    }

    async fn stay_in_the_lobby(self, pause: Duration) {
        loop {
            let met = self.wait_in_lobby().await;
            self.silent.lock().unwrap().push(met);
            sleep(pause).await;
        }
    }

    async fn delay_each_round(self) {
        loop {
            let mut met = self.wait_in_lobby().await;
            tokio::spawn(async move {
                loop {
                    sleep(THINKING + PATIENCE * 99 / 100).await;
                    throw(&mut met).await;
                }
            });
        }
    }

    async fn send_late_pairs(self) {
        loop {
            let (mut mover, mut silent) = (self.duel.join(), self.duel.join());
            let _ = tokio::join!(throw(&mut mover), throw(&mut silent));
            throw(&mut mover).await;
            self.silent.lock().unwrap().extend([mover, silent]);
        }
    }
}

#[test]
fn row_33_players_over_the_rate_of_new_connections_get_f() {
    let server = start(&["--set", "limits.new_connections_per_ip=5"]);
    let baseline = server.baseline();
    let began = Instant::now();
    // Both games share the rate.
    let replies: Vec<_> = (0..50)
        .map(|number| {
            let mut stream = connect(server.address(if number % 2 == 0 { "solo" } else { "duel" }));
            // A rejected player may be closed before this write. A bad byte gets a reply in both games.
            let _ = stream.write_all(b"?").and_then(|()| stream.shutdown(Shutdown::Write));
            read_to_end(&mut stream)
        })
        .collect();
    assert!(replies.iter().all(|reply| reply == "e" || reply == "f"), "{replies:?}");
    let admitted = replies.iter().filter(|reply| *reply == "e").count() as u64;
    let most = 5 * (2 + began.elapsed().as_secs());
    assert!((5..=most).contains(&admitted), "{admitted} of 50, at most {most}");
    assert_eq!(server.metric("rps_connections_total{result=\"rejected\"}"), 50 - admitted);
    for service in ["solo", "duel"] {
        let other = Ipv4Addr::new(127, 0, 0, if service == "solo" { 2 } else { 3 });
        let mut other = connect_from(other, server.address(service));
        other.write_all(b"?").unwrap();
        assert_eq!(read_reply(&mut other), b'e');
    }
    server.returns_to(baseline, "rps");
}

#[test]
fn row_33_moves_over_the_rate_wait_and_get_their_replies() {
    let server = start(&["--set", "limits.requests_per_ip=50"]);
    let (baseline, began) = (server.baseline(), Instant::now());
    // All players of an address share its rate: 50 moves in the solo game, and 50 of each player in the duel.
    let [solo, one, other] = ["solo", "duel", "duel"].map(|service| {
        let address = server.address(service);
        thread::spawn(move || {
            let mut player = connect(address);
            player.write_all(&[b"123".as_slice(); 17].concat()[..50]).unwrap();
            let mut replies = [0; 50];
            player.read_exact(&mut replies).unwrap();
            replies
        })
    });
    let [solo, one, other] = [solo, one, other].map(|player| player.join().unwrap());
    // The first 50 at once, and 50 each second. A move in play takes its part of the rate with its reply, which does not wait
    // for the rate, so that the last move of each player in the duel can be early.
    assert!(began.elapsed() >= Duration::from_secs(2) * 95 / 100, "{:?}", began.elapsed());
    assert!(solo.iter().all(|reply| b"xyz".contains(reply)), "{solo:?}");
    // Both players send the same moves.
    assert_eq!((one, other), ([b'x'; 50], [b'x'; 50]));
    server.returns_to(baseline, "rps");
}

#[test]
fn row_33_moves_over_the_rate_delay_no_other_address_and_no_drain() {
    let server = start(&["--set", "limits.requests_per_ip=1", "--set", "timeouts.drain=1m"]);
    let mut flood = connect(server.address("solo"));
    flood.write_all(&[b'1'; 5000]).unwrap();
    read_reply(&mut flood);
    let mut pair = [(2, b'1'), (3, b'2')].map(|(source, mv)| {
        let mut player = connect_from(Ipv4Addr::new(127, 0, 0, source), server.address("duel"));
        player.write_all(&[mv]).unwrap();
        player
    });
    assert_eq!(pair.each_mut().map(read_reply), [b'z', b'y']);
    let began = Instant::now();
    server.signal("TERM");
    // At the rate, the rest would take more than an hour.
    assert_eq!(read_to_end(&mut flood).len(), 4999);
    drop((flood, pair));
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("aborted=0"), "{log}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn row_33_a_move_that_waits_for_the_rate_as_long_as_the_idle_timeout_ends_the_connection() {
    let settings = ["--set", "limits.requests_per_ip=1", "--set", "timeouts.idle=200ms", "--set", "duel.window=100ms"];
    let server = start(&settings);
    let baseline = server.baseline();
    for (service, source) in [("solo", 2), ("duel", 3)] {
        // The rate is one move a second, and none waits for so long. If the machine pauses, a few more are played.
        let mut player = connect_from(Ipv4Addr::new(127, 0, 0, source), server.address(service));
        player.write_all(&[b'1'; 100]).unwrap();
        let count = read_to_end(&mut player).len();
        assert!((1..100).contains(&count), "{service}: {count}");
    }
    server.returns_to(baseline, "rps");
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"request_timeout\"}"), 2);
}

#[test]
fn players_who_reset_leak_nothing() {
    let server = start(&[]);
    let baseline = server.baseline();
    for service in ["solo", "duel"] {
        for sent in [&b""[..], b"1", b"123123123", b"???"] {
            for _ in 0..50 {
                let mut stream = connect(server.address(service));
                stream.write_all(sent).unwrap();
                reset_on_close(&stream);
            }
        }
    }
    server.returns_to(baseline, "rps");
    assert_eq!((server.metric("rps_duel_players"), server.metric("rps_duel_waiting")), (0, 0));
    let log = server.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn the_metrics_of_rounds_match_the_replies() {
    let server = start(&["--set", "duel.window=200ms"]);
    let replies = exchange(server.address("solo"), &b"1".repeat(300));
    let count = |reply: char| replies.matches(reply).count() as u64;
    for (outcome, house_move, reply) in [("draw", "scissors", 'x'), ("win", "paper", 'y'), ("lose", "rock", 'z')] {
        assert_eq!(server.metric(&format!("rps_rounds_total{{mode=\"solo\",outcome=\"{outcome}\"}}")), count(reply));
        assert_eq!(server.metric(&format!("rps_house_moves_total{{move=\"{house_move}\"}}")), count(reply));
    }
    let mut pair = [connect(server.address("duel")), connect(server.address("duel"))];
    for (player, mv) in pair.iter_mut().zip([b"1", b"2"]) {
        player.write_all(mv).unwrap();
    }
    for (player, reply) in pair.iter_mut().zip(["z", "y"]) {
        expect(player, reply);
    }
    pair[0].write_all(b"3?").unwrap();
    expect(&mut pair[0], "ve");
    for (outcome, count) in [("draw", 0), ("win", 1), ("lose", 1), ("void", 1)] {
        assert_eq!(server.metric(&format!("rps_rounds_total{{mode=\"duel\",outcome=\"{outcome}\"}}")), count);
    }
    assert_eq!(server.metric("rps_bad_frames_total{mode=\"duel\"}"), 1);
    // 300 replies in the solo game and four in the duel; the void move took its whole window of 200 ms.
    assert_eq!(server.metric("rps_request_duration_seconds_count"), 304);
    assert!(server.seconds("rps_request_duration_seconds_sum") >= 0.2);
    for player in &pair {
        player.shutdown(Shutdown::Both).unwrap();
    }
    server.stop();
}

#[test]
fn a_reload_changes_the_window_of_the_next_move() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("window.toml");
    std::fs::write(&path, "duel.window = \"1h\"\ntimeouts.idle = \"2h\"\n").unwrap();
    let server = start(&["--config", path.to_str().unwrap()]);
    let mut player = connect(server.address("duel"));
    player.write_all(b"?").unwrap();
    assert_eq!(read_reply(&mut player), b'e');
    std::fs::write(&path, "duel.window = \"100ms\"\ntimeouts.idle = \"50ms\"\n").unwrap();
    server.reload("rps", "rejected");
    std::fs::write(&path, "duel.window = \"100ms\"\nsolo.listen = \"127.0.0.1:9\"\n").unwrap();
    server.reload("rps", "ok");
    player.write_all(b"1").unwrap();
    assert_eq!(read_reply(&mut player), b'v');
    drop(player);
    let log = server.stop();
    assert!(log.contains("timeouts.idle: 50ms is not longer than the duel window of 100ms"), "{log}");
    assert!(!log.contains("config changes need a restart"), "the environment overrides solo.listen:\n{log}");
}
