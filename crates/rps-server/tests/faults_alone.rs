//! The rows of the fault campaign that need a machine to themselves. The power server's file of this name says how to run
//! them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use proto::testing::blocking::send_without_reading;
use support::program::start;

#[test]
#[ignore = "measures memory, and so takes the machine to itself"]
fn row_06_players_who_never_read_cost_no_memory() {
    let server = start(&["--set", "timeouts.write=300ms"]);
    let flight = vec![b'1'; 1 << 20];
    let send_without_reading = || send_without_reading(server.address("solo"), &flight);
    // The first ones pay for what a thread keeps.
    send_without_reading();
    send_without_reading();
    let (rest, before) = (server.baseline(), server.resident_kib());
    for _ in 0..3 {
        send_without_reading();
    }
    let grown = server.resident_kib().saturating_sub(before);
    println!("row 6: three players who never read grew it by {grown} KiB");
    assert!(grown < 1024, "grown by {grown} KiB");
    server.returns_to(rest, "rps");
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"write_timeout\"}"), 5);
    server.stop();
}
