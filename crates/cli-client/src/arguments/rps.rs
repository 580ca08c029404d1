//! `rps`.

use std::time::Duration;

use clap::{Args, Subcommand};
use proto::wire::rps::Move;

use super::values::{duration, hand, odd, or_input};
use crate::input::Argument;
use crate::language::texts;
use crate::service::address;

#[derive(Debug, Subcommand)]
pub(crate) enum RpsCommand {
    #[command(about = texts::throw())]
    Throw(ThrowArguments),
    #[command(about = texts::play())]
    Play(PlayArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ThrowArguments {
    #[arg(required = true, value_name = "MOVE", value_parser = or_input(hand), help = texts::moves())]
    pub(crate) moves: Vec<Argument<Move>>,

    #[command(flatten)]
    pub(crate) opponent: OpponentArguments,
}

#[derive(Args, Debug)]
pub(crate) struct PlayArguments {
    #[arg(long, value_name = "ROUNDS", value_parser = odd, help = texts::best_of())]
    pub(crate) best_of: Option<u64>,

    #[command(flatten)]
    pub(crate) opponent: OpponentArguments,
}

#[derive(Args, Debug)]
pub(crate) struct OpponentArguments {
    #[arg(long, help = texts::duel())]
    pub(crate) duel: bool,

    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, requires = "duel",
          help = texts::window())]
    pub(crate) window: Duration,

    #[arg(long, value_name = "HOST:PORT", value_parser = address, help = texts::opponent_addr())]
    pub(crate) addr: Option<String>,
}
