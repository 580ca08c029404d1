//! `rps`: moves in, outcomes out.

use proto::client::Timeouts;

use crate::arguments::{Game, RpsCommand, ThrowArguments};
use crate::failure::Failure;
use crate::input::{Hand, Values};
use crate::output::answer;
use crate::play;

/// Plays on one connection.
///
/// # Errors
///
/// The first thing that keeps an answer from coming.
pub async fn run(command: RpsCommand, timeouts: Timeouts) -> Result<(), Failure> {
    match command.game {
        Game::Throw(arguments) => throw(arguments, timeouts).await,
        Game::Play(arguments) => play::run(arguments, timeouts).await,
    }
}

/// Plays each move and prints how it ended.
async fn throw(arguments: ThrowArguments, timeouts: Timeouts) -> Result<(), Failure> {
    let opponent = arguments.opponent.resolve()?;
    let mut game = opponent.connect(timeouts).await?;
    let mut moves = Values::of(arguments.moves);
    while let Some(Hand(shown)) = moves.next().await? {
        let round = game.throw(shown).await.map_err(|error| opponent.failure(error))?;
        answer(format_args!("{shown} {round}"))?;
    }
    Ok(())
}
