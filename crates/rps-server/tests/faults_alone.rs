//! The row of FAULTS.md that needs an idle machine. `crates/power-server/tests/faults_alone.rs` says how to run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use proto::testing::blocking::send_without_reading;
use support::program::start;

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
