//! The command line.
//!
//! - this file: the commands and their options, except those of `bench` and `check`;
//! - `tls`: the options of TLS; `values`: value parsers; `help`: help in the language of the process; `usage`: reports
//!   of usage errors.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod help;
pub(crate) mod tls;
mod usage;
pub(crate) mod values;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use proto::endpoint::Endpoint;
use proto::wire::number::{Literal, Number, classify};
use proto::wire::power::client::Framing;
use proto::wire::rps::Move;

use crate::input::Argument;
use crate::language::{Language, texts};
use crate::output::Output;
use crate::target::{Target, endpoint};
use bench::BenchCommand;
use check::CheckCommand;
use help::Detail;
use tls::TlsOptions;
use values::{at_most, duration, framing, number, odd, or_input, rps_move};

#[derive(Debug, Parser)]
#[command(version, about = texts::about())]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command. They may come before and after the command's name.
#[derive(Args, Debug)]
pub(crate) struct Common {
    #[arg(long, global = true, value_name = "LANGUAGE", help = texts::lang())]
    pub(crate) lang: Option<Language>,

    #[command(flatten)]
    pub(crate) output: Output,

    #[arg(short, long, global = true, help = texts::verbose())]
    pub(crate) verbose: bool,

    #[arg(long, global = true, help = texts::trace())]
    pub(crate) trace: bool,

    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration,
          help = texts::timeout())]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: TlsOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(subcommand, about = texts::power())]
    Power(PowerCommand),
    #[command(subcommand, about = texts::rps())]
    Rps(RpsCommand),
    #[command(subcommand, about = texts::bench())]
    Bench(BenchCommand),
    #[command(subcommand, about = texts::probe())]
    Probe(ProbeCommand),
    #[command(subcommand, about = crate::language::check::check())]
    Check(CheckCommand),
    #[command(about = texts::completions())]
    Completions {
        #[arg(value_name = "SHELL", help = texts::shell())]
        shell: clap_complete::Shell,
    },
    #[command(about = texts::man())]
    Man {
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, help = texts::man_folder())]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PowerCommand {
    #[command(about = texts::square())]
    Square(PowerArguments),
    #[command(about = texts::cube())]
    Cube(PowerArguments),
    #[command(about = texts::fourth())]
    Fourth(PowerArguments),
    #[command(about = texts::echo())]
    Echo(PowerArguments),
}

#[derive(Args, Debug)]
pub(crate) struct PowerArguments {
    #[arg(required = true, value_name = "NUMBER", value_parser = or_input(number), help = texts::numbers())]
    pub(crate) numbers: Vec<Argument<Number>>,

    #[arg(long, help = texts::keep_alive())]
    pub(crate) keep_alive: bool,

    #[arg(long, value_name = "HOW", value_parser = framing(), help = texts::framing())]
    pub(crate) framing: Option<Framing>,

    #[arg(long, value_name = "BYTES", value_parser = at_most::<1_000_000>, help = texts::split())]
    pub(crate) split: Option<u64>,

    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = duration, requires = "split",
          help = texts::delay())]
    pub(crate) delay: Duration,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint, help = Target::Power.addr_help())]
    pub(crate) addr: Option<Endpoint>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RpsCommand {
    #[command(about = texts::throw())]
    Throw(ThrowArguments),
    #[command(about = texts::play())]
    Play(PlayArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ThrowArguments {
    #[arg(required = true, value_name = "MOVE", value_parser = or_input(rps_move), help = texts::moves())]
    pub(crate) moves: Vec<Argument<Move>>,

    #[command(flatten)]
    pub(crate) opponent: OpponentArguments,
}

#[derive(Args, Debug)]
pub(crate) struct PlayArguments {
    #[arg(long, value_name = "ROUNDS", value_parser = odd, help = texts::best_of())]
    pub(crate) best_of: Option<u64>,

    #[command(flatten)]
    pub(crate) opponent: OpponentArguments,
}

#[derive(Args, Debug)]
pub(crate) struct OpponentArguments {
    #[arg(long, help = texts::duel())]
    pub(crate) duel: bool,

    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, requires = "duel",
          help = texts::window())]
    pub(crate) window: Duration,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint, help = texts::opponent_addr())]
    pub(crate) addr: Option<Endpoint>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    #[command(about = texts::probe_power(), mut_args(|arg| Target::Power.describe_addr(arg)))]
    Power(ProbeArguments),
    #[command(about = texts::probe_rps(), mut_args(|arg| Target::Rps.describe_addr(arg)))]
    Rps(ProbeArguments),
    #[command(about = texts::probe_duel())]
    Duel(DuelProbeArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ProbeArguments {
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    pub(crate) addr: Option<Endpoint>,

    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::wait())]
    pub(crate) wait: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct DuelProbeArguments {
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', value_parser = endpoint,
          help = Target::Duel.addrs_help())]
    pub(crate) addr: Vec<Endpoint>,

    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::wait())]
    pub(crate) wait: Option<Duration>,
}

impl Arguments {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    ///
    /// The exit code, after printing help or version, or reporting a usage error.
    pub(crate) fn from_command_line() -> Result<Self, ExitCode> {
        let arguments: Vec<_> = env::args_os().map(escape_negative).collect();
        Language::choose(&arguments);
        let detail = if requests_short_help(&arguments) { Detail::Short } else { Detail::Long };
        let matches = help::localized(Self::command(), detail).try_get_matches_from(&arguments);
        let parsed = matches.and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| usage::report(&error, &arguments))
    }
}

/// Returns the command line in the language of the process.
pub(crate) fn command() -> clap::Command {
    help::localized(Arguments::command(), Detail::Long)
}

/// Like [`command`], without the subcommands `help`.
pub(crate) fn command_without_help_subcommands() -> clap::Command {
    help::localized(Arguments::command().disable_help_subcommand(true), Detail::Long)
}

/// Whether the help that these arguments may request is the short one: `-h`, alone or among other flags.
fn requests_short_help(arguments: &[OsString]) -> bool {
    let is_short = |text: &str| text.starts_with('-') && !text.starts_with("--") && text.contains('h');
    let options = arguments.iter().take_while(|argument| *argument != "--");
    options.map(OsString::as_os_str).filter_map(OsStr::to_str).any(is_short)
}

/// Puts a blank before a negative number that clap would parse as options: `-.5`, `-1e-5`.
fn escape_negative(argument: OsString) -> OsString {
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
    fn the_command_line_passes_the_checks_of_clap() {
        command().debug_assert();
    }

    #[test]
    fn negative_numbers_are_escaped_and_options_are_not() {
        for negative in ["-3", "-.5", "-1e-5", "-1.5E+3", "-0", "-1e999"] {
            assert_eq!(escape_negative(negative.into()), OsString::from(format!(" {negative}")));
        }
        for other in ["-", "--timeout", "-h", "-x5", "-e5", "3"] {
            assert_eq!(escape_negative(other.into()), OsString::from(other));
        }
    }
}
