//! Observability: log, metrics, health.
//!
//! It depends on `config` only.
//!
//! - `log`: the log, with a `rate_limit` for messages that clients can cause;
//! - `metrics`: counters, histograms and their Prometheus text;
//! - `admin`: the HTTP server for health and metrics.

pub(crate) mod admin;
pub mod log;
pub mod metrics;
pub mod rate_limit;
