//! Draws the two hands of a round side by side.

use proto::wire::rps::Move;
use unicode_width::UnicodeWidthStr;

/// Width of the drawing.
pub(super) const WIDTH: usize = 2 * HAND_WIDTH + GAP;

const HAND_WIDTH: usize = 13;
const GAP: usize = 10;

/// A fist.
const ROCK: [&str; 6] =
    [r"   _______", r"  /  | | |\", r" |  _|_|_| |", r" | (_____) |", r"  \       /", r"   |_____|"];

/// Two fingers up.
const SCISSORS: [&str; 6] =
    [r"  __    __", r"  \ \  / /", r"   \ \/ /_", r"  /(_)(_) |", r"  \       /", r"   |_____|"];

/// All fingers up.
const PAPER: [&str; 6] =
    [r"   _ _ _ _", r"  | | | | |", r"  | | | | |_", r"  |       / |", r"  \        /", r"   |_____|"];

fn lines(mv: Move) -> [&'static str; 6] {
    match mv {
        Move::Rock => ROCK,
        Move::Scissors => SCISSORS,
        Move::Paper => PAPER,
    }
}

/// Draws two hands with the name of the owner above each.
pub(super) fn draw(hands: [Move; 2], owners: [&str; 2]) -> String {
    let side_by_side = |left: &str, right: &str| {
        let blanks = (HAND_WIDTH + GAP).saturating_sub(left.width());
        format!("{left}{:blanks$}{right}\n", "")
    };
    let titles =
        owners.map(|owner| format!("{:blanks$}{owner}", "", blanks = HAND_WIDTH.saturating_sub(owner.width()) / 2));
    let mut drawing = side_by_side(&titles[0], &titles[1]);
    for (left, right) in lines(hands[0]).into_iter().zip(lines(hands[1])) {
        drawing += &side_by_side(left, right);
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_drawing() {
        for mv in Move::ALL {
            assert!(lines(mv).iter().all(|line| line.width() <= HAND_WIDTH));
            assert!(draw([mv, mv], ["你", "庄家"]).lines().all(|line| line.width() <= WIDTH));
        }
    }
}
