//! `probe`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::duration;
use crate::language::texts;
use crate::service::{Service, address};

#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    #[command(about = texts::probe_power(), mut_arg("addr", |addr| addr.help(Service::Power.addr_help())))]
    Power(ProbeArguments),
    #[command(about = texts::probe_rps(), mut_arg("addr", |addr| addr.help(Service::Rps.addr_help())))]
    Rps(ProbeArguments),
    #[command(about = texts::probe_duel(), mut_arg("addr", |addr| addr.help(Service::Duel.addr_help())))]
    Duel(ProbeArguments),
}

impl ProbeCommand {
    pub(crate) fn parts(self) -> (Service, ProbeArguments) {
        match self {
            Self::Power(arguments) => (Service::Power, arguments),
            Self::Rps(arguments) => (Service::Rps, arguments),
            Self::Duel(arguments) => (Service::Duel, arguments),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct ProbeArguments {
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) addr: Option<String>,

    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::wait())]
    pub(crate) wait: Option<Duration>,
}
