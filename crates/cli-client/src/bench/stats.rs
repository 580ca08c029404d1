//! The stats of a run: replies, latency, outcomes and errors.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use proto::wire::rps::{Move, Outcome, Reply};
use serde::Serialize;

use super::figures::{float, per_second};
use crate::error::{CliError, FailureKind};

/// The longest time that the histogram records, in nanoseconds: 1 hour.
const MAX_LATENCY: u64 = 3_600_000_000_000;

/// Significant digits of the histogram. Two runs agree in fewer.
const DIGITS: u8 = 3;

/// A figure of a latency histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LatencyMetric {
    Min,
    Mean,
    /// The latency that this share of the requests does not exceed, from 0 to 1.
    Quantile(f64),
    Max,
}

impl LatencyMetric {
    /// All figures of a report, by name.
    pub(super) const ALL: [(&str, Self); 9] = [
        ("min", Self::Min),
        ("mean", Self::Mean),
        ("p50", Self::Quantile(0.5)),
        ("p90", Self::Quantile(0.9)),
        ("p95", Self::Quantile(0.95)),
        ("p99", Self::Quantile(0.99)),
        ("p99.9", Self::Quantile(0.999)),
        ("p99.99", Self::Quantile(0.9999)),
        ("max", Self::Max),
    ];

    /// Returns the figure with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, metric)| metric)
    }

    /// Returns this figure of a histogram in nanoseconds; `None` if the histogram is empty.
    pub(super) fn of(self, latency: &Histogram<u64>) -> Option<f64> {
        (!latency.is_empty()).then(|| match self {
            Self::Min => float(latency.min()),
            Self::Mean => latency.mean(),
            Self::Quantile(quantile) => float(latency.value_at_quantile(quantile)),
            Self::Max => float(latency.max()),
        })
    }
}

/// The measurements of a run.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// Latency of each correct reply, and the wait of each unsent request, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Number of requests with a correct reply.
    pub(super) correct: u64,
    /// Number of requests that were due at a fixed rate and never sent, because all connections were busy until the
    /// end.
    pub(super) unsent: u64,
    /// Number of moves in play at the end of a duel.
    pub(super) in_play: u64,
    /// Whether the run was aborted after a long time without a correct reply.
    pub(super) aborted: bool,
    pub(super) outcomes: Outcomes,
    pub(super) errors: BTreeMap<FailureKind, ErrorStats>,
    /// How long requests were counted: the given duration, or the time until the last reply.
    pub(super) elapsed: Duration,
    /// CPU time that this process used while requests were counted.
    pub(super) cpu: Duration,
}

/// The requests without a correct reply, of one kind of error.
#[derive(Clone, Debug)]
pub(super) struct ErrorStats {
    pub(super) count: u64,
    /// The message of the first error.
    pub(super) first: String,
    /// The exit code for this kind of error.
    pub(super) code: u8,
}

/// Number of rounds by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Outcomes {
    pub(super) draw: u64,
    pub(super) win: u64,
    pub(super) lose: u64,
    pub(super) void: u64,
    /// The moves of the house, in the order of [`Move::ALL`].
    #[serde(skip)]
    pub(super) house: [u64; 3],
}

impl Stats {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            latency: histogram()?,
            correct: 0,
            unsent: 0,
            in_play: 0,
            aborted: false,
            outcomes: Outcomes::default(),
            errors: BTreeMap::new(),
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
        })
    }

    /// Records correct replies with this latency each.
    pub(super) fn record_replies(&mut self, count: u64, elapsed: Duration) {
        self.correct += count;
        self.record_latency(count, elapsed);
    }

    /// Records the latency of requests, or the wait of unsent requests.
    pub(super) fn record_latency(&mut self, count: u64, elapsed: Duration) {
        self.latency.saturating_record_n(nanos(elapsed), count);
    }

    /// Records failed requests.
    pub(super) fn record_errors(&mut self, count: u64, error: &CliError) {
        let first = || ErrorStats { count: 0, first: error.message().unwrap_or_default(), code: error.code() };
        self.errors.entry(error.kind()).or_insert_with(first).count += count;
    }

    /// Returns the number of requests without a correct reply.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Returns the number of all requests.
    pub(super) fn requests(&self) -> u64 {
        self.correct + self.error_count()
    }

    /// Returns the correct replies per second.
    pub(super) fn throughput(&self) -> f64 {
        per_second(self.correct, self.elapsed)
    }

    /// Returns the CPU time per correct reply in nanoseconds.
    pub(super) fn cpu_per_reply(&self) -> u64 {
        u64::try_from(self.cpu.as_nanos()).unwrap_or(u64::MAX) / self.correct.max(1)
    }

    /// Returns the average number of cores that this process used.
    pub(super) fn cores(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.cpu.as_secs_f64() / self.elapsed.as_secs_f64() }
    }

    /// Adds the stats of another thread for the same time.
    pub(super) fn add(&mut self, other: &Self) {
        // Cannot fail: both histograms have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.correct += other.correct;
        self.unsent += other.unsent;
        self.in_play += other.in_play;
        self.aborted |= other.aborted;
        self.outcomes += other.outcomes;
        for (&kind, error) in &other.errors {
            let first = || ErrorStats { count: 0, ..error.clone() };
            self.errors.entry(kind).or_insert_with(first).count += error.count;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Returns an empty histogram.
fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, MAX_LATENCY, DIGITS).map_err(io::Error::other)
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// The replies of one interval of a series, warm-up included.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    pub(super) latency: Histogram<u64>,
    /// Number of requests with a correct reply.
    pub(super) correct: u64,
    /// Number of requests without a correct reply, per kind of error.
    pub(super) errors: BTreeMap<FailureKind, u64>,
}

impl Interval {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { latency: histogram()?, correct: 0, errors: BTreeMap::new() })
    }

    /// Records correct replies with this latency each.
    pub(super) fn record_replies(&mut self, count: u64, elapsed: Duration) {
        self.correct += count;
        self.latency.saturating_record_n(nanos(elapsed), count);
    }

    /// Records failed requests.
    pub(super) fn record_errors(&mut self, count: u64, kind: FailureKind) {
        *self.errors.entry(kind).or_default() += count;
    }

    /// Adds the replies of another thread.
    pub(super) fn add(&mut self, other: &Self) {
        // Cannot fail: both histograms have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.correct += other.correct;
        for (&kind, count) in &other.errors {
            self.record_errors(*count, kind);
        }
    }
}

impl Outcomes {
    /// Counts the outcome of a round with this move; returns `false` if the reply byte is not an outcome.
    pub(super) fn count(&mut self, mv: Option<Move>, byte: u8) -> bool {
        match Reply::from_byte(byte) {
            Some(Reply::Judged(outcome)) => {
                *match outcome {
                    Outcome::Draw => &mut self.draw,
                    Outcome::Win => &mut self.win,
                    Outcome::Lose => &mut self.lose,
                } += 1;
                if let Some(mv) = mv {
                    self.house[usize::from(outcome.opponent_move(mv).byte() - Move::Scissors.byte())] += 1;
                }
            }
            Some(Reply::Void) => self.void += 1,
            _ => return false,
        }
        true
    }
}

/// Pearson's chi-square test that three counts are equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Fairness {
    pub(super) chi_square: f64,
    /// Probability of a statistic at least this large if the counts are equally likely. Three counts have two degrees
    /// of freedom, where this is exactly exp(-x/2).
    pub(super) p: f64,
}

impl Fairness {
    /// Tests outcomes, which are equally likely for a fair house, or the moves of the house. Against random moves any
    /// house has even outcomes, even a house that always plays the same move.
    pub(super) fn from_counts(counts: [u64; 3]) -> Option<Self> {
        let expected = float(counts.iter().sum()) / 3.0;
        // The usual condition for the approximation.
        if expected < 5.0 {
            return None;
        }
        let chi_square = counts.iter().map(|&count| (float(count) - expected).powi(2) / expected).sum();
        Some(Self { chi_square, p: f64::exp(-chi_square / 2.0) })
    }
}

impl std::ops::AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.draw += other.draw;
        self.win += other.win;
        self.lose += other.lose;
        self.void += other.void;
        for (count, more) in self.house.iter_mut().zip(other.house) {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a failed setup fails the test")]
    fn fairness_is_pearsons_chi_square() {
        assert_eq!(Fairness::from_counts([100, 100, 100]), Some(Fairness { chi_square: 0.0, p: 1.0 }));
        // Computed by hand: expected 100 each, (20² + 10² + 10²) / 100 = 6, exp(-3).
        let Fairness { chi_square, p } = Fairness::from_counts([120, 90, 90]).unwrap();
        assert!((chi_square - 6.0).abs() < 1e-12 && (p - 0.049_787).abs() < 1e-6, "{chi_square} {p}");
        assert_eq!(Fairness::from_counts([4, 5, 5]), None);
    }

    #[test]
    fn a_house_that_plays_one_move_has_even_outcomes_and_uneven_moves() {
        let mut outcomes = Outcomes::default();
        for (mv, reply) in [(Move::Scissors, b'z'), (Move::Rock, b'x'), (Move::Paper, b'y')].repeat(100) {
            assert!(outcomes.count(Some(mv), reply));
        }
        assert_eq!(outcomes.house, [0, 300, 0]);
        let Outcomes { draw, win, lose, house, .. } = outcomes;
        assert!(Fairness::from_counts([draw, win, lose]).is_some_and(|fairness| fairness.p > 0.99));
        assert!(Fairness::from_counts(house).is_some_and(|evenness| evenness.p < 1e-9));
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a failed setup fails the test")]
    fn stats_of_two_threads_add_up() {
        let mut one = Stats::new().unwrap();
        one.record_replies(3, Duration::from_micros(5));
        one.record_errors(2, &CliError::WrongReply("first".to_owned()));
        let mut other = one.clone();
        other.record_replies(1, Duration::from_hours(2));
        one.add(&other);
        assert_eq!((one.correct, one.error_count()), (7, 4));
        assert_eq!(one.errors[&FailureKind::Wrong].first, "first");
        // A longer time counts as the longest one.
        assert!(one.latency.max() >= MAX_LATENCY);
    }
}
