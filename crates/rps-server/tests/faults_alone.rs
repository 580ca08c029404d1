//! The rows of FAULTS.md that need an idle machine. `crates/power-server/tests/faults_alone.rs` says how to run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use proto::testing::blocking::{exchange, send_without_reading};
use proto::testing::clients::Clients;
use proto::testing::eventually;
use proto::testing::inherited::RestartedServer;
use proto::testing::memory;
use proto::testing::process::raise_open_files;
use proto::testing::restart_load::{Exchange, RestartLoad, Use, restart_under_load};
use support::program::{BINARY, start};

#[test]
#[ignore = "measures memory: needs an idle machine"]
fn row_06_players_who_never_read_do_not_grow_memory() {
    let server = start(&["--set", "timeouts.write=300ms"]);
    let moves = vec![b'1'; 1 << 20];
    let send_without_reading = || send_without_reading(server.address("solo"), &moves);
    // The first two connections allocate the buffers that each thread keeps.
    send_without_reading();
    send_without_reading();
    let (baseline, before) = (server.baseline(), server.resident_kib());
    for _ in 0..3 {
        send_without_reading();
    }
    let growth = server.resident_kib().saturating_sub(before);
    println!("row 6: three players who never read: memory grew by {growth} KiB");
    assert!(growth < 1024, "memory grew by {growth} KiB");
    server.returns_to(baseline, "rps");
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"write_timeout\"}"), 5);
    server.stop();
}

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_21_players_and_health_checks_beside_100_floods_wait_less_than_100_ms() {
    // A test build is not optimized, so that it takes several times as long for a move.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });
    let server = start(&["--set", "workers=1", "--set", "timeouts.write=1h"]);
    let baseline = server.baseline();
    for (service, floods) in [("solo", 1), ("solo", 100), ("duel", 2), ("duel", 200)] {
        let address = server.address(service);
        let flood = Clients::flood(address, floods, &"1".repeat(64 * 1024));
        assert!(eventually(Duration::from_mins(1), || flood.least_progress() > 0));
        let players = Clients::ping_pong(address, 16, "1", 1, |reply| b"xyz".contains(&reply[0]));
        players.measure(&server, &format!("row 21: {service} beside {floods} floods"), limit);
        flood.stop();
        server.returns_to(baseline, "rps");
    }
    server.stop();
}

#[test]
#[ignore = "takes two minutes, and measures memory: needs an idle machine"]
fn row_22_ten_thousand_players_who_never_read_fit_into_the_memory_of_a_deployment() {
    raise_open_files(12_000);
    let server = start(&memory::SETTINGS);
    let baseline = server.baseline();
    memory::check_unread_replies(&server, "solo", "rps", "1", 24_000);
    assert_eq!(exchange(server.address("solo"), b"1").len(), 1);
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
#[ignore = "takes 30 s, and needs python3"]
fn row_51_restarts_with_inherited_sockets_lose_no_move() {
    const RESTARTS: usize = 20;
    const SOLO: Exchange = Exchange { request: b"2", replies: &[b"x", b"y", b"z"] };
    const DUEL: Exchange = Exchange { request: b"2", replies: &[b"x", b"v"] };
    let sockets = ["solo=127.0.0.1:0", "duel=127.0.0.1:0"];
    let arguments = ["--solo-listen", "fd:solo", "--duel-listen", "fd:duel"];
    let mut server = RestartedServer::start(&BINARY, RESTARTS, &sockets, &arguments);
    let [solo, duel] = [server.address("solo"), server.address("duel")];
    let milliseconds = Duration::from_millis;
    let loads = vec![
        ("solo, short connections", RestartLoad::start(solo, 4, SOLO, Use::Short(Duration::ZERO))),
        ("solo, games without a pause", RestartLoad::start(solo, 4, SOLO, Use::KeepAlive(Duration::ZERO))),
        ("solo, games with pauses of 50 ms", RestartLoad::start(solo, 8, SOLO, Use::KeepAlive(milliseconds(50)))),
        ("duel, short connections", RestartLoad::start(duel, 4, DUEL, Use::Short(Duration::ZERO))),
        ("duel, games without a pause", RestartLoad::start(duel, 4, DUEL, Use::KeepAlive(Duration::ZERO))),
        ("duel, games with pauses of 50 ms", RestartLoad::start(duel, 8, DUEL, Use::KeepAlive(milliseconds(50)))),
    ];
    restart_under_load(&mut server, RESTARTS, loads);
    let (is_right, log) = server.stop();
    assert!(is_right && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
    assert_eq!(log.matches(" rejected=0 panicked=0 aborted=0").count(), RESTARTS + 1, "{log}");
}
