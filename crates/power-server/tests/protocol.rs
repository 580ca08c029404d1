//! PROTOCOL.md: the server does what the page says about the power protocol.

mod support;

use proto::testing::python;
use proto::testing::transcript::transcripts;
use support::program::start;

#[test]
fn the_server_replays_every_transcript_of_the_page() {
    for transcript in transcripts("power") {
        let server = start(&transcript.arguments());
        transcript.replay(server.address("power"));
        server.stop();
    }
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn a_python_client_written_from_the_page_finds_no_error() {
    let server = start(&[]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    python::run(&[program], &[&server.address("power").to_string()]);
    server.stop();
}
