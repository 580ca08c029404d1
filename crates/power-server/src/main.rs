//! The power server's program: arguments, configuration, log, listener, service, drain.

use std::process::ExitCode;

use clap::Parser;
use power_server::config::Config;
use power_server::{healthcheck, serve};
use proto::server::options::{Loaded, Options, Setting, print, refuse};
use proto::server::shutdown::Shutdown;
use proto::server::{admission, listen, runtime, telemetry};

const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Answers short connections: a square, a cube or a fourth power each
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 80, after_help = CONFIGURATION)]
struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    #[command(flatten)]
    options: Options,
}

const CONFIGURATION: &str = "\
The configuration is read from the file that --config or POWER_SERVER_CONFIG
names, or else from config/power-server.toml. Over it go the environment
(POWER_SERVER_LISTEN, POWER_SERVER_LOG_LEVEL, POWER_SERVER_LOG_FORMAT,
POWER_SERVER_ADMIN_LISTEN) and then the arguments.

Exit codes: 0 stopped as told; 1 cannot serve, or not healthy; 2 wrong usage or
configuration; 130 or 143 ended at once by a second signal";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let listen = Setting { argument: "listen", key: "listen", value: arguments.listen.as_deref() };
    let loaded = match arguments.options.load::<Config>(PROGRAM, &[listen]) {
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
async fn run(Loaded { mut config, file }: Loaded<Config>) -> std::io::Result<()> {
    let shutdown = Shutdown::new(config.timeouts.shared.drain.get());
    shutdown.begin_on_signals()?;
    let limits = &mut config.limits.connections;
    limits.max_connections = admission::fit_to_open_files(limits.max_connections)?;
    let listener = listen::bind(config.listen.0, limits.backlog.get())?;
    telemetry::started(file.as_deref(), &[("power", listener.local_addr()?)]);
    let summary = serve(listener, &config, shutdown).await;
    telemetry::stopped(&summary);
    Ok(())
}
