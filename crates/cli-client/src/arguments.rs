//! What can be asked for on the command line.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::wire::number::{Scan, scan};
use proto::wire::power::client;

use crate::address::{DuelAddress, PowerAddress, RpsAddress};
use crate::input::{MoveArgument, NumberArgument, duration};
use crate::opponent;

/// Asks the power server and plays rock-paper-scissors
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Arguments {
    /// How long to wait in each phase: for the address, the connection, the
    /// sending, the reply
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The arguments of this process; wrong ones end it with a message and exit code 2.
    #[must_use]
    pub fn of_command_line() -> Self {
        Self::parse_from(env::args_os().map(guarded))
    }
}

/// Puts a blank before a negative number, which its grammar allows: what begins with a dash is taken for an option
/// otherwise, at least where it is written `-.5` or `-1e-5`.
fn guarded(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with('-') && scan(text.as_bytes()) == Scan::Whole => format!(" {text}").into(),
        _ => argument,
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the server refused, or a check failed; 2 wrong usage;
3 cannot connect; 4 timed out; 5 the server broke the protocol; 130 Ctrl-C";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask for powers of numbers, one answer a line
    Power(PowerCommand),
    /// Play rock-paper-scissors on one connection
    Rps(RpsCommand),
    /// Check with a real exchange that a server works
    Probe(ProbeCommand),
}

/// `power`.
#[derive(Args, Debug)]
pub struct PowerCommand {
    /// What to ask
    #[command(subcommand)]
    pub operation: PowerOperation,
}

/// What to ask of numbers.
#[derive(Debug, Subcommand)]
pub enum PowerOperation {
    /// x·x
    Square(PowerArguments),
    /// x·x·x
    Cube(PowerArguments),
    /// x·x·x·x
    Fourth(PowerArguments),
    /// The number itself
    Echo(PowerArguments),
}

/// The numbers, and how to ask.
#[derive(Args, Debug)]
pub struct PowerArguments {
    /// Numbers such as 2, -0.5 or 1e-3; - reads them from standard input, one a
    /// line
    #[arg(required = true, value_name = "NUMBER")]
    pub numbers: Vec<NumberArgument>,

    /// Ask all on one connection, in lines, without waiting for each answer
    #[arg(long)]
    pub keep_alive: bool,

    /// How to end a request, and so how to know where the reply ends
    /// [default: eof; with --keep-alive: line]
    #[arg(long, value_enum)]
    pub framing: Option<Framing>,

    /// Where the server listens.
    #[command(flatten)]
    pub address: PowerAddress,
}

/// How to end a request on a short connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// Close the sending half; the reply ends with the stream
    Eof,
    /// Send a line; the reply is a line
    Line,
    /// Send nothing more; the reply is what one read delivers
    Bare,
}

impl From<Framing> for client::Framing {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Eof => Self::EndOfStream,
            Framing::Line => Self::Line,
            Framing::Bare => Self::Bare,
        }
    }
}

/// `rps`.
#[derive(Args, Debug)]
pub struct RpsCommand {
    /// How to play
    #[command(subcommand)]
    pub game: Game,
}

/// How to play.
#[derive(Debug, Subcommand)]
pub enum Game {
    /// Play these moves, one line each: the move and how it ended
    Throw(ThrowArguments),
    /// Play at a prompt, or moves from standard input, and keep the score
    Play(opponent::Arguments),
}

/// The moves, and against whom.
#[derive(Args, Debug)]
pub struct ThrowArguments {
    /// scissors, rock, paper (or s, r, p, or 剪刀, 石头, 布, or 1, 2, 3); - reads
    /// moves from standard input, one a line
    #[arg(required = true, value_name = "MOVE")]
    pub moves: Vec<MoveArgument>,

    /// Against whom.
    #[command(flatten)]
    pub opponent: opponent::Arguments,
}

/// `probe`.
#[derive(Args, Debug)]
pub struct ProbeCommand {
    /// Which server to check
    #[command(subcommand)]
    pub service: Service,
}

/// Which server to check.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Ask the power server for a square
    Power(ProbeArguments<PowerAddress>),
    /// Play a round against the house
    Rps(ProbeArguments<RpsAddress>),
    /// Send the duel a byte that is no move, which disturbs no player
    Duel(ProbeArguments<DuelAddress>),
}

/// A server's address, and how to wait for it.
#[derive(Args, Debug)]
pub struct ProbeArguments<A: Args> {
    /// Where the server listens.
    #[command(flatten)]
    pub address: A,

    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// How to wait.
#[derive(Args, Debug)]
pub struct Wait {
    /// Try again until it works, for so long
    #[arg(long = "wait", value_name = "DURATION", value_parser = duration)]
    pub limit: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
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
