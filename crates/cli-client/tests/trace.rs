//! `--trace`, `--verbose` and `--split`: the events of a connection on standard error, and requests sent in pieces.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use proto::testing::certificates::Authority;
use proto::testing::front::{End, Front, TLS12, TLS13, server_config};
use support::fake::{Fake, Then, read_some, read_to_eof};
use support::real::ReservedPort;
use support::{Finished, client, real, run};
use tempfile::tempdir;

/// The width of the column before each event: an increasing time, or blanks.
const STAMP: usize = 14;

/// Returns the connection events that the client printed, without times and local ports, which differ from run to run.
#[track_caller]
fn events(finished: &Finished) -> Vec<String> {
    let control = |character: char| character.is_control() && character != '\n';
    assert!(!finished.stderr.contains(control) && finished.stderr.ends_with('\n'), "{finished:?}");
    let mut last = 0.0;
    let mut events = Vec::new();
    for line in finished.stderr.lines().filter(|line| !line.starts_with("cli-client: ")) {
        let (stamp, event) = line.split_at(STAMP);
        let event = if let Some(resolved) = event.strip_prefix("resolve     ") {
            assert_eq!(stamp.trim(), "", "{line:?}");
            last = 0.0;
            let (addresses, took) = resolved.split_once(" (").expect("a duration");
            assert!(took.ends_with(" ms)"), "{line:?}");
            format!("resolve {addresses}")
        } else {
            let at = stamp.trim().strip_suffix(" ms").and_then(|at| at.parse().ok());
            let at: f64 = at.expect("a time");
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

/// Returns the events of a connection to this address: the usual first ones, then `rest`.
fn from_connect(address: &impl ToString, rest: &[&str]) -> Vec<String> {
    let address = address.to_string();
    let begin = [format!("resolve {address} is {address}"), format!("connect to {address}"), "connected".to_owned()];
    begin.into_iter().chain(rest.iter().map(|&event| event.to_owned())).collect()
}

const HALF_CLOSE: &str = "half-close the client sends nothing more, but still receives";
const END: &str = "end the server sends nothing more";

#[test]
fn a_trace_shows_a_short_connection_from_resolve_to_close() {
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
        assert_eq!(events(&finished), from_connect(&server, rest), "{framing}");
    }
}

#[test]
fn times_of_each_connection_start_at_zero() {
    let server = real::power();
    let finished = run(&format!("power square 2 3 --trace --framing bare --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let close = "close 4 bytes sent, 4 received";
    let mut both = from_connect(&server, &["> 61 32 2e 30 a2.0", "first byte", "< 64 34 2e 30 d4.0", close]);
    both.extend(from_connect(&server, &["> 61 33 2e 30 a3.0", "first byte", "< 64 39 2e 30 d9.0", close]));
    assert_eq!(events(&finished), both);
}

#[test]
fn a_trace_shows_all_requests_of_a_keep_alive_connection() {
    // The server replies after the half-close, so both replies arrive together.
    let server = Fake::replying(b"d4.0\nd9.0\n");
    let finished = run(&format!("power square 2 3 --keep-alive --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let rest = [
        r"> 61 32 2e 30 0a 61 33 2e 30 0a a2.0\na3.0\n",
        HALF_CLOSE,
        "first byte",
        r"< 64 34 2e 30 0a 64 39 2e 30 0a d4.0\nd9.0\n",
        "close 10 bytes sent, 10 received",
    ];
    assert_eq!(events(&finished), from_connect(&server, &rest));
}

#[test]
fn a_trace_of_a_game_shows_each_move_and_the_first_byte_once() {
    let server = Fake::replying_to_each_read(b"y");
    let finished = run(&format!("rps throw rock paper --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "rock win\npaper win\n"), "{finished:?}");
    let rest = ["> 32 2", "first byte", "< 79 y", "> 33 3", "< 79 y", "close 2 bytes sent, 2 received"];
    assert_eq!(events(&finished), from_connect(&server, &rest));
}

#[test]
fn verbose_shows_the_same_events_without_the_bytes() {
    let server = real::power();
    for flag in ["-v", "--verbose"] {
        let finished = run(&format!("power square 2 {flag} --addr {server}"));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
        let rest = [HALF_CLOSE, "first byte", END, "close 4 bytes sent, 4 received"];
        assert_eq!(events(&finished), from_connect(&server, &rest));
    }
}

#[test]
fn json_output_is_the_same_with_a_trace() {
    let server = real::power();
    let plain = run(&format!("power square 2 --json --addr {server}"));
    plain.assert_success(&plain.stdout);
    let traced = run(&format!("power square 2 --json --trace --addr {server}"));
    assert_eq!((traced.code, &traced.stdout), (Some(0), &plain.stdout), "{traced:?}");
    assert!(events(&traced).contains(&"> 61 32 2e 30 a2.0".to_owned()), "{traced:?}");
}

#[test]
fn a_trace_shows_a_refused_connection() {
    let closed_port = ReservedPort::new();
    let finished = run(&format!("power square 2 --trace --addr {closed_port}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(3), ""), "{finished:?}");
    let why = format!("{closed_port}: cannot connect: Connection refused (os error 111)");
    let address = closed_port.to_string();
    let resolve = format!("resolve {address} is {address}");
    assert_eq!(events(&finished), [resolve, format!("connect to {address}"), format!("failed {why}")]);
    // The error message comes last, the same as without a trace.
    let message = finished.stderr.lines().last().expect("there is a line");
    assert!(message.starts_with(&format!("cli-client: {why}")), "{finished:?}");
}

#[test]
fn a_trace_shows_the_handshake_and_decrypted_bytes() {
    let (power, authority) = (real::power(), Authority::new());
    let half_close = "half-close close_notify and FIN: the client only receives now";
    let rest = ["> 61 32 2e 30 a2.0", half_close, "first byte", "< 64 34 2e 30 d4.0", END];
    let rest = [&rest[..], &["close 4 bytes sent, 4 received"]].concat();
    for (version, agreed) in
        [(&TLS12, "TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), (&TLS13, "TLS 1.3, TLS13_AES_256_GCM_SHA384")]
    {
        let config = server_config(&authority.issue_server(), None, version);
        let front = Front::tls(power.address(), config, End::CloseNotify);
        let options = format!("--cacert {} --addr {}", authority.certificate.display(), front.endpoint);
        let finished = run(&format!("power square 2 --trace {options}"));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
        let handshake = format!("handshake {agreed}, server's subject 'CN=test server'");
        let address = front.endpoint.replace("tls://", "");
        assert_eq!(events(&finished), from_connect(&address, &[&[&*handshake], &rest[..]].concat()));
    }
    let silent = Fake::silent();
    let options = format!("--cacert {} --addr tls://{silent}", authority.certificate.display());
    let finished = run(&format!("power square 2 -v --timeout 200ms {options}"));
    assert_eq!(events(&finished)[3], format!("failed tls://{silent}: no TLS handshake within 200ms"));
}

#[test]
fn a_trace_shows_the_path_of_a_unix_socket() {
    let (backend, folder) = (Fake::replying(b"d4.0"), tempdir().expect("there is a folder for temporary files"));
    let server = Front::unix(backend.address(), &folder.path().join("power"));
    let finished = run(&format!("power square 2 --trace --addr {}", server.endpoint));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
    assert_eq!(events(&finished)[..2], [format!("connect to {}", server.endpoint), "connected".to_owned()]);
    assert_eq!(events(&finished).len(), 8, "{finished:?}");
}

#[test]
fn a_trace_shows_a_reset_as_broken() {
    let server = Fake::resetting_after(read_to_eof);
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(5), ""), "{finished:?}");
    let broken = "broken Connection reset by peer (os error 104)";
    let rest = ["> 61 32 2e 30 a2.0", HALF_CLOSE, broken, "close 4 bytes sent, 0 received"];
    assert_eq!(events(&finished), from_connect(&server, &rest));
}

#[test]
fn control_characters_are_shown_as_escapes() {
    let server = Fake::replying(b"\x1b[2J\x07\xff\r\n\t\\");
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(5), ""), "{finished:?}");
    // `events` checks that no control characters reach standard error.
    let shown = r"< 1b 5b 32 4a 07 ff 0d 0a 09 5c \x1b[2J\x07\xff\r\n\t\".to_owned();
    assert!(events(&finished).contains(&shown), "{finished:?}");
}

#[test]
fn a_long_reply_is_split_into_lines_that_fit_a_terminal() {
    let reply = format!("d4.{}", "0".repeat(97));
    let bytes = reply.clone();
    let server = Fake::new(move |stream| {
        read_to_eof(stream)?;
        stream.write_all(bytes.as_bytes())?;
        Ok(Then::Close)
    });
    let finished = run(&format!("power square 2 --trace --addr {server}"));
    // The check below needs a reply without blanks, and no valid one of them is this long.
    finished.assert_exit_code(5);
    let mut trace = finished.stderr.lines().filter(|line| !line.starts_with("cli-client: "));
    assert!(trace.all(|line| line.len() < 80), "{finished:?}");
    let rows: Vec<_> = events(&finished).into_iter().filter(|event| event.starts_with('<')).collect();
    assert_eq!((rows[0].as_str(), rows.len()), ("< 64 34 2e 30 30 30 30 30 30 30 30 30 d4.000000000", 9));
    let shown: String = rows.iter().filter_map(|row| row.rsplit(' ').next()).collect();
    assert_eq!(shown, reply);
    assert!(events(&finished).contains(&"close 4 bytes sent, 100 received".to_owned()), "{finished:?}");
}

#[test]
fn pieces_are_sent_with_the_delay_between_them() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_to_eof(stream)?));
        stream.write_all(b"d4.0")?;
        Ok(Then::Close)
    });
    let started = Instant::now();
    let finished = run(&format!("power square 2 --split 1 --delay 50ms --trace --addr {server}"));
    assert!(started.elapsed() >= 3 * Duration::from_millis(50), "the pieces were sent without the delay");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"), "{finished:?}");
    let sent: Vec<_> = events(&finished).into_iter().filter(|event| event.starts_with('>')).collect();
    assert_eq!(sent, ["> 61 a", "> 32 2", "> 2e .", "> 30 0"]);
    drop(server);
    assert_eq!(received.iter().collect::<Vec<_>>(), [b"a2.0"]);
}

#[test]
fn pieces_arrive_separately() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        loop {
            let piece = read_some(stream)?;
            if piece.is_empty() {
                stream.write_all(b"d4.0\n")?;
                return Ok(Then::Close);
            }
            drop(sender.send(piece));
        }
    });
    // Longer than a scheduling delay, so the first piece is read before the second arrives.
    run(&format!("power square 2 --split 3 --delay 500ms --addr {server}")).assert_success("4.0\n");
    drop(server);
    assert_eq!(received.iter().collect::<Vec<_>>(), [&b"a2."[..], b"0"]);
}

#[test]
fn a_server_with_settle_reassembles_requests_in_pieces() {
    let server = real::power_with_settle();
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power square 12 3 {flags} --split 1 --delay 5ms --timeout 1m --addr {server}"))
            .assert_success("144.0\n9.0\n");
    }
}

#[test]
fn each_request_of_a_keep_alive_connection_is_split() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_to_eof(stream)?));
        stream.write_all(b"d4.0\nd9.0\n")?;
        Ok(Then::Close)
    });
    let finished = run(&format!("power square 2 3 --keep-alive --split 3 --trace --addr {server}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n9.0\n"), "{finished:?}");
    let sent: Vec<_> = events(&finished).into_iter().filter(|event| event.starts_with('>')).collect();
    assert_eq!(sent, ["> 61 32 2e a2.", r"> 30 0a 0\n", "> 61 33 2e a3.", r"> 30 0a 0\n"]);
    drop(server);
    assert_eq!(received.iter().collect::<Vec<_>>(), [b"a2.0\na3.0\n"]);
}

#[test]
fn eof_and_line_framing_detect_a_request_taken_too_early() {
    let server = real::power();
    for framing in ["eof", "line"] {
        // Long enough that the server reads the first piece alone and takes it for a complete request.
        run(&format!("power square 12 --split 2 --delay 500ms --framing {framing} --addr {server}")).assert_failed(
            5,
            "",
            &["the server took the first pieces for a whole request: with framing.settle it waits for the rest"],
        );
    }
}

#[test]
fn bare_framing_accepts_the_reply_to_a_piece_and_the_help_says_so() {
    // Like a server that sends its first reply before it reads the other pieces.
    let server = Fake::new(|stream| {
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(b"d1.0")?;
        read_to_eof(stream)?;
        Ok(Then::Close)
    });
    run(&format!("power square 12 --split 2 --delay 1ms --framing bare --addr {server}")).assert_success("1.0\n");
    let help = run("power square --help");
    let words: Vec<_> = help.stdout.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("with bare, the client reads one reply and cannot detect it"), "{words}");
}

#[test]
fn split_needs_a_length_and_delay_needs_split() {
    run("power square 2 --delay 50ms").assert_usage_error("--split");
    run("power square 2 --split 0").assert_usage_error("--split");
    run("power square 2 --split -1").assert_usage_error("--split");
    run("power square 2 --split 1 --delay 50").assert_usage_error("with its unit");
    client("power square - --delay 50ms").run("2\n").assert_usage_error("--split");
}
