//! `power`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use proto::client::power::Pieces;
use proto::wire::power::{Operation, client};

use crate::address::PowerAddress;
use crate::input::{NumberArgument, at_most, duration};
use crate::language::texts;

/// `power`.
#[derive(Args, Debug)]
pub struct PowerCommand {
    /// What to ask.
    #[command(subcommand)]
    pub operation: PowerOperation,
}

/// What to ask of numbers.
#[derive(Debug, Subcommand)]
pub enum PowerOperation {
    /// x·x.
    #[command(about = texts::square())]
    Square(PowerArguments),
    /// x·x·x.
    #[command(about = texts::cube())]
    Cube(PowerArguments),
    /// x·x·x·x.
    #[command(about = texts::fourth())]
    Fourth(PowerArguments),
    /// The number itself.
    #[command(about = texts::echo())]
    Echo(PowerArguments),
}

impl PowerOperation {
    /// The operation, and of which numbers.
    #[must_use]
    pub fn parts(self) -> (Operation, PowerArguments) {
        match self {
            Self::Square(arguments) => (Operation::Square, arguments),
            Self::Cube(arguments) => (Operation::Cube, arguments),
            Self::Fourth(arguments) => (Operation::Fourth, arguments),
            Self::Echo(arguments) => (Operation::Echo, arguments),
        }
    }
}

/// The numbers, and how to ask.
#[derive(Args, Debug)]
pub struct PowerArguments {
    /// The numbers.
    #[arg(required = true, value_name = "NUMBER", help = texts::numbers())]
    pub numbers: Vec<NumberArgument>,

    /// All on one connection.
    #[arg(long, help = texts::keep_alive())]
    pub keep_alive: bool,

    /// How to end a request.
    #[arg(long, value_enum, value_name = "HOW", help = texts::framing())]
    pub framing: Option<Framing>,

    /// How many bytes a piece has.
    #[arg(long, value_name = "BYTES", value_parser = at_most::<1_000_000>, help = texts::split())]
    pub split: Option<u64>,

    /// How long to wait between two pieces.
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = duration, requires = "split",
          help = texts::delay())]
    pub delay: Duration,

    /// Where the server listens.
    #[command(flatten)]
    pub address: PowerAddress,
}

impl PowerArguments {
    /// How each request is sent in pieces, if it is.
    #[must_use]
    pub fn pieces(&self) -> Option<Pieces> {
        let bytes = NonZeroUsize::new(usize::try_from(self.split?).ok()?)?;
        Some(Pieces { bytes, pause: self.delay })
    }
}

/// How to end a request on a short connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// Close the sending half; the reply ends with the stream.
    #[default]
    Eof,
    /// Send a line; the reply is a line.
    Line,
    /// Send nothing more; the reply is what one read delivers.
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
