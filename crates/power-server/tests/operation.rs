//! The operator's side of a running server: the admin listener, metrics, reloads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::path::Path;

use proto::testing::blocking::{connect, connect_with_small_buffers, exchange, expect, read_to_end};
use proto::testing::program::ServerProcess;
use support::program::start;

#[test]
fn a_reload_applies_settings_and_names_those_that_need_a_restart() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload.toml");
    let configure = |text: &str| std::fs::write(&path, text).unwrap();
    configure("[limits]\nmax_request_bytes = 10\n");
    let server = start(&["--config", path.to_str().unwrap()]);
    let baseline = server.baseline();
    let power = server.address("power");
    let mut early = connect(power);
    early.write_all(b"a2\n").unwrap();
    expect(&mut early, "d4.0\n");
    let request = b"a00000000000000000002";
    assert!(exchange(power, request).starts_with("eTOOLONG"));
    configure(
        "workers = 3\n[limits]\nmax_request_bytes = 100\nmax_connections = 20\nbacklog = 5\n[timeouts]\nrequest = \"300ms\"\n\
         [framing]\nsettle = \"100ms\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n",
    );
    server.reload("power", "ok");
    assert_eq!(exchange(power, request), "d4.0");
    server.reload("power", "ok");
    let mut silent = connect(power);
    assert_eq!(read_to_end(&mut silent), "eTIMEOUT no whole request came within 300ms");
    assert_eq!(server.metric("power_connections_max"), 20);
    early.write_all(b"b2\n").unwrap();
    expect(&mut early, "d8.0\n");
    early.write_all(request).unwrap();
    early.write_all(b"\n").unwrap();
    assert!(read_to_end(&mut early).starts_with("eTOOLONG"), "an open connection keeps its limits");
    server.returns_to(baseline, "power");
    let log = server.stop();
    let line =
        |message: &str| log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("{message}\n{log}"));
    let (changed, restart) = (line("config reloaded; new connections use it"), line("config changes need a restart"));
    for key in ["limits.max_request_bytes = 100", "limits.max_connections = 20", "timeouts.request", "framing.settle"] {
        assert!(changed.contains(key) && !restart.contains(key), "{log}");
    }
    for key in ["workers = 3", "limits.backlog = 5", "log.format"] {
        assert!(restart.contains(key) && !changed.contains(key), "{log}");
    }
    assert_eq!(log.matches("config changes need a restart").count(), 2, "at each reload: {log}");
    assert!(!log.contains("no changes"), "{log}");
    assert!(log.contains("DEBUG"), "{log}");
}

#[test]
fn a_reload_can_set_the_log_level_of_one_module() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload-level.toml");
    std::fs::write(&path, "[log]\nlevel = \"warn,proto::server::program=info\"\n").unwrap();
    let server = start(&["--config", path.to_str().unwrap()]);
    let has_ended = |server: &ServerProcess| server.metric("power_connections") == 0;
    exchange(server.address("power"), b"a2");
    // It is logged before.
    server.eventually(has_ended, "has no connection");
    let mut early = connect(server.address("power"));
    early.write_all(b"a2\n").unwrap();
    expect(&mut early, "d4.0\n");
    let level = "level = \"warn,proto::server::program=info,proto::server::listener=debug\"";
    std::fs::write(&path, format!("[log]\n{level}\n")).unwrap();
    server.reload("power", "ok");
    exchange(server.address("power"), b"a2");
    let peer = early.local_addr().unwrap();
    drop(early);
    server.eventually(has_ended, "has no connection");
    let log = server.stop();
    assert_eq!(log.matches("DEBUG").count(), 2, "two connections have ended since the reload: {log}");
    assert!(log.contains(&format!("connection closed peer={peer} reason=peer_closed\n")), "it has no counts: {log}");
    assert!(log.contains(" requests=1 received_bytes=2 sent_bytes=4 "), "{log}");
    assert!(log.contains("listening") && !log.contains("config reloaded"), "{log}");
}

#[test]
fn the_admin_listener_is_independent_of_the_client_limits_and_serves_its_paths_only() {
    let server = start(&["--set", "limits.max_connections=1", "--set", "timeouts.request=1h"]);
    let baseline = server.baseline();
    // Open connections to the admin listener count against no limit and delay no request.
    let idle: Vec<_> = (0..10).map(|_| connect(server.address("admin"))).collect();
    let (status, metrics) = server.get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("power_connections 0\n") && metrics.contains("power_build_info{version=\""), "{metrics}");
    for (path, status) in [("/", 200), ("/metrics/", 404), ("/readyz?full=1", 200), ("/healthz", 200)] {
        assert_eq!(server.get(path).unwrap().0, status, "{path}");
    }
    let mut stream = connect(server.address("admin"));
    stream.write_all(b"POST /readyz HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").unwrap();
    let received = read_to_end(&mut stream);
    assert!(received.starts_with("HTTP/1.1 405 ") && received.contains("allow: GET, HEAD\r\n"), "{received}");
    drop(stream);
    let mut stream = connect(server.address("admin"));
    stream.write_all(b"a2\n\x00\xff\r\n\r\n").unwrap();
    let received = read_to_end(&mut stream);
    assert!(received.starts_with("HTTP/1.1 400 "), "{received}");
    drop(stream);
    // After a half-close too, the client gets the response and a clean close; bytes after its request are discarded.
    let received = exchange(server.address("admin"), b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET /");
    assert!(received.starts_with("HTTP/1.1 200 ") && received.ends_with("\r\n\r\nok\n"), "{received}");
    // A slow reader also gets the whole response.
    let mut slow = connect_with_small_buffers(server.address("admin"));
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    // The thread of the admin listener handles the half-close before some later requests.
    for _ in 0..10 {
        assert_eq!(server.get("/healthz").unwrap().0, 200);
    }
    let received = read_to_end(&mut slow);
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{received}");
    drop((idle, slow));
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn every_reply_is_counted_by_operation_result_and_latency() {
    let server = start(&[]);
    let power = server.address("power");
    exchange(power, b"a2\na3\nb2\nc2\nd2\nfoo\na\nc1e300\nb1e999\n");
    exchange(power, b"c2");
    for (labels, count) in [
        ("op=\"square\",result=\"ok\"", 2),
        ("op=\"cube\",result=\"ok\"", 1),
        ("op=\"fourth\",result=\"ok\"", 2),
        ("op=\"echo\",result=\"ok\"", 1),
        ("op=\"none\",result=\"badop\"", 1),
        ("op=\"square\",result=\"badnum\"", 1),
        ("op=\"fourth\",result=\"range\"", 1),
        ("op=\"cube\",result=\"range\"", 1),
        ("op=\"none\",result=\"toolong\"", 0),
    ] {
        assert_eq!(server.metric(&format!("power_requests_total{{{labels}}}")), count, "{labels}");
    }
    assert_eq!(server.metric("power_request_duration_seconds_count"), 10);
    assert_eq!(server.metric("power_request_duration_seconds_bucket{le=\"+Inf\"}"), 10);
    let sum = server.seconds("power_request_duration_seconds_sum");
    assert!(sum > 0.0 && sum < 30.0, "{sum}");
    assert_eq!(server.metric("power_connections_closed_total{reason=\"peer_closed\"}"), 2);
    server.stop();
}
