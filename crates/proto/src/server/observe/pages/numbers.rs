//! Numbers as the pages show them. It depends on `texts`.

use std::time::Duration;

use super::texts::Texts;

/// Shown instead of a number that is not known.
pub(super) const UNKNOWN: &str = "–";

/// Returns a count with its digits in groups of three, as in `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Returns a rate with at least two significant digits.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => UNKNOWN.to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 0.995 => format!("{rate:.2}"),
        Some(rate) if rate < 99.95 => format!("{rate:.1}"),
        Some(rate) => count(rounded(rate)),
    }
}

/// Returns a duration with three significant digits.
pub(super) fn duration(duration: Option<Duration>) -> String {
    let Some(duration) = duration else { return UNKNOWN.to_owned() };
    let micros = duration.as_secs_f64() * 1e6;
    let (number, unit) = match micros {
        ..999.5 => (micros, "µs"),
        ..999_500.0 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let decimals = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {unit}")
}

/// Returns a number with its unit without zeros at the end of its decimals, as in `2.5 ms` for `2.50 ms`.
pub(super) fn trimmed(text: &str) -> String {
    let (number, unit) = text.split_once(' ').map_or((text, None), |(number, unit)| (number, Some(unit)));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    unit.map_or_else(|| number.to_owned(), |unit| format!("{number} {unit}"))
}

/// Returns a long duration in its two largest units.
pub(super) fn uptime(duration: Duration, texts: &Texts) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let units =
        [(days, texts.days), (hours % 24, texts.hours), (minutes % 60, texts.minutes), (seconds % 60, texts.seconds)];
    let first = units.iter().position(|(number, _)| *number > 0).unwrap_or(units.len() - 1);
    let shown: Vec<_> = units[first..].iter().take(2).map(|(number, unit)| format!("{number}\u{a0}{unit}")).collect();
    shown.join(" ")
}

/// Returns the nearest whole number of a number that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
pub(super) fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::observe::language::Language;

    #[test]
    fn counts_have_groups_of_three_digits() {
        let shown = [0, 999, 1000, 123_456, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn rates_have_at_least_two_significant_digits() {
        let rates = [0.0, 0.004, 0.5, 0.999, 9.96, 99.94, 99.96, 12345.6].map(|number| rate(Some(number)));
        assert_eq!(rates, ["0", "0.00", "0.50", "1.0", "10.0", "99.9", "100", "12,346"]);
        assert_eq!(rate(None), UNKNOWN);
    }

    #[test]
    fn durations_have_three_significant_digits() {
        let nanos = [0, 900, 12_345, 999_499, 999_600, 1_250_000, 999_600_000, 60_000_000_000];
        let shown = nanos.map(|nanos| duration(Some(Duration::from_nanos(nanos))));
        assert_eq!(shown, ["0.00 µs", "0.90 µs", "12.3 µs", "999 µs", "1.00 ms", "1.25 ms", "1.00 s", "60.0 s"]);
        assert_eq!(duration(None), UNKNOWN);
    }

    #[test]
    fn zeros_are_trimmed_only_after_a_point() {
        let shown = ["2.50 ms", "5.00 s", "100 µs", "1,000", "0.50", "10.0", "0", UNKNOWN].map(trimmed);
        assert_eq!(shown, ["2.5 ms", "5 s", "100 µs", "1,000", "0.5", "10", "0", UNKNOWN]);
    }

    #[test]
    fn an_uptime_has_two_units() {
        let shown = |seconds, language| uptime(Duration::from_secs(seconds), Texts::of(language));
        assert_eq!(shown(0, Language::English), "0\u{a0}s");
        assert_eq!(shown(61, Language::English), "1\u{a0}min 1\u{a0}s");
        assert_eq!(shown(90_061, Language::Chinese), "1\u{a0}天 1\u{a0}小时");
        assert_eq!(shown(86_400, Language::English), "1\u{a0}d 0\u{a0}h");
    }
}
