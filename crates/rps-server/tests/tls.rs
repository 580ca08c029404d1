//! Both games over TLS, also between players with and without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{ErrorKind, Write};
use std::process::Command;

use proto::testing::blocking::{connect, connect_with_small_buffers, expect, read_to_end};
use proto::testing::process::{Exit, run};
use proto::testing::program::ServerProcess;
use proto::testing::python;
use proto::testing::tls::{ConnectionEnd, TestTls, TlsClient, VERSIONS, exchange};
use proto::testing::transcript::transcripts_over_tls;
use support::program;

const TLS_ENDPOINTS: [&str; 4] =
    ["--solo-listen", "tls://127.0.0.1:0", "--duel-listen", "tls://127.0.0.1:0,127.0.0.1:0"];

/// Starts a server that listens with TLS, and for the duel without it, too.
fn start(tls: &TestTls, arguments: &[&str]) -> ServerProcess {
    program::start(&tls.arguments(&[&TLS_ENDPOINTS, arguments].concat()))
}

#[test]
fn the_server_replies_over_tls_as_in_each_transcript_of_the_protocol_page() {
    let tls = TestTls::new();
    for game in ["solo", "duel"] {
        for transcript in transcripts_over_tls(game) {
            let server = start(&tls, &transcript.arguments());
            for version in VERSIONS {
                transcript.replay_over_tls(server.address(game), &tls.client_of(version));
            }
            server.stop();
        }
    }
}

#[test]
fn players_with_and_without_tls_meet() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let mut encrypted = TlsClient::connect(server.address("duel"), &tls.client());
    let mut plain = connect(server.second_address("duel"));
    for _ in 0..10 {
        encrypted.send(b"1").unwrap();
        plain.write_all(b"2").unwrap();
        encrypted.expect("z");
        expect(&mut plain, "y");
    }
    encrypted.send(b"3").unwrap();
    encrypted.half_close().unwrap();
    plain.write_all(b"2").unwrap();
    expect(&mut plain, "z");
    assert_eq!(encrypted.read_rest(), ("y".to_owned(), ConnectionEnd::CloseNotify));
    drop((encrypted, plain));
    server.eventually(|server| server.closed("rps", "peer_closed") == 2, "closes both");
    server.stop();
}

#[test]
fn two_players_with_tls_meet() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let mut players = VERSIONS.map(|version| TlsClient::connect(server.address("duel"), &tls.client_of(version)));
    for (moves, replies) in [(["1", "2"], ["z", "y"]), (["3", "3"], ["x", "x"]), (["1", "3"], ["y", "z"])] {
        for (player, mv) in players.iter_mut().zip(moves) {
            player.send(mv.as_bytes()).unwrap();
        }
        for (player, reply) in players.iter_mut().zip(replies) {
            player.expect(reply);
        }
    }
    for player in &mut players {
        player.half_close().unwrap();
        assert_eq!(player.read_rest(), (String::new(), ConnectionEnd::CloseNotify));
    }
    server.stop();
}

#[test]
fn row_38_moves_before_a_truncation_are_judged() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let baseline = server.baseline();
    for version in VERSIONS {
        let config = tls.client_of(version);
        let mut solo = TlsClient::connect(server.address("solo"), &config);
        solo.send(b"1q2").unwrap();
        solo.truncate();
        let (replies, end) = solo.read_rest();
        assert!(replies.len() == 3 && &replies[1..2] == "e" && end == ConnectionEnd::CloseNotify, "{replies} {end:?}");

        let mut one = TlsClient::connect(server.address("duel"), &config);
        let mut other = connect(server.second_address("duel"));
        one.send(b"1\n2").unwrap();
        one.truncate();
        // The first move waits, the second one waits behind it.
        server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
        other.write_all(b"1").unwrap();
        expect(&mut other, "x");
        other.write_all(b"1").unwrap();
        expect(&mut other, "z");
        assert_eq!(one.read_rest(), ("xy".to_owned(), ConnectionEnd::CloseNotify));
        drop(other);
    }
    server.returns_to(baseline, "rps");
    assert_eq!(server.closed("rps", "tls_truncated"), 4);
    server.stop();
}

#[test]
fn row_43_a_player_who_never_reads_is_reset_and_many_moves_get_their_replies() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.write=500ms"]);
    let (baseline, solo) = (server.baseline(), server.address("solo"));
    for version in VERSIONS {
        let mut player = TlsClient::on(connect_with_small_buffers(solo), &tls.client_of(version));
        player.handshake(usize::MAX).unwrap();
        // 64 MiB are more than any socket buffer holds.
        let error = (0..4096).find_map(|_| player.send(&[b'1'; 16 * 1024]).err()).unwrap();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        server.eventually(|server| server.metric("rps_connections") == 0, "closes the connection");
    }
    assert_eq!(server.closed("rps", "write_timeout"), 2);
    server.returns_to(baseline, "rps");
    server.stop();
    let server = start(&tls, &[]);
    for version in VERSIONS {
        let replies = exchange(server.address("solo"), &tls.client_of(version), &vec![b'1'; 1 << 20]);
        assert!(replies.len() == 1 << 20 && replies.bytes().all(|reply| b"xyz".contains(&reply)));
    }
    server.stop();
}

#[test]
fn a_drain_voids_the_move_of_a_tls_player() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let mut player = TlsClient::connect(server.address("duel"), &tls.client());
    player.send(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
    server.signal("TERM");
    assert_eq!(player.read_rest(), ("v".to_owned(), ConnectionEnd::CloseNotify));
    drop(player);
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_plain_player_of_a_tls_listener_gets_an_alert() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let mut player = connect(server.address("solo"));
    player.write_all(b"1\n2\n3\n").unwrap();
    let received = read_to_end(&mut player).into_bytes();
    assert!(matches!(received[..], [21, 3, _, 0, 2, 2, _]), "{received:?}");
    assert_eq!(server.metric("rps_tls_handshakes_total{result=\"protocol\"}"), 1);
    server.stop();
}

#[test]
#[ignore = "needs openssl: run with -- --ignored openssl"]
fn openssl_gets_replies() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let solo = server.address("solo").to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-verify_return_error", "-quiet", "-connect", &solo, version, "-CAfile"]);
        // The server closes at the sixteenth byte that is no move. Without close_notify, openssl would exit with 1.
        let moves = format!("123{}", "?".repeat(16));
        let Exit { code, stdout, stderr } = run(command.arg(&tls.authority.certificate), &moves);
        let (verdicts, errors) = stdout.split_at(3);
        assert!(verdicts.bytes().all(|reply| b"xyz".contains(&reply)) && errors == "e".repeat(16), "{stdout}");
        assert_eq!(code, Some(0), "{stderr}");
    }
    server.stop();
}

const CLIENT: &str = r#"
import asyncio, sys

async def play(port, moves):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = b""
    for move in moves:
        writer.write(move.encode())
        await writer.drain()
        replies += await reader.read(1)
    writer.close()
    await writer.wait_closed()
    return replies.decode()

async def main(solo, duel):
    replies = await asyncio.gather(*(play(solo, "123" * 20) for _ in range(20)))
    assert all(len(reply) == 60 and set(reply) <= set("xyz") for reply in replies), replies
    assert await asyncio.gather(play(duel, "1122"), play(duel, "1231")) == ["xzzy", "xyyz"]
    print("all right")

asyncio.run(asyncio.wait_for(main(*map(int, sys.argv[1:])), 60))
"#;

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn existing_python_programs_play_over_tls() {
    let tls = TestTls::new();
    let server = start(&tls, &[]);
    let [solo, duel] = ["solo", "duel"].map(|game| server.address(game).port().to_string());
    let program = format!("{}{CLIENT}", python::OVER_TLS);
    python::run(&["-c", &program], &[&solo, &duel, tls.authority.certificate.to_str().unwrap()]);
    server.stop();
}
