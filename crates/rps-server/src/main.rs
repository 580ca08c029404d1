//! The rock-paper-scissors server's program: arguments, configuration, log, listeners, service, drain.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use proto::server::config::builder::Problems;
use proto::server::config::command_line::{Loaded, Options, Setting, print, refuse};
use proto::server::config::types::OptionalAddress;
use proto::server::lifecycle::reload::Reload;
use proto::server::lifecycle::runtime;
use proto::server::lifecycle::shutdown::Shutdown;
use proto::server::listener::socket::ListenOptions;
use proto::server::listener::{open_files, socket};
use proto::server::observe::log::Log;
use proto::server::observe::{admin, log};
use rps_server::config::Config;
use rps_server::duel::rounds::Tally;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, Server, healthcheck};

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

At SIGHUP the file is read again; SIGTERM and SIGINT drain, and a second one
ends at once.

Exit codes: 0 stopped as told; 1 cannot serve, or not healthy; 2 wrong usage or
configuration; 130 or 143 ended at once by a second signal";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let loaded = match load(&arguments) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(PROGRAM, &problems),
    };
    if arguments.options.check_config {
        return print(&loaded.config);
    }
    if arguments.options.healthcheck {
        return runtime::healthcheck(PROGRAM, healthcheck(&loaded.config));
    }
    let log = match log::start(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return runtime::fail(PROGRAM, error),
    };
    let workers = loaded.config.workers.size();
    let shutdown = Shutdown::new(loaded.config.timeouts.drain.get());
    runtime::run(workers, &log, &shutdown, run(arguments, loaded, log.clone(), shutdown.clone()))
}

fn load(arguments: &Arguments) -> Result<Loaded<Config>, Problems> {
    let listeners = [
        Setting { argument: "solo-listen", key: "solo.listen", value: arguments.solo_listen.as_deref() },
        Setting { argument: "duel-listen", key: "duel.listen", value: arguments.duel_listen.as_deref() },
    ];
    arguments.options.load(PROGRAM, &listeners)
}

/// Binds, serves until told to stop, drains.
async fn run(arguments: Arguments, mut loaded: Loaded<Config>, log: Log, shutdown: Shutdown) -> io::Result<()> {
    let config = &mut loaded.config;
    open_files::fit(&mut config.limits.connections)?;
    // A player may take all the time there is for the first move.
    let options = ListenOptions { backlog: config.limits.connections.backlog.get(), defer_accept: false };
    let bind = |address: OptionalAddress| address.0.map(|address| socket::bind(address, options)).transpose();
    let listeners = Listeners { solo: bind(config.solo.listen)?, duel: bind(config.duel.listen)? };
    let admin = admin::bind(&config.admin)?;

    let server = Arc::new(Server::new(config, || House::new(ThreadGenerator), shutdown.clone()));
    let with_duel = config.duel.listen.0.is_some();
    let reload =
        Reload { log: log.clone(), metrics: Arc::clone(&server.metrics().connections), shutdown: shutdown.clone() };
    let (file, reloaded) = (loaded.file.clone(), Arc::clone(&server));
    tokio::spawn(reload.follow_hangups(loaded, move || load(&arguments), move |config| reloaded.apply(config))?);
    log::started(
        file.as_deref(),
        &[("solo", listeners.solo.as_ref()), ("duel", listeners.duel.as_ref()), ("admin", admin.as_ref())],
    )?;
    if let Some(admin) = admin {
        tokio::spawn(admin::serve(admin, server.registry(log), shutdown));
    }

    let summary = server.serve(listeners).await;
    if with_duel {
        let Tally { draws, wins, losses, voids, dissolved, .. } = server.table().tally();
        tracing::info!(draws, wins, losses, voids, pairs_dissolved = dissolved, "answers in duels");
    }
    log::stopped(&summary);
    Ok(())
}
