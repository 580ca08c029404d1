//! `rps`: plays rock-paper-scissors on one connection, against the house or another player.
//!
//! - this file: a game, `rps throw` and `rps play`;
//! - `prompt`: asks a person for moves; `score` and `hands`: the display of a round.

mod hands;
mod prompt;
mod score;

use std::time::Duration;

use futures::TryStreamExt;
use proto::client::rps::{Connection, Round};
use proto::client::{ErrorKind, Phase, Timeouts};
use proto::wire::rps::Move;
use serde::Serialize;

use crate::arguments::values::hand;
use crate::arguments::{OpponentArguments, PlayArguments, ThrowArguments};
use crate::error::CliError;
use crate::input::values;
use crate::interrupt::CTRL_C;
use crate::language::texts;
use crate::output::{Output, by_name};
use crate::service::Service;
use crate::session::Session;
use prompt::Prompt;
use score::Score;

pub(crate) async fn throw(arguments: ThrowArguments, session: &Session) -> Result<(), CliError> {
    let mut game = Game::start(arguments.opponent, session).await?;
    let mut moves = values(arguments.moves, hand);
    while let Some(shown) = moves.try_next().await? {
        game.throw(shown).await?.print(session.output)?;
    }
    Ok(())
}

/// Plays until the moves end, one side wins the match, or a signal ends the client, and prints the score last.
pub(crate) async fn play(arguments: PlayArguments, session: &Session) -> Result<(), CliError> {
    let mut score = Score::new(arguments.best_of);
    let mut prompt = Prompt::new(session.output, arguments.opponent.duel);
    let mut game = None;
    let played = session.run_until_cancelled(async {
        let game = game.insert(Game::start(arguments.opponent, session).await?);
        rounds(game, &mut prompt, &mut score, session).await
    });
    let mut ended = played.await;
    if let Err(CliError::Interrupted(code)) = ended {
        prompt.leave_line();
        // A person ends a game with Ctrl-C; other signals come from elsewhere.
        if code == CTRL_C {
            ended = Ok(());
        }
    }
    // A game needs a connection.
    if game.is_some() || ended.is_ok() {
        session.output.answer(&score, &score)?;
    }
    ended
}

async fn rounds(game: &mut Game, prompt: &mut Prompt, score: &mut Score, session: &Session) -> Result<(), CliError> {
    while score.winner.is_none()
        && let Some(shown) = prompt.next_move(score).await?
    {
        let window = game.window;
        let report = prompt.wait_for_opponent(game.throw(shown), window).await?;
        score.count(report.round);
        prompt.show(&report);
        report.print(session.output)?;
        prompt.comment(report.round, score);
    }
    Ok(())
}

/// A connection to an opponent.
struct Game {
    connection: Connection,
    /// How long another player may take to move. The house takes no time.
    window: Option<Duration>,
}

impl Game {
    async fn start(opponent: OpponentArguments, session: &Session) -> Result<Self, CliError> {
        let window = opponent.duel.then_some(opponent.window);
        let service = if opponent.duel { Service::Duel } else { Service::Rps };
        let endpoint = session.endpoint(&service.address(opponent.addr)?);
        // A reply is late only after another player's window.
        let reply = session.timeouts.reply + window.unwrap_or_default();
        let endpoint = endpoint.with_timeouts(Timeouts { reply, ..session.timeouts });
        Ok(Self { connection: Connection::open(endpoint).await?, window })
    }

    /// Plays a round. Dropping the future takes the move back.
    async fn throw(&mut self, shown: Move) -> Result<RoundReport, CliError> {
        let round = self.connection.throw(shown).await.map_err(|error| {
            CliError::from(error).with_hint(|kind, phase| match (kind, phase, self.window) {
                // At the address of a duel, the other player may be the one who takes long.
                (ErrorKind::TimedOut(_), Phase::Reply, None) => Some(texts::hint_duel()),
                (ErrorKind::TimedOut(_), Phase::Reply, Some(_)) => Some(texts::hint_window()),
                _ => None,
            })
        })?;
        Ok(RoundReport { shown, round })
    }
}

/// A move, and how its round ended.
#[derive(Debug, Serialize)]
struct RoundReport {
    #[serde(rename = "move", serialize_with = "by_name")]
    shown: Move,
    #[serde(rename = "outcome", serialize_with = "by_name")]
    round: Round,
}

impl RoundReport {
    fn print(&self, output: Output) -> Result<(), CliError> {
        output.answer(format_args!("{} {}", texts::shown(self.shown), texts::round(self.round)), self)
    }
}
