//! Checks the wire properties with the stored fuzz corpus.

use proto::testing::properties::{power, proxy_header, replay, rps, websocket};

#[test]
fn the_power_wire_properties_hold_for_the_corpus() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/power_wire"), power::check);
}

#[test]
fn the_rock_paper_scissors_wire_properties_hold_for_the_corpus() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/rps_wire"), rps::check);
}

#[test]
fn the_properties_of_the_proxy_header_hold_for_the_corpus() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/proxy_header"), proxy_header::check);
}

#[test]
fn the_properties_of_websocket_frames_hold_for_the_corpus() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/websocket"), websocket::check);
}
