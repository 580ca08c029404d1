//! `--json`: every result and every error is a JSON object on one line of standard output; exit codes stay the same.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use support::fake::{Fake, Then, read_some};
use support::real::ReservedPort;
use support::terminal::Terminal;
use support::{client, real, run};

/// A round won with rock.
const WIN: &str = "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n";

/// The score after that round.
const SCORE: &str = "{\"schema\":1,\"score\":{\"won\":1,\"lost\":0,\"drawn\":0,\"void\":0}}\n";

/// Runs a command with `--json`, and returns its exit code and its objects. Standard error must be empty.
#[track_caller]
fn run_json(arguments: &str, input: &str) -> (Option<i32>, Vec<Value>) {
    let finished = client(&format!("{arguments} --json")).run(input);
    assert_eq!(finished.stderr, "", "{arguments}");
    (finished.code, objects(&finished.stdout))
}

/// Returns the objects on standard output. Each is on one line and starts with the schema version.
#[track_caller]
fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout:?}");
    let object = |line: &str| {
        assert!(line.starts_with("{\"schema\":1,"), "{line}");
        let object: Value = serde_json::from_str(line).expect("a JSON object");
        assert!(object.is_object(), "{line}");
        object
    };
    stdout.lines().map(object).collect()
}

#[test]
fn a_power_object_has_operation_operand_and_result() {
    let server = real::power();
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("--json power square 2 -0 1e8 1e-3 {flags} --addr {server}")).assert_success(concat!(
            "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":-0.0,\"result\":0.0}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":100000000.0,\"result\":1e+16}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":0.001,\"result\":1e-06}\n",
        ));
    }
}

#[test]
fn numbers_have_the_format_of_the_wire() {
    let server = real::power();
    let texts = ["1000000000000000.0", "1e+16", "0.0001", "1e-05", "-0.0", "0.1", "5e-324", "1.7976931348623157e+308"];
    let object = |text| format!("{{\"schema\":1,\"op\":\"echo\",\"operand\":{text},\"result\":{text}}}\n");
    let objects = texts.map(object).concat();
    for flags in ["", "--framing eof", "--keep-alive"] {
        run(&format!("power echo {} --json {flags} --addr {server}", texts.join(" "))).assert_success(&objects);
    }
}

#[test]
fn an_error_reply_has_the_fields_of_its_request() {
    let server = real::power();
    let refused = format!(
        "\"error\":{{\"kind\":\"refused\",\"code\":\"RANGE\",\"message\":\"{server}: error reply: RANGE the square of \
         '1e+200' is beyond the largest double, 1.7976931348623157e+308\"}}"
    );
    let objects = format!(
        "{{\"schema\":1,\"op\":\"square\",\"operand\":1e+200,{refused}}}\n\
         {{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}}\n"
    );
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        let arguments = format!("power square 1e200 2 {flags} --addr {server}");
        run(&format!("{arguments} --json")).assert_failed(1, &objects, &[]);
        run(&arguments).assert_exit_code(1);
    }
}

#[test]
fn an_error_reply_has_the_code_of_the_wire() {
    for (reply, code) in [
        (&b"eBADOP what"[..], "BADOP"),
        (b"eBADNUM what", "BADNUM"),
        (b"eRANGE what", "RANGE"),
        (b"eTOOLONG what", "TOOLONG"),
        (b"eTIMEOUT what", "TIMEOUT"),
        (b"eBUSY what", "BUSY"),
    ] {
        let server = Fake::replying(reply);
        let error = format!(
            "\"error\":{{\"kind\":\"refused\",\"code\":\"{code}\",\"message\":\"{server}: error reply: {code} what\"}}}}\n"
        );
        // The other codes are about the connection, so the message names the operand.
        let quotes_operand = ["BADOP", "BADNUM", "RANGE"].contains(&code);
        let to = if quotes_operand { "error reply" } else { "error reply to 2.0" };
        let request = "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,".to_owned();
        let object = request + &error.replace("error reply", to);
        run(&format!("power square 2 --json --addr {server}")).assert_failed(1, &object, &[]);
        // A probe has no request fields.
        run(&format!("probe power --json --addr {server}")).assert_failed(
            1,
            &("{\"schema\":1,".to_owned() + &error),
            &[],
        );
    }
}

#[test]
fn moves_and_outcomes_have_names() {
    let server = Fake::replying_to_each_read(b"y");
    run(&format!("rps throw rock 布 --json --addr {server}")).assert_success(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"move\":\"paper\",\"outcome\":\"win\"}\n",
    ));
    client(&format!("rps play --best-of 3 --json --addr {server}")).run("r\np\ns\n").assert_success(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"move\":\"paper\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"score\":{\"won\":2,\"lost\":0,\"drawn\":0,\"void\":0},\"match\":\"won\"}\n",
    ));
}

#[test]
fn a_probe_object_has_service_address_and_latency() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_mins(10)));
    for (name, server) in [("power", &power), ("rps", &rps), ("duel", &duel)] {
        let finished = run(&format!("probe {name} --json --addr {server}"));
        let begin = format!("{{\"schema\":1,\"probe\":\"{name}\",\"address\":\"{server}\",\"latency_us\":");
        let took = finished.stdout.strip_prefix(&begin).and_then(|rest| rest.strip_suffix("}\n"));
        assert!(took.is_some_and(|took| took.parse::<u64>().is_ok()), "{finished:?}");
        finished.assert_success(&finished.stdout);
        run(&format!("probe {name} --json -q --addr {server}")).assert_success("");
    }
}

#[test]
fn a_probe_of_several_addresses_prints_an_object_for_each() {
    let (works, closed_port) = (real::duel(Duration::from_mins(10)), ReservedPort::new());
    let (exit_code, objects) = run_json(&format!("probe duel --addr {closed_port},{works}"), "");
    assert_eq!((exit_code, objects.len()), (Some(3), 2), "{objects:?}");
    assert_eq!(objects[0]["error"]["address"], json!(closed_port.to_string()), "{objects:?}");
    assert_eq!(objects[1]["address"], json!(works.to_string()), "{objects:?}");
}

#[test]
fn a_void_round_is_an_outcome_and_counts_in_the_score() {
    let server = real::duel(Duration::from_millis(300));
    let void = "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"void\"}\n";
    let score = "{\"schema\":1,\"score\":{\"won\":0,\"lost\":0,\"drawn\":0,\"void\":1}}\n";
    run(&format!("rps throw rock --duel --json --addr {server}")).assert_success(void);
    client(&format!("rps play --duel --json --addr {server}")).run("r\n").assert_success(&format!("{void}{score}"));
}

#[test]
fn objects_are_the_same_on_a_terminal_and_with_verbose() {
    let server = Fake::replying_to_each_read(b"y");
    let mut terminal = Terminal::start(client(&format!("rps play --json --addr {server}")));
    terminal.press("rock\n\x04");
    // Only the echo of the terminal comes before the outcome, and nothing between it and the score.
    assert_eq!(terminal.see(&format!("{WIN}{SCORE}").replace('\n', "\r\n")), "rock\r\n");
    assert_eq!(terminal.code(), Some(0));
    let traced = run(&format!("rps throw rock --json -v --addr {server}"));
    assert_eq!((traced.code, traced.stdout), (Some(0), WIN.to_owned()));
}

#[test]
fn an_interrupted_game_prints_its_score_and_other_commands_an_error() {
    let (rps, power) = (Fake::replying_to_each_read(b"y"), real::power());
    let interrupted = "{\"schema\":1,\"error\":{\"kind\":\"interrupted\",\"message\":\"interrupted by a signal\"}}\n";
    for (arguments, signal, last) in [
        (format!("rps play --addr {rps}"), None, SCORE),
        (format!("power square - --addr {power}"), Some(2), interrupted),
    ] {
        let mut running = client(&format!("{arguments} --json")).start();
        running.write_stdin("2\n");
        // After its first reply the client handles signals.
        let reply = running.next_line();
        running.interrupt();
        let finished = running.wait();
        assert_eq!((finished.signal, &finished.stdout), (signal, &(reply + last)), "{finished:?}");
    }
}

#[test]
fn an_invalid_input_line_is_reported_in_its_place() {
    let power = real::power();
    let (before, after, wrong) = (
        "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}\n",
        "{\"schema\":1,\"op\":\"square\",\"operand\":5.0,\"result\":25.0}\n\
         {\"schema\":1,\"op\":\"square\",\"operand\":3.0,\"result\":9.0}\n",
        "{\"schema\":1,\"error\":{\"kind\":\"usage\",\"message\":\"standard input, line 3: 'abc' is not a decimal number such as \
         2, -0.5 or 1e-3\"}}\n",
    );
    for flags in ["", "--keep-alive"] {
        let arguments = format!("power square - 3 {flags} --addr {power}");
        let objects = format!("{before}{wrong}{after}");
        client(&format!("{arguments} --json")).run("2\n\nabc\n5\n").assert_failed(2, &objects, &[]);
        client(&arguments).run("2\n\nabc\n5\n").assert_exit_code(2);
    }
    let house = Fake::replying_to_each_read(b"y");
    let wrong = "{\"schema\":1,\"error\":{\"kind\":\"usage\",\"message\":\"standard input, line 2: 'lizard' is not a move: \
                 scissors, rock or paper (s, r, p; 剪刀, 石头, 布; 1, 2, 3)\"}}\n";
    for (command, last) in [("throw -", ""), ("play", &*SCORE.replace("\"won\":1", "\"won\":2"))] {
        let finished = client(&format!("rps {command} --json --addr {house}")).run("r\nlizard\nr\n");
        finished.assert_failed(2, &format!("{WIN}{wrong}{WIN}{last}"), &[]);
    }
}

#[test]
fn a_broken_game_prints_its_score_before_the_error() {
    let lost = Fake::replying_to_each_read(b"z");
    client(&format!("rps play --best-of 1 --json --addr {lost}")).run("r\np\n").assert_success(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"lose\"}\n",
        "{\"schema\":1,\"score\":{\"won\":0,\"lost\":1,\"drawn\":0,\"void\":0},\"match\":\"lost\"}\n",
    ));
    let leaving = Fake::new(|stream| {
        read_some(stream)?;
        stream.write_all(b"x")?;
        // Wait for the second move, so that the close causes no reset.
        read_some(stream)?;
        Ok(Then::Close)
    });
    let closed = format!(
        "{{\"schema\":1,\"move\":\"paper\",\"outcome\":\"draw\"}}\n\
         {{\"schema\":1,\"score\":{{\"won\":0,\"lost\":0,\"drawn\":1,\"void\":0}}}}\n\
         {{\"schema\":1,\"error\":{{\"kind\":\"closed\",\"message\":\"{leaving}: the server closed the connection \
         before the reply; the outcome of the move is unknown\",\"address\":\"{leaving}\",\"phase\":\"reply\"}}}}\n"
    );
    client(&format!("rps play --json --addr {leaving}")).run("p\nr\n").assert_failed(5, &closed, &[]);
}

#[test]
fn a_usage_error_is_one_object_at_any_position_of_the_flag() {
    for (arguments, message) in [
        ("power square abc", "invalid value 'abc' for '<NUMBER>...': not a decimal number such as 2, -0.5 or 1e-3"),
        ("power square 2 --bogus", "unexpected argument '--bogus'"),
        ("power square", "missing: <NUMBER>..."),
        ("rps throw rock --timeout", "a value is required for '--timeout <DURATION>'"),
        ("probe power --lang de", "invalid value 'de' for '--lang <LANGUAGE>': one of en, zh"),
        ("completions csh", "invalid value 'csh' for '<SHELL>': one of bash, elvish, fish, powershell, zsh"),
        (
            "power square 2 --framing bare --keep-alive",
            "--keep-alive needs line framing: remove --framing, or use --framing line",
        ),
    ] {
        // A suggestion may follow the list of shells; this test ignores it.
        let object = format!("{{\"schema\":1,\"error\":{{\"kind\":\"usage\",\"message\":\"{message}");
        for line in [format!("--json {arguments}"), format!("{arguments} --json")] {
            let finished = run(&line);
            finished.assert_failed(2, &finished.stdout, &[]);
            assert!(finished.stdout.starts_with(&object), "{finished:?}");
            assert_eq!(objects(&finished.stdout).len(), 1, "{finished:?}");
        }
        run(arguments).assert_exit_code(2);
    }
    // An argument after `--` is not a flag, so the error is a text message.
    run("power square -- --json").assert_usage_error("'--json'");
}

#[test]
fn every_error_has_its_kind_and_keeps_its_exit_code() {
    let closed_port = ReservedPort::new();
    let silent = Fake::silent();
    let garbage = Fake::replying(b"220 hello");
    let resetting = Fake::resetting_after(read_some);
    let full = real::rps_with_max_connections(1);
    let _occupant = full.occupy("1");
    let full_power = real::power_with_max_connections(1);
    let _another = full_power.occupy("d1\n");
    let wrong = Fake::replying(b"d4.0");
    for (arguments, code, kind, phase) in [
        ("power square abc".to_owned(), 2, "usage", None),
        ("power square 2 --bogus".to_owned(), 2, "usage", None),
        ("power".to_owned(), 2, "usage", None),
        (format!("power square - --addr {closed_port}"), 2, "usage", None),
        (format!("power square 2 --addr {closed_port}"), 3, "refused", Some("connect")),
        (format!("rps throw rock --addr {closed_port}"), 3, "refused", Some("connect")),
        (format!("probe power --addr {closed_port}"), 3, "refused", Some("connect")),
        (format!("bench power --addr {closed_port}"), 3, "refused", Some("connect")),
        (format!("power square 2 --timeout 200ms --addr {silent}"), 4, "timeout", Some("reply")),
        (format!("rps throw rock --timeout 200ms --addr {silent}"), 4, "timeout", Some("reply")),
        (format!("probe duel --timeout 200ms --addr {silent}"), 4, "timeout", Some("reply")),
        (format!("power square 2 --addr {garbage}"), 5, "protocol", Some("reply")),
        (format!("probe power --addr {garbage}"), 5, "protocol", Some("reply")),
        (format!("rps throw rock --addr {resetting}"), 5, "reset", Some("reply")),
        (format!("power square 2 --addr {resetting}"), 5, "reset", Some("reply")),
        (format!("rps throw rock --addr {full}"), 1, "refused", Some("reply")),
        (format!("probe rps --addr {full}"), 1, "refused", Some("reply")),
        (format!("power square 2 --addr {full_power}"), 1, "refused", None),
        (format!("probe power --addr {wrong}"), 1, "wrong", None),
    ] {
        let (exit_code, objects) = run_json(&arguments, "abc\n");
        let error = &objects[0]["error"];
        assert_eq!(
            (exit_code, objects.len(), &error["kind"]),
            (Some(code), 1, &json!(kind)),
            "{arguments}: {objects:?}"
        );
        assert_eq!(error["phase"].as_str(), phase, "{arguments}: {objects:?}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{arguments}: {objects:?}");
        client(&arguments).run("abc\n").assert_exit_code(code);
    }
}

#[test]
fn a_connection_error_has_address_and_phase() {
    let closed_port = ReservedPort::new();
    let silent = Fake::silent();
    let garbage = Fake::replying(b"\"220\\");
    let resetting = Fake::resetting_after(read_some);
    let refused = "cannot connect: Connection refused (os error 111); nothing listens there: is the server running, and \
                   is the address right?";
    let reset = "the connection broke before the reply: Connection reset by peer (os error 104)";
    // The message contains the reply with escapes, which JSON escapes again.
    let protocol = r#"the server broke the protocol: '\\\"220\\\\' is not a valid reply of the power protocol"#;
    for (server, code, kind, message, phase) in [
        (closed_port.to_string(), 3, "refused", refused, "connect"),
        (silent.to_string(), 4, "timeout", "no reply within 200ms; --timeout sets how long to wait", "reply"),
        (resetting.to_string(), 5, "reset", reset, "reply"),
        (garbage.to_string(), 5, "protocol", protocol, "reply"),
    ] {
        let timeout = if kind == "timeout" { "200ms" } else { "60s" };
        let object = format!(
            "{{\"schema\":1,\"error\":{{\"kind\":\"{kind}\",\"message\":\"{server}: {message}\",\"address\":\"{server}\",\
             \"phase\":\"{phase}\"}}}}\n"
        );
        run(&format!("power square 2 --json --timeout {timeout} --addr {server}")).assert_failed(code, &object, &[]);
    }
}
