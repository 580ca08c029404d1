//! The rule of the game: rock beats scissors, scissors beat paper, paper beats rock.

use proto::wire::rps::{Move, Outcome};

/// Returns the outcome for the player who moved `mine` against `theirs`.
#[must_use]
pub const fn judge(mine: Move, theirs: Move) -> Outcome {
    use Move::{Paper, Rock, Scissors};
    match (mine, theirs) {
        (Rock, Scissors) | (Scissors, Paper) | (Paper, Rock) => Outcome::Win,
        (Scissors, Rock) | (Paper, Scissors) | (Rock, Paper) => Outcome::Lose,
        (Rock, Rock) | (Scissors, Scissors) | (Paper, Paper) => Outcome::Draw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_of_moves_has_the_outcome_of_the_rule() {
        use Move::{Paper, Rock, Scissors};
        use Outcome::{Draw, Lose, Win};
        for (mine, outcomes) in
            // theirs:      scissors, rock, paper
            [(Scissors, [Draw, Lose, Win]), (Rock, [Win, Draw, Lose]), (Paper, [Lose, Win, Draw])]
        {
            for (theirs, outcome) in Move::ALL.into_iter().zip(outcomes) {
                assert_eq!(judge(mine, theirs), outcome, "{mine} against {theirs}");
            }
        }
    }

    #[test]
    fn both_players_of_a_round_get_matching_outcomes() {
        for mine in Move::ALL {
            for theirs in Move::ALL {
                let mirrored = match judge(theirs, mine) {
                    Outcome::Draw => Outcome::Draw,
                    Outcome::Win => Outcome::Lose,
                    Outcome::Lose => Outcome::Win,
                };
                assert_eq!(judge(mine, theirs), mirrored);
            }
        }
    }
}
