//! The rock-paper-scissors server's program: arguments, configuration, log, listeners, service, drain.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use proto::server::config::value::OptionalAddress;
use proto::server::options::{Loaded, Options, Setting, print, refuse};
use proto::server::shutdown::Shutdown;
use proto::server::{admission, listen, runtime, telemetry};
use rps_server::config::Config;
use rps_server::duel::rounds::Tally;
use rps_server::duel::table::Table;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, healthcheck, serve};
use tokio::net::TcpListener;

const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Plays rock-paper-scissors on long connections: one byte a move, one byte an answer
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 80, after_help = CONFIGURATION)]
struct Arguments {
    /// Where to listen for players against the house ("" for off)
    #[arg(long, value_name = "ADDRESS")]
    solo_listen: Option<String>,

    /// Where to listen for players against each other ("" for off)
    #[arg(long, value_name = "ADDRESS")]
    duel_listen: Option<String>,

    #[command(flatten)]
    options: Options,
}

const CONFIGURATION: &str = "\
The configuration is read from the file that --config or RPS_SERVER_CONFIG
names, or else from config/rps-server.toml. Over it go the environment
(RPS_SERVER_SOLO_LISTEN, RPS_SERVER_DUEL_LISTEN, RPS_SERVER_LOG_LEVEL,
RPS_SERVER_LOG_FORMAT, RPS_SERVER_ADMIN_LISTEN) and then the arguments.

Exit codes: 0 stopped as told; 1 cannot serve, or not healthy; 2 wrong usage or
configuration; 130 or 143 ended at once by a second signal";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let listeners = [
        Setting { argument: "solo-listen", key: "solo.listen", value: arguments.solo_listen.as_deref() },
        Setting { argument: "duel-listen", key: "duel.listen", value: arguments.duel_listen.as_deref() },
    ];
    let loaded = match arguments.options.load::<Config>(PROGRAM, &listeners) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(PROGRAM, &problems),
    };
    if arguments.options.check_config {
        return print(&loaded.config);
    }
    if arguments.options.healthcheck {
        return runtime::healthcheck(PROGRAM, healthcheck(&loaded.config));
    }
    telemetry::start(&loaded.config.log);
    runtime::run(loaded.config.workers.size(), run(loaded))
}

/// Binds, serves until told to stop, drains.
async fn run(Loaded { mut config, file }: Loaded<Config>) -> io::Result<()> {
    let shutdown = Shutdown::new(config.timeouts.drain.get());
    shutdown.begin_on_signals()?;
    let limits = &mut config.limits.connections;
    limits.max_connections = admission::fit_to_open_files(limits.max_connections)?;
    let backlog = limits.backlog.get();
    let bind = |address: OptionalAddress| address.0.map(|address| listen::bind(address, backlog)).transpose();
    let listeners = Listeners { solo: bind(config.solo.listen)?, duel: bind(config.duel.listen)? };
    telemetry::started(file.as_deref(), &addresses(&listeners)?);
    let table = Table::new(config.duel.window.get());
    let summary = serve(listeners, &config, || House::new(ThreadGenerator), Arc::clone(&table), shutdown).await;
    if config.duel.listen.0.is_some() {
        let Tally { draws, wins, losses, voids, dissolved, .. } = table.tally();
        tracing::info!(draws, wins, losses, voids, pairs_dissolved = dissolved, "answers in duels");
    }
    telemetry::stopped(&summary);
    Ok(())
}

fn addresses(listeners: &Listeners<TcpListener>) -> io::Result<Vec<(&'static str, SocketAddr)>> {
    let named = [("solo", &listeners.solo), ("duel", &listeners.duel)];
    named
        .into_iter()
        .filter_map(|(game, listener)| Some((game, listener.as_ref()?)))
        .map(|(game, listener)| Ok((game, listener.local_addr()?)))
        .collect()
}
