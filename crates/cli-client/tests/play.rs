//! `rps play` at a terminal and with a pipe, and everything about another player.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::time::Duration;

use proto::testing::TEST_TIMEOUT;
use proto::testing::blocking::reset_on_close;
use support::fake::{Fake, Then, read_some, read_to_eof};
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
fn an_invalid_move_from_a_pipe_is_reported_and_the_game_ends_with_exit_code_2() {
    let server = Fake::replying_to_each_read(b"y");
    client(&format!("rps play --addr {server}")).run("rock\nlizard\nrock\n").assert_failed(
        2,
        "rock win\nrock win\n2 won, 0 lost, 0 drawn\n",
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
    finished.assert_failed(5, "rock lose\n0 won, 1 lost, 0 drawn\n", &["the outcome of the move is unknown"]);
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
    // Keys pressed during the wait are neither shown nor kept, because the next prompt is not visible yet.
    terminal.press("s\n");
    terminal.wait_for_keys(2);
    run(&format!("rps throw paper --duel --addr {server}")).assert_success("paper win\n");
    // The line is cleared before the hands are drawn and the outcome is printed.
    let between = terminal.see("     you ");
    assert!(between.ends_with("\r\x1b[K") && !between.contains('\n'), "{between:?}");
    terminal.see("rock lose\r\n");
    terminal.see("0:1 scissors, rock or paper? ");
    terminal.press("lizard\n");
    terminal.see("'lizard' is not a move");
    terminal.press("\x04");
    terminal.see("0 won, 1 lost, 0 drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_throw_on_a_terminal_shows_the_remaining_time() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps throw rock --duel --addr {server}")));
    terminal.see("waiting for the other player: 30 s left");
    assert!(!terminal.echoes());
    run(&format!("rps throw paper --duel --addr {server}")).assert_success("paper win\n");
    // The line is cleared.
    let before = terminal.see("rock lose\r\n");
    assert!(before.ends_with("\r\x1b[K"), "{before:?}");
    terminal.wait_for_end();
    assert!(terminal.echoes());
    assert_eq!(terminal.code(), Some(0));
}

/// Only `rps play` discards keys, because its next prompt would read them.
#[test]
fn a_move_typed_during_a_throw_is_thrown_next() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps throw - --duel --addr {server}")));
    terminal.press("rock\n");
    terminal.see("waiting for the other player: 30 s left");
    assert!(!terminal.echoes());
    terminal.press("paper\n");
    terminal.wait_for_keys(6);
    run(&format!("rps throw paper --duel --addr {server}")).assert_success("paper win\n");
    let before = terminal.see("rock lose\r\n");
    assert!(!before.contains("paper"), "{before:?}");
    terminal.see("waiting for the other player: 30 s left");
    run(&format!("rps throw scissors --duel --addr {server}")).assert_success("scissors win\n");
    terminal.see("paper lose\r\n");
    terminal.press("\x04");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn ctrl_c_withdraws_the_move_in_play() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    terminal.press("rock\n");
    terminal.see("waiting for the other player");
    assert!(!terminal.echoes());
    terminal.interrupt();
    terminal.see("\r\n0 won, 0 lost, 0 drawn\r\n");
    terminal.wait_for_end();
    assert!(terminal.echoes());
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
fn a_signal_during_a_duel_turns_the_echo_on_again() {
    let server = real::duel(LONG);
    let mut terminal = Terminal::start(client(&format!("rps play --duel --addr {server}")));
    terminal.press("rock\n");
    terminal.see("waiting for the other player");
    terminal.signal("TERM");
    terminal.see("0 won, 0 lost, 0 drawn\r\n");
    terminal.wait_for_end();
    assert!(terminal.echoes());
    // The signal terminated it.
    assert_eq!(terminal.code(), None);
}

#[test]
fn a_game_explains_its_keys_and_ends_with_quit() {
    let server = Fake::replying_to_each_read(b"y");
    for quit in ["q", "quit", "exit"] {
        let mut terminal = Terminal::start(client(&format!("rps play --addr {server}")));
        let first = terminal.see("0:0 scissors, rock or paper? ");
        assert!(first.starts_with("s, r, p: scissors, rock, paper; q: end\r\n"), "{first:?}");
        for help in ["?", "help"] {
            terminal.press(&format!("{help}\n"));
            terminal.see("\r\nq, quit, exit or Ctrl-D: end the game\r\n");
            terminal.see("0:0 scissors, rock or paper? ");
        }
        terminal.press(&format!("{quit}\n"));
        terminal.see("0 won, 0 lost, 0 drawn\r\n");
        assert_eq!(terminal.code(), Some(0));
        client(&format!("rps play --addr {server}"))
            .run(format!("rock\n{quit}\nrock\n"))
            .assert_success("rock win\n1 won, 0 lost, 0 drawn\n");
    }
}

/// The server closes its idle connections, and then the player moves again.
#[test]
fn a_move_after_an_idle_close_gets_a_new_connection_and_a_duelist_gets_a_note() {
    let note = "the server had closed the idle connection; connected again: the opponent may be another player now";
    for (arguments, messages, objects) in [
        ("rps throw -", &[][..], false),
        ("rps play", &[], false),
        ("rps throw - --duel", &[note], false),
        ("rps throw - --duel --quiet", &[], false),
        ("rps throw - --duel --json", &[], true),
    ] {
        let (sender, closed) = channel();
        let server = Fake::new(move |stream| {
            read_some(stream)?;
            stream.write_all(b"y")?;
            stream.shutdown(Shutdown::Write)?;
            // The client reads the reply, and then the EOF when the next move is due.
            let _ = sender.send(());
            read_to_eof(stream)?;
            Ok(Then::Close)
        });
        let mut running = client(&format!("{arguments} --addr {server}")).start();
        let mut outcomes = String::new();
        for _ in 0..2 {
            running.write_stdin("rock\n");
            closed.recv_timeout(TEST_TIMEOUT).expect("the client sends a move");
            outcomes += &running.next_line();
        }
        let expected = if objects {
            let round = "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"";
            format!("{round}}}\n{round},\"reconnected\":true}}\n")
        } else {
            "rock win\n".repeat(2)
        };
        assert_eq!(outcomes, expected, "{arguments}");
        let score = if arguments == "rps play" { "2 won, 0 lost, 0 drawn\n" } else { "" };
        running.finish().assert_failed(0, &(expected + score), messages);
    }
}

/// The server has crashed, or does not know the outcome itself (PROTOCOL.md, section 2.1).
#[test]
fn a_connection_lost_during_a_round_leaves_the_outcome_unknown() {
    for reset in [false, true] {
        let server = Fake::new(move |stream| {
            for reply in [&b"x"[..], b""] {
                read_some(stream)?;
                stream.write_all(reply)?;
            }
            if reset {
                reset_on_close(stream);
            }
            Ok(Then::Close)
        });
        for arguments in ["rps throw rock paper --duel", "rps throw rock paper"] {
            let finished = run(&format!("{arguments} --addr {server}"));
            let message = if reset { "Connection reset by peer (os error 104)" } else { "before the reply" };
            finished.assert_failed(5, "rock draw\n", &[&format!("{message}; the outcome of the move is unknown")]);
        }
    }
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
