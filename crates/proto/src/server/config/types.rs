//! The types of configuration values. Each holds only valid values, and its parse error describes them.
//!
//! It depends on no other module of this crate. Each type serializes to the text that it is parsed from.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Expected, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    /// Creates a constant. In a `const` context, a number out of range is a compile error.
    ///
    /// # Panics
    ///
    /// Panics if the number is out of range.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        assert!(MIN <= number && number <= MAX, "out of range");
        Self(number)
    }

    /// Returns the number, lowered to `limit` if it is larger, but not below `MIN`.
    #[must_use]
    pub fn clamp_max(self, limit: usize) -> Self {
        Self(self.0.min(u32::try_from(limit).unwrap_or(MAX)).max(MIN))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the number as a `usize`.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        // Lossless: all Linux targets of Rust have addresses of at least 32 bits.
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> Visitor<'_> for CountVisitor<MIN, MAX> {
            type Value = Count<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u32::try_from(number) {
                    Ok(number) if (MIN..=MAX).contains(&number) => Ok(Count(number)),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}

/// A duration of at least `MIN_MS` milliseconds, written as a number with its unit: `"5s"`, `"250ms"`, `"1m 30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeoutValue<const MIN_MS: u64>(Duration);

/// Longer than any useful timeout, and short enough that adding it to an `Instant` cannot overflow.
const MAX_TIMEOUT: Duration = Duration::from_hours(365 * 24);

impl<const MIN_MS: u64> TimeoutValue<MIN_MS> {
    /// Creates a constant. In a `const` context, a duration out of range is a compile error.
    ///
    /// # Panics
    ///
    /// Panics if the duration is out of range.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        assert!(MIN_MS <= seconds * 1000 && seconds <= MAX_TIMEOUT.as_secs(), "out of range");
        Self(Duration::from_secs(seconds))
    }

    /// Returns the duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN_MS: u64> fmt::Display for TimeoutValue<MIN_MS> {
    /// Prints a whole number of seconds, milliseconds, microseconds or nanoseconds, in the largest unit that fits, so
    /// that the text parses to the same duration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
            .into_iter()
            .find(|(unit, _)| nanos.is_multiple_of(*unit))
            .unwrap_or((1, "ns"));
        write!(f, "{}{name}", nanos / unit)
    }
}

impl<const MIN_MS: u64> Serialize for TimeoutValue<MIN_MS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const MIN_MS: u64> Deserialize<'de> for TimeoutValue<MIN_MS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeoutVisitor<const MIN_MS: u64>;
        impl<const MIN_MS: u64> Visitor<'_> for TimeoutVisitor<MIN_MS> {
            type Value = TimeoutValue<MIN_MS>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a duration with its unit, such as \"5s\" or \"250ms\", from {MIN_MS}ms to 365days")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let min = Duration::from_millis(MIN_MS);
                match humantime::parse_duration(text) {
                    Ok(duration) if (min..=MAX_TIMEOUT).contains(&duration) => Ok(TimeoutValue(duration)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(TimeoutVisitor)
    }
}

/// The filter of log lines: a level, such as `"info"`, or a list of directives as in `RUST_LOG`, such as
/// `"warn,proto::server::listener=debug"`.
///
/// `target=level` sets the level of a target and its submodules; `level` alone sets that of all other targets, by default
/// `info`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

impl LogFilter {
    /// Returns the filter for `tracing`.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Parses `text`. The error is the first invalid directive.
    ///
    /// It is stricter than the parser of [`Targets`], which treats any unknown word as a target to trace. A mistyped
    /// level would turn the log off there.
    fn parse(text: &str) -> Result<Self, &str> {
        let mut targets = Targets::new();
        let mut default = LevelFilter::INFO;
        for directive in text.split(',') {
            match directive.split_once('=') {
                None => default = parse_level(directive).ok_or(directive)?,
                Some((target, level)) => {
                    let target = parse_target(target).zip(parse_level(level)).ok_or(directive)?;
                    targets = targets.with_target(target.0, target.1);
                }
            }
        }
        let targets = targets.with_default(default);
        Ok(Self { text: text.to_owned(), targets })
    }
}

fn parse_level(text: &str) -> Option<LevelFilter> {
    let text = text.trim();
    // The parser of `LevelFilter` also accepts numbers, and the empty string as `error`.
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic());
    text.parse().ok().filter(|_| is_word)
}

/// Accepts a target, which is a module path.
fn parse_target(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_path = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    (!text.is_empty() && text.chars().all(is_path)).then_some(text)
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { text: "info".to_owned(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }
}

impl Serialize for LogFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LogFilterVisitor;
        impl Visitor<'_> for LogFilterVisitor {
            type Value = LogFilter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "one of `error`, `warn`, `info`, `debug`, `trace` or `off`, or directives such as \
                     \"info,proto::server::listener=debug\"",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                LogFilter::parse(text).map_err(|directive| {
                    let expected: &dyn Expected = &self;
                    E::custom(format_args!("unknown variant `{directive}`, expected {expected}"))
                })
            }
        }
        deserializer.deserialize_any(LogFilterVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Value;

    fn parse<T: for<'de> Deserialize<'de>>(value: impl Into<Value>) -> Result<T, String> {
        value.into().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_count_is_a_whole_number_in_its_range() {
        assert_eq!(parse(7), Ok(Count::<1, 9>(7)));
        for (invalid, shown) in [
            (Value::from(0), "integer `0`"),
            (Value::from(10), "integer `10`"),
            (Value::from(-1), "integer `-1`"),
            (Value::from("7"), "string \"7\""),
            (Value::from(7.0), "floating point `7.0`"),
            (Value::from(true), "boolean `true`"),
        ] {
            let error = parse::<Count<1, 9>>(invalid).unwrap_err();
            assert!(error.contains(shown) && error.ends_with("expected a whole number from 1 to 9"), "{error}");
        }
    }

    #[test]
    fn a_timeout_needs_a_unit_and_prints_text_that_parses_to_the_same_value() {
        for (text, printed) in
            [("5s", "5s"), ("300s", "300s"), ("1m 30s", "90s"), ("250ms", "250ms"), ("1500us", "1500us"), ("0s", "0s")]
        {
            let timeout: TimeoutValue<0> = parse(text).unwrap();
            assert_eq!(timeout.to_string(), printed);
            assert_eq!(parse(printed), Ok(timeout));
        }
        for invalid in ["", "5", "-5s", "five seconds", "366days", "99999999999999999999s"] {
            assert!(parse::<TimeoutValue<0>>(invalid).unwrap_err().contains("such as \"5s\""), "{invalid}");
        }
        assert!(parse::<TimeoutValue<1>>("0s").unwrap_err().contains("from 1ms"));
        assert!(parse::<TimeoutValue<0>>(5).unwrap_err().contains("integer `5`"));
    }

    #[test]
    fn a_log_filter_is_a_level_or_directives_and_prints_as_written() {
        for valid in ["error", "warn", "info", "debug", "trace", "off", "INFO", "warn,power_server=trace", "a::b=off"] {
            let filter: LogFilter = parse(valid).unwrap();
            assert_eq!(Value::try_from(&filter).unwrap(), Value::from(valid));
        }
        assert_eq!(parse("info"), Ok(LogFilter::default()));
        let filter: LogFilter = parse("info, proto::server::listener = debug").unwrap();
        let expected = [("proto::server::listener", LevelFilter::DEBUG)].into_iter().collect::<Targets>();
        assert_eq!(*filter.targets(), expected.with_default(LevelFilter::INFO));
        let filter: LogFilter = parse("proto=debug").unwrap();
        assert!(filter.targets().would_enable("proto::server", &tracing::Level::DEBUG));
        assert!(filter.targets().would_enable("other", &tracing::Level::INFO), "other targets stay at info");
    }

    #[test]
    fn the_error_of_a_log_filter_names_the_invalid_directive() {
        let expected = "expected one of `error`, `warn`, `info`, `debug`, `trace` or `off`, or directives such as \
                        \"info,proto::server::listener=debug\"";
        for (text, directive) in [
            ("", ""),
            ("loud", "loud"),
            ("3", "3"),
            ("info,", ""),
            ("info,proto", "proto"),
            ("info,proto=loud", "proto=loud"),
            ("proto=", "proto="),
            ("=debug", "=debug"),
            ("a=b=debug", "a=b=debug"),
            ("power-server=debug", "power-server=debug"),
            ("proto[span]=debug", "proto[span]=debug"),
        ] {
            assert_eq!(parse::<LogFilter>(text).unwrap_err(), format!("unknown variant `{directive}`, {expected}"));
        }
        assert_eq!(parse::<LogFilter>(3).unwrap_err(), format!("invalid type: integer `3`, {expected}"));
    }
}
