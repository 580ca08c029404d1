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
#[command(name = PROGRAM, version, max_term_width = 80)]
struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    #[command(flatten)]
    options: Options,
}

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
