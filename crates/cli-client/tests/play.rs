//! `rps play` at a terminal and with a pipe, and everything about another player.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::Write;
use std::time::Duration;

use support::fake::{Fake, Then, read_some};
use support::terminal::Terminal;
use support::{client, real, run};

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(10);

/// Short enough for a test to wait for its end.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn moves_from_a_pipe_are_played_without_a_prompt_and_the_score_comes_last() {
    let server = Fake::new(|stream| {
        for reply in *b"xyzy" {
            read_some(stream)?;
            stream.write_all(&[reply])?;
        }
        read_some(stream)?;
        Ok(Then::Close)
    });
    client(&format!("rps play --addr {server}"))
        .run("rock\n\n布\ns\n  3")
        .assert_success("rock draw\npaper win\nscissors lose\npaper win\n2 won, 1 lost, 1 drawn\n");
}

#[test]
fn an_invalid_move_from_a_pipe_ends_the_game_with_the_score_and_exit_code_2() {
    let server = Fake::replying_to_each_read(b"y");
    client(&format!("rps play --addr {server}")).run("rock\nlizard\nrock\n").assert_failed(
        2,
        "rock win\n1 won, 0 lost, 0 drawn\n",
        &["standard input, line 2: 'lizard' is not a move"],
    );
}

#[test]
fn a_broken_game_prints_its_score() {
    let server = Fake::new(|stream| {
        read_some(stream)?;
        stream.write_all(b"z")?;
        read_some(stream)?;
        Ok(Then::Close)
    });
    let finished = client(&format!("rps play --addr {server}")).run("rock\nrock\n");
    finished.assert_failed(5, "rock lose\n0 won, 1 lost, 0 drawn\n", &["the server has closed the connection"]);
}

#[test]
fn a_game_on_a_terminal_ends_with_ctrl_d() {
    let server = real::rps();
    let mut terminal = Terminal::start(client(&format!("rps play --addr {server}")));
    terminal.see("0:0 scissors, rock or paper? ");
    terminal.press("lizard\n");
    terminal.see("'lizard' is not a move: scissors, rock or paper");
    terminal.see("0:0 scissors, rock or paper? ");
    terminal.press("r\n");
    // The echo of the terminal comes first, then the two hands.
    terminal.see("r\r\n     you ");
    terminal.see(" house\r\n   _______ ");
    terminal.see("|_____|\r\nrock ");
    terminal.see("scissors, rock or paper? ");
    terminal.press("\x04");
    terminal.see(" won, ");
    terminal.see(" drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn an_invalid_line_on_a_terminal_may_be_corrected() {
    let server = Fake::replying_to_each_read(b"y");
    let mut terminal = Terminal::start(client(&format!("rps play --addr {server}")));
    terminal.see("0:0 scissors, rock or paper? ");
    terminal.press_bytes(b"\xff\n");
    terminal.see("the line is not valid UTF-8\r\n0:0 scissors, rock or paper? ");
    terminal.press("r\n");
    terminal.see("rock win\r\n");
    terminal.press("\x04");
    terminal.see("1 won, 0 lost, 0 drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_duel_on_a_terminal_shows_the_remaining_time() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    terminal.see("0:0 scissors, rock or paper? ");
    terminal.press("rock\n");
    terminal.see("waiting for the other player: 30 s left");
    terminal.see("waiting for the other player: 29 s left");
    // Keys pressed during the wait are discarded, because the next prompt is not visible yet.
    terminal.press("s\nroc");
    terminal.see("roc");
    run(&format!("rps throw paper --duel --addr {server}")).assert_success("paper win\n");
    // The line is cleared before the hands are drawn and the outcome is printed.
    let between = terminal.see("     you ");
    assert!(between.ends_with("\r\x1b[K"), "{between:?}");
    terminal.see("rock lose\r\n");
    terminal.see("0:1 scissors, rock or paper? ");
    terminal.press("lizard\n");
    terminal.see("'lizard' is not a move");
    terminal.press("\x04");
    terminal.see("0 won, 1 lost, 0 drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn ctrl_c_withdraws_the_move_in_play() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    terminal.press("rock\n");
    terminal.see("waiting for the other player");
    terminal.interrupt();
    terminal.see("\r\n0 won, 0 lost, 0 drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.write_stdin("paper\n");
    run(&format!("rps throw scissors --duel --addr {server}")).assert_success("scissors win\n");
    one.finish().assert_success("paper lose\n0 won, 1 lost, 0 drawn\n");
}

#[test]
fn a_void_round_on_a_terminal_has_a_reason() {
    let server = real::duel(SHORT);
    let mut terminal = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    terminal.press("rock\n");
    terminal.see("rock void\r\n");
    terminal.see("no other player moved in time: the round is void");
    terminal.see("0:0 scissors, rock or paper? ");
    terminal.press("\x04");
    terminal.see("0 won, 0 lost, 0 drawn, 1 void\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn two_clients_play_each_other_round_after_round() {
    let server = real::duel(LONG);
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.write_stdin("rock\nrock\nrock\n");
    run(&format!("rps throw rock paper scissors --duel --addr {server}"))
        .assert_success("rock draw\npaper win\nscissors lose\n");
    one.finish().assert_success("rock draw\nrock lose\nrock win\n1 won, 1 lost, 1 drawn\n");
}

#[test]
fn a_round_without_another_player_is_void_and_not_an_error() {
    let server = real::duel(SHORT);
    // The window is longer than the timeout, which only limits how late the server may be.
    run(&format!("rps throw rock 布 --duel --timeout 200ms --addr {server}")).assert_success("rock void\npaper void\n");
    client(&format!("rps play --duel --timeout 200ms --addr {server}"))
        .run("rock\n")
        .assert_success("rock void\n0 won, 0 lost, 0 drawn, 1 void\n");
}

#[test]
fn throw_without_duel_plays_a_duel_within_the_timeout() {
    let server = real::duel(LONG);
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.write_stdin("scissors\n");
    run(&format!("rps throw paper --addr {server} --timeout 60s")).assert_success("paper lose\n");
    one.finish().assert_success("scissors win\n1 won, 0 lost, 0 drawn\n");
    // Without --duel it does not wait for the whole window, and the message names --duel.
    run(&format!("rps throw paper --addr {server} --timeout 200ms")).assert_failed(
        4,
        "",
        &["--duel waits for another"],
    );
}

#[test]
fn a_reply_later_than_window_and_timeout_exits_with_4() {
    let server = Fake::silent();
    for command in ["throw rock", "play"] {
        let arguments = format!("rps {command} --duel --window 200ms --timeout 100ms --addr {server}");
        let finished = client(&arguments).run("rock\n");
        finished.assert_exit_code(4);
        assert!(finished.stderr.contains("no reply within 300ms: --window (as "), "{finished:?}");
    }
}

#[test]
fn duel_has_a_separate_address_and_window_requires_duel() {
    let (house, duel) = (real::rps(), real::duel(SHORT));
    let with_addresses = |arguments: &str| {
        client(arguments).with_env("RPS_ADDR", &house.to_string()).with_env("DUEL_ADDR", &duel.to_string())
    };
    with_addresses("rps throw rock --duel").run("").assert_success("rock void\n");
    assert!(!with_addresses("rps throw rock").run("").stdout.contains("void"));
    with_addresses("probe duel").run("").assert_exit_code(0);
    run("rps throw rock --window 5s").assert_usage_error("--duel");
}
