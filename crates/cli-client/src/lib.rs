//! The command-line client of both services.
//!
//! - `arguments`: the command line; `service`: the servers' addresses; `input`: values from arguments and standard
//!   input;
//! - `session`: what every command works with: `output`, `interrupt` and `trace`; `status_line`: progress on a terminal;
//! - `error`: errors and their exit codes;
//! - `language`: all texts, in English and Chinese;
//! - `power`, `rps`, `bench`, `probe`: the commands.
//!
//! # The way of a command
//!
//! The command line is parsed into a command and the options common to all. These make a `Session`. The command sends
//! requests through `proto::client`, where every phase has its timeout. Replies go to `output`, as lines or objects; an
//! error is a `CliError`, which has a message and an exit code. A signal ends a command between two steps and drops it,
//! so that a move in play is taken back.

mod arguments;
mod bench;
mod error;
mod input;
mod interrupt;
mod language;
mod output;
mod power;
mod probe;
mod rps;
mod service;
mod session;
mod status_line;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use clap_complete::Shell;
use tokio::runtime::Builder;

use arguments::{Arguments, Command, RpsCommand};
use error::CliError;
use session::Session;

/// Runs the command that the process's arguments name, and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::of_command_line() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let output = arguments.common.output;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.report_error(&(), &failure);
            ExitCode::from(failure.code())
        }
    }
}

fn start(Arguments { common, command }: Arguments) -> Result<(), CliError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let session = Session::new(&common)?;
    let done = runtime.block_on(execute(command, &session));
    // A read from standard input may never end; don't wait for it.
    runtime.shutdown_background();
    done
}

async fn execute(command: Command, session: &Session) -> Result<(), CliError> {
    match command {
        Command::Power(command) => session.run_until_cancelled(power::run(command, session)).await,
        Command::Rps(RpsCommand::Throw(arguments)) => session.run_until_cancelled(rps::throw(arguments, session)).await,
        Command::Rps(RpsCommand::Play(arguments)) => rps::play(arguments, session).await,
        Command::Bench(command) => bench::run(command, session).await,
        Command::Probe(command) => session.run_until_cancelled(probe::run(command, session)).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: Shell) -> Result<(), CliError> {
    let mut command = arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    io::stdout().write_all(&script).map_err(CliError::of_output)
}
