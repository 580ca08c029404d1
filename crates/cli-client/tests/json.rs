//! `--json`: every answer and every failure is an object on a line of standard output, and exit codes stay as they are.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use support::fake::{Fake, Then, hear};
use support::real::Reserved;
use support::terminal::Terminal;
use support::{client, real, run};

/// A round that is won with a rock.
const WIN: &str = "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n";

/// The score after that round alone.
const SCORE: &str = "{\"schema\":1,\"score\":{\"won\":1,\"lost\":0,\"drawn\":0,\"void\":0}}\n";

/// What a command tells in objects, and its exit code. It tells nothing else.
#[track_caller]
fn told(arguments: &str, input: &str) -> (Option<i32>, Vec<Value>) {
    let finished = client(&format!("{arguments} --json")).run(input);
    assert_eq!(finished.stderr, "", "{arguments}");
    (finished.code, objects(&finished.stdout))
}

/// The objects on standard output, of which each has a line of its own and says first what it is to be read by.
#[track_caller]
fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout:?}");
    let object = |line: &str| {
        assert!(line.starts_with("{\"schema\":1,"), "{line}");
        let object: Value = serde_json::from_str(line).expect("it is an object");
        assert!(object.is_object(), "{line}");
        object
    };
    stdout.lines().map(object).collect()
}

#[test]
fn powers_are_told_with_the_numbers_of_the_wire() {
    let server = real::power();
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("--json power square 2 -0 1e8 1e-3 {flags} --addr {server}")).assert_done(concat!(
            "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":-0.0,\"result\":0.0}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":100000000.0,\"result\":1e+16}\n",
            "{\"schema\":1,\"op\":\"square\",\"operand\":0.001,\"result\":1e-06}\n",
        ));
    }
}

#[test]
fn numbers_are_written_as_the_wire_writes_them() {
    let server = real::power();
    let texts = ["1000000000000000.0", "1e+16", "0.0001", "1e-05", "-0.0", "0.1", "5e-324", "1.7976931348623157e+308"];
    let object = |text| format!("{{\"schema\":1,\"op\":\"echo\",\"operand\":{text},\"result\":{text}}}\n");
    let objects = texts.map(object).concat();
    for flags in ["", "--framing eof", "--keep-alive"] {
        run(&format!("power echo {} --json {flags} --addr {server}", texts.join(" "))).assert_done(&objects);
    }
}

#[test]
fn a_refusal_is_told_among_the_answers_with_what_was_asked() {
    let server = real::power();
    let refused = format!(
        "\"error\":{{\"kind\":\"refused\",\"code\":\"RANGE\",\"message\":\"{server}: the server refused: RANGE the square of \
         '1e+200' is beyond the largest double, 1.7976931348623157e+308\"}}"
    );
    let objects = format!(
        "{{\"schema\":1,\"op\":\"square\",\"operand\":1e+200,{refused}}}\n\
         {{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}}\n"
    );
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        let arguments = format!("power square 1e200 2 {flags} --addr {server}");
        run(&format!("{arguments} --json")).assert_failed(1, &objects, &[]);
        run(&arguments).assert_ended(1);
    }
}

#[test]
fn a_refusal_is_told_by_the_code_of_the_wire() {
    for (reply, code) in [
        (&b"eBADOP what"[..], "BADOP"),
        (b"eBADNUM what", "BADNUM"),
        (b"eRANGE what", "RANGE"),
        (b"eTOOLONG what", "TOOLONG"),
        (b"eTIMEOUT what", "TIMEOUT"),
        (b"eBUSY what", "BUSY"),
    ] {
        let server = Fake::answering(reply);
        let error = format!(
            "\"error\":{{\"kind\":\"refused\",\"code\":\"{code}\",\"message\":\"{server}: the server refused: {code} what\"}}}}\n"
        );
        let asked = "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,";
        run(&format!("power square 2 --json --addr {server}")).assert_failed(1, &(asked.to_owned() + &error), &[]);
        // A probe has asked for nothing that a script has to be reminded of.
        run(&format!("probe power --json --addr {server}")).assert_failed(
            1,
            &("{\"schema\":1,".to_owned() + &error),
            &[],
        );
    }
}

#[test]
fn moves_and_their_outcomes_are_told_by_their_names() {
    let server = Fake::answering_each_read(b"y");
    run(&format!("rps throw rock 布 --json --addr {server}")).assert_done(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"move\":\"paper\",\"outcome\":\"win\"}\n",
    ));
    client(&format!("rps play --best-of 3 --json --addr {server}")).run("r\np\ns\n").assert_done(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"move\":\"paper\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"score\":{\"won\":2,\"lost\":0,\"drawn\":0,\"void\":0},\"match\":\"won\"}\n",
    ));
}

#[test]
fn a_probe_tells_where_what_works_and_how_long_it_took() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_mins(10)));
    for (name, server) in [("power", &power), ("rps", &rps), ("duel", &duel)] {
        let finished = run(&format!("probe {name} --json --addr {server}"));
        let begin = format!("{{\"schema\":1,\"probe\":\"{name}\",\"address\":\"{server}\",\"latency_us\":");
        let took = finished.stdout.strip_prefix(&begin).and_then(|rest| rest.strip_suffix("}\n"));
        assert!(took.is_some_and(|took| took.parse::<u64>().is_ok()), "{finished:?}");
        finished.assert_done(&finished.stdout);
        run(&format!("probe {name} --json -q --addr {server}")).assert_done("");
    }
}

#[test]
fn a_void_round_is_told_as_an_outcome_and_in_the_score() {
    let server = real::duel(Duration::from_millis(300));
    let void = "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"void\"}\n";
    let score = "{\"schema\":1,\"score\":{\"won\":0,\"lost\":0,\"drawn\":0,\"void\":1}}\n";
    run(&format!("rps throw rock --duel --json --addr {server}")).assert_done(void);
    client(&format!("rps play --duel --json --addr {server}")).run("r\n").assert_done(&format!("{void}{score}"));
}

#[test]
fn a_terminal_gets_the_same_objects_without_a_prompt_and_a_way_changes_none() {
    let server = Fake::answering_each_read(b"y");
    let mut person = Terminal::start(client(&format!("rps play --json --addr {server}")));
    person.press("rock\n\x04");
    // Nothing but what the terminal echoes stands before the outcome, and nothing between it and the score.
    assert_eq!(person.see(&format!("{WIN}{SCORE}").replace('\n', "\r\n")), "rock\r\n");
    assert_eq!(person.code(), Some(0));
    let traced = run(&format!("rps throw rock --json -v --addr {server}"));
    assert_eq!((traced.code, traced.stdout), (Some(0), WIN.to_owned()));
}

#[test]
fn a_game_that_is_interrupted_has_its_score_and_another_command_says_that_it_was() {
    let (rps, power) = (Fake::answering_each_read(b"y"), real::power());
    let interrupted = "{\"schema\":1,\"error\":{\"kind\":\"interrupted\",\"message\":\"asked to end by a signal\"}}\n";
    for (arguments, code, last) in
        [(format!("rps play --addr {rps}"), 0, SCORE), (format!("power square - --addr {power}"), 130, interrupted)]
    {
        let mut running = client(&format!("{arguments} --json")).start();
        running.type_in("2\n");
        // A client that has answered is past its start, and so minds signals.
        let answer = running.next_line();
        running.interrupt();
        running.wait().assert_failed(code, &(answer + last), &[]);
    }
}

#[test]
fn a_line_of_input_that_is_wrong_is_told_after_what_came_before_it() {
    let power = real::power();
    let (four, wrong) = (
        "{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}\n",
        "{\"schema\":1,\"error\":{\"kind\":\"usage\",\"message\":\"standard input, line 3: 'abc' is not a decimal number such as \
         2, -0.5 or 1e-3\"}}\n",
    );
    for flags in ["", "--keep-alive"] {
        let arguments = format!("power square - 3 {flags} --addr {power}");
        client(&format!("{arguments} --json")).run("2\n\nabc\n5\n").assert_failed(2, &(four.to_owned() + wrong), &[]);
        client(&arguments).run("2\n\nabc\n5\n").assert_ended(2);
    }
    let house = Fake::answering_each_read(b"y");
    let wrong = "{\"schema\":1,\"error\":{\"kind\":\"usage\",\"message\":\"standard input, line 2: 'lizard' is not a move: \
                 scissors, rock or paper (s, r, p; 剪刀, 石头, 布; 1, 2, 3)\"}}\n";
    for (command, between) in [("throw -", ""), ("play", SCORE)] {
        let finished = client(&format!("rps {command} --json --addr {house}")).run("r\nlizard\n");
        finished.assert_failed(2, &format!("{WIN}{between}{wrong}"), &[]);
    }
}

#[test]
fn a_game_that_is_lost_or_breaks_off_has_its_score_before_what_went_wrong() {
    let lost = Fake::answering_each_read(b"z");
    client(&format!("rps play --best-of 1 --json --addr {lost}")).run("r\np\n").assert_done(concat!(
        "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"lose\"}\n",
        "{\"schema\":1,\"score\":{\"won\":0,\"lost\":1,\"drawn\":0,\"void\":0},\"match\":\"lost\"}\n",
    ));
    let leaving = Fake::new(|stream| {
        hear(stream)?;
        stream.write_all(b"x")?;
        // Not before the second move is there to be read: the connection then ends without a reset.
        hear(stream)?;
        Ok(Then::Close)
    });
    let closed = format!(
        "{{\"schema\":1,\"move\":\"paper\",\"outcome\":\"draw\"}}\n\
         {{\"schema\":1,\"score\":{{\"won\":0,\"lost\":0,\"drawn\":1,\"void\":0}}}}\n\
         {{\"schema\":1,\"error\":{{\"kind\":\"closed\",\"message\":\"{leaving}: the server has closed the connection: \
         idle timeout or shutdown\",\"address\":\"{leaving}\",\"phase\":\"reply\"}}}}\n"
    );
    client(&format!("rps play --json --addr {leaving}")).run("p\nr\n").assert_failed(5, &closed, &[]);
}

#[test]
fn what_is_wrong_with_the_arguments_is_told_in_one_object_wherever_the_flag_stands() {
    for (arguments, message) in [
        ("power square abc", "invalid value 'abc' for '<NUMBER>...': not a decimal number such as 2, -0.5 or 1e-3"),
        ("power square 2 --bogus", "unexpected argument '--bogus'"),
        ("power square", "these are required: <NUMBER>..."),
        ("rps throw rock --timeout", "a value is required for '--timeout <DURATION>'"),
        ("probe power --lang de", "invalid value 'de' for '--lang <LANGUAGE>': one of en, zh"),
        ("completions csh", "invalid value 'csh' for '<SHELL>': one of bash, elvish, fish, powershell, zsh"),
        (
            "power square 2 --framing bare --keep-alive",
            "--keep-alive needs lines: leave --framing out, or make it line",
        ),
    ] {
        // A shell may be suggested behind the list of them, which is not for this test to say.
        let told_so = format!("{{\"schema\":1,\"error\":{{\"kind\":\"usage\",\"message\":\"{message}");
        for line in [format!("--json {arguments}"), format!("{arguments} --json")] {
            let finished = run(&line);
            finished.assert_failed(2, &finished.stdout, &[]);
            assert!(finished.stdout.starts_with(&told_so), "{finished:?}");
            assert_eq!(objects(&finished.stdout).len(), 1, "{finished:?}");
        }
        run(arguments).assert_ended(2);
    }
    // What comes after two dashes is no flag, and what is wrong with it is told to a person.
    run("power square -- --json").assert_misused("'--json'");
}

#[test]
fn every_failure_is_told_by_its_kind_and_keeps_its_exit_code() {
    let nobody = Reserved::new();
    let silent = Fake::silent();
    let garbage = Fake::answering(b"220 hello");
    let resetting = Fake::resetting_after(hear);
    let full = real::rps_with_room_for(1);
    let _occupant = full.occupy("1");
    let full_power = real::power_with_room_for(1);
    let _another = full_power.occupy("d1\n");
    let wrong = Fake::answering(b"d4.0");
    for (arguments, code, kind, phase) in [
        ("power square abc".to_owned(), 2, "usage", None),
        ("power square 2 --bogus".to_owned(), 2, "usage", None),
        ("power".to_owned(), 2, "usage", None),
        (format!("power square - --addr {nobody}"), 2, "usage", None),
        (format!("power square 2 --addr {nobody}"), 3, "refused", Some("connect")),
        (format!("rps throw rock --addr {nobody}"), 3, "refused", Some("connect")),
        (format!("probe power --addr {nobody}"), 3, "refused", Some("connect")),
        (format!("bench power --addr {nobody}"), 3, "refused", Some("connect")),
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
        let (ended, objects) = told(&arguments, "abc\n");
        let error = &objects[0]["error"];
        assert_eq!((ended, objects.len(), &error["kind"]), (Some(code), 1, &json!(kind)), "{arguments}: {objects:?}");
        assert_eq!(error["phase"].as_str(), phase, "{arguments}: {objects:?}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{arguments}: {objects:?}");
        client(&arguments).run("abc\n").assert_ended(code);
    }
}

#[test]
fn a_failure_of_a_connection_is_told_with_its_address_and_phase() {
    let nobody = Reserved::new();
    let silent = Fake::silent();
    let garbage = Fake::answering(b"\"220\\");
    let resetting = Fake::resetting_after(hear);
    let refused = "cannot connect: Connection refused (os error 111); nothing listens there: is the server running, and \
                   is this its address?";
    let reset = "the connection broke before the reply: Connection reset by peer (os error 104)";
    // What the server said is shown with escapes, which JSON escapes once more.
    let protocol = r#"the server broke the protocol: '\\\"220\\\\' is not a valid reply of the power protocol"#;
    for (server, code, kind, message, phase) in [
        (nobody.to_string(), 3, "refused", refused, "connect"),
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
