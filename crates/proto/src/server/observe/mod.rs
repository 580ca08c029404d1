//! What an operator sees of a server: log, metrics, health.
//!
//! - `log`: the log, with a `rate_limit` for lines that clients can cause;
//! - `metrics`: counters, histograms and their Prometheus text;
//! - `admin`: the HTTP exchange for health and metrics.

pub(crate) mod admin;
pub mod log;
pub mod metrics;
pub(crate) mod rate_limit;
