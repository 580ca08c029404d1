//! `bench`.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::power::client::Framing;

use super::values::{Sources, at_most, duration, escaped, framing, number, sources};
use crate::language::texts;
use crate::service::{Service, address};

/// Which server to load.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
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
pub(crate) struct Load {
    /// How many connections at once.
    #[arg(short, long, value_name = "COUNT", default_value = "50", value_parser = at_most::<1_000_000>, help = texts::connections())]
    pub(crate) connections: u64,

    /// After how many requests to end.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = at_most::<1_000_000_000_000>, help = texts::requests())]
    pub(crate) requests: Option<u64>,

    /// After how long to end.
    #[arg(short = 'z', long, value_name = "DURATION", value_parser = duration, help = texts::duration())]
    pub(crate) duration: Option<Duration>,

    /// How many requests a second.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<10_000_000>, help = texts::rate())]
    pub(crate) rate: Option<u64>,

    /// How long to load before anything is counted.
    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::warmup())]
    pub(crate) warmup: Option<Duration>,

    /// How many threads put the load on.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<1024>, help = texts::threads())]
    pub(crate) threads: u64,

    /// From which addresses to connect.
    #[arg(long, value_name = "ADDRESSES", value_parser = sources, help = texts::sources())]
    pub(crate) sources: Option<Sources>,
}

/// `bench power`.
#[derive(Args, Debug)]
pub(crate) struct PowerArguments {
    /// How much load.
    #[command(flatten)]
    pub(crate) load: Load,

    /// One connection for many requests.
    #[arg(long, help = texts::bench_keep_alive())]
    pub(crate) keep_alive: bool,

    /// How many requests in flight.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline_power())]
    pub(crate) pipeline: Option<u64>,

    /// How to end a request on a short connection.
    #[arg(long, value_name = "HOW", value_parser = framing(), conflicts_with_all = ["keep_alive", "pipeline"],
          help = texts::bench_framing())]
    pub(crate) framing: Option<Framing>,

    /// The three ways side by side.
    #[arg(long, conflicts_with_all = ["keep_alive", "rate"], help = texts::compare())]
    pub(crate) compare: bool,

    /// What to ask.
    #[arg(long, value_name = "OPERATION", default_value = "square", value_parser = operation, help = texts::op())]
    pub(crate) op: Operation,

    /// Of which number.
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = number, allow_hyphen_values = true,
          help = texts::number())]
    pub(crate) number: Number,

    /// Where the server listens.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, help = Service::Power.addr_help())]
    pub(crate) addr: Option<String>,
}

/// `bench rps`.
#[derive(Args, Debug)]
pub(crate) struct RpsArguments {
    /// How much load.
    #[command(flatten)]
    pub(crate) load: Load,

    /// How many moves in flight.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline())]
    pub(crate) pipeline: u64,

    /// Where the server listens.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, help = Service::Rps.addr_help())]
    pub(crate) addr: Option<String>,
}

/// `bench duel`.
#[derive(Args, Debug)]
pub(crate) struct DuelArguments {
    /// How much load.
    #[command(flatten)]
    pub(crate) load: Load,

    /// How many moves in flight.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline())]
    pub(crate) pipeline: u64,

    /// How long the server lets a move wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, help = texts::bench_window())]
    pub(crate) window: Duration,

    /// Where the server listens.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, help = Service::Duel.addr_help())]
    pub(crate) addr: Option<String>,
}

/// `bench exchange`.
#[derive(Args, Debug)]
pub(crate) struct ExchangeArguments {
    /// How much load.
    #[command(flatten)]
    pub(crate) load: Load,

    /// One connection for many requests.
    #[arg(long, help = texts::exchange_keep_alive())]
    pub(crate) keep_alive: bool,

    /// How many requests in flight.
    #[arg(long, value_name = "COUNT", value_parser = at_most::<MOST_IN_FLIGHT>, help = texts::pipeline_exchange())]
    pub(crate) pipeline: Option<u64>,

    /// What is sent as a request.
    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true, help = texts::exchange_send())]
    pub(crate) send: Bytes,

    /// What is the right answer.
    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true, help = texts::exchange_expect())]
    pub(crate) expect: Bytes,

    /// Where the server listens.
    #[arg(long = "addr", value_name = "HOST:PORT", value_parser = address, help = texts::exchange_addr())]
    pub(crate) address: String,
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
