//! PROTOCOL.md: what it says of the games' wire is what the program does.

#[path = "../../proto/tests/support/program.rs"]
mod running;
#[path = "../../proto/tests/support/transcript.rs"]
mod transcript;

use running::Program;
use transcript::transcripts;

#[test]
fn every_transcript_of_the_page_comes_out_as_it_stands() {
    for game in ["solo", "duel"] {
        for transcript in transcripts(game) {
            let mut command = running::command(
                env!("CARGO_BIN_EXE_rps-server"),
                env!("CARGO_TARGET_TMPDIR"),
                &["RPS_SERVER_SOLO_LISTEN", "RPS_SERVER_DUEL_LISTEN"],
                &[],
            );
            command.args(transcript.settings.iter().flat_map(|setting| ["--set", setting]));
            let server = Program::start(&mut command, &["solo", "duel"]);
            transcript.replay(server.address(game));
            server.stop();
        }
    }
}
