//! `rps play`: a game at a prompt, with the score; without a terminal, moves from standard input and no prompt.
//!
//! - this file: the game; `score`: how it stands;
//! - `person`: whoever plays, at a terminal or not; `hands`: what a person is shown.

mod hands;
mod person;
mod score;

use proto::client::rps::{Connection, Round};
use proto::wire::rps::Move;

use crate::arguments::rps::PlayArguments;
use crate::failure::Failure;
use crate::opponent::Opponent;
use crate::round::Thrown;
use crate::session::Session;

use person::Person;
use score::{Final, Score};

/// Plays until there are no more moves, one side has won the match, or the client is asked to end, and prints how each
/// round ended and the final score.
///
/// # Errors
///
/// The first thing that keeps an answer from coming; the score is printed all the same.
pub async fn run(arguments: PlayArguments, session: &Session) -> Result<(), Failure> {
    let opponent = arguments.opponent.resolve()?;
    let mut score = Score::new(arguments.best_of);
    let mut person = Person::new(session.output, opponent.window.is_some());
    let mut game = None;
    let ended = {
        let playing = async {
            let game = game.insert(opponent.connect(session).await?);
            play(&opponent, session, game, &mut person, &mut score).await
        };
        tokio::select! {
            biased;
            () = session.interrupt.asked() => None,
            played = playing => Some(played),
        }
    };
    let ended = ended.unwrap_or_else(|| {
        person.leave_line();
        // Ctrl-C is how a person ends a game; another signal is somebody else's way to end this process.
        if session.interrupt.is_ctrl_c() { Ok(()) } else { Err(session.interrupt.failure()) }
    });
    // Without an opponent there was no game to have a score.
    if game.is_some() || ended.is_ok() {
        session.output.answer(&Final::from(&score))?;
    }
    ended
}

async fn play(
    opponent: &Opponent,
    session: &Session,
    game: &mut Connection,
    person: &mut Person,
    score: &mut Score,
) -> Result<(), Failure> {
    while score.winner().is_none()
        && let Some(shown) = person.next_move(score).await?
    {
        let round = round(opponent, game, person, shown).await?;
        score.count(round);
        person.show(shown, round);
        session.output.answer(&Thrown { shown, round })?;
        person.comment(round, score);
    }
    Ok(())
}

async fn round(opponent: &Opponent, game: &mut Connection, person: &Person, shown: Move) -> Result<Round, Failure> {
    let round = game.throw(shown);
    let round = match opponent.window {
        Some(window) => person.wait_for_other_player(round, window).await,
        None => round.await,
    };
    round.map_err(|error| opponent.failure(error))
}
