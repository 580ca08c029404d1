//! The stats of a run: how many replies, how fast, how the games ended, and what failed.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use proto::wire::rps::{Move, Outcome, Reply};
use serde::Serialize;

use super::figures::{float, per_second};
use crate::error::{CliError, FailureKind};

/// The longest time that the histogram distinguishes, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Times are exact to three digits, which is more than any two runs agree in.
const DIGITS: u8 = 3;

/// The stats of a run.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// The time of each right reply in nanoseconds, and that for which each request waited that was never sent.
    pub(super) latency: Histogram<u64>,
    /// How many requests had a right reply.
    pub(super) right: u64,
    /// How many were due at a fixed rate and never sent, since all connections were busy to the end.
    pub(super) unsent: u64,
    /// How many moves were in play at the end of a duel.
    pub(super) in_play: u64,
    /// Whether the run was aborted, after a long time without a right reply.
    pub(super) given_up: bool,
    pub(super) outcomes: Outcomes,
    pub(super) errors: BTreeMap<FailureKind, ErrorStats>,
    /// How long requests were counted: as long as was asked for, or else to the last reply.
    pub(super) took: Duration,
    /// How much CPU time this process used from when requests were counted.
    pub(super) cpu: Duration,
}

/// Requests without a right reply, all for the same kind of reason.
#[derive(Clone, Debug)]
pub(super) struct ErrorStats {
    pub(super) count: u64,
    /// The message of the first of them.
    pub(super) first: String,
    /// The exit code that it asks for.
    pub(super) code: u8,
}

/// How rounds ended.
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
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(io::Error::other)?;
        Ok(Self {
            latency,
            right: 0,
            unsent: 0,
            in_play: 0,
            given_up: false,
            outcomes: Outcomes::default(),
            errors: BTreeMap::new(),
            took: Duration::ZERO,
            cpu: Duration::ZERO,
        })
    }

    /// Counts right replies that took this long each.
    pub(super) fn answered(&mut self, count: u64, took: Duration) {
        self.right += count;
        self.waited(count, took);
    }

    /// Counts requests that waited this long for their reply, or for a connection until the end.
    pub(super) fn waited(&mut self, count: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(nanos, count);
    }

    /// Counts requests that failed.
    pub(super) fn failed(&mut self, count: u64, failure: &CliError) {
        let first = || ErrorStats { count: 0, first: failure.message().unwrap_or_default(), code: failure.code() };
        self.errors.entry(failure.kind()).or_insert_with(first).count += count;
    }

    /// How many requests had no right reply.
    pub(super) fn not_right(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> u64 {
        self.right + self.not_right()
    }

    /// Right replies a second.
    pub(super) fn throughput(&self) -> f64 {
        per_second(self.right, self.took)
    }

    /// The CPU time for each right reply, in nanoseconds.
    pub(super) fn cpu_each(&self) -> u64 {
        u64::try_from(self.cpu.as_nanos()).unwrap_or(u64::MAX) / self.right.max(1)
    }

    /// How many cores this process kept busy.
    pub(super) fn cores(&self) -> f64 {
        if self.took.is_zero() { 0.0 } else { self.cpu.as_secs_f64() / self.took.as_secs_f64() }
    }

    /// The quantiles of the latency and its maximum, by name, in nanoseconds.
    pub(super) fn quantiles(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
        let quantiles = quantiles.map(|(name, quantile)| (name, self.latency.value_at_quantile(quantile)));
        quantiles.into_iter().chain([("max", self.latency.max())])
    }

    /// Adds what another thread has counted in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that one has room for the other.
        let _ = self.latency.add(&other.latency);
        self.right += other.right;
        self.unsent += other.unsent;
        self.in_play += other.in_play;
        self.given_up |= other.given_up;
        self.outcomes += other.outcomes;
        for (&kind, error) in &other.errors {
            let first = || ErrorStats { count: 0, ..error.clone() };
            self.errors.entry(kind).or_insert_with(first).count += error.count;
        }
        self.took = self.took.max(other.took);
    }
}

impl Outcomes {
    /// Counts a frame that says how a round ended in which this was shown; `false` for one that does not.
    pub(super) fn count(&mut self, shown: Option<Move>, byte: u8) -> bool {
        match Reply::from_byte(byte) {
            Some(Reply::Judged(outcome)) => {
                *match outcome {
                    Outcome::Draw => &mut self.draw,
                    Outcome::Win => &mut self.win,
                    Outcome::Lose => &mut self.lose,
                } += 1;
                if let Some(shown) = shown {
                    self.house[usize::from(outcome.opponent_move(shown).byte() - Move::Scissors.byte())] += 1;
                }
            }
            Some(Reply::Void) => self.void += 1,
            _ => return false,
        }
        true
    }
}

/// Pearson's statistic against three counts being equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Fairness {
    pub(super) chi_square: f64,
    /// How likely the statistic is to be as large or larger if they are. With three counts it has two degrees of freedom,
    /// and then this is exp(-x/2) exactly.
    pub(super) p: f64,
}

impl Fairness {
    /// Of the outcomes, which a fair house has as often as each other, or of the moves that it shows. Against moves that
    /// are random, any house has even outcomes, also one that always shows the same.
    pub(super) fn of(counts: [u64; 3]) -> Option<Self> {
        let expected = float(counts.iter().sum()) / 3.0;
        // The usual rule for when the approximation holds.
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
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
    fn fairness_is_pearsons() {
        assert_eq!(Fairness::of([100, 100, 100]), Some(Fairness { chi_square: 0.0, p: 1.0 }));
        // By hand: expected 100 each, (20² + 10² + 10²) / 100 = 6, exp(-3).
        let Fairness { chi_square, p } = Fairness::of([120, 90, 90]).unwrap();
        assert!((chi_square - 6.0).abs() < 1e-12 && (p - 0.049_787).abs() < 1e-6, "{chi_square} {p}");
        assert_eq!(Fairness::of([4, 5, 5]), None);
    }

    #[test]
    fn a_house_that_always_shows_the_same_has_even_outcomes_and_is_found_out() {
        let mut outcomes = Outcomes::default();
        for (shown, answer) in [(Move::Scissors, b'z'), (Move::Rock, b'x'), (Move::Paper, b'y')].repeat(100) {
            assert!(outcomes.count(Some(shown), answer));
        }
        assert_eq!(outcomes.house, [0, 300, 0]);
        let Outcomes { draw, win, lose, house, .. } = outcomes;
        assert!(Fairness::of([draw, win, lose]).is_some_and(|fairness| fairness.p > 0.99));
        assert!(Fairness::of(house).is_some_and(|evenness| evenness.p < 1e-9));
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
    fn stats_add_up() {
        let mut one = Stats::new().unwrap();
        one.answered(3, Duration::from_micros(5));
        one.failed(2, &CliError::WrongAnswer("first".to_owned()));
        let mut other = one.clone();
        other.answered(1, Duration::from_hours(2));
        one.add(&other);
        assert_eq!((one.right, one.not_right()), (7, 4));
        assert_eq!(one.errors[&FailureKind::Wrong].first, "first");
        // What is beyond the longest time counts as that.
        assert!(one.latency.max() >= LONGEST);
    }
}
