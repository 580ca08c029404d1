//! `probe`: whether a server works, at once or after a wait.

mod support;

use std::time::{Duration, Instant};

use support::fake::Fake;
use support::real::Reserved;
use support::{Running, client, real, run};

#[test]
fn a_server_that_works_is_exit_code_0_and_one_line() {
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
fn a_server_of_the_existing_kind_is_taken_for_one_that_works() {
    for (service, answer) in [("power", &b"d9.0"[..]), ("rps", b"z"), ("duel", b"e")] {
        let server = Fake::answering_each_read(answer);
        run(&format!("probe {service} --addr {server}")).assert_ended(0);
    }
}

#[test]
fn without_a_wait_the_first_failure_is_the_answer() {
    let nobody = Reserved::new();
    for service in ["power", "rps", "duel"] {
        run(&format!("probe {service} --addr {nobody}")).assert_failed(3, "", &["cannot connect: Connection refused"]);
    }
}

#[test]
fn a_wait_tries_again_until_its_time_is_up_and_then_reports_the_last_failure() {
    let nobody = Reserved::new();
    for service in ["power", "rps"] {
        let started = Instant::now();
        run(&format!("probe {service} --wait 500ms --addr {nobody}")).assert_failed(3, "", &["Connection refused"]);
        // It may give up by the pause between two tries early, but not by more.
        assert!(started.elapsed() >= Duration::from_millis(400), "{service} gave up after {:?}", started.elapsed());
    }
}

#[test]
fn a_wait_limits_a_try_that_takes_longer() {
    let server = Fake::silent();
    for service in ["power", "rps"] {
        // With a timeout longer than any test may take, only the wait can end it.
        run(&format!("probe {service} --timeout 1h --wait 300ms --addr {server}")).assert_failed(4, "", &["no reply"]);
    }
}

/// Starts a probe where nobody listens yet, and gives it back when it has been refused a few times.
fn start_before(service: &str, reserved: &Reserved) -> Running {
    let running = client(&format!("probe {service} --wait 60s --addr {reserved}")).start();
    // Nothing shows from outside that it has tried. But another one, started later, has tried and given up by now.
    run(&format!("probe {service} --wait 300ms --addr {reserved}")).assert_ended(3);
    running
}

#[test]
fn a_power_server_that_starts_later_is_waited_for() {
    let reserved = Reserved::new();
    let probe = start_before("power", &reserved);
    let _server = reserved.serve_power();
    probe.finish().assert_ended(0);
}

#[test]
fn an_rps_server_that_starts_later_is_waited_for() {
    let reserved = Reserved::new();
    let probe = start_before("rps", &reserved);
    let _server = reserved.serve_rps();
    probe.finish().assert_ended(0);
}

#[test]
fn a_server_that_takes_connections_but_is_not_ready_yet_is_waited_for() {
    for (service, server) in [("power", real::power_after_a_false_start()), ("rps", real::rps_after_a_false_start())] {
        run(&format!("probe {service} --wait 60s --addr {server}")).assert_ended(0);
    }
    for (service, server) in [("power", real::power_after_a_false_start()), ("rps", real::rps_after_a_false_start())] {
        run(&format!("probe {service} --addr {server}")).assert_ended(5);
    }
}

#[test]
fn a_wrong_answer_and_a_refusal_are_exit_code_1() {
    for (reply, said) in [(&b"d6.0"[..], "the square of 3.0 came back as 6.0"), (b"eBADNUM what", "BADNUM what")] {
        let server = Fake::answering(reply);
        run(&format!("probe power --addr {server}")).assert_failed(1, "", &[said]);
    }
    let server = Fake::answering_each_read(b"v");
    run(&format!("probe rps --addr {server}")).assert_failed(1, "", &["voids a round that the house always plays"]);
}

#[test]
fn a_probe_of_a_duel_plays_with_nobody() {
    let server = real::duel(Duration::from_mins(10));
    let mut one = client(&format!("rps play --duel --addr {server}")).start();
    one.type_in("rock\n");
    run(&format!("probe duel --addr {server}")).assert_ended(0);
    run(&format!("rps throw paper --duel --addr {server}")).assert_done("paper win\n");
    one.finish().assert_done("rock lose\n0 won, 1 lost, 0 drawn\n");
    let server = Fake::answering_each_read(b"v");
    run(&format!("probe duel --addr {server}")).assert_failed(5, "", &["it accepted '?' as a move"]);
}

#[test]
fn a_full_server_is_exit_code_1() {
    let (power, rps) = (real::power_with_room_for(1), real::rps_with_room_for(1));
    for (service, server, request, said) in [("power", power, "d1\n", "BUSY"), ("rps", rps, "1", "full")] {
        let occupant = server.occupy(request);
        run(&format!("probe {service} --addr {server}")).assert_failed(1, "", &[said]);
        drop(occupant);
    }
}

#[test]
fn another_service_at_the_address_is_exit_code_5() {
    for service in ["power", "rps", "duel"] {
        let server = Fake::answering_each_read(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        run(&format!("probe {service} --addr {server}")).assert_failed(5, "", &["broke the protocol"]);
    }
    for (service, other) in [("power", real::rps()), ("rps", real::power()), ("duel", real::power())] {
        run(&format!("probe {service} --addr {other}")).assert_failed(5, "", &["broke the protocol"]);
    }
}

#[test]
fn a_silent_server_is_exit_code_4() {
    let server = Fake::silent();
    for service in ["power", "rps"] {
        run(&format!("probe {service} --timeout 200ms --addr {server}")).assert_failed(
            4,
            "",
            &["no reply within 200ms"],
        );
    }
}
