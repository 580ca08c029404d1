//! `--trace`, `--verbose` and `--split`: a connection's way on standard error, and what comes of a request in pieces.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use support::fake::{Fake, Then, hear, hear_all};
use support::real::Reserved;
use support::{Finished, client, real, run};

/// What stands before each event: its time, which grows, or blanks.
const STAMP: usize = 14;

/// What the client told of its connections, without what differs from run to run: times, and ports of its own.
#[track_caller]
fn way(finished: &Finished) -> Vec<String> {
    let control = |shown: char| shown.is_control() && shown != '\n';
    assert!(!finished.stderr.contains(control) && finished.stderr.ends_with('\n'), "{finished:?}");
    let mut last = 0.0;
    let mut events = Vec::new();
    for line in finished.stderr.lines().filter(|line| !line.starts_with("cli-client: ")) {
        let (stamp, event) = line.split_at(STAMP);
        let event = if let Some(resolved) = event.strip_prefix("resolve     ") {
            assert_eq!(stamp.trim(), "", "{line:?}");
            last = 0.0;
            let (addresses, took) = resolved.split_once(" (").expect("it says how long it took");
            assert!(took.ends_with(" ms)"), "{line:?}");
            format!("resolve {addresses}")
        } else {
            let at = stamp.trim().strip_suffix(" ms").and_then(|at| at.parse().ok());
            let at: f64 = at.expect("it says when");
            assert!(at >= last, "{line:?} comes after {last} ms");
            last = at;
            let words: Vec<_> = event.split_whitespace().collect();
            match words[..] {
                ["connected", "from", own] => {
                    assert!(own.starts_with("127.0.0.1:"), "{line:?}");
                    "connected".to_owned()
                }
                _ => words.join(" "),
            }
        };
        events.push(event);
    }
    events
}

/// The beginning of every way to this address, and the rest of it.
fn from_connect(address: &impl ToString, rest: &[&str]) -> Vec<String> {
    let address = address.to_string();
    let begin = [format!("resolve {address} is {address}"), format!("connect to {address}"), "connected".to_owned()];
    begin.into_iter().chain(rest.iter().map(|&event| event.to_owned())).collect()
}

const HALF_CLOSE: &str = "half-close the client sends nothing more, but still receives";
const END: &str = "end the server sends nothing more";

#[test]
fn a_short_connection_is_shown_from_its_name_to_its_close() {
    let server = real::power();
    for (framing, rest) in [
        (
            "eof",
            &[
                "> 61 32 2e 30 a2.0",
                HALF_CLOSE,
                "first byte",
                "< 64 34 2e 30 d4.0",
                END,
                "close 4 bytes sent, 4 received",
            ][..],
        ),
        (
            "line",
            &[r"> 61 32 2e 30 0a a2.0\n", "first byte", r"< 64 34 2e 30 0a d4.0\n", "close 5 bytes sent, 5 received"],
        ),
        ("bare", &["> 61 32 2e 30 a2.0", "first byte", "< 64 34 2e 30 d4.0", "close 4 bytes sent, 4 received"]),
    ] {
        let finished = run(&format!("power square 2 --framing {framing} --trace --addr {server}"));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
        assert_eq!(way(&finished), from_connect(&server, rest), "{framing}");
    }
}

#[test]
fn each_connection_is_shown_from_its_own_beginning() {
    let server = real::power();
    let finished = run(&format!("power square 2 3 --trace --framing bare --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let close = "close 4 bytes sent, 4 received";
    let mut both = from_connect(&server, &["> 61 32 2e 30 a2.0", "first byte", "< 64 34 2e 30 d4.0", close]);
    both.extend(from_connect(&server, &["> 61 33 2e 30 a3.0", "first byte", "< 64 39 2e 30 d9.0", close]));
    assert_eq!(way(&finished), both);
}

#[test]
fn a_kept_connection_is_shown_with_all_of_its_requests() {
    // It answers once it has them all, so that the answers come together.
    let server = Fake::answering(b"d4.0\nd9.0\n");
    let finished = run(&format!("power square 2 3 --keep-alive --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let rest = [
        r"> 61 32 2e 30 0a 61 33 2e 30 0a a2.0\na3.0\n",
        HALF_CLOSE,
        "first byte",
        r"< 64 34 2e 30 0a 64 39 2e 30 0a d4.0\nd9.0\n",
        "close 10 bytes sent, 10 received",
    ];
    assert_eq!(way(&finished), from_connect(&server, &rest));
}

#[test]
fn a_game_is_shown_move_by_move_and_its_first_byte_once() {
    let server = Fake::answering_each_read(b"y");
    let finished = run(&format!("rps throw rock paper --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "rock win\npaper win\n"), "{finished:?}");
    let rest = ["> 32 2", "first byte", "< 79 y", "> 33 3", "< 79 y", "close 2 bytes sent, 2 received"];
    assert_eq!(way(&finished), from_connect(&server, &rest));
}

#[test]
fn verbose_shows_the_same_way_without_the_bytes() {
    let server = real::power();
    for flag in ["-v", "--verbose"] {
        let finished = run(&format!("power square 2 {flag} --addr {server}"));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
        let rest = [HALF_CLOSE, "first byte", END, "close 4 bytes sent, 4 received"];
        assert_eq!(way(&finished), from_connect(&server, &rest));
    }
}

#[test]
fn objects_on_standard_output_are_the_same_with_a_trace() {
    let server = real::power();
    let plain = run(&format!("power square 2 --json --addr {server}"));
    plain.assert_done(&plain.stdout);
    let traced = run(&format!("power square 2 --json --trace --addr {server}"));
    assert_eq!((traced.code, &traced.stdout), (Some(0), &plain.stdout), "{traced:?}");
    assert!(way(&traced).contains(&"> 61 32 2e 30 a2.0".to_owned()), "{traced:?}");
}

#[test]
fn a_refused_connection_is_shown_to_fail() {
    let nobody = Reserved::new();
    let finished = run(&format!("power square 2 --trace --addr {nobody}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(3), ""), "{finished:?}");
    let why = format!("{nobody}: cannot connect: Connection refused (os error 111)");
    let address = nobody.to_string();
    let resolve = format!("resolve {address} is {address}");
    assert_eq!(way(&finished), [resolve, format!("connect to {address}"), format!("failed {why}")]);
    // The message that would be there without a trace is there too, and last.
    let message = finished.stderr.lines().last().expect("there is a line");
    assert!(message.starts_with(&format!("cli-client: {why}")), "{finished:?}");
}

#[test]
fn a_reset_is_shown_as_a_break() {
    let server = Fake::resetting_after(hear_all);
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(5), ""), "{finished:?}");
    let broken = "broken Connection reset by peer (os error 104)";
    let rest = ["> 61 32 2e 30 a2.0", HALF_CLOSE, broken, "close 4 bytes sent, 0 received"];
    assert_eq!(way(&finished), from_connect(&server, &rest));
}

#[test]
fn bytes_that_would_move_the_cursor_or_clear_the_screen_are_shown_as_escapes() {
    let server = Fake::answering(b"\x1b[2J\x07\xff\r\n\t\\");
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(5), ""), "{finished:?}");
    // That nothing else reaches standard error is judged with every way.
    let shown = r"< 1b 5b 32 4a 07 ff 0d 0a 09 5c \x1b[2J\x07\xff\r\n\t\".to_owned();
    assert!(way(&finished).contains(&shown), "{finished:?}");
}

#[test]
fn a_long_reply_is_shown_on_lines_that_fit_a_terminal() {
    let reply = format!("d4.{}", "0".repeat(97));
    let said = reply.clone();
    let server = Fake::new(move |stream| {
        hear_all(stream)?;
        stream.write_all(said.as_bytes())?;
        Ok(Then::Close)
    });
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
    assert!(finished.stderr.lines().all(|line| line.len() < 80), "{finished:?}");
    let rows: Vec<_> = way(&finished).into_iter().filter(|event| event.starts_with('<')).collect();
    assert_eq!((rows[0].as_str(), rows.len()), ("< 64 34 2e 30 30 30 30 30 30 30 30 30 d4.000000000", 9));
    let shown: String = rows.iter().filter_map(|row| row.rsplit(' ').next()).collect();
    assert_eq!(shown, reply);
    assert!(way(&finished).contains(&"close 4 bytes sent, 100 received".to_owned()), "{finished:?}");
}

#[test]
fn pieces_are_sent_one_by_one_with_the_delay_between_them() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear_all(stream)?));
        stream.write_all(b"d4.0")?;
        Ok(Then::Close)
    });
    let began = Instant::now();
    let finished = run(&format!("power square 2 --split 1 --delay 50ms --trace --addr {server}"));
    assert!(began.elapsed() >= 3 * Duration::from_millis(50), "it did not wait");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
    let sent: Vec<_> = way(&finished).into_iter().filter(|event| event.starts_with('>')).collect();
    assert_eq!(sent, ["> 61 a", "> 32 2", "> 2e .", "> 30 0"]);
    drop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [b"a2.0"]);
}

#[test]
fn pieces_arrive_apart() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        loop {
            let piece = hear(stream)?;
            if piece.is_empty() {
                stream.write_all(b"d4.0\n")?;
                return Ok(Then::Close);
            }
            drop(sender.send(piece));
        }
    });
    // Far longer than a thread waits for its turn, so that the first piece has been read when the second one comes.
    run(&format!("power square 2 --split 3 --delay 500ms --addr {server}")).assert_done("4.0\n");
    drop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [&b"a2."[..], b"0"]);
}

#[test]
fn requests_in_pieces_are_put_together_by_a_server_that_waits_for_their_end() {
    let server = real::power_that_settles();
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power square 12 3 {flags} --split 1 --delay 5ms --timeout 1m --addr {server}"))
            .assert_done("144.0\n9.0\n");
    }
}

#[test]
fn each_request_of_a_kept_connection_is_sent_in_pieces_of_its_own() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear_all(stream)?));
        stream.write_all(b"d4.0\nd9.0\n")?;
        Ok(Then::Close)
    });
    let finished = run(&format!("power square 2 3 --keep-alive --split 3 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let sent: Vec<_> = way(&finished).into_iter().filter(|event| event.starts_with('>')).collect();
    assert_eq!(sent, ["> 61 32 2e a2.", r"> 30 0a 0\n", "> 61 33 2e a3.", r"> 30 0a 0\n"]);
    drop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [b"a2.0\na3.0\n"]);
}

#[test]
fn a_server_that_takes_a_piece_for_all_is_found_out_where_the_reply_has_an_end() {
    let server = real::power();
    for framing in ["eof", "line"] {
        // Far longer than the server needs to take what it has for a request.
        run(&format!("power square 12 --split 2 --delay 500ms --framing {framing} --addr {server}")).assert_failed(
            5,
            "",
            &["the server took the first ones for a whole request: with framing.settle it waits for the rest"],
        );
    }
}

#[test]
fn a_bare_reply_to_a_piece_is_taken_for_the_answer_and_the_help_says_so() {
    // As a server does that has not got round to the other pieces when its first reply is read.
    let server = Fake::new(|stream| {
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(b"d1.0")?;
        hear_all(stream)?;
        Ok(Then::Close)
    });
    run(&format!("power square 12 --split 2 --delay 1ms --framing bare --addr {server}")).assert_done("1.0\n");
    let help = run("power square --help");
    let words: Vec<_> = help.stdout.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("with bare, the client reads one reply and cannot detect it"), "{words}");
}

#[test]
fn pieces_need_a_length_and_a_delay_needs_pieces() {
    run("power square 2 --delay 50ms").assert_misused("--split");
    run("power square 2 --split 0").assert_misused("--split");
    run("power square 2 --split -1").assert_misused("--split");
    run("power square 2 --split 1 --delay 50").assert_misused("with its unit");
    client("power square - --delay 50ms").run("2\n").assert_misused("--split");
}
