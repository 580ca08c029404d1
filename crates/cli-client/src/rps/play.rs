//! `rps play`: a game at a prompt, with the score; without a terminal, moves from standard input and no prompt.

use super::Game;
use super::prompt::Prompt;
use super::score::Score;
use crate::arguments::rps::PlayArguments;
use crate::failure::Failure;
use crate::interrupt::CTRL_C;
use crate::session::Session;

/// Plays until the moves end, one side wins the match, or a signal ends the client, and prints the score last.
///
/// # Errors
///
/// The first error; the score is printed all the same.
pub(super) async fn run(arguments: PlayArguments, session: &Session) -> Result<(), Failure> {
    let mut score = Score::new(arguments.best_of);
    let mut prompt = Prompt::new(session.output, arguments.opponent.duel);
    let mut game = None;
    let played = session.until_asked_to_end(async {
        let game = game.insert(Game::start(arguments.opponent, session).await?);
        play(game, &mut prompt, &mut score, session).await
    });
    let mut ended = played.await;
    if let Err(Failure::Interrupted(code)) = ended {
        prompt.leave_line();
        // A person ends a game with Ctrl-C; other signals come from elsewhere.
        if code == CTRL_C {
            ended = Ok(());
        }
    }
    // Without a connection there was no game.
    if game.is_some() || ended.is_ok() {
        session.output.answer(&score, &score)?;
    }
    ended
}

async fn play(game: &mut Game, prompt: &mut Prompt, score: &mut Score, session: &Session) -> Result<(), Failure> {
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
