//! A round as it is told, and what it tells.

use std::fmt;

use proto::client::rps::Round;
use proto::wire::rps::{Move, Outcome};
use serde::{Serialize, Serializer};

use crate::language::texts;

/// A move, and how its round ended.
#[derive(Debug, Serialize)]
pub(crate) struct Thrown {
    #[serde(rename = "move", serialize_with = "by_name")]
    pub(crate) shown: Move,
    #[serde(rename = "outcome", serialize_with = "by_name")]
    pub(crate) round: Round,
}

/// In English, which scripts go by, whatever people are spoken to in.
fn by_name<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round = match self.round {
            Round::Judged(outcome) => texts::outcome(outcome),
            Round::Void => texts::void(),
        };
        write!(f, "{} {round}", texts::shown(self.shown))
    }
}

/// What the other side showed: the wire does not say it, but how the round ended does.
pub(crate) fn other_hand(shown: Move, outcome: Outcome) -> Move {
    match (outcome, shown) {
        (Outcome::Draw, shown) => shown,
        (Outcome::Win, Move::Rock) | (Outcome::Lose, Move::Paper) => Move::Scissors,
        (Outcome::Win, Move::Paper) | (Outcome::Lose, Move::Scissors) => Move::Rock,
        (Outcome::Win, Move::Scissors) | (Outcome::Lose, Move::Rock) => Move::Paper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_hand_is_the_one_that_gives_the_outcome() {
        // Rock beats scissors, scissors beat paper, paper beats rock.
        for (winner, loser) in [(Move::Rock, Move::Scissors), (Move::Scissors, Move::Paper), (Move::Paper, Move::Rock)]
        {
            assert_eq!(other_hand(winner, Outcome::Win), loser);
            assert_eq!(other_hand(loser, Outcome::Lose), winner);
            assert_eq!(other_hand(winner, Outcome::Draw), winner);
        }
    }
}
