//! `rps`: plays rock-paper-scissors on one connection, against the house or another player.
//!
//! - this file: a game, `rps throw` and `rps play`;
//! - `prompt`: reads moves and shows the game on a terminal; `score`, `hands`: how a round is shown.

mod hands;
mod prompt;
mod score;

use std::time::Duration;

use futures::TryStreamExt;
use proto::client::rps::{Connection, Round};
use proto::client::{ErrorKind, Phase, Timeouts};
use proto::wire::rps::Move;
use serde::Serialize;

use crate::arguments::values::rps_move;
use crate::arguments::{OpponentArguments, PlayArguments, ThrowArguments};
use crate::error::CliError;
use crate::input::values;
use crate::interrupt::CTRL_C;
use crate::language::texts;
use crate::output::{Output, by_name};
use crate::session::Session;
use crate::target::Target;
use prompt::Prompt;
use score::Score;

pub(crate) async fn throw(arguments: ThrowArguments, session: &Session) -> Result<(), CliError> {
    let mut game = GameConnection::start(arguments.opponent, session).await?;
    let mut moves = values(arguments.moves, rps_move);
    while let Some(mv) = moves.try_next().await? {
        game.throw(mv).await?.print(session.output)?;
    }
    Ok(())
}

/// Plays until the moves end, a side wins the match, or a signal arrives. Prints the score last.
pub(crate) async fn play(arguments: PlayArguments, session: &Session) -> Result<(), CliError> {
    let mut score = Score::new(arguments.best_of);
    let mut prompt = Prompt::new(session.output, arguments.opponent.duel);
    let mut game = None;
    let game_over = session.run_until_cancelled(async {
        let game = game.insert(GameConnection::start(arguments.opponent, session).await?);
        rounds(game, &mut prompt, &mut score, session).await
    });
    let mut result = game_over.await;
    if let Err(CliError::Interrupted(code)) = result {
        prompt.end_line();
        // Ctrl-C is a normal way to end a game; other signals are not.
        if code == CTRL_C {
            result = Ok(());
        }
    }
    // Without a connection there is no score.
    if game.is_some() || result.is_ok() {
        session.output.print(&score, &score)?;
    }
    result
}

async fn rounds(
    game: &mut GameConnection,
    prompt: &mut Prompt,
    score: &mut Score,
    session: &Session,
) -> Result<(), CliError> {
    while score.winner.is_none()
        && let Some(mv) = prompt.next_move(score).await?
    {
        let window = game.window;
        let report = prompt.wait_for_opponent(game.throw(mv), window).await?;
        score.count(report.round);
        prompt.show(&report);
        report.print(session.output)?;
        prompt.comment(report.round, score);
    }
    Ok(())
}

/// A connection to an opponent.
struct GameConnection {
    connection: Connection,
    /// How long the server keeps a move waiting for the other player's. The house replies at once.
    window: Option<Duration>,
}

impl GameConnection {
    async fn start(opponent: OpponentArguments, session: &Session) -> Result<Self, CliError> {
        let window = opponent.duel.then_some(opponent.window);
        let target = if opponent.duel { Target::Duel } else { Target::Rps };
        let connector = session.connector(&target.endpoint(opponent.addr)?);
        // Another player may use the whole window before the reply is late.
        let reply = session.timeouts.reply + window.unwrap_or_default();
        let connector = connector.with_timeouts(Timeouts { reply, ..session.timeouts });
        Ok(Self { connection: Connection::open(connector).await?, window })
    }

    /// Plays a round. Dropping the future withdraws the move.
    async fn throw(&mut self, mv: Move) -> Result<RoundReport, CliError> {
        let round = self.connection.throw(mv).await.map_err(|error| {
            CliError::from(error).with_hint(|kind, phase| match (kind, phase, self.window) {
                // At a duel address, the reply may wait for the other player.
                (ErrorKind::TimedOut(_), Phase::Reply, None) => Some(texts::hint_duel()),
                (ErrorKind::TimedOut(_), Phase::Reply, Some(_)) => Some(texts::hint_window()),
                _ => None,
            })
        })?;
        Ok(RoundReport { mv, round })
    }
}

/// A move and the outcome of its round.
#[derive(Debug, Serialize)]
struct RoundReport {
    #[serde(rename = "move", serialize_with = "by_name")]
    mv: Move,
    #[serde(rename = "outcome", serialize_with = "by_name")]
    round: Round,
}

impl RoundReport {
    fn print(&self, output: Output) -> Result<(), CliError> {
        output.print(format_args!("{} {}", texts::move_name(self.mv), texts::outcome_name(self.round)), self)
    }
}
