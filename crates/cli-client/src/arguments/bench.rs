//! `bench`.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use proto::wire::power::Operation;

use super::power::Framing;
use crate::address::{DuelAddress, PowerAddress, RpsAddress, address};
use crate::input::{Operand, Sources, at_most, duration, escaped};
use crate::language::texts;

/// `bench`.
#[derive(Args, Debug)]
pub struct BenchCommand {
    /// Which server to load.
    #[command(subcommand)]
    pub service: Service,
}

/// Which server to load.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// The power server.
    #[command(about = texts::bench_power())]
    Power(PowerArguments),
    /// The house.
    #[command(about = texts::bench_rps())]
    Rps(RpsArguments),
    /// The duel.
    #[command(about = texts::bench_duel())]
    Duel(DuelArguments),
    /// Any server that answers a request with the same bytes each time.
    #[command(about = texts::bench_exchange(), override_usage = EXCHANGE_USAGE)]
    Exchange(ExchangeArguments),
}

/// How much load, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// How many connections at once.
    #[arg(short, long, value_name = "COUNT", default_value = "50", value_parser = at_most::<1_000_000>, help = texts::connections())]
    pub connections: u64,

    /// After how many requests to end.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = at_most::<1_000_000_000_000>, help = texts::requests())]
    pub requests: Option<u64>,

    /// After how long to end.
    #[arg(short = 'z', long, value_name = "DURATION", value_parser = duration, help = texts::duration())]
    pub duration: Option<Duration>,

    /// How many requests a second.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<10_000_000>, help = texts::rate())]
    pub rate: Option<u64>,

    /// How long to load before anything is counted.
    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::warmup())]
    pub warmup: Option<Duration>,

    /// How many threads put the load on.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<1024>, help = texts::threads())]
    pub threads: u64,

    /// From which addresses to connect.
    #[arg(long, value_name = "ADDRESSES", help = texts::sources())]
    pub sources: Option<Sources>,
}

/// `bench power`.
#[derive(Args, Debug)]
pub struct PowerArguments {
    /// How much load.
    #[command(flatten)]
    pub load: Load,

    /// One connection for many requests.
    #[arg(long, help = texts::bench_keep_alive())]
    pub keep_alive: bool,

    /// How many requests in flight.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline_power())]
    pub pipeline: Option<u64>,

    /// How to end a request on a short connection.
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["keep_alive", "pipeline"],
          help = texts::bench_framing())]
    pub framing: Option<Framing>,

    /// The three ways side by side.
    #[arg(long, conflicts_with_all = ["keep_alive", "rate"], help = texts::compare())]
    pub compare: bool,

    /// What to ask.
    #[arg(long, value_name = "OPERATION", default_value = "square", value_parser = operation, help = texts::op())]
    pub op: Operation,

    /// Of which number.
    #[arg(long, value_name = "NUMBER", default_value = "2", allow_hyphen_values = true, help = texts::number())]
    pub number: Operand,

    /// Where the server listens.
    #[command(flatten)]
    pub address: PowerAddress,
}

/// `bench rps`.
#[derive(Args, Debug)]
pub struct RpsArguments {
    /// How much load.
    #[command(flatten)]
    pub load: Load,

    /// How many moves in flight.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline())]
    pub pipeline: u64,

    /// Where the server listens.
    #[command(flatten)]
    pub address: RpsAddress,
}

/// `bench duel`.
#[derive(Args, Debug)]
pub struct DuelArguments {
    /// How much load.
    #[command(flatten)]
    pub load: Load,

    /// How many moves in flight.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline())]
    pub pipeline: u64,

    /// How long the server lets a move wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, help = texts::bench_window())]
    pub window: Duration,

    /// Where the server listens.
    #[command(flatten)]
    pub address: DuelAddress,
}

/// `bench exchange`.
#[derive(Args, Debug)]
pub struct ExchangeArguments {
    /// How much load.
    #[command(flatten)]
    pub load: Load,

    /// One connection for many requests.
    #[arg(long, help = texts::exchange_keep_alive())]
    pub keep_alive: bool,

    /// How many requests in flight.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline_exchange())]
    pub pipeline: Option<u64>,

    /// What is sent as a request.
    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true, help = texts::exchange_send())]
    pub send: Bytes,

    /// What is the right answer.
    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true, help = texts::exchange_expect())]
    pub expect: Bytes,

    /// Where the server listens.
    #[arg(long = "addr", value_name = "HOST:PORT", value_parser = address, help = texts::exchange_addr())]
    pub address: String,
}

/// As it is written when nothing else is said, but in two lines, so that it fits a terminal.
const EXCHANGE_USAGE: &str = "cli-client bench exchange [OPTIONS] --send <BYTES> --expect <BYTES>
                                 --addr <HOST:PORT>";

/// So many requests in flight take a megabyte where they are short and 32 where they are as long as can be, and more teach
/// nothing.
const MOST_IN_FLIGHT: u64 = 65_536;

fn operation(text: &str) -> Result<Operation, String> {
    let named = Operation::ALL.into_iter().find(|operation| operation.to_string() == text);
    named.ok_or_else(|| texts::one_of("square, cube, fourth, echo"))
}
