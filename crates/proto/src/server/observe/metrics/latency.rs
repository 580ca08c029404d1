//! A histogram of reply times. It depends on `counters` only.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::counters::Counters;

/// A histogram of durations.
///
/// The histogram of `prometheus_client` takes a lock for each observation. This one takes none, and counts many
/// observations in one call.
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    /// One for each of the [`BOUNDS`], one for longer durations, and the sum in nanoseconds.
    counters: Counters<{ BOUNDS.len() + 2 }>,
}

const OVERFLOW: usize = BOUNDS.len();
const SUM: usize = BOUNDS.len() + 1;

/// The upper bounds of the buckets, in microseconds: from an immediate reply, about 10 µs on loopback, to a duel move
/// that waits half a minute for the partner's.
const BOUNDS: [u64; 21] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

impl LatencyHistogram {
    /// Counts `replies` that each took `duration`.
    pub fn observe(&self, duration: Duration, replies: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Bounds are inclusive (`le`, "less than or equal").
        let bucket = BOUNDS.partition_point(|&micros| micros * 1000 < nanos);
        self.counters.add(bucket, replies);
        // The sum wraps around on overflow, like any counter.
        self.counters.add(SUM, nanos.wrapping_mul(replies));
    }

    /// Returns the number of observations in each bucket.
    pub(crate) fn counts(&self) -> LatencyCounts {
        LatencyCounts(std::array::from_fn(|bucket| self.counters.read(bucket)))
    }

    /// Encodes the histogram for Prometheus, in seconds.
    ///
    /// # Errors
    ///
    /// Fails if the encoder's output does.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
        let buckets: Vec<(f64, u64)> = (0..=OVERFLOW)
            .map(|bucket| (BOUNDS.get(bucket).map_or(f64::INFINITY, |&micros| seconds(micros * 1000)), bucket))
            .map(|(bound, bucket)| (bound, self.counters.read(bucket)))
            .collect();
        let count = buckets.iter().map(|(_, replies)| replies).sum();
        encoder.encode_descriptor(name, help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            seconds(self.counters.read(SUM)),
            count,
            &buckets,
            None,
        )
    }
}

/// The numbers of observations in the buckets of a histogram, at one time or between two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LatencyCounts([u64; BOUNDS.len() + 1]);

impl LatencyCounts {
    /// Returns the number of observations.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the observations since an earlier time.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }

    /// Estimates a quantile, such as 0.99. `None` without observations.
    ///
    /// The estimate assumes that the durations in a bucket are spread evenly between its bounds. Durations above the
    /// last bound count as that bound, 60 s.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = quantile * as_f64(total);
        let (mut lower, mut below) = (0, 0);
        for (&count, &upper) in self.0.iter().zip(&BOUNDS) {
            if as_f64(below + count) >= rank && count > 0 {
                let part = (rank - as_f64(below)) / as_f64(count);
                return Some(Duration::from_micros(lower) + Duration::from_micros(upper - lower).mul_f64(part));
            }
            (lower, below) = (upper, below + count);
        }
        Some(Duration::from_micros(lower))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate has a few significant digits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct LatencyCollector(LatencyHistogram);

    impl Collector for LatencyCollector {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode(&mut encoder, "took_seconds", "How long it took")
        }
    }

    #[test]
    fn a_quantile_is_interpolated_in_its_bucket() {
        let latency = LatencyHistogram::default();
        assert_eq!(latency.counts().quantile(0.5), None);
        latency.observe(Duration::from_micros(70), 100);
        let first = latency.counts();
        let micros = |counts: &LatencyCounts, quantile| counts.quantile(quantile).map(|value| value.as_micros());
        assert_eq!((micros(&first, 0.5), micros(&first, 0.9), micros(&first, 1.0)), (Some(75), Some(95), Some(100)));
        latency.observe(Duration::from_millis(200), 100);
        let both = latency.counts();
        assert_eq!((micros(&both, 0.5), micros(&both, 0.75)), (Some(100), Some(175_000)));
        let second = both.since(&first);
        assert_eq!((second.total(), micros(&second, 0.5)), (100, Some(175_000)));
        latency.observe(Duration::from_mins(5), 1000);
        assert_eq!(micros(&latency.counts(), 0.99), Some(60_000_000));
        assert_eq!(latency.counts().since(&latency.counts()).quantile(0.99), None);
    }

    #[test]
    fn bounds_are_inclusive_and_longer_durations_are_in_the_last_bucket() {
        let latency = LatencyHistogram::default();
        latency.observe(Duration::from_micros(10), 3);
        latency.observe(Duration::from_nanos(10_001), 1);
        latency.observe(Duration::from_mins(2), 1);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(LatencyCollector(latency)));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE took_seconds histogram",
            "took_seconds_sum 120.000040001",
            "took_seconds_count 5",
            "took_seconds_bucket{le=\"1e-05\"} 3",
            "took_seconds_bucket{le=\"2.5e-05\"} 4",
            "took_seconds_bucket{le=\"60\"} 4",
            "took_seconds_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
