//! `rps`: moves in, outcomes out.

use crate::arguments::RpsCommand;
use crate::arguments::rps::{Game, ThrowArguments};
use crate::failure::Failure;
use crate::input::{Hand, Values};
use crate::play;
use crate::round::Thrown;
use crate::session::Session;

/// Plays on one connection.
///
/// # Errors
///
/// The first thing that keeps an answer from coming.
pub async fn run(command: RpsCommand, session: &Session) -> Result<(), Failure> {
    match command.game {
        Game::Throw(arguments) => session.until_asked_to_end(throw(arguments, session)).await,
        Game::Play(arguments) => play::run(arguments, session).await,
    }
}

/// Plays each move and prints how it ended.
async fn throw(arguments: ThrowArguments, session: &Session) -> Result<(), Failure> {
    let opponent = arguments.opponent.resolve()?;
    let mut game = opponent.connect(session).await?;
    let mut moves = Values::of(arguments.moves);
    while let Some(Hand(shown)) = moves.next().await? {
        let round = game.throw(shown).await.map_err(|error| opponent.failure(error))?;
        session.output.answer(&Thrown { shown, round })?;
    }
    Ok(())
}
