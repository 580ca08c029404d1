//! The options of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, Args, Subcommand};
use proto::endpoint::Endpoint;
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::power::client::Framing;

use super::values::{SourceList, at_most, duration, escaped, framing, number, sources};
use crate::bench::threshold::Threshold;
use crate::language::texts;
use crate::target::{Target, endpoint};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    #[command(about = texts::bench_power(), mut_arg("thresholds", expect))]
    Power(PowerLoad),
    #[command(about = texts::bench_rps(), mut_arg("thresholds", expect))]
    Rps(RpsLoad),
    #[command(about = texts::bench_duel(), mut_arg("thresholds", expect))]
    Duel(DuelLoad),
    #[command(about = texts::bench_exchange(), override_usage = EXCHANGE_USAGE)]
    Exchange(ExchangeLoad),
    #[command(about = texts::bench_compare())]
    Compare(CompareArguments),
}

/// Names the option for thresholds `--expect`. With `bench exchange`, that is the expected reply.
fn expect(argument: Arg) -> Arg {
    argument.long("expect").alias("threshold")
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    #[arg(short, long, value_name = "COUNT", default_value = "50", value_parser = at_most::<1_000_000>,
          help = texts::connections())]
    pub(crate) connections: u64,

    #[arg(short = 'n', long, value_name = "COUNT", value_parser = at_most::<1_000_000_000_000>,
          help = texts::requests())]
    pub(crate) requests: Option<u64>,

    #[arg(short = 'z', long, value_name = "DURATION", value_parser = duration, help = texts::duration())]
    pub(crate) duration: Option<Duration>,

    #[arg(long, value_name = "COUNT", value_parser = at_most::<10_000_000>, help = texts::rate())]
    pub(crate) rate: Option<u64>,

    #[arg(long, value_name = "DURATION", value_parser = duration, help = texts::warmup())]
    pub(crate) warmup: Option<Duration>,

    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<1024>, help = texts::threads())]
    pub(crate) threads: u64,

    #[arg(long, value_name = "ADDRESSES", value_parser = sources, help = texts::sources())]
    pub(crate) sources: Option<SourceList>,

    #[arg(long = "threshold", value_name = "CONDITION", value_delimiter = ',', value_parser = Threshold::parse,
          help = texts::thresholds())]
    pub(crate) thresholds: Vec<Threshold>,

    #[arg(long, value_name = "FILE", value_parser = series_file, help = texts::series())]
    pub(crate) series: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PowerLoad {
    #[command(flatten)]
    pub(crate) load: LoadOptions,

    #[arg(long, help = texts::bench_keep_alive())]
    pub(crate) keep_alive: bool,

    #[arg(long, value_name = "COUNT", value_parser = at_most::<MAX_IN_FLIGHT>, help = texts::pipeline_power())]
    pub(crate) pipeline: Option<u64>,

    #[arg(long, value_name = "HOW", value_parser = framing(), conflicts_with_all = ["keep_alive", "pipeline"],
          help = texts::bench_framing())]
    pub(crate) framing: Option<Framing>,

    #[arg(long, conflicts_with_all = ["keep_alive", "rate"], help = texts::compare())]
    pub(crate) compare: bool,

    #[arg(long, value_name = "OPERATION", default_value = "square", value_parser = operation, help = texts::op())]
    pub(crate) op: Operation,

    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = number, allow_hyphen_values = true,
          help = texts::number())]
    pub(crate) number: Number,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint, help = Target::Power.addr_help())]
    pub(crate) addr: Option<Endpoint>,
}

#[derive(Args, Debug)]
pub(crate) struct RpsLoad {
    #[command(flatten)]
    pub(crate) load: LoadOptions,

    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MAX_IN_FLIGHT>,
          help = texts::pipeline())]
    pub(crate) pipeline: u64,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint, help = Target::Rps.addr_help())]
    pub(crate) addr: Option<Endpoint>,
}

#[derive(Args, Debug)]
pub(crate) struct DuelLoad {
    #[command(flatten)]
    pub(crate) load: LoadOptions,

    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_most::<MAX_IN_FLIGHT>,
          help = texts::pipeline())]
    pub(crate) pipeline: u64,

    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, help = texts::bench_window())]
    pub(crate) window: Duration,

    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', value_parser = endpoint,
          help = Target::Duel.addrs_help())]
    pub(crate) addr: Vec<Endpoint>,
}

#[derive(Args, Debug)]
pub(crate) struct ExchangeLoad {
    #[command(flatten)]
    pub(crate) load: LoadOptions,

    #[arg(long, help = texts::exchange_keep_alive())]
    pub(crate) keep_alive: bool,

    #[arg(long, value_name = "COUNT", value_parser = at_most::<MAX_IN_FLIGHT>, help = texts::pipeline_exchange())]
    pub(crate) pipeline: Option<u64>,

    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true,
          help = texts::exchange_send())]
    pub(crate) send: Bytes,

    #[arg(long, value_name = "BYTES", value_parser = escaped, allow_hyphen_values = true,
          help = texts::exchange_expect())]
    pub(crate) expect: Bytes,

    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint, help = texts::exchange_addr())]
    pub(crate) addr: Endpoint,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArguments {
    #[arg(required = true, value_name = "FILE", help = texts::compare_files())]
    pub(crate) files: Vec<PathBuf>,
}

/// The usage that clap generates, in two lines to fit a terminal.
const EXCHANGE_USAGE: &str = "cli-client bench exchange [OPTIONS] --send <BYTES> --expect <BYTES>
                                 --addr <ENDPOINT>";

/// Maximum pipeline. It takes 1 MB with short requests and 32 MB with the longest; more requests in flight change no
/// measurement.
const MAX_IN_FLIGHT: u64 = 65_536;

/// Parses a file name. Rejects `-`, because standard output has the report.
fn series_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" { Err(texts::not_a_series_file()) } else { Ok(text.into()) }
}

fn operation(text: &str) -> Result<Operation, String> {
    let named = Operation::ALL.into_iter().find(|operation| operation.to_string() == text);
    let all = || Operation::ALL.map(|operation| operation.to_string()).join(&texts::list_separator());
    named.ok_or_else(|| texts::one_of(all()))
}
