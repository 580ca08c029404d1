//! The binary of the command-line client.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli_client::run()
}
