//! Checks the program against PROTOCOL.md: its transcripts of the two games, and a client written from it.

mod support;

use proto::testing::python;
use proto::testing::transcript::transcripts;
use support::program::start;

#[test]
fn the_server_replies_as_in_each_transcript_of_the_protocol_page() {
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
fn a_python_client_written_from_the_protocol_page_finds_no_errors() {
    let server = start(&["--set", "duel.window=5s"]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    let [solo, duel] = ["solo", "duel"].map(|game| server.address(game).to_string());
    python::run(&[program], &[&solo, &duel, "5"]);
    server.stop();
}
