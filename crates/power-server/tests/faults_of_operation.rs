//! The rows of FAULTS.md about machines and operators. Those about clients and networks are in `faults.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use proto::testing::TEST_TIMEOUT;
use proto::testing::blocking::{connect, exchange, expect, read_to_end};
use proto::testing::process::ChildProcess;
use proto::testing::program::ServerProcess;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::program::{BINARY, command, start};

/// Writes a configuration file.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn row_09_accepting_resumes_after_the_open_file_limit_was_reached() {
    let server = start(&["--set", "timeouts.request=1h", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    let files = server.open_files() as u64;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = prlimit(pid, Resource::Nofile, Rlimit { current: Some(files + 10), maximum }).unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| connect(server.address("power"))).collect();
    for client in &mut clients {
        client.write_all(b"a2").unwrap();
    }
    server.eventually(|server| server.log().contains("accept failed; backing off"), "logs the failed accept");
    prlimit(pid, Resource::Nofile, raised).unwrap();
    for client in &mut clients {
        expect(client, "d4.0");
    }
    assert!(server.metric("power_accept_errors_total{kind=\"exhausted\"}") > 0);
    drop(clients);
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_10_a_low_open_file_limit_fails_the_start_or_lowers_max_connections() {
    let with_files = |files: u32| {
        let program = BINARY.path;
        let script = format!("ulimit -n {files} && exec {program} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0");
        let mut command = Command::new("sh");
        command.current_dir(BINARY.folder).args(["-c", &script]);
        command
    };
    let failed = with_files(20).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let log = String::from_utf8(failed.stdout).unwrap();
    assert!(
        log.contains(
            "the open-file limit (ulimit -n is 20) leaves room for 0 connections: the server itself needs 160"
        ),
        "{log}"
    );
    let lowered = ServerProcess::start(&mut with_files(1024), &["power", "admin"]);
    assert!(lowered.log().contains("WARN") && lowered.log().contains("configured=10000 effective=864 open_files=1024"));
    assert_eq!(lowered.metric("power_connections_max"), 864);
    lowered.signal("HUP");
    lowered.eventually(|server| server.log().contains("config reloaded: no changes"), "reloads");
    assert_eq!(lowered.metric("power_connections_max"), 864);
    assert_eq!(exchange(lowered.address("power"), b"a2"), "d4.0");
    lowered.stop();
}

#[test]
fn row_16_a_signal_drains_and_every_request_gets_its_reply() {
    for signal in ["TERM", "INT"] {
        let server = start(&[]);
        let power = server.address("power");
        let clients: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(move || {
                    let mut replied = 0_u32;
                    while let Ok(mut stream) = TcpStream::connect(power) {
                        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                        stream.write_all(b"a2").unwrap();
                        stream.shutdown(Shutdown::Write).unwrap();
                        assert_eq!(read_to_end(&mut stream), "d4.0");
                        replied += 1;
                    }
                    replied
                })
            })
            .collect();
        server.eventually(|server| server.metric("power_connections_total{result=\"accepted\"}") > 500, "has load");
        // The drain waits for a partial request, so the test can observe the drain.
        let mut partial = connect(power);
        partial.write_all(b"a").unwrap();
        server.signal(signal);
        server.eventually(|server| server.get("/readyz") == Some((503, "draining\n".to_owned())), "is not ready");
        assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
        partial.write_all(b"3").unwrap();
        expect(&mut partial, "d9.0");
        let replied: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let (code, log) = server.wait_for_exit();
        assert_eq!(code, Some(0));
        assert!(log.contains(&format!("stopped accepted={} rejected=0 panicked=0 aborted=0", replied + 1)), "{log}");
    }
}

#[test]
fn row_16_a_second_signal_aborts_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let server =
            start(&["--set", "timeouts.request=1h", "--set", "timeouts.idle=1h", "--set", "timeouts.drain=1h"]);
        let mut partial = connect(server.address("power"));
        partial.write_all(b"a").unwrap();
        server.eventually(|server| server.metric("power_connections") == 1, "has a connection");
        server.signal("TERM");
        server.eventually(|server| server.get("/readyz").is_some_and(|(status, _)| status == 503), "drains");
        server.signal_until_abort(signal);
        let (ended, log) = server.wait_for_exit();
        assert_eq!(ended, Some(code));
        assert!(log.contains(&format!("aborted by second signal signal=\"SIG{signal}\"")), "{log}");
    }
}

#[test]
fn row_16_before_the_server_runs_sighup_is_caught_and_other_signals_end_the_process() {
    for (signal, code) in [("HUP", Some(0)), ("TERM", None), ("INT", None)] {
        // A health check runs between the reading of the configuration and the start of the server. The test is its
        // server, so the time of the signal is known.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut check = ChildProcess::start(&mut command(&["--listen", &address, "--healthcheck"]));
        let (mut stream, _) = listener.accept().unwrap();
        check.signal(signal);
        // Reads until the half-close, or until the process exits.
        read_to_end(&mut stream);
        let _ = stream.write_all(b"d1.0");
        drop(stream);
        assert_eq!(check.wait(), code, "SIG{signal}");
    }
}

/// Returns free addresses, for a server whose log the test cannot read. No other test uses this IP address, so they
/// stay free.
fn free_addresses() -> [SocketAddr; 2] {
    let bound = [(); 2].map(|()| TcpListener::bind("127.0.0.17:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap())
}

fn start_with_log_to(output: impl Into<Stdio>, error: impl Into<Stdio>) -> ServerProcess {
    let [power, admin] = free_addresses();
    let (power_text, admin_text) = (power.to_string(), admin.to_string());
    let mut command = command(&["--log-level", "trace", "--listen", &power_text, "--admin-listen", &admin_text]);
    ServerProcess::start_at(command.stdout(output).stderr(error), &[("power", power), ("admin", admin)])
}

#[test]
fn row_17_a_log_that_cannot_be_written_delays_no_reply() {
    // A pipe whose read end is closed, a full pipe, and a full disk.
    let (gone, closed) = std::io::pipe().unwrap();
    drop(gone);
    let (_unread, full) = std::io::pipe().unwrap();
    let full_disk = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (output, what) in
        [(Stdio::from(closed), "closed"), (Stdio::from(full), "unread"), (Stdio::from(full_disk), "full")]
    {
        let mut server = start_with_log_to(output, Stdio::null());
        let baseline = server.baseline();
        // At trace level each connection logs about 100 bytes; a pipe holds 64 KiB (pipe(7)).
        for _ in 0..2_000 {
            assert_eq!(exchange(server.address("power"), b"a2"), "d4.0", "{what}");
        }
        server.returns_to(baseline, "power");
        if what != "unread" {
            // The thread that writes the log runs later.
            server.eventually(|server| server.metric("power_log_lines_dropped_total") >= 2_000, what);
        }
        assert!(server.is_running());
        server.stop();
    }
}

#[test]
fn row_18_an_invalid_configuration_fails_the_start_and_is_rejected_at_a_reload() {
    let path = file("row-18.toml", "[limits]\nmax_connections = 7\n");
    let server = start(&["--config", path.to_str().unwrap()]);
    let baseline = server.baseline();
    let bad = [
        ("limits", ":1: limits: this is a table, not one value: set limits.backlog, "),
        (
            "limits.max_connections = 0",
            ":1: limits.max_connections: invalid value: integer `0`, expected a whole number from 1",
        ),
        (
            "[limits]\nmax_connections = \"7\"",
            ":2: limits.max_connections: invalid type: string \"7\", expected a whole number",
        ),
        ("[limits]\n\nmax_conns = 7", ":3: limits.max_conns: unknown key; the keys here are limits.backlog, "),
        (
            "[timeouts]\nidle = \"5\"",
            ":2: timeouts.idle: invalid value: string \"5\", expected a duration with its unit",
        ),
        ("[timeouts]\nidle = \"0s\"", ":2: timeouts.idle: invalid value: string \"0s\""),
        (
            "[framing]\nsettle = \"9s\"",
            ":2: framing.settle: the settle time 9s is not shorter than the request timeout 5s",
        ),
        ("limits.max_connections_per_ip = 20000", "set it to at most limits.max_connections"),
        ("[log]\nlevel = \"loud\"", ":2: log.level: unknown variant `loud`, expected one of `error`, `warn`"),
        (
            "listen = \"localhost\"",
            ":1: listen: invalid value: string \"localhost\" (the port is missing or invalid), expected",
        ),
        ("workers = 1\nworkers = 2", ":2: not valid TOML: duplicate key"),
        ("[limits", ":1: not valid TOML: "),
        ("\u{0}", ":1: not valid TOML: "),
    ];
    for (text, message) in bad {
        let text = if text == "limits" { "limits = 1" } else { text };
        file("row-18.toml", text);
        let failed = command(&["--config", path.to_str().unwrap()]).output().unwrap();
        let stderr = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(2), "{text}: {stderr}");
        assert!(failed.stdout.is_empty(), "the log has not started");
        assert!(stderr.contains("row-18.toml") || message.starts_with("set"), "{text}: {stderr}");
        assert!(stderr.contains(message), "{text}: {stderr}");

        server.reload("power", "rejected");
        server.eventually(|server| server.log().contains(&message.replace('"', "\\\"")), message);
        assert_eq!(server.metric("power_connections_max"), 7);
    }
    std::fs::remove_file(&path).unwrap();
    server.signal("HUP");
    server.eventually(|server| server.log().contains("No such file"), "logs that the file is missing");
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_19_a_restart_binds_its_address_despite_connections_in_time_wait() {
    let server = start(&[]);
    let power = server.address("power");
    for _ in 0..50 {
        // The server closes first after an error reply to a bare request, so TIME_WAIT is on its side.
        let mut stream = connect(power);
        stream.write_all(b"x").unwrap();
        assert!(read_to_end(&mut stream).starts_with("eBADOP"));
    }
    server.stop();
    let again = start(&["--listen", &power.to_string()]);
    assert_eq!(again.address("power"), power);
    assert_eq!(exchange(power, b"a2"), "d4.0");
    again.stop();
}

/// Returns the text of a configuration file with this number of errors.
fn unknown_keys(count: u32) -> String {
    (0..count).map(|number| format!("k{number} = 1\n")).collect::<Vec<_>>().concat()
}

/// Starts the program with this configuration file, and returns the error after its exit with 2.
fn rejected_at_start(path: &Path) -> String {
    let mut command = command(&["--config", path.to_str().unwrap()]);
    let mut failed = ChildProcess::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    assert_eq!(failed.wait(), Some(2), "{}", path.display());
    failed.stderr.wait_for_end()
}

#[test]
fn row_30_a_configuration_that_is_no_regular_file_is_rejected() {
    // The symbolic links of a Kubernetes ConfigMap; an update replaces that of the folder.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("row-30");
    let _ = std::fs::remove_dir_all(&folder);
    for (version, limit) in [("v1", 7), ("v2", 8)] {
        std::fs::create_dir_all(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("c.toml"), format!("limits.max_connections = {limit}\n")).unwrap();
    }
    let link = |target: &str, path: &Path| {
        let new = folder.join("new");
        symlink(target, &new).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    let (data, path) = (folder.join("..data"), folder.join("c.toml"));
    link("v1", &data);
    link("..data/c.toml", &path);
    let server = start(&["--config", path.to_str().unwrap()]);
    let baseline = server.baseline();
    assert_eq!(server.metric("power_connections_max"), 7);
    link("v2", &data);
    server.reload("power", "ok");
    assert_eq!(server.metric("power_connections_max"), 8);

    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (target, kind) in [("pipe", "pipe"), ("v1", "directory"), ("/dev/zero", "device")] {
        link(target, &path);
        let message = format!("it is a {kind}; it must be a regular file");
        let error = rejected_at_start(&path);
        assert!(error.contains("--config: cannot read ") && error.contains(&message), "{error}");
        server.reload("power", "rejected");
        server.eventually(|server| server.log().contains(&message), &message);
        assert_eq!(server.metric("power_connections_max"), 8);
    }
    link("/dev/null", &path);
    server.reload("power", "ok");
    assert_eq!(server.metric("power_connections_max"), 10_000);
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_30_a_file_full_of_errors_is_rejected_with_the_first_20() {
    let path = file("row-30.toml", "");
    let server = start(&["--config", path.to_str().unwrap()]);
    let keys = unknown_keys(90_000);
    // The error quotes the value, with each backslash escaped. The log can hold 1 MiB.
    let value = format!("listen = '{}'\nworkers = -1\n", "\\".repeat(600_000));
    for (text, lines, last) in [
        (keys, 22, "and 89980 more"),
        (value, 3, "row-30.toml:2: workers: invalid value: integer `-1`, expected a whole number from 0 to 1024"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = rejected_at_start(&path);
        assert!(error.lines().count() == lines && error.lines().last().unwrap().ends_with(last), "{error}");
        assert!(error.len() < 32 * 1024, "{} bytes", error.len());
        server.reload("power", "rejected");
        server.eventually(|server| server.log().contains(last), last);
        assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    }
    assert_eq!(server.metric("power_log_lines_dropped_total"), 0);
    server.stop();
}

#[test]
fn row_32_a_line_torn_by_a_full_disk_ends_before_the_next_line() {
    let config = file("row-32.toml", "");
    let path = file("row-32.log", "");
    let log = || std::fs::read_to_string(&path).unwrap();
    let [power, admin] = free_addresses();
    let (power_text, admin_text) = (power.to_string(), admin.to_string());
    // A limit on the file's size stands for a full disk: both take a part of a write, and then nothing. The limit also
    // sends SIGXFSZ, which the shell has the program ignore.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY.path, "--config", config.to_str().unwrap()]);
    command.args(["--listen", &power_text, "--admin-listen", &admin_text]).current_dir(BINARY.folder);
    command.stdout(std::fs::File::create(&path).unwrap());
    let server = ServerProcess::start_at(&mut command, &[("power", power), ("admin", admin)]);
    let listening = |log: &str| log.ends_with('\n') && log.contains("service=\"admin\"");
    server.eventually(|_| listening(&log()), "logs its start");

    let before = log();
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let full = Rlimit { current: Some(before.len() as u64 + 10), maximum };
    let unlimited = prlimit(pid, Resource::Fsize, full).unwrap();
    // Errors of more than the 1 KiB that a buffered output would keep for later.
    std::fs::write(&config, unknown_keys(20)).unwrap();
    server.reload("power", "rejected");
    server.eventually(|server| server.metric("power_log_lines_dropped_total") == 1, "drops the line");
    assert_eq!(log().len(), before.len() + 10);

    prlimit(pid, Resource::Fsize, unlimited).unwrap();
    std::fs::write(&config, "").unwrap();
    server.reload("power", "ok");
    server.eventually(|_| log().contains("log lines dropped"), "reports the dropped line");
    let text = log();
    let lines: Vec<_> = text[before.len()..].lines().collect();
    assert!(lines[0].len() == 10 && lines[1].ends_with("config reloaded: no changes"), "{lines:?}");
    assert!(lines[2].contains("log lines dropped: the log is not read or cannot be written dropped=1"), "{lines:?}");
    assert_eq!(lines.len(), 3);
    assert_eq!(exchange(power, b"a2"), "d4.0");
    server.stop();
}
