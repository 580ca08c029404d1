//! What can be asked for on the command line.
//!
//! - this file: what holds for every command;
//! - [`power`], [`rps`], [`probe`], [`mod@bench`]: the commands' own;
//! - `help`: how all of this is told in the language of the process;
//! - `usage`: what is wrong with a command line.

pub(crate) mod bench;
mod help;
pub(crate) mod power;
pub(crate) mod probe;
pub(crate) mod rps;
mod usage;
pub(crate) mod values;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use proto::wire::number::{Literal, classify};

use crate::language::{Language, texts};
use crate::output::Output;
use bench::BenchCommand;
use power::PowerCommand;
use probe::ProbeCommand;
use rps::RpsCommand;
use values::duration;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(version, about = texts::about(), after_help = texts::exit_codes())]
pub(crate) struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) common: Common,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command. It may stand before and after its name.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct Common {
    /// The language, which has been chosen already.
    #[arg(long, global = true, value_name = "LANGUAGE", help = texts::lang())]
    pub(crate) lang: Option<Language>,

    /// Objects in place of lines.
    #[arg(long, global = true, help = texts::json())]
    pub(crate) json: bool,

    /// Answers and errors alone.
    #[arg(short, long, global = true, help = texts::quiet())]
    pub(crate) quiet: bool,

    /// Each connection's way.
    #[arg(short, long, global = true, help = texts::verbose())]
    pub(crate) verbose: bool,

    /// Each connection's bytes.
    #[arg(long, global = true, help = texts::trace())]
    pub(crate) trace: bool,

    /// How long to wait in each phase.
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration, help = texts::timeout())]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Numbers in, powers out.
    #[command(subcommand, about = texts::power())]
    Power(PowerCommand),
    /// Moves in, outcomes out.
    #[command(subcommand, about = texts::rps())]
    Rps(RpsCommand),
    /// Load, and what came of it.
    #[command(subcommand, about = texts::bench())]
    Bench(BenchCommand),
    /// Whether a server works.
    #[command(subcommand, about = texts::probe())]
    Probe(ProbeCommand),
    /// A script for a shell.
    #[command(about = texts::completions())]
    Completions {
        /// Which shell.
        #[arg(value_name = "SHELL", help = texts::shell())]
        shell: clap_complete::Shell,
    },
}

impl Common {
    pub(crate) fn output(&self) -> Output {
        Output { json: self.json, quiet: self.quiet }
    }
}

impl Arguments {
    /// The arguments of this process.
    ///
    /// # Errors
    ///
    /// The exit code, once what was asked for instead of a command (help, the version) or what is wrong has been said.
    pub(crate) fn of_command_line() -> Result<Self, ExitCode> {
        let arguments: Vec<_> = env::args_os().map(guarded).collect();
        Language::choose(&arguments);
        let matches = command().try_get_matches_from(&arguments);
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| usage::report(&error, &arguments))
    }
}

/// The command line, told of in the language of the process.
pub(crate) fn command() -> clap::Command {
    help::localized(Arguments::command())
}

/// Puts a blank before a negative number, which its grammar allows: what begins with a dash is taken for an option
/// otherwise, at least where it is written `-.5` or `-1e-5`.
fn guarded(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with('-') && matches!(classify(text.as_bytes()), Literal::Complete(_)) => {
            format!(" {text}").into()
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_negative_number_is_a_number_and_an_option_is_an_option() {
        for negative in ["-3", "-.5", "-1e-5", "-1.5E+3", "-0", "-1e999"] {
            assert_eq!(guarded(negative.into()), OsString::from(format!(" {negative}")));
        }
        for other in ["-", "--timeout", "-h", "-x5", "-e5", "3"] {
            assert_eq!(guarded(other.into()), OsString::from(other));
        }
    }
}
