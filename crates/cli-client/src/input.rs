//! What people write: operands and moves, from arguments or, where an argument is `-`, from standard input, one a line;
//! and durations.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use futures::StreamExt;
use proto::wire::number::Number;
use proto::wire::quoted::Quoted;
use proto::wire::rps::Move;
use tokio::io::Stdin;
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::failure::Failure;

/// One argument: a value, or `-` for those on standard input.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument<T> {
    /// The value itself.
    Value(T),
    /// Standard input.
    Input,
}

/// A number, or `-`.
pub type NumberArgument = Argument<Operand>;

/// A move, or `-`.
pub type MoveArgument = Argument<Hand>;

impl<T: FromStr> FromStr for Argument<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "-" { Ok(Self::Input) } else { text.parse().map(Self::Value) }
    }
}

/// A number as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand(pub Number);

impl FromStr for Operand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: proto::wire::number::NumberError| error.to_string())
    }
}

/// A move as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hand(pub Move);

impl FromStr for Hand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.trim().to_lowercase().as_str() {
            "1" | "s" | "scissors" | "剪刀" => Move::Scissors,
            "2" | "r" | "rock" | "石头" => Move::Rock,
            "3" | "p" | "paper" | "布" => Move::Paper,
            _ => return Err("not a move: scissors, rock or paper (s, r, p; 剪刀, 石头, 布; 1, 2, 3)".to_owned()),
        }))
    }
}

/// The longest duration that can be asked for: far from where adding it to a clock could overflow.
const LONGEST: Duration = Duration::from_hours(24);

/// A duration as a person writes it.
///
/// # Errors
///
/// What would be right, if it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
        _ => Err("write a duration with its unit, such as 5s or 250ms, up to 24h".to_owned()),
    }
}

/// The longest line of input; no number and no move needs as much.
const LONGEST_LINE: usize = 4096;

/// Standard input, a value a line.
#[derive(Debug)]
pub struct Input {
    lines: FramedRead<Stdin, LinesCodec>,
    line: u64,
}

impl Input {
    /// Standard input from where it stands.
    #[must_use]
    pub fn open() -> Self {
        Self { lines: FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(LONGEST_LINE)), line: 0 }
    }

    /// The value on the next line, if that is not blank; `None` after the last. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the line is no such value.
    pub async fn next<T: FromStr<Err: Display>>(&mut self) -> Option<Result<Option<T>, Failure>> {
        let line = self.lines.next().await?;
        self.line += 1;
        let value = match line {
            Ok(line) if line.trim().is_empty() => Ok(None),
            Ok(line) => line.parse().map(Some).map_err(|error| format!("{} is {error}", Quoted(line.as_bytes()))),
            Err(error) => Err(error.to_string()),
        };
        Some(value.map_err(|wrong| Failure::Usage(format!("standard input, line {}: {wrong}", self.line))))
    }
}

/// The values of a command's arguments in order, those of standard input among them.
#[derive(Debug)]
pub struct Values<T> {
    arguments: std::vec::IntoIter<Argument<T>>,
    input: Option<Input>,
}

impl<T: FromStr<Err: Display>> Values<T> {
    /// The values of these arguments.
    #[must_use]
    pub fn of(arguments: Vec<Argument<T>>) -> Self {
        Self { arguments: arguments.into_iter(), input: None }
    }

    /// The next value; `None` after the last. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if a line of input is no such value.
    pub async fn next(&mut self) -> Result<Option<T>, Failure> {
        loop {
            if let Some(input) = &mut self.input {
                match input.next().await {
                    Some(Ok(None)) => continue,
                    Some(value) => return value,
                    None => self.input = None,
                }
            }
            match self.arguments.next() {
                Some(Argument::Value(value)) => return Ok(Some(value)),
                Some(Argument::Input) => self.input = Some(Input::open()),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_taken_in_every_way_that_people_write_it() {
        for (shown, ways) in [
            (Move::Scissors, ["1", "s", "scissors", "剪刀", "SCISSORS"]),
            (Move::Rock, ["2", "r", "rock", "石头", "Rock"]),
            (Move::Paper, ["3", "p", "paper", "布", " paper "]),
        ] {
            for way in ways {
                assert_eq!(way.parse(), Ok(Hand(shown)), "{way}");
            }
        }
        for wrong in ["", "4", "lizard", "12"] {
            assert!(wrong.parse::<Hand>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_an_end() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "0s", "-1s", "25h", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dash_alone_is_standard_input() {
        assert_eq!("-".parse::<NumberArgument>(), Ok(Argument::Input));
        assert!(matches!("-1".parse::<NumberArgument>(), Ok(Argument::Value(_))));
    }
}
