//! PROTOCOL.md: what it says of the games' wire is what the program does.

mod support;

use proto::testing::python;
use proto::testing::transcript::transcripts;
use support::program::start;

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for game in ["solo", "duel"] {
        for transcript in transcripts(game) {
            let server = start(&transcript.arguments());
            transcript.replay(server.address(game));
            server.stop();
        }
    }
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn a_python_client_written_from_the_page_alone_finds_nothing_wrong() {
    let server = start(&["--set", "duel.window=5s"]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    let [solo, duel] = ["solo", "duel"].map(|game| server.address(game).to_string());
    python::run(&[program], &[&solo, &duel, "5"]);
    server.stop();
}
