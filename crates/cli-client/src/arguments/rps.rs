//! `rps`.

use clap::{Args, Subcommand};

use crate::input::{MoveArgument, odd};
use crate::language::texts;
use crate::opponent;

/// `rps`.
#[derive(Args, Debug)]
pub struct RpsCommand {
    /// How to play.
    #[command(subcommand)]
    pub game: Game,
}

/// How to play.
#[derive(Debug, Subcommand)]
pub enum Game {
    /// These moves.
    #[command(about = texts::throw())]
    Throw(ThrowArguments),
    /// Moves as they come.
    #[command(about = texts::play())]
    Play(PlayArguments),
}

/// The moves, and against whom.
#[derive(Args, Debug)]
pub struct ThrowArguments {
    /// The moves.
    #[arg(required = true, value_name = "MOVE", help = texts::moves())]
    pub moves: Vec<MoveArgument>,

    /// Against whom.
    #[command(flatten)]
    pub opponent: opponent::Arguments,
}

/// For how long, and against whom.
#[derive(Args, Debug)]
pub struct PlayArguments {
    /// More than half of so many rounds win.
    #[arg(long, value_name = "ROUNDS", value_parser = odd, help = texts::best_of())]
    pub best_of: Option<u64>,

    /// Against whom.
    #[command(flatten)]
    pub opponent: opponent::Arguments,
}
