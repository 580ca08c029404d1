//! `check`: our servers and correct servers in Python pass, and each of many wrong servers is found and explained.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed setup fails the test")]

mod support;

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
    assert!(finished.stdout.ends_with("right as far as level robust can see\n"), "{}", finished.stdout);
    assert_passes(&format!("rps --level robust --addr {}", real::rps()));
    let window = Duration::from_secs(3);
    assert_passes(&format!("duel --level robust --window 3s --addr {}", real::duel(window)));
}

#[test]
fn the_window_of_a_duel_is_measured() {
    let duel = real::duel(Duration::from_millis(400));
    let finished = assert_passes(&format!("duel --addr {duel} --only void"));
    assert!(finished.stdout.starts_with("ok    2.3  window: the window is about 0."), "{}", finished.stdout);
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

/// A fault, the case that finds it, and a part of the likely mistake.
type Fault = (&'static str, &'static str, &'static str);

/// Checks that each wrong server is found by its case, and explained.
fn assert_found(service: &str, settings: &str, options: &str, faults: &[Fault]) {
    let next = AtomicUsize::new(0);
    let check = || {
        let mut missed = Vec::new();
        while let Some((fault, case, mistake)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let server = PythonServer::start(service, fault, settings);
            let name = if service == "solo" { "rps" } else { service };
            let arguments = format!("check {name} --only {case} --level robust --timeout 2s --json {options}");
            let finished = run(&format!("{arguments} --addr {}", server.address));
            let found = objects(&finished).into_iter().find(|object| object["case"] == *case);
            let is_explained = |case: &Value| {
                let likely = case["likely"].as_str().unwrap_or_default();
                case["result"] == "fail" && likely.contains(mistake) && likely.is_empty() == mistake.is_empty()
            };
            if finished.code != Some(1) || !found.as_ref().is_some_and(is_explained) {
                missed.push(format!("{fault}: {:?} {found:?}", finished.code));
            }
        }
        missed
    };
    // Most of them wait.
    let missed: Vec<_> = thread::scope(|scope| {
        let threads = [(); 6].map(|()| scope.spawn(check));
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread ends")).collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

TABLES
