//! The program: its configuration, its health check, and a run from start to drain.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use proto::server::config::{ConfigBuilder, Configuration};
use proto::testing::blocking::{connect, read_to_end};
use proto::testing::process::{Exit, run};
use proto::testing::program::ServerProcess;
use rps_server::config::Config;
use support::program::{BINARY, clean_command, start};

fn output(arguments: &[&str]) -> Output {
    clean_command().args(arguments).output().unwrap()
}

#[test]
fn the_shipped_file_has_each_key_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/rps-server.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut builder = ConfigBuilder::<Config>::from_defaults();
    builder.add_file(path.as_ref(), &text);
    let expected = Config::default();
    assert_eq!(builder.build().unwrap(), expected);
    let shipped: toml::Table = text.parse().unwrap();
    assert_eq!(shipped, toml::Table::try_from(expected).unwrap(), "the file has exactly the keys of the configuration");
    assert!(Config::default().conflicts().is_empty());
}

#[test]
fn arguments_and_variables_set_the_listen_addresses() {
    let printed = clean_command()
        .env("RPS_SERVER_SOLO_LISTEN", "127.0.0.1:1")
        .env("RPS_SERVER_DUEL_LISTEN", "127.0.0.1:3")
        .arg("--check-config")
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains("[solo]\nlisten = \"127.0.0.1:1\"  # environment variable RPS_SERVER_SOLO_LISTEN\n"),
        "{text}"
    );
    assert!(
        text.contains("[duel]\nlisten = \"127.0.0.1:3\"  # environment variable RPS_SERVER_DUEL_LISTEN\n"),
        "{text}"
    );
    let printed = output(&["--solo-listen", "[::1]:2", "--duel-listen", "", "--check-config"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("[solo]\nlisten = \"[::1]:2\"  # --solo-listen\n"), "{text}");
    assert!(text.contains("[duel]\nlisten = \"\"  # --duel-listen\n"), "{text}");
}

#[test]
fn the_log_level_variable_of_the_server_overrides_rust_log() {
    for (own, level) in [(None, "error"), (Some(("RPS_SERVER_LOG_LEVEL", "debug")), "debug")] {
        let printed = clean_command().env("RUST_LOG", "error").envs(own).arg("--check-config").output().unwrap();
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(text.contains(&format!("[log]\nlevel = \"{level}\"  # ")), "{text}");
    }
}

#[test]
fn an_invalid_setting_exits_with_2() {
    for (arguments, message) in [
        (&["--solo-listen", "", "--duel-listen", ""][..], "--duel-listen: duel.listen: both games are off"),
        (
            &["--duel-listen", "127.0.0.1:5001"],
            "--duel-listen: duel.listen: both cannot listen on 127.0.0.1:5001 (solo.listen: the default)",
        ),
        (
            &["--admin-listen", "127.0.0.1:5002"],
            "--admin-listen: admin.listen: both cannot listen on 127.0.0.1:5002 (duel.listen: the default)",
        ),
        (&["--duel-listen", "nowhere"], "--duel-listen: duel.listen: invalid value"),
        (&["--set", "duel.window=0s"], "duel.window: invalid value: string \"0s\""),
        (
            &["--set", "timeouts.idle=30s"],
            "--set timeouts.idle=30s: timeouts.idle: 30s is not longer than the duel window of 30s (duel.window: the \
             default); make timeouts.idle longer than duel.window",
        ),
        (&["--set", "duel.window=300s"], "the default: timeouts.idle: 300s is not longer than the duel window of 300s"),
        (&["--set", "limits.max_bad_frames=0"], "limits.max_bad_frames: invalid value: integer `0`"),
        (&["--set", "timeouts.request=5s"], "timeouts.request: unknown key; the keys here are timeouts.drain, "),
    ] {
        let output = output(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_health_check_fails_on_a_wrong_reply_of_either_game_and_passes_on_a_full_server() {
    for (reply, solo, duel) in [(b'x', 0, 1), (b'v', 1, 1), (b'e', 1, 0), (b'f', 0, 0), (b'?', 1, 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let mut stream = stream.unwrap();
                // Ignore errors here: the test checks the exit code of the health check.
                let _ = stream.read(&mut [0]).and_then(|_| stream.write_all(&[reply]));
            }
        });
        for (arguments, code) in
            [(["--duel-listen", "", "--solo-listen"], solo), (["--solo-listen", "", "--duel-listen"], duel)]
        {
            let checked = clean_command().args(arguments).args([&address, "--healthcheck"]).output().unwrap();
            let stderr = String::from_utf8_lossy(&checked.stderr);
            assert_eq!(checked.status.code(), Some(code), "{arguments:?}, reply {reply}: {stderr}");
        }
    }
}

#[test]
fn the_window_does_not_conflict_with_the_idle_timeout_if_the_duel_is_off() {
    let printed = output(&["--duel-listen", "", "--set", "timeouts.idle=5s", "--check-config"]);
    assert_eq!(printed.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed.stderr));
}

#[test]
fn the_program_serves_both_games_until_sigterm_and_exits_with_0() {
    let addresses = ["--solo-listen", "127.0.0.1:0", "--duel-listen", "127.0.0.1:0", "--admin-listen", ""];
    let running = ServerProcess::start(clean_command().args(addresses), &["solo", "duel"]);
    let (solo, duel) = (running.address("solo"), running.address("duel"));
    let mut player = connect(solo);
    player.write_all(b"2").unwrap();
    let mut reply = [0];
    player.read_exact(&mut reply).unwrap();
    assert!(b"xyz".contains(&reply[0]));
    let mut pair = [connect(duel), connect(duel)];
    let (solo, duel) = (solo.to_string(), duel.to_string());
    for (player, mv) in pair.iter_mut().zip([b"1", b"2"]) {
        player.write_all(mv).unwrap();
    }
    for (player, expected) in pair.iter_mut().zip(*b"zy") {
        player.read_exact(&mut reply).unwrap();
        assert_eq!(reply[0], expected);
    }
    // The health check does not meet this move: it is still in play when the drain begins.
    pair[0].write_all(b"1").unwrap();
    let healthcheck =
        |solo: &str, duel: &str| output(&["--solo-listen", solo, "--duel-listen", duel, "--healthcheck"]).status.code();
    assert_eq!(healthcheck(&solo, &duel), Some(0));
    assert_eq!((healthcheck(&solo, ""), healthcheck("", &duel)), (Some(0), Some(0)));
    running.signal("TERM");
    assert_eq!(read_to_end(&mut player), "", "closed, with no bytes before");
    pair[0].read_exact(&mut reply).unwrap();
    assert_eq!(reply, *b"v");
    for player in &mut pair {
        assert_eq!(read_to_end(player), "");
    }
    drop((player, pair));
    let (code, log) = running.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("duel summary draws=0 wins=1 losses=1 voids=1 pairs_dissolved=1"), "{log}");
    assert!(log.contains("stopped accepted=7 rejected=0 panicked=0 aborted=0"), "{log}");
    assert_eq!((healthcheck(&solo, ""), healthcheck("", &duel)), (Some(1), Some(1)));
}

#[test]
fn each_key_has_an_environment_variable() {
    BINARY.check_variables("RPS_SERVER_");
    // Docker sets a variable with such an end and value for a linked container, but a key is matched first.
    let Exit { code, stderr, .. } = run(clean_command().env("RPS_SERVER_DUEL_CLUSTER_NAME", "/app/rps"), "");
    assert!(code == Some(2) && stderr.contains("duel.cluster.name: invalid value"), "{stderr}");
    let Exit { code, stderr, .. } = run(clean_command().env("RPS_SERVER_LISTEN", "127.0.0.1:1"), "");
    assert_eq!(code, Some(2));
    let suggestions =
        ["ADMIN", "DUEL_CLUSTER", "DUEL", "SOLO", "WEB"].map(|listener| format!("'RPS_SERVER_{listener}_LISTEN'"));
    let expected = format!("variable RPS_SERVER_LISTEN: unknown variable; did you mean {}?", suggestions.join(" or "));
    assert!(stderr.contains(&expected), "{stderr}");
}

#[test]
fn check_config_shows_no_password_of_the_engine() {
    for url in ["redis://user:secret@host", "redis+unix:///a?user=u&pass=secret"] {
        let set = format!("duel.cluster.engine={url}");
        for (variable, arguments) in
            [(Some(("RPS_SERVER_DUEL_CLUSTER_ENGINE", url)), &[][..]), (None, &["--set", &set])]
        {
            let mut command = clean_command();
            let Exit { code, stdout, .. } = run(command.envs(variable).args(arguments).arg("--check-config"), "");
            assert_eq!(code, Some(0), "{stdout}");
            assert!(stdout.contains("\nengine = \"redis") && stdout.contains("***"), "{stdout}");
            assert!(!stdout.contains("secret@") && !stdout.contains("=secret"), "{stdout}");
        }
    }
}

#[test]
fn no_error_shows_a_password() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("password.toml");
    std::fs::write(&file, "[duel.cluster]\nengine = u:secret@h:6379\n").unwrap();
    let quoted = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("quoted-password.toml");
    std::fs::write(&quoted, "[duel]\nwindow = \"redis://u:pa secret@h\"\n").unwrap();
    let name = "RPS_SERVER_DUEL_CLUSTER_NAME";
    for (variable, arguments, message) in [
        (
            None,
            &["--config", file.to_str().unwrap()][..],
            ":2: not valid TOML: a text needs quotes: write engine = \"VALUE\"\n",
        ),
        (None, &["--config", quoted.to_str().unwrap()], ":2: duel.window: invalid value: string \"redis://u:***@h\", "),
        (
            None,
            &["--set", "duel.cluster.engine=u:secret@h:6379"],
            "\n--set duel.cluster.engine=***@h:6379: duel.cluster.engine: invalid ",
        ),
        (
            None,
            &["--set", "duel.cluster.engine=redis:/u:secret@h"],
            "\n--set duel.cluster.engine=***@h: duel.cluster.engine: invalid ",
        ),
        (
            None,
            &["--set", "duel.window=redis://u:pa secret@h"],
            "\n--set duel.window=redis://u:***@h: duel.window: invalid value: string \"redis://u:***@h\", ",
        ),
        (None, &["--set", "redis://u:secret=@h"], "\n--set redis://u:***@h: write KEY=VALUE"),
        (None, &["--set", "u:secret=@h"], "\n--set ***@h: write KEY=VALUE"),
        (Some((name, "redis://u:pa secret@h")), &[], "duel.cluster.name: invalid value: string \"redis://u:***@h\", "),
        (
            Some(("RPS_SERVER_SOLO_LISTEN", "redis://u:secret,a@h")),
            &[],
            "solo.listen: invalid value: string \"redis://u:***@h\" (the scheme is unknown), ",
        ),
        (Some((name, "u:pa secret@h")), &[], "duel.cluster.name: invalid value: string \"***@h\", "),
        (
            None,
            &["--set", "duel.cluster.engine", "redis://u:pa secret@h"],
            "rps-server: unexpected argument 'redis://u:***@h'\n",
        ),
        (None, &["--set", "duel.cluster.engine", "u:secret@h"], "rps-server: unexpected argument '***@h'\n"),
    ] {
        let Exit { code, stdout, stderr } = run(clean_command().envs(variable).args(arguments), "");
        assert_eq!((code, &*stdout), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(message) && !stderr.contains("secret"), "{message}: {stderr}");
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_its_key_its_source_and_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cluster = format!("duel.cluster.listen={address}");
    let free = ["--admin-listen", "", "--solo-listen", "127.0.0.1:0", "--duel-listen", "127.0.0.1:0"];
    for (arguments, source, remedy) in [
        (
            &["--solo-listen", &*address][..],
            "solo.listen, --solo-listen",
            "Choose another with --solo-listen, or \"\" for off.",
        ),
        (
            &["--solo-listen", &address, "--duel-listen", ""],
            "solo.listen, --solo-listen",
            "Choose another with --solo-listen.",
        ),
        (
            &["--solo-listen", "127.0.0.1:0", "--duel-listen", &address],
            "duel.listen, --duel-listen",
            "Choose another with --duel-listen, or \"\" for off.",
        ),
        (
            &[&free[..], &["--set", "duel.cluster.engine=redis://127.0.0.1:1", "--set", &cluster]].concat(),
            &format!("duel.cluster.listen, --set {cluster}"),
            "Choose another with --set duel.cluster.listen=ENDPOINT.",
        ),
    ] {
        let reason = format!("cannot listen on {address} ({source}): address already in use. {remedy}");
        let Exit { code, stdout: log, stderr } = run(clean_command().args(arguments), "");
        assert_eq!((code, stderr), (Some(1), format!("rps-server: {reason}\n")));
        assert!(log.contains(&format!("cannot serve reason={reason}\n")), "{log}");
    }
}

#[test]
fn an_access_line_counts_moves_and_bad_frames_of_both_games() {
    let server = start(&["--log-level", "debug"]);
    let mut solo = connect(server.address("solo"));
    solo.write_all(b"1\n2x9").unwrap();
    let mut replies = [0; 4];
    solo.read_exact(&mut replies).unwrap();
    let mut pair = [connect(server.address("duel")), connect(server.address("duel"))];
    for (player, sent) in pair.iter_mut().zip([&b"1"[..], b"?2"]) {
        player.write_all(sent).unwrap();
    }
    for (player, received) in pair.iter_mut().zip([&b"z"[..], b"ey"]) {
        let mut replies = vec![0; received.len()];
        player.read_exact(&mut replies).unwrap();
        assert_eq!(replies, received);
    }
    let peers = [&solo, &pair[0], &pair[1]].map(|stream| stream.local_addr().unwrap());
    drop((solo, pair));
    server.eventually(|server| server.metric("rps_connections") == 0, "has no connection");
    let (endpoints, log) = (["solo", "duel", "duel"].map(|service| server.address(service)), server.stop());
    let counts = [
        "requests=4 errors=\"bad_frame=2\" received_bytes=5 sent_bytes=4",
        "requests=1 received_bytes=1 sent_bytes=1",
        "requests=2 errors=\"bad_frame=1\" received_bytes=2 sent_bytes=2",
    ];
    for ((peer, endpoint), counts) in peers.into_iter().zip(endpoints).zip(counts) {
        let line = format!("connection closed peer={peer} endpoint={endpoint} {counts} duration_ms=");
        let rest = log.split_once(&line).unwrap_or_else(|| panic!("no {line} in\n{log}")).1;
        assert!(rest.lines().next().unwrap().ends_with(" reason=peer_closed"), "{rest}");
    }
}
