//! The command-line client of both services.
//!
//! - [`arguments`]: what can be asked for; [`address`]: of whom; [`opponent`]: whom to play against; [`input`]: operands
//!   and moves, from arguments or standard input;
//! - [`session`]: what holds for a whole command: [`output`], [`interrupt`] and what `--trace` shows;
//! - [`failure`]: what can go wrong, and the exit code of each;
//! - [`language`]: all that is said, in English and Chinese;
//! - [`power`], [`rps`] with [`play`], [`mod@bench`], [`probe`], and completions: the commands.
//!
//! # The way of a command
//!
//! The arguments are read, in the language of whoever asks, into a command and what holds for every command. A
//! [`Session`] is made of the latter. The command asks a server through `proto::client`, whose every phase has its
//! deadline; what it gets goes to [`output`], as a line or as an object, and what goes wrong is a [`Failure`], which has a
//! sentence and an exit code. A signal ends a command between two steps, so that a move in play is taken back.

pub mod address;
pub mod arguments;
pub mod bench;
pub mod failure;
pub mod input;
pub mod interrupt;
pub mod language;
pub mod opponent;
pub mod output;
pub mod play;
pub mod power;
pub mod probe;
mod round;
pub mod rps;
pub mod session;
mod trace;

use std::io;
use std::process::ExitCode;

use clap_complete::Shell;
use proto::client::Timeouts;
use tokio::runtime::Builder;

use arguments::{Arguments, Command};
use failure::Failure;
use interrupt::Interrupt;
use output::Output;
use session::Session;

/// Does what the arguments ask for, says what went wrong, and gives the exit code.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.common.json, arguments.common.quiet);
    match start(arguments, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.complain(&failure);
            failure.exit_code()
        }
    }
}

fn start(Arguments { common, command }: Arguments, output: Output) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    let interrupt = Interrupt::listen().map_err(Failure::System)?;
    let session = Session::new(output, Timeouts::all(common.timeout), interrupt, common.verbose, common.trace);
    let done = runtime.block_on(execute(command, &session));
    // A read from standard input may go on for ever, and nobody waits for it any more.
    runtime.shutdown_background();
    done
}

async fn execute(command: Command, session: &Session) -> Result<(), Failure> {
    match command {
        Command::Power(command) => session.until_asked_to_end(power::run(command, session)).await,
        Command::Rps(command) => rps::run(command, session).await,
        Command::Bench(command) => bench::run(command, session).await,
        Command::Probe(command) => session.until_asked_to_end(probe::run(command, session)).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut command = arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        written => written.map_err(Failure::Output),
    }
}
