//! The standard process metrics.
//!
//! It depends on `encode` only. Names and units are those of the Prometheus client libraries, so that existing dashboards
//! work. The values come from `/proc/self` (proc(5)), except those that the process knows without it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use procfs::WithCurrentSystemInfo;
use procfs::process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::process::{Resource, getrlimit};

use super::encode::gauge;

/// Reads the values at each scrape. Omits those that cannot be read: a hardened system hides parts of `/proc`.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// In seconds since 1970.
    started_at: u64,
}

impl ProcessMetrics {
    /// Creates the metrics of a process that has just started.
    ///
    /// The start time is taken from the clock here. `/proc/self/stat` has it only relative to the boot, and the time of the
    /// boot is in `/proc/stat`, which `ProcSubset=pid` of systemd hides. A value computed anew at each scrape would also
    /// change with each step of the wall clock, which looks like a restart.
    pub(crate) fn at_start() -> Self {
        Self { started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2⁵³ ticks are millions of years")]
fn as_f64(ticks: u64) -> f64 {
    ticks as f64
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = Process::myself().ok();
        if let Some(stat) = process.as_ref().and_then(|process| process.stat().ok()) {
            let cpu_seconds = as_f64(stat.utime + stat.stime) / as_f64(procfs::ticks_per_second());
            let help = "User and system CPU time in seconds";
            encoder
                .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&cpu_seconds, None)?;
            let resident_bytes = stat.rss_bytes().get();
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory in bytes", &resident_bytes)?;
        }
        if let Some(open_files) = process.as_ref().and_then(|process| process.fd_count().ok()) {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", &open_files)?;
        }
        if let Some(max_files) = getrlimit(Resource::Nofile).current {
            gauge(&mut encoder, "process_max_fds", "Maximum number of open file descriptors", &max_files)?;
        }
        let help = "Start time of the process in seconds since 1970";
        gauge(&mut encoder, "process_start_time_seconds", help, &self.started_at)
    }
}
