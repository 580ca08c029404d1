//! Observability: log, metrics, health.
//!
//! It depends on `config` only.
//!
//! - `log`: the log, with a `rate_limit` for messages that clients can cause;
//! - `metrics`: counters, histograms and their Prometheus text;
//! - `admin`: the HTTP server for operators;
//! - `pages`: its responses: health, metrics, and pages for a browser;
//! - `status`: the numbers on these pages, and their recent history;
//! - `language`: the languages of these pages.

pub(crate) mod admin;
pub mod language;
pub mod log;
pub mod metrics;
pub(crate) mod pages;
pub mod rate_limit;
pub mod status;
