//! The notifications to the service manager.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::path::Path;

use proto::testing::blocking::{connect, connect_with_small_buffers, read_to_end};
use proto::testing::program::ServerProcess;
use proto::testing::service_manager::{NotifySocket, WATCHDOG};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::program::{BINARY, command};

/// A watchdog timeout in microseconds, short enough for many notifications in a test. No test depends on their rate.
const WATCHDOG_USEC: u64 = 100_000;

fn start(manager: &NotifySocket, watchdog: Option<u64>, arguments: &[&str]) -> ServerProcess {
    ServerProcess::start(manager.manage(&mut command(arguments), watchdog), BINARY.services)
}

#[test]
fn the_manager_gets_the_start_each_reload_and_the_stop() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("notified.toml");
    std::fs::write(&file, "").unwrap();
    let manager = NotifySocket::new();
    let mut server = start(&manager, None, &["--config", file.to_str().unwrap()]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");

    let mut last = 0;
    for (text, status) in [
        ("[limits]\nbacklog = 5\n", "serving; config reloaded"),
        ("[limits]\nbacklog = \"long\"\n", "serving; config reload rejected; keeping the current configuration"),
        ("", "serving; config reloaded"),
    ] {
        std::fs::write(&file, text).unwrap();
        server.signal("HUP");
        let reloading = manager.next();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let time: u64 = time.strip_suffix("\nSTATUS=reloading the configuration\n").unwrap().parse().unwrap();
        assert!(time > last, "{time} {last}");
        last = time;
        assert_eq!(manager.next(), format!("READY=1\nSTATUS={status}\n"));
    }

    server.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(manager.until_exit(&mut server), [""; 0]);
    assert_eq!(server.wait_for_exit().0, Some(0));
}

#[test]
fn the_watchdog_is_notified_while_idle_and_until_the_end_of_a_drain() {
    let manager = NotifySocket::new();
    let mut server =
        start(&manager, Some(WATCHDOG_USEC), &["--set", "timeouts.drain=10m", "--set", "timeouts.write=10m"]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");
    for _ in 0..5 {
        manager.expect_watchdog();
    }
    // The replies do not fit into the client's window, so the drain waits until the client reads.
    let mut client = connect_with_small_buffers(server.address("power"));
    client.write_all(&b"a2\n".repeat(1024)).unwrap();
    let replies = |server: &ServerProcess| server.metric("power_requests_total{op=\"square\",result=\"ok\"}");
    server.eventually(|server| replies(server) == 1024, "has replied");
    server.signal("TERM");
    assert_eq!(manager.next_state(), "STOPPING=1\nSTATUS=draining\n");
    server.signal("HUP");
    server.eventually(|server| server.log().contains("config reload skipped: draining"), "skips the reload");
    for _ in 0..5 {
        manager.expect_watchdog();
    }
    assert!(server.is_running());
    read_to_end(&mut client);
    drop(client);
    let last = manager.until_exit(&mut server);
    assert!(last.iter().all(|notification| notification == WATCHDOG), "{last:?}");
}

#[test]
fn the_watchdog_is_notified_while_no_file_descriptor_is_left() {
    let manager = NotifySocket::new();
    let server = start(&manager, Some(WATCHDOG_USEC), &[]);
    manager.next_state();
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(0), maximum: getrlimit(Resource::Nofile).maximum }).unwrap();
    let _waiting = connect(server.address("power"));
    server.eventually(|server| server.log().contains("accept failed; backing off"), "has no file descriptor");
    manager.queued();
    for _ in 0..20 {
        manager.expect_watchdog();
    }
}

/// A second server shows how much time has passed: its watchdog has the same timeout.
#[test]
fn a_stopped_process_does_not_notify_the_watchdog() {
    let [manager, other_manager] = [NotifySocket::new(), NotifySocket::new()];
    let [server, _other] = [&manager, &other_manager].map(|manager| start(manager, Some(WATCHDOG_USEC), &[]));
    manager.next_state();
    other_manager.next_state();
    manager.expect_watchdog();
    server.signal("STOP");
    server.eventually(ServerProcess::is_stopped, "is stopped");
    manager.queued();
    other_manager.queued();
    for _ in 0..5 {
        other_manager.expect_watchdog();
    }
    assert_eq!(manager.queued(), [""; 0]);
    server.signal("CONT");
    manager.expect_watchdog();
}

#[test]
fn a_watchdog_of_another_process_is_off() {
    for (process, is_on) in [(Some("1"), false), (None, true)] {
        let manager = NotifySocket::new();
        let mut command = command(&[]);
        command.envs(process.map(|process| ("WATCHDOG_PID", process)));
        // If they were on, the notifications would be due every millisecond of the drain, which takes a quarter of a
        // second.
        let mut server = ServerProcess::start(manager.manage(&mut command, Some(2_000)), BINARY.services);
        assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");
        if is_on {
            manager.expect_watchdog();
        }
        server.signal("TERM");
        let received = manager.until_exit(&mut server);
        assert!(is_on || received.iter().all(|notification| notification != WATCHDOG), "{received:?}");
    }
}

#[test]
fn a_manager_that_is_gone_is_logged_once() {
    let manager = NotifySocket::new();
    let mut command = command(&["--log-level", "debug"]);
    manager.manage(&mut command, Some(2_000));
    drop(manager);
    let server = ServerProcess::start(&mut command, BINARY.services);
    let log = server.stop();
    assert_eq!(log.matches("cannot notify the service manager").count(), 1, "{log}");
}
