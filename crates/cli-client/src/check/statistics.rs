//! Statistics on the house: does it judge by the rule, is it fair, and does it look at the player's moves?
//!
//! Each test is Pearson's chi-square test with the limit [`MIN_P`]. A run has six of them, so a correct server fails
//! one in fewer than 1 of 100,000 runs.

use proto::wire::rps::{Move, Outcome};

/// The p-value below which a test fails.
pub(super) const MIN_P: f64 = 1e-6;

/// Counts of one thing, given another.
type Table = [[u64; 3]; 3];

/// The rounds that were played, counted. A house move follows from the player's move and the outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct House {
    /// Moves of the house by the player's move.
    by_move: Table,
    /// Moves of the house by its move before.
    by_last: Table,
    /// Moves of the house by the player's move before.
    by_last_move: Table,
    /// Moves of the house by the outcome before.
    by_last_outcome: Table,
    last: Option<(Move, Outcome)>,
}

/// A question about the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether the moves of the house, as the outcomes show them, are the same against each move of the player. They
    /// are not if a pair is judged wrong.
    Rule,
    /// Whether the house plays each move equally often.
    Fair,
    /// Whether a move does not depend on the one before.
    Independent,
    /// Whether a move does not depend on the player's move before, or on the outcome before.
    Memory,
}

impl House {
    pub(super) fn count(&mut self, mv: Move, outcome: Outcome) {
        let house = index(outcome.opponent_move(mv));
        self.by_move[index(mv)][house] += 1;
        if let Some((last_move, last_outcome)) = self.last {
            self.by_last[index(last_outcome.opponent_move(last_move))][house] += 1;
            self.by_last_move[index(last_move)][house] += 1;
            self.by_last_outcome[last_outcome as usize % 3][house] += 1;
        }
        self.last = Some((mv, outcome));
    }

    pub(super) fn rounds(&self) -> u64 {
        self.by_move.iter().flatten().sum()
    }

    /// Returns the moves of the house, in the order of [`Move::ALL`].
    pub(super) fn moves(&self) -> [u64; 3] {
        sum_of_rows(&self.by_move)
    }

    /// Returns how often the player won, lost and drew with this move.
    pub(super) fn outcomes(&self, mv: Move) -> [u64; 3] {
        [Outcome::Win, Outcome::Lose, Outcome::Draw]
            .map(|outcome| self.by_move[index(mv)][index(outcome.opponent_move(mv))])
    }

    /// Returns the p-value of a test: the probability of counts at least this uneven if the house is right.
    pub(super) fn p(&self, question: Question) -> f64 {
        match question {
            Question::Rule => independence(&self.by_move),
            Question::Fair => evenness(self.moves()),
            Question::Independent => independence(&self.by_last),
            Question::Memory => independence(&self.by_last_move).min(independence(&self.by_last_outcome)),
        }
    }
}

fn index(mv: Move) -> usize {
    usize::from(mv.byte() - Move::Scissors.byte())
}

fn sum_of_rows(table: &Table) -> [u64; 3] {
    [0, 1, 2].map(|column| table.iter().map(|row| row[column]).sum())
}

#[allow(clippy::cast_precision_loss, reason = "fifteen digits are enough")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Tests that three counts are equally likely: two degrees of freedom.
fn evenness(counts: [u64; 3]) -> f64 {
    let expected = float(counts.iter().sum()) / 3.0;
    if expected == 0.0 {
        return 1.0;
    }
    let chi_square: f64 = counts.iter().map(|&count| (float(count) - expected).powi(2) / expected).sum();
    // The upper tail of the distribution, for two degrees of freedom.
    f64::exp(-chi_square / 2.0)
}

/// Tests that the columns of a table do not depend on its rows: four degrees of freedom. A row or column without counts
/// adds nothing, which makes the p-value larger.
fn independence(table: &Table) -> f64 {
    let columns = sum_of_rows(table);
    let rows = table.map(|row| row.iter().sum::<u64>());
    let total = float(columns.iter().sum());
    let mut chi_square = 0.0;
    for (row, &row_sum) in table.iter().zip(&rows) {
        for (&count, &column_sum) in row.iter().zip(&columns) {
            let expected = float(row_sum) * float(column_sum) / total.max(1.0);
            if expected > 0.0 {
                chi_square += (float(count) - expected).powi(2) / expected;
            }
        }
    }
    // The upper tail of the distribution, for four degrees of freedom.
    f64::exp(-chi_square / 2.0) * (1.0 + chi_square / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the same numbers below 3 in each test (xorshift; Marsaglia, 2003).
    fn numbers() -> impl FnMut() -> usize {
        let mut state = 88_172_645_463_325_252_u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 3).unwrap()
        }
    }

    /// Plays rounds against a house; `judge` gets the moves of player and house.
    fn play(rounds: u64, house: impl Fn(usize, Option<Move>) -> Move, judge: impl Fn(Move, Move) -> Outcome) -> House {
        let mut counts = House::default();
        let mut number = numbers();
        let mut last = None;
        for _ in 0..rounds {
            let mv = Move::ALL[number()];
            let answer = house(number(), last);
            counts.count(mv, judge(mv, answer));
            last = Some(mv);
        }
        counts
    }

    fn right(mv: Move, house: Move) -> Outcome {
        let all = [Outcome::Win, Outcome::Lose, Outcome::Draw];
        all.into_iter().find(|outcome| outcome.opponent_move(mv) == house).unwrap()
    }

    #[test]
    fn p_values_are_those_of_the_tables() {
        // Of any table of the distribution: 5.991 and 9.488 are the limits for p = 0.05.
        assert!((f64::exp(-5.991 / 2.0) - 0.05).abs() < 1e-4);
        let chi_square = 9.488_f64;
        assert!((f64::exp(-chi_square / 2.0) * (1.0 + chi_square / 2.0) - 0.05).abs() < 1e-4);
        // By hand: (20² + 10² + 10²) / 100 = 6.
        assert!((evenness([120, 90, 90]) - f64::exp(-3.0)).abs() < 1e-12);
        // By hand: each expected count is 10, the differences are 10, 5 and 5 in two rows: 2 · 15 = 30.
        assert!((independence(&[[20, 5, 5], [0, 15, 15], [0, 0, 0]]) - f64::exp(-15.0) * 16.0).abs() < 1e-12);
        assert!((independence(&[[0; 3]; 3]) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn wrong_houses_fail_the_question_that_they_are_wrong_in() {
        let random = |number: usize, _| Move::ALL[number];
        let paper_beats_scissors = |mv, house| match (mv, house) {
            (Move::Paper, Move::Scissors) => Outcome::Win,
            _ => right(mv, house),
        };
        let house = play(300, random, paper_beats_scissors);
        assert!(house.p(Question::Rule) < MIN_P, "{house:?}");
        let biased = |number: usize, _| if number == 0 { Move::Rock } else { Move::ALL[number] };
        let house = play(3_000, biased, right);
        assert!(house.p(Question::Fair) < MIN_P && house.p(Question::Rule) > MIN_P, "{house:?}");
        let copies = |number: usize, last: Option<Move>| last.unwrap_or(Move::ALL[number]);
        let house = play(3_000, copies, right);
        assert!(house.p(Question::Memory) < MIN_P && house.p(Question::Fair) > MIN_P, "{house:?}");
    }

    /// The approximation by the distribution is good enough for few rounds: for each number of rounds up to 100, the
    /// failing outcomes of the exact distribution have a probability below 1 in 100,000 together.
    #[test]
    fn few_rounds_raise_no_false_alarm() {
        const MOST: usize = 100;
        let mut ln_factorials = vec![0.0];
        for number in 1..=100_u32 {
            ln_factorials.push(ln_factorials.last().unwrap() + f64::from(number).ln());
        }
        for rounds in 1..=MOST {
            let mut false_alarms = 0.0;
            for one in 0..=rounds {
                for two in 0..=rounds - one {
                    let counts = [one, two, rounds - one - two];
                    if evenness(counts.map(|count| count as u64)) < MIN_P {
                        let ln = ln_factorials[rounds] - counts.map(|count| ln_factorials[count]).iter().sum::<f64>();
                        false_alarms += (ln - float(rounds as u64) * 3_f64.ln()).exp();
                    }
                }
            }
            assert!(false_alarms < 1e-5, "{rounds}: {false_alarms}");
        }
    }

    #[test]
    fn a_fair_house_fails_no_question() {
        for rounds in [1, 10, 100, 300, 3_000] {
            let house = play(rounds, |number, _| Move::ALL[number], right);
            for question in [Question::Rule, Question::Fair, Question::Independent, Question::Memory] {
                assert!(house.p(question) >= MIN_P, "{question:?} {house:?}");
            }
        }
    }
}
