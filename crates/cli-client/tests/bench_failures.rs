//! `bench` where not all is answered right: every answer is held against the right one, and failures are counted by kind.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::{self, Write};
use std::mem::take;
use std::net::TcpStream;

use proto::testing::blocking::reset_on_close;
use serde_json::json;
use support::fake::{Fake, Then, answer_and_leave, hear};
use support::load::{afterwards, answer, measured, told};
use support::real::Reserved;
use support::{real, run};

/// What a server does with a connection.
type Script = fn(&mut TcpStream) -> io::Result<Then>;

#[test]
fn a_server_that_is_not_there_or_not_right_at_first_gets_no_load() {
    let nobody = Reserved::new();
    for service in ["power", "power --keep-alive", "power --compare", "rps", "duel"] {
        run(&format!("bench {service} -z 1h --addr {nobody}")).assert_failed(3, "", &["nothing listens there"]);
    }
    for (said, code, message) in [
        (&b"d5.0\n"[..], 1, "asked a2.0, it answered 5.0, and 4.0 is right"),
        (b"220 hello\r\n", 5, "'220 hello"),
        (b"d4.0\nd4.0\n", 5, "the server broke the protocol"),
        (b"eBUSY later\n", 1, "the server refused: BUSY later"),
    ] {
        let server = Fake::new(move |stream| answer(stream, said));
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
    let (power, rps) = (real::power_with_room_for(1), real::rps_with_room_for(1));
    let _occupants = (power.occupy("d1\n"), rps.occupy("1"));
    run(&format!("bench power -z 1h --addr {power}")).assert_failed(1, "", &["the server refused: BUSY"]);
    run(&format!("bench rps -z 1h --addr {rps}")).assert_failed(1, "", &["the server is full"]);
}

#[test]
fn an_exchange_is_held_against_what_was_expected_byte_for_byte() {
    let exchange = "bench exchange -z 1h --send PING\\r\\n --expect +PONG\\r\\n";
    run(&format!("{exchange} --addr {}", Reserved::new())).assert_failed(3, "", &["nothing listens there"]);
    let reset_amid = |stream: &mut TcpStream| {
        hear(stream)?;
        stream.write_all(b"e")?;
        reset_on_close(stream);
        Ok(Then::Close)
    };
    for flags in ["", "--keep-alive", "--pipeline 9"] {
        for (said, code, message) in [
            (&b"+PING\r\n"[..], 1, "asked 'PING\\r\\n', it answered '+PING\\r\\n', and '+PONG\\r\\n' is right"),
            (b"-", 1, "it answered '-', and"),
            (b"+PONG\r\n+PONG\r\n", 5, "more replies than there were requests"),
        ] {
            let server = Fake::new(move |stream| answer(stream, said));
            run(&format!("{exchange} {flags} --addr {server}")).assert_failed(code, "", &[message]);
        }
        let server = Fake::new(|stream| answer_and_leave(stream, b"+PO"));
        run(&format!("{exchange} {flags} --addr {server}")).assert_failed(5, "", &["without a reply"]);
        let server = Fake::new(reset_amid);
        let ended = run(&format!("bench exchange -z 1h --send PING --expect echo {flags} --addr {server}"));
        ended.assert_failed(5, "", &["reset"]);

        // Under load, and not only at the first exchange.
        let mut first = true;
        let server = Fake::new(move |stream| {
            let right = take(&mut first);
            answer(stream, if right { b"+PONG\r\n" } else { b"+PING\r\n" })
        });
        let told = told(
            1,
            &format!("{} -n 2 -c 1 {flags} --addr {server}", exchange.replace("bench ", "").replace(" -z 1h", "")),
        );
        assert_eq!(told["right"], json!(0), "{flags}: {told}");
        assert!(told["errors"]["wrong"].as_u64() > Some(0), "{flags}: {told}");
    }
    for (wrong, message) in [
        (
            "--send a\\q --expect b --addr h:1",
            "no escape begins with '\\q'; there are \\r, \\n, \\t, \\0, \\\\ and \\xHH",
        ),
        ("--send a --expect b\\x1 --addr h:1", "no escape begins with '\\x1'"),
        ("--send a --expect b", "--addr <HOST:PORT>"),
    ] {
        let finished = run(&format!("bench exchange {wrong}"));
        assert!(finished.code == Some(2) && finished.stderr.contains(message), "{finished:?}");
    }
    let too_long = run(&format!("bench exchange --send {} --expect b --addr h:1", "1".repeat(513)));
    assert!(too_long.code == Some(2) && too_long.stderr.contains("write 1 to 512 bytes"), "{too_long:?}");
}

#[test]
fn a_server_that_fails_later_is_counted_by_the_kind_of_its_failures() {
    let reset = |stream: &mut TcpStream| {
        hear(stream)?;
        reset_on_close(stream);
        Ok(Then::Close)
    };
    let scripts: [(Script, _, _); 5] = [
        (|stream| answer(stream, b"d5.0\n"), "wrong", 1),
        (|stream| answer(stream, b"220 hello\n"), "protocol", 5),
        (|stream| answer(stream, b"eRANGE what\n"), "refused", 1),
        (|_| Ok(Then::Hold), "timeout", 4),
        (reset, "reset", 5),
    ];
    for (script, kind, code) in scripts {
        for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
            let server = afterwards(script);
            let told = told(code, &format!("power {flags} -n 2 -c 1 --timeout 200ms --addr {server}"));
            assert_eq!((&told["requests"], &told["right"]), (&json!(2), &json!(0)), "{flags}: {told}");
            assert_eq!(told["errors"], json!({kind: 2}), "{flags}: {told}");
            assert!(told["first_messages"][kind].is_string(), "{flags}: {told}");
        }
    }
}

#[test]
fn a_reply_without_end_is_given_up() {
    let server = afterwards(|stream| {
        hear(stream)?;
        // Ends when the client has gone.
        loop {
            stream.write_all(&[b'd'; 64])?;
        }
    });
    let told = told(5, &format!("power -n 1 -c 1 --timeout 1m --addr {server}"));
    assert_eq!(told["errors"], json!({"protocol": 1}), "{told}");
}

#[test]
fn one_bad_answer_among_many_is_one() {
    for (replies, right, errors) in [
        (&b"d4.0\nd4.0\nd4.0\nd5.0\nd4.0\n"[..], 4, json!({"wrong": 1})),
        (b"d4.0\neRANGE no\nd4.0\nd4.0\nd4.0\n", 4, json!({"refused": 1})),
        // After what is no reply of the wire, nothing on that connection is an answer any more.
        (b"d4.0\nd4.0\nwhat\nd4.0\nd4.0\n", 2, json!({"protocol": 3})),
    ] {
        let server = afterwards(move |stream| answer(stream, replies));
        let code = if errors.get("protocol").is_some() { 5 } else { 1 };
        let told = told(code, &format!("power --pipeline 5 -n 5 -c 1 --addr {server}"));
        assert_eq!((&told["right"], &told["errors"]), (&json!(right), &errors), "{told}");
    }
    let mut first = true;
    let house = Fake::new(move |stream| {
        if std::mem::take(&mut first) {
            return answer(stream, b"x");
        }
        answer(stream, b"xyeqz")
    });
    let told = told(5, &format!("rps --pipeline 5 -n 5 -c 1 --addr {house}"));
    assert_eq!((&told["right"], &told["errors"]), (&json!(3), &json!({"protocol": 2})), "{told}");
    assert_eq!(told["outcomes"], json!({"draw": 1, "win": 1, "lose": 1, "void": 0}), "{told}");
}

#[test]
fn an_answer_too_many_is_an_error() {
    for answers in [&b"d4.0\nd4.0\n"[..], b"d4.0\neBADOP x\n"] {
        let server = afterwards(move |stream| answer(stream, answers));
        let told = told(5, &format!("power --keep-alive -n 1 -c 1 --addr {server}"));
        assert_eq!((&told["right"], &told["errors"]), (&json!(1), &json!({"protocol": 1})), "{told}");
    }
}

#[test]
fn the_last_words_of_a_kept_connection_need_no_line_end() {
    for (last, kind, code) in [(&b"eBUSY later"[..], "refused", 1), (b"d4.", "protocol", 5), (b"", "protocol", 5)] {
        let server = afterwards(move |stream| answer_and_leave(stream, last));
        let told = told(code, &format!("power --keep-alive -n 2 -c 1 --addr {server}"));
        assert_eq!(told["errors"], json!({kind: 2}), "{told}");
    }
}

#[test]
fn a_run_that_counts_requests_is_given_up_when_its_server_is_gone() {
    // Each failure takes the time-out, so that without giving up it would take days.
    let server = afterwards(|_| Ok(Then::Hold));
    let told = told(4, &format!("power -n 1m -c 1 --timeout 2s --addr {server}"));
    assert_eq!(told["right"], json!(0), "{told}");
}

#[test]
fn a_wrong_answer_is_one_while_the_load_warms_up_too() {
    let mut later = [&b"d5.0"[..], b"d4.0"].into_iter();
    let server = afterwards(move |stream| answer(stream, later.next().unwrap_or(b"d4.0")));
    let told = told(1, &format!("power -n 2 -c 1 --rate 100 --warmup 20ms --addr {server}"));
    assert_eq!((&told["right"], &told["errors"]), (&json!(2), &json!({"wrong": 1})), "{told}");
}

#[test]
fn a_server_with_too_little_room_is_counted_as_refusing() {
    // Whoever has the one place keeps it to the end of the run.
    let server = real::rps_with_room_for(1);
    let told = told(1, &format!("rps -c 4 -z 200ms --addr {server}"));
    let errors = told["errors"].as_object().expect("they are counted");
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["refused"], "{told}");
}

#[test]
fn a_connection_that_is_closed_between_two_requests_is_made_anew() {
    let server = Fake::new(|stream| answer_and_leave(stream, b"d4.0\n"));
    let told = told(5, &format!("power --keep-alive -n 4 -c 1 --addr {server}"));
    assert_eq!((&told["right"], &told["errors"]), (&json!(2), &json!({"closed": 2})), "{told}");
}

#[test]
fn failures_are_told_with_the_first_of_each_kind_and_a_wrong_answer_decides_the_exit_code() {
    let replies = |later: &'static [&'static [u8]]| {
        let mut later = later.iter();
        afterwards(move |stream| answer(stream, later.next().copied().unwrap_or(b"d4.0")))
    };
    let server = replies(&[b"d4.0", b"220 hello", b"d5.0", b"220 hello again", b"eRANGE what"]);
    let table = run(&format!("bench power -n 7 -c 1 --addr {server}"));
    assert_eq!((table.code, table.stderr.as_str()), (Some(1), ""), "{table:?}");
    for row in [
        "requests      3 answered right in ".to_owned(),
        format!(
            "protocol      2; the first: {server}: the server broke the protocol: '220 hello' is not a valid reply"
        ),
        format!("wrong answer  1; the first: {server}: asked a2.0, it answered 5.0, and 4.0 is right\n"),
        format!("refused       1; the first: {server}: the server refused: RANGE what\n"),
    ] {
        assert!(table.stdout.contains(&row), "{row:?} is not in {table:?}");
    }
    // Without one it is the most frequent kind that does.
    let server = replies(&[b"eRANGE what", b"220 hello", b"220 hello"]);
    assert_eq!(told(5, &format!("power -n 4 -c 1 --addr {server}"))["errors"], json!({"protocol": 2, "refused": 1}));
    let server = replies(&[b"220 hello"]);
    let quiet = run(&format!("bench power -n 2 -c 1 -q --addr {server}"));
    quiet.assert_ended(5);
    assert!(quiet.stdout.ends_with("  protocol 1\n") && quiet.stdout.lines().count() == 1, "{quiet:?}");
}

#[test]
fn a_right_answer_may_be_written_in_another_way() {
    for written in [&b"d4\r\n"[..], b"d4.000\n", b"d+4e0\n", b"d.4e1\r\n"] {
        let server = Fake::new(move |stream| answer(stream, written));
        for flags in ["", "--framing line", "--framing bare"] {
            measured(2, &format!("power {flags} -n 2 -c 1 --addr {server}"));
        }
        let server = Fake::answering_each_read(written);
        measured(3, &format!("power --keep-alive -n 3 -c 1 --addr {server}"));
    }
}

#[test]
fn what_cannot_be_a_load_is_exit_code_2() {
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
        run(&format!("bench power {wrong}")).assert_misused(named);
    }
    // Before anything is connected to, so that no server has to be there.
    run("bench power --number 1e200 --addr 127.0.0.1:1").assert_failed(
        2,
        "",
        &["--number: that power of it is beyond"],
    );
}
