//! The command-line client of both services.
//!
//! - [`arguments`]: what can be asked for; [`address`]: of whom; [`opponent`]: whom to play against;
//! - [`failure`]: what can go wrong, and the exit code of each;
//! - [`input`]: operands and moves, from arguments or standard input;
//! - [`output`]: answers to standard output, all else to standard error;
//! - [`power`], [`rps`] with [`play`], [`probe`]: the commands.

pub mod address;
pub mod arguments;
pub mod failure;
pub mod input;
pub mod opponent;
pub mod output;
pub mod play;
pub mod power;
pub mod probe;
pub mod rps;

use std::process::{self, ExitCode};
use std::time::Duration;
use std::{io, thread};

use proto::client::Timeouts;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use arguments::{Arguments, Command};
use failure::Failure;

/// Does what the arguments ask for, says on standard error what went wrong, and gives the exit code.
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let started = ctrl_c().and_then(|ctrl_c| Ok((ctrl_c, runtime?)));
    let done = started.map_err(Failure::System).and_then(|(ctrl_c, runtime)| {
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                // What the command was at is dropped here; a move that is in play is taken back by that.
                () = ctrl_c.cancelled() => Err(Failure::Interrupted),
                done = execute(arguments) => done,
            }
        });
        // A read from standard input may go on for ever, and nobody waits for it any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::complain(&message);
            }
            failure.exit_code()
        }
    }
}

/// A command that Ctrl-C ends has so long to end by itself.
const ENDING: Duration = Duration::from_millis(200);

/// Tells of Ctrl-C, and ends the process with 130 a moment later. This has a thread of its own, since whoever reads the
/// answers may hold up the command's.
fn ctrl_c() -> io::Result<CancellationToken> {
    let pressed = CancellationToken::new();
    let press = pressed.clone();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut interrupts = {
        let _within = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    thread::spawn(move || {
        if runtime.block_on(interrupts.recv()).is_some() {
            press.cancel();
            thread::sleep(ENDING);
            process::exit(i32::from(failure::INTERRUPTED));
        }
    });
    Ok(pressed)
}

async fn execute(arguments: Arguments) -> Result<(), Failure> {
    let timeouts = Timeouts::all(arguments.timeout);
    match arguments.command {
        Command::Power(command) => power::run(command, timeouts).await,
        Command::Rps(command) => rps::run(command, timeouts).await,
        Command::Probe(command) => probe::run(command, arguments.timeout).await,
    }
}
