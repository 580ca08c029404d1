//! PROTOCOL.md: what it says of the power wire is what the program does.

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
    let (program, folder) = (env!("CARGO_BIN_EXE_power-server"), env!("CARGO_TARGET_TMPDIR"));
    let mut command = running::command(program, folder, &["POWER_SERVER_LISTEN"], &[]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    Program::start(&mut command, &["power"])
}

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for transcript in transcripts("power") {
        let server = start(&transcript.settings);
        transcript.replay(server.address("power"));
        server.stop();
    }
}

#[test]
fn a_client_written_from_the_page_alone_finds_nothing_wrong() {
    let server = start(&[]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
    peer::run(program, &[&server.address("power").to_string()]);
    server.stop();
}
