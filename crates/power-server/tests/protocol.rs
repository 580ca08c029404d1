//! PROTOCOL.md: what it says of the power wire is what the program does.

#[path = "../../proto/tests/support/program.rs"]
mod running;
#[path = "../../proto/tests/support/transcript.rs"]
mod transcript;

use running::Program;
use transcript::transcripts;

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for transcript in transcripts("power") {
        let mut command = running::command(
            env!("CARGO_BIN_EXE_power-server"),
            env!("CARGO_TARGET_TMPDIR"),
            &["POWER_SERVER_LISTEN"],
            &[],
        );
        command.args(transcript.settings.iter().flat_map(|setting| ["--set", setting]));
        let server = Program::start(&mut command, &["power"]);
        transcript.replay(server.address("power"));
        server.stop();
    }
}
