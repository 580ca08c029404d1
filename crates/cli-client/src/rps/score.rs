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
    /// The winner of the match, if there is one.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) winner: Option<Side>,
    /// How many rounds win the match, if it is one.
    #[serde(skip)]
    enough: Option<u64>,
    /// The side that won the last rounds, and how many.
    #[serde(skip)]
    streak: Option<(Side, u64)>,
}

/// The number of rounds by how they ended.
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
    /// The score of a game, or of a match that more than half of `best_of` rounds win.
    pub(super) fn new(best_of: Option<u64>) -> Self {
        Self { enough: best_of.map(|rounds| rounds / 2 + 1), ..Self::default() }
    }

    pub(super) fn count(&mut self, round: Round) {
        let (count, side) = match round {
            Round::Judged(Outcome::Win) => (&mut self.rounds.won, Some(Side::Player)),
            Round::Judged(Outcome::Lose) => (&mut self.rounds.lost, Some(Side::Opponent)),
            Round::Judged(Outcome::Draw) => (&mut self.rounds.drawn, None),
            Round::Void => (&mut self.rounds.void, None),
        };
        *count += 1;
        if self.enough.is_some_and(|enough| *count >= enough) {
            self.winner = self.winner.or(side);
        }
        self.streak = side.map(|side| match self.streak {
            Some((before, rounds)) if before == side => (side, rounds + 1),
            _ => (side, 1),
        });
    }

    /// The current streak, from the third round on.
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
    fn a_void_round_is_no_draw() {
        assert_eq!(after(None, &[]).to_string(), "0 won, 0 lost, 0 drawn");
        let score = after(None, &[WIN, LOSE, DRAW, WIN, Round::Void]);
        assert_eq!(score.to_string(), "2 won, 1 lost, 1 drawn, 1 void");
    }

    #[test]
    fn a_match_ends_once_more_than_half_is_won_and_draws_do_not_count() {
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, Round::Void]).winner, None);
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, WIN]).winner, Some(Side::Player));
        assert_eq!(after(Some(1), &[LOSE]).winner, Some(Side::Opponent));
        assert_eq!(after(None, &[WIN; 9]).winner, None);
        let lost = after(Some(3), &[WIN, LOSE, LOSE]);
        assert_eq!(lost.to_string(), "1 won, 2 lost, 0 drawn\nYou lose the match 1:2.");
    }

    #[test]
    fn a_streak_is_of_one_side_and_anything_else_ends_it() {
        assert_eq!(after(None, &[WIN, WIN]).streak(), None);
        assert_eq!(after(None, &[LOSE, WIN, WIN, WIN]).streak(), Some((Side::Player, 3)));
        assert_eq!(after(None, &[LOSE; 4]).streak(), Some((Side::Opponent, 4)));
        assert_eq!(after(None, &[WIN, WIN, DRAW, WIN]).streak(), None);
    }
}
