//! Inherited listening sockets of two services. Most tests of inherited sockets are those of `power-server`, which has the same
//! code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use proto::testing::blocking::{connect, exchange};
use proto::testing::inherited::with_sockets;
use proto::testing::program::ServerProcess;
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
    // The first line of the solo game has the path of the Unix socket.
    let server = ServerProcess::start(&mut command, &["duel", "admin"]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"2").unwrap();
    let mut reply = [0];
    stream.read_exact(&mut reply).unwrap();
    assert!(b"xyz".contains(&reply[0]));
    drop(stream);
    let log = server.log();
    let solo =
        log.lines().find_map(|line| line.split_once(" listening service=\"solo\" address=127.0.0.1:")).unwrap().1;
    let port = solo.split(' ').next().unwrap().parse().unwrap();
    assert!(b"xyz".contains(&exchange(([127, 0, 0, 1], port).into(), b"2").as_bytes()[0]));
    play(server.address("duel"));
    // A health check asks the admin listener once for both.
    let admin = server.address("admin").to_string();
    let mut check = clean_command();
    check.args(KEYS).args(["--admin-listen", &admin, "--healthcheck"]);
    assert_eq!(check.status().unwrap().code(), Some(0));
    server.stop();
    assert!(path.exists());
}

#[test]
#[ignore = "needs python3"]
fn row_55_python_a_socket_belongs_to_one_service() {
    for (sockets, arguments, message) in [
        (
            &["solo=127.0.0.1:0"][..],
            &KEYS[..],
            "cannot listen on fd:duel: no inherited socket is named \"duel\"; inherited: \"solo\"",
        ),
        (
            &["solo=127.0.0.1:0", "duel=127.0.0.1:0"],
            &["--solo-listen", "fd:", "--duel-listen", "fd:duel"],
            "cannot listen on fd:: the process inherits 2 sockets",
        ),
        (
            &["solo=127.0.0.1:0"],
            &["--solo-listen", "fd:solo", "--duel-listen", "fd:"],
            "cannot listen on fd:: the inherited socket 3 (\"solo\") already belongs to another endpoint",
        ),
    ] {
        let output = with_sockets(&BINARY, sockets, arguments).stdin(Stdio::null()).output().unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && log.contains(message), "{:?} {log}", output.status);
    }
}

#[test]
fn without_inherited_sockets_the_start_fails() {
    let output = command(&KEYS).env("LISTEN_PID", "1").env("LISTEN_FDS", "2").output().unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("cannot listen on fd:solo: the process inherits no sockets"), "{log}");
}
