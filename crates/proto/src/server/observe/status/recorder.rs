//! Takes the samples from which rates and histories are computed. It depends on the types in `status`.
//!
//! A sample is taken each second, on the thread of the admin listener, and the last `MAX_SAMPLES` are kept. Nothing is
//! added to the path of a request: a sample reads the counters that the metrics read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{
    ConnectionCounts, CountAndRates, Entry, EntryStatus, Group, GroupStatus, Point, Quantiles, ServiceStatus, State,
    Status, Value, ValueStatus,
};
use crate::server::observe::metrics::latency::LatencyCounts;
#[cfg(test)]
use crate::server::observe::metrics::latency::LatencyHistogram;

/// The time between two samples.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The number of samples that are kept: 5 minutes.
const MAX_SAMPLES: usize = 300;

const SHORT_WINDOW: Duration = Duration::from_secs(10);
const LONG_WINDOW: Duration = Duration::from_mins(1);

/// Where the numbers come from.
pub(crate) struct StatusSources {
    /// The name of the service, such as `power`.
    pub(crate) service: &'static str,
    /// The version of the program.
    pub(crate) version: &'static str,
    /// Whether the server takes new connections, which it does until the drain.
    pub(crate) is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) connections: Box<dyn Fn() -> ConnectionCounts + Send + Sync>,
    pub(crate) latency: Box<dyn Fn() -> LatencyCounts + Send + Sync>,
    pub(crate) service_status: Arc<dyn ServiceStatus>,
    /// The configuration in force. A reload replaces it.
    pub(crate) configuration: Arc<Mutex<Arc<str>>>,
}

/// The samples of a server, and the sources of its current numbers.
pub(crate) struct StatusRecorder {
    sources: StatusSources,
    started: Instant,
    started_at: SystemTime,
    /// Oldest first; never empty.
    samples: Mutex<VecDeque<Sample>>,
}

/// The counts at one time.
struct Sample {
    at: Instant,
    latency: LatencyCounts,
    /// The value of each entry of each group, in their order.
    entries: Vec<u64>,
    open_connections: u64,
    /// Requests per second since the sample before.
    requests_per_second: Option<f64>,
    /// The quantile of the requests since the sample before.
    p99: Option<Duration>,
}

impl StatusRecorder {
    /// Takes the first sample.
    pub(crate) fn new(sources: StatusSources) -> Self {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let first = Sample::take(&sources, started, None);
        Self { sources, started, started_at, samples: Mutex::new(VecDeque::from([first])) }
    }

    pub(crate) fn sources(&self) -> &StatusSources {
        &self.sources
    }

    /// Takes a sample. The caller does so each [`SAMPLE_INTERVAL`].
    pub(crate) fn sample(&self) {
        let mut samples = self.samples();
        let sample = Sample::take(&self.sources, Instant::now(), samples.back());
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Returns the current status. The rates are those since the samples at the beginnings of their windows, or since
    /// the start.
    pub(crate) fn status(&self) -> Status {
        let StatusSources { service, version, is_ready, connections, latency, service_status, configuration } =
            &self.sources;
        let (samples, now) = (self.samples(), Instant::now());
        let (latency, groups) = (latency(), service_status.groups());
        let windows = Windows::new(&samples, now);
        Status {
            schema: 1,
            service,
            version,
            state: if is_ready() { State::Ready } else { State::Draining },
            started_at: rfc3339(self.started_at),
            now: rfc3339(SystemTime::now()),
            uptime: now.saturating_duration_since(self.started),
            connections: connections(),
            requests: windows.rates(latency.total(), |sample| sample.latency.total()),
            latency_last_minute: windows.quantiles(&latency),
            groups: windows.groups(groups),
            configuration: Arc::clone(&configuration.lock().unwrap_or_else(PoisonError::into_inner)),
            history: samples.iter().map(|sample| sample.point(now)).collect(),
        }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        // A panic while the lock is held, of a service's `groups`, leaves the samples as they were.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The samples with which rates begin.
struct Windows<'a> {
    now: Instant,
    short: Option<&'a Sample>,
    long: Option<&'a Sample>,
}

impl<'a> Windows<'a> {
    /// Finds the last sample that is at least as old as each window, or else the oldest one.
    fn new(samples: &'a VecDeque<Sample>, now: Instant) -> Self {
        let begin = |window| {
            let is_before = |sample: &&Sample| now.saturating_duration_since(sample.at) >= window;
            samples.iter().rev().find(is_before).or_else(|| samples.front())
        };
        Self { now, short: begin(SHORT_WINDOW), long: begin(LONG_WINDOW) }
    }

    /// Returns a total with its rates. `count_of` returns the total that a sample has.
    fn rates(&self, total: u64, count_of: impl Fn(&Sample) -> u64) -> CountAndRates {
        let per_second = |sample: Option<&Sample>| {
            let sample = sample?;
            rate(total.saturating_sub(count_of(sample)), self.now.saturating_duration_since(sample.at))
        };
        CountAndRates { total, per_second_10s: per_second(self.short), per_second_60s: per_second(self.long) }
    }

    /// Returns the quantiles of the long window.
    fn quantiles(&self, latency: &LatencyCounts) -> Quantiles {
        self.long.map(|sample| Quantiles::of(&latency.since(&sample.latency))).unwrap_or_default()
    }

    /// Adds the rates to the counters of a service.
    fn groups(&self, groups: Vec<Group>) -> Vec<GroupStatus> {
        let mut indices = 0..;
        let mut entry = |Entry { name, label, value }| {
            let index: usize = indices.next().unwrap_or_default();
            let value = match value {
                Value::Counter(total) => {
                    // Without a value in the sample, as if nothing had been counted since.
                    let count_of = |sample: &Sample| sample.entries.get(index).copied().unwrap_or(total);
                    ValueStatus::Counter(self.rates(total, count_of))
                }
                Value::Gauge(number) => ValueStatus::Gauge(number),
                Value::Flag(flag) => ValueStatus::Flag(flag),
            };
            EntryStatus { name, label, value }
        };
        let group = |Group { name, title, entries }: Group| GroupStatus {
            name,
            title,
            entries: entries.into_iter().map(&mut entry).collect(),
        };
        groups.into_iter().map(group).collect()
    }
}

impl Sample {
    fn take(sources: &StatusSources, at: Instant, previous: Option<&Self>) -> Self {
        let (latency, groups) = ((sources.latency)(), sources.service_status.groups());
        let value = |entry: &Entry| match entry.value {
            Value::Counter(number) | Value::Gauge(number) => number,
            Value::Flag(flag) => u64::from(flag),
        };
        let (requests_per_second, p99) = previous.map_or((None, None), |previous| {
            let latency = latency.since(&previous.latency);
            (rate(latency.total(), at.saturating_duration_since(previous.at)), latency.quantile(0.99))
        });
        Self {
            at,
            latency,
            entries: groups.iter().flat_map(|group| &group.entries).map(value).collect(),
            open_connections: (sources.connections)().open,
            requests_per_second,
            p99,
        }
    }

    fn point(&self, now: Instant) -> Point {
        Point {
            age: now.saturating_duration_since(self.at),
            requests_per_second: self.requests_per_second,
            p99: self.p99,
            open_connections: self.open_connections,
        }
    }
}

/// Returns the rate per second; `None` if no time has passed.
fn rate(count: u64, time: Duration) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate has a few significant digits")]
    let count = count as f64;
    (!time.is_zero()).then(|| count / time.as_secs_f64())
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
impl StatusSources {
    /// Creates the sources of a server where nothing happens.
    pub(crate) fn for_tests() -> Self {
        struct NoStatus;

        impl ServiceStatus for NoStatus {
            fn groups(&self) -> Vec<Group> {
                Vec::new()
            }
        }

        Self {
            service: "test",
            version: "0",
            is_ready: Box::new(|| true),
            connections: Box::new(ConnectionCounts::default),
            latency: Box::new(|| LatencyHistogram::default().counts()),
            service_status: Arc::new(NoStatus),
            configuration: Arc::new(Mutex::new(Arc::from(""))),
        }
    }
}
