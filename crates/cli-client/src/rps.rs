//! `rps`: moves in, outcomes out.

use proto::client::Timeouts;
use proto::client::rps::Connection;

use crate::arguments::{Game, RpsCommand};
use crate::failure::Failure;
use crate::input::{Hand, Values};
use crate::output::answer;

/// Plays each move on one connection and prints how it ended.
///
/// # Errors
///
/// The first thing that keeps an answer from coming.
pub async fn run(command: RpsCommand, timeouts: Timeouts) -> Result<(), Failure> {
    let Game::Throw(arguments) = command.game;
    let address = arguments.address.resolve()?;
    let mut game = Connection::open(&address, timeouts).await?;
    let mut moves = Values::of(arguments.moves);
    while let Some(Hand(shown)) = moves.next().await? {
        let outcome = game.throw(shown).await?;
        answer(format_args!("{shown} {outcome}"))?;
    }
    Ok(())
}
