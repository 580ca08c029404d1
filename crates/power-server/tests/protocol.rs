//! PROTOCOL.md: what it says of the power wire is what the program does.

mod support;

use proto::testing::python;
use proto::testing::transcript::transcripts;
use support::program::start;

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for transcript in transcripts("power") {
        let server = start(&transcript.arguments());
        transcript.replay(server.address("power"));
        server.stop();
    }
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn a_python_client_written_from_the_page_alone_finds_nothing_wrong() {
    let server = start(&[]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    python::run(&[program], &[&server.address("power").to_string()]);
    server.stop();
}
