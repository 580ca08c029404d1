//! `rps`: plays rock-paper-scissors on one connection, against the house or another player.
//!
//! - this file: a game, `rps throw` and `rps play`;
//! - `prompt`: reads moves and shows the game on a terminal; `score`, `hands`: how a round is shown.

mod hands;
mod prompt;
mod score;

use std::time::Duration;

use futures::StreamExt;
use proto::client::rps::{Connection, Round};
use proto::client::{Connector, ErrorKind, Phase, Timeouts};
use proto::wire::rps::Move;
use serde::Serialize;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::arguments::values::rps_move;
use crate::arguments::{OpponentArguments, PlayArguments, ThrowArguments};
use crate::error::CliError;
use crate::input::values;
use crate::interrupt::CTRL_C;
use crate::language::texts;
use crate::output::{Output, by_name};
use crate::session::Session;
use crate::status_line::StatusLine;
use crate::target::Target;
use crate::terminal::EchoOff;
use prompt::Prompt;
use score::Score;

/// Plays the moves, and prints each round. Reports an invalid line of standard input and goes on.
///
/// # Errors
///
/// The first error that prevents further rounds, or else that there was an invalid line.
pub(crate) async fn throw(arguments: ThrowArguments, session: &Session) -> Result<(), CliError> {
    let mut game = Game::new(arguments.opponent, session)?;
    let mut moves = values(arguments.moves, rps_move);
    let mut result = Ok(());
    while let Some(mv) = moves.next().await {
        match mv {
            Ok(mv) => {
                let wanted = game.window.is_some() && !session.output.quiet && !session.output.json;
                let deadline = Instant::now() + game.window.unwrap_or_default();
                let line = || waiting_until(deadline);
                let status_line = StatusLine::new(wanted);
                let _echo_off = status_line.is_shown().then(EchoOff::start);
                status_line.run(game.throw(mv), line).await?.print(session.output)?;
            }
            Err(error) => result = reported(error, session.output)?,
        }
    }
    result
}

/// Plays until the moves end, a side wins the match, or a signal arrives. Prints the score last.
pub(crate) async fn play(arguments: PlayArguments, session: &Session) -> Result<(), CliError> {
    let mut score = Score::new(arguments.best_of);
    let mut prompt = Prompt::new(session.output, arguments.opponent.duel);
    let mut game = Game::new(arguments.opponent, session)?;
    let game_over = session.run_until_cancelled(rounds(&mut game, &mut prompt, &mut score, session));
    let mut result = game_over.await;
    if let Err(CliError::Interrupted(code)) = result {
        prompt.end_line();
        // Ctrl-C is a normal way to end a game; other signals are not.
        if code == CTRL_C {
            result = Ok(());
        }
    }
    // Without a connection there is no score.
    if game.has_connected || matches!(result, Ok(()) | Err(CliError::Reported(_))) {
        session.output.print(&score, &score)?;
    }
    result
}

async fn rounds(
    game: &mut Game<'_>,
    prompt: &mut Prompt,
    score: &mut Score,
    session: &Session,
) -> Result<(), CliError> {
    let mut result = Ok(());
    while score.winner.is_none() {
        let mv = match prompt.next_move(score).await {
            Ok(Some(mv)) => mv,
            Ok(None) => break,
            Err(error) => {
                result = reported(error, session.output)?;
                continue;
            }
        };
        let window = game.window;
        let report = prompt.wait_for_opponent(game.throw(mv), window).await?;
        score.count(report.round);
        prompt.show(&report);
        report.print(session.output)?;
        prompt.comment(report.round, score);
    }
    result
}

/// Returns the line about the rest of the window, and a short version.
fn waiting_until(deadline: Instant) -> (String, String) {
    // Round to whole seconds.
    let left = (deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(500)).as_secs();
    (texts::waiting(left), left.to_string())
}

/// Reports an invalid line, and returns the result of a command that goes on.
///
/// # Errors
///
/// Returns another error, at which the command ends.
fn reported(error: CliError, output: Output) -> Result<Result<(), CliError>, CliError> {
    if let CliError::Usage(_) = error {
        output.report_error(&(), &error);
        Ok(Err(CliError::Reported(error.code())))
    } else {
        Err(error)
    }
}

/// A game against an opponent. Connects at the first move, because a server closes connections without one, and again
/// at the next move after the server has closed the connection between two rounds.
struct Game<'a> {
    connector: Connector,
    connection: Option<Connection>,
    /// Whether there has been a connection.
    has_connected: bool,
    /// How long the server keeps a move waiting for the other player's. The house replies at once.
    window: Option<Duration>,
    session: &'a Session,
}

impl<'a> Game<'a> {
    fn new(opponent: OpponentArguments, session: &'a Session) -> Result<Self, CliError> {
        let window = opponent.duel.then_some(opponent.window);
        let target = if opponent.duel { Target::Duel } else { Target::Rps };
        let connector = session.connector(&target.endpoint(opponent.addr)?);
        // Another player may use the whole window before the reply is late.
        let reply = session.timeouts.reply + window.unwrap_or_default();
        let connector = connector.with_timeouts(Timeouts { reply, ..session.timeouts });
        Ok(Self { connector, connection: None, has_connected: false, window, session })
    }

    /// Plays a round. Dropping the future withdraws the move.
    async fn throw(&mut self, mv: Move) -> Result<RoundReport, CliError> {
        // The runtime handles the events of the socket here, so that a close that has arrived is not missed.
        yield_now().await;
        let reconnected = self.connection.as_mut().is_some_and(Connection::is_closed);
        if reconnected {
            self.connection = None;
            if self.window.is_some() {
                self.session.note(&texts::reconnected());
            }
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(Connection::open(self.connector.clone()).await?),
        };
        self.has_connected = true;
        let round = connection.throw(mv).await.map_err(|error| {
            CliError::from(error).with_hint(|kind, phase| match (kind, phase, self.window) {
                // At a duel address, the reply may wait for the other player.
                (ErrorKind::TimedOut(_), Phase::Reply, None) => Some(texts::hint_duel()),
                (ErrorKind::TimedOut(_), Phase::Reply, Some(_)) => Some(texts::hint_window()),
                (ErrorKind::Io(_), Phase::Reply, _) => Some(texts::hint_outcome_unknown()),
                _ => None,
            })
        })?;
        Ok(RoundReport { mv, round, reconnected })
    }
}

/// A move and the outcome of its round.
#[derive(Debug, Serialize)]
struct RoundReport {
    #[serde(rename = "move", serialize_with = "by_name")]
    mv: Move,
    #[serde(rename = "outcome", serialize_with = "by_name")]
    round: Round,
    /// Whether the server had closed the connection before the round. In a duel, the opponent may be another player
    /// then.
    #[serde(skip_serializing_if = "is_false")]
    reconnected: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the value by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl RoundReport {
    fn print(&self, output: Output) -> Result<(), CliError> {
        output.print(format_args!("{} {}", texts::move_name(self.mv), texts::outcome_name(self.round)), self)
    }
}
