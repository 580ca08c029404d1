//! Asks a person at a terminal for moves, and shows them the game; a pipe only delivers moves.

use std::fmt;
use std::io::{IsTerminal, stderr, stdin};
use std::mem::replace;
use std::time::Duration;

use proto::client::rps::Round;
use proto::wire::rps::Move;
use rustix::termios::{QueueSelector, tcflush};
use tokio::time::Instant;

use super::score::{Score, Side};
use super::{RoundReport, hands};
use crate::arguments::values::hand;
use crate::error::CliError;
use crate::input::Input;
use crate::language::texts;
use crate::output::{Output, tell};
use crate::status_line::{StatusLine, columns};

pub(super) struct Prompt {
    input: Input<Move>,
    opponent: String,
}

impl Prompt {
    pub(super) fn new(output: Output, duel: bool) -> Self {
        let at_terminal = stdin().is_terminal() && stderr().is_terminal();
        Self {
            input: Input::open(hand, at_terminal && !output.quiet && !output.json),
            opponent: if duel { texts::other_player() } else { texts::house() },
        }
    }

    /// Returns the next move, `None` after the last.
    pub(super) async fn next_move(&mut self, score: &Score) -> Result<Option<Move>, CliError> {
        let next = self.input.next(&texts::prompt(score.rounds.won, score.rounds.lost)).await?;
        if next.is_none() {
            self.leave_line();
        }
        Ok(next)
    }

    /// Ends the line of the prompt.
    pub(super) fn leave_line(&self) {
        self.tell("\n");
    }

    /// Waits for the end of a round. If another player may take a while, shows how much of the window is left.
    pub(super) async fn wait_for_opponent<T>(&self, round: impl Future<Output = T>, window: Option<Duration>) -> T {
        let Some(window) = window else { return round.await };
        let until = Instant::now() + window;
        let status_line = StatusLine::new(self.input.interactive);
        let mut shown = status_line.is_shown();
        let ended = status_line.run(round, || {
            // Rounded to whole seconds.
            let left = (until.saturating_duration_since(Instant::now()) + Duration::from_millis(500)).as_secs();
            let line = texts::waiting(left);
            if !replace(&mut shown, true) {
                self.tell(format_args!("{line}\n"));
            }
            (line, left.to_string())
        });
        let ended = ended.await;
        if self.input.interactive {
            // Keys pressed meanwhile are cleared from the screen, and would surprise as an answer to the next prompt. A
            // terminal that keeps them is not an error.
            let _ = tcflush(stdin(), QueueSelector::IFlush);
        }
        ended
    }

    /// Draws the two hands of a round that was judged.
    pub(super) fn show(&self, report: &RoundReport) {
        if let Round::Judged(outcome) = report.round
            && columns() >= hands::WIDTH
        {
            let moves = [report.shown, outcome.opponent_move(report.shown)];
            self.tell(hands::drawn(moves, [&texts::you(), &self.opponent]));
        }
    }

    /// Comments on a void round or a streak.
    pub(super) fn comment(&self, round: Round, score: &Score) {
        let line = match (round, score.streak()) {
            (Round::Void, _) => texts::nobody_moved(),
            (_, Some((Side::Player, rounds))) => texts::streak(rounds),
            (_, Some((Side::Opponent, rounds))) => texts::losing_streak(rounds),
            _ => return,
        };
        self.tell(line + "\n");
    }

    /// Writes to a person; does nothing for a pipe.
    fn tell(&self, text: impl fmt::Display) {
        if self.input.interactive {
            tell(&text.to_string());
        }
    }
}
