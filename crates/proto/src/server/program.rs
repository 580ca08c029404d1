//! The program of a server: from its command line to its exit code.
//!
//! It is the top of `proto::server`: it may use every folder, and no folder uses it. The `main` of a server
//! [catches SIGHUP](ReloadSignal::catch), parses its arguments, [configures](Program::configure) the program and
//! [runs](Program::run) it. The server's own code then binds the listeners,
//! [starts the operations](Startup::start_operations) and serves.

mod admin;
mod operations;

use std::fmt;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::endpoint::Endpoint;
use crate::server::config::builder::{ConfigBuilder, is_valid_with};
use crate::server::config::command_line::{CommandLine, Loaded, print_config, report_errors};
use crate::server::config::endpoints::ServerEndpoint;
use crate::server::config::sections::ServerConfig;
use crate::server::connection::metrics::Summary;
use crate::server::lifecycle::reload::{Reload, ReloadMetrics, ReloadSignal};
use crate::server::lifecycle::runtime;
use crate::server::lifecycle::service_manager::ServiceManager;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::lifecycle::watchdog::Heartbeats;
use crate::server::lifecycle::workers::{accept_loops, workers_of};
use crate::server::listener::accept::Listener;
use crate::server::listener::endpoint::{Binder, EndpointListener, reason_of};
use crate::server::listener::handshake::{HandshakeSettings, Handshakes, ListenerKind, warn_if_expired};
use crate::server::listener::inherited::InheritedSockets;
use crate::server::listener::open_files;
use crate::server::listener::socket::ListenOptions;
use crate::server::listener::unix::SocketFile;
use crate::server::observe::log::{self, Log};
use crate::wire::quoted::Printable;

use self::operations::InForce;
pub use self::operations::Operations;

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
        let report = |errors| report_errors(program, &errors);
        if options.healthcheck && !options.check_config {
            let config = command_line.load_for_healthcheck().map_err(report)?;
            return Err(runtime::healthcheck(program, healthcheck(&config)));
        }
        let loaded = command_line.load::<C>().map_err(report)?;
        if options.check_config {
            return Err(print_config(program, &loaded.config, &loaded.sources));
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
        let inherited = match InheritedSockets::from_environment() {
            Ok(inherited) => inherited,
            Err(error) => return runtime::fail_with_log(command_line.program, &log, error),
        };
        let program = command_line.program;
        let workers = workers_of(loaded.config.workers());
        let accept_loops = accept_loops(workers);
        let shutdown = Shutdown::new(loaded.config.timeouts().drain.get());
        let manager = ServiceManager::from_environment();
        let heartbeats = Heartbeats::new(manager.watchdog_timeout());
        let admin_files = Arc::<Mutex<Vec<SocketFile>>>::default();
        let listeners = loaded.config.listeners();
        let sockets = listeners.iter().flat_map(|(_, endpoints)| *endpoints).map(|endpoint| match endpoint {
            Endpoint::Tcp(_) | Endpoint::Tls(_) => accept_loops,
            Endpoint::Unix(_) | Endpoint::Inherited { .. } => 1,
        });
        let internal: usize = loaded.config.internal_listeners().iter().map(|(_, endpoints)| endpoints.len()).sum();
        let listening_files =
            inherited.len() + sockets.sum::<usize>() + internal + loaded.config.admin().listen.as_slice().len();
        let other_files = listening_files + loaded.config.internal_files();
        let mut startup = Startup {
            handshakes: Arc::new(Handshakes::new(handshake_settings(&loaded))),
            reload_signal,
            command_line,
            loaded,
            log: log.clone(),
            shutdown: shutdown.clone(),
            reloads: Arc::default(),
            inherited,
            other_files,
            accept_loops,
            listening: Vec::new(),
            manager: manager.clone(),
            heartbeats,
            admin_files: Arc::clone(&admin_files),
        };
        let exit_code = runtime::run(program, workers, &log, &shutdown, manager, async move {
            open_files::clamp_to_nofile(startup.loaded.config.connection_limits(), startup.other_files)?;
            let summary = serve(startup).await?;
            log_summary(&summary);
            Ok(())
        });
        // The admin listeners stop only with the process.
        admin_files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        exit_code
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
    handshakes: Arc<Handshakes>,
    /// The inherited sockets that no endpoint has taken yet.
    inherited: InheritedSockets,
    /// The maximum number of files that are not those of clients: of listening sockets, including inherited ones that
    /// no endpoint names, and of connections to other servers.
    other_files: usize,
    /// The number of accept loops of each TCP endpoint for clients.
    accept_loops: usize,
    listening: Vec<Listening>,
    manager: ServiceManager,
    heartbeats: Heartbeats,
    /// The files of the admin listeners' Unix sockets.
    admin_files: Arc<Mutex<Vec<SocketFile>>>,
}

/// The listening sockets of an endpoint, for the log.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    service: &'static str,
    address: String,
    inherited: Option<String>,
}

/// The key of the admin listener.
const ADMIN_LISTEN: &str = "admin.listen";

fn handshake_settings<C: ServerConfig>(loaded: &Loaded<C>) -> HandshakeSettings {
    HandshakeSettings {
        timeout: loaded.config.timeouts().handshake.get(),
        trusted: loaded.config.proxy_protocol().trusted.clone(),
        tls: loaded.tls.clone(),
    }
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

    /// Returns the metrics of the log, of reloads and of TLS handshakes.
    pub fn metrics(&self) -> impl Collector + use<C> {
        ProgramMetrics {
            log: self.log.clone(),
            reloads: Arc::clone(&self.reloads),
            handshakes: Arc::clone(&self.handshakes),
        }
    }

    /// Opens the listening sockets of `service`, which is its name in the log, at the endpoints of `key`. Returns an
    /// empty list if the listener is off, or if `key` is not one of [`ServerConfig::listeners`] and
    /// [`internal_listeners`](ServerConfig::internal_listeners).
    ///
    /// # Errors
    ///
    /// Fails if a socket cannot listen on its endpoint. The error names the key, its source and how to choose another
    /// endpoint. Fails too if the configuration has no such key.
    pub fn bind(
        &mut self,
        service: &'static str,
        key: &'static str,
        options: ListenOptions,
    ) -> io::Result<Vec<EndpointListener>> {
        self.bind_all(service, key, options, ListenerKind::Service)
    }

    /// Like [`bind`](Self::bind), for connections of other processes of the service: they begin without a PROXY
    /// protocol header, also if they come from an address of `proxy_protocol.trusted`.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_internal(
        &mut self,
        service: &'static str,
        key: &'static str,
        options: ListenOptions,
    ) -> io::Result<Vec<EndpointListener>> {
        self.bind_all(service, key, options, ListenerKind::Internal)
    }

    /// Like [`bind`](Self::bind), for a service that is [web](crate::server::Service::IS_WEB): a client gets the page of
    /// its [site](crate::server::Service::site), or opens a WebSocket connection.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_web(
        &mut self,
        service: &'static str,
        key: &'static str,
        options: ListenOptions,
    ) -> io::Result<Vec<EndpointListener>> {
        self.bind_all(service, key, options, ListenerKind::Web)
    }

    fn bind_all(
        &mut self,
        service: &'static str,
        key: &'static str,
        options: ListenOptions,
        kind: ListenerKind,
    ) -> io::Result<Vec<EndpointListener>> {
        // Without this check, a mistyped key would be a listener that is off.
        if !ConfigBuilder::<C>::from_defaults().keys().iter().any(|known| known == key) {
            let problem = format!("cannot listen: the configuration has no key {key}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let mut all = self.loaded.config.all_listeners();
        all.push((ADMIN_LISTEN, self.loaded.config.admin().listen.as_slice()));
        let endpoints = all.into_iter().filter(|(listener, _)| *listener == key).flat_map(|(_, endpoints)| endpoints);
        let mut binder = Binder {
            inherited: &mut self.inherited,
            handshakes: &self.handshakes,
            heartbeats: &self.heartbeats,
            kind,
            lists_connections: !self.loaded.config.admin().listen.as_slice().is_empty(),
            options,
            accept_loops: match kind {
                ListenerKind::Service | ListenerKind::Web => self.accept_loops,
                ListenerKind::Internal | ListenerKind::Admin => 1,
            },
        };
        let mut listeners = Vec::new();
        for endpoint in endpoints {
            let opened = binder.bind(endpoint);
            listeners
                .extend(opened.map_err(|error| listen_error(&self.loaded, &self.command_line, key, endpoint, &error))?);
        }
        self.listening.extend(listeners.iter().map(|listener| Listening {
            service,
            address: listener.endpoint(),
            inherited: listener.inherited().map(str::to_owned),
        }));
        // An endpoint with several accept loops is one.
        self.listening.dedup();
        Ok(listeners)
    }

    /// Starts the admin listener, which shows the `operations`, and the reload at SIGHUP, which calls `apply` with each
    /// new configuration. Then notifies the service manager that the server is ready, and starts the watchdog.
    ///
    /// `apply` must apply every key that is not in [`NEEDS_RESTART`](ServerConfig::NEEDS_RESTART): the limits
    /// ([`Admission::set_limits`]), the drain timeout ([`Shutdown::set_timeout`]), and a new service for new
    /// connections. The program itself applies `[log]`, `[tls]`, `[proxy_protocol]`, `[admin]` and
    /// `timeouts.handshake`.
    ///
    /// [`Admission::set_limits`]: crate::server::Admission::set_limits
    ///
    /// # Errors
    ///
    /// Fails if the admin listener cannot be bound, its thread cannot be started, or the signal handler could not be
    /// installed.
    pub fn start_operations(mut self, operations: Operations, apply: impl Fn(&C) + Send + 'static) -> io::Result<()> {
        let mut listeners = self.bind_all("admin", ADMIN_LISTEN, admin::OPTIONS, ListenerKind::Admin)?;
        let has_admin = !listeners.is_empty();
        let files = listeners.iter_mut().filter_map(EndpointListener::take_file);
        self.admin_files.lock().unwrap_or_else(PoisonError::into_inner).extend(files);
        let in_force = InForce::new(&self.loaded);
        if has_admin {
            admin::start(listeners, operations.pages(self.shutdown.clone(), Arc::clone(&in_force.text)))?;
        }
        let Self { reload_signal, command_line, loaded, log, shutdown, reloads, handshakes, inherited, .. } = self;
        let (manager, heartbeats, other_files) = (self.manager, self.heartbeats, self.other_files);
        let file = loaded.file.clone();
        warn_if_expired(&loaded.tls);
        warn_if_unused(&loaded.config);
        let reload = Reload { log, metrics: reloads, shutdown, manager: manager.clone() };
        let load = move || command_line.load();
        let apply = move |loaded: &mut Loaded<C>| {
            open_files::clamp_to_nofile(loaded.config.connection_limits(), other_files)?;
            handshakes.set(handshake_settings(loaded));
            warn_if_expired(&loaded.tls);
            apply(&loaded.config);
            in_force.set(loaded);
            Ok(())
        };
        tokio::spawn(reload.reload_on_sighup(reload_signal, loaded, load, apply)?);

        if let Some(names) = inherited.untaken() {
            tracing::warn!(%names, "inherited sockets that no endpoint names; they stay open");
        }
        if let Some(file) = file {
            tracing::info!(file = %Printable(&file.to_string_lossy()), "configuration loaded");
        } else {
            tracing::info!("no configuration file at the default path; using the built-in defaults");
        }
        if !has_admin {
            tracing::info!("admin listener: off");
        }
        // Last, because the lines say that the server has started.
        for Listening { service, address, inherited } in self.listening {
            tracing::info!(service, %address, inherited, "listening");
        }
        manager.ready();
        tokio::spawn(heartbeats.watch(move || manager.watchdog()));
        Ok(())
    }
}

/// Returns the error of a listener: what failed, the key and its source, the reason and the remedy.
fn listen_error<C: ServerConfig>(
    Loaded { config, sources, .. }: &Loaded<C>,
    command_line: &CommandLine,
    key: &str,
    endpoint: &ServerEndpoint,
    error: &io::Error,
) -> io::Error {
    let reason = reason_of(error);
    // Other errors contain their remedy.
    let remedy = error.raw_os_error().map(|_| {
        let or_off = if is_valid_with(config, key, "") { ", or \"\" for off" } else { "" };
        format!(". Choose another with {}{or_off}.", command_line.argument_of(key))
    });
    let (source, remedy) = (sources.describe(key), remedy.unwrap_or_default());
    io::Error::new(error.kind(), format!("cannot listen on {endpoint} ({key}, {source}): {reason}{remedy}"))
}

/// Logs a warning for each setting that has no effect because no endpoint uses TLS.
fn warn_if_unused(config: &impl ServerConfig) {
    let use_tls = |endpoints: &[ServerEndpoint]| endpoints.iter().any(ServerEndpoint::is_tls);
    let services = config.all_listeners().iter().any(|(_, endpoints)| use_tls(endpoints));
    let admin = use_tls(config.admin().listen.as_slice());
    for (key, value, is_used) in [
        ("tls.certificate", &config.tls().certificate, services || admin),
        ("tls.client_ca", &config.tls().client_ca, services),
        ("admin.client_ca", &config.admin().client_ca, admin),
    ] {
        if !value.is_empty() && !is_used {
            tracing::warn!(key, "the setting has no effect: none of its endpoints uses TLS");
        }
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
    handshakes: Arc<Handshakes>,
}

impl Collector for ProgramMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.handshakes.encode(&mut encoder)?;
        self.reloads.encode(&mut encoder)?;
        self.log.encode(&mut encoder)
    }
}
