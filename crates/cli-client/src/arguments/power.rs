//! `power`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use proto::wire::number::Number;
use proto::wire::power::{Operation, client};

use super::values::{at_most, duration, number, or_input};
use crate::input::Argument;
use crate::language::texts;
use crate::service::{Service, address};

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

impl PowerCommand {
    pub(crate) fn parts(self) -> (Operation, PowerArguments) {
        match self {
            Self::Square(arguments) => (Operation::Square, arguments),
            Self::Cube(arguments) => (Operation::Cube, arguments),
            Self::Fourth(arguments) => (Operation::Fourth, arguments),
            Self::Echo(arguments) => (Operation::Echo, arguments),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct PowerArguments {
    #[arg(required = true, value_name = "NUMBER", value_parser = or_input(number), help = texts::numbers())]
    pub(crate) numbers: Vec<Argument<Number>>,

    #[arg(long, help = texts::keep_alive())]
    pub(crate) keep_alive: bool,

    #[arg(long, value_enum, value_name = "HOW", help = texts::framing())]
    pub(crate) framing: Option<Framing>,

    #[arg(long, value_name = "BYTES", value_parser = at_most::<1_000_000>, help = texts::split())]
    pub(crate) split: Option<u64>,

    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = duration, requires = "split",
          help = texts::delay())]
    pub(crate) delay: Duration,

    #[arg(long, value_name = "HOST:PORT", value_parser = address, help = Service::Power.addr_help())]
    pub(crate) addr: Option<String>,
}

/// How to end a request on a short connection. Completions show the values' comments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
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
