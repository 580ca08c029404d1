//! Parsers of the values on the command line. Each error says what would be right.

use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use proto::wire::number::Number;
use proto::wire::power::client::Framing;
use proto::wire::rps::Move;

use crate::input::Argument;
use crate::language::texts;

/// Makes a parser of values one that also accepts `-` for standard input.
pub(crate) fn or_input<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone,
) -> impl Fn(&str) -> Result<Argument<T>, String> + Clone {
    move |text| if text == "-" { Ok(Argument::Input) } else { parse(text).map(Argument::Value) }
}

pub(crate) fn number(text: &str) -> Result<Number, String> {
    text.parse().map_err(|error| texts::not_a_number(error).to_owned())
}

pub(crate) fn hand(text: &str) -> Result<Move, String> {
    match text.trim().to_lowercase().as_str() {
        "1" | "s" | "scissors" | "剪刀" => Ok(Move::Scissors),
        "2" | "r" | "rock" | "石头" => Ok(Move::Rock),
        "3" | "p" | "paper" | "布" => Ok(Move::Paper),
        _ => Err(texts::not_a_move()),
    }
}

/// Parses how to end a request on a short connection. Completions show the help of each value.
pub(crate) fn framing() -> impl TypedValueParser<Value = Framing> {
    let values = Framing::ALL.map(|framing| {
        PossibleValue::new(framing.name()).help(match framing {
            Framing::EndOfStream => "Close the sending half; the reply ends with the stream",
            Framing::Line => "Send a line; the reply is a line",
            Framing::Bare => "Send nothing more; the reply is what one read delivers",
        })
    });
    // The name is one of these.
    let named = |name: String| Framing::ALL.into_iter().find(|framing| framing.name() == name).unwrap_or_default();
    PossibleValuesParser::new(values).map(named)
}

/// The longest duration, far from where adding it to a clock could overflow.
const LONGEST: Duration = Duration::from_hours(24);

/// Parses a duration with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
        _ => Err(texts::not_a_duration()),
    }
}

/// The most bytes of an exchange either way.
const LONGEST_EXCHANGE: usize = 512;

/// Parses bytes: text, in which a backslash begins one of a few escapes.
pub(crate) fn escaped(text: &str) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (byte, length) = match *after.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (u8::from_str_radix(&after[1..3], 16).unwrap_or_default(), 3)
            }
            _ => return Err(texts::no_escape(after.chars().take(3).collect::<String>())),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.is_empty() || bytes.len() > LONGEST_EXCHANGE { Err(texts::not_an_exchange()) } else { Ok(bytes.into()) }
}

/// Parses a count from 1 to `MOST`; `k` and `m` stand for thousands and millions.
pub(crate) fn at_most<const MOST: u64>(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| is_number).and_then(|count| count.checked_mul(unit));
    count.filter(|count| (1..=MOST).contains(count)).ok_or_else(|| texts::not_a_count(1, MOST))
}

/// Parses an odd number, so that more than half of it is never half.
pub(crate) fn odd(text: &str) -> Result<u64, String> {
    let number = at_most::<999_999>(text)?;
    if number % 2 == 1 { Ok(number) } else { Err(texts::not_odd()) }
}

/// Addresses to connect from, in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceList(pub(crate) Vec<IpAddr>);

/// Parses addresses and ranges of one kind, with commas between them.
pub(crate) fn sources(text: &str) -> Result<SourceList, String> {
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    let addresses = ranges.unwrap_or_default().concat();
    let one_kind = addresses.iter().all(|address| address.is_ipv4() == addresses[0].is_ipv4());
    if addresses.is_empty() || !one_kind { Err(texts::not_sources()) } else { Ok(SourceList(addresses)) }
}

/// The most addresses of a range: each has tens of thousands of ports.
const LONGEST_RANGE: usize = 256;

fn range(text: &str) -> Option<Vec<IpAddr>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let next = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    let is_within = |address: &IpAddr| *address <= last && address.is_ipv4() == last.is_ipv4();
    let range: Vec<_> = successors(Some(first), next).take_while(is_within).take(LONGEST_RANGE + 1).collect();
    (1..=LONGEST_RANGE).contains(&range.len()).then_some(range)
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
                assert_eq!(hand(way), Ok(shown), "{way}");
            }
        }
        for wrong in ["", "4", "lizard", "12"] {
            assert!(hand(wrong).is_err(), "{wrong}");
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
        let sources = |text: &str| super::sources(text).map(|sources| sources.0.len());
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
        assert_eq!(or_input(number)("-"), Ok(Argument::Input));
        assert!(matches!(or_input(number)("-1"), Ok(Argument::Value(_))));
    }
}
