//! Parses and formats the numbers of the power protocol.
//!
//! The parser accepts `[+-]? ( digits [ . digits? ] | . digits ) ( [eE] [+-]? digits )?` with spaces and tabs around
//! it, in ASCII. The formatter writes the shortest digits that parse to the same double, in the layout of Python's
//! `repr(float)`: existing programs for this wire print numbers with it and may compare the text.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A finite double: the number in a request or a reply.
///
/// ```
/// use proto::wire::number::Number;
///
/// let number = Number::parse(b" 1e16 ").unwrap();
/// assert_eq!(number.to_string(), "1e+16");
/// assert!(Number::parse(b"inf").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(f64);

impl Number {
    /// Returns the number, or `None` for an infinity or a NaN: the wire has no text for them.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// Parses a number.
    ///
    /// A value too small for a double becomes 0.0 with its sign (IEEE 754).
    ///
    /// # Errors
    ///
    /// [`NumberError::Malformed`] if the text does not match the grammar, [`NumberError::OutOfRange`] if it does but
    /// rounds to infinity.
    pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
        match classify(text) {
            Literal::Complete(digits) => Self::from_digits(digits),
            Literal::Incomplete | Literal::Invalid => Err(NumberError::Malformed),
        }
    }

    /// Parses a number that is written exactly as [`Number::text`] writes it, as the number in a reply is. Most texts
    /// that were cut off are not: `4.`, `4` and `1e+2` are beginnings of `4.0` and `1e+22`.
    ///
    /// # Errors
    ///
    /// Those of [`Number::parse`], and [`NumberError::Malformed`] for any other text of a number.
    pub fn parse_shortest(text: &[u8]) -> Result<Self, NumberError> {
        // Only one text of each double is its shortest one, so formatting it again is the whole check.
        let number = Self::parse(text)?;
        if number.text().as_bytes() == text { Ok(number) } else { Err(NumberError::Malformed) }
    }

    /// Converts the text of a [complete literal](Literal::Complete).
    ///
    /// # Errors
    ///
    /// [`NumberError::OutOfRange`] if the value rounds to infinity, [`NumberError::Malformed`] for any other text.
    pub(super) fn from_digits(digits: &[u8]) -> Result<Self, NumberError> {
        // `f64::from_str` accepts all of this grammar, and rounds correctly for any length.
        let value: Option<f64> = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        Self::new(value.ok_or(NumberError::Malformed)?).ok_or(NumberError::OutOfRange)
    }

    /// Returns the double.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }

    /// Formats the number without allocating.
    #[must_use]
    pub fn text(self) -> NumberText {
        NumberText::new(self.0)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text().as_str())
    }
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text.as_bytes())
    }
}

/// Why a text is not a valid number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NumberError {
    /// The text does not match the grammar.
    #[error("not a decimal number such as 2, -0.5 or 1e-3")]
    Malformed,
    /// The text matches the grammar, but its value rounds to infinity.
    #[error("beyond the largest double, 1.7976931348623157e+308")]
    OutOfRange,
}

/// The class of a text that may still continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal<'a> {
    /// A number, given here without the blanks around it. More digits would make a different number.
    Complete(&'a [u8]),
    /// The beginning of a number, such as `-`, `.` or `1e`.
    Incomplete,
    /// Neither a number nor the beginning of one.
    Invalid,
}

/// Returns whether the conversion of a [complete literal](Literal::Complete) can take hundreds of times as long as usual.
///
/// `f64::from_str` converts up to 19 significant digits in about 0.03 µs. With more, a value next to the middle between two
/// doubles needs all digits: 8 to 15 µs for 20 of them and 39 µs for 500, as measured. The shortest text of a double has at
/// most 17.
pub(super) fn is_costly(literal: &[u8]) -> bool {
    const COSTLY_DIGITS: usize = 20;
    // Most texts are shorter, so they cost one comparison. The shortest texts of other doubles have their exponent here.
    let Some(beginning) = literal.first_chunk::<COSTLY_DIGITS>() else { return false };
    // Without a branch, the compiler compares all bytes at once.
    if beginning.iter().map(|byte| u8::from(byte | 0x20 == b'e')).sum::<u8>() > 0 {
        return false;
    }
    let significand = literal.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let mut digits = significand.filter(|byte| byte.is_ascii_digit()).skip_while(|byte| **byte == b'0');
    digits.nth(COSTLY_DIGITS - 1).is_some()
}

/// Classifies a text by the grammar. Blanks around the number are allowed.
#[must_use]
pub fn classify(text: &[u8]) -> Literal<'_> {
    let number = skip(text, is_blank);
    let rest = skip_one(number, is_sign);
    let (whole, rest) = digits(rest);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (0, rest),
    };
    if whole + fraction == 0 {
        return incomplete_at_end(rest);
    }
    let rest = match rest {
        [b'e' | b'E', rest @ ..] => {
            let (exponent, rest) = digits(skip_one(rest, is_sign));
            if exponent == 0 {
                return incomplete_at_end(rest);
            }
            rest
        }
        _ => rest,
    };
    if skip(rest, is_blank).is_empty() {
        Literal::Complete(&number[..number.len() - rest.len()])
    } else {
        Literal::Invalid
    }
}

/// Returns whether a byte is a space or a tab. Blanks may surround a number, and a blank line has no other bytes.
#[must_use]
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_sign(byte: u8) -> bool {
    matches!(byte, b'+' | b'-')
}

fn incomplete_at_end(rest: &[u8]) -> Literal<'_> {
    if rest.is_empty() { Literal::Incomplete } else { Literal::Invalid }
}

fn skip(text: &[u8], kind: fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|&byte| !kind(byte)).unwrap_or(text.len());
    &text[end..]
}

fn skip_one(text: &[u8], kind: fn(u8) -> bool) -> &[u8] {
    match text {
        [first, rest @ ..] if kind(*first) => rest,
        _ => text,
    }
}

/// Returns the number of leading digits and the text after them.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let rest = skip(text, |byte| byte.is_ascii_digit());
    (text.len() - rest.len(), rest)
}

/// The text of one number, stored inline.
#[derive(Clone, Copy, Debug)]
pub struct NumberText {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl NumberText {
    /// The length of the longest text, `-2.2250738585072014e-308`: a sign, 17 digits, a point and five characters of
    /// exponent.
    pub(super) const LONGEST: usize = 24;

    /// Formats a value in Python's layout (`float_repr_style` "short" in its `pystrtod.c`).
    ///
    /// From 10⁻⁴ up to 10¹⁶ the notation is positional. Outside that range it is scientific: one digit, the fraction,
    /// and an exponent of at least two digits. The code works on the value as 0.DIGITS × 10^point.
    fn new(value: f64) -> Self {
        let mut shortest = zmij::Buffer::new();
        let decimal = Decimal::read(shortest.format_finite(value));
        let digits = &decimal.digits[..decimal.count];
        let mut text = Self { bytes: [0; Self::LONGEST], length: 0 };
        if value.is_sign_negative() {
            text.push(b"-");
        }
        match usize::try_from(decimal.point) {
            Ok(point @ 1..=16) if point < digits.len() => {
                text.push(&digits[..point]);
                text.push(b".");
                text.push(&digits[point..]);
            }
            Ok(point @ 1..=16) => {
                text.push(digits);
                text.push(&b"0000000000000000"[..point - digits.len()]);
                text.push(b".0");
            }
            _ if (-3..=0).contains(&decimal.point) => {
                text.push(b"0.");
                text.push(&b"000"[..decimal.point.unsigned_abs() as usize]);
                text.push(digits);
            }
            _ => {
                text.push(&digits[..1]);
                if digits.len() > 1 {
                    text.push(b".");
                    text.push(&digits[1..]);
                }
                text.push_exponent(decimal.point - 1);
            }
        }
        text
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn push_exponent(&mut self, exponent: i32) {
        self.push(if exponent < 0 { b"e-" } else { b"e+" });
        let size = exponent.unsigned_abs();
        // The exponent of a double has at most three digits, so `size / 100` is one digit.
        let digit = |unit: u32| b'0' + u8::try_from(size / unit % 10).unwrap_or(0);
        if size >= 100 {
            self.push(&[digit(100)]);
        }
        self.push(&[digit(10), digit(1)]);
    }

    /// Returns the text as ASCII bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // All pushed bytes are ASCII, so the conversion cannot fail.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// The shortest digits of a double: its value is 0.DIGITS × 10^point.
struct Decimal {
    digits: [u8; 17],
    count: usize,
    point: i32,
}

impl Decimal {
    /// Parses positional or scientific notation. Leading and trailing zeros are dropped.
    fn read(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut decimal = Self { digits: [b'0'; 17], count: 0, point: exponent.parse().unwrap_or(0) };
        let mut past_point = false;
        let mut zeros = 0;
        for byte in mantissa.bytes() {
            match byte {
                b'.' => past_point = true,
                b'0' if decimal.count == 0 => decimal.point -= i32::from(past_point),
                b'0' => {
                    // Count a zero as a digit only if another digit follows: the shortest form has no trailing zeros.
                    zeros += 1;
                    decimal.point += i32::from(!past_point);
                }
                b'1'..=b'9' => {
                    decimal.count += zeros;
                    zeros = 0;
                    decimal.digits[decimal.count] = byte;
                    decimal.count += 1;
                    decimal.point += i32::from(!past_point);
                }
                _ => {}
            }
        }
        if decimal.count == 0 {
            // Zero is 0.0: one digit 0 before the point.
            decimal.count = 1;
            decimal.point = 1;
        }
        decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        Number::new(value).unwrap().to_string()
    }

    #[test]
    fn every_double_of_the_table_is_formatted_as_in_python() {
        let table = include_str!("../../tests/data/python-repr.tsv");
        let mut rows = 0;
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            let (bits, expected) = row.split_once('\t').unwrap();
            let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
            assert_eq!(text(value), expected, "bits {bits}");
            assert_eq!(Number::parse(expected.as_bytes()).unwrap().value().to_bits(), value.to_bits(), "{expected}");
            rows += 1;
        }
        assert!(rows >= 200, "the table holds only {rows} rows");
    }

    #[test]
    fn the_parser_accepts_exactly_the_grammar() {
        for (text, value) in [
            ("2", 2.0),
            ("+2", 2.0),
            ("-2", -2.0),
            ("2.", 2.0),
            (".5", 0.5),
            ("-.5e1", -5.0),
            ("1E+2", 100.0),
            (" \t1e-2\t ", 0.01),
            ("00012", 12.0),
            ("1e-999", 0.0),
            ("1e0000000000000000000000001", 10.0),
        ] {
            assert_eq!(Number::parse(text.as_bytes()).map(Number::value), Ok(value), "{text}");
        }
        for malformed in [
            "", " ", "-", ".", "+.", "e5", ".e5", "1e", "1e+", "1 2", "1.2.3", "--1", "0x10", "1_000", "inf", "-inf",
            "nan", "NaN", "infinity", "1f", "２", "1\0", "1\r", "1\n", "1\u{a0}", "1\x0b",
        ] {
            assert_eq!(Number::parse(malformed.as_bytes()), Err(NumberError::Malformed), "{malformed:?}");
        }
        for too_large in ["1e309", "-1e999", "1.7976931348623159e308", "1e99999999999999999999"] {
            assert_eq!(Number::parse(too_large.as_bytes()), Err(NumberError::OutOfRange), "{too_large}");
        }
    }

    #[test]
    fn incomplete_and_invalid_texts_are_distinguished() {
        for prefix in ["", " ", "+", "-", ".", "-.", "1e", "1.e", "1e-", "\t-"] {
            assert_eq!(classify(prefix.as_bytes()), Literal::Incomplete, "{prefix:?}");
        }
        for invalid in ["x", "-x", "..", "1x", "1e-x", "1 x", "- 1", "1e 5", "ee"] {
            assert_eq!(classify(invalid.as_bytes()), Literal::Invalid, "{invalid:?}");
        }
    }

    #[test]
    fn the_shortest_text_is_the_only_one_that_parses_as_such() {
        for shortest in ["4.0", "-0.0", "0.1", "1e-05", "1e+16", "9007199254740992.0", "-2.2250738585072014e-308"] {
            assert_eq!(Number::parse_shortest(shortest.as_bytes()), Number::parse(shortest.as_bytes()), "{shortest}");
        }
        for other in [
            "4",
            "4.",
            "4.00",
            "04.0",
            "+4.0",
            " 4.0",
            "4.0 ",
            "4e0",
            ".4",
            "1e5",
            "1e-5",
            "1E-05",
            "1e+2",
            "1e16",
            "10000000000000000.0",
            "-0",
            "0",
            "0.10000000000000001",
            "",
            "d",
            "inf",
            "nan",
        ] {
            assert_eq!(Number::parse_shortest(other.as_bytes()), Err(NumberError::Malformed), "{other:?}");
        }
        assert_eq!(Number::parse_shortest(b"1e+309"), Err(NumberError::OutOfRange));
    }

    #[test]
    fn only_a_number_of_more_than_19_significant_digits_is_costly() {
        for (literal, expected) in [
            ("1234567890123456789", false),
            ("12345678901234567890", true),
            ("-1.234567890123456789e-300", false),
            ("-1.2345678901234567890e-300", true),
            ("17976931348623158079e289", true),
            ("0.0001234567890123456789", false),
            ("0.00012345678901234567890", true),
            ("1e00000000000000000000", false),
            ("1234567890123456789e1000", false),
            ("12345678901234567890E1", true),
            ("0000000000000000000000", false),
        ] {
            assert_eq!(is_costly(literal.as_bytes()), expected, "{literal}");
        }
    }

    proptest! {
        #[test]
        fn a_shortest_text_is_not_costly(bits: u64) {
            if let Some(number) = Number::new(f64::from_bits(bits)) {
                prop_assert!(!is_costly(number.text().as_bytes()), "{}", number);
            }
        }

        #[test]
        fn a_formatted_number_parses_to_the_same_bits(bits: u64) {
            if let Some(number) = Number::new(f64::from_bits(bits)) {
                let read = Number::parse_shortest(number.text().as_bytes()).unwrap();
                prop_assert_eq!(read.value().to_bits(), bits);
            }
        }

        #[test]
        fn a_number_has_the_fewest_digits(bits: u64) {
            // Rust's `{:e}` also prints the shortest digits. In a tie its last digit may differ, but not the count.
            if let Some(number) = Number::new(f64::from_bits(bits)) {
                let count = |text: &str| {
                    let mantissa = text.split('e').next().unwrap().replace(['.', '-'], "");
                    mantissa.trim_matches('0').len()
                };
                let formatted = number.to_string();
                prop_assert_eq!(count(&formatted), count(&format!("{:e}", number.value())), "{}", formatted);
            }
        }

        #[test]
        fn the_class_of_a_text_holds_for_every_continuation(text in "[-+ .0-9eEx]{0,8}", more in "[-+ .0-9eEx]{0,4}") {
            let longer = format!("{text}{more}");
            let (before, after) = (classify(text.as_bytes()), classify(longer.as_bytes()));
            if before == Literal::Invalid {
                prop_assert_eq!(after, Literal::Invalid);
            }
            prop_assert_eq!(matches!(before, Literal::Complete(_)), Number::parse(text.as_bytes()).is_ok());
        }
    }
}
