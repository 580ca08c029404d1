//! The client's program: arguments, then the command, then its exit code.

use std::process::ExitCode;

use cli_client::arguments::Arguments;

fn main() -> ExitCode {
    match Arguments::of_command_line() {
        Ok(arguments) => cli_client::run(arguments),
        Err(code) => code,
    }
}
