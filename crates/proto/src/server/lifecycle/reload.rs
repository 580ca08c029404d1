//! The configuration reload at SIGHUP.
//!
//! It depends on `config`, the log, metrics, `service_manager` and `shutdown`. A reload is all or nothing: an invalid
//! configuration changes nothing. The file is read on a separate thread, because a slow disk must not delay connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use prometheus_client::encoding::DescriptorEncoder;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use toml::{Table, Value};

use crate::server::config::builder::{ConfigErrors, Configuration, shorten};
use crate::server::config::command_line::Loaded;
use crate::server::config::sections::ServerConfig;
use crate::server::lifecycle::service_manager::ServiceManager;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::lifecycle::workers::TASKS_ADVICE;
use crate::server::observe::log::Log;
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::counter;

#[derive(Debug, Default)]
pub(crate) struct ReloadMetrics {
    by_result: Counters<2>,
}

impl ReloadMetrics {
    fn count(&self, is_ok: bool) {
        self.by_result.add(usize::from(!is_ok), 1);
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.by_result.series("result", &["ok", "rejected"]);
        counter(encoder, "config_reloads", "Configuration reloads at SIGHUP, by result", series)
    }
}

/// The SIGHUPs that the process gets.
#[derive(Debug)]
pub struct ReloadSignal(io::Result<Signal>);

impl ReloadSignal {
    /// Installs the signal handler. A program calls this first, because the default action of SIGHUP ends the process. A
    /// SIGHUP before the server runs causes a reload at its start, because the file may have been read before. A failure is
    /// reported when the server starts.
    #[must_use]
    pub fn catch() -> Self {
        // The handler and the signals that it has recorded outlive this runtime: tokio delivers them in the next one.
        let runtime = Builder::new_current_thread().enable_io().build();
        Self(runtime.and_then(|runtime| {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())
        }))
    }
}

/// The parts of a server that a reload uses and that every server has.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Gets the new log filter.
    pub log: Log,
    /// Counts reloads.
    pub metrics: Arc<ReloadMetrics>,
    /// Stops reloads once it is triggered.
    pub shutdown: Shutdown,
    /// Is notified of the start and the end of each reload.
    pub manager: ServiceManager,
}

impl Reload {
    /// Reloads the configuration at each SIGHUP for as long as the returned future is polled.
    ///
    /// `started` is the configuration that the server started with. `load` loads it again from the same sources. `apply`
    /// lowers limits to fit the process and applies the configuration to the server; if it fails, the server keeps the
    /// current configuration.
    ///
    /// # Errors
    ///
    /// Fails if the signal handler could not be installed.
    pub(crate) fn reload_on_sighup<C, L, A>(
        self,
        signal: ReloadSignal,
        started: Loaded<C>,
        load: L,
        apply: A,
    ) -> io::Result<impl Future<Output = ()>>
    where
        C: ServerConfig + Send + 'static,
        L: Fn() -> Result<Loaded<C>, ConfigErrors> + Send + Sync + 'static,
        A: Fn(&mut Loaded<C>) -> io::Result<()>,
    {
        let mut signal = signal.0?;
        let load = Arc::new(load);
        Ok(async move {
            let at_start = settings(&started.config);
            let (mut current, mut tls) = (at_start.clone(), started.tls.hash);
            while signal.recv().await.is_some() {
                if self.shutdown.started_at().is_some() {
                    tracing::info!("config reload skipped: draining");
                    continue;
                }
                self.manager.reloading();
                let applied = load_on_thread(Arc::clone(&load))
                    .await
                    .and_then(|loaded| self.apply(started.file.as_ref(), loaded, &apply));
                self.metrics.count(applied.is_ok());
                self.manager.reloaded(applied.is_ok());
                match applied {
                    Ok((new, new_tls)) => {
                        let tls_change = TlsChange::new(tls, new_tls);
                        log_changes(C::NEEDS_RESTART, &at_start, &current, &new, tls_change);
                        current = new;
                        if tls_change != TlsChange::Removed {
                            tls = new_tls;
                        }
                    }
                    Err(reason) => {
                        tracing::error!(reason, "config reload rejected; keeping the current configuration");
                    }
                }
            }
        })
    }

    /// Applies the loaded configuration, and returns its settings and the hash of its TLS files.
    fn apply<C: ServerConfig>(
        &self,
        file: Option<&PathBuf>,
        mut loaded: Loaded<C>,
        apply: &impl Fn(&mut Loaded<C>) -> io::Result<()>,
    ) -> Result<(Settings, u64), String> {
        // If the server started with a file, a missing file is an error and does not mean the defaults.
        if let (Some(file), None) = (file, &loaded.file) {
            return Err(format!("cannot read {}: the file has been removed", file.display()));
        }
        apply(&mut loaded).map_err(|error| error.to_string())?;
        self.log.set_filter(&loaded.config.log().level);
        Ok((settings(&loaded.config), loaded.tls.hash))
    }
}

/// How a reload changes the files of TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsChange {
    None,
    Replaced,
    /// The configuration names no certificate any more. `tls://` endpoints keep the current one until a restart.
    Removed,
}

impl TlsChange {
    /// Compares the hashes of the files. That of no files is 0.
    fn new(current: u64, new: u64) -> Self {
        match (current, new) {
            (current, new) if current == new => Self::None,
            (_, 0) => Self::Removed,
            _ => Self::Replaced,
        }
    }
}

/// Calls `load` on a new thread. It is not one of the runtime's blocking threads, because tokio panics if it cannot start
/// one. The process does not wait for it at exit.
async fn load_on_thread<C, L>(load: Arc<L>) -> Result<Loaded<C>, String>
where
    C: Send + 'static,
    L: Fn() -> Result<Loaded<C>, ConfigErrors> + Send + Sync + 'static,
{
    let (sender, loaded) = oneshot::channel();
    // The receiver is gone if the server has stopped.
    let load = move || drop(sender.send(load()));
    let thread = thread::Builder::new().name("reload".to_owned()).spawn(load);
    thread.map_err(|error| format!("cannot start a thread: {error}; {TASKS_ADVICE}"))?;
    match loaded.await {
        Ok(loaded) => loaded.map_err(|errors| errors.to_string()),
        Err(_) => Err("loading it panicked".to_owned()),
    }
}

/// Logs the settings that have changed since the last reload, and those that differ from the start and need a restart.
fn log_changes(needs_restart: &[&str], at_start: &Settings, current: &Settings, new: &Settings, tls_change: TlsChange) {
    let needs_restart = |key: &str| {
        let is_tls = key.starts_with("tls.") || key == "admin.client_ca";
        needs_restart.contains(&key) || (is_tls && tls_change == TlsChange::Removed)
    };

    let diff = |before: &Settings, restart: bool| {
        let is_changed = |(key, value): &&(String, Value)| {
            needs_restart(key) == restart && !before.contains(&(key.clone(), value.clone()))
        };
        new.iter()
            .filter(is_changed)
            .map(|(key, value)| shorten(format!("{key} = {value}")))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (changed, settings) = (diff(current, false), diff(at_start, true));
    if tls_change == TlsChange::Replaced {
        tracing::info!("TLS files replaced; new connections use them");
    }
    if !changed.is_empty() {
        tracing::info!(changed, "config reloaded; new connections use it");
    } else if settings.is_empty() && tls_change == TlsChange::None {
        tracing::info!("config reloaded: no changes");
    }
    if !settings.is_empty() {
        tracing::warn!(settings, "config changes need a restart");
    }
}

/// Every setting with its dotted key.
type Settings = Vec<(String, Value)>;

fn settings<C: Configuration>(config: &C) -> Settings {
    fn flatten(prefix: &str, table: Table, settings: &mut Settings) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, settings),
                value => settings.push((format!("{prefix}{key}"), value)),
            }
        }
    }
    let mut settings = Settings::new();
    // A configuration is deserialized from a TOML table, so it also serializes to one.
    flatten("", Table::try_from(config).unwrap_or_default(), &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_sighup_before_the_runtime_is_delivered_in_it() {
        let mut signal = ReloadSignal::catch().0.unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(runtime.block_on(signal.recv()), Some(()));
    }
}
