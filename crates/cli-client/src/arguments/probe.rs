//! `probe`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::address::{DuelAddress, PowerAddress, RpsAddress};
use crate::input::duration;
use crate::language::texts;

/// `probe`.
#[derive(Args, Debug)]
pub struct ProbeCommand {
    /// Which server to check.
    #[command(subcommand)]
    pub service: Service,
}

/// Which server to check.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// The power server.
    #[command(about = texts::probe_power())]
    Power(ProbeArguments<PowerAddress>),
    /// The house.
    #[command(about = texts::probe_rps())]
    Rps(ProbeArguments<RpsAddress>),
    /// The duel.
    #[command(about = texts::probe_duel())]
    Duel(ProbeArguments<DuelAddress>),
}

/// A server's address, and how to wait for it.
#[derive(Args, Debug)]
pub struct ProbeArguments<A: Args> {
    /// Where the server listens.
    #[command(flatten)]
    pub address: A,

    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// How to wait.
#[derive(Args, Debug)]
pub struct Wait {
    /// Try again until it works, for so long.
    #[arg(long = "wait", value_name = "DURATION", value_parser = duration, help = texts::wait())]
    pub limit: Option<Duration>,
}
