//! What came of a run: how many answers, how fast, how the games ended, and what went wrong.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto::wire::rps::{Answer, Move, Outcome};

use crate::failure::{Failure, Kind};
use crate::rps::other_hand;

/// The longest time that is told from longer ones, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Times are exact to three digits, which is more than any two runs agree in.
const DIGITS: u8 = 3;

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// The time of each right answer in nanoseconds, and that for which each request waited that was never sent.
    pub(super) latency: Histogram<u64>,
    /// How many requests were answered right.
    pub(super) right: u64,
    /// How many were due at a fixed rate and never sent, since all connections were busy to the end.
    pub(super) unsent: u64,
    /// How many moves were in play at the end of a duel.
    pub(super) in_play: u64,
    /// Whether the run was given up, since nothing was answered for long.
    pub(super) given_up: bool,
    pub(super) outcomes: Outcomes,
    pub(super) troubles: BTreeMap<Kind, Troubles>,
    /// How long requests were counted: as long as was asked for, or else to the last answer.
    pub(super) took: Duration,
    /// How much CPU time this process used from when requests were counted.
    pub(super) cpu: Duration,
}

/// Requests that were not answered right, all for the same kind of reason.
#[derive(Clone, Debug)]
pub(super) struct Troubles {
    pub(super) count: u64,
    /// The first of them, in words.
    pub(super) first: String,
    /// The exit code that it asks for.
    pub(super) code: u8,
}

/// How rounds ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) draw: u64,
    pub(super) win: u64,
    pub(super) lose: u64,
    pub(super) void: u64,
    /// What the house showed, in the order of [`Move::ALL`].
    pub(super) house: [u64; 3],
}

impl Tally {
    pub(super) fn new() -> io::Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(io::Error::other)?;
        Ok(Self {
            latency,
            right: 0,
            unsent: 0,
            in_play: 0,
            given_up: false,
            outcomes: Outcomes::default(),
            troubles: BTreeMap::new(),
            took: Duration::ZERO,
            cpu: Duration::ZERO,
        })
    }

    /// So many answers took so long.
    pub(super) fn answered(&mut self, count: u64, took: Duration) {
        self.right += count;
        self.waited(count, took);
    }

    /// So many requests were due, one after the other, and never sent: the first had waited so long at the end, the last
    /// so long.
    pub(super) fn not_sent_in_turn(&mut self, count: u64, first: Duration, last: Duration) {
        // More steps than the histogram can tell apart would only take time.
        const STEPS: u64 = 10_000;
        self.unsent += count;
        let steps = count.min(STEPS);
        for step in 0..steps {
            let part = count / steps + u64::from(step < count % steps);
            let share = u32::try_from(step).unwrap_or_default();
            let between = first.saturating_sub(last) / u32::try_from(steps).unwrap_or(1) * share;
            self.waited(part, first.saturating_sub(between));
        }
    }

    fn waited(&mut self, count: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(nanos, count);
    }

    /// So many requests met with this.
    pub(super) fn failed(&mut self, count: u64, failure: &Failure) {
        let first = || Troubles { count: 0, first: failure.message().unwrap_or_default(), code: failure.code() };
        self.troubles.entry(failure.kind()).or_insert_with(first).count += count;
    }

    /// Something came of a request now, when they have been counted since `from`.
    pub(super) fn until(&mut self, from: Instant, now: Instant) {
        self.took = self.took.max(now.saturating_duration_since(from));
    }

    /// How many were not.
    pub(super) fn not_right(&self) -> u64 {
        self.troubles.values().map(|troubles| troubles.count).sum()
    }

    /// Right answers a second.
    #[allow(clippy::cast_precision_loss, reason = "a rate has no sixteen digits")]
    pub(super) fn throughput(&self) -> f64 {
        if self.took.is_zero() { 0.0 } else { self.right as f64 / self.took.as_secs_f64() }
    }

    /// What another thread has counted in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that one has room for the other.
        let _ = self.latency.add(&other.latency);
        self.right += other.right;
        self.unsent += other.unsent;
        self.in_play += other.in_play;
        self.given_up |= other.given_up;
        self.outcomes += other.outcomes;
        for (&kind, troubles) in &other.troubles {
            let first = || Troubles { count: 0, ..troubles.clone() };
            self.troubles.entry(kind).or_insert_with(first).count += troubles.count;
        }
        self.took = self.took.max(other.took);
    }
}

impl Outcomes {
    /// Counts a frame that says how a round ended in which this was shown; `false` for one that does not.
    pub(super) fn count(&mut self, shown: Option<Move>, byte: u8) -> bool {
        match Answer::from_byte(byte) {
            Some(Answer::Judged(outcome)) => {
                *match outcome {
                    Outcome::Draw => &mut self.draw,
                    Outcome::Win => &mut self.win,
                    Outcome::Lose => &mut self.lose,
                } += 1;
                if let Some(shown) = shown {
                    self.house[usize::from(other_hand(shown, outcome).byte() - Move::Scissors.byte())] += 1;
                }
            }
            Some(Answer::Void) => self.void += 1,
            _ => return false,
        }
        true
    }

    /// Whether the outcomes are as likely as each other.
    pub(super) fn fairness(&self) -> Option<Fairness> {
        Fairness::of([self.draw, self.win, self.lose])
    }

    /// Whether the house shows each move as often as the others. Against moves that are random, any house has even
    /// outcomes, also one that always shows the same.
    pub(super) fn evenness(&self) -> Option<Fairness> {
        Fairness::of(self.house)
    }
}

/// Pearson's statistic against three counts being equally likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fairness {
    pub(super) chi_square: f64,
    /// How likely the statistic is to be as large or larger if they are. With three counts it has two degrees of freedom,
    /// and then this is exp(-x/2) exactly.
    pub(super) p: f64,
}

impl Fairness {
    #[allow(clippy::cast_precision_loss, reason = "a statistic has no sixteen digits")]
    fn of(counts: [u64; 3]) -> Option<Self> {
        let expected = counts.iter().sum::<u64>() as f64 / 3.0;
        // The usual rule for when the approximation holds.
        if expected < 5.0 {
            return None;
        }
        let chi_square = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
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
        let outcomes = |draw, win, lose| Outcomes { draw, win, lose, void: 7, house: [0; 3] };
        assert_eq!(outcomes(100, 100, 100).fairness(), Some(Fairness { chi_square: 0.0, p: 1.0 }));
        // By hand: expected 100 each, (20² + 10² + 10²) / 100 = 6, exp(-3).
        let Fairness { chi_square, p } = outcomes(120, 90, 90).fairness().unwrap();
        assert!((chi_square - 6.0).abs() < 1e-12 && (p - 0.049_787).abs() < 1e-6, "{chi_square} {p}");
        assert_eq!(outcomes(4, 5, 5).fairness(), None);
    }

    #[test]
    fn a_house_that_always_shows_the_same_has_even_outcomes_and_is_found_out() {
        let mut outcomes = Outcomes::default();
        for (shown, answer) in [(Move::Scissors, b'z'), (Move::Rock, b'x'), (Move::Paper, b'y')].repeat(100) {
            assert!(outcomes.count(Some(shown), answer));
        }
        assert_eq!(outcomes.house, [0, 300, 0]);
        assert!(outcomes.fairness().is_some_and(|fairness| fairness.p > 0.99));
        assert!(outcomes.evenness().is_some_and(|evenness| evenness.p < 1e-9));
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
        assert_eq!((one.right, one.not_right()), (7, 4));
        assert_eq!(one.troubles[&Kind::Wrong].first, "first");
        // What is beyond the longest time counts as that.
        assert!(one.latency.max() >= LONGEST);
    }
}
