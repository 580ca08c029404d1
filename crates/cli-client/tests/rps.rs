//! `rps throw`: moves, outcomes, and servers that do not keep to the wire.

mod support;

use std::io::Write;
use std::sync::mpsc::channel;

use support::fake::{Fake, Then, hear};
use support::real::Reserved;
use support::{real, run};

#[test]
fn every_spelling_of_a_move_is_played_and_printed_with_its_outcome() {
    let server = real::rps();
    let finished =
        run(&format!("rps throw scissors rock paper 剪刀 石头 布 1 2 3 SCISSORS Rock pApEr --addr {server}"));
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().map(|line| line.split_once(' ').expect("two words")).collect();
    assert_eq!(lines.len(), 12, "{finished:?}");
    for (index, (shown, outcome)) in lines.into_iter().enumerate() {
        assert_eq!(shown, ["scissors", "rock", "paper"][index % 3], "{finished:?}");
        assert!(["draw", "win", "lose"].contains(&outcome), "{finished:?}");
    }
}

#[test]
fn a_long_game_sees_every_outcome() {
    let server = real::rps();
    let finished = run(&format!("rps throw {} --addr {server}", "rock ".repeat(300)));
    assert_eq!((finished.code, finished.stdout.lines().count()), (Some(0), 300), "{}", finished.stderr);
    // By luck one of them is missing three times in (3/2)^300.
    for outcome in ["rock draw", "rock win", "rock lose"] {
        assert!(finished.stdout.lines().any(|line| line == outcome), "no {outcome}");
    }
}

#[test]
fn all_moves_travel_on_one_connection_a_byte_each_and_answers_are_told_apart() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        // Each answer is asked for by one move alone, so a client that sent two at once would be seen here.
        for answer in *b"xyz" {
            drop(sender.send(hear(stream)?));
            stream.write_all(&[answer])?;
        }
        drop(sender.send(hear(stream)?));
        Ok(Then::Close)
    });
    run(&format!("rps throw scissors rock paper --addr {server}")).assert_done("scissors draw\nrock win\npaper lose\n");
    drop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [&b"1"[..], b"2", b"3", b""]);
}

#[test]
fn a_server_that_answers_each_read_is_understood() {
    let server = Fake::answering_each_read(b"y");
    run(&format!("rps throw 1 2 3 --addr {server}")).assert_done("scissors win\nrock win\npaper win\n");
}

#[test]
fn a_full_server_is_exit_code_1_and_says_so() {
    let server = real::rps_with_room_for(1);
    let occupant = server.occupy("1");
    run(&format!("rps throw rock --addr {server}")).assert_failed(1, "", &["the server is full"]);
    drop(occupant);
}

#[test]
fn what_is_no_answer_to_a_move_is_exit_code_5() {
    for (answer, said) in [
        (&b"q"[..], "'q' is not a valid reply of the rock-paper-scissors protocol"),
        (b"\n", r"'\n' is not a valid reply"),
        (b"\xff", r"'\xff' is not a valid reply"),
        (b"xx", "it sent more than one byte for one move: 'x', then 'x'"),
        (b"e", "it rejected rock as an invalid move"),
    ] {
        let server = Fake::answering_once(answer);
        run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &[said]);
    }
}

#[test]
fn a_connection_that_ends_amid_the_game_is_exit_code_5_after_the_outcomes_so_far() {
    let server = Fake::new(|stream| {
        hear(stream)?;
        stream.write_all(b"z")?;
        hear(stream)?;
        Ok(Then::Close)
    });
    run(&format!("rps throw paper rock 1 --addr {server}")).assert_failed(
        5,
        "paper lose\n",
        &["the server has closed the connection: "],
    );
}

#[test]
fn a_reset_is_exit_code_5() {
    let server = Fake::resetting_after(hear);
    run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &["reset"]);
}

#[test]
fn a_server_that_closes_at_once_is_exit_code_5() {
    let server = Fake::new(|_| Ok(Then::Close));
    // Whether this shows while the move is sent or when the answer is awaited is a matter of time.
    run(&format!("rps throw rock --addr {server}")).assert_failed(5, "", &[&server.to_string()]);
}

#[test]
fn a_silent_server_is_exit_code_4_in_the_reply_phase() {
    let server = Fake::silent();
    run(&format!("rps throw rock --timeout 200ms --addr {server}")).assert_failed(4, "", &["no reply within 200ms"]);
}

#[test]
fn a_port_where_nobody_listens_is_exit_code_3() {
    let nobody = Reserved::new();
    run(&format!("rps throw rock --addr {nobody}")).assert_failed(3, "", &["cannot connect: Connection refused"]);
}
