//! The rows of FAULTS.md about clients and networks, tested against the program. After each fault the server runs, has had no
//! panic, and holds no more files than before.
//!
//! The rows about machines and operators are in `faults_of_operation.rs`, those about TLS in `faults_of_tls.rs`; those that need the whole machine, minutes or root
//! are in `faults_alone.rs`. The rows about long connections are in the tests of `rps-server`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use proto::testing::blocking::{self, connect, connect_from, exchange, expect, read_to_end, reset_on_close};
use proto::testing::clients::Clients;
use proto::testing::program::ServerProcess;
use proto::testing::{TEST_TIMEOUT, eventually, unread};
use support::program::start;

#[test]
fn row_01_a_request_in_pieces_with_pauses_gets_one_reply() {
    let server = start(&[]);
    let baseline = server.baseline();
    for (pieces, reply) in [(&["a", " ", "-", "1e", "1"][..], "d100.0"), (&["b", "-", ".", "5\r", "\n"], "d-0.125\n")] {
        let mut stream = connect(server.address("power"));
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream), reply);
    }
    server.returns_to(baseline, "power");
}

#[test]
fn row_02_silent_and_dribbling_clients_time_out_at_the_deadline() {
    let server = start(&["--set", "timeouts.request=500ms"]);
    let baseline = server.baseline();
    let began = Instant::now();
    // The kernel hands over a connection without data after a second (TCP_DEFER_ACCEPT), and its timeout starts then.
    let mut silent = connect(server.address("power"));
    let mut dribbling = connect(server.address("power"));
    let mut dribbling_writer = dribbling.try_clone().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let dribbler = thread::spawn(move || {
        // Blanks keep the request incomplete. It sends until the reply is there: a server whose deadline a byte extends
        // would never reply.
        let mut next = "a";
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(50)) {
            let _ = dribbling_writer.write_all(next.as_bytes());
            next = " ";
        }
    });
    for stream in [&mut dribbling, &mut silent] {
        assert_eq!(read_to_end(stream), "eTIMEOUT no whole request came within 500ms");
        assert!(began.elapsed() >= Duration::from_millis(500));
    }
    drop(stop);
    dribbler.join().unwrap();
    drop((silent, dribbling));
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_requests_total{op=\"none\",result=\"timeout\"}"), 2);
    assert_eq!(server.metric("power_connections_closed_total{reason=\"request_timeout\"}"), 2);
}

#[test]
fn row_03_a_half_close_gets_its_reply_or_a_clean_close() {
    let server = start(&[]);
    let baseline = server.baseline();
    assert_eq!(exchange(server.address("power"), b"c2"), "d16.0");
    // The kernel hands over a connection without data when the half-close arrives (TCP_DEFER_ACCEPT).
    assert_eq!(exchange(server.address("power"), b""), "");
    assert_eq!(exchange(server.address("power"), b"a2\nb2"), "d4.0\nd8.0\n");
    server.returns_to(baseline, "power");
}

#[test]
fn row_04_garbage_gets_error_replies_and_a_clean_close() {
    let server = start(&[]);
    let baseline = server.baseline();
    let power = server.address("power");
    let send = |bytes: &[u8]| {
        let mut stream = connect(power);
        stream.write_all(bytes).unwrap();
        read_to_end(&mut stream)
    };
    assert_eq!(send(&vec![b'1'; 1 << 20]), "eTOOLONG a request has at most 512 bytes before its end");
    assert_eq!(send(b"\0"), r"eBADOP '\x00' is no operation: send a (square), b (cube), c (fourth power) or d (echo)");
    assert!(send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").starts_with(r"eBADOP '\x16'"));
    let received = exchange(power, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(received.lines().count() == 2 && received.lines().all(|line| line.starts_with("eBADOP '")), "{received}");
    blocking::for_random_inputs(|bytes| {
        let received = exchange(power, bytes);
        assert!(received.lines().all(|line| line.starts_with(['d', 'e'])), "{received}");
    });
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_connections_total{result=\"accepted\"}"), 10_004);
}

#[test]
fn row_05_resets_are_counted_and_not_logged_as_errors() {
    let server = start(&[]);
    let baseline = server.baseline();
    let power = server.address("power");
    for request in ["", "a2", "a2\nb3\n"] {
        for _ in 0..100 {
            let mut stream = connect(power);
            stream.write_all(request.as_bytes()).unwrap();
            reset_on_close(&stream);
        }
    }
    assert_eq!(exchange(power, b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    // The kernel drops connections that are reset before they are accepted.
    assert!(server.metric("power_connections_closed_total{reason=\"io_error\"}") > 0);
    let log = server.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn row_06_a_client_that_never_reads_is_closed() {
    let server = start(&["--set", "timeouts.write=500ms"]);
    let baseline = server.baseline();
    let flight = b"x\n".repeat(64 * 1024);
    let began = Instant::now();
    for _ in 0..2 {
        blocking::send_without_reading(server.address("power"), &flight);
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_connections_closed_total{reason=\"write_timeout\"}"), 2);
    // The kernel has dropped their replies.
    assert!(eventually(TEST_TIMEOUT, || server.orphans("power") == 0));
}

#[test]
fn row_07_clients_over_the_limit_are_rejected_and_a_closed_connection_makes_room() {
    let server = start(&["--set", "limits.max_connections=20", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    let power = server.address("power");
    let mut open: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(power);
            stream.write_all(b"a2\n").unwrap();
            expect(&mut stream, "d4.0\n");
            stream
        })
        .collect();
    let busy = "eBUSY as many connections are open as this server takes: try again later";
    let excess: Vec<_> = (0..50).map(|_| connect(power)).collect();
    for mut stream in excess {
        assert_eq!(read_to_end(&mut stream), busy);
    }
    assert_eq!(server.get("/readyz"), Some((200, "ready\n".to_owned())));
    assert_eq!(server.metric("power_connections"), 20);
    assert_eq!(server.metric("power_connections_max"), 20);
    assert_eq!(server.metric("power_connections_total{result=\"rejected\"}"), 50);
    assert_eq!(server.metric("power_requests_total{op=\"none\",result=\"busy\"}"), 50);
    open.pop();
    server.eventually(|server| server.metric("power_connections") == 19, "closes the connection");
    assert_eq!(exchange(power, b"a2"), "d4.0");
    drop(open);
    server.returns_to(baseline, "power");
    let log = server.stop();
    assert!((1..=3).contains(&log.matches("connection rejected: limit reached").count()), "one line a second:\n{log}");
}

/// `proto::server::listener::admission` tests with 100,000 addresses that the table of client IPs is bounded.
#[test]
fn row_08_clients_over_the_limit_per_ip_are_rejected() {
    let server = start(&["--set", "limits.max_connections_per_ip=3", "--set", "timeouts.request=1h"]);
    let baseline = server.baseline();
    let power = server.address("power");
    let mut open = Vec::new();
    for source in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)] {
        for _ in 0..3 {
            let mut stream = connect_from(source, power);
            stream.write_all(b"a2\n").unwrap();
            expect(&mut stream, "d4.0\n");
            open.push(stream);
        }
        for _ in 0..2 {
            assert!(read_to_end(&mut connect_from(source, power)).starts_with("eBUSY "));
        }
    }
    assert_eq!(exchange(power, b"a2"), "d4.0", "other addresses are served");
    drop(open);
    server.returns_to(baseline, "power");
}

/// The server has one worker, which each flooder alone can keep busy. `faults_alone.rs` tests for how long others wait.
#[test]
fn row_21_clients_beside_floods_get_their_replies() {
    // A slow machine may delay the clients for longer than the default timeouts.
    let server = start(&["--set", "workers=1", "--set", "timeouts.request=1h", "--set", "timeouts.write=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let floods = [1, 7].map(|count| Clients::flood(power, count, &"a2\n".repeat(16 * 1024)));
    let clients = Clients::ping_pong(power, 16, "a2\n", 5, |reply| reply == b"d4.0\n");
    for _ in 0..20 {
        assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
    }
    let progress = |clients: &Clients| clients.least_progress() >= 20;
    assert!(eventually(TEST_TIMEOUT, || progress(&clients) && floods.iter().all(progress)));
    for clients in floods.into_iter().chain([clients]) {
        clients.stop();
    }
    server.returns_to(baseline, "power");
}

/// Checks how long a client that does not read its replies holds its place. Each bad line gets a reply of 87 bytes.
fn hold_place(settings: &[&str], is_half_closed: bool) -> Duration {
    let server = start(&[&unread::ONE_PLACE[..], settings].concat());
    unread::hold_place(&server, "power", "power", &b"x\n".repeat(100), is_half_closed)
}

#[test]
fn row_23_unread_replies_hold_a_place_after_a_half_close_until_the_write_timeout() {
    hold_place(&[], true);
}

#[test]
fn row_23_an_open_connection_with_unread_replies_is_closed_at_the_write_timeout() {
    hold_place(&["--set", "timeouts.idle=1h"], false);
}

#[test]
fn row_23_after_an_idle_timeout_unread_replies_hold_a_place_until_the_write_timeout() {
    let took = hold_place(&["--set", "timeouts.idle=500ms"], false);
    // The write timeout begins anew with the close.
    assert!(took >= unread::WRITE_TIMEOUT + Duration::from_millis(500), "{took:?}");
}

#[test]
fn row_23_a_client_that_reads_slowly_keeps_its_connection() {
    let server = start(&["--set", "timeouts.write=4s", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    assert!((0..10).any(|_| unread::read_slowly(&server, "power", &b"x\n".repeat(100))), "the machine is too slow");
    server.returns_to(baseline, "power");
}

/// How long a request may take, and how long a connection may be idle, in the test of row 24.
const TIMEOUT: Duration = Duration::from_secs(3);

#[test]
fn row_24_requests_that_arrive_while_the_process_is_stopped_get_their_replies() {
    // The server need not reply to requests that the test sends too late. Then the test tries again.
    assert!((0..10).any(|_| stop_past_the_timeouts()), "the machine is too slow");
}

/// Returns whether the requests were sent in time. If so, all must get their replies.
fn stop_past_the_timeouts() -> bool {
    let server = start(&["--set", "timeouts.idle=3s", "--set", "timeouts.request=3s"]);
    let (baseline, began) = (server.baseline(), Instant::now());
    let client = |_| {
        let mut stream = connect(server.address("power"));
        stream.write_all(b"a2\n").unwrap();
        expect(&mut stream, "d4.0\n");
        stream
    };
    let (mut idle, mut partial): (Vec<_>, Vec<_>) = ((0..100).map(client).collect(), (0..100).map(client).collect());
    // These writes fail if they are too late.
    for stream in &mut partial {
        let _ = stream.write_all(b"a");
    }
    server.signal("STOP");
    server.eventually(ServerProcess::is_stopped, "is stopped");
    for stream in &mut idle {
        let _ = stream.write_all(b"a3\n");
    }
    for stream in &mut partial {
        let _ = stream.write_all(b"3\n");
    }
    let is_in_time = began.elapsed() < TIMEOUT;
    // All timeouts pass meanwhile.
    thread::sleep(TIMEOUT);
    server.signal("CONT");
    if is_in_time {
        for stream in idle.iter_mut().chain(&mut partial) {
            expect(stream, "d9.0\n");
        }
    }
    drop((idle, partial));
    server.returns_to(baseline, "power");
    is_in_time
}

#[test]
fn row_26_slow_and_many_clients_of_the_admin_listener_stop_no_health_check() {
    const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    let server = start(&[]);
    let (baseline, admin) = (server.baseline(), server.address("admin"));
    let check_health = || {
        for _ in 0..50 {
            assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
        }
    };
    let began = Instant::now();
    // Most of the clients send a part of a request, the others do not read their response. All stay for the whole test.
    let mut slow = Vec::new();
    for count in [16, 40, 400] {
        slow.resize_with(count, || connect(admin));
        for (number, stream) in slow.iter_mut().enumerate() {
            // The server may have dropped the first ones already.
            let _ = stream.write_all(if number % 4 == 0 { METRICS } else { &METRICS[..7] });
        }
        check_health();
    }
    // A second is enough. If the checks had to wait until the slow clients time out, this would take two minutes.
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());
    // A flood of connections, half of them with a request.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let stream = TcpStream::connect(admin);
                let _ = stream.and_then(|mut stream| stream.write_all(if number % 2 == 0 { METRICS } else { b"" }));
            }
        });
        check_health();
        over.store(true, Ordering::Relaxed);
    });
    drop(slow);
    server.returns_to(baseline, "power");
}

#[test]
fn row_28_a_part_of_a_request_delays_a_drain_by_a_second() {
    let server = start(&["--set", "timeouts.request=1h", "--set", "timeouts.drain=1m"]);
    let [mut partial, mut completed] = [(); 2].map(|()| {
        let mut stream = connect(server.address("power"));
        stream.write_all(b"a").unwrap();
        stream
    });
    server.eventually(|server| server.metric("power_connections") == 2, "has two clients");
    let began = Instant::now();
    server.signal("TERM");
    completed.write_all(b"2").unwrap();
    let in_time = began.elapsed() < Duration::from_secs(1);
    let stopped = "eTIMEOUT no whole request came before the server stopped";
    assert_eq!(read_to_end(&mut partial), stopped);
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(30)).contains(&took), "{took:?}");
    let received = read_to_end(&mut completed);
    assert!(received == "d4.0" || (!in_time && received == stopped), "{received}");
    // The clients keep their side open, so each of the connections lingers.
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=0"), "{log}");
}

#[test]
fn row_29_requests_in_flight_when_a_drain_begins_get_their_replies() {
    // The server need not reply to requests that the test sends too late. Then the test tries again.
    assert!((0..10).any(|_| drain_with_requests_in_flight() > 0), "the machine is too slow");
}

/// Returns the number of requests that were sent in time. All of them must get their replies.
fn drain_with_requests_in_flight() -> usize {
    let server = start(&[]);
    // The kernel has completed the handshakes, and hands over a connection only with its request (TCP_DEFER_ACCEPT).
    let mut clients: Vec<_> = (0..16).map(|_| connect(server.address("power"))).collect();
    let began = Instant::now();
    server.signal("TERM");
    server.eventually(|server| server.get("/readyz").is_none_or(|(status, _)| status == 503), "is not ready");
    let mut in_time = 0;
    for (number, stream) in (0..).zip(&mut clients) {
        // As if each request was in the network for a little longer than the one before.
        thread::sleep((number * Duration::from_millis(10)).saturating_sub(began.elapsed()));
        let sent = stream.write_all(b"a2").and_then(|()| stream.shutdown(Shutdown::Write));
        // The server accepts connections for 250 ms of a drain.
        if began.elapsed() < Duration::from_millis(200) {
            sent.unwrap();
            in_time += 1;
        }
    }
    for stream in &mut clients[..in_time] {
        assert_eq!(read_to_end(stream), "d4.0");
    }
    drop(clients);
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("rejected=0 panicked=0 aborted=0"), "{log}");
    in_time
}

#[test]
fn row_33_new_connections_over_the_rate_are_rejected() {
    let server = start(&["--set", "limits.new_connections_per_ip=5"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let began = Instant::now();
    let admitted = (0..50).filter(|_| is_served(power)).count() as u64;
    let most = 5 * (2 + began.elapsed().as_secs());
    assert!((5..=most).contains(&admitted), "{admitted} of 50, at most {most}");
    assert_eq!(server.metric("power_connections_total{result=\"rejected\"}"), 50 - admitted);
    let mut other = connect_from(Ipv4Addr::new(127, 0, 0, 2), power);
    other.write_all(b"a2\n").unwrap();
    expect(&mut other, "d4.0\n");
    drop(other);
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_limits_reached_total{limit=\"new_connections_per_ip\"}"), 50 - admitted);
    assert_eq!(server.metric("power_limits_reached_total{limit=\"max_connections\"}"), 0);
    let log = server.stop();
    assert_eq!(log.contains("limit=limits.new_connections_per_ip"), admitted < 50, "{log}");
}

/// Whether a client is served and not rejected.
fn is_served(power: SocketAddr) -> bool {
    let mut stream = connect(power);
    // A rejected client may be closed before this write.
    let _ = stream.write_all(b"a2").and_then(|()| stream.shutdown(Shutdown::Write));
    let received = read_to_end(&mut stream);
    let busy = "eBUSY this server takes no more connections from this address for now: try again later";
    assert!(received == "d4.0" || received == busy, "{received}");
    received == "d4.0"
}

#[test]
fn row_33_requests_over_the_rate_wait_and_get_their_replies_in_order() {
    // With two workers, two connections can take the last tokens at the same time, and the bucket forgets a part of that.
    let settings = ["workers=1", "limits.requests_per_ip=50", "timeouts.request=1h"];
    let server = start(&settings.map(|setting| ["--set", setting]).concat());
    let baseline = server.baseline();
    // All connections of an address share its rate.
    let began = Instant::now();
    let address = server.address("power");
    let clients: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                let lines = |end: &str| (0..50).map(|number| format!("d{number}{end}")).collect::<Vec<_>>().concat();
                assert_eq!(exchange(address, lines("\n").as_bytes()), lines(".0\n"));
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // The first 50 at once, and 50 each second.
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_requests_total{op=\"echo\",result=\"ok\"}"), 150);
}

#[test]
fn row_33_a_client_over_the_rate_delays_no_other_address() {
    let server = start(&["--set", "limits.requests_per_ip=1", "--set", "timeouts.request=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let mut flood = connect(power);
    flood.write_all(&b"a2\n".repeat(1000)).unwrap();
    expect(&mut flood, "d4.0\n");
    for source in 2..22 {
        let mut other = connect_from(Ipv4Addr::new(127, 0, 0, source), power);
        other.write_all(b"a3\n").unwrap();
        expect(&mut other, "d9.0\n");
    }
    assert_eq!(server.metric("power_connections_closed_total{reason=\"request_timeout\"}"), 0);
    assert!(server.metric("power_limits_reached_total{limit=\"requests_per_ip\"}") > 0);
    reset_on_close(&flood);
    drop(flood);
    server.returns_to(baseline, "power");
    let log = server.stop();
    assert!(log.contains("request waits: limit reached client=127.0.0.1 limit=limits.requests_per_ip"), "{log}");
}

#[test]
fn row_33_aborted_connections_do_not_use_up_the_rate() {
    let server = start(&["--set", "limits.requests_per_ip=1", "--set", "timeouts.request=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(power);
            stream.write_all(b"a2\n").unwrap();
            reset_on_close(&stream);
            stream
        })
        .collect();
    let waiting = |server: &ServerProcess| server.metric("power_limits_reached_total{limit=\"requests_per_ip\"}") > 150;
    server.eventually(waiting, "makes requests wait");
    drop(clients);
    server.eventually(|server| server.metric("power_connections") == 0, "has no clients");
    // The requests of all of them would take longer than the test.
    assert_eq!(exchange(power, b"a3"), "d9.0");
    server.returns_to(baseline, "power");
}

#[test]
fn row_33_a_request_that_waits_for_the_rate_times_out() {
    let server = start(&["--set", "limits.requests_per_ip=1", "--set", "timeouts.request=200ms"]);
    let (baseline, began) = (server.baseline(), Instant::now());
    // The rate is one request a second, and none waits for so long. So only the first is served, and one for each second
    // for which the machine pauses.
    let received = exchange(server.address("power"), &b"a2\n".repeat(100));
    let most = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let error = "eTIMEOUT more requests come from this address than this server takes: this one waited 200ms\n";
    let replies = received.strip_suffix(error).unwrap_or(&received);
    let count = replies.len() / "d4.0\n".len();
    assert!(replies.len() < received.len() && replies == "d4.0\n".repeat(count), "{received}");
    assert!((1..=most).contains(&count), "at most {most}: {received}");
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_connections_closed_total{reason=\"request_timeout\"}"), 1);
    assert_eq!(server.metric("power_requests_total{op=\"none\",result=\"timeout\"}"), 1);
}

#[test]
fn row_33_a_drain_does_not_wait_for_the_rate() {
    let drain = ["--set", "timeouts.request=1h", "--set", "timeouts.drain=1m"];
    let server = start(&[&drain[..], &["--set", "limits.requests_per_ip=1"]].concat());
    let mut client = connect(server.address("power"));
    client.write_all(&b"a2\n".repeat(500)).unwrap();
    expect(&mut client, "d4.0\n");
    let began = Instant::now();
    server.signal("TERM");
    let received = read_to_end(&mut client);
    // At the rate, the rest would take more than eight minutes.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(received, "d4.0\n".repeat(499));
    drop(client);
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("aborted=0"), "{log}");
}

#[test]
fn row_33_a_drain_reports_a_partial_request_behind_one_that_waited_for_the_rate() {
    let settings = ["limits.requests_per_ip=1", "timeouts.request=1h", "timeouts.drain=1m"];
    let server = start(&settings.map(|setting| ["--set", setting]).concat());
    let mut client = connect(server.address("power"));
    client.write_all(b"a2\n").unwrap();
    expect(&mut client, "d4.0\n");
    client.write_all(b"a2\na").unwrap();
    server.signal("TERM");
    assert_eq!(read_to_end(&mut client), "d4.0\neTIMEOUT no whole request came before the server stopped\n");
    drop(client);
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn row_33_a_reload_changes_the_rates() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rates.toml");
    let config = |requests: u32, connections: u32| {
        let rates = format!("limits.requests_per_ip = {requests}\nlimits.new_connections_per_ip = {connections}\n");
        std::fs::write(&path, rates + "timeouts.request = \"1h\"\n").unwrap();
    };
    let ask = |stream: &mut TcpStream, count: usize| {
        stream.write_all(&b"a2\n".repeat(count)).unwrap();
        expect(stream, &"d4.0\n".repeat(count));
    };
    config(0, 0);
    let server = start(&["--config", path.to_str().unwrap()]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let mut unlimited = connect(power);
    ask(&mut unlimited, 1);
    config(1, 1_000_000);
    server.reload("power", "ok");
    let (mut limited, began) = (connect(power), Instant::now());
    // At the new rate, this would take longer than the test. The connection was accepted without any limit per client.
    ask(&mut unlimited, 1000);
    ask(&mut limited, 3);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    config(1_000_000, 1);
    server.reload("power", "ok");
    ask(&mut connect(power), 1000);
    ask(&mut limited, 1000);
    // One a second, so that a machine must take more than 20 s to have all served.
    let began = Instant::now();
    let rejected = (0..20).filter(|_| !is_served(power)).count();
    assert!(rejected > 0 || began.elapsed() > Duration::from_secs(18), "{:?}", began.elapsed());
    drop((unlimited, limited));
    server.returns_to(baseline, "power");
}

#[test]
fn faults_md_lists_exactly_the_existing_tests() {
    let table = include_str!("FAULTS.md");
    let rows: Vec<u32> =
        table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(rows, (1..=69).collect::<Vec<_>>());
    let named: BTreeSet<_> = table.split('`').filter(|text| text.starts_with("row_")).collect();
    let sources = [
        include_str!("faults.rs"),
        include_str!("faults_of_operation.rs"),
        include_str!("faults_of_tls.rs"),
        include_str!("faults_alone.rs"),
        include_str!("inherited.rs"),
        include_str!("proxy_protocol.rs"),
        include_str!("endpoints.rs"),
        include_str!("../../rps-server/tests/faults.rs"),
        include_str!("../../rps-server/tests/faults_alone.rs"),
        include_str!("../../rps-server/tests/tls.rs"),
        include_str!("../../rps-server/tests/proxy_protocol.rs"),
        include_str!("../../rps-server/tests/endpoints.rs"),
        include_str!("../../rps-server/tests/inherited.rs"),
        include_str!("../../rps-server/tests/cluster.rs"),
        include_str!("../../rps-server/tests/web.rs"),
    ];
    let lines = sources.into_iter().flat_map(str::lines);
    let tests: BTreeSet<_> = lines
        .filter_map(|line| line.strip_prefix("fn ")?.split('(').next())
        .filter(|name| name.starts_with("row_"))
        .collect();
    assert_eq!(named, tests);
}
