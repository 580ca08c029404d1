//! The score of a game.

use std::fmt;

use proto::client::rps::Round;
use proto::wire::rps::Outcome;
use serde::Serialize;

use crate::language::texts;

#[derive(Default, Serialize)]
pub(super) struct Score {
    #[serde(rename = "score")]
    pub(super) rounds: RoundCounts,
    /// The winner of the match.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) winner: Option<Side>,
    /// Number of rounds that win the match; `None` without a match.
    #[serde(skip)]
    wins_needed: Option<u64>,
    /// The side that won the most recent rounds, and their number.
    #[serde(skip)]
    streak: Option<(Side, u64)>,
}

/// Number of rounds by outcome.
#[derive(Default, Serialize)]
pub(super) struct RoundCounts {
    pub(super) won: u64,
    pub(super) lost: u64,
    drawn: u64,
    void: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Side {
    #[serde(rename = "won")]
    Player,
    #[serde(rename = "lost")]
    Opponent,
}

impl Score {
    /// Creates the score of a game. With `best_of` it is a match, which a majority of these rounds wins.
    pub(super) fn new(best_of: Option<u64>) -> Self {
        Self { wins_needed: best_of.map(|rounds| rounds / 2 + 1), ..Self::default() }
    }

    pub(super) fn count(&mut self, round: Round) {
        let (count, side) = match round {
            Round::Judged(Outcome::Win) => (&mut self.rounds.won, Some(Side::Player)),
            Round::Judged(Outcome::Lose) => (&mut self.rounds.lost, Some(Side::Opponent)),
            Round::Judged(Outcome::Draw) => (&mut self.rounds.drawn, None),
            Round::Void => (&mut self.rounds.void, None),
        };
        *count += 1;
        if self.wins_needed.is_some_and(|wins_needed| *count >= wins_needed) {
            self.winner = self.winner.or(side);
        }
        self.streak = side.map(|side| match self.streak {
            Some((before, rounds)) if before == side => (side, rounds + 1),
            _ => (side, 1),
        });
    }

    /// Returns the current streak of three rounds or more.
    pub(super) fn streak(&self) -> Option<(Side, u64)> {
        self.streak.filter(|&(_, rounds)| rounds >= 3)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoundCounts { won, lost, drawn, void } = self.rounds;
        f.write_str(&texts::score(won, lost, drawn))?;
        if void > 0 {
            f.write_str(&texts::score_void(void))?;
        }
        match self.winner {
            Some(Side::Player) => write!(f, "\n{}", texts::match_won(won, lost)),
            Some(Side::Opponent) => write!(f, "\n{}", texts::match_lost(won, lost)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIN: Round = Round::Judged(Outcome::Win);
    const LOSE: Round = Round::Judged(Outcome::Lose);
    const DRAW: Round = Round::Judged(Outcome::Draw);

    fn after(best_of: Option<u64>, rounds: &[Round]) -> Score {
        let mut score = Score::new(best_of);
        for &round in rounds {
            score.count(round);
        }
        score
    }

    #[test]
    fn void_rounds_are_counted_apart_from_draws() {
        assert_eq!(after(None, &[]).to_string(), "0 won, 0 lost, 0 drawn");
        let score = after(None, &[WIN, LOSE, DRAW, WIN, Round::Void]);
        assert_eq!(score.to_string(), "2 won, 1 lost, 1 drawn, 1 void");
    }

    #[test]
    fn a_majority_wins_the_match_and_draws_do_not_count() {
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, Round::Void]).winner, None);
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, WIN]).winner, Some(Side::Player));
        assert_eq!(after(Some(1), &[LOSE]).winner, Some(Side::Opponent));
        assert_eq!(after(None, &[WIN; 9]).winner, None);
        let lost = after(Some(3), &[WIN, LOSE, LOSE]);
        assert_eq!(lost.to_string(), "1 won, 2 lost, 0 drawn\nYou lose the match 1:2.");
    }

    #[test]
    fn a_loss_or_a_draw_ends_a_streak() {
        assert_eq!(after(None, &[WIN, WIN]).streak(), None);
        assert_eq!(after(None, &[LOSE, WIN, WIN, WIN]).streak(), Some((Side::Player, 3)));
        assert_eq!(after(None, &[LOSE; 4]).streak(), Some((Side::Opponent, 4)));
        assert_eq!(after(None, &[WIN, WIN, DRAW, WIN]).streak(), None);
    }
}
