//! `bench`: the load that was asked for, and what is told of it.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::mem::take;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use proto::testing::PATIENCE;
use serde_json::{Value, json};
use support::fake::{Fake, Then, hear};
use support::load::{afterwards, answer, answer_each, measured, told};
use support::terminal::Terminal;
use support::{client, real, run, unread_pipe};

/// Longer than any test may take.
const LONG: Duration = Duration::from_mins(10);

/// So short that a test can wait for its end.
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_load_counts_as_many_requests_as_were_asked_for() {
    let server = real::power();
    for flags in [
        "-n 30",
        "-n 30 --framing eof",
        "-n 30 --framing line",
        "-n 30 --framing bare",
        "-n 30 --keep-alive",
        "-n 30 -c 1",
        "-n 30 -c 100",
        "-n 31 --threads 2",
        "-n 31 --keep-alive --threads 2 -c 3",
        "-n 1000 --pipeline 64",
        "-n 100 --pipeline 7 -c 3",
        "-n 101 --pipeline 7 -c 3 --threads 2",
        "-n 30 -z 1h",
        "-n 30 --op cube --number -0.1",
        "-n 30 --op fourth --number 1e-200 --keep-alive",
        "-n 30 --op echo --number 123456.789",
    ] {
        let n = flags.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        measured(n, &format!("power {flags} --addr {server}"));
    }
    let told = measured(1000, &format!("power -n 1k --rate 1m --pipeline 64 --addr {server}"));
    assert_eq!((&told["rate"], &told["pipeline"], &told["keep_alive"]), (&json!(1_000_000), &json!(64), &json!(true)));
}

#[test]
fn any_server_that_answers_the_same_each_time_can_be_loaded() {
    let server = real::power();
    for flags in ["", "-c 1", "--keep-alive", "--pipeline 7 -c 3 --threads 2", "--keep-alive --rate 1m"] {
        let told = measured(100, &format!("exchange -n 100 {flags} --send a2\\n --expect d4.0\\x0a --addr {server}"));
        let kept = flags.contains("--keep-alive") || flags.contains("--pipeline");
        assert_eq!((&told["bench"], &told["keep_alive"]), (&json!("exchange"), &json!(kept)), "{flags}");
    }
    for (flags, title) in [
        ("", "'a2\\n' on short connections, 2 at a time\n"),
        ("--pipeline 5", "'a2\\n' on 2 keep-alive connections, each with 5 in flight\n"),
    ] {
        let table = run(&format!("bench exchange {flags} -n 10 -c 2 --send a2\\n --expect d4.0\\n --addr {server}"));
        table.assert_ended(0);
        let title = format!("{server}: {title}");
        assert!(table.stdout.starts_with(&title), "{title}: {table:?}");
    }
}

#[test]
fn a_load_ends_after_its_duration() {
    let server = real::power();
    for flags in ["", "--keep-alive", "--pipeline 64 --threads 2", "--rate 200"] {
        let began = Instant::now();
        let told = told(0, &format!("power -z 200ms {flags} --addr {server}"));
        assert!(began.elapsed() >= SHORT, "{flags}: {told}");
        assert!(told["right"].as_u64() > Some(0) && told["errors"] == json!({}), "{flags}: {told}");
    }
}

#[test]
fn what_came_of_it_is_told_in_a_table_or_on_one_line() {
    let server = real::power();
    let table = run(&format!("bench power -n 1234 -c 2 --pipeline 8 --addr {server}"));
    table.assert_ended(0);
    assert_eq!(table.stderr, "", "progress is for terminals");
    let title = format!("power at {server}: a2.0 on 2 keep-alive connections, each with 8 in flight\n\n  requests    1,234 ");
    assert!(table.stdout.starts_with(&title) && table.stdout.contains("  throughput  "), "{table:?}");
    assert!(table.stdout.contains("  latency     p50 ") && table.stdout.contains("#### "), "{table:?}");
    let quiet = run(&format!("bench power -n 10 -q --addr {server}"));
    assert_eq!((quiet.code, quiet.stderr.as_str(), quiet.stdout.lines().count()), (Some(0), "", 1), "{quiet:?}");
    assert!(quiet.stdout.contains("/s  p50 "), "{quiet:?}");
}

#[test]
fn a_person_sees_the_progress_and_then_the_table_alone() {
    let server = real::power();
    let mut person = Terminal::start(client(&format!("bench power -z 200ms --addr {server}")));
    person.see(" replies, ");
    person.see("/s, 0 errors");
    // The line is cleared before the table is written.
    person.see("\r\x1b[Kpower at ");
    person.see(" correct replies in ");
    assert_eq!(person.code(), Some(0));
    let mut person = Terminal::start(client(&format!("bench power -z 200ms -q --addr {server}")));
    let before = person.see("/s  p50 ");
    assert!(!before.contains("replies"), "{before:?}");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn a_comparison_makes_three_runs() {
    let server = real::power();
    let told = told(0, &format!("power -n 50 --compare --addr {server}"));
    for (run, keep_alive, pipeline) in [("short", false, 1), ("kept_alive", true, 1), ("pipelined", true, 64)] {
        let run = &told[run];
        assert_eq!((&run["requests"], &run["right"]), (&json!(50), &json!(50)), "{told}");
        assert_eq!((&run["keep_alive"], &run["pipeline"]), (&json!(keep_alive), &json!(pipeline)), "{told}");
    }
    assert!(told["connection_us"].is_number() && told["connection_latency_us"].is_number(), "{told}");
    let table = run(&format!("bench power -n 50 --compare --pipeline 8 --addr {server}"));
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""), "{table:?}");
    for row in ["  short    keep-alive    8 in flight\n", "\n  throughput ", "\nA new connection per request costs "] {
        assert!(table.stdout.contains(row), "{row:?} is not in {table:?}");
    }
}

#[test]
fn a_rate_is_kept_and_does_not_change_the_count() {
    let server = real::power();
    for flags in ["-c 1", "-c 2 --keep-alive", "-c 3 --threads 2 --keep-alive"] {
        let told = measured(31, &format!("power -n 31 --rate 100 {flags} --addr {server}"));
        // From the first request on, the thirty others are due ten milliseconds apart.
        assert!(told["seconds"].as_f64() >= Some(0.29), "{flags}: {told}");
    }
}

#[test]
fn a_request_that_waits_for_a_slow_server_counts_from_when_it_was_due() {
    let mut slow = true;
    let server = afterwards(move |stream| {
        answer_each(stream, || {
            if take(&mut slow) {
                sleep(Duration::from_millis(400));
            }
        })
    });
    let told = measured(10, &format!("power -n 10 -c 1 --keep-alive --rate 100 --addr {server}"));
    // All ten were due within the first hundred milliseconds, and nine of them were quick once they could be sent.
    assert!(told["latency_us"]["min"].as_f64() >= Some(250_000.0), "{told}");
}

#[test]
fn what_was_due_and_never_sent_is_counted_and_has_waited() {
    // It answers the first exchange at once, and then each request late: the second or third after the end of the run.
    let server = afterwards(|stream| answer_each(stream, || sleep(Duration::from_millis(600))));
    let told = told(0, &format!("power --keep-alive -c 1 --rate 100 -z 1s --addr {server}"));
    let [right, unsent] = ["right", "unsent"].map(|count| told[count].as_u64().expect("a count"));
    // How many went out depends on the machine; how many were due, on the rate and the duration alone.
    assert!((1..=2).contains(&right), "{told}");
    assert_eq!(right + unsent, 100, "{told}");
    // Half of what was due had waited for half of the run.
    assert!(told["latency_us"]["p50"].as_f64() >= Some(100_000.0), "{told}");
}

#[test]
fn a_rate_beyond_all_capacity_still_has_answers() {
    let server = real::rps();
    for flags in ["", "--pipeline 64", "--threads 2"] {
        let told = told(0, &format!("rps -z 200ms --rate 10m {flags} --addr {server}"));
        let (right, unsent) = (told["right"].as_u64().unwrap_or_default(), told["unsent"].as_u64().unwrap_or_default());
        assert!(right > 0 && unsent > 0 && right + unsent >= 2_000_000, "{flags}: {told}");
    }
}

#[test]
fn a_house_that_always_shows_the_same_is_found_out() {
    // Rock against each move: scissors lose, rock draws, paper wins.
    let house = Fake::new(|stream| {
        loop {
            let moves = hear(stream)?;
            if moves.is_empty() {
                return Ok(Then::Close);
            }
            let answers: Vec<_> = moves.iter().map(|shown| b"zxy"[usize::from(shown - b'1')]).collect();
            std::io::Write::write_all(stream, &answers)?;
        }
    });
    let told = measured(300, &format!("rps -n 300 -c 1 --addr {house}"));
    assert_eq!((&told["house"]["rock"], &told["house"]["paper"]), (&json!(300), &json!(0)), "{told}");
    assert!(told["house"]["p"].as_f64() < Some(1e-9), "{told}");
}

#[test]
fn what_is_asked_to_warm_up_is_not_counted() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        answer_each(stream, || {
            let _ = sender.send(());
        })
    });
    measured(5, &format!("power -n 5 -c 1 --keep-alive --rate 100 --warmup 100ms --addr {server}"));
    drop(server);
    // The first exchange, ten at this rate, and the five that count.
    assert_eq!(heard.iter().count(), 1 + 10 + 5);
    let server = real::power();
    for flags in ["", "--pipeline 7 --threads 2"] {
        let began = Instant::now();
        measured(31, &format!("power -n 31 --warmup 200ms {flags} --addr {server}"));
        assert!(began.elapsed() >= SHORT, "{flags}");
    }
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(stream.peer_addr()?.ip().to_string()));
        answer_each(stream, || {})
    });
    let seen = |lasts: &[u8]| {
        for last in lasts {
            assert_eq!(heard.recv_timeout(PATIENCE), Ok(format!("127.0.0.{last}")));
        }
        assert_eq!(heard.try_recv().ok(), None);
    };
    // The first is the exchange which shows that the server is there.
    measured(6, &format!("power -n 6 -c 1 --sources 127.0.0.2-127.0.0.4,127.0.0.9 --addr {server}"));
    seen(&[2, 2, 3, 4, 9, 2, 3]);
    measured(6, &format!("power -n 6 -c 1 --keep-alive --sources 127.0.0.7,127.0.0.8 --addr {server}"));
    seen(&[7, 7]);
    // 192.0.2.0/24 is for documentation (RFC 5737).
    run(&format!("bench power --sources 127.0.0.2,192.0.2.1 --addr {server}")).assert_failed(
        2,
        "",
        &["--sources: 192.0.2.1 is not an address of this machine"],
    );
}

#[test]
fn rounds_against_the_house_add_up_and_are_judged_for_fairness() {
    let server = real::rps();
    for flags in ["-n 300", "-n 300 --pipeline 7 -c 3 --threads 2", "-n 300 --rate 10k"] {
        let told = measured(300, &format!("rps {flags} --addr {server}"));
        let outcomes = ["draw", "win", "lose"].map(|outcome| told["outcomes"][outcome].as_u64().expect("a count"));
        assert_eq!((outcomes.iter().sum::<u64>(), &told["outcomes"]["void"]), (300, &json!(0)), "{told}");
        let p = told["p"].as_f64().expect("it is judged");
        assert!((0.0..=1.0).contains(&p) && told["chi_square"].is_number(), "{told}");
    }
    assert_eq!(measured(9, &format!("rps -n 9 --addr {server}"))["p"], Value::Null, "nine rounds tell nothing");
    let house = Fake::answering_each_read(b"y");
    let table = run(&format!("bench rps -n 30 -c 1 --addr {house}"));
    table.assert_ended(0);
    // Thirty wins where ten of each are likely: (20² + 10² + 10²) / 10.
    for row in
        ["draw 0 (0.0 %), win 30 (100.0 %), lose 0 ", "fairness    chi-square 60.00, p = 0.000: very unlikely for a fair house"]
    {
        assert!(table.stdout.contains(row), "{row:?} is not in {table:?}");
    }
}

#[test]
fn what_one_player_of_a_duel_wins_another_one_loses() {
    let server = real::duel(LONG);
    let outcomes = |told: &Value| ["draw", "win", "lose", "void"].map(|of| told["outcomes"][of].as_u64());
    for flags in ["-c 2", "-c 2 --threads 2"] {
        let [draw, win, lose, void] = outcomes(&measured(200, &format!("duel -n 200 {flags} --addr {server}")));
        assert_eq!((win, void, draw.map(|draw| draw % 2)), (lose, Some(0), Some(0)), "{flags}");
    }
    measured(201, &format!("duel -n 201 -c 3 --addr {server}"));
    let server = real::duel(SHORT);
    let alone = measured(2, &format!("duel -n 2 -c 1 --window 200ms --addr {server}"));
    assert_eq!(outcomes(&alone), [0, 0, 0, 2].map(Some));
}

#[test]
fn a_player_without_another_ends_with_the_duration_and_fails_after_the_window() {
    let server = real::duel(LONG);
    // Its move is neither answered nor lost, and a run without an answer has shown nothing.
    let alone = told(4, &format!("duel -c 1 -z 200ms --addr {server}"));
    assert_eq!(
        (&alone["requests"], &alone["in_play"], &alone["errors"]),
        (&json!(0), &json!(1), &json!({})),
        "{alone}"
    );
    let told = told(4, &format!("duel -c 1 -n 1 --window 100ms --timeout 100ms --addr {server}"));
    assert_eq!(told["errors"], json!({"timeout": 1}), "{told}");
}

#[test]
fn ctrl_c_ends_a_load_with_what_came_of_it_so_far() {
    for (flags, begin) in [("", "power at "), ("--json", "{\"schema\":1,"), ("-q", "")] {
        let (sender, heard) = channel();
        let server = Fake::new(move |stream| {
            answer_each(stream, || {
                let _ = sender.send(());
            })
        });
        let running = client(&format!("bench power --keep-alive -c 1 -z 1h {flags} --addr {server}")).start();
        // The first exchange, one that counts, and the next, before which that one has been counted.
        for _ in 0..3 {
            heard.recv_timeout(PATIENCE).expect("the client asks");
        }
        running.interrupt();
        let finished = running.wait();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(130), ""), "{finished:?}");
        assert!(finished.stdout.starts_with(begin) && finished.stdout.contains("p50"), "{finished:?}");
    }
}

#[test]
fn ctrl_c_ends_a_first_exchange_or_a_comparison_without_a_word() {
    for (flags, answered) in [("", 0), ("--keep-alive", 0), ("--compare", 1)] {
        let (sender, heard) = channel();
        let mut left = answered;
        let server = Fake::new(move |stream| {
            let _ = sender.send(());
            if left == 0 {
                return Ok(Then::Hold);
            }
            left -= 1;
            answer(stream, b"d4.0\n")
        });
        let running = client(&format!("bench power -c 1 -z 1h --timeout 1h {flags} --addr {server}")).start();
        for _ in 0..=answered {
            heard.recv_timeout(PATIENCE).expect("the client connects");
        }
        running.interrupt();
        running.wait().assert_failed(130, "", &[]);
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_load_quietly() {
    let server = real::power();
    for flags in ["", "-q", "--json", "--compare"] {
        let client = client(&format!("bench power -n 10 {flags} --addr {server}"));
        client.with_output(unread_pipe()).run("").assert_done("");
    }
}
