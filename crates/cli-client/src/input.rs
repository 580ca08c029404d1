//! What people write: operands and moves, from arguments or, where an argument is `-`, from standard input, one a line;
//! and durations, counts and addresses to connect from.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use proto::wire::number::Number;
use proto::wire::quoted::Quoted;
use proto::wire::rps::Move;
use tokio::io::Stdin;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::failure::Failure;
use crate::language::{explain, texts};

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
        text.parse().map(Self).map_err(explain::number)
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
            _ => return Err(texts::not_a_move()),
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
        _ => Err(texts::not_a_duration()),
    }
}

/// The most bytes of an exchange either way.
const LONGEST_EXCHANGE: usize = 512;

/// Bytes as a person writes them: text, in which a backslash begins one of a few escapes.
///
/// # Errors
///
/// What would be right, if it is none, empty, or too long.
pub fn escaped(text: &str) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (byte, length) = match after.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (u8::from_str_radix(&after[1..3], 16).unwrap_or_default(), 3)
            }
            _ => return Err(texts::no_escape(&after.chars().take(3).collect::<String>())),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.is_empty() || bytes.len() > LONGEST_EXCHANGE { Err(texts::not_an_exchange()) } else { Ok(bytes.into()) }
}

/// A count as a person writes it, from 1 to `MOST`; `k` and `m` stand for thousands and millions.
///
/// # Errors
///
/// What would be right, if it is none.
pub fn at_most<const MOST: u64>(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| is_number).and_then(|count| count.checked_mul(unit));
    count.filter(|count| (1..=MOST).contains(count)).ok_or_else(|| texts::not_a_count(1, MOST))
}

/// An odd number as a person writes it, so that more than half of it is never half.
///
/// # Errors
///
/// What would be right, if it is none.
pub fn odd(text: &str) -> Result<u64, String> {
    let number = at_most::<999_999>(text)?;
    if number % 2 == 1 { Ok(number) } else { Err(texts::not_odd()) }
}

/// Addresses to connect from, in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(pub Vec<IpAddr>);

impl Sources {
    /// So many addresses of one range: each has tens of thousands of ports.
    const LONGEST_RANGE: usize = 256;

    fn range(first: IpAddr, last: IpAddr) -> Option<Vec<IpAddr>> {
        let range: Vec<IpAddr> = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits()..=last.to_bits())
                .take(Self::LONGEST_RANGE + 1)
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits()..=last.to_bits())
                .take(Self::LONGEST_RANGE + 1)
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .collect(),
            _ => Vec::new(),
        };
        (1..=Self::LONGEST_RANGE).contains(&range.len()).then_some(range)
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| text.trim().parse::<IpAddr>().ok();
        let ranges: Option<Vec<_>> = text
            .split(',')
            .map(|part| match part.split_once('-') {
                Some((first, last)) => Self::range(address(first)?, address(last)?),
                None => Some(vec![address(part)?]),
            })
            .collect();
        let addresses = ranges.unwrap_or_default().concat();
        let one_kind = addresses.iter().all(|address| address.is_ipv4() == addresses[0].is_ipv4());
        if addresses.is_empty() || !one_kind { Err(texts::not_sources()) } else { Ok(Self(addresses)) }
    }
}

/// The longest line of input; no number and no move needs as much.
const LONGEST_LINE: usize = 4096;

/// Standard input, a value a line.
#[derive(Debug)]
pub struct Input {
    lines: FramedRead<Stdin, LinesCodec>,
    line: u64,
    /// Whether the last line could not be read, after which the lines pause with a `None` that is not the end.
    paused: bool,
}

impl Input {
    /// Standard input from where it stands.
    #[must_use]
    pub fn open() -> Self {
        Self {
            lines: FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(LONGEST_LINE)),
            line: 0,
            paused: false,
        }
    }

    /// The value on the next line, if that is not blank; `None` after the last. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the line is no such value; [`Failure::Input`], if it cannot be read.
    pub async fn next<T: FromStr<Err: Display>>(&mut self) -> Option<Result<Option<T>, Failure>> {
        let value = self.next_alone().await?;
        Some(value.map_err(|failure| match failure {
            Failure::Usage(wrong) => Failure::Usage(texts::input_line(self.line, &wrong)),
            failure => failure,
        }))
    }

    /// The same for whoever sees the line, so that nothing has to say which one it is.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn next_alone<T: FromStr<Err: Display>>(&mut self) -> Option<Result<Option<T>, Failure>> {
        if self.paused {
            let _pause = self.lines.next().await;
            self.paused = false;
        }
        let line = self.lines.next().await?;
        self.paused = line.is_err();
        self.line += 1;
        Some(match line {
            Ok(line) if line.trim().is_empty() => Ok(None),
            Ok(line) => line
                .parse()
                .map(Some)
                .map_err(|error: T::Err| Failure::Usage(texts::is_wrong(&quoted(&line), &error.to_string()))),
            Err(LinesCodecError::MaxLineLengthExceeded) => Err(Failure::Usage(texts::input_too_long(LONGEST_LINE))),
            Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Failure::Usage(texts::input_not_text()))
            }
            Err(LinesCodecError::Io(error)) => Err(Failure::Input(error)),
        })
    }
}

/// A line of input, fit to be shown: letters of any script as they are, where [`Quoted`] would show their bytes.
fn quoted(line: &str) -> String {
    if line.chars().any(char::is_control) || line.chars().count() > 24 {
        Quoted(line.as_bytes()).to_string()
    } else {
        format!("'{}'", line.trim())
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
    fn bytes_are_text_with_escapes() {
        for (text, bytes) in
            [("PING", &b"PING"[..]), ("a\\r\\n", b"a\r\n"), ("\\0\\t\\\\\\x7f\\xFFé", b"\0\t\\\x7f\xff\xc3\xa9")]
        {
            assert_eq!(escaped(text).as_deref(), Ok(bytes), "{text}");
        }
        for wrong in ["", "\\", "a\\", "\\q", "\\x1", "\\xg0", "\\x é", &"1".repeat(LONGEST_EXCHANGE + 1)] {
            assert!(escaped(wrong).is_err(), "{wrong}");
        }
    }

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
    fn a_count_may_have_a_unit() {
        for (text, count) in [("1", 1), ("100k", 100_000), ("2m", 2_000_000), ("3M", 3_000_000)] {
            assert_eq!(at_most::<9_000_000>(text), Ok(count));
        }
        for wrong in ["", "0", "k", "-1", "+1", "1.5k", "1g", "10m", "99999999999999999999"] {
            assert!(at_most::<9_000_000>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(odd("5"), Ok(5));
        assert!(odd("4").is_err() && odd("0").is_err());
    }

    #[test]
    fn sources_are_addresses_and_ranges_of_one_kind() {
        let sources = |text: &str| text.parse::<Sources>().map(|sources| sources.0.len());
        assert_eq!(sources("127.0.0.2"), Ok(1));
        assert_eq!(sources("127.0.0.2-127.0.0.9, 127.0.1.1"), Ok(9));
        assert_eq!(sources("127.0.0.0-127.0.0.255"), Ok(256));
        assert_eq!(sources("::1"), Ok(1));
        for wrong in [
            "",
            "localhost",
            "127.0.0.9-127.0.0.2",
            "127.0.0.0-127.0.1.0",
            "127.0.0.2,::1",
            "127.0.0.2-::1",
            "1-2",
            ",",
        ] {
            assert!(sources(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dash_alone_is_standard_input() {
        assert_eq!("-".parse::<NumberArgument>(), Ok(Argument::Input));
        assert!(matches!("-1".parse::<NumberArgument>(), Ok(Argument::Value(_))));
    }
}
