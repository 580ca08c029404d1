//! The life of a server process: its runtime, its reloads and its shutdown.
//!
//! It depends on `config` and `observe`.
//!
//! - `runtime`: the threads and the exit code;
//! - `workers`: the default number of worker threads;
//! - `reload`: the configuration reload at SIGHUP;
//! - `shutdown`: the signals that start a drain, and its deadline.

pub(crate) mod reload;
pub(crate) mod runtime;
pub(crate) mod shutdown;
pub(crate) mod workers;

pub use reload::ReloadSignal;
pub use shutdown::Shutdown;
