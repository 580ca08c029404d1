//! Metrics and their Prometheus text.
//!
//! It depends on no other module. Counting is cheap, because it is on the path of every request; a scrape does the work
//! of summing up. A service adds its metrics with a [`Collector`].
//!
//! - [`counters`]: counters without locks or contention;
//! - [`latency`]: a histogram of reply times;
//! - [`process`]: CPU time, memory and open files of the process;
//! - [`encode`]: encodes counters and gauges for Prometheus.

pub mod counters;
pub mod encode;
pub mod latency;
pub mod process;

use prometheus_client::collector::Collector;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::process::ProcessMetrics;

/// Returns a registry with the metrics of `collectors` under `prefix`, the server's version, and the process metrics.
#[must_use]
pub fn registry(prefix: &str, version: &'static str, collectors: Vec<Box<dyn Collector>>) -> Registry {
    let mut registry = Registry::default();
    // Without the prefix: these names are the same for every process.
    registry.register_collector(Box::new(ProcessMetrics::at_start()));
    let prefixed = registry.sub_registry_with_prefix(prefix);
    prefixed.register("build", "The version of the running server", Info::new([("version", version)]));
    for collector in collectors {
        prefixed.register_collector(collector);
    }
    registry
}
