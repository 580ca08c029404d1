//! How a game stands, and how it ended.

use std::fmt;

use proto::client::rps::Round;
use proto::wire::rps::Outcome;
use serde::Serialize;

use crate::language::texts;

/// How the rounds ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) won: u64,
    pub(super) lost: u64,
    drawn: u64,
    void: u64,
    streak: Option<Streak>,
    /// How many rounds win the match, if it is one.
    enough: Option<u64>,
}

/// Rounds that one side has won in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streak {
    pub(super) of: Side,
    pub(super) rounds: u64,
}

/// A side of the game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Player,
    Opponent,
}

impl Score {
    /// The score of a game, or of a match of so many rounds, of which more than half have to be won.
    pub(super) fn new(best_of: Option<u64>) -> Self {
        Self { enough: best_of.map(|rounds| rounds / 2 + 1), ..Self::default() }
    }

    pub(super) fn count(&mut self, round: Round) {
        let (count, winner) = match round {
            Round::Judged(Outcome::Win) => (&mut self.won, Some(Side::Player)),
            Round::Judged(Outcome::Lose) => (&mut self.lost, Some(Side::Opponent)),
            Round::Judged(Outcome::Draw) => (&mut self.drawn, None),
            Round::Void => (&mut self.void, None),
        };
        *count += 1;
        self.streak = winner.map(|of| {
            let before = self.streak.filter(|streak| streak.of == of).map_or(0, |streak| streak.rounds);
            Streak { of, rounds: before + 1 }
        });
    }

    /// The rounds that one side has just won in a row, from the third on: two are nothing to speak of.
    pub(super) fn streak(&self) -> Option<Streak> {
        self.streak.filter(|streak| streak.rounds >= 3)
    }

    /// Who has won the match, if it is one and anybody has.
    pub(super) fn winner(&self) -> Option<Side> {
        match self.enough? {
            enough if self.won >= enough => Some(Side::Player),
            enough if self.lost >= enough => Some(Side::Opponent),
            _ => None,
        }
    }
}

/// How a game ended.
#[derive(Debug, Serialize)]
pub(super) struct Final {
    score: Counts,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Counts {
    won: u64,
    lost: u64,
    drawn: u64,
    void: u64,
}

impl From<&Score> for Final {
    fn from(score: &Score) -> Self {
        let &Score { won, lost, drawn, void, .. } = score;
        let verdict = score.winner().map(|side| match side {
            Side::Player => "won",
            Side::Opponent => "lost",
        });
        Self { score: Counts { won, lost, drawn, void }, verdict }
    }
}

impl fmt::Display for Final {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { won, lost, drawn, void } = self.score;
        f.write_str(&texts::score(won, lost, drawn))?;
        if void > 0 {
            f.write_str(&texts::score_void(void))?;
        }
        match self.verdict {
            Some("won") => write!(f, "\n{}", texts::match_won(won, lost)),
            Some(_) => write!(f, "\n{}", texts::match_lost(won, lost)),
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
        assert_eq!(Final::from(&after(None, &[])).to_string(), "0 won, 0 lost, 0 drawn");
        let score = after(None, &[WIN, LOSE, DRAW, WIN, Round::Void]);
        assert_eq!(Final::from(&score).to_string(), "2 won, 1 lost, 1 drawn, 1 void");
    }

    #[test]
    fn a_match_ends_once_more_than_half_is_won_and_draws_do_not_count() {
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, Round::Void]).winner(), None);
        assert_eq!(after(Some(3), &[WIN, DRAW, LOSE, WIN]).winner(), Some(Side::Player));
        assert_eq!(after(Some(1), &[LOSE]).winner(), Some(Side::Opponent));
        assert_eq!(after(None, &[WIN; 9]).winner(), None);
        let lost = Final::from(&after(Some(3), &[WIN, LOSE, LOSE]));
        assert_eq!(lost.to_string(), "1 won, 2 lost, 0 drawn\nYou lose the match 1:2.");
    }

    #[test]
    fn a_streak_is_of_one_side_and_anything_else_ends_it() {
        assert_eq!(after(None, &[WIN, WIN]).streak(), None);
        assert_eq!(after(None, &[LOSE, WIN, WIN, WIN]).streak(), Some(Streak { of: Side::Player, rounds: 3 }));
        assert_eq!(after(None, &[LOSE; 4]).streak(), Some(Streak { of: Side::Opponent, rounds: 4 }));
        assert_eq!(after(None, &[WIN, WIN, DRAW, WIN]).streak(), None);
    }
}
