//! Parsers for values on the command line. Each error describes valid values.

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

/// Extends a value parser to accept `-` for standard input.
pub(crate) fn or_input<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone,
) -> impl Fn(&str) -> Result<Argument<T>, String> + Clone {
    move |text| if text == "-" { Ok(Argument::Input) } else { parse(text).map(Argument::Value) }
}

pub(crate) fn number(text: &str) -> Result<Number, String> {
    text.parse().map_err(|error| texts::not_a_number(error).to_owned())
}

pub(crate) fn rps_move(text: &str) -> Result<Move, String> {
    match text.trim().to_lowercase().as_str() {
        "1" | "s" | "scissors" | "剪刀" | "剪子" => Ok(Move::Scissors),
        "2" | "r" | "rock" | "石头" | "石頭" | "石" => Ok(Move::Rock),
        "3" | "p" | "paper" | "布" => Ok(Move::Paper),
        _ => Err(texts::not_a_move()),
    }
}

/// Parses the framing of a short connection. Shell completions show the help of each value.
pub(crate) fn framing() -> impl TypedValueParser<Value = Framing> {
    let values = Framing::ALL.map(|framing| {
        PossibleValue::new(framing.name()).help(match framing {
            Framing::EndOfStream => texts::framing_eof(),
            Framing::Line => texts::framing_line(),
            Framing::Bare => texts::framing_bare(),
        })
    });
    // `PossibleValuesParser` accepts only these names.
    let named = |name: String| Framing::ALL.into_iter().find(|framing| framing.name() == name).unwrap_or_default();
    PossibleValuesParser::new(values).map(named)
}

/// Maximum duration. Adding it to a clock cannot overflow.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// Parses a duration with a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() && duration <= MAX_DURATION => Ok(duration),
        _ => Err(texts::not_a_duration()),
    }
}

/// Maximum length of the request and the reply of an exchange, in bytes.
const MAX_EXCHANGE: usize = 512;

/// Parses text with backslash escapes into bytes.
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
            _ => return Err(texts::unknown_escape(after.chars().take(3).collect::<String>())),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.is_empty() || bytes.len() > MAX_EXCHANGE { Err(texts::not_an_exchange()) } else { Ok(bytes.into()) }
}

/// Parses a count from 1 to `MAX`; `k` stands for thousands, `m` for millions.
pub(crate) fn at_most<const MAX: u64>(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| is_number).and_then(|count| count.checked_mul(unit));
    count.filter(|count| (1..=MAX).contains(count)).ok_or_else(|| match MAX {
        ..1_000 => texts::not_a_count(1, MAX),
        1_000..1_000_000 => texts::not_a_count_with_k(1, MAX),
        1_000_000.. => texts::not_a_count_with_k_and_m(1, MAX),
    })
}

/// Parses an odd number, so that a majority always exists.
pub(crate) fn odd(text: &str) -> Result<u64, String> {
    const MAX: u64 = 999_999;
    at_most::<MAX>(text).ok().filter(|number| number % 2 == 1).ok_or_else(|| texts::not_odd(1, MAX))
}

/// Local addresses that connections use in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceList(pub(crate) Vec<IpAddr>);

/// Parses addresses and ranges of one IP version, separated by commas.
pub(crate) fn sources(text: &str) -> Result<SourceList, String> {
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    let addresses = ranges.unwrap_or_default().concat();
    let one_version = addresses.iter().all(|address| address.is_ipv4() == addresses[0].is_ipv4());
    if addresses.is_empty() || !one_version { Err(texts::not_sources()) } else { Ok(SourceList(addresses)) }
}

/// Maximum addresses in a range. Each address has tens of thousands of ports.
const MAX_RANGE: usize = 256;

fn range(text: &str) -> Option<Vec<IpAddr>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let next = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    let is_within = |address: &IpAddr| *address <= last && address.is_ipv4() == last.is_ipv4();
    let range: Vec<_> = successors(Some(first), next).take_while(is_within).take(MAX_RANGE + 1).collect();
    (1..=MAX_RANGE).contains(&range.len()).then_some(range)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a missing error fails the test")]
mod tests {
    use super::*;

    #[test]
    fn text_with_escapes_becomes_bytes() {
        for (text, bytes) in
            [("PING", &b"PING"[..]), ("a\\r\\n", b"a\r\n"), ("\\0\\t\\\\\\x7f\\xFFé", b"\0\t\\\x7f\xff\xc3\xa9")]
        {
            assert_eq!(escaped(text).as_deref(), Ok(bytes), "{text}");
        }
        for wrong in ["", "\\", "a\\", "\\q", "\\x1", "\\xg0", "\\x é", &"1".repeat(MAX_EXCHANGE + 1)] {
            assert!(escaped(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_move_has_several_spellings() {
        for (mv, spellings) in [
            (Move::Scissors, ["1", "s", "scissors", "剪刀", "剪子", "SCISSORS"]),
            (Move::Rock, ["2", "r", "石", "石头", "石頭", "Rock"]),
            (Move::Paper, ["3", "p", "paper", "布", " paper ", "PAPER"]),
        ] {
            for spelling in spellings {
                assert_eq!(rps_move(spelling), Ok(mv), "{spelling}");
            }
        }
        for wrong in ["", "4", "lizard", "12"] {
            assert!(rps_move(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_a_maximum() {
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
        // No message recommends a unit with which every number is too large or even.
        for (message, units) in [
            (at_most::<999>("x"), [false, false]),
            (at_most::<1024>("x"), [true, false]),
            (at_most::<1_000_000>("x"), [true, true]),
            (odd("2m"), [false, false]),
        ] {
            let message = message.expect_err("not a count");
            assert_eq!(["k stands for", "m for"].map(|unit| message.contains(unit)), units, "{message}");
        }
        assert_eq!(odd("5"), Ok(5));
        assert!(odd("4").is_err() && odd("0").is_err());
    }

    #[test]
    fn sources_are_addresses_and_ranges_of_one_ip_version() {
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
    fn a_single_dash_means_standard_input() {
        assert_eq!(or_input(number)("-"), Ok(Argument::Input));
        assert!(matches!(or_input(number)("-1"), Ok(Argument::Value(_))));
    }
}
