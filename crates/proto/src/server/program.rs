//! The program of a server: from its command line to its exit code.
//!
//! It is the top of `proto::server`: it may use every folder, and no folder uses it. The `main` of a server
//! [catches SIGHUP](ReloadSignal::catch), parses its arguments, [configures](Program::configure) the program and
//! [runs](Program::run) it. The server's own code then binds the listeners,
//! [starts the operations](Startup::start_operations) and serves.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::server::config::command_line::{CommandLine, Loaded, print_config, report_errors};
use crate::server::config::sections::ServerConfig;
use crate::server::connection::metrics::{ConnectionMetrics, Summary};
use crate::server::connection::stream::Stream;
use crate::server::lifecycle::reload::{Reload, ReloadMetrics, ReloadSignal};
use crate::server::lifecycle::runtime;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::lifecycle::workers::TASKS_ADVICE;
use crate::server::listener::{accept, open_files, socket};
use crate::server::observe::admin;
use crate::server::observe::log::{self, Log};
use crate::wire::quoted::Printable;

/// A program with a valid configuration, before anything is started.
#[derive(Debug)]
pub struct Program<C> {
    reload_signal: ReloadSignal,
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
        reload_signal: ReloadSignal,
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
        Ok(Self { reload_signal, command_line, loaded })
    }

    /// Starts the log and the runtime, runs `serve`, and returns the exit code.
    ///
    /// The first SIGTERM or SIGINT starts the drain; a second one aborts.
    pub fn run<S>(self, serve: impl FnOnce(Startup<C>) -> S + Send + 'static) -> ExitCode
    where
        S: Future<Output = io::Result<Summary>> + Send + 'static,
    {
        let Self { reload_signal, command_line, loaded } = self;
        let log = match log::start(loaded.config.log()) {
            Ok(log) => log,
            Err(error) => return runtime::fail(command_line.program, error),
        };
        let workers = loaded.config.workers();
        let shutdown = Shutdown::new(loaded.config.timeouts().drain.get());
        let reloads = Arc::default();
        let mut startup =
            Startup { reload_signal, command_line, loaded, log: log.clone(), shutdown: shutdown.clone(), reloads };
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
    reload_signal: ReloadSignal,
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
    /// Fails if the admin listener cannot be bound, its thread cannot be started, or the signal handler could not be
    /// installed.
    pub fn start_operations(
        self,
        listeners: &[(&str, Option<&TcpListener>)],
        registry: Registry,
        apply: impl Fn(&C) + Send + 'static,
    ) -> io::Result<()> {
        let Self { reload_signal, command_line, loaded, log, shutdown, reloads } = self;
        let admin = loaded.config.admin().listen.0;
        let admin = admin.map(|address| start_admin(address, registry, shutdown.clone())).transpose()?;
        let file = loaded.file.clone();
        let reload = Reload { log, metrics: reloads, shutdown };
        let load = move || command_line.load();
        let apply = move |config: &mut C| {
            open_files::clamp_to_nofile(config.connection_limits())?;
            apply(config);
            Ok(())
        };
        tokio::spawn(reload.reload_on_sighup(reload_signal, loaded, load, apply)?);

        if let Some(file) = file {
            tracing::info!(file = %Printable(&file.to_string_lossy()), "configuration loaded");
        } else {
            tracing::info!("no configuration file at the default path; using the built-in defaults");
        }
        let listeners =
            listeners.iter().filter_map(|(service, listener)| Some((*service, listener.as_ref()?.local_addr())));
        for (service, address) in listeners.chain(admin.map(|address| ("admin", Ok(address)))) {
            tracing::info!(service, address = %address?, "listening");
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

/// The length of the admin listener's accept queue. It is long because of floods: while their connections are accepted,
/// it holds a health check behind them.
const ADMIN_BACKLOG: u32 = 1024;

/// Binds the admin listener, serves it until the process ends, and returns its address. During a drain it still
/// replies, and `/readyz` reports the drain.
///
/// It has a separate thread, which the kernel schedules beside those of the services: their load does not delay it, and
/// its load takes the CPU time of one thread at most. The thread does not keep the process from exiting.
fn start_admin(address: SocketAddr, registry: Registry, shutdown: Shutdown) -> io::Result<SocketAddr> {
    // With deferred accept, the request is there when its connection is accepted.
    let options = socket::ListenOptions {
        backlog: ADMIN_BACKLOG,
        defer_accept: true,
        buffers: socket::SocketBuffers { send: 64 * 1024, ..Default::default() },
    };
    let listener = socket::bind(address, options)?;
    let address = listener.local_addr()?;
    // An accepted connection inherits this. Closing one before its client has closed sends a RST, and the kernel drops
    // the part of the response that was not read, instead of keeping it after the exchange (socket(7), `SO_LINGER`).
    SockRef::from(&listener).set_linger(Some(Duration::ZERO))?;
    let listener = listener.into_std()?;
    let (result, started) = mpsc::channel();
    let serve = move |result: &mpsc::Sender<io::Result<()>>| {
        // Built on this thread: tokio panics if a runtime is dropped on a thread of another runtime, even after an error.
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut listener = TcpListener::from_std(listener)?;
            // This and the other send cannot fail: the receiver waits for one of them.
            let _ = result.send(Ok(()));
            // Not registered: the exported metrics count the services' connections only.
            let unregistered = ConnectionMetrics::default();
            let accept = async || accept::accept_with_backoff(&mut listener, &unregistered).await.0;
            let is_taken = |stream: &TcpStream| stream.send_queue().is_empty;
            admin::serve(accept, is_taken, registry, move || shutdown.started_at().is_none()).await;
            Ok(())
        })
    };
    let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = serve(&result) {
            let _ = result.send(Err(error));
        }
    });
    // This blocks only until the thread runs, at the start of the program.
    let thread = thread.map_err(|error| io::Error::new(error.kind(), format!("{error}; {TASKS_ADVICE}")));
    match thread.and_then(|_detached| started.recv().unwrap_or_else(|ended| Err(io::Error::other(ended)))) {
        Ok(()) => Ok(address),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot start the admin thread: {error}"))),
    }
}
