//! The program of a server: from its command line to its exit code.
//!
//! It is the top of `proto::server`: it may use every folder, and no folder uses it. The `main` of a server parses its
//! arguments, [configures](Program::configure) the program and [runs](Program::run) it. The server's own code then
//! binds the listeners, [starts the operations](Startup::start_operations) and serves.

use std::fmt;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server::config::command_line::{CommandLine, Loaded, print_config, report_errors};
use crate::server::config::sections::ServerConfig;
use crate::server::connection::metrics::{ConnectionMetrics, Summary};
use crate::server::lifecycle::reload::{Reload, ReloadMetrics};
use crate::server::lifecycle::runtime;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::{accept, open_files, socket};
use crate::server::observe::admin;
use crate::server::observe::log::{self, Log};
use crate::wire::quoted::Printable;

/// A program with a valid configuration, before anything is started.
#[derive(Debug)]
pub struct Program<C> {
    command_line: CommandLine,
    loaded: Loaded<C>,
}

impl<C: ServerConfig + Send + 'static> Program<C> {
    /// Loads the configuration. Executes `--check-config` and, with `healthcheck`, `--healthcheck`.
    ///
    /// # Errors
    ///
    /// Returns the exit code if the server must not run: the configuration is invalid, or one of these two options was
    /// given.
    pub fn configure(
        command_line: CommandLine,
        healthcheck: impl AsyncFnOnce(&C) -> Result<(), String>,
    ) -> Result<Self, ExitCode> {
        let CommandLine { program, options, .. } = &command_line;
        let loaded = command_line.load::<C>().map_err(|errors| report_errors(program, &errors))?;
        if options.check_config {
            return Err(print_config(&loaded.config));
        }
        if options.healthcheck {
            return Err(runtime::healthcheck(program, healthcheck(&loaded.config)));
        }
        Ok(Self { command_line, loaded })
    }

    /// Starts the log and the runtime, runs `serve`, and returns the exit code.
    ///
    /// The first SIGTERM or SIGINT starts the drain; a second one aborts.
    pub fn run<S>(self, serve: impl FnOnce(Startup<C>) -> S + Send + 'static) -> ExitCode
    where
        S: Future<Output = io::Result<Summary>> + Send + 'static,
    {
        let Self { command_line, loaded } = self;
        let log = match log::start(loaded.config.log()) {
            Ok(log) => log,
            Err(error) => return runtime::fail(command_line.program, error),
        };
        let workers = loaded.config.workers();
        let shutdown = Shutdown::new(loaded.config.timeouts().drain.get());
        let reloads = Arc::default();
        let mut startup = Startup { command_line, loaded, log: log.clone(), shutdown: shutdown.clone(), reloads };
        runtime::run(workers, &log, &shutdown, async move {
            open_files::clamp_to_nofile(startup.loaded.config.connection_limits())?;
            let summary = serve(startup).await?;
            log_summary(&summary);
            Ok(())
        })
    }
}

/// The argument of a server's `serve` function, which runs on the program's runtime with the log open.
#[derive(Debug)]
pub struct Startup<C> {
    command_line: CommandLine,
    loaded: Loaded<C>,
    log: Log,
    shutdown: Shutdown,
    reloads: Arc<ReloadMetrics>,
}

impl<C: ServerConfig + Send + 'static> Startup<C> {
    /// Returns the configuration, with `limits.max_connections` lowered to fit the open-file limit.
    pub fn config(&self) -> &C {
        &self.loaded.config
    }

    /// Returns the shutdown that a signal triggers.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Returns the metrics of the log and of reloads.
    pub fn metrics(&self) -> impl Collector + use<C> {
        ProgramMetrics { log: self.log.clone(), reloads: Arc::clone(&self.reloads) }
    }

    /// Starts the admin listener, which exposes `registry`, and the reload at SIGHUP, which calls `apply` with each new
    /// configuration. Logs the address of each of `listeners`, which are pairs of a service's name and its listener.
    ///
    /// `apply` must apply every key that is not in [`NEEDS_RESTART`](ServerConfig::NEEDS_RESTART): the limits
    /// ([`Admission::set_limits`]), the drain timeout ([`Shutdown::set_timeout`]), and a new service for new connections.
    ///
    /// [`Admission::set_limits`]: crate::server::Admission::set_limits
    ///
    /// # Errors
    ///
    /// Fails if the admin listener cannot be bound or the signal handler cannot be installed.
    pub fn start_operations(
        self,
        listeners: &[(&str, Option<&TcpListener>)],
        registry: Registry,
        apply: impl Fn(&C) + Send + 'static,
    ) -> io::Result<()> {
        let Self { command_line, loaded, log, shutdown, reloads } = self;
        let admin = bind_admin(&loaded.config)?;
        let file = loaded.file.clone();
        let reload = Reload { log, metrics: reloads, shutdown: shutdown.clone() };
        let load = move || command_line.load();
        let apply = move |config: &mut C| {
            open_files::clamp_to_nofile(config.connection_limits())?;
            apply(config);
            Ok(())
        };
        tokio::spawn(reload.reload_on_sighup(loaded, load, apply)?);

        if let Some(file) = file {
            tracing::info!(file = %Printable(&file.to_string_lossy()), "configuration loaded");
        } else {
            tracing::info!("no configuration file at the default path; using the built-in defaults");
        }
        for (service, listener) in listeners.iter().copied().chain([("admin", admin.as_ref())]) {
            if let Some(listener) = listener {
                tracing::info!(service, address = %listener.local_addr()?, "listening");
            }
        }
        if let Some(admin) = admin {
            tokio::spawn(serve_admin(admin, registry, shutdown));
        }
        Ok(())
    }
}

fn log_summary(summary: &Summary) {
    let Summary { accepted, rejected, panicked, aborted } = summary;
    if *aborted > 0 {
        tracing::warn!(aborted, "drain timeout: connections aborted");
    }
    tracing::info!(accepted, rejected, panicked, aborted, "stopped");
}

#[derive(Debug)]
struct ProgramMetrics {
    log: Log,
    reloads: Arc<ReloadMetrics>,
}

impl Collector for ProgramMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.reloads.encode(&mut encoder)?;
        self.log.encode(&mut encoder)
    }
}

fn bind_admin(config: &impl ServerConfig) -> io::Result<Option<TcpListener>> {
    let backlog = u32::try_from(admin::MAX_CONCURRENT_REQUESTS).unwrap_or(u32::MAX);
    let options = socket::ListenOptions { backlog, defer_accept: false };
    config.admin().listen.0.map(|address| socket::bind(address, options)).transpose()
}

/// Serves the admin listener until the process ends. During a drain it still replies, and `/readyz` reports the drain.
async fn serve_admin(mut listener: TcpListener, registry: Registry, shutdown: Shutdown) {
    let registry = Arc::new(registry);
    let permits = Arc::new(Semaphore::new(admin::MAX_CONCURRENT_REQUESTS));
    // Not registered: the exported metrics count the services' connections only.
    let unregistered = ConnectionMetrics::default();
    // `acquire_owned` fails only if the semaphore is closed, which never happens.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let (stream, _) = accept::accept_with_backoff(&mut listener, &unregistered).await;
        let (registry, shutdown) = (Arc::clone(&registry), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            admin::serve_exchange(stream, &registry, || shutdown.started_at().is_none()).await;
        });
    }
}
