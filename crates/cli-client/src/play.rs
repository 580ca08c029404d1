//! `rps play`: a game at a prompt, with the score; without a terminal, moves from standard input and no prompt.

use std::fmt;
use std::future::Future;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::time::Duration;

use proto::client::Timeouts;
use proto::client::rps::{Connection, Round};
use proto::wire::rps::{Move, Outcome};
use rustix::termios::{QueueSelector, tcflush};
use tokio::time::{Instant, interval};

use crate::failure::Failure;
use crate::input::{Hand, Input};
use crate::opponent::{self, Opponent};
use crate::output::{answer, complain};

/// Plays until there are no more moves, and prints how each round ended and the final score.
///
/// # Errors
///
/// The first thing that keeps an answer from coming; the score is printed all the same.
pub async fn run(arguments: opponent::Arguments, timeouts: Timeouts) -> Result<(), Failure> {
    let opponent = arguments.resolve()?;
    let mut game = opponent.connect(timeouts).await?;
    let mut person = Person::new();
    let mut score = Score::default();
    let played = play(&opponent, &mut game, &mut person, &mut score).await;
    answer(score)?;
    played
}

async fn play(
    opponent: &Opponent,
    game: &mut Connection,
    person: &mut Person,
    score: &mut Score,
) -> Result<(), Failure> {
    while let Some(shown) = person.next_move(score).await? {
        let round = game.throw(shown);
        let round = match opponent.window {
            Some(window) => person.wait_for_other_player(round, window).await,
            None => round.await,
        };
        let round = round.map_err(|error| opponent.failure(error))?;
        score.count(round);
        answer(format_args!("{shown} {round}"))?;
        if round == Round::Void {
            person.tell("no other player moved in time, so this round counts for nobody\n");
        }
    }
    Ok(())
}

/// How the rounds ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Score {
    won: u64,
    lost: u64,
    drawn: u64,
    void: u64,
}

impl Score {
    fn count(&mut self, round: Round) {
        *match round {
            Round::Judged(Outcome::Win) => &mut self.won,
            Round::Judged(Outcome::Lose) => &mut self.lost,
            Round::Judged(Outcome::Draw) => &mut self.drawn,
            Round::Void => &mut self.void,
        } += 1;
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { won, lost, drawn, void } = self;
        write!(f, "{won} won, {lost} lost, {drawn} drawn")?;
        if *void > 0 { write!(f, ", {void} void") } else { Ok(()) }
    }
}

/// Whoever plays: a person at a terminal, who is asked and told, or a pipe, which is not.
struct Person {
    input: Input,
    interactive: bool,
}

impl Person {
    fn new() -> Self {
        Self { input: Input::open(), interactive: stdin().is_terminal() && stderr().is_terminal() }
    }

    /// The next move; `None` when there are no more. A person may try again, a pipe may not.
    async fn next_move(&mut self, score: &Score) -> Result<Option<Move>, Failure> {
        loop {
            self.tell(format_args!("{}:{} scissors, rock or paper? ", score.won, score.lost));
            match self.input.next().await {
                Some(Ok(Some(Hand(shown)))) => return Ok(Some(shown)),
                Some(Ok(None)) => {}
                Some(Err(Failure::Usage(wrong))) if self.interactive => complain(&wrong),
                Some(Err(failure)) => return Err(failure),
                None => {
                    self.tell("\n");
                    return Ok(None);
                }
            }
        }
    }

    /// Waits for how a round ends, and shows a person how long that can still take.
    async fn wait_for_other_player<T>(&self, round: impl Future<Output = T>, window: Duration) -> T {
        let until = Instant::now() + window;
        let mut seconds = interval(Duration::from_secs(1));
        tokio::pin!(round);
        loop {
            tokio::select! {
                biased;
                ended = &mut round => {
                    self.tell(CLEAR);
                    if self.interactive {
                        // What was typed meanwhile has been cleared from the screen. To take it for an answer to the
                        // prompt that comes now would surprise; a terminal that keeps it is no reason to stop.
                        let _ = tcflush(stdin(), QueueSelector::IFlush);
                    }
                    return ended;
                }
                now = seconds.tick() => {
                    let left = until.saturating_duration_since(now).as_secs_f64().round();
                    self.tell(format_args!("{CLEAR}waiting for the other player: {left} s left"));
                }
            }
        }
    }

    /// Says something to a person; a pipe is told nothing.
    fn tell(&self, what: impl fmt::Display) {
        if self.interactive {
            let _ = write!(stderr(), "{what}").and_then(|()| stderr().flush());
        }
    }
}

/// Back to the beginning of the line, and nothing on it (ECMA-48: CR, EL).
const CLEAR: &str = "\r\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_round_is_no_draw() {
        let mut score = Score::default();
        assert_eq!(score.to_string(), "0 won, 0 lost, 0 drawn");
        for outcome in [Outcome::Win, Outcome::Lose, Outcome::Draw, Outcome::Win] {
            score.count(Round::Judged(outcome));
        }
        score.count(Round::Void);
        assert_eq!(score.to_string(), "2 won, 1 lost, 1 drawn, 1 void");
    }
}
