//! `check`: our servers and correct servers in Python pass, and each of many wrong servers is found and explained.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed setup fails the test")]

mod support;

use std::iter;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use proto::testing::certificates::Authority;
use proto::testing::front::{End, Front, TLS13, server_config};
use proto::testing::process::ChildProcess;
use serde_json::Value;
use support::fake::{Fake, Then, read_some};
use support::{Finished, real, run};

/// The services in Python, right and with one fault each.
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/servers.py");

/// A server in Python. Its standard input is open as long as it runs.
struct PythonServer {
    _process: ChildProcess,
    address: String,
}

impl PythonServer {
    /// Starts a service with these settings, and with a fault unless it is empty.
    fn start(service: &str, fault: &str, settings: &str) -> Self {
        let mut command = Command::new("python3");
        command.args([SERVERS, service]);
        command.args(settings.split_whitespace().flat_map(|setting| ["--set", setting]));
        if !fault.is_empty() {
            command.args(["--fault", fault]);
        }
        let process = ChildProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let address = process.stdout.wait_for("its address", |printed| {
            Some(printed.strip_suffix('\n')?.strip_prefix("listening on ")?.to_owned())
        });
        Self { _process: process, address }
    }
}

/// Returns the objects of a run with `--json`.
fn objects(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

/// Checks that no case failed.
#[track_caller]
fn assert_passes(arguments: &str) -> Finished {
    let finished = run(&format!("check {arguments}"));
    assert!(!finished.stdout.contains("FAIL"), "{}", finished.stdout);
    finished.assert_exit_code(0);
    finished
}

#[test]
fn our_servers_pass() {
    let power = real::power();
    let finished = assert_passes(&format!("power --level robust --addr {power}"));
    assert!(finished.stdout.contains("ok    1.1  square\n"), "{}", finished.stdout);
    assert!(finished.stdout.ends_with("no fault found at level robust\n"), "{}", finished.stdout);
    let (rps, duel) = (real::rps(), real::duel(Duration::from_secs(3)));
    assert_passes(&format!("rps --level robust --addr {rps}"));
    assert_passes(&format!("duel --level robust --window 3s --addr {duel}"));
}

#[test]
fn the_window_of_a_duel_is_measured() {
    let duel = real::duel(Duration::from_secs(2));
    let finished = assert_passes(&format!("duel --addr {duel} --only void"));
    assert!(finished.stdout.starts_with("ok    2.3  window: the window is about "), "{}", finished.stdout);
    assert!(finished.stderr.contains("Measuring the window"), "{finished:?}");
}

#[test]
fn our_server_passes_over_tls() {
    let power = real::power();
    let authority = Authority::new();
    let front = Front::tls(power.address(), server_config(&authority.issue_server(), None, &TLS13), End::CloseNotify);
    let options = format!("--cacert {} --addr {}", authority.certificate.display(), front.endpoint);
    assert_passes(&format!("power --only 1.1,1.3,half-close {options}"));
}

#[test]
fn cases_with_other_settings_are_skipped_with_the_reason() {
    let power = real::power();
    let finished = assert_passes(&format!("power --only 1.3,1.4,idle --addr {power}"));
    for skipped in [
        "transcript-1.3-2: needs a server with limits.max_request_bytes=8\n",
        "idle-connection: takes about 1m; --slow runs it\n",
    ] {
        assert!(finished.stdout.contains(skipped), "{skipped} {}", finished.stdout);
    }
}

#[test]
fn the_list_has_every_level_and_needs_no_server() {
    for (service, least) in [("power", 80), ("rps", 25), ("duel", 40)] {
        let listed = run(&format!("check {service} --list --level robust"));
        listed.assert_exit_code(0);
        assert!(listed.stdout.lines().count() >= least, "{}", listed.stdout);
        let core = run(&format!("check {service} --list --level core --json"));
        for object in objects(&core) {
            assert_eq!(object["level"], "core");
            assert!(object["why"].as_str().is_some_and(|why| why.ends_with('.')), "{object}");
        }
        let chinese = run(&format!("check {service} --list --lang zh"));
        assert!(chinese.stdout.lines().all(|line| line.ends_with('。')), "{}", chinese.stdout);
    }
    run("check power --only nothing-like-this").assert_failed(2, "", &["no case has 'nothing-like-this'"]);
}

#[test]
fn nobody_listens_and_nothing_is_answered_have_their_exit_codes() {
    let port = real::ReservedPort::new();
    run(&format!("check power --addr {port}")).assert_failed(3, "", &["cannot connect"]);
    let silent = Fake::new(|stream| {
        read_some(stream)?;
        Ok(Then::Hold)
    });
    let finished = run(&format!("check rps --timeout 200ms --addr {}", silent.address()));
    finished.assert_failed(4, "", &["nothing was answered at all: is this the rps service?"]);
}

#[test]
fn a_failed_case_shows_the_bytes_the_section_the_reason_and_the_mistake() {
    let fake = Fake::replying_to_each_read(b"d4\n");
    let finished = run(&format!("check power --only square --level core --addr {}", fake.address()));
    let expected = "FAIL  1.1  square
      sent      >  61 32                                a2
      expected  d4.0
      received  <  64 34 0a                             d4\\n
      why       A request is an op letter and a number; the reply is d and the result.
      likely    a whole number needs its '.0' ('%g' and integers have none)
1.1  Requests and replies: 0 ok, 1 failed, 0 skipped
";
    assert!(finished.stdout.starts_with(expected), "{}", finished.stdout);
    finished.assert_exit_code(1);
    let json = run(&format!("check power --only square --level core --json --addr {}", fake.address()));
    let [case, summary] = &objects(&json)[..] else { panic!("{json:?}") };
    let fields = [("case", "square"), ("section", "1.1"), ("level", "core"), ("result", "fail"), ("sent", "a2")];
    for (field, value) in fields.into_iter().chain([("expected", "d4.0"), ("received", "d4\\n")]) {
        assert_eq!(case[field], value, "{case}");
    }
    assert_eq!((&summary["fail"], &summary["ok"], &summary["schema"]), (&1.into(), &0.into(), &1.into()));
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn correct_servers_in_python_pass() {
    let power = PythonServer::start("power", "", "timeouts.request=2s timeouts.idle=3s");
    assert_passes(&format!("power --level robust --request-timeout 2s --idle 3s --slow --addr {}", power.address));
    let solo = PythonServer::start("solo", "", "timeouts.idle=3s");
    assert_passes(&format!("rps --level robust --idle 3s --slow --addr {}", solo.address));
    let duel = PythonServer::start("duel", "", "duel.window=3s timeouts.idle=9s");
    assert_passes(&format!("duel --level robust --window 3s --idle 9s --slow --addr {}", duel.address));
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn after_the_death_of_a_python_server_the_rest_is_skipped() {
    let server = PythonServer::start("power", "dies_on_garbage", "");
    let finished = run(&format!("check power --only 1.3 --addr {}", server.address));
    finished.assert_exit_code(1);
    let (_, rest) = finished.stdout.split_once("likely    the server has stopped").expect("a case finds it stopped");
    let mut lines = rest.lines().skip(1).take_while(|line| !line.starts_with("1.3"));
    assert!(lines.all(|line| line.ends_with(": the server can no longer be reached")), "{rest}");
}

/// A fault, the case that finds it, and a part of the likely mistake; empty if it depends on chance or time.
type Fault = (&'static str, &'static str, &'static str);

/// Attempts to find and explain a wrong server. A busy machine can change what a client sees first.
const ATTEMPTS: usize = 3;

/// Checks that each wrong server is found by its case, and explained.
fn assert_found(service: &str, settings: &str, options: &str, faults: &[Fault]) {
    let name = if service == "solo" { "rps" } else { service };
    let miss = |(fault, case, mistake): &Fault| {
        let server = PythonServer::start(service, fault, settings);
        let arguments = format!("check {name} --only {case} --level robust --timeout 2s --json {options}");
        let finished = run(&format!("{arguments} --addr {}", server.address));
        let found = objects(&finished).into_iter().find(|object| object["case"] == *case);
        let is_explained = |case: &Value| {
            let likely = case["likely"].as_str().unwrap_or_default();
            case["result"] == "fail" && !likely.is_empty() && likely.contains(mistake)
        };
        let is_found = finished.code == Some(1) && found.as_ref().is_some_and(is_explained);
        (!is_found).then(|| format!("{fault}: {:?} {found:?}", finished.code))
    };
    let next = AtomicUsize::new(0);
    let check = || {
        let faults = iter::from_fn(|| faults.get(next.fetch_add(1, Ordering::Relaxed)));
        // Stops at the first attempt that finds it.
        let misses = |fault| (0..ATTEMPTS).map_while(|_| miss(fault)).collect::<Vec<_>>();
        faults.filter_map(|fault| misses(fault).into_iter().nth(ATTEMPTS - 1)).collect::<Vec<_>>()
    };
    // Most of them wait.
    let missed: Vec<_> = thread::scope(|scope| {
        let threads = [(); 6].map(|()| scope.spawn(check));
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread ends")).collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn wrong_power_servers_in_python_are_found() {
    let settings = "timeouts.request=1s timeouts.idle=3s";
    assert_found("power", settings, "--request-timeout 1s --idle 3s --slow", POWER_FAULTS);
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn wrong_houses_in_python_are_found() {
    assert_found("solo", "timeouts.idle=3s", "--idle 3s --slow", SOLO_FAULTS);
    // Nothing is answered at all.
    let server = PythonServer::start("solo", "replies_at_newline", "");
    run(&format!("check rps --timeout 500ms --addr {}", server.address)).assert_exit_code(4);
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn wrong_duels_in_python_are_found() {
    assert_found("duel", "duel.window=2s timeouts.idle=9s", "--window 2s --idle 9s --slow", DUEL_FAULTS);
    // The first player is served, and the second one waits: nothing is answered at all.
    let server = PythonServer::start("duel", "one_connection_at_a_time", "");
    run(&format!("check duel --window 30s --timeout 500ms --addr {}", server.address)).assert_exit_code(4);
    // A tenth of the window has to be longer than a busy machine takes.
    assert_found("duel", "duel.window=10s timeouts.idle=60s", "--window 10s", DUEL_FAULTS_OF_TIME);
}

/// Each fault of the Python servers is in a table, or there is a reason why it is not.
#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn every_fault_in_python_is_in_a_table() {
    let mut command = Command::new("python3");
    let listed = ChildProcess::start(command.args([SERVERS, "--list"]).stdout(Stdio::piped())).stdout.wait_for_end();
    for line in listed.lines() {
        let object: Value = serde_json::from_str(line).expect("a line is an object");
        let (service, fault) = (&object["service"], object["fault"].as_str().expect("a name"));
        let tables = match service.as_str() {
            Some("power") => [POWER_FAULTS, &[]],
            Some("solo") => [SOLO_FAULTS, &[]],
            _ => [DUEL_FAULTS, DUEL_FAULTS_OF_TIME],
        };
        let is_in_table = tables.concat().iter().any(|(name, ..)| *name == fault);
        // A client sees a limit of connections only if it is small, and a close with unread bytes only if bytes arrive
        // between the last read and the close. The others answer nothing at all.
        let is_apart = match fault {
            "limit_closes_silently" | "limit_never" | "close_resets" | "replies_at_newline" => true,
            "one_connection_at_a_time" => service == "duel",
            _ => false,
        };
        assert!(is_in_table != is_apart, "{line}");
    }
}

/// The faults of the power server.
const POWER_FAULTS: &[Fault] = &[
    ("percent_g", "square", "needs its '.0'"),
    ("repr_without_point", "square", "needs its '.0'"),
    ("exponent_without_plus", "large-result", "an exponent has a sign"),
    ("exponent_of_one_digit", "number-layout", "an exponent has a sign"),
    ("positional_always", "large-result", "from 1e16 on, and below 0.0001, numbers have an exponent"),
    ("javascript_layout", "large-result", "from 1e16 on, and below 0.0001, numbers have an exponent"),
    ("exponent_always", "square", "from 0.0001 to below 1e16, numbers have no exponent"),
    ("uppercase_exponent", "large-result", "an exponent has a sign"),
    ("rust_ties", "fewest-digits", "of two shortest digit strings, the farther one"),
    ("seventeen_digits", "number-syntax", "more digits than needed (such as '%.17g')"),
    ("fifteen_digits", "number-layout", "too few digits"),
    ("two_decimal_places", "square", "zeros too many"),
    ("negative_zero_lost", "negative-zero", "the sign of zero is lost"),
    ("accepts_float_words", "underscores", "the language's own float() accepts more than the grammar of"),
    ("accepts_hex", "hexadecimal", "the language's own float() accepts more than the grammar of"),
    ("accepts_unicode_digits", "other-digits", "the language's own float() accepts more than the grammar of"),
    ("accepts_decimal_comma", "broken-numbers", "the language's own float() accepts more than the grammar of"),
    ("rejects_plus_sign", "number-syntax", "'d+2' is valid by the grammar of PROTOCOL.md, but was rejected"),
    ("rejects_bare_points", "number-syntax", "'d-.5' is valid by the grammar of PROTOCOL.md, but was rejec"),
    ("rejects_uppercase_exponent", "number-syntax", "'d1E3' is valid by the grammar of PROTOCOL.md, but was rejec"),
    ("rejects_exponents", "large-result", "'a1e8' is valid by the grammar of PROTOCOL.md, but was rejec"),
    ("rejects_blanks", "blanks-around-the-number", "spaces and tabs around the number are allowed"),
    ("trailing_blank_rejected", "blanks-around-the-number", "spaces and tabs around the number are allowed"),
    ("float32", "large-result", "computed with single precision"),
    ("pow_operator", "order-of-products", "a power function, or other rounding"),
    ("fourth_is_square_of_square", "order-of-products", "a power function, or other rounding"),
    ("exact_arithmetic", "order-of-products", "a power function, or other rounding"),
    ("underflow_is_range", "too-small", "a result that is too small becomes 0.0"),
    ("subnormals_are_zero", "nearest-double", "a result that is too small becomes 0.0"),
    ("overflow_inf", "largest-number", "the result is infinite, for which the wire has no number"),
    ("overflow_closes", "largest-number", "an overflow raised an error that ended the connection"),
    ("echo_missing", "echo", "the operation d, echo, is missing"),
    ("uppercase_ops", "upper-case-operation", "op letters are lower case"),
    ("one_read_one_request", "transcript-1-1", "one read was taken for one request"),
    ("first_line_only_of_a_read", "transcript-1-1", "one read was taken for one request"),
    ("remainder_dropped", "line-in-pieces", "one read was taken for one request"),
    ("joined_bare_requests", "half-close", "the server sent bytes that belong to no request"),
    ("replies_out_of_order", "transcript-1-1", "the replies are not in the order of the requests"),
    ("no_lf_in_reply", "transcript-1-1", "after a line, every reply is a line"),
    ("crlf_reply", "transcript-1-1", "the reply ends with CR LF"),
    ("nul_terminated", "square", "the reply ends with a NUL"),
    ("bare_reply_has_lf", "square", "a reply to a request without LF has no line end"),
    ("lf_on_half_close_reply", "half-close", "a reply to a request without LF has no line end"),
    ("lines_do_not_last", "line-in-pieces", "one read was taken for one request"),
    ("replies_to_blank_lines", "blank-lines", "a blank line gets no reply"),
    ("cr_not_stripped", "carriage-return", "one CR before the LF belongs to the line end"),
    ("strips_all_cr", "carriage-return-inside", "only one CR before the LF belongs to the line end"),
    ("leading_blank_accepted", "blank-before-the-op", "no blank is allowed before the op letter"),
    ("late_lf_missing", "late-line-feed", "the line end arrived after the bare reply, so the LF of the"),
    ("bare_needs_lf", "square", "the server waits for LF"),
    ("bare_incomplete_is_error", "incomplete-bare-request", "these bytes may still become a request"),
    ("bare_cr_is_error", "pending-carriage-return", "these bytes may still become a request"),
    ("bare_error_waits", "invalid-bare-request", "rejected at once"),
    ("half_close_closes_without_reply", "half-close", "the end of the client's data ended the connection before the"),
    ("last_line_lost", "last-line-without-line-feed", "the half-close ends the last line too, so it has to get its"),
    ("half_close_cuts_number", "half-close-after-carriage-return", "only one CR before the LF belongs to the line end"),
    ("closes_after_one_reply", "bare-requests", "the connection was closed although"),
    ("code_missing", "largest-number", "an error reply is e, one of the codes BADOP, BADNUM, RANGE,"),
    ("message_missing", "largest-number", "after the code, an error reply has a space and a message of"),
    ("unknown_code", "largest-number", "an error reply is e, one of the codes BADOP, BADNUM, RANGE,"),
    ("lowercase_code", "largest-number", "an error reply is e, one of the codes BADOP, BADNUM, RANGE,"),
    ("message_not_ascii", "largest-number", "after the code, an error reply has a space and a message of"),
    ("message_of_two_lines", "unknown-operation", "after the code, an error reply has a space and a message of"),
    ("message_too_long", "long-message", "a reply has at most 1,024 bytes"),
    ("badop_is_badnum", "invalid-bare-request", "BADNUM instead of BADOP"),
    ("missing_number_is_badop", "half-close-in-a-request", "BADOP instead of BADNUM"),
    ("range_is_badnum", "largest-number", "BADNUM instead of RANGE"),
    ("error_keeps_open_bare", "invalid-bare-request", "the connection stays open"),
    ("error_closes_line", "carriage-return-inside", "an error in a line closed"),
    ("range_closes_line", "largest-number", "an error in a line closed"),
    ("dies_on_garbage", "other-digits", "an invalid request ended the connection without an error reply"),
    ("toolong_never", "too-long", "a request may grow without bound"),
    ("toolong_off_by_one", "longest-request", "the limit counts wrong"),
    ("toolong_late", "too-long-line", "a request may grow without bound"),
    ("toolong_keeps_open", "too-long", "the connection stays open"),
    ("toolong_counts_cr", "longest-request-with-carriage-return", "the limit counts wrong"),
    ("replies_after_error_close", "no-reply-behind-the-last-error", "the server sent bytes that belong to no request"),
    ("no_request_timeout", "silent-client", "no deadline, or one that each byte extends"),
    ("silence_never_times_out", "silent-client", "no deadline, or one that each byte extends"),
    ("timeout_extended_by_bytes", "slow-request", "no deadline, or one that each byte extends"),
    ("timeout_without_reply", "silent-client", "the deadline ended the connection without the error reply TI"),
    ("timeout_keeps_open", "silent-client", "the connection stays open"),
    ("idle_sends_timeout", "idle-connection", "an idle connection closes without a reply"),
    ("idle_never", "idle-connection", "the connection stays open"),
    ("write_timeout_never", "write-timeout", "no timeout for writes"),
    ("reads_without_bound", "never-reads", "no backpressure"),
    ("no_fin_after_half_close", "transcript-1-1", "the connection stays open"),
    ("one_connection_at_a_time", "two-clients", "one after the other"),
    ("slow_accept_after_many", "many-connections", "one after the other"),
    ("dies_on_reset", "resets", ""),
];

/// The faults of the house. `win_lose_swapped` is not among them: no client can see it.
const SOLO_FAULTS: &[Fault] = &[
    ("scissors_beat_rock", "fair-house", "scissors against rock is judged as 'win'"),
    ("rock_beats_paper", "fair-house", "rock against paper is judged as 'win'"),
    ("paper_beats_scissors", "fair-house", "scissors against paper is judged as 'lose'"),
    ("draw_is_win", "fair-house", "scissors against scissors is judged as 'win'"),
    ("draw_is_lose", "fair-house", "scissors against scissors is judged as 'lose'"),
    ("moves_from_zero", "three-moves", "a valid move was rejected"),
    ("replies_to_newline", "line-ends", "a line end alone"),
    ("replies_to_cr", "line-ends", "a line end alone"),
    ("replies_with_newline", "move", "a reply is one byte, without a line end"),
    ("upper_case_reply", "move", "the wire has lower case and upper case where PROTOCOL.md has"),
    ("void_for_invalid", "invalid-byte", "only 1, 2 and 3 are moves"),
    ("two_bytes_for_invalid", "invalid-byte", "an invalid byte gets one e, not two bytes"),
    ("silent_on_invalid", "invalid-byte", "an invalid byte gets e"),
    ("closes_on_invalid", "invalid-byte", "an invalid byte closed"),
    ("bad_frames_no_limit", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("bad_frames_closes_early", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("bad_frames_per_run", "invalid-bytes-in-total", "count all invalid bytes of the connection"),
    ("bad_frames_closes_without_e", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("sends_banner", "move", "sent bytes before any request"),
    ("idle_short", "not-idle-yet", "the connection was closed although the client may send more"),
    ("closes_after_each_round", "three-moves", "the connection was closed although the client may send more"),
    ("closes_after_ten_rounds", "rule", "the connection was closed although the client may send more"),
    ("idle_never", "idle-connection", "stays open"),
    ("write_timeout_never", "write-timeout", "no timeout for writes"),
    ("reads_without_bound", "never-reads", "no backpressure"),
    ("no_fin_after_half_close", "no-greeting", "stays open"),
    ("one_connection_at_a_time", "two-players", "clients are served one after the other"),
    ("slow_accept_after_many", "many-connections", "one after the other"),
    ("dies_on_reset", "resets", ""),
    ("always_same_move", "fair-house", "the house prefers a move"),
    ("house_cycles", "independent-house", "the house follows a pattern of its own"),
    ("house_shares_sequence", "new-moves-on-each-connection", "the random numbers start anew on each connection"),
    ("house_never_repeats", "independent-house", "the house follows a pattern of its own"),
    ("repeats_previous", "independent-house", "the house follows a pattern of its own"),
    ("copies_player", "house-without-memory", "the house reacts to the player"),
    ("beats_previous_move", "house-without-memory", "the house reacts to the player"),
    ("house_sees_move", "fair-house", "the outcomes depend on the player's move"),
    ("lets_player_win", "fair-house", "the outcomes depend on the player's move"),
    ("biased_40_30_30", "fair-house", "the house prefers a move"),
    ("one_move_missing", "fair-house", "the house prefers a move"),
    ("same_house_in_a_read", "independent-house", "follows a pattern"),
    ("draw_missing", "fair-house", "the outcomes depend on the player's move"),
    ("void_from_house", "rule", "the house always plays"),
    ("half_close_drops_replies", "half-close", "the end of the client's data ended the connection before the"),
    ("replies_after_last_invalid", "invalid-bytes-in-total", "count all invalid bytes of the connection"),
    ("one_reply_per_read", "several-moves-in-one-write", "one read was taken for one request"),
    ("out_of_order", "pipelining", "the replies are not in the order of the requests"),
    ("invalid_reported_last", "replies-in-order", "the replies are not in the order of the requests"),
    ("moves_after_lf_lost", "replies-in-order", "an invalid byte gets e"),
];

/// The faults of the duel.
const DUEL_FAULTS: &[Fault] = &[
    ("scissors_beat_rock", "rock-beats-scissors", "the replies of the two players are swapped"),
    ("rock_beats_paper", "paper-beats-rock", "the replies of the two players are swapped"),
    ("paper_beats_scissors", "scissors-beat-paper", "the replies of the two players are swapped"),
    ("draw_is_win", "draw", "judged against another move than the rule says, or by anothe"),
    ("draw_is_lose", "draw", "judged against another move than the rule says, or by anothe"),
    ("moves_from_zero", "paper-beats-rock", "the round was not judged at once"),
    ("replies_to_newline", "line-ends", "a line end alone"),
    ("replies_to_cr", "line-ends", "a line end alone"),
    ("replies_with_newline", "rock-beats-scissors", "a reply is one byte, without a line end"),
    ("upper_case_reply", "rock-beats-scissors", "the wire has lower case and upper case where PROTOCOL.md has"),
    ("void_for_invalid", "invalid-byte", "only 1, 2 and 3 are moves"),
    ("two_bytes_for_invalid", "invalid-byte", "an invalid byte gets one e, not two bytes"),
    ("silent_on_invalid", "invalid-byte", "an invalid byte gets e"),
    ("closes_on_invalid", "invalid-byte", "an invalid byte closed"),
    ("bad_frames_no_limit", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("bad_frames_closes_early", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("bad_frames_per_run", "invalid-bytes-in-total", "count all invalid bytes of the connection"),
    ("bad_frames_closes_without_e", "too-many-invalid-bytes", "count all invalid bytes of the connection"),
    ("sends_banner", "rock-beats-scissors", "sent bytes before any request"),
    ("idle_short", "not-idle-yet", "the connection was closed although the client may send more"),
    ("closes_after_each_round", "second-round", "the connection was closed although the client may send more"),
    ("closes_after_ten_rounds", "many-rounds", "the connection was closed although the client may send more"),
    ("idle_never", "idle-connection", "stays open"),
    ("reads_without_bound", "never-reads", "no backpressure"),
    ("no_fin_after_half_close", "all-pairs", "stays open"),
    ("slow_accept_after_many", "many-connections", "one after the other"),
    ("dies_on_reset", "resets", ""),
    ("win_lose_swapped", "rock-beats-scissors", "the replies of the two players are swapped"),
    ("both_same_reply", "rock-beats-scissors", "the replies of the two players are swapped"),
    ("plays_itself", "never-against-itself", "judged without a second player's move"),
    ("first_reply_late", "rock-beats-scissors", "the round was not judged at once"),
    ("reveals_move", "second-round", "the server sent a move to a player"),
    ("no_void", "void", "no timer ends the window"),
    ("void_early", "void", "the window ended early"),
    ("void_is_draw", "void", "a void move is v, not a draw"),
    ("void_to_both", "void-for-one-player", "without a move in play"),
    ("void_closes", "move-after-void", "the connection was closed although the client may send more"),
    ("house_plays_after_timeout", "void", ""),
    ("partners_not_kept", "silent-partner", "another player met the move at once"),
    ("late_partner_blocks", "silent-partner", "the move was void although another move was there to meet it"),
    ("patience_missing", "silent-partner", "another player met the move at once"),
    ("partner_leaves_move_void", "partner-leaves", "the move was void although another move was there to meet it"),
    ("sent_ahead_lost", "never-against-itself", "the round was not judged at once"),
    ("sent_ahead_judged_at_once", "invalid-byte-in-order", "an invalid byte gets e"),
    ("last_move_counts", "never-against-itself", "judged against another move than the rule says, or by anothe"),
    ("sent_ahead_window_from_arrival", "sent-ahead-after-void", "the window ended early"),
    ("invalid_out_of_order", "invalid-byte-in-order", "not in the order"),
    ("half_close_withdraws", "half-close-keeps-the-move", "the end of the client's data"),
    ("half_close_no_reply", "half-close-keeps-the-move", "the end of the client's data"),
    ("reset_keeps_move", "reset-withdraws-the-move", "judged without a second player's move"),
];

/// The faults of the duel that show only with a long window.
const DUEL_FAULTS_OF_TIME: &[Fault] = &[
    ("no_pairing_of_third", "partners-stay-partners", "not judged at once"),
    ("void_late", "partner-leaves-late", "no timer ends the window"),
    ("window_restarts_on_return", "partner-leaves-late", "no timer ends the window"),
    ("void_keeps_pair", "void-dissolves-the-pair", "not judged at once"),
    ("joins_at_connect", "partners-by-moves", "not judged at once"),
    ("partner_leaves_unnoticed", "partner-leaves-in-a-round", "not judged at once"),
];
