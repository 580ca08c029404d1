//! `--json`: every answer and every failure is an object on a line of standard output, and exit codes stay as they are.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use serde_json::{Value, json};
use support::fake::{Fake, hear};
use support::real::Reserved;
use support::{client, real, run};

/// What a command tells in objects, and its exit code. It tells nothing else.
#[track_caller]
fn told(arguments: &str, input: &str) -> (Option<i32>, Vec<Value>) {
    let finished = client(&format!("{arguments} --json")).run(input);
    assert_eq!(finished.stderr, "", "{arguments}");
    let objects = finished.stdout.lines().map(|line| {
        assert!(line.starts_with("{\"schema\":1,"), "{line}");
        serde_json::from_str(line).expect("it is an object")
    });
    (finished.code, objects.collect())
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
fn a_refusal_is_told_among_the_answers_with_what_was_asked() {
    let server = real::power();
    for flags in ["", "--keep-alive"] {
        let (code, objects) = told(&format!("power cube 1e200 2 {flags} --addr {server}"), "");
        assert_eq!((code, objects.len()), (Some(1), 2));
        assert_eq!((&objects[0]["op"], &objects[0]["operand"]), (&json!("cube"), &json!(1e200)));
        assert_eq!((&objects[0]["error"]["kind"], &objects[0]["error"]["code"]), (&json!("refused"), &json!("RANGE")));
        assert_eq!(objects[1]["result"], json!(8.0));
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
    let (power, rps) = (real::power(), real::rps());
    for (name, server) in [("power", &power), ("rps", &rps)] {
        let (code, objects) = told(&format!("probe {name} --addr {server}"), "");
        assert_eq!((code, objects.len()), (Some(0), 1));
        assert_eq!((&objects[0]["probe"], &objects[0]["address"]), (&json!(name), &json!(server.to_string())));
        assert!(objects[0]["latency_us"].is_u64(), "{objects:?}");
    }
}

#[test]
fn every_failure_is_told_by_its_kind_and_keeps_its_exit_code() {
    let nobody = Reserved::new();
    let silent = Fake::silent();
    let garbage = Fake::answering(b"220 hello");
    let resetting = Fake::resetting_after(hear);
    let full = real::rps_with_room_for::<1>();
    let _occupant = full.occupy("1");
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
        (format!("power square 2 --addr {garbage}"), 5, "protocol", Some("reply")),
        (format!("rps throw rock --addr {resetting}"), 5, "reset", Some("reply")),
        (format!("rps throw rock --addr {full}"), 1, "refused", Some("reply")),
    ] {
        let (ended, objects) = told(&arguments, "abc\n");
        let error = &objects[0]["error"];
        assert_eq!((ended, objects.len(), &error["kind"]), (Some(code), 1, &json!(kind)), "{arguments}: {objects:?}");
        assert_eq!(error["phase"].as_str(), phase, "{arguments}: {objects:?}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{arguments}: {objects:?}");
        client(&arguments).run("abc\n").assert_ended(code);
    }
}
