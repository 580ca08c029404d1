//! `bench`: the requested load, and its report.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::{self, Write};
use std::mem::take;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use proto::testing::TEST_TIMEOUT;
use serde_json::{Value, json};
use support::fake::{Fake, Then, read_some};
use support::load::{after_first_exchange, reply, reply_to_each, run_bench, run_bench_ok};
use support::real::ReservedPort;
use support::terminal::Terminal;
use support::{client, closed_pipe, real, run};

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(10);

/// Short enough for a test to wait for its end.
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_load_sends_the_requested_number_of_requests() {
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
        run_bench_ok(n, &format!("power {flags} --addr {server}"));
    }
    let report = run_bench_ok(1000, &format!("power -n 1k --rate 1m --pipeline 64 --addr {server}"));
    assert_eq!(
        (&report["rate"], &report["pipeline"], &report["keep_alive"]),
        (&json!(1_000_000), &json!(64), &json!(true))
    );
}

#[test]
fn bench_exchange_loads_any_server_with_a_fixed_reply() {
    let server = real::power();
    for flags in ["", "-c 1", "--keep-alive", "--pipeline 7 -c 3 --threads 2", "--keep-alive --rate 1m"] {
        let report =
            run_bench_ok(100, &format!("exchange -n 100 {flags} --send a2\\n --expect d4.0\\x0a --addr {server}"));
        let kept = flags.contains("--keep-alive") || flags.contains("--pipeline");
        assert_eq!((&report["bench"], &report["keep_alive"]), (&json!("exchange"), &json!(kept)), "{flags}");
    }
    for (flags, title) in [
        ("", "'a2\\n' on short connections, 2 at a time\n"),
        ("--pipeline 5", "'a2\\n' on 2 keep-alive connections, each with 5 in flight\n"),
    ] {
        let table = run(&format!("bench exchange {flags} -n 10 -c 2 --send a2\\n --expect d4.0\\n --addr {server}"));
        table.assert_exit_code(0);
        let title = format!("{server}: {title}");
        assert!(table.stdout.starts_with(&title), "{title}: {table:?}");
    }
}

#[test]
fn a_load_ends_after_its_duration() {
    let server = real::power();
    for flags in ["", "--keep-alive", "--pipeline 64 --threads 2", "--rate 200"] {
        let started = Instant::now();
        let report = run_bench(0, &format!("power -z 200ms {flags} --addr {server}"));
        assert!(started.elapsed() >= SHORT, "{flags}: {report}");
        assert!(report["right"].as_u64() > Some(0) && report["errors"] == json!({}), "{flags}: {report}");
    }
}

#[test]
fn the_report_is_a_table_or_one_line_with_quiet() {
    let server = real::power();
    let table = run(&format!("bench power -n 1234 -c 2 --pipeline 8 --addr {server}"));
    table.assert_exit_code(0);
    assert_eq!(table.stderr, "", "progress is for terminals");
    let title =
        format!("power at {server}: a2.0 on 2 keep-alive connections, each with 8 in flight\n\n  requests    1,234 ");
    assert!(table.stdout.starts_with(&title) && table.stdout.contains("  throughput  "), "{table:?}");
    assert!(table.stdout.contains("  latency     p50 ") && table.stdout.contains("#### "), "{table:?}");
    let quiet = run(&format!("bench power -n 10 -q --addr {server}"));
    assert_eq!((quiet.code, quiet.stderr.as_str(), quiet.stdout.lines().count()), (Some(0), "", 1), "{quiet:?}");
    assert!(quiet.stdout.contains("/s  p50 "), "{quiet:?}");
}

#[test]
fn a_terminal_shows_progress_and_then_only_the_table() {
    let server = real::power();
    let mut terminal = Terminal::start(client(&format!("bench power -z 200ms --addr {server}")));
    terminal.see(" replies, ");
    terminal.see("/s, 0 errors");
    // The status line is cleared before the table is written.
    terminal.see("\r\x1b[Kpower at ");
    terminal.see(" correct replies in ");
    assert_eq!(terminal.code(), Some(0));
    let mut terminal = Terminal::start(client(&format!("bench power -z 200ms -q --addr {server}")));
    let before = terminal.see("/s  p50 ");
    assert!(!before.contains("replies"), "{before:?}");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_comparison_makes_three_runs() {
    let server = real::power();
    let report = run_bench(0, &format!("power -n 50 --compare --addr {server}"));
    for (run, keep_alive, pipeline) in [("short", false, 1), ("kept_alive", true, 1), ("pipelined", true, 64)] {
        let run = &report[run];
        assert_eq!((&run["requests"], &run["right"]), (&json!(50), &json!(50)), "{report}");
        assert_eq!((&run["keep_alive"], &run["pipeline"]), (&json!(keep_alive), &json!(pipeline)), "{report}");
    }
    assert!(report["connection_us"].is_number() && report["connection_latency_us"].is_number(), "{report}");
    let table = run(&format!("bench power -n 50 --compare --pipeline 8 --addr {server}"));
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""), "{table:?}");
    // The last line has the cost, or says that the runs are too short to measure it.
    for row in ["  short    keep-alive    8 in flight\n", "\n  throughput ", "new connection per request"] {
        assert!(table.stdout.contains(row), "{row:?} is not in {table:?}");
    }
}

#[test]
fn a_rate_limits_the_speed_and_not_the_count() {
    let server = real::power();
    for flags in ["-c 1", "-c 2 --keep-alive", "-c 3 --threads 2 --keep-alive"] {
        let report = run_bench_ok(31, &format!("power -n 31 --rate 100 {flags} --addr {server}"));
        // The other 30 requests are due 10 ms apart, starting with the first one.
        assert!(report["seconds"].as_f64() >= Some(0.29), "{flags}: {report}");
    }
}

#[test]
fn latency_counts_from_the_intended_start_time() {
    let mut slow = true;
    let server = after_first_exchange(move |stream| {
        reply_to_each(stream, || {
            if take(&mut slow) {
                sleep(Duration::from_millis(400));
            }
        })
    });
    let report = run_bench_ok(10, &format!("power -n 10 -c 1 --keep-alive --rate 100 --addr {server}"));
    // All ten were due within the first 100 ms, and nine of them were fast once sent.
    assert!(report["latency_us"]["min"].as_f64() >= Some(250_000.0), "{report}");
}

#[test]
fn unsent_requests_are_counted_and_their_wait_is_in_the_latency() {
    // Replies to the first exchange at once, and to each request after 600 ms: the second or third reply comes after
    // the end of the run.
    let server = after_first_exchange(|stream| reply_to_each(stream, || sleep(Duration::from_millis(600))));
    let report = run_bench(0, &format!("power --keep-alive -c 1 --rate 100 -z 1s --addr {server}"));
    let [right, unsent] = ["right", "unsent"].map(|count| report[count].as_u64().expect("a count"));
    // The number of sent requests depends on the machine, the number of due requests only on the rate and the duration.
    assert!((1..=2).contains(&right), "{report}");
    assert_eq!(right + unsent, 100, "{report}");
    // Half of the due requests had waited for half of the run.
    assert!(report["latency_us"]["p50"].as_f64() >= Some(100_000.0), "{report}");
}

#[test]
fn a_rate_above_the_capacity_still_gets_replies() {
    let server = real::rps();
    for flags in ["", "--pipeline 64", "--threads 2"] {
        let report = run_bench(0, &format!("rps -z 200ms --rate 10m {flags} --addr {server}"));
        let (right, unsent) =
            (report["right"].as_u64().unwrap_or_default(), report["unsent"].as_u64().unwrap_or_default());
        assert!(right > 0 && unsent > 0 && right + unsent >= 2_000_000, "{flags}: {report}");
    }
}

#[test]
fn a_house_that_always_plays_rock_is_detected() {
    // The house plays rock: scissors lose, rock draws, paper wins.
    let house = Fake::new(|stream| {
        loop {
            let moves = read_some(stream)?;
            if moves.is_empty() {
                return Ok(Then::Close);
            }
            let replies: Vec<_> = moves.iter().map(|mv| b"zxy"[usize::from(mv - b'1')]).collect();
            stream.write_all(&replies)?;
        }
    });
    let report = run_bench_ok(300, &format!("rps -n 300 -c 1 --addr {house}"));
    assert_eq!((&report["house"]["rock"], &report["house"]["paper"]), (&json!(300), &json!(0)), "{report}");
    assert!(report["house"]["p"].as_f64() < Some(1e-9), "{report}");
}

#[test]
fn warm_up_requests_are_not_counted() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        reply_to_each(stream, || {
            let _ = sender.send(());
        })
    });
    run_bench_ok(5, &format!("power -n 5 -c 1 --keep-alive --rate 100 --warmup 100ms --addr {server}"));
    drop(server);
    // One first exchange, 10 warm-up requests at this rate, and 5 counted requests.
    assert_eq!(received.iter().count(), 1 + 10 + 5);
    let server = real::power();
    for flags in ["", "--pipeline 7 --threads 2"] {
        let started = Instant::now();
        run_bench_ok(31, &format!("power -n 31 --warmup 200ms {flags} --addr {server}"));
        assert!(started.elapsed() >= SHORT, "{flags}");
    }
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(stream.peer_addr()?.ip().to_string()));
        reply_to_each(stream, || {})
    });
    let seen = |lasts: &[u8]| {
        for last in lasts {
            assert_eq!(received.recv_timeout(TEST_TIMEOUT), Ok(format!("127.0.0.{last}")));
        }
        assert_eq!(received.try_recv().ok(), None);
    };
    // The first address belongs to the exchange before the load.
    run_bench_ok(6, &format!("power -n 6 -c 1 --sources 127.0.0.2-127.0.0.4,127.0.0.9 --addr {server}"));
    seen(&[2, 2, 3, 4, 9, 2, 3]);
    run_bench_ok(6, &format!("power -n 6 -c 1 --keep-alive --sources 127.0.0.7,127.0.0.8 --addr {server}"));
    seen(&[7, 7]);
    // 192.0.2.0/24 is reserved for documentation (RFC 5737).
    run(&format!("bench power --sources 127.0.0.2,192.0.2.1 --addr {server}")).assert_failed(
        2,
        "",
        &["--sources: 192.0.2.1 is not an address of this machine"],
    );
}

#[test]
fn source_addresses_have_the_ip_version_of_the_server() {
    for (source, server) in [("::1", "127.0.0.1:1"), ("127.0.0.2", "[::1]:1"), ("::1", "tls://127.0.0.1:1")] {
        let message = format!("--sources: {server} cannot be reached from {source}: the IP versions differ");
        run(&format!("bench rps --sources {source} --addr {server}")).assert_failed(2, "", &[&message]);
    }
}

#[test]
fn rounds_against_the_house_add_up_and_have_a_fairness_test() {
    let server = real::rps();
    for flags in ["-n 300", "-n 300 --pipeline 7 -c 3 --threads 2", "-n 300 --rate 10k"] {
        let report = run_bench_ok(300, &format!("rps {flags} --addr {server}"));
        let outcomes = ["draw", "win", "lose"].map(|outcome| report["outcomes"][outcome].as_u64().expect("a count"));
        assert_eq!((outcomes.iter().sum::<u64>(), &report["outcomes"]["void"]), (300, &json!(0)), "{report}");
        let p = report["p"].as_f64().expect("p is a number");
        assert!((0.0..=1.0).contains(&p) && report["chi_square"].is_number(), "{report}");
    }
    assert_eq!(
        run_bench_ok(9, &format!("rps -n 9 --addr {server}"))["p"],
        Value::Null,
        "nine rounds are too few for a test"
    );
    let house = Fake::replying_to_each_read(b"y");
    let table = run(&format!("bench rps -n 30 -c 1 --addr {house}"));
    table.assert_exit_code(0);
    // 30 wins where 10 of each are expected: (20² + 10² + 10²) / 10 = 60.
    for row in [
        "draw 0 (0.0 %), win 30 (100.0 %), lose 0 ",
        "fairness    chi-square 60.00, p = 0.000: very unlikely for a fair house (below 0.001)\n",
    ] {
        assert!(table.stdout.contains(row), "{row:?} is not in {table:?}");
    }
}

#[test]
fn wins_and_losses_of_a_duel_are_equal() {
    let server = real::duel(LONG);
    let outcomes = |report: &Value| ["draw", "win", "lose", "void"].map(|of| report["outcomes"][of].as_u64());
    for flags in ["-c 2", "-c 2 --threads 2"] {
        let [draw, win, lose, void] = outcomes(&run_bench_ok(200, &format!("duel -n 200 {flags} --addr {server}")));
        assert_eq!((win, void, draw.map(|draw| draw % 2)), (lose, Some(0), Some(0)), "{flags}");
    }
    run_bench_ok(201, &format!("duel -n 201 -c 3 --addr {server}"));
    let (one, other) = (real::duel(SHORT), real::duel(SHORT));
    let alone = run_bench_ok(2, &format!("duel -n 2 -c 2 --window 200ms --addr {one},{other}"));
    assert_eq!(outcomes(&alone), [0, 0, 0, 2].map(Some));
}

#[test]
fn players_of_a_duel_use_several_addresses_in_turn() {
    let (one, other) = (real::duel(LONG), real::duel(LONG));
    for flags in ["-c 4", "-c 4 --threads 2", "-c 5 --threads 3 --pipeline 3"] {
        for addresses in [format!("{one},{other}"), format!("{one} --addr {other}")] {
            let report = run_bench_ok(200, &format!("duel -n 200 {flags} --addr {addresses}"));
            assert_eq!(report["address"], json!(format!("{one},{other}")), "{flags}");
        }
    }
    let table = client("bench duel -n 10 -c 4").with_env("DUEL_ADDR", &format!("{one}, {other}")).run("");
    table.assert_exit_code(0);
    let title = format!("duel at {one}, {other}: 4 players against each other, each with 1 in flight\n");
    assert!(table.stdout.starts_with(&title), "{table:?}");
    // Two players on two servers, which do not match their players, have no partners.
    let (one, other) = (real::duel(SHORT), real::duel(SHORT));
    for flags in ["", "--threads 2"] {
        let report = run_bench_ok(4, &format!("duel -n 4 -c 2 {flags} --addr {one},{other}"));
        assert_eq!(report["outcomes"]["void"], json!(4), "{flags}: {report}");
    }
}

/// A duel server that replies to `?`, which the client sends before the load, and runs the script for other
/// connections. Sends a message at the start of each connection.
fn fake_duel(mut script: impl FnMut(&mut TcpStream) -> io::Result<Then> + Send + 'static) -> (Fake, Receiver<()>) {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        let _ = sender.send(());
        if read_some(stream)? == b"?" {
            stream.write_all(b"e")?;
            return Ok(Then::Close);
        }
        script(stream)
    });
    (server, received)
}

#[test]
fn a_connection_of_a_duel_reconnects_to_its_own_address() {
    let (sender, move_arrived) = channel();
    let (silent, silent_connections) = fake_duel(move |_| {
        let _ = sender.send(());
        Ok(Then::Hold)
    });
    let mut is_first = true;
    let (closing, closing_connections) = fake_duel(move |stream| {
        // The run must not end before the first player has sent its move.
        if take(&mut is_first) {
            let _ = move_arrived.recv_timeout(TEST_TIMEOUT);
        }
        stream.write_all(b"x")?;
        Ok(Then::Close)
    });
    // The first player gets no reply. The second gets one, loses its connection, and gets one on the next connection.
    let report = run_bench(5, &format!("duel -n 3 -c 2 --addr {silent},{closing}"));
    assert_eq!(
        (&report["requests"], &report["right"], &report["in_play"]),
        (&json!(3), &json!(2), &json!(1)),
        "{report}"
    );
    drop((silent, closing));
    assert_eq!((silent_connections.iter().count(), closing_connections.iter().count()), (1 + 1, 1 + 2));
}

#[test]
fn a_duel_needs_a_working_server_at_each_address() {
    let (server, closed_port) = (real::duel(LONG), ReservedPort::new());
    run(&format!("bench duel -n 10 -c 2 --addr {server},{closed_port}")).assert_failed(
        3,
        "",
        &[&format!("{closed_port}: cannot connect")],
    );
    run(&format!("bench duel --sources 127.0.0.2 --addr {server},unix:/duel.sock")).assert_failed(
        2,
        "",
        &["--sources: unix:/duel.sock is a Unix socket"],
    );
}

#[test]
fn a_duel_player_without_a_partner_gets_no_reply() {
    // Two servers do not match their players.
    let (one, other) = (real::duel(LONG), real::duel(LONG));
    // The moves stay in play, and a run without a reply has shown nothing.
    let alone = run_bench(4, &format!("duel -c 2 -z 200ms --addr {one},{other}"));
    assert_eq!(
        (&alone["requests"], &alone["in_play"], &alone["errors"]),
        (&json!(0), &json!(2), &json!({})),
        "{alone}"
    );
    let load = "duel -c 2 -n 2 --window 100ms --timeout 100ms";
    let report = run_bench(4, &format!("{load} --addr {one},{other}"));
    assert_eq!(report["errors"], json!({"timeout": 2}), "{report}");
}

#[test]
fn a_duel_needs_two_players_and_one_per_address() {
    for (load, least) in [("-c 1", 2), ("-c 1 --addr h:1", 2), ("-c 2 --addr h:1,h:2,h:3", 3)] {
        let message = format!("a duel needs at least {least} connections");
        run(&format!("bench duel {load}")).assert_failed(2, "", &[&message]);
    }
    // An odd number is allowed: one player waits at a time.
    let server = real::duel(LONG);
    run_bench_ok(30, &format!("duel -c 3 -n 30 --addr {server}"));
}

#[test]
fn ctrl_c_ends_a_load_and_prints_the_report() {
    for (flags, begin) in [("", "power at "), ("--json", "{\"schema\":1,"), ("-q", "")] {
        let (sender, received) = channel();
        let server = Fake::new(move |stream| {
            reply_to_each(stream, || {
                let _ = sender.send(());
            })
        });
        let running = client(&format!("bench power --keep-alive -c 1 -z 1h {flags} --addr {server}")).start();
        // The first exchange, one counted request, and the next, which is sent after the first was counted.
        for _ in 0..3 {
            received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
        }
        running.interrupt();
        let finished = running.wait();
        assert_eq!((finished.signal, finished.stderr.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stdout.starts_with(begin) && finished.stdout.contains("p50"), "{finished:?}");
    }
}

#[test]
fn ctrl_c_before_the_first_result_prints_nothing() {
    for (flags, reply_count) in [("", 0), ("--keep-alive", 0), ("--compare", 1)] {
        let (sender, received) = channel();
        let mut left = reply_count;
        let server = Fake::new(move |stream| {
            let _ = sender.send(());
            if left == 0 {
                return Ok(Then::Hold);
            }
            left -= 1;
            reply(stream, b"d4.0\n")
        });
        let running = client(&format!("bench power -c 1 -z 1h --timeout 1h {flags} --addr {server}")).start();
        for _ in 0..=reply_count {
            received.recv_timeout(TEST_TIMEOUT).expect("the client connects");
        }
        running.interrupt();
        running.wait().assert_killed_by_sigint("");
    }
}

#[test]
fn a_closed_output_pipe_ends_a_load_without_a_message() {
    let server = real::power();
    for flags in ["", "-q", "--json", "--compare"] {
        let client = client(&format!("bench power -n 10 {flags} --addr {server}"));
        client.with_stdout(closed_pipe()).run("").assert_success("");
    }
}
