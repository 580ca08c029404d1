//! The command-line client of the power server and the rock-paper-scissors server.
//!
//! - `arguments`: the command line; `target`: the servers and their addresses; `input`: values from arguments and
//!   standard input;
//! - `session`: the state shared by all commands: `output`, `interrupt`, `trace`; `status_line`: progress on a
//!   terminal; `terminal`: the echo of keys during a wait;
//! - `error`: errors and exit codes;
//! - `language`: all texts, in English and Chinese;
//! - `power`, `rps`, `bench`, `probe`, `check`: the commands; `completions`, `man`: what an installation adds to the
//!   program.
//!
//! # How a command runs
//!
//! `arguments` parses the command line into a command and the common options, from which a `Session` is built. The
//! command sends requests through `proto::client`, which has a timeout for each phase. Replies go to `output`, as lines
//! or JSON objects. An error is a `CliError`, with a message and an exit code. On a signal the command's future is
//! dropped, which withdraws a move in play, and then the process dies by the signal.

mod arguments;
mod bench;
mod check;
mod completions;
mod error;
mod input;
mod interrupt;
mod language;
mod man;
mod open_files;
mod output;
mod power;
mod probe;
mod rps;
mod session;
mod status_line;
mod target;
mod terminal;
mod trace;

use std::process::ExitCode;

use tokio::runtime::Builder;

use arguments::{Arguments, Command, RpsCommand};
use error::CliError;
use session::Session;

/// Runs the command on the command line, and returns the exit code.
#[must_use]
pub fn run() -> ExitCode {
    if let Some(code) = completions::answer() {
        return code;
    }
    let arguments = match Arguments::from_command_line() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let output = arguments.common.output;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.report_error(&(), &error);
            if let CliError::Interrupted(code) = error {
                interrupt::die(code);
            }
            ExitCode::from(error.code())
        }
    }
}

fn start(Arguments { common, command }: Arguments) -> Result<(), CliError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let session = Session::new(&common)?;
    let done = runtime.block_on(execute(command, &session));
    // A read from standard input may block forever; do not wait for it.
    runtime.shutdown_background();
    done
}

async fn execute(command: Command, session: &Session) -> Result<(), CliError> {
    match command {
        Command::Power(command) => session.run_until_cancelled(power::run(command, session)).await,
        Command::Rps(RpsCommand::Throw(arguments)) => session.run_until_cancelled(rps::throw(arguments, session)).await,
        Command::Rps(RpsCommand::Play(arguments)) => rps::play(arguments, session).await,
        Command::Bench(command) => bench::run(command, session).await,
        Command::Check(command) => session.run_until_cancelled(check::run(command, session)).await,
        Command::Probe(command) => session.run_until_cancelled(probe::run(command, session)).await,
        Command::Completions { shell } => completions::print_script(shell),
        Command::Man { folder } => man::run(folder.as_deref()),
    }
}
