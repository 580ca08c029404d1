//! Formats numbers for people.

use std::time::Duration;

/// Converts a number; fifteen digits are enough here.
#[allow(clippy::cast_precision_loss, reason = "fifteen digits are enough")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// Formats a number with commas between groups of thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that is not negative")]
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { grouped(per_second.round() as u64) }
}

/// Returns the rate per second.
pub(super) fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { float(count) / elapsed.as_secs_f64() }
}

pub(super) fn percent(count: u64, total: u64) -> String {
    format!("{:.1} %", 100.0 * float(count) / float(total.max(1)))
}

pub(super) fn micros(nanos: u64) -> f64 {
    float(nanos) / 1e3
}

/// Formats a time in nanoseconds that is not a whole number, such as a mean.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is not negative")]
pub(super) fn time(nanoseconds: f64) -> String {
    nanos(nanoseconds.round() as u64)
}

/// Formats a time with three digits in the unit that fits.
pub(super) fn nanos(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => (float(nanos), "ns"),
        1_000..1_000_000 => (float(nanos) / 1e3, "µs"),
        1_000_000..1_000_000_000 => (float(nanos) / 1e6, "ms"),
        _ => (float(nanos) / 1e9, "s"),
    };
    let digits = match value {
        99.95.. => 0,
        _ if unit == "ns" => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_units_and_three_digits() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 950, 1_000, 12_345, 123_456, 1_000_000, 99_960_000, 1_500_000_000].map(nanos),
            ["0 ns", "950 ns", "1.00 µs", "12.3 µs", "123 µs", "1.00 ms", "100 ms", "1.50 s"]
        );
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!((rate(12.34), rate(12_345.6)), ("12.3".to_owned(), "12,346".to_owned()));
    }
}
