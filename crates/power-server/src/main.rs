//! The power server's program: arguments, configuration, log, listeners, service, drain.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use power_server::config::Config;
use power_server::{Server, healthcheck};
use proto::server::config::builder::Problems;
use proto::server::config::command_line::{Loaded, Options, Setting, print, refuse};
use proto::server::lifecycle::reload::Reload;
use proto::server::lifecycle::runtime;
use proto::server::lifecycle::shutdown::Shutdown;
use proto::server::listener::socket::ListenOptions;
use proto::server::listener::{open_files, socket};
use proto::server::observe::log::Log;
use proto::server::observe::{admin, log};

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
    let shutdown = Shutdown::new(loaded.config.timeouts.shared.drain.get());
    runtime::run(workers, &log, &shutdown, run(arguments, loaded, log.clone(), shutdown.clone()))
}

fn load(arguments: &Arguments) -> Result<Loaded<Config>, Problems> {
    let listen = Setting { argument: "listen", key: "listen", value: arguments.listen.as_deref() };
    arguments.options.load(PROGRAM, &[listen])
}

/// Binds, serves until told to stop, drains.
async fn run(arguments: Arguments, mut loaded: Loaded<Config>, log: Log, shutdown: Shutdown) -> io::Result<()> {
    let config = &mut loaded.config;
    open_files::fit(&mut config.limits.connections)?;
    let options = ListenOptions { backlog: config.limits.connections.backlog.get(), defer_accept: true };
    let listener = socket::bind(config.listen.0, options)?;
    let admin = admin::bind(&config.admin)?;

    let server = Arc::new(Server::new(config, shutdown.clone()));
    let reload =
        Reload { log: log.clone(), metrics: Arc::clone(&server.metrics().connections), shutdown: shutdown.clone() };
    let (file, reloaded) = (loaded.file.clone(), Arc::clone(&server));
    tokio::spawn(reload.follow_hangups(loaded, move || load(&arguments), move |config| reloaded.apply(config))?);
    log::started(file.as_deref(), &[("power", Some(&listener)), ("admin", admin.as_ref())])?;
    if let Some(admin) = admin {
        tokio::spawn(admin::serve(admin, server.registry(log), shutdown));
    }

    let summary = server.serve(listener).await;
    log::stopped(&summary);
    Ok(())
}
