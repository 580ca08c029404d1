//! The rule of the game: rock beats scissors, scissors beat paper, paper beats rock.

use proto::wire::rps::{Move, Outcome};

/// How a round ends for the player who showed `mine` against `theirs`.
///
/// Each move beats the one before it, and the first beats the last: the difference of the two says it all, and without a
/// branch.
#[must_use]
pub const fn judge(mine: Move, theirs: Move) -> Outcome {
    const ONE_MORE: u8 = 1;
    const TWO_LESS: u8 = 0_u8.wrapping_sub(2);
    match mine.byte().wrapping_sub(theirs.byte()) {
        0 => Outcome::Draw,
        ONE_MORE | TWO_LESS => Outcome::Win,
        _ => Outcome::Lose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_judged_as_the_rule_says() {
        use Move::{Paper, Rock, Scissors};
        use Outcome::{Draw, Lose, Win};
        for (mine, outcomes) in
            // against:     scissors, rock, paper
            [(Scissors, [Draw, Lose, Win]), (Rock, [Win, Draw, Lose]), (Paper, [Lose, Win, Draw])]
        {
            for (theirs, outcome) in Move::ALL.into_iter().zip(outcomes) {
                assert_eq!(judge(mine, theirs), outcome, "{mine} against {theirs}");
            }
        }
    }

    #[test]
    fn both_sides_of_a_round_agree() {
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
