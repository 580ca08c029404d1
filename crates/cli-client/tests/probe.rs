//! `probe`: whether a server works, at once or after a wait.

mod support;

use std::fmt::Display;
use std::time::{Duration, Instant};

use support::fake::Fake;
use support::real::ReservedPort;
use support::terminal::Terminal;
use support::{RunningClient, client, real, run};

#[test]
fn a_working_server_exits_with_0_and_one_line() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_mins(10)));
    for (service, address) in [("power", power.address()), ("rps", rps.address()), ("duel", duel.address())] {
        for wait in ["", "--wait 60s"] {
            let finished = run(&format!("probe {service} {wait} --addr {address}"));
            assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
            let line = format!("{service} at {address} works (");
            assert!(finished.stdout.starts_with(&line) && finished.stdout.ends_with(" ms)\n"), "{finished:?}");
            assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
        }
    }
}

#[test]
fn a_server_that_replies_to_each_read_works() {
    for (service, reply) in [("power", &b"d9.0"[..]), ("rps", b"z"), ("duel", b"e")] {
        let server = Fake::replying_to_each_read(reply);
        run(&format!("probe {service} --addr {server}")).assert_exit_code(0);
    }
}

#[test]
fn without_wait_the_first_error_is_reported() {
    let closed_port = ReservedPort::new();
    for service in ["power", "rps", "duel"] {
        run(&format!("probe {service} --addr {closed_port}")).assert_failed(
            3,
            "",
            &["cannot connect: Connection refused"],
        );
    }
}

#[test]
fn wait_retries_until_its_end_and_reports_the_last_error() {
    let closed_port = ReservedPort::new();
    for service in ["power", "rps"] {
        let started = Instant::now();
        run(&format!("probe {service} --wait 500ms --addr {closed_port}")).assert_failed(
            3,
            "",
            &["Connection refused"],
        );
        // It may end one pause early, but not earlier.
        assert!(started.elapsed() >= Duration::from_millis(400), "{service} ended after {:?}", started.elapsed());
    }
}

#[test]
fn wait_limits_the_timeout_of_an_attempt() {
    let server = Fake::silent();
    for service in ["power", "rps"] {
        // With a timeout longer than the test, only the wait can end the probe.
        run(&format!("probe {service} --timeout 1h --wait 300ms --addr {server}")).assert_failed(4, "", &["no reply"]);
    }
}

/// Starts a probe on a port without a server, and returns it after its first failed attempts.
fn start_before(service: &str, reserved: &ReservedPort) -> RunningClient {
    let running = client(&format!("probe {service} --wait 60s --addr {reserved}")).start();
    // The attempts are not visible from outside. But a second probe, started later, has already failed.
    run(&format!("probe {service} --wait 300ms --addr {reserved}")).assert_exit_code(3);
    running
}

#[test]
fn wait_succeeds_when_a_power_server_starts() {
    let reserved = ReservedPort::new();
    let probe = start_before("power", &reserved);
    let _server = reserved.serve_power();
    probe.finish().assert_exit_code(0);
}

#[test]
fn wait_succeeds_when_an_rps_server_starts() {
    let reserved = ReservedPort::new();
    let probe = start_before("rps", &reserved);
    let _server = reserved.serve_rps();
    probe.finish().assert_exit_code(0);
}

#[test]
fn a_wait_on_a_terminal_shows_the_remaining_time() {
    let reserved = ReservedPort::new();
    let address = reserved.address();
    let mut terminal = Terminal::start(client(&format!("probe power --wait 60s --addr {address}")));
    terminal.see(&format!("power at {address}: not yet, "));
    terminal.see(" s left");
    assert!(!terminal.echoes());
    let _server = reserved.serve_power();
    terminal.see("\r\x1b[K");
    terminal.see(&format!("power at {address} works ("));
    terminal.wait_for_end();
    assert!(terminal.echoes());
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn wait_retries_after_a_closed_connection() {
    for (service, server) in
        [("power", real::power_dropping_first_connection()), ("rps", real::rps_dropping_first_connection())]
    {
        run(&format!("probe {service} --wait 60s --addr {server}")).assert_exit_code(0);
    }
    for (service, server) in
        [("power", real::power_dropping_first_connection()), ("rps", real::rps_dropping_first_connection())]
    {
        run(&format!("probe {service} --addr {server}")).assert_exit_code(5);
    }
}

#[test]
fn a_wrong_reply_and_an_error_reply_exit_with_1() {
    for (reply, message) in [(&b"d6.0"[..], "the square of 3.0 is 9.0, not 6.0"), (b"eBADNUM what", "BADNUM what")] {
        let server = Fake::replying(reply);
        run(&format!("probe power --addr {server}")).assert_failed(1, "", &[message]);
    }
    let server = Fake::replying_to_each_read(b"v");
    run(&format!("probe rps --addr {server}")).assert_failed(1, "", &["wrong reply: a void round"]);
}

#[test]
fn a_probe_of_a_duel_does_not_disturb_players() {
    let server = real::duel(Duration::from_mins(10));
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.write_stdin("rock\n");
    run(&format!("probe duel --addr {server}")).assert_exit_code(0);
    run(&format!("rps throw paper --duel --addr {server}")).assert_success("paper win\n");
    one.finish().assert_success("rock lose\n0 won, 1 lost, 0 drawn\n");
    let server = Fake::replying_to_each_read(b"v");
    run(&format!("probe duel --addr {server}")).assert_failed(5, "", &["it accepted '?' as a move"]);
}

#[test]
fn a_full_server_exits_with_1() {
    let (power, rps) = (real::power_with_max_connections(1), real::rps_with_max_connections(1));
    for (service, server, request, message) in [("power", power, "d1\n", "BUSY"), ("rps", rps, "1", "full")] {
        let occupant = server.occupy(request);
        run(&format!("probe {service} --addr {server}")).assert_failed(1, "", &[message]);
        drop(occupant);
    }
}

#[test]
fn another_service_at_the_address_exits_with_5() {
    for service in ["power", "rps", "duel"] {
        let server = Fake::replying_to_each_read(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        run(&format!("probe {service} --addr {server}")).assert_failed(5, "", &["broke the protocol"]);
    }
    for (service, other) in [("power", real::rps()), ("rps", real::power()), ("duel", real::power())] {
        run(&format!("probe {service} --addr {other}")).assert_failed(5, "", &["broke the protocol"]);
    }
}

#[test]
fn a_silent_server_exits_with_4() {
    let server = Fake::silent();
    for service in ["power", "rps"] {
        run(&format!("probe {service} --timeout 200ms --addr {server}")).assert_failed(
            4,
            "",
            &["no reply within 200ms"],
        );
    }
}

/// Checks that each line reports a working duel server, in the order of the addresses.
#[track_caller]
fn assert_works(stdout: &str, addresses: &[&dyn Display]) {
    assert_eq!(stdout.lines().count(), addresses.len(), "{stdout:?}");
    for (line, address) in stdout.lines().zip(addresses) {
        assert!(line.starts_with(&format!("duel at {address} works (")) && line.ends_with(" ms)"), "{stdout:?}");
    }
}

#[test]
fn several_duel_addresses_are_probed_in_turn_with_a_line_each() {
    let (one, other) = (real::duel(Duration::from_mins(10)), real::duel(Duration::from_mins(10)));
    for arguments in [
        format!("--addr {one} --addr {other}"),
        format!("--addr {one},{other}"),
        format!("--wait 60s --addr={one},{other}"),
    ] {
        let finished = run(&format!("probe duel {arguments}"));
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
        assert_works(&finished.stdout, &[&one, &other]);
        run(&format!("probe duel -q {arguments}")).assert_success("");
    }
    let finished = client("probe duel").with_env("DUEL_ADDR", &format!("{other}, {one}")).run("");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert_works(&finished.stdout, &[&other, &one]);
}

#[test]
fn the_first_failure_of_several_addresses_decides_the_exit_code() {
    let (works, closed_port) = (real::duel(Duration::from_mins(10)), ReservedPort::new());
    let other = Fake::replying_to_each_read(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (refused, broken) =
        (format!("{closed_port}: cannot connect"), format!("{other}: the server broke the protocol"));
    for (addresses, code, messages) in [
        (format!("{works},{closed_port},{other}"), 3, [&refused, &broken]),
        (format!("{other},{closed_port},{works}"), 5, [&broken, &refused]),
    ] {
        let finished = run(&format!("probe duel --addr {addresses}"));
        finished.assert_failed(code, &finished.stdout, &messages.map(String::as_str));
        assert_works(&finished.stdout, &[&works]);
    }
}

#[test]
fn wait_holds_for_all_addresses_together() {
    let (one, reserved) = (real::duel(Duration::from_mins(10)), ReservedPort::new());
    let mut probe = client(&format!("probe duel --wait 60s --addr {one},{reserved}")).start();
    assert_works(&probe.next_line(), &[&one]);
    // A solo server sends the same reply to an invalid move.
    let address = reserved.address();
    let _server = reserved.serve_rps();
    assert_works(&probe.next_line(), &[&address]);
    probe.finish().assert_exit_code(0);
    // The first server uses all of the wait, so only the minimum is left for the second.
    let (first, second) = (Fake::silent(), Fake::silent());
    run(&format!("probe duel --timeout 1h --wait 300ms --addr {first},{second}")).assert_failed(
        4,
        "",
        &[&first.to_string(), &format!("{second}: no reply within 100ms")],
    );
}
