//! `bench` with errors: every reply is compared with the expected one, and errors are counted by kind.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::{self, Read, Write};
use std::mem::take;
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::Duration;

use proto::testing::blocking::reset_on_close;
use serde_json::{Map, json};
use support::fake::{Fake, Then, read_some, reply_and_half_close};
use support::load::{after_first_exchange, reply, run_bench, run_bench_ok};
use support::real::ReservedPort;
use support::{real, run};

/// A server's script for one connection.
type Script = fn(&mut TcpStream) -> io::Result<Then>;

#[test]
fn a_failed_first_exchange_prevents_the_load() {
    let closed_port = ReservedPort::new();
    for service in ["power", "power --keep-alive", "power --compare", "rps", "duel"] {
        run(&format!("bench {service} -z 1h --addr {closed_port}")).assert_failed(3, "", &["nothing listens there"]);
    }
    for (bytes, code, message) in [
        (&b"d5.0\n"[..], 1, "wrong reply to a2.0: 5.0, expected 4.0"),
        (b"220 hello\r\n", 5, "'220 hello"),
        (b"d4.0\nd4.0\n", 5, "the server broke the protocol"),
        (b"eBUSY later\n", 1, "error reply: BUSY later"),
    ] {
        let server = Fake::new(move |stream| reply(stream, bytes));
        for flags in ["", "--framing line", "--framing bare", "--keep-alive", "--pipeline 9", "--compare"] {
            run(&format!("bench power {flags} -z 1h --addr {server}")).assert_failed(code, "", &[message]);
        }
    }
    let silent = Fake::silent();
    for service in ["power", "power --keep-alive", "rps", "duel"] {
        run(&format!("bench {service} -z 1h --timeout 200ms --addr {silent}")).assert_failed(
            4,
            "",
            &["no reply within"],
        );
    }
    let (power, rps) = (real::power_with_max_connections(1), real::rps_with_max_connections(1));
    let _occupants = (power.occupy("d1\n"), rps.occupy("1"));
    run(&format!("bench power -z 1h --addr {power}")).assert_failed(1, "", &["error reply: BUSY"]);
    run(&format!("bench rps -z 1h --addr {rps}")).assert_failed(1, "", &["the server is full"]);
}

#[test]
fn a_server_that_rejects_moves_may_be_another_one() {
    let power = real::power();
    for (language, hint) in [
        ("en", " as an invalid move; is this an rps server? check it with 'probe rps'"),
        ("zh", " 当作无效的出拳；这是 rps 服务器吗？请用 'probe rps' 检查"),
    ] {
        run(&format!("bench rps -z 1h --lang {language} --addr {power}")).assert_failed(5, "", &[hint]);
    }
}

#[test]
fn an_exchange_reply_is_compared_byte_for_byte() {
    let exchange = "bench exchange -z 1h --send PING\\r\\n --expect +PONG\\r\\n";
    run(&format!("{exchange} --addr {}", ReservedPort::new())).assert_failed(3, "", &["nothing listens there"]);
    let reset_amid = |stream: &mut TcpStream| {
        read_some(stream)?;
        stream.write_all(b"e")?;
        reset_on_close(stream);
        Ok(Then::Close)
    };
    for flags in ["", "--keep-alive", "--pipeline 9"] {
        for (bytes, code, message) in [
            (&b"+PING\r\n"[..], 1, "wrong reply to 'PING\\r\\n': '+PING\\r\\n', expected '+PONG\\r\\n'"),
            (b"-", 1, ": '-', expected"),
            (b"+PONG\r\n+PONG\r\n", 5, "more replies than there were requests; the reply may be longer than --expect"),
        ] {
            let server = Fake::new(move |stream| reply(stream, bytes));
            run(&format!("{exchange} {flags} --addr {server}")).assert_failed(code, "", &[message]);
        }
        let server = Fake::new(|stream| reply_and_half_close(stream, b"+PO"));
        run(&format!("{exchange} {flags} --addr {server}")).assert_failed(5, "", &["without a reply"]);
        let server = Fake::new(reset_amid);
        let finished = run(&format!("bench exchange -z 1h --send PING --expect echo {flags} --addr {server}"));
        finished.assert_failed(5, "", &["reset"]);

        // The same under load, after a successful first exchange.
        let mut first = true;
        let server = Fake::new(move |stream| {
            let is_first = take(&mut first);
            reply(stream, if is_first { b"+PONG\r\n" } else { b"+PING\r\n" })
        });
        let report = run_bench(
            1,
            &format!("{} -n 2 -c 1 {flags} --addr {server}", exchange.replace("bench ", "").replace(" -z 1h", "")),
        );
        assert_eq!(report["right"], json!(0), "{flags}: {report}");
        assert!(report["errors"]["wrong"].as_u64() > Some(0), "{flags}: {report}");
    }
    // A reply that is longer than expected.
    for flags in ["", "--keep-alive", "--pipeline 9"] {
        let server = Fake::new(|stream| reply(stream, b"+PONG\r\n"));
        let load = format!("bench exchange -z 1h --send PING\\r\\n --expect +PONG {flags} --addr {server}");
        let message = r"the reply to 'PING\r\n' is longer than '+PONG': '\r\n' follows; add these bytes to --expect";
        run(&load).assert_failed(1, "", &[message]);
    }
    for (wrong, message) in [
        ("--send a\\q --expect b --addr h:1", "unknown escape '\\q'; use \\r, \\n, \\t, \\0, \\\\ or \\xHH"),
        ("--send a --expect b\\x1 --addr h:1", "unknown escape '\\x1'"),
        ("--send a --expect b", "--addr <ENDPOINT>"),
    ] {
        let finished = run(&format!("bench exchange {wrong}"));
        assert!(finished.code == Some(2) && finished.stderr.contains(message), "{finished:?}");
    }
    let too_long = run(&format!("bench exchange --send {} --expect b --addr h:1", "1".repeat(513)));
    assert!(too_long.code == Some(2) && too_long.stderr.contains("expected 1 to 512 bytes"), "{too_long:?}");
}

#[test]
fn errors_under_load_are_counted_by_kind() {
    let reset = |stream: &mut TcpStream| {
        read_some(stream)?;
        reset_on_close(stream);
        Ok(Then::Close)
    };
    let scripts: [(Script, _, _); 5] = [
        (|stream| reply(stream, b"d5.0\n"), "wrong", 1),
        (|stream| reply(stream, b"220 hello\n"), "protocol", 5),
        (|stream| reply(stream, b"eRANGE what\n"), "refused", 1),
        (|_| Ok(Then::Hold), "timeout", 4),
        (reset, "reset", 5),
    ];
    for (script, kind, code) in scripts {
        for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
            let server = after_first_exchange(script);
            let report = run_bench(code, &format!("power {flags} -n 2 -c 1 --timeout 200ms --addr {server}"));
            assert_eq!((&report["requests"], &report["right"]), (&json!(2), &json!(0)), "{flags}: {report}");
            assert_eq!(report["errors"], json!({kind: 2}), "{flags}: {report}");
            assert!(report["first_messages"][kind].is_string(), "{flags}: {report}");
        }
    }
}

#[test]
fn a_reply_without_an_end_is_a_protocol_error() {
    let server = after_first_exchange(|stream| {
        read_some(stream)?;
        // Ends with an error when the client closes.
        loop {
            stream.write_all(&[b'd'; 64])?;
        }
    });
    let report = run_bench(5, &format!("power -n 1 -c 1 --timeout 1m --addr {server}"));
    assert_eq!(report["errors"], json!({"protocol": 1}), "{report}");
}

#[test]
fn one_bad_reply_among_many_is_one_error() {
    for (replies, right, errors) in [
        (&b"d4.0\nd4.0\nd4.0\nd5.0\nd4.0\n"[..], 4, json!({"wrong": 1})),
        (b"d4.0\neRANGE no\nd4.0\nd4.0\nd4.0\n", 4, json!({"refused": 1})),
        // After an invalid reply, the rest of the connection cannot be decoded.
        (b"d4.0\nd4.0\nwhat\nd4.0\nd4.0\n", 2, json!({"protocol": 3})),
    ] {
        let server = after_first_exchange(move |stream| reply(stream, replies));
        let code = if errors.get("protocol").is_some() { 5 } else { 1 };
        let report = run_bench(code, &format!("power --pipeline 5 -n 5 -c 1 --addr {server}"));
        assert_eq!((&report["right"], &report["errors"]), (&json!(right), &errors), "{report}");
    }
    let mut first = true;
    let house = Fake::new(move |stream| {
        if std::mem::take(&mut first) {
            return reply(stream, b"x");
        }
        reply(stream, b"xyeqz")
    });
    let report = run_bench(5, &format!("rps --pipeline 5 -n 5 -c 1 --addr {house}"));
    assert_eq!((&report["right"], &report["errors"]), (&json!(3), &json!({"protocol": 2})), "{report}");
    assert_eq!(report["outcomes"], json!({"draw": 1, "win": 1, "lose": 1, "void": 0}), "{report}");
}

#[test]
fn an_extra_reply_is_an_error() {
    for replies in [&b"d4.0\nd4.0\n"[..], b"d4.0\neBADOP x\n"] {
        let server = after_first_exchange(move |stream| reply(stream, replies));
        let report = run_bench(5, &format!("power --keep-alive -n 1 -c 1 --addr {server}"));
        assert_eq!((&report["right"], &report["errors"]), (&json!(1), &json!({"protocol": 1})), "{report}");
    }
}

#[test]
fn the_last_reply_before_eof_needs_no_line_end() {
    for (last, kind, code) in [(&b"eBUSY later"[..], "refused", 1), (b"d4.", "protocol", 5), (b"", "protocol", 5)] {
        let server = after_first_exchange(move |stream| reply_and_half_close(stream, last));
        let report = run_bench(code, &format!("power --keep-alive -n 2 -c 1 --addr {server}"));
        assert_eq!(report["errors"], json!({kind: 2}), "{report}");
    }
}

#[test]
fn a_count_limited_run_is_aborted_without_replies() {
    // Each failure takes the whole timeout: without the abort the run would take days.
    let server = after_first_exchange(|_| Ok(Then::Hold));
    let report = run_bench(4, &format!("power -n 1m -c 1 --timeout 2s --addr {server}"));
    assert_eq!(report["right"], json!(0), "{report}");
}

/// Sends correct replies in single bytes for as long as the client is connected. Without pauses the replies would be
/// received before the run ends.
fn dribble(stream: &mut TcpStream, reply: &[u8]) -> io::Result<Then> {
    read_some(stream)?;
    for byte in reply.iter().cycle() {
        stream.write_all(&[*byte])?;
        sleep(Duration::from_millis(5));
    }
    Ok(Then::Close)
}

#[test]
fn single_bytes_do_not_extend_a_run_beyond_one_timeout_after_its_duration() {
    let exchange = "exchange --send PING --expect +PONG --pipeline 65536";
    // At the same time: a slow machine needs a long timeout for the first exchange.
    thread::scope(|scope| {
        for (load, bytes) in [
            // Each of 65,536 replies arrives in time; together they take more than five minutes.
            ("power --pipeline 65536", &b"d4.0\n"[..]),
            ("rps --pipeline 65536", b"x"),
            (exchange, b"+PONG"),
            // A reply without an end.
            ("power", b"d1"),
            ("power --framing line", b"d1"),
            ("power --keep-alive", b"d1"),
        ] {
            let mut first = true;
            let server = Fake::new(move |stream| match (take(&mut first), bytes) {
                (true, b"d1") => reply(stream, b"d4.0\n"),
                (true, _) => reply(stream, bytes),
                (false, _) => dribble(stream, bytes),
            });
            scope.spawn(move || {
                let report = run_bench(4, &format!("{load} -z 1s --timeout 5s -c 1 --addr {server}"));
                assert!(report["errors"]["timeout"].as_u64() > Some(0), "{load}: {report}");
                assert_eq!(report["errors"].as_object().map(Map::len), Some(1), "{load}: {report}");
                let first = report["first_messages"]["timeout"].as_str().unwrap_or_default();
                assert!(first.contains("within 5s"), "{load}: {report}");
            });
        }
    });
}

#[test]
fn single_bytes_do_not_extend_a_run_at_a_fixed_rate() {
    let mut first = true;
    let server = Fake::new(move |stream| if take(&mut first) { reply(stream, b"x") } else { dribble(stream, b"x") });
    let load = "rps --pipeline 65536 --rate 1m -z 2s --timeout 5s -c 1";
    let finished = run(&format!("bench {load} --addr {server}"));
    // How many requests are due when the connection takes the first ones depends on the machine. The replies to all of
    // them may thus be in time; those to the next ones are not.
    assert!(matches!(finished.code, Some(0 | 4)), "{finished:?}");
}

#[test]
fn a_server_that_reads_single_bytes_does_not_extend_a_run() {
    let server = after_first_exchange(|stream| {
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            if byte == *b"\n" {
                stream.write_all(b"d4.0\n")?;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(Then::Close)
    });
    let report = run_bench(4, &format!("power --pipeline 65536 -z 1s --timeout 5s -c 1 --addr {server}"));
    assert!(report["errors"]["timeout"].as_u64() > Some(0), "{report}");
}

#[test]
fn a_wrong_reply_during_warm_up_is_an_error() {
    let mut later = [&b"d5.0"[..], b"d4.0"].into_iter();
    let server = after_first_exchange(move |stream| reply(stream, later.next().unwrap_or(b"d4.0")));
    let report = run_bench(1, &format!("power -n 2 -c 1 --rate 100 --warmup 20ms --addr {server}"));
    assert_eq!((&report["right"], &report["errors"]), (&json!(2), &json!({"wrong": 1})), "{report}");
}

#[test]
fn a_full_server_is_counted_as_refused() {
    // The client with the only connection keeps it until the end of the run.
    let server = real::rps_with_max_connections(1);
    let report = run_bench(1, &format!("rps -c 4 -z 200ms --addr {server}"));
    let errors = report["errors"].as_object().expect("errors is an object");
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["refused"], "{report}");
}

#[test]
fn a_connection_closed_between_two_requests_is_reopened() {
    let server = Fake::new(|stream| reply_and_half_close(stream, b"d4.0\n"));
    let report = run_bench(5, &format!("power --keep-alive -n 4 -c 1 --addr {server}"));
    assert_eq!((&report["right"], &report["errors"]), (&json!(2), &json!({"closed": 2})), "{report}");
}

#[test]
fn the_report_has_the_first_error_of_each_kind_and_a_wrong_reply_decides_the_exit_code() {
    let replies = |later: &'static [&'static [u8]]| {
        let mut later = later.iter();
        after_first_exchange(move |stream| reply(stream, later.next().copied().unwrap_or(b"d4.0")))
    };
    let server = replies(&[b"d4.0", b"220 hello", b"d5.0", b"220 hello again", b"eRANGE what"]);
    let table = run(&format!("bench power -n 7 -c 1 --addr {server}"));
    assert_eq!((table.code, table.stderr.as_str()), (Some(1), ""), "{table:?}");
    for row in [
        "requests     3 correct replies in ".to_owned(),
        format!("protocol     2; the first: {server}: the server broke the protocol: '220 hello' is not a valid reply"),
        format!("wrong reply  1; the first: {server}: wrong reply to a2.0: 5.0, expected 4.0\n"),
        format!("refused      1; the first: {server}: error reply: RANGE what\n"),
    ] {
        assert!(table.stdout.contains(&row), "{row:?} is not in {table:?}");
    }
    // Without a wrong reply, the most frequent kind decides.
    let server = replies(&[b"eRANGE what", b"220 hello", b"220 hello"]);
    assert_eq!(
        run_bench(5, &format!("power -n 4 -c 1 --addr {server}"))["errors"],
        json!({"protocol": 2, "refused": 1})
    );
    let server = replies(&[b"220 hello"]);
    let quiet = run(&format!("bench power -n 2 -c 1 -q --addr {server}"));
    quiet.assert_exit_code(5);
    assert!(quiet.stdout.ends_with("  protocol 1\n") && quiet.stdout.lines().count() == 1, "{quiet:?}");
}

#[test]
fn a_correct_reply_may_have_another_line_end() {
    for written in [&b"d4.0\r\n"[..], b"d4.0\n"] {
        let server = Fake::new(move |stream| reply(stream, written));
        for flags in ["", "--framing line", "--framing bare"] {
            run_bench_ok(2, &format!("power {flags} -n 2 -c 1 --addr {server}"));
        }
        let server = Fake::replying_to_each_read(written);
        run_bench_ok(3, &format!("power --keep-alive -n 3 -c 1 --addr {server}"));
    }
}

#[test]
fn a_correct_number_in_another_format_is_a_protocol_error() {
    for written in [&b"d4\r\n"[..], b"d4.\n", b"d4.000\n", b"d+4e0\n", b"d.4e1\r\n", b"d 4.0 \n"] {
        for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
            let server = after_first_exchange(move |stream| reply(stream, written));
            let report = run_bench(5, &format!("power {flags} -n 2 -c 1 --addr {server}"));
            assert_eq!(report["errors"], json!({"protocol": 2}), "{flags}: {report}");
        }
    }
}

#[test]
fn invalid_load_options_exit_with_2() {
    for (wrong, named) in [
        ("-c 0", "--connections"),
        ("-n 0", "--requests"),
        ("-n 10x", "--requests"),
        ("-z 0s", "--duration"),
        ("--rate 0", "--rate"),
        ("--pipeline 0", "--pipeline"),
        ("--threads 0", "--threads"),
        ("--warmup soon", "--warmup"),
        ("--sources here", "--sources"),
        ("--framing line --keep-alive", "--framing"),
        ("--compare --keep-alive", "--compare"),
        ("--op root", "--op"),
    ] {
        run(&format!("bench power {wrong}")).assert_usage_error(named);
    }
    // The check comes before the first connection, so no server is needed.
    run("bench power --number 1e200 --addr 127.0.0.1:1").assert_failed(2, "", &["--number: the result is beyond"]);
}
