//! The power server's program: command line, configuration, log, runtime, listener, service, drain.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use power_server::config::Config;
use power_server::{Server, healthcheck};
use proto::server::config::{CommandLine, Options, Override, parse_arguments};
use proto::server::program::{Program, Startup};
use proto::server::{ListenOptions, ReloadSignal, SocketBuffers, Summary};

const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Serves squares, cubes and fourth powers on short TCP connections
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 80, after_help = CONFIGURATION)]
struct PowerServerArguments {
    /// Endpoints for power requests, separated by commas
    #[arg(long, value_name = "ENDPOINTS")]
    listen: Option<String>,

    #[command(flatten)]
    options: Options,
}

const CONFIGURATION: &str = "\
Settings are read from the file named by --config or POWER_SERVER_CONFIG
(default: config/power-server.toml). Environment variables override the file.
Each key has one: the name of the server and the key, in capitals, with _ for -
and ., as in POWER_SERVER_LIMITS_BACKLOG. An unknown one is an error. RUST_LOG
sets log.level too. --set overrides both, and the other arguments override
--set, in any order.

SIGHUP reloads the file. SIGTERM and SIGINT drain; a second signal, at least
200 ms later, aborts.

Exit codes: 0 stopped by a signal; 1 cannot serve, or unhealthy; 2 invalid
arguments or configuration; 130 or 143 aborted by a second signal";

fn main() -> ExitCode {
    // First, because before this call a SIGHUP ends the process.
    let reload_signal = ReloadSignal::catch();
    let PowerServerArguments { listen, options } = parse_arguments();
    let overrides = vec![Override { argument: "listen", key: "listen", value: listen }];
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
    let server = Arc::new(Server::new(config, startup.shutdown()));
    let options = ListenOptions { backlog, defer_accept: true, buffers: SocketBuffers::default() };
    let listeners = startup.bind("power", "listen", options)?;

    let (operations, reloaded) = (server.operations(startup.metrics()), Arc::clone(&server));
    startup.start_operations(operations, move |config| reloaded.apply(config))?;

    Ok(server.serve(listeners).await)
}
