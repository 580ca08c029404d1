//! The life of a server's process: its runtime, its configuration at SIGHUP, its shutdown.
//!
//! - `runtime`: the threads and the exit code;
//! - `reload`: a new configuration for a running server;
//! - `shutdown`: the signals that begin a drain, and its deadline.

pub(crate) mod reload;
pub(crate) mod runtime;
pub(crate) mod shutdown;

pub use shutdown::Shutdown;
