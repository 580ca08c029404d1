//! Inherited listening sockets of two services. Most tests of inherited sockets are those of `power-server`, which has
//! the same code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use proto::testing::blocking::{connect, exchange, exchange_unix};
use proto::testing::inherited::{clean_command as clean_command_of, with_sockets};
use proto::testing::process::{ChildProcess, Exit, run};
use proto::testing::program::ServerProcess;
use proto::testing::{TEST_TIMEOUT, eventually};
use support::program::{BINARY, clean_command, command};

const KEYS: [&str; 4] = ["--solo-listen", "fd:solo", "--duel-listen", "fd:duel"];

/// Plays a round between two players.
fn play(duel: SocketAddr) {
    let mut players = [(); 2].map(|()| connect(duel));
    for (player, hand) in players.iter_mut().zip([b"2", b"3"]) {
        player.write_all(hand).unwrap();
    }
    for (player, verdict) in players.iter_mut().zip([b"z", b"y"]) {
        let mut reply = [0];
        player.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, verdict);
    }
}

#[test]
#[ignore = "needs python3"]
fn python_each_service_has_the_sockets_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("solo.sock");
    let sockets =
        ["duel=127.0.0.1:0", &format!("solo=unix:{}", path.display()), "solo=127.0.0.1:0", "admin=127.0.0.1:0"];
    let arguments = [&KEYS[..], &["--admin-listen", "fd:admin"]].concat();
    let mut command = with_sockets(&BINARY, &sockets, &arguments);
    let server = ServerProcess::start(&mut command, BINARY.services);
    assert_eq!(server.endpoints("solo").len(), 2, "{}", server.log());
    assert!(b"xyz".contains(&exchange_unix(&path, b"2").as_bytes()[0]));
    assert!(b"xyz".contains(&exchange(server.address("solo"), b"2").as_bytes()[0]));
    play(server.address("duel"));
    // A health check asks the admin listener once for both.
    let admin = server.address("admin").to_string();
    let mut check = clean_command();
    check.args(KEYS).args(["--admin-listen", &admin, "--healthcheck"]);
    assert_eq!(run(&mut check, "").code, Some(0));
    server.stop();
    assert!(path.exists());
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn systemd_socket_activate_passes_the_sockets_of_both_games() {
    // It cannot choose free ports. No other program uses this address.
    let [solo, duel] = [(); 2].map(|()| TcpListener::bind("127.66.55.45:0").unwrap());
    let [solo, duel] = [solo, duel].map(|listener| listener.local_addr().unwrap());
    let mut command = clean_command_of("systemd-socket-activate");
    command.args(["--listen", &solo.to_string(), "--listen", &duel.to_string(), "--fdname=solo:duel", BINARY.path]);
    command.args(KEYS).args(["--admin-listen", ""]);
    let mut process = ChildProcess::start(command.current_dir(BINARY.folder).stdout(Stdio::piped()));
    // It starts the server at the first connection.
    assert!(eventually(TEST_TIMEOUT, || TcpStream::connect(solo).is_ok()), "{process:?}");
    assert!(b"xyz".contains(&exchange(solo, b"2").as_bytes()[0]));
    play(duel);
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
}

#[test]
#[ignore = "needs python3"]
fn row_55_python_a_socket_belongs_to_one_service() {
    for (sockets, arguments, message) in [
        (
            &["solo=127.0.0.1:0"][..],
            &KEYS[..],
            "cannot listen on fd:duel (duel.listen, --duel-listen): no inherited socket is named \"duel\"; \
             inherited: \"solo\"",
        ),
        (
            &["solo=127.0.0.1:0", "duel=127.0.0.1:0"],
            &["--solo-listen", "fd:", "--duel-listen", "fd:duel"],
            "cannot listen on fd: (solo.listen, --solo-listen): the process inherits 2 sockets",
        ),
        (
            &["solo=127.0.0.1:0"],
            &["--solo-listen", "fd:solo", "--duel-listen", "fd:"],
            "cannot listen on fd: (duel.listen, --duel-listen): the inherited socket 3 (\"solo\") already belongs to \
             another endpoint",
        ),
    ] {
        let Exit { code, stdout, stderr } = run(&mut with_sockets(&BINARY, sockets, arguments), "");
        assert!(code == Some(1) && stdout.contains(message), "{code:?} {stdout} {stderr}");
    }
}

#[test]
fn without_inherited_sockets_the_start_fails() {
    let Exit { code, stdout: log, .. } = run(command(&KEYS).env("LISTEN_PID", "1").env("LISTEN_FDS", "2"), "");
    assert_eq!(code, Some(1));
    assert!(
        log.contains("cannot listen on fd:solo (solo.listen, --solo-listen): the process inherits no sockets"),
        "{log}"
    );
}
