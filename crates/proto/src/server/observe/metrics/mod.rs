//! What is counted while a server runs, and how it is shown to Prometheus.
//!
//! - [`counters`]: counting that takes no lock and that threads do not do in one another's way;
//! - [`latency`]: how long answers took, in buckets;
//! - [`process`]: what the kernel counts of the process;
//! - [`encode`]: how all of them are told.
//!
//! A service counts more than that, and says so in a [`Collector`] of its own. Whoever reads the numbers does the work
//! of adding them up.

pub mod counters;
pub mod encode;
pub mod latency;
pub mod process;

use prometheus_client::collector::Collector;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::process::ProcessMetrics;

/// Everything that the server called `prefix` counts, as its `collectors` tell, with its version and what the kernel
/// tells of the process.
#[must_use]
pub fn registry(prefix: &str, version: &'static str, collectors: Vec<Box<dyn Collector>>) -> Registry {
    let mut registry = Registry::default();
    // Named as every process names them, and so without the prefix.
    registry.register_collector(Box::new(ProcessMetrics));
    let own = registry.sub_registry_with_prefix(prefix);
    own.register("build", "The version that runs", Info::new([("version", version)]));
    for collector in collectors {
        own.register_collector(collector);
    }
    registry
}
