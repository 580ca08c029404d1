//! `rps play`, and all that has to do with another player: at a terminal and in a pipe.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::Write;
use std::time::Duration;

use support::fake::{Fake, Then, hear};
use support::terminal::Terminal;
use support::{client, real, run};

/// Longer than any test may take.
const LONG: Duration = Duration::from_mins(10);

/// So short that a test can wait for its end.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn moves_from_a_pipe_are_played_without_a_prompt_and_the_score_comes_last() {
    let server = Fake::new(|stream| {
        for answer in *b"xyzy" {
            hear(stream)?;
            stream.write_all(&[answer])?;
        }
        hear(stream)?;
        Ok(Then::Close)
    });
    client(&format!("rps play --addr {server}"))
        .run("rock\n\n布\ns\n  3")
        .assert_done("rock draw\npaper win\nscissors lose\npaper win\n2 won, 1 lost, 1 drawn\n");
}

#[test]
fn a_line_of_a_pipe_that_is_no_move_ends_the_game_with_the_score_and_exit_code_2() {
    let server = Fake::answering_each_read(b"y");
    client(&format!("rps play --addr {server}")).run("rock\nlizard\nrock\n").assert_failed(
        2,
        "rock win\n1 won, 0 lost, 0 drawn\n",
        &["standard input, line 2: 'lizard' is not a move"],
    );
}

#[test]
fn a_game_that_breaks_off_still_has_its_score() {
    let server = Fake::new(|stream| {
        hear(stream)?;
        stream.write_all(b"z")?;
        hear(stream)?;
        Ok(Then::Close)
    });
    let finished = client(&format!("rps play --addr {server}")).run("rock\nrock\n");
    finished.assert_failed(5, "rock lose\n0 won, 1 lost, 0 drawn\n", &["the server has closed the connection"]);
}

#[test]
fn a_person_plays_against_the_house_until_ctrl_d() {
    let server = real::rps();
    let mut person = Terminal::start(client(&format!("rps play --addr {server}")));
    person.see("0:0 scissors, rock or paper? ");
    person.press("lizard\n");
    person.see("'lizard' is not a move: scissors, rock or paper");
    person.see("0:0 scissors, rock or paper? ");
    person.press("r\n");
    // What the terminal echoes comes first, then the two hands.
    person.see("r\r\n     you ");
    person.see(" house\r\n   _______ ");
    person.see("|_____|\r\nrock ");
    person.see("scissors, rock or paper? ");
    person.press("\x04");
    person.see(" won, ");
    person.see(" drawn\r\n");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn a_person_may_try_again_after_a_line_that_is_no_text() {
    let server = Fake::answering_each_read(b"y");
    let mut person = Terminal::start(client(&format!("rps play --addr {server}")));
    person.see("0:0 scissors, rock or paper? ");
    person.press_bytes(b"\xff\n");
    person.see("the line is not valid UTF-8\r\n0:0 scissors, rock or paper? ");
    person.press("r\n");
    person.see("rock win\r\n");
    person.press("\x04");
    person.see("1 won, 0 lost, 0 drawn\r\n");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn a_person_sees_how_long_the_other_player_may_still_take() {
    let server = real::duel(LONG);
    let mut person = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    person.see("0:0 scissors, rock or paper? ");
    person.press("rock\n");
    person.see("waiting for the other player: 30 s left");
    person.see("waiting for the other player: 29 s left");
    // What is typed meanwhile is not for the next prompt, which nobody has seen yet.
    person.press("s\nroc");
    person.see("roc");
    run(&format!("rps throw paper --duel --addr {server}")).assert_done("paper win\n");
    // The line is cleared before the hands are drawn and the outcome is written.
    let between = person.see("     you ");
    assert!(between.ends_with("\r\x1b[K"), "{between:?}");
    person.see("rock lose\r\n");
    person.see("0:1 scissors, rock or paper? ");
    person.press("lizard\n");
    person.see("'lizard' is not a move");
    person.press("\x04");
    person.see("0 won, 1 lost, 0 drawn\r\n");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn a_person_who_presses_ctrl_c_takes_back_the_move_in_play() {
    let server = real::duel(LONG);
    let mut person = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    person.press("rock\n");
    person.see("waiting for the other player");
    person.interrupt();
    person.see("\r\n0 won, 0 lost, 0 drawn\r\n");
    assert_eq!(person.code(), Some(0));
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.type_in("paper\n");
    run(&format!("rps throw scissors --duel --addr {server}")).assert_done("scissors win\n");
    one.finish().assert_done("paper lose\n0 won, 1 lost, 0 drawn\n");
}

#[test]
fn a_person_is_told_why_a_round_is_void() {
    let server = real::duel(SHORT);
    let mut person = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    person.press("rock\n");
    person.see("rock void\r\n");
    person.see("no other player moved in time: the round is void");
    person.see("0:0 scissors, rock or paper? ");
    person.press("\x04");
    person.see("0 won, 0 lost, 0 drawn, 1 void\r\n");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn two_clients_play_each_other_round_after_round() {
    let server = real::duel(LONG);
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.type_in("rock\nrock\nrock\n");
    run(&format!("rps throw rock paper scissors --duel --addr {server}"))
        .assert_done("rock draw\npaper win\nscissors lose\n");
    one.finish().assert_done("rock draw\nrock lose\nrock win\n1 won, 1 lost, 1 drawn\n");
}

#[test]
fn a_round_without_another_player_is_void_and_no_failure() {
    let server = real::duel(SHORT);
    // Longer than the timeout, which says how long the server may be late.
    run(&format!("rps throw rock 布 --duel --timeout 200ms --addr {server}")).assert_done("rock void\npaper void\n");
    client(&format!("rps play --duel --timeout 200ms --addr {server}"))
        .run("rock\n")
        .assert_done("rock void\n0 won, 0 lost, 0 drawn, 1 void\n");
}

#[test]
fn a_throw_needs_nothing_but_the_address_to_meet_another_player() {
    let server = real::duel(LONG);
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.type_in("scissors\n");
    run(&format!("rps throw paper --addr {server} --timeout 60s")).assert_done("paper lose\n");
    one.finish().assert_done("scissors win\n1 won, 0 lost, 0 drawn\n");
    // But it does not wait for one as long as a duel may take, and says what would.
    run(&format!("rps throw paper --addr {server} --timeout 200ms")).assert_failed(
        4,
        "",
        &["--duel waits for another"],
    );
}

#[test]
fn a_server_that_is_late_even_for_a_duel_is_exit_code_4() {
    let server = Fake::silent();
    for command in ["throw rock", "play"] {
        let arguments = format!("rps {command} --duel --window 200ms --timeout 100ms --addr {server}");
        let finished = client(&arguments).run("rock\n");
        finished.assert_ended(4);
        assert!(finished.stderr.contains("no reply within 300ms: --window (as "), "{finished:?}");
    }
}

#[test]
fn a_duel_has_an_address_of_its_own_and_a_window_goes_with_it() {
    let (house, duel) = (real::rps(), real::duel(SHORT));
    let with_addresses = |arguments: &str| {
        client(arguments).with_variable("RPS_ADDR", &house.to_string()).with_variable("DUEL_ADDR", &duel.to_string())
    };
    with_addresses("rps throw rock --duel").run("").assert_done("rock void\n");
    assert!(!with_addresses("rps throw rock").run("").stdout.contains("void"));
    with_addresses("probe duel").run("").assert_ended(0);
    run("rps throw rock --window 5s").assert_misused("--duel");
}
