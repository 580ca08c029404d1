//! The client's program: arguments, then the command, then its exit code.

use std::process::ExitCode;

use cli_client::arguments::Arguments;

fn main() -> ExitCode {
    cli_client::run(Arguments::of_command_line())
}
