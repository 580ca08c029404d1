//! What came of a run: how many answers, how fast, how the games ended, and what went wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto::wire::rps::{Answer, Outcome};

use crate::failure::{Failure, Kind};

/// The longest time that is told from longer ones, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Times are exact to three digits, which is more than any two runs agree in.
const DIGITS: u8 = 3;

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// The time of each answer in nanoseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) outcomes: Outcomes,
    pub(super) troubles: BTreeMap<Kind, Troubles>,
    /// From when answers were counted, to the last of them.
    pub(super) took: Duration,
    /// How much CPU time this process used meanwhile.
    pub(super) cpu: Duration,
}

/// Requests that were not answered right, all for the same kind of reason.
#[derive(Clone, Debug)]
pub(super) struct Troubles {
    pub(super) count: u64,
    /// The first of them, in words.
    pub(super) first: String,
}

/// How rounds ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) draw: u64,
    pub(super) win: u64,
    pub(super) lose: u64,
    pub(super) void: u64,
}

impl Tally {
    pub(super) fn new() -> Option<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS).ok()?;
        Some(Self {
            latency,
            outcomes: Outcomes::default(),
            troubles: BTreeMap::new(),
            took: Duration::ZERO,
            cpu: Duration::ZERO,
        })
    }

    /// So many answers took so long.
    pub(super) fn answered(&mut self, count: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(nanos, count);
    }

    /// So many requests met with this.
    pub(super) fn failed(&mut self, count: u64, failure: &Failure) {
        let first = || Troubles { count: 0, first: failure.message().unwrap_or_default() };
        self.troubles.entry(failure.kind()).or_insert_with(first).count += count;
    }

    pub(super) fn until(&mut self, from: Instant, now: Instant) {
        self.took = self.took.max(now.saturating_duration_since(from));
    }

    /// How many requests were answered right.
    pub(super) fn right(&self) -> u64 {
        self.latency.len()
    }

    /// How many were not.
    pub(super) fn not_right(&self) -> u64 {
        self.troubles.values().map(|troubles| troubles.count).sum()
    }

    /// Right answers a second.
    #[allow(clippy::cast_precision_loss, reason = "a rate has no sixteen digits")]
    pub(super) fn throughput(&self) -> f64 {
        if self.took.is_zero() { 0.0 } else { self.right() as f64 / self.took.as_secs_f64() }
    }

    /// What another thread has counted in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that one has room for the other.
        let _ = self.latency.add(&other.latency);
        self.outcomes += other.outcomes;
        for (&kind, troubles) in &other.troubles {
            let first = || Troubles { count: 0, first: troubles.first.clone() };
            self.troubles.entry(kind).or_insert_with(first).count += troubles.count;
        }
        self.took = self.took.max(other.took);
    }
}

impl Outcomes {
    /// Counts a frame that says how a round ended; `false` for one that does not.
    pub(super) fn count(&mut self, byte: u8) -> bool {
        match Answer::from_byte(byte) {
            Some(Answer::Judged(Outcome::Draw)) => self.draw += 1,
            Some(Answer::Judged(Outcome::Win)) => self.win += 1,
            Some(Answer::Judged(Outcome::Lose)) => self.lose += 1,
            Some(Answer::Void) => self.void += 1,
            _ => return false,
        }
        true
    }

    pub(super) fn judged(&self) -> u64 {
        self.draw + self.win + self.lose
    }

    /// Pearson's statistic against the three outcomes being equally likely, and how likely it is to be as large or larger
    /// if they are. With three outcomes it has two degrees of freedom, and then the latter is exp(-x/2) exactly.
    #[allow(clippy::cast_precision_loss, reason = "a statistic has no sixteen digits")]
    pub(super) fn fairness(&self) -> Option<(f64, f64)> {
        let expected = self.judged() as f64 / 3.0;
        // The usual rule for when the approximation holds.
        if expected < 5.0 {
            return None;
        }
        let square = |count: u64| (count as f64 - expected).powi(2) / expected;
        let chi_square = square(self.draw) + square(self.win) + square(self.lose);
        Some((chi_square, (-chi_square / 2.0).exp()))
    }
}

impl std::ops::AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.draw += other.draw;
        self.win += other.win;
        self.lose += other.lose;
        self.void += other.void;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
    fn fairness_is_pearsons() {
        let outcomes = |draw, win, lose| Outcomes { draw, win, lose, void: 7 };
        assert_eq!(outcomes(100, 100, 100).fairness(), Some((0.0, 1.0)));
        // By hand: expected 100 each, (20² + 10² + 10²) / 100 = 6, exp(-3).
        let (chi_square, p) = outcomes(120, 90, 90).fairness().unwrap();
        assert!((chi_square - 6.0).abs() < 1e-12 && (p - 0.049_787).abs() < 1e-6, "{chi_square} {p}");
        assert_eq!(outcomes(4, 5, 5).fairness(), None);
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
    fn tallies_add_up() {
        let mut one = Tally::new().unwrap();
        one.answered(3, Duration::from_micros(5));
        one.failed(2, &Failure::WrongAnswer("first".to_owned()));
        let mut other = one.clone();
        other.answered(1, Duration::from_hours(2));
        one.add(&other);
        assert_eq!((one.right(), one.not_right()), (7, 4));
        assert_eq!(one.troubles[&Kind::Wrong].first, "first");
        // What is beyond the longest time counts as that.
        assert!(one.latency.max() >= LONGEST);
    }
}
