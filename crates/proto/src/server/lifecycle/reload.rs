//! SIGHUP: the configuration is read again, and what can change without a restart changes.
//!
//! All or nothing: a configuration that is not right changes nothing. Files are read past the threads that serve, since
//! a file may be slow to come.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use toml::{Table, Value};

use crate::server::config::builder::{ConfigErrors, Configuration};
use crate::server::config::command_line::Loaded;
use crate::server::config::sections::ServerConfig;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::observe::log::Log;
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::counter;

/// The metrics of reloads.
#[derive(Debug, Default)]
pub(crate) struct ReloadMetrics {
    by_result: Counters<2>,
}

impl ReloadMetrics {
    fn count(&self, is_ok: bool) {
        self.by_result.add(usize::from(!is_ok), 1);
    }

    /// Encodes the metrics for Prometheus.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let results = [("ok", 0), ("rejected", 1)];
        let series = results.map(|(result, index)| ([("result", result)], self.by_result.read(index)));
        counter(encoder, "config_reloads", "How often the configuration was read again at SIGHUP", series)
    }
}

/// What of a server a new configuration concerns, whichever server it is.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Its log, which gets a new level.
    pub log: Log,
    /// Where reloads are counted.
    pub metrics: Arc<ReloadMetrics>,
    /// Its shutdown, after which nothing is new.
    pub shutdown: Shutdown,
}

impl Reload {
    /// Follows SIGHUP for as long as it is awaited. The handler is in place when this is called.
    ///
    /// `load` reads the configuration as at the start. `apply` fits a valid one to the process and applies it to the
    /// server; where it fails, the server keeps the configuration that it has. Until the first SIGHUP that is `started`.
    ///
    /// # Errors
    ///
    /// If the handler cannot be installed.
    pub(crate) fn reload_on_sighup<C, L, A>(
        self,
        started: Loaded<C>,
        load: L,
        apply: A,
    ) -> io::Result<impl Future<Output = ()>>
    where
        C: ServerConfig + Send + 'static,
        L: Fn() -> Result<Loaded<C>, ConfigErrors> + Send + Sync + 'static,
        A: Fn(&mut C) -> io::Result<()>,
    {
        let mut hangup = signal(SignalKind::hangup())?;
        let load = Arc::new(load);
        Ok(async move {
            let at_start = flat(&started.config);
            let mut current = at_start.clone();
            while hangup.recv().await.is_some() {
                if self.shutdown.started_at().is_some() {
                    tracing::info!("config reload skipped: draining");
                    continue;
                }
                let load = Arc::clone(&load);
                let loaded = match spawn_blocking(move || load()).await {
                    Ok(loaded) => loaded.map_err(|problems| problems.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let applied = loaded.and_then(|loaded| self.apply(started.file.as_ref(), loaded, &apply));
                self.metrics.count(applied.is_ok());
                match applied {
                    Ok(settings) => {
                        tell(C::NEEDS_RESTART, &at_start, &current, &settings);
                        current = settings;
                    }
                    Err(reason) => {
                        tracing::error!(reason, "config reload rejected; keeping the current configuration");
                    }
                }
            }
        })
    }

    /// Has the server go by what was loaded, and gives its settings.
    fn apply<C: ServerConfig>(
        &self,
        file: Option<&PathBuf>,
        loaded: Loaded<C>,
        apply: &impl Fn(&mut C) -> io::Result<()>,
    ) -> Result<Settings, String> {
        // A file that was there at the start and is missing now is an oversight, and no wish to have the defaults.
        if let (Some(file), None) = (file, &loaded.file) {
            return Err(format!("{}: the file is gone", file.display()));
        }
        let mut config = loaded.config;
        apply(&mut config).map_err(|error| error.to_string())?;
        self.log.set_filter(&config.log().level);
        Ok(flat(&config))
    }
}

/// Says what is new, and what of the configuration takes a restart to be so.
fn tell(needs_restart: &[&str], at_start: &Settings, current: &Settings, wanted: &Settings) {
    let other = |before: &Settings, of_start: bool| {
        let differs = |(key, value): &&(String, Value)| {
            needs_restart.contains(&key.as_str()) == of_start && !before.contains(&(key.clone(), value.clone()))
        };
        wanted.iter().filter(differs).map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
    };
    match other(current, false) {
        none if none.is_empty() => tracing::info!("config reloaded: no changes"),
        changed => tracing::info!(changed, "config reloaded; new connections use it"),
    }
    let settings = other(at_start, true);
    if !settings.is_empty() {
        tracing::warn!(settings, "config changes need a restart");
    }
}

/// Every setting with its dotted key.
type Settings = Vec<(String, Value)>;

fn flat<C: Configuration>(config: &C) -> Settings {
    fn lay(prefix: &str, table: Table, settings: &mut Settings) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => lay(&format!("{prefix}{key}."), inner, settings),
                value => settings.push((format!("{prefix}{key}"), value)),
            }
        }
    }
    let mut settings = Settings::new();
    // What could be read as TOML can be written as such.
    lay("", Table::try_from(config).unwrap_or_default(), &mut settings);
    settings
}
