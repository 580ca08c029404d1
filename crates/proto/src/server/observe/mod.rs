//! Observability: log, metrics, health.
//!
//! It depends on `config`, and on the text of `wire` for what a peer has sent.
//!
//! - `log`: the log, with a `rate_limit` for messages that clients can cause;
//! - `metrics`: counters, histograms and their Prometheus text;
//! - `admin`: the HTTP server for operators;
//! - `pages`: its responses: health, metrics, and pages for a browser; `browser_headers` restrict the browser;
//! - `status`: the numbers on the status page, and their recent history;
//! - `connections`: the open connections, and `slow_log`: the slowest replies, each for a page;
//! - `language`: the languages of these pages; `preferences`: the types and languages that a client accepts.

pub(crate) mod admin;
pub(crate) mod browser_headers;
pub(crate) mod connections;
pub mod language;
pub mod log;
pub mod metrics;
pub(crate) mod pages;
mod preferences;
pub mod rate_limit;
pub(crate) mod slow_log;
pub mod status;
