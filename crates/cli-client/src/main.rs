//! The command-line client of both services.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli_client::run()
}
