//! Reads moves, and shows the game on a terminal. Input from a pipe has no prompt and no display.

use std::fmt;
use std::io::{IsTerminal, stderr, stdin};
use std::mem::replace;
use std::time::Duration;

use proto::client::rps::Round;
use proto::wire::rps::Move;
use tokio::time::Instant;

use super::score::{Score, Side};
use super::{RoundReport, hands, waiting_until};
use crate::arguments::values::rps_move;
use crate::error::CliError;
use crate::input::Input;
use crate::language::texts;
use crate::output::{Output, write_stderr};
use crate::status_line::{StatusLine, columns};
use crate::terminal::{EchoOff, discard_keys};

pub(super) struct Prompt {
    input: Input<Line>,
    opponent: String,
    /// Whether the keys have been explained.
    explained: bool,
}

/// A line of the player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Move(Move),
    /// Ends the game, like the end of the input.
    Quit,
    Help,
}

/// Parses a line of a pipe.
fn line(text: &str) -> Result<Line, String> {
    match text.trim().to_lowercase().as_str() {
        "q" | "quit" | "exit" => Ok(Line::Quit),
        _ => rps_move(text).map(Line::Move),
    }
}

/// Parses a line typed at a terminal.
fn typed_line(text: &str) -> Result<Line, String> {
    match text.trim().to_lowercase().as_str() {
        "?" | "help" => Ok(Line::Help),
        _ => line(text),
    }
}

impl Prompt {
    pub(super) fn new(output: Output, duel: bool) -> Self {
        let at_terminal = stdin().is_terminal() && stderr().is_terminal();
        let interactive = at_terminal && !output.quiet && !output.json;
        Self {
            input: Input::open(if interactive { typed_line } else { line }, interactive),
            opponent: if duel { texts::other_player() } else { texts::house() },
            explained: false,
        }
    }

    /// Returns the next move, or `None` after the last.
    pub(super) async fn next_move(&mut self, score: &Score) -> Result<Option<Move>, CliError> {
        if !replace(&mut self.explained, true) {
            self.write(texts::play_keys() + "\n");
        }
        loop {
            match self.input.next(&texts::prompt(score.rounds.won, score.rounds.lost)).await? {
                Some(Line::Move(mv)) => return Ok(Some(mv)),
                Some(Line::Quit) => return Ok(None),
                Some(Line::Help) => self.write(texts::play_help() + "\n"),
                None => {
                    self.end_line();
                    return Ok(None);
                }
            }
        }
    }

    /// Ends the line of the prompt.
    pub(super) fn end_line(&self) {
        self.write("\n");
    }

    /// Waits for the end of a round. In a duel, shows the rest of the window, and discards the keys pressed meanwhile.
    pub(super) async fn wait_for_opponent<T>(&self, round: impl Future<Output = T>, window: Option<Duration>) -> T {
        let Some(window) = window else { return round.await };
        let deadline = Instant::now() + window;
        let status_line = StatusLine::new(self.input.interactive);
        let _echo_off = self.input.interactive.then(EchoOff::start);
        let mut shown = status_line.is_shown();
        let done = status_line
            .run(round, || {
                let (line, shorter) = waiting_until(deadline);
                if !replace(&mut shown, true) {
                    self.write(format_args!("{line}\n"));
                }
                (line, shorter)
            })
            .await;
        if self.input.interactive {
            discard_keys();
        }
        done
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_move_or_the_end_and_at_a_terminal_also_help() {
        for quit in ["q", " QUIT ", "exit"] {
            assert_eq!((line(quit), typed_line(quit)), (Ok(Line::Quit), Ok(Line::Quit)));
        }
        for help in ["?", "help"] {
            assert_eq!(typed_line(help), Ok(Line::Help));
            assert!(line(help).is_err());
        }
        assert_eq!(line("rock"), Ok(Line::Move(Move::Rock)));
        assert!(typed_line("lizard").is_err());
    }
}
