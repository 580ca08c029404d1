//! The fault campaign's rows for the long connection, against the program itself. The table of all rows is FAULTS.md among
//! the power server's tests. After each fault the server lives, has had no panic, and holds no more than before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use proto::testing::blocking::{self, connect, exchange, expect, read_to_end, reset_on_close};
use support::program::start;

fn hear(stream: &mut TcpStream) -> u8 {
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    answer[0]
}

#[test]
fn row_03_a_half_close_gets_its_answers_or_a_clean_end() {
    let server = start(&["--set", "duel.window=300ms"]);
    let rest = server.baseline();
    assert_eq!(exchange(server.address("solo"), b""), "");
    assert_eq!(exchange(server.address("solo"), b"123\r\n").len(), 3);
    assert_eq!(exchange(server.address("duel"), b""), "");
    assert_eq!(exchange(server.address("duel"), b"1"), "v");
    server.returns_to(rest, "rps");
}

#[test]
fn row_04_every_byte_gets_its_answer_until_there_were_too_many_bad_ones() {
    let server = start(&["--set", "duel.window=100ms"]);
    let rest = server.baseline();
    for service in ["solo", "duel"] {
        for sent in [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            &vec![0; 1 << 20],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaa",
        ] {
            let mut stream = connect(server.address(service));
            stream.write_all(sent).unwrap();
            let heard = read_to_end(&mut stream);
            // A move among them waits, in a duel, for another player.
            assert_eq!(heard.bytes().filter(|&answer| answer == b'e').count(), 16, "{service}: {heard}");
        }
    }
    let solo = server.address("solo");
    blocking::for_random_inputs(|bytes| assert_eq!(exchange(solo, bytes).len(), answers_to(bytes)));
    server.returns_to(rest, "rps");
}

/// How many answers these bytes get in the solo game: one each, line ends apart, up to the sixteenth bad one.
fn answers_to(bytes: &[u8]) -> usize {
    let frames = bytes.iter().filter(|byte| !b"\r\n".contains(byte));
    let mut bad_before = 0;
    frames
        .take_while(|byte| {
            let goes_on = bad_before < 16;
            bad_before += usize::from(!b"123".contains(byte));
            goes_on
        })
        .count()
}

#[test]
fn row_06_a_player_who_never_reads_is_let_go_of() {
    let server = start(&["--set", "timeouts.write=300ms"]);
    let rest = server.baseline();
    let flight = vec![b'1'; 1 << 20];
    let began = Instant::now();
    for _ in 0..2 {
        blocking::send_without_reading(server.address("solo"), &flight);
    }
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert_eq!(exchange(server.address("solo"), b"1").len(), 1);
    server.returns_to(rest, "rps");
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"write_timeout\"}"), 2);
}

#[test]
fn row_07_both_games_have_one_limit_and_the_excess_is_told() {
    let server = start(&["--set", "limits.max_connections=2"]);
    let rest = server.baseline();
    let mut solo = connect(server.address("solo"));
    solo.write_all(b"1").unwrap();
    assert!(b"xyz".contains(&hear(&mut solo)));
    let mut duel = connect(server.address("duel"));
    duel.write_all(b"?").unwrap();
    assert_eq!(hear(&mut duel), b'e');
    for _ in 0..50 {
        for service in ["solo", "duel"] {
            assert_eq!(read_to_end(&mut connect(server.address(service))), "f");
        }
    }
    assert_eq!(server.metric("rps_connections_total{result=\"rejected\"}"), 100);
    assert_eq!(server.metric("rps_duel_players"), 1);
    drop(duel);
    server.eventually(|server| server.metric("rps_connections") == 1, "gives the place back");
    assert_eq!(exchange(server.address("solo"), b"22").len(), 2);
    drop(solo);
    server.returns_to(rest, "rps");
}

#[test]
fn row_16_a_drain_ends_rounds_and_cuts_none() {
    let server = start(&[]);
    let mut idle = connect(server.address("solo"));
    idle.write_all(b"3").unwrap();
    assert!(b"xyz".contains(&hear(&mut idle)));
    let mut alone = connect(server.address("duel"));
    alone.write_all(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
    server.signal("TERM");
    assert_eq!(read_to_end(&mut alone), "v");
    assert_eq!(read_to_end(&mut idle), "");
    drop((alone, idle));
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0));
    assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=0"), "{log}");
}

#[test]
fn row_20_a_thousand_moves_in_flight_get_a_thousand_answers_across_a_drain() {
    let server = start(&[]);
    let flight = b"123".repeat(334)[..1000].to_vec();
    let mut solo = connect(server.address("solo"));
    let mut pair = [connect(server.address("duel")), connect(server.address("duel"))];
    // Each has been answered once, so that all three are served when the drain begins.
    solo.write_all(b"1").unwrap();
    assert!(b"xyz".contains(&hear(&mut solo)));
    for player in &mut pair {
        player.write_all(b"1").unwrap();
    }
    for player in &mut pair {
        expect(player, "x");
    }
    for stream in pair.iter_mut().chain([&mut solo]) {
        stream.write_all(&flight).unwrap();
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
fn row_20_a_thousand_moves_in_flight_get_a_thousand_answers_across_timers() {
    let server = start(&["--set", "duel.window=2ms"]);
    let rest = server.baseline();
    let began = Instant::now();
    let alone = exchange(server.address("duel"), &b"123".repeat(334)[..1000]);
    assert_eq!(alone, "v".repeat(1000));
    assert!(began.elapsed() >= Duration::from_secs(2), "each has its whole window");
    server.returns_to(rest, "rps");
    assert_eq!(server.metric("rps_rounds_total{mode=\"duel\",outcome=\"void\"}"), 1000);
}

#[test]
fn players_who_reset_leave_nothing_behind() {
    let server = start(&[]);
    let rest = server.baseline();
    for service in ["solo", "duel"] {
        for sent in [&b""[..], b"1", b"123123123", b"???"] {
            for _ in 0..50 {
                let mut stream = connect(server.address(service));
                stream.write_all(sent).unwrap();
                reset_on_close(&stream);
            }
        }
    }
    server.returns_to(rest, "rps");
    assert_eq!((server.metric("rps_duel_players"), server.metric("rps_duel_waiting")), (0, 0));
    let log = server.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn every_round_is_counted_as_its_players_see_it() {
    let server = start(&["--set", "duel.window=200ms"]);
    let heard = exchange(server.address("solo"), &b"1".repeat(300));
    let count = |answer: char| heard.matches(answer).count() as u64;
    for (outcome, moved, answer) in [("draw", "scissors", 'x'), ("win", "paper", 'y'), ("lose", "rock", 'z')] {
        assert_eq!(server.metric(&format!("rps_rounds_total{{mode=\"solo\",outcome=\"{outcome}\"}}")), count(answer));
        assert_eq!(server.metric(&format!("rps_house_moves_total{{move=\"{moved}\"}}")), count(answer));
    }
    let mut pair = [connect(server.address("duel")), connect(server.address("duel"))];
    for (player, shown) in pair.iter_mut().zip([b"1", b"2"]) {
        player.write_all(shown).unwrap();
    }
    for (player, answer) in pair.iter_mut().zip(["z", "y"]) {
        expect(player, answer);
    }
    pair[0].write_all(b"3?").unwrap();
    expect(&mut pair[0], "ve");
    for (outcome, count) in [("draw", 0), ("win", 1), ("lose", 1), ("void", 1)] {
        assert_eq!(server.metric(&format!("rps_rounds_total{{mode=\"duel\",outcome=\"{outcome}\"}}")), count);
    }
    assert_eq!(server.metric("rps_bad_frames_total{mode=\"duel\"}"), 1);
    // 300 against the house, and four in the duel, of which one waited for its window.
    assert_eq!(server.metric("rps_request_duration_seconds_count"), 304);
    assert!(server.seconds("rps_request_duration_seconds_sum") >= 0.2);
    for player in &pair {
        player.shutdown(Shutdown::Both).unwrap();
    }
    server.stop();
}

#[test]
fn a_reload_gives_the_next_move_its_window() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("window.toml");
    std::fs::write(&path, "duel.window = \"1h\"\ntimeouts.idle = \"2h\"\n").unwrap();
    let server = start(&["--config", path.to_str().unwrap()]);
    let mut player = connect(server.address("duel"));
    player.write_all(b"?").unwrap();
    assert_eq!(hear(&mut player), b'e');
    std::fs::write(&path, "duel.window = \"100ms\"\ntimeouts.idle = \"50ms\"\n").unwrap();
    server.signal("HUP");
    let series = |result: &str| format!("rps_config_reloads_total{{result=\"{result}\"}}");
    server.eventually(|server| server.metric(&series("rejected")) == 1, "refuses what contradicts itself");
    std::fs::write(&path, "duel.window = \"100ms\"\nsolo.listen = \"127.0.0.1:9\"\n").unwrap();
    server.signal("HUP");
    server.eventually(|server| server.metric(&series("ok")) == 1, "takes what is right");
    player.write_all(b"1").unwrap();
    assert_eq!(hear(&mut player), b'v');
    drop(player);
    let log = server.stop();
    assert!(log.contains("timeouts.idle: 50ms is no longer than the 100ms that a player has"), "{log}");
    assert!(!log.contains("restart to change"), "the environment goes over the file:\n{log}");
}
