//! The state of a server in numbers, as `/` and `/status` show it.
//!
//! It depends on `metrics` and `language`. `recorder` takes a sample each second, and makes a `Status` from the
//! samples and the current counts. A service adds its own numbers with [`ServiceStatus`].

pub(crate) mod recorder;

use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::language::Text;
use super::metrics::latency::LatencyCounts;

/// The numbers of a service that only this service has.
pub trait ServiceStatus: Send + Sync + 'static {
    /// Returns the current numbers. Each call returns the same entries in the same order.
    fn groups(&self) -> Vec<Group>;
}

/// Numbers under one heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The key in `/status`.
    pub name: &'static str,
    /// The heading on the page.
    pub title: Text,
    /// The numbers.
    pub entries: Vec<Entry>,
}

/// A number of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key in `/status`.
    pub name: &'static str,
    /// The name on the page.
    pub label: Text,
    /// The number.
    pub value: Value,
}

/// The value of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A total that only increases. It is shown with its rate.
    Counter(u64),
    /// A number that also decreases.
    Gauge(u64),
    /// Yes or no.
    Flag(bool),
}

impl Entry {
    /// Creates an entry whose name on the page is its key, as in the metrics.
    #[must_use]
    pub const fn new(name: &'static str, value: Value) -> Self {
        Self { name, label: Text::new(name, name), value }
    }

    /// Sets the name on the page.
    #[must_use]
    pub const fn with_label(self, english: &'static str, chinese: &'static str) -> Self {
        Self { label: Text::new(english, chinese), ..self }
    }
}

/// The numbers of connections.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ConnectionCounts {
    pub(crate) open: u64,
    /// The limit in force.
    pub(crate) max: u64,
    pub(crate) accepted: u64,
    /// Because of a limit.
    pub(crate) rejected: u64,
    /// Accepted connections of each endpoint.
    #[serde(serialize_with = "as_map")]
    pub(crate) by_endpoint: Vec<(String, u64)>,
    #[serde(serialize_with = "as_map")]
    pub(crate) closed: Vec<(&'static str, u64)>,
    #[serde(serialize_with = "as_map")]
    pub(crate) limits_reached: Vec<(&'static str, u64)>,
}

/// Everything that `/` and `/status` show.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// The version of this format. A change that a reader can notice increases it; a new key does not.
    pub(crate) schema: u32,
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
    pub(crate) state: State,
    /// In RFC 3339.
    pub(crate) started_at: String,
    pub(crate) now: String,
    #[serde(rename = "uptime_seconds", serialize_with = "whole_seconds")]
    pub(crate) uptime: Duration,
    pub(crate) connections: ConnectionCounts,
    pub(crate) requests: CountAndRates,
    pub(crate) latency_last_minute: Quantiles,
    #[serde(serialize_with = "groups_as_map")]
    pub(crate) groups: Vec<GroupStatus>,
    /// The configuration in force, as `--check-config` prints it.
    #[serde(serialize_with = "as_text")]
    pub(crate) configuration: Arc<str>,
    /// The last minutes, one point for each second, oldest first.
    pub(crate) history: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Ready,
    Draining,
}

/// A total and its rates. A rate is `None` right after the start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct CountAndRates {
    pub(crate) total: u64,
    /// Per second, in the last 10 s.
    #[serde(serialize_with = "rounded")]
    pub(crate) per_second_10s: Option<f64>,
    /// Per second, in the last minute.
    #[serde(serialize_with = "rounded")]
    pub(crate) per_second_60s: Option<f64>,
}

/// Quantiles of the time from a request to its reply; `None` without requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    #[serde(rename = "p50_seconds", serialize_with = "seconds")]
    pub(crate) p50: Option<Duration>,
    #[serde(rename = "p99_seconds", serialize_with = "seconds")]
    pub(crate) p99: Option<Duration>,
    #[serde(rename = "p99_9_seconds", serialize_with = "seconds")]
    pub(crate) p99_9: Option<Duration>,
}

impl Quantiles {
    fn of(latency: &LatencyCounts) -> Self {
        Self { p50: latency.quantile(0.5), p99: latency.quantile(0.99), p99_9: latency.quantile(0.999) }
    }
}

/// A [`Group`] with the rates of its counters.
#[derive(Debug)]
pub(crate) struct GroupStatus {
    pub(crate) name: &'static str,
    pub(crate) title: Text,
    pub(crate) entries: Vec<EntryStatus>,
}

#[derive(Debug)]
pub(crate) struct EntryStatus {
    pub(crate) name: &'static str,
    pub(crate) label: Text,
    pub(crate) value: ValueStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum ValueStatus {
    Counter(CountAndRates),
    Gauge(u64),
    Flag(bool),
}

/// One second of the history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// The age of the end of this second.
    #[serde(rename = "seconds_ago", serialize_with = "whole_seconds")]
    pub(crate) age: Duration,
    #[serde(serialize_with = "rounded")]
    pub(crate) requests_per_second: Option<f64>,
    #[serde(rename = "p99_seconds", serialize_with = "seconds")]
    pub(crate) p99: Option<Duration>,
    pub(crate) open_connections: u64,
}

fn as_map<K: Serialize, S: Serializer>(pairs: &[(K, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn groups_as_map<S: Serializer>(groups: &[GroupStatus], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(groups.len()))?;
    for group in groups {
        map.serialize_entry(group.name, group)?;
    }
    map.end()
}

impl Serialize for GroupStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|entry| (entry.name, entry.value)))
    }
}

fn whole_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_ref().map(Duration::as_secs_f64).serialize(serializer)
}

/// Writes a rate with three decimals: more would be noise, and the history has many.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn rounded<S: Serializer>(rate: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    rate.map(|rate| (rate * 1000.0).round() / 1000.0).serialize(serializer)
}
