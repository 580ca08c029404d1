//! `rps throw`: moves, outcomes, and servers that violate the protocol.

mod support;

use std::io::Write;
use std::sync::mpsc::channel;

use support::fake::{Fake, Then, read_some};
use support::real::ReservedPort;
use support::{real, run};

#[test]
fn every_spelling_of_a_move_is_played_and_printed_with_its_outcome() {
    let server = real::rps();
    let finished = run(&format!(
        "rps throw scissors rock paper 剪刀 石头 布 1 2 3 SCISSORS Rock pApEr 剪子 石 p s 石頭 3 --addr {server}"
    ));
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().map(|line| line.split_once(' ').expect("two words")).collect();
    assert_eq!(lines.len(), 18, "{finished:?}");
    for (index, (name, outcome)) in lines.into_iter().enumerate() {
        assert_eq!(name, ["scissors", "rock", "paper"][index % 3], "{finished:?}");
        assert!(["draw", "win", "lose"].contains(&outcome), "{finished:?}");
    }
}

#[test]
fn a_long_game_has_every_outcome() {
    let server = real::rps();
    let finished = run(&format!("rps throw {} --addr {server}", "rock ".repeat(300)));
    assert_eq!((finished.code, finished.stdout.lines().count()), (Some(0), 300), "{}", finished.stderr);
    // The probability that an outcome is missing is 3 · (2/3)^300.
    for outcome in ["rock draw", "rock win", "rock lose"] {
        assert!(finished.stdout.lines().any(|line| line == outcome), "no {outcome}");
    }
}

#[test]
fn each_move_is_one_byte_on_one_connection_and_waits_for_its_reply() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        // Each reply follows one move, so a client that sends two moves at once is detected.
        for reply in *b"xyz" {
            drop(sender.send(read_some(stream)?));
            stream.write_all(&[reply])?;
        }
        drop(sender.send(read_some(stream)?));
        Ok(Then::Close)
    });
    run(&format!("rps throw scissors rock paper --addr {server}"))
        .assert_success("scissors draw\nrock win\npaper lose\n");
    drop(server);
    assert_eq!(received.iter().collect::<Vec<_>>(), [&b"1"[..], b"2", b"3", b""]);
}

#[test]
fn a_server_that_replies_to_each_read_works() {
    let server = Fake::replying_to_each_read(b"y");
    run(&format!("rps throw 1 2 3 --addr {server}")).assert_success("scissors win\nrock win\npaper win\n");
}

#[test]
fn a_full_server_exits_with_1_and_a_message() {
    let server = real::rps_with_max_connections(1);
    let occupant = server.occupy("1");
    run(&format!("rps throw rock --addr {server}")).assert_failed(
        1,
        "",
        &["the server is full, or a limit per client is reached"],
    );
    drop(occupant);
}

#[test]
fn an_invalid_reply_exits_with_5() {
    for (reply, message) in [
        (&b"q"[..], "'q' is not a valid reply of the rock-paper-scissors protocol"),
        (b"\n", r"'\n' is not a valid reply of the rock-paper-scissors protocol"),
        (b"\xff", r"'\xff' is not a valid reply of the rock-paper-scissors protocol"),
        (b"xx", "it sent more than one byte for one move: 'x', then 'x'"),
        (b"e", "it rejected rock as an invalid move"),
    ] {
        let server = Fake::replying_once(reply);
        run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &[message]);
    }
}

#[test]
fn a_connection_closed_during_the_game_exits_with_5_after_earlier_outcomes() {
    let server = Fake::new(|stream| {
        read_some(stream)?;
        stream.write_all(b"z")?;
        read_some(stream)?;
        Ok(Then::Close)
    });
    run(&format!("rps throw paper rock 1 --addr {server}")).assert_failed(
        5,
        "paper lose\n",
        &["the outcome of the move is unknown"],
    );
}

#[test]
fn a_reset_exits_with_5() {
    let server = Fake::resetting_after(read_some);
    run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &["reset"]);
}

#[test]
fn a_server_that_closes_at_once_exits_with_5() {
    let server = Fake::new(|_| Ok(Then::Close));
    // Whether the client notices this while sending or while waiting for the reply depends on timing.
    run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &[&server.to_string()]);
}

#[test]
fn a_silent_server_exits_with_4_in_the_reply_phase() {
    let server = Fake::silent();
    run(&format!("rps throw rock --timeout 200ms --addr {server}")).assert_failed(4, "", &["no reply within 200ms"]);
}

#[test]
fn a_refused_connection_exits_with_3() {
    let closed_port = ReservedPort::new();
    run(&format!("rps throw rock --addr {closed_port}")).assert_failed(3, "", &["cannot connect: Connection refused"]);
}
