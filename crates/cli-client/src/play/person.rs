//! Whoever plays: a person at a terminal, who is asked, shown and told, or a pipe, which is not.

use std::future::Future;
use std::io::{IsTerminal, stderr, stdin};
use std::time::Duration;
use std::{env, fmt};

use proto::client::rps::Round;
use proto::wire::rps::{Move, Outcome};
use rustix::termios::{QueueSelector, tcflush, tcgetwinsize};
use tokio::time::{Instant, interval};
use unicode_width::UnicodeWidthStr;

use super::hands;
use super::score::{Score, Side};
use crate::failure::Failure;
use crate::input::{Hand, Input};
use crate::language::texts;
use crate::output::{Output, tell};
use crate::round::other_hand;

/// Whoever plays.
#[derive(Debug)]
pub(super) struct Person {
    input: Input,
    /// Whether there is a person, who wants to be spoken to.
    interactive: bool,
    /// How whoever they play against is called.
    opponent: String,
}

impl Person {
    pub(super) fn new(output: Output, duel: bool) -> Self {
        let at_terminal = stdin().is_terminal() && stderr().is_terminal();
        Self {
            input: Input::open(),
            interactive: at_terminal && !output.is_quiet() && !output.is_json(),
            opponent: if duel { texts::other_player() } else { texts::house() },
        }
    }

    /// The next move; `None` when there are no more. A person may try again, a pipe may not.
    pub(super) async fn next_move(&mut self, score: &Score) -> Result<Option<Move>, Failure> {
        loop {
            self.tell(texts::prompt(score.won, score.lost));
            let line = if self.interactive { self.input.next_alone().await } else { self.input.next().await };
            match line {
                Some(Ok(Some(Hand(shown)))) => return Ok(Some(shown)),
                Some(Ok(None)) => {}
                Some(Err(Failure::Usage(wrong))) if self.interactive => self.tell(format_args!("{wrong}\n")),
                Some(Err(failure)) => return Err(failure),
                None => {
                    self.leave_line();
                    return Ok(None);
                }
            }
        }
    }

    /// What comes next begins on a line of its own, not behind a prompt.
    pub(super) fn leave_line(&self) {
        self.tell("\n");
    }

    /// Waits for how a round ends, and shows a person how long that can still take.
    pub(super) async fn wait_for_other_player<T>(&self, round: impl Future<Output = T>, window: Duration) -> T {
        let until = Instant::now() + window;
        let mut seconds = interval(Duration::from_secs(1));
        let moves_cursor = moves_cursor();
        let mut told = false;
        tokio::pin!(round);
        loop {
            tokio::select! {
                biased;
                ended = &mut round => {
                    if moves_cursor {
                        self.tell(CLEAR);
                    }
                    if self.interactive {
                        // What was typed meanwhile has been cleared from the screen. To take it for an answer to the
                        // prompt that comes now would surprise; a terminal that keeps it is no reason to stop.
                        let _ = tcflush(stdin(), QueueSelector::IFlush);
                    }
                    return ended;
                }
                now = seconds.tick() => {
                    let left = until.saturating_duration_since(now).as_secs_f64().round();
                    // A window is of hours at the most, and so are its seconds whole numbers that fit.
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
                    let line = texts::waiting(left as u64);
                    if !moves_cursor && !told {
                        self.tell(format_args!("{line}\n"));
                    } else if moves_cursor && line.width() < columns() {
                        self.tell(format_args!("{CLEAR}{line}"));
                    } else if moves_cursor {
                        // A line that wraps could not be cleared.
                        self.tell(format_args!("{CLEAR}{left}"));
                    }
                    told = true;
                }
            }
        }
    }

    /// Draws the two hands of a round that was judged.
    pub(super) fn show(&self, shown: Move, round: Round) {
        if let Round::Judged(outcome) = round
            && columns() >= hands::WIDTH
        {
            self.tell(hands::drawn([shown, other_hand(shown, outcome)], [&texts::you(), &self.opponent]));
        }
    }

    /// Says what a person would want to know beside how the round ended.
    pub(super) fn comment(&self, round: Round, score: &Score) {
        match (round, score.streak()) {
            (Round::Void, _) => self.tell(format_args!("{}\n", texts::nobody_moved())),
            (Round::Judged(Outcome::Win | Outcome::Lose), Some(streak)) => {
                let line = match streak.of {
                    Side::Player => texts::streak(streak.rounds),
                    Side::Opponent => texts::losing_streak(streak.rounds),
                };
                self.tell(format_args!("{line}\n"));
            }
            _ => {}
        }
    }

    /// Says something to a person; a pipe is told nothing.
    fn tell(&self, what: impl fmt::Display) {
        if self.interactive {
            tell(&what.to_string());
        }
    }
}

/// Back to the beginning of the line, and nothing on it (ECMA-48: CR, EL).
const CLEAR: &str = "\r\x1b[K";

/// Whether the terminal knows more than to print what it gets (terminfo(5), the entry `dumb`).
fn moves_cursor() -> bool {
    env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb")
}

/// How wide the terminal is; what does not say so is taken for as wide as they all were once.
fn columns() -> usize {
    tcgetwinsize(stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}
