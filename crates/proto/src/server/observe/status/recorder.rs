//! Takes the samples from which rates and histories are computed. It depends on `metrics` and on the types in `status`.
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
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::server::observe::language::Text;
    use crate::server::observe::metrics::counters::Counters;
    use crate::server::observe::metrics::latency::LatencyHistogram;

    impl StatusSources {
        /// Creates the sources of a server with these numbers.
        pub(crate) fn for_tests(latency: Arc<LatencyHistogram>, service_status: Arc<dyn ServiceStatus>) -> Self {
            Self {
                service: "test",
                version: "0",
                is_ready: Box::new(|| true),
                connections: Box::new(ConnectionCounts::default),
                latency: Box::new(move || latency.counts()),
                service_status,
                configuration: Arc::new(Mutex::new(Arc::from(""))),
            }
        }
    }

    impl ServiceStatus for Counters<1> {
        fn groups(&self) -> Vec<Group> {
            let entry = Entry::new("counted", Value::Counter(self.read(0)));
            let others = [Entry::new("gauge", Value::Gauge(7)), Entry::new("flag", Value::Flag(true))];
            let group = |name, entries| Group { name, title: Text::new("Test", "测试"), entries };
            vec![group("others", others.to_vec()), group("counters", vec![entry])]
        }
    }

    /// A server that a test makes busy.
    struct Server {
        latency: Arc<LatencyHistogram>,
        counters: Arc<Counters<1>>,
        recorder: StatusRecorder,
    }

    impl Server {
        fn new() -> Self {
            let (latency, counters) = (Arc::<LatencyHistogram>::default(), Arc::<Counters<1>>::default());
            let recorder = StatusRecorder::new(StatusSources::for_tests(
                Arc::clone(&latency),
                Arc::<Counters<1>>::clone(&counters),
            ));
            Self { latency, counters, recorder }
        }

        /// Takes a sample after each of these seconds, in which there are `requests`.
        async fn run(&self, seconds: usize, requests: u64) {
            for _ in 0..seconds {
                self.latency.observe(Duration::from_micros(70), requests);
                self.counters.add(0, 2 * requests);
                advance(SAMPLE_INTERVAL).await;
                self.recorder.sample();
            }
        }

        /// Returns the rates of the requests, and those of the service's counter.
        fn rates(&self) -> [(Option<f64>, Option<f64>); 2] {
            let Status { requests, groups, .. } = self.recorder.status();
            let ValueStatus::Counter(counted) = groups[1].entries[0].value else { panic!("{groups:?}") };
            [requests, counted].map(|rates| (rates.per_second_10s, rates.per_second_60s))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_their_windows() {
        let server = Server::new();
        assert_eq!(server.rates(), [(None, None); 2], "no time has passed");
        server.latency.observe(Duration::from_micros(70), 6);
        advance(Duration::from_millis(500)).await;
        assert_eq!(server.rates(), [(Some(12.0), Some(12.0)), (Some(0.0), Some(0.0))], "since the start");

        let server = Server::new();
        server.run(60, 6).await;
        assert_eq!(server.rates(), [(Some(6.0), Some(6.0)), (Some(12.0), Some(12.0))]);
        server.run(5, 0).await;
        assert_eq!(server.rates(), [(Some(3.0), Some(5.5)), (Some(6.0), Some(11.0))]);
        server.run(60, 0).await;
        assert_eq!(server.rates(), [(Some(0.0), Some(0.0)); 2]);
        assert_eq!(server.recorder.status().requests.total, 360);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_right_when_samples_are_missing() {
        let server = Server::new();
        server.run(20, 1).await;
        server.latency.observe(Duration::from_micros(70), 100);
        advance(Duration::from_secs(100)).await;
        assert_eq!(server.rates()[0], (Some(1.0), Some(1.0)), "since the last sample before the window");
    }

    #[tokio::test(start_paused = true)]
    async fn the_history_has_the_last_five_minutes() {
        let server = Server::new();
        server.run(10, 1).await;
        let history = server.recorder.status().history;
        assert_eq!((history.len(), history[0].requests_per_second), (11, None));
        server.run(2 * MAX_SAMPLES, 4).await;
        server.run(1, 0).await;
        let history = server.recorder.status().history;
        assert_eq!(history.len(), MAX_SAMPLES);
        let [first, .., before, last] = &history[..] else { panic!("{history:?}") };
        assert_eq!((first.age, first.requests_per_second), (Duration::from_secs(299), Some(4.0)));
        assert_eq!((before.age, before.p99), (SAMPLE_INTERVAL, Some(Duration::from_nanos(99_500))));
        assert_eq!((last.age, last.requests_per_second, last.p99), (Duration::ZERO, Some(0.0), None));
    }

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_those_of_the_last_minute() {
        let server = Server::new();
        assert_eq!(server.recorder.status().latency_last_minute, Quantiles::default());
        server.run(1, 100).await;
        let quantiles = server.recorder.status().latency_last_minute;
        let expected = [75_000, 99_500, 99_950].map(|nanos| Some(Duration::from_nanos(nanos)));
        assert_eq!([quantiles.p50, quantiles.p99, quantiles.p99_9], expected);
        server.run(60, 0).await;
        assert_eq!(server.recorder.status().latency_last_minute, Quantiles::default());
    }

    #[tokio::test(start_paused = true)]
    async fn the_json_has_groups_as_objects() {
        let server = Server::new();
        server.run(1, 1).await;
        let json = serde_json::to_value(server.recorder.status()).unwrap();
        assert_eq!(json["groups"]["others"], serde_json::json!({ "gauge": 7, "flag": true }));
        let counted = serde_json::json!({ "total": 2, "per_second_10s": 2.0, "per_second_60s": 2.0 });
        assert_eq!(json["groups"]["counters"]["counted"], counted);
        assert_eq!(json["state"], "ready");
        assert_eq!(json["history"][0]["p99_seconds"], serde_json::Value::Null);
    }
}
