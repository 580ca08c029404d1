//! `scripts/pass_sockets.py`, which passes listening sockets to the programs of other tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Stdio};

use proto::testing::blocking::{connect, connect_unix, read_to_end};
use proto::testing::process::{ChildProcess, run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/pass_sockets.py");

/// Replies to each connection with its process ID and its variables. With an argument, its first run accepts none.
const STUB: &str = "
import os, select, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
count = int(os.environ['LISTEN_FDS'])
assert os.environ['LISTEN_PID'] == str(os.getpid()) and count == 3
listeners = [socket.socket(fileno=number) for number in range(3, 3 + count)]
if sys.argv[1:] and not os.path.exists(sys.argv[1]):
    open(sys.argv[1], 'w').close()
    listeners = []
print('ready', flush=True)
while True:
    for listener in select.select(listeners, [], [])[0]:
        connection, _ = listener.accept()
        connection.sendall((str(os.getpid()) + ' ' + os.environ['LISTEN_FDNAMES']).encode())
        connection.close()
";

/// Runs the stub with two TCP sockets and a Unix socket, and returns it with the endpoints of the sockets.
fn start(options: &[&str], socket: &str, arguments: &[&str]) -> (ChildProcess, Vec<String>) {
    let mut command = Command::new("python3");
    command.arg(SCRIPT).args(options).args(["web=127.0.0.1:0", "web=127.0.0.1:0", &format!("local=unix:{socket}")]);
    command.args(["--", "python3", "-c", STUB]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = ChildProcess::start(&mut command);
    let endpoints = process.stderr.wait_for("three endpoints", |text| {
        let lines: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap().1.to_owned()).collect();
        (lines.len() == 3 && text.ends_with('\n')).then_some(lines)
    });
    (process, endpoints)
}

fn read(endpoint: &str) -> String {
    read_to_end(&mut connect(endpoint.parse().unwrap()))
}

#[test]
#[ignore = "needs python3"]
fn python_passes_sockets_to_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (process, endpoints) = start(&[], path.to_str().unwrap(), &[]);
    assert_eq!(endpoints[2], format!("unix:{}", path.display()));
    let expected = format!("{} web:web:local", process.id());
    for endpoint in &endpoints[..2] {
        assert_eq!(read(endpoint), expected);
    }
    assert_eq!(read_to_end(&mut connect_unix(&path)), expected);
}

#[test]
#[ignore = "needs python3"]
fn python_keeps_sockets_open_during_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (path, marker) = (folder.path().join("socket"), folder.path().join("marker"));
    let (mut process, endpoints) = start(&["--restart", "2"], path.to_str().unwrap(), &[marker.to_str().unwrap()]);
    let started = |process: &ChildProcess, run: usize| {
        let text = process.stdout.wait_for("a run", |text| {
            (text.matches("ready\n").count() == run && text.matches("started ").count() == run).then(|| text.to_owned())
        });
        text.lines().filter_map(|line| line.strip_prefix("started ")).next_back().unwrap().to_owned()
    };
    let first = started(&process, 1);
    let waiting = [&endpoints[0], &endpoints[1]].map(|endpoint| connect(endpoint.parse().unwrap()));
    let mut waiting_locally = connect_unix(&path);
    process.write("\n");
    let second = started(&process, 2);
    assert_ne!(first, second);
    for mut stream in waiting {
        assert_eq!(read_to_end(&mut stream), format!("{second} web:web:local"));
    }
    assert_eq!(read_to_end(&mut waiting_locally), format!("{second} web:web:local"));
    process.write("\n");
    let third = started(&process, 3);
    assert_eq!(read(&endpoints[1]), format!("{third} web:web:local"));
    drop(process.take_stdin());
    assert_eq!(process.wait(), Some(0), "{:?}", process.stderr);
    assert!(!fs::exists(path).unwrap());
}

#[test]
#[ignore = "needs python3"]
fn python_names_a_command_or_an_endpoint_that_does_not_work() {
    for (arguments, code, message) in [
        (&["a=127.0.0.1:0", "--", "/nowhere"][..], 127, "cannot run /nowhere: No such file or directory"),
        (&["--restart", "0", "a=127.0.0.1:0", "--", "false"], 1, ""),
        (&["a=nowhere", "--", "true"], 1, "cannot listen on nowhere: not HOST:PORT or unix:PATH"),
        (&["a", "--", "true"], 2, "a: write NAME=ENDPOINT"),
        (&["a=127.0.0.1:0"], 2, "write the command after --"),
    ] {
        let exit = run(Command::new("python3").arg(SCRIPT).args(arguments), "");
        let stderr = exit.stderr;
        assert_eq!(exit.code, Some(code), "{arguments:?} {stderr}");
        assert!(stderr.contains(message), "{stderr}");
    }
}
