//! Reads moves, and shows the game on a terminal. Input from a pipe has no prompt and no display.

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
use crate::arguments::values::rps_move;
use crate::error::CliError;
use crate::input::Input;
use crate::language::texts;
use crate::output::{Output, write_stderr};
use crate::status_line::{StatusLine, columns};

pub(super) struct Prompt {
    input: Input<Move>,
    opponent: String,
}

impl Prompt {
    pub(super) fn new(output: Output, duel: bool) -> Self {
        let at_terminal = stdin().is_terminal() && stderr().is_terminal();
        Self {
            input: Input::open(rps_move, at_terminal && !output.quiet && !output.json),
            opponent: if duel { texts::other_player() } else { texts::house() },
        }
    }

    /// Returns the next move, or `None` after the last.
    pub(super) async fn next_move(&mut self, score: &Score) -> Result<Option<Move>, CliError> {
        let next = self.input.next(&texts::prompt(score.rounds.won, score.rounds.lost)).await?;
        if next.is_none() {
            self.end_line();
        }
        Ok(next)
    }

    /// Ends the line of the prompt.
    pub(super) fn end_line(&self) {
        self.write("\n");
    }

    /// Waits for the end of a round. In a duel, shows the rest of the window.
    pub(super) async fn wait_for_opponent<T>(&self, round: impl Future<Output = T>, window: Option<Duration>) -> T {
        let Some(window) = window else { return round.await };
        let deadline = Instant::now() + window;
        let status_line = StatusLine::new(self.input.interactive);
        let mut shown = status_line.is_shown();
        let outcome = status_line.run(round, || {
            // Round to whole seconds.
            let left = (deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(500)).as_secs();
            let line = texts::waiting(left);
            if !replace(&mut shown, true) {
                self.write(format_args!("{line}\n"));
            }
            (line, left.to_string())
        });
        let outcome = outcome.await;
        if self.input.interactive {
            // Discard keys pressed during the wait: the screen no longer shows them, and the next prompt would read
            // them as input. An error here does not matter.
            let _ = tcflush(stdin(), QueueSelector::IFlush);
        }
        outcome
    }

    /// Draws the two hands of a judged round.
    pub(super) fn show(&self, report: &RoundReport) {
        if let Round::Judged(outcome) = report.round
            && columns() >= hands::WIDTH
        {
            let moves = [report.mv, outcome.opponent_move(report.mv)];
            self.write(hands::draw(moves, [&texts::you(), &self.opponent]));
        }
    }

    /// Prints a comment on a void round or a streak.
    pub(super) fn comment(&self, round: Round, score: &Score) {
        let line = match (round, score.streak()) {
            (Round::Void, _) => texts::round_void(),
            (_, Some((Side::Player, rounds))) => texts::streak(rounds),
            (_, Some((Side::Opponent, rounds))) => texts::losing_streak(rounds),
            _ => return,
        };
        self.write(line + "\n");
    }

    /// Writes to the terminal; does nothing for a pipe.
    fn write(&self, text: impl fmt::Display) {
        if self.input.interactive {
            write_stderr(&text.to_string());
        }
    }
}
