//! The options of `check`.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use proto::endpoint::Endpoint;

use super::values::{at_most, duration};
use crate::check::case::Level;
use crate::language::check as texts;
use crate::language::texts as common;
use crate::target::{Target, endpoint};

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    #[command(about = texts::check_power(), mut_args(|arg| Target::Power.describe_addr(arg)))]
    Power(PowerCheck),
    #[command(about = texts::check_rps(), mut_args(|arg| Target::Rps.describe_addr(arg)))]
    Rps(RpsCheck),
    #[command(about = texts::check_duel(), mut_args(|arg| Target::Duel.describe_addr(arg)))]
    Duel(DuelCheck),
}

#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    #[arg(long, value_name = "LEVEL", default_value = "full", value_parser = level(), help = texts::level())]
    pub(crate) level: Level,

    #[arg(long, value_name = "TEXT", value_delimiter = ',', help = texts::only())]
    pub(crate) only: Vec<String>,

    #[arg(long, help = texts::list())]
    pub(crate) list: bool,

    #[arg(long, help = texts::slow())]
    pub(crate) slow: bool,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    pub(crate) addr: Option<Endpoint>,
}

#[derive(Args, Debug)]
pub(crate) struct PowerCheck {
    #[command(flatten)]
    pub(crate) options: CheckOptions,

    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration,
          help = texts::request_timeout())]
    pub(crate) request_timeout: Duration,

    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, help = texts::idle("60s"))]
    pub(crate) idle: Duration,

    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = request_bytes,
          help = texts::max_request_bytes())]
    pub(crate) max_request_bytes: u64,
}

#[derive(Args, Debug)]
pub(crate) struct RpsCheck {
    #[command(flatten)]
    pub(crate) options: CheckOptions,

    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help = texts::idle("5m"))]
    pub(crate) idle: Duration,

    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = at_most::<MAX_LIMIT>,
          help = texts::max_bad_frames())]
    pub(crate) max_bad_frames: u64,

    #[arg(long, value_name = "COUNT", default_value = "30k", value_parser = at_most::<100_000_000>,
          help = texts::rounds())]
    pub(crate) rounds: u64,
}

#[derive(Args, Debug)]
pub(crate) struct DuelCheck {
    #[command(flatten)]
    pub(crate) options: CheckOptions,

    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::window())]
    pub(crate) window: Option<Duration>,

    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help = texts::idle("5m"))]
    pub(crate) idle: Duration,

    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = at_most::<MAX_LIMIT>,
          help = texts::max_bad_frames())]
    pub(crate) max_bad_frames: u64,
}

/// Maximum of a limit of the server: the largest that our servers take.
const MAX_LIMIT: u64 = 65_536;

/// Parses a limit of the request length. The shortest request has two bytes.
fn request_bytes(text: &str) -> Result<u64, String> {
    match at_most::<MAX_LIMIT>(text) {
        Ok(1) => Err(common::not_a_count_with_k(2, MAX_LIMIT)),
        parsed => parsed,
    }
}

/// Parses a level. Shell completions show the help of each value.
fn level() -> impl TypedValueParser<Value = Level> {
    let values = Level::ALL.map(|level| {
        PossibleValue::new(level.name()).help(match level {
            Level::Core => texts::level_core(),
            Level::Full => texts::level_full(),
            Level::Robust => texts::level_robust(),
        })
    });
    // `PossibleValuesParser` accepts only these names.
    let named = |name: String| Level::ALL.into_iter().find(|level| level.name() == name).unwrap_or(Level::Full);
    PossibleValuesParser::new(values).map(named)
}
