//! Thresholds: conditions on the figures of a run. If one is not met, the exit code is 1.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::figures::{self, float, grouped, rate};
use super::stats::{LatencyMetric, Stats};
use crate::language::texts;

/// A condition on a figure of a run, such as `p99<2ms`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// The condition as given.
    text: String,
    metric: Metric,
    operator: Operator,
    /// The bound: a time in nanoseconds, or else a number.
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Latency(LatencyMetric),
    /// Correct replies per second.
    Throughput,
    Errors(Share),
    /// Requests that were due at a fixed rate and never sent.
    Unsent(Share),
}

/// How a number of requests is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Share {
    Count,
    /// In percent of all requests.
    Percent,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Threshold {
    /// Parses a condition: a metric, an operator and a bound. Blanks between them are allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parsed(text.trim()).ok_or_else(texts::not_a_threshold)
    }

    fn parsed(text: &str) -> Option<Self> {
        let (name, after) = text.split_at(text.find(['<', '>'])?);
        let (operator, bound) =
            [("<=", Operator::AtMost), (">=", Operator::AtLeast), ("<", Operator::Less), (">", Operator::Greater)]
                .into_iter()
                .find_map(|(sign, operator)| Some((operator, after.strip_prefix(sign)?.trim())))?;
        let (metric, bound) = match name.trim() {
            "throughput" => (Metric::Throughput, count(bound.strip_suffix("/s").unwrap_or(bound))?),
            "errors" => share(bound).map(|(share, bound)| (Metric::Errors(share), bound))?,
            "unsent" => share(bound).map(|(share, bound)| (Metric::Unsent(share), bound))?,
            name => {
                let metric = LatencyMetric::named(name)?;
                (Metric::Latency(metric), humantime::parse_duration(bound).ok()?.as_secs_f64() * 1e9)
            }
        };
        Some(Self { text: text.to_owned(), metric, operator, bound })
    }

    /// Compares a run with this threshold.
    pub(super) fn check(&self, stats: &Stats) -> Expectation<'_> {
        let total = stats.requests() + stats.unsent;
        let number = |share, count| match share {
            Share::Count => Some(float(count)),
            Share::Percent => (total > 0).then(|| 100.0 * float(count) / float(total)),
        };
        let measured = match self.metric {
            Metric::Latency(metric) => metric.of(&stats.latency),
            Metric::Throughput => Some(stats.throughput()),
            Metric::Errors(share) => number(share, stats.error_count()),
            Metric::Unsent(share) => number(share, stats.unsent),
        };
        Expectation { threshold: self, measured }
    }
}

/// Parses a number that is not negative; `k` stands for thousands, `m` for millions.
fn count(text: &str) -> Option<f64> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    // `f64` also parses signs, exponents, `inf` and `nan`.
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| is_decimal)?;
    Some(number * unit)
}

/// Parses a number of requests, or their share in percent.
fn share(text: &str) -> Option<(Share, f64)> {
    match text.strip_suffix('%') {
        Some(percent) => Some((Share::Percent, count(percent.trim_end()).filter(|percent| *percent <= 100.0)?)),
        None => Some((Share::Count, count(text)?)),
    }
}

/// A threshold and the measured figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation<'a> {
    threshold: &'a Threshold,
    /// `None` if the run has no such figure: latency without a reply.
    measured: Option<f64>,
}

impl Expectation<'_> {
    /// Whether the run meets the threshold. A run without the figure does not.
    pub(super) fn is_met(&self) -> bool {
        let bound = self.threshold.bound;
        self.measured.is_some_and(|measured| match self.threshold.operator {
            Operator::Less => measured < bound,
            Operator::AtMost => measured <= bound,
            Operator::Greater => measured > bound,
            Operator::AtLeast => measured >= bound,
        })
    }

    /// Returns the message of a threshold that is not met.
    pub(super) fn message(&self) -> String {
        let figure = self.measured.map_or_else(texts::bench_nothing_measured, |measured| match self.threshold.metric {
            Metric::Latency(_) => figures::time(measured),
            Metric::Throughput => texts::bench_per_second(rate(measured)),
            Metric::Errors(Share::Percent) | Metric::Unsent(Share::Percent) => format!("{measured:.3} %"),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            Metric::Errors(Share::Count) | Metric::Unsent(Share::Count) => grouped(measured as u64),
        });
        texts::bench_not_met(&self.threshold.text, figure)
    }
}

impl Serialize for Expectation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("expect", &self.threshold.text)?;
        match self.threshold.metric {
            Metric::Latency(_) => map.serialize_entry("value_us", &self.measured.map(|nanos| nanos / 1e3))?,
            _ => map.serialize_entry("value", &self.measured)?,
        }
        map.serialize_entry("ok", &self.is_met())?;
        map.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::CliError;

    #[test]
    fn a_threshold_has_a_metric_an_operator_and_a_bound() {
        for (text, metric, operator, bound) in [
            ("p99<2ms", Metric::Latency(LatencyMetric::Quantile(0.99)), Operator::Less, 2e6),
            (" p99.99 <= 1.5us ", Metric::Latency(LatencyMetric::Quantile(0.9999)), Operator::AtMost, 1500.0),
            ("min>=1ns", Metric::Latency(LatencyMetric::Min), Operator::AtLeast, 1.0),
            ("mean>1s", Metric::Latency(LatencyMetric::Mean), Operator::Greater, 1e9),
            ("max<1m", Metric::Latency(LatencyMetric::Max), Operator::Less, 6e10),
            ("throughput>=1.5k", Metric::Throughput, Operator::AtLeast, 1500.0),
            ("throughput>2M/s", Metric::Throughput, Operator::Greater, 2e6),
            ("errors<=0", Metric::Errors(Share::Count), Operator::AtMost, 0.0),
            ("errors < 0.1 %", Metric::Errors(Share::Percent), Operator::Less, 0.1),
            ("unsent<5%", Metric::Unsent(Share::Percent), Operator::Less, 5.0),
        ] {
            let threshold = Threshold::parse(text).unwrap();
            let expected = Threshold { text: text.trim().to_owned(), metric, operator, bound };
            assert_eq!(threshold, expected, "{text}");
        }
        for wrong in [
            "",
            "p99",
            "p99<",
            "p99<2",
            "p98<2ms",
            "p99=2ms",
            "p99<>2ms",
            "p99<-1ms",
            "throughput>1ms",
            "errors<101%",
            "errors<1e3",
            "errors<inf",
            "errors<",
            "errors<%",
            "throughput>.",
            "unsent>k",
            "<2ms",
            "p99<2msp50<1ms",
        ] {
            assert!(Threshold::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_operator_compares_with_the_measured_figure() {
        let mut stats = Stats::new().unwrap();
        let is_met = |stats: &Stats, text: &str| Threshold::parse(text).unwrap().check(stats).is_met();
        // Without replies, no condition on the latency is met.
        assert!(!is_met(&stats, "p50<1h") && !is_met(&stats, "p50>=0s") && !is_met(&stats, "errors<1%"));
        assert!(is_met(&stats, "errors<1") && is_met(&stats, "throughput<=0"));
        stats.record_replies(98, Duration::from_micros(100));
        stats.record_errors(2, &CliError::WrongReply(String::new()));
        stats.elapsed = Duration::from_secs(1);
        for met in ["throughput>=98", "throughput<=98", "errors<=2", "errors>=2%", "errors<3", "p50>99us", "max<101us"]
        {
            assert!(is_met(&stats, met), "{met}");
        }
        for failed in ["throughput>98", "throughput<98", "errors<2", "errors>2%", "p50<99us", "unsent>0"] {
            assert!(!is_met(&stats, failed), "{failed}");
        }
    }
}
