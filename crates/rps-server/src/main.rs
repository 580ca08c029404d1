//! The rock-paper-scissors server's program: command line, configuration, log, runtime, listeners, service, drain.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use proto::server::config::{CommandLine, Options, Override, ServerConfig, ServerEndpoint, parse_arguments};
use proto::server::program::{Program, Startup};
use proto::server::{ListenOptions, Listener, ReloadSignal, SocketBuffers, Summary};
use rps_server::config::Config;
use rps_server::duel::cluster;
use rps_server::duel::cluster::config::ClusterConfig;
use rps_server::duel::rounds::DuelStats;
use rps_server::house::{House, ThreadGenerator};
use rps_server::{Listeners, Server, healthcheck, solo};

const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Serves rock-paper-scissors on long connections: one byte per move and reply
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 80, after_help = CONFIGURATION)]
struct RpsServerArguments {
    /// Endpoints for games against the house, separated by commas ("" for off)
    #[arg(long, value_name = "ENDPOINTS")]
    solo_listen: Option<String>,

    /// Endpoints for games between two players, separated by commas ("" for off)
    #[arg(long, value_name = "ENDPOINTS")]
    duel_listen: Option<String>,

    /// Endpoints for both games in a browser, separated by commas ("" for off)
    #[arg(long, value_name = "ENDPOINTS")]
    web_listen: Option<String>,

    #[command(flatten)]
    options: Options,
}

const CONFIGURATION: &str = "\
Settings are read from the file named by --config or RPS_SERVER_CONFIG
(default: config/rps-server.toml). Environment variables override the file.
Each key has one: the name of the server and the key, in capitals, with _ for -
and ., as in RPS_SERVER_DUEL_WINDOW. An unknown one is an error. RUST_LOG sets
log.level too. --set overrides both, and the other arguments override --set, in
any order.

SIGHUP reloads the file. SIGTERM and SIGINT drain; a second signal, at least
200 ms later, aborts.

Exit codes: 0 stopped by a signal; 1 cannot serve, or unhealthy; 2 invalid
arguments or configuration; 130 or 143 aborted by a second signal";

fn main() -> ExitCode {
    // First, because before this call a SIGHUP ends the process.
    let reload_signal = ReloadSignal::catch();
    let RpsServerArguments { solo_listen, duel_listen, web_listen, options } = parse_arguments();
    let overrides = vec![
        Override { argument: "solo-listen", key: "solo.listen", value: solo_listen },
        Override { argument: "duel-listen", key: "duel.listen", value: duel_listen },
        Override { argument: "web-listen", key: "web.listen", value: web_listen },
    ];
    let command_line = CommandLine { program: PROGRAM, options, overrides };
    match Program::configure(reload_signal, command_line, healthcheck) {
        Ok(program) => program.run(serve),
        // --check-config, --healthcheck, or an invalid configuration.
        Err(exit_code) => exit_code,
    }
}

/// Binds the listeners, serves until a signal, and drains.
async fn serve(mut startup: Startup<Config>) -> io::Result<Summary> {
    let config = startup.config();
    let backlog = config.limits.connections.backlog.get();
    // No TCP_DEFER_ACCEPT: a player may connect long before the first move, and the server must accept the connection
    // before that.
    let options = |buffers| ListenOptions { backlog, defer_accept: false, buffers };
    // A browser sends its request at once.
    let web_options = ListenOptions { backlog, defer_accept: true, buffers: SocketBuffers::default() };
    let listeners = Listeners {
        solo: startup.bind("solo", "solo.listen", options(solo::BUFFERS))?,
        duel: startup.bind("duel", "duel.listen", options(SocketBuffers::default()))?,
        web: startup.bind_web("web", "web.listen", web_options)?,
        cluster: startup.bind_internal("cluster", "duel.cluster.listen", options(cluster::BUFFERS))?,
    };
    let (config, house) = (startup.config(), || House::new(ThreadGenerator));
    let server = match listeners.cluster.first() {
        None => Server::new(config, house, startup.shutdown()),
        Some(listener) => {
            let ClusterConfig { advertise, .. } = &config.duel.cluster;
            let clients_use_tls =
                config.listeners().iter().flat_map(|(_, endpoints)| *endpoints).any(ServerEndpoint::is_tls);
            if config.duel.cluster.is_unprotected(&config.tls, clients_use_tls) {
                tracing::warn!(
                    "any peer that reaches duel.cluster.listen can act as a replica; set duel.cluster.secret_file"
                );
            }
            Server::with_cluster(config, house, startup.shutdown(), advertise.or(listener.endpoint()))?
        }
    };
    let server = Arc::new(server);

    let (operations, reloaded) = (server.operations(startup.metrics()), Arc::clone(&server));
    startup.start_operations(operations, move |config| reloaded.apply(config))?;

    let with_duel = !listeners.duel.is_empty() || !listeners.web.is_empty();
    let summary = server.serve(listeners).await;
    if with_duel {
        let DuelStats { draws, wins, losses, voids, pairs_dissolved, .. } = server.hub().stats();
        tracing::info!(draws, wins, losses, voids, pairs_dissolved, "duel summary");
    }
    Ok(summary)
}
