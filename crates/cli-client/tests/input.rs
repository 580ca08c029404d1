//! Values from standard input: `-` for `power` and for `rps throw`.

mod support;

use support::{Finished, client, real};

/// The three ways to ask that read standard input in ways of their own.
const WAYS: [&str; 3] = ["", "--framing line", "--keep-alive"];

fn square(arguments: &str, flags: &str, server: &real::Server, input: &[u8]) -> Finished {
    client(&format!("power square {arguments} {flags} --addr {server}")).run(input)
}

#[test]
fn numbers_are_read_one_a_line_and_blank_lines_are_passed_over() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, b"2\n\n -3 \n\t\n1e2\r\n\r\n").assert_done("4.0\n9.0\n10000.0\n");
    }
}

#[test]
fn the_last_line_needs_no_line_end() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, b"2\n3").assert_done("4.0\n9.0\n");
    }
}

#[test]
fn empty_input_is_no_numbers_and_no_error() {
    let server = real::power();
    for flags in WAYS {
        for empty in ["", "\n", " \n\n"] {
            square("-", flags, &server, empty.as_bytes()).assert_done("");
        }
    }
}

#[test]
fn numbers_before_and_after_the_dash_are_asked_in_their_order() {
    let server = real::power();
    for flags in WAYS {
        square("1 - 4", flags, &server, b"2\n3\n").assert_done("1.0\n4.0\n9.0\n16.0\n");
        square("1 - 4 -", flags, &server, b"2\n").assert_done("1.0\n4.0\n16.0\n");
    }
}

#[test]
fn a_bad_line_is_named_and_what_stands_before_it_is_answered() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, b"2\n\n3\nabc\n4\n").assert_failed(
            2,
            "4.0\n9.0\n",
            &["standard input, line 4: 'abc' is not a decimal number"],
        );
        square("- 5", flags, &server, b"inf\n").assert_failed(2, "", &["line 1: 'inf' is"]);
        square("-", flags, &server, b"2\n1e999\n").assert_failed(2, "4.0\n", &["line 2: '1e999' is beyond"]);
    }
}

#[test]
fn a_bad_line_outweighs_a_refusal_before_it() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, b"1e200\nabc\n").assert_failed(2, "", &["RANGE", "line 2: 'abc'"]);
    }
}

#[test]
fn a_line_that_is_no_text_is_named_and_nothing_of_it_reaches_the_terminal() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, b"2\n\xff\xfe\n3\n").assert_failed(2, "4.0\n", &["standard input, line 2: "]);
        square("-", flags, &server, b"2\n\x1b[2J\n3\n").assert_failed(2, "4.0\n", &["standard input, line 2: "]);
    }
}

#[test]
fn a_line_without_end_is_given_up() {
    let server = real::power();
    for flags in WAYS {
        square("-", flags, &server, "7".repeat(100_000).as_bytes()).assert_failed(2, "", &["standard input, line 1: "]);
    }
}

#[test]
fn moves_are_read_one_a_line() {
    let server = real::rps();
    let finished = client(&format!("rps throw 1 - paper --addr {server}")).run("rock\n\n 布 \r\n1");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let moves: Vec<_> = finished.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(moves, ["scissors", "rock", "paper", "scissors", "paper"]);
}

#[test]
fn no_moves_on_standard_input_are_no_error() {
    let server = real::rps();
    client(&format!("rps throw - --addr {server}")).run("").assert_done("");
}

#[test]
fn a_bad_move_is_named_by_its_line_and_the_moves_before_it_are_played() {
    let server = real::rps();
    let finished = client(&format!("rps throw - --addr {server}")).run("rock\nlizard\npaper\n");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
    assert!(finished.stdout.starts_with("rock "), "{finished:?}");
    finished.assert_failed(2, &finished.stdout, &["standard input, line 2: 'lizard' is not a move"]);
}
