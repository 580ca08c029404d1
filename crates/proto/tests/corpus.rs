//! What the fuzzer has found worth keeping, played again.

use proto::testing::properties::{power, replay, rps};

#[test]
fn the_power_wire_holds_what_it_promises() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/power_wire"), power::check);
}

#[test]
fn the_rock_paper_scissors_wire_holds_what_it_promises() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/rps_wire"), rps::check);
}
