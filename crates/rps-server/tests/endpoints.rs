//! Endpoints of the program: lists of them, and Unix sockets (row 50 of `crates/power-server/tests/FAULTS.md`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use proto::testing::blocking::connect_unix;
use proto::testing::process::{Exit, run};
use proto::testing::program::ServerProcess;
use support::program::{BINARY, clean_command, command};
use tempfile::{TempDir, tempdir};

/// Starts a server whose games listen on Unix sockets. Returns it with their paths, in a folder that exists until it is
/// dropped.
fn start_unix(settings: &[&str]) -> (ServerProcess, [PathBuf; 2], TempDir) {
    let folder = tempdir().unwrap();
    let paths = ["solo", "duel"].map(|game| folder.path().join(game));
    let [solo, duel] = paths.each_ref().map(|path| format!("unix:{}", path.display()));
    let settings = settings.iter().flat_map(|&set| ["--set", set]);
    let arguments = ["--solo-listen", &solo, "--duel-listen", &duel].into_iter().chain(settings);
    (ServerProcess::start(&mut command(&arguments.collect::<Vec<_>>()), &["admin"]), paths, folder)
}

fn read_reply(stream: &mut UnixStream) -> u8 {
    let mut reply = [0];
    stream.read_exact(&mut reply).unwrap();
    reply[0]
}

#[test]
fn both_games_are_played_over_unix_sockets() {
    let (server, [solo, duel], _folder) = start_unix(&["limits.max_connections_per_ip=1"]);
    let mut player = connect_unix(&solo);
    player.write_all(b"2").unwrap();
    assert!(b"xyz".contains(&read_reply(&mut player)));
    let mut pair = [connect_unix(&duel), connect_unix(&duel)];
    for (player, mv) in pair.iter_mut().zip([b"1", b"2"]) {
        player.write_all(mv).unwrap();
    }
    assert_eq!(pair.each_mut().map(read_reply), *b"zy");
    let [solo_listen, duel_listen] = [&solo, &duel].map(|path| format!("unix:{}", path.display()));
    let arguments = ["--solo-listen", &solo_listen, "--duel-listen", &duel_listen, "--healthcheck"];
    assert_eq!(run(clean_command().args(arguments), "").code, Some(0));
    drop((player, pair));
    server.stop();
    assert!(!solo.exists() && !duel.exists());
}

#[test]
fn row_50_players_on_a_unix_socket_who_never_read_are_closed() {
    let (server, [solo, _], _folder) = start_unix(&["timeouts.write=1s"]);
    let baseline = server.baseline();
    let mut stream = connect_unix(&solo);
    let moves = "123".repeat(10_000);
    let error = (0..10_000).find_map(|_| stream.write_all(moves.as_bytes()).err()).unwrap();
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    drop(stream);
    server.returns_to(baseline, "rps");
    assert_eq!(server.closed("rps", "write_timeout"), 1);
    server.stop();
}

#[test]
fn the_games_cannot_share_an_endpoint() {
    for endpoint in ["127.0.0.1:1", "unix:game", "fd:game"] {
        let arguments = ["--solo-listen", endpoint, "--duel-listen", endpoint];
        let Exit { code, stderr, .. } = run(clean_command().args(arguments), "");
        assert_eq!(code, Some(2), "{endpoint}: {stderr}");
        assert!(stderr.contains(&format!("both cannot listen on {endpoint}")), "{stderr}");
    }
    assert!(!fs::exists(PathBuf::from(BINARY.folder).join("game")).unwrap());
}
