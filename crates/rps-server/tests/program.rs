//! The program: what of its configuration and its signals is its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use proto::server::config::{ConfigBuilder, Configuration};
use proto::testing::blocking::{connect, read_to_end};
use proto::testing::program::ServerProcess;
use rps_server::config::Config;
use support::program::bare;

fn output(arguments: &[&str]) -> Output {
    bare().args(arguments).output().unwrap()
}

#[test]
fn the_shipped_file_has_every_key_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/rps-server.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut builder = ConfigBuilder::<Config>::from_defaults();
    builder.add_file(path.as_ref(), &text);
    // A file has to ask for the admin listener, and this one does.
    let mut expected = Config::default();
    expected.admin.listen.0 = Some("127.0.0.1:9501".parse().unwrap());
    assert_eq!(builder.build().unwrap(), expected);
    let shipped: toml::Table = text.parse().unwrap();
    assert_eq!(shipped, toml::Table::try_from(expected).unwrap(), "no key is missing");
    assert!(Config::default().conflicts().is_empty());
}

#[test]
fn its_listeners_have_arguments_and_variables_of_their_own() {
    let printed = bare()
        .env("RPS_SERVER_SOLO_LISTEN", "127.0.0.1:1")
        .env("RPS_SERVER_DUEL_LISTEN", "127.0.0.1:3")
        .arg("--check-config")
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("[solo]\nlisten = \"127.0.0.1:1\"\n"), "{text}");
    assert!(text.contains("[duel]\nlisten = \"127.0.0.1:3\"\n"), "{text}");
    let printed = output(&["--solo-listen", "[::1]:2", "--duel-listen", "", "--check-config"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("[solo]\nlisten = \"[::1]:2\"\n"), "{text}");
    assert!(text.contains("[duel]\nlisten = \"\"\n"), "{text}");
}

#[test]
fn the_variable_for_its_log_level_goes_over_that_of_every_rust_program() {
    for (own, level) in [(None, "error"), (Some(("RPS_SERVER_LOG_LEVEL", "debug")), "debug")] {
        let printed = bare().env("RUST_LOG", "error").envs(own).arg("--check-config").output().unwrap();
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(text.contains(&format!("[log]\nlevel = \"{level}\"\n")), "{text}");
    }
}

#[test]
fn a_wrong_setting_ends_the_start_with_2() {
    for (arguments, said) in [
        (
            &["--solo-listen", "", "--duel-listen", ""][..],
            "--duel-listen: duel.listen: there is nothing to listen for where both are off",
        ),
        (
            &["--duel-listen", "127.0.0.1:5001"],
            "--duel-listen: duel.listen: both games cannot listen on 127.0.0.1:5001",
        ),
        (
            &["--admin-listen", "127.0.0.1:5002"],
            "--admin-listen: admin.listen: it cannot listen on 127.0.0.1:5002 as well (duel.listen: the default)",
        ),
        (&["--duel-listen", "nowhere"], "--duel-listen: duel.listen: invalid value"),
        (&["--set", "duel.window=0s"], "duel.window: invalid value: string \"0s\""),
        (
            &["--set", "timeouts.idle=30s"],
            "--set timeouts.idle=30s: timeouts.idle: 30s is no longer than the 30s that a player has to meet another's \
             move (duel.window: the default); make timeouts.idle longer than duel.window",
        ),
        (&["--set", "duel.window=300s"], "the default: timeouts.idle: 300s is no longer than the 300s"),
        (&["--set", "limits.max_bad_frames=0"], "limits.max_bad_frames: invalid value: integer `0`"),
        (&["--set", "timeouts.request=5s"], "timeouts.request: unknown key; the keys here are timeouts.drain, "),
    ] {
        let output = output(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_health_check_wants_the_right_kind_of_answer_of_each_game_and_takes_a_full_server_for_well() {
    for (answer, solo, duel) in [(b'x', 0, 1), (b'v', 1, 1), (b'e', 1, 0), (b'f', 0, 0), (b'?', 1, 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let mut stream = stream.unwrap();
                // A client that is gone is for the test to judge.
                let _ = stream.read(&mut [0]).and_then(|_| stream.write_all(&[answer]));
            }
        });
        for (arguments, code) in
            [(["--duel-listen", "", "--solo-listen"], solo), (["--solo-listen", "", "--duel-listen"], duel)]
        {
            let checked = bare().args(arguments).args([&address, "--healthcheck"]).output().unwrap();
            let stderr = String::from_utf8_lossy(&checked.stderr);
            assert_eq!(checked.status.code(), Some(code), "{arguments:?} answered with {answer}: {stderr}");
        }
    }
}

#[test]
fn a_window_that_no_duel_uses_contradicts_nothing() {
    let printed = output(&["--duel-listen", "", "--set", "timeouts.idle=5s", "--check-config"]);
    assert_eq!(printed.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed.stderr));
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_ends_with_0() {
    let addresses = ["--solo-listen", "127.0.0.1:0", "--duel-listen", "127.0.0.1:0"];
    let running = ServerProcess::start(bare().args(addresses), &["solo", "duel"]);
    let (solo, duel) = (running.address("solo"), running.address("duel"));
    let mut player = connect(solo);
    player.write_all(b"2").unwrap();
    let mut answer = [0];
    player.read_exact(&mut answer).unwrap();
    assert!(b"xyz".contains(&answer[0]));
    let mut pair = [connect(duel), connect(duel)];
    let (solo, duel) = (solo.to_string(), duel.to_string());
    for (player, shown) in pair.iter_mut().zip([b"1", b"2"]) {
        player.write_all(shown).unwrap();
    }
    for (player, answered) in pair.iter_mut().zip(*b"zy") {
        player.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], answered);
    }
    // The check of the duel disturbs nobody: this move waits for a player, and is still in play.
    pair[0].write_all(b"1").unwrap();
    let healthcheck =
        |solo: &str, duel: &str| output(&["--solo-listen", solo, "--duel-listen", duel, "--healthcheck"]).status.code();
    assert_eq!(healthcheck(&solo, &duel), Some(0));
    assert_eq!((healthcheck(&solo, ""), healthcheck("", &duel)), (Some(0), Some(0)));
    running.signal("TERM");
    assert_eq!(read_to_end(&mut player), "", "the end, and nothing unasked before it");
    pair[0].read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"v");
    for player in &mut pair {
        assert_eq!(read_to_end(player), "");
    }
    drop((player, pair));
    let (code, rest) = running.wait_for_exit();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("duel summary draws=0 wins=1 losses=1 voids=1 pairs_dissolved=1"), "{rest}");
    assert!(rest.contains("stopped accepted=7 rejected=0 panicked=0 aborted=0"), "{rest}");
    assert_eq!((healthcheck(&solo, ""), healthcheck("", &duel)), (Some(1), Some(1)));
}
