//! PROTOCOL.md: what it says of the games' wire is what the program does.

#[path = "../../proto/tests/support/peer.rs"]
mod peer;
#[path = "../../proto/tests/support/program.rs"]
mod running;
#[path = "../../proto/tests/support/transcript.rs"]
mod transcript;

use running::Program;
use transcript::transcripts;

/// A server with these settings, as `key=value`.
fn start(settings: &[String]) -> Program {
    let (program, folder) = (env!("CARGO_BIN_EXE_rps-server"), env!("CARGO_TARGET_TMPDIR"));
    let listeners = ["RPS_SERVER_SOLO_LISTEN", "RPS_SERVER_DUEL_LISTEN"];
    let mut command = running::command(program, folder, &listeners, &[]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    Program::start(&mut command, &["solo", "duel"])
}

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for game in ["solo", "duel"] {
        for transcript in transcripts(game) {
            let server = start(&transcript.settings);
            transcript.replay(server.address(game));
            server.stop();
        }
    }
}

#[test]
fn a_client_written_from_the_page_alone_finds_nothing_wrong() {
    let server = start(&["duel.window=5s".to_owned()]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    let [solo, duel] = ["solo", "duel"].map(|game| server.address(game).to_string());
    peer::run(program, &[&solo, &duel, "5"]);
    server.stop();
}
