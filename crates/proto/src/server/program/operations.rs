//! The content of the admin listener's pages: the service, and the configuration in force.
//!
//! It is a part of `program`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use toml::Table;

use crate::server::config::builder::{Sources, with_kept};
use crate::server::config::command_line::{Loaded, config_text};
use crate::server::config::sections::ServerConfig;
use crate::server::connection::metrics::ConnectionMetrics;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::admission::Admission;
use crate::server::observe::pages::Pages;
use crate::server::observe::status::recorder::StatusSources;
use crate::server::observe::status::{ConnectionCounts, ServiceStatus};

/// The parts of a service that its operators see.
pub struct Operations {
    /// The name of the service, such as `power`.
    pub service: &'static str,
    /// All metrics of the process.
    pub registry: Registry,
    /// The limits on connections.
    pub admission: Arc<Admission>,
    /// The counters of connections.
    pub connections: Arc<ConnectionMetrics>,
    /// The numbers that only this service has, for the status page.
    pub status: Arc<dyn ServiceStatus>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Operations {
    /// Returns the pages of the admin listener.
    pub(super) fn pages(self, shutdown: Shutdown, configuration: Arc<Mutex<Arc<str>>>) -> Pages {
        let Self { service, registry, admission, connections, status } = self;
        let metrics = Arc::clone(&connections);
        let connections = move || ConnectionCounts {
            open: admission.open() as u64,
            max: admission.limit() as u64,
            limits_reached: admission.limits_reached().counts(),
            ..connections.counts()
        };
        let sources = StatusSources {
            service,
            version: env!("CARGO_PKG_VERSION"),
            is_ready: Box::new(move || shutdown.started_at().is_none()),
            connections: Box::new(connections),
            latency: Box::new(move || metrics.latency.counts()),
            service_status: status,
            configuration,
        };
        Pages::new(registry, sources)
    }
}

/// The text of the configuration in force, for the status page.
pub(super) struct InForce {
    pub(super) text: Arc<Mutex<Arc<str>>>,
    /// The settings at the start, with their sources.
    at_start: (Table, Sources),
}

impl InForce {
    pub(super) fn new<C: ServerConfig>(loaded: &Loaded<C>) -> Self {
        // A configuration is deserialized from a TOML table, so it also serializes to one.
        let at_start = (Table::try_from(&loaded.config).unwrap_or_default(), loaded.sources.clone());
        let in_force = Self { text: Arc::new(Mutex::new(Arc::from(""))), at_start };
        in_force.set(loaded);
        in_force
    }

    /// Sets the configuration that a reload has applied. The keys that need a restart keep the values of the start.
    pub(super) fn set<C: ServerConfig>(&self, loaded: &Loaded<C>) {
        let Loaded { config, sources, .. } = loaded;
        let text = match with_kept(config, sources, C::NEEDS_RESTART, &self.at_start) {
            Some((config, sources)) => config_text::<C>(&config, &sources),
            None => config_text(config, sources),
        };
        let text = text.unwrap_or_else(|error| error.to_string());
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from(text);
    }
}
