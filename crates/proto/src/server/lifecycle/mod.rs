//! The life of a server process: its runtime, its reloads, its shutdown and its service manager.
//!
//! It depends on `config` and `observe`.
//!
//! - `runtime`: the threads and the exit code;
//! - `workers`: the default number of worker threads;
//! - `reload`: the configuration reload at SIGHUP;
//! - `shutdown`: the signals that start a drain, and its deadline;
//! - `service_manager`: notifications to systemd;
//! - `watchdog`: whether the accept loops make progress, for the service manager.

pub(crate) mod reload;
pub(crate) mod runtime;
pub(crate) mod service_manager;
pub(crate) mod shutdown;
pub(crate) mod watchdog;
pub(crate) mod workers;

pub use reload::ReloadSignal;
pub use shutdown::Shutdown;
