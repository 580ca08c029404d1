//! Values from standard input: `-` for `power` and `rps throw`.

mod support;

use support::{Finished, client, real};

/// The three ways in which `power` reads standard input.
const FLAGS: [&str; 3] = ["", "--framing line", "--keep-alive"];

fn square(arguments: &str, flags: &str, server: &real::LocalServer, input: &[u8]) -> Finished {
    client(&format!("power square {arguments} {flags} --addr {server}")).run(input)
}

#[test]
fn numbers_are_read_one_per_line_and_blank_lines_are_skipped() {
    let server = real::power();
    for flags in FLAGS {
        square("-", flags, &server, b"2\n\n -3 \n\t\n1e2\r\n\r\n").assert_success("4.0\n9.0\n10000.0\n");
    }
}

#[test]
fn the_last_line_needs_no_line_end() {
    let server = real::power();
    for flags in FLAGS {
        square("-", flags, &server, b"2\n3").assert_success("4.0\n9.0\n");
    }
}

#[test]
fn empty_input_is_not_an_error() {
    let server = real::power();
    for flags in FLAGS {
        for empty in ["", "\n", " \n\n"] {
            square("-", flags, &server, empty.as_bytes()).assert_success("");
        }
    }
}

#[test]
fn numbers_before_and_after_the_dash_keep_their_order() {
    let server = real::power();
    for flags in FLAGS {
        square("1 - 4", flags, &server, b"2\n3\n").assert_success("1.0\n4.0\n9.0\n16.0\n");
        square("1 - 4 -", flags, &server, b"2\n").assert_success("1.0\n4.0\n16.0\n");
    }
}

#[test]
fn a_bad_line_is_named_and_the_other_lines_have_results() {
    let server = real::power();
    for flags in FLAGS {
        square("-", flags, &server, b"2\n\n3\nabc\n4\n").assert_failed(
            2,
            "4.0\n9.0\n16.0\n",
            &["standard input, line 4: 'abc' is not a decimal number"],
        );
        square("- 5", flags, &server, b"inf\n").assert_failed(2, "25.0\n", &["line 1: 'inf' is"]);
        square("-", flags, &server, b"2\n1e999\nx").assert_failed(
            2,
            "4.0\n",
            &["line 2: '1e999' is beyond", "line 3: 'x' is not"],
        );
    }
}

#[test]
fn a_bad_line_decides_the_exit_code_over_an_error_reply() {
    let server = real::power();
    for flags in FLAGS {
        for input in [&b"1e200\nabc\n"[..], b"abc\n1e200\n"] {
            let finished = square("-", flags, &server, input);
            finished.assert_exit_code(2);
            assert!(finished.stderr.contains("RANGE") && finished.stderr.contains("'abc'"), "{finished:?}");
        }
    }
}

#[test]
fn a_line_with_invalid_text_is_named_and_not_printed() {
    let server = real::power();
    for flags in FLAGS {
        for invalid in [&b"\xff\xfe"[..], b"\x1b[2J"] {
            let input = [b"2\n", invalid, b"\n3\n"].concat();
            square("-", flags, &server, &input).assert_failed(2, "4.0\n9.0\n", &["standard input, line 2: "]);
        }
    }
}

#[test]
fn a_line_that_is_too_long_is_an_error() {
    let server = real::power();
    for flags in FLAGS {
        let input = "7".repeat(100_000) + "\n2\n";
        square("-", flags, &server, input.as_bytes()).assert_failed(2, "4.0\n", &["standard input, line 1: "]);
    }
}

#[test]
fn moves_are_read_one_per_line() {
    let server = real::rps();
    let finished = client(&format!("rps throw 1 - paper --addr {server}")).run("rock\n\n 布 \r\n1");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let moves: Vec<_> = finished.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(moves, ["scissors", "rock", "paper", "scissors", "paper"]);
}

#[test]
fn empty_input_for_moves_is_not_an_error() {
    let server = real::rps();
    client(&format!("rps throw - --addr {server}")).run("").assert_success("");
}

#[test]
fn a_bad_move_is_named_and_the_other_moves_are_played() {
    let server = real::rps();
    let finished = client(&format!("rps throw - --addr {server}")).run("rock\nlizard\npaper\n");
    let moves: Vec<_> = finished.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(moves, ["rock", "paper"], "{finished:?}");
    finished.assert_failed(2, &finished.stdout, &["standard input, line 2: 'lizard' is not a move"]);
}
