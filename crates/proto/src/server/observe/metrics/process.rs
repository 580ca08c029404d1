//! The standard process metrics, from `/proc/self` (proc(5)).
//!
//! It depends on `encode` only. Names and units are those of the Prometheus client libraries, so that existing dashboards
//! work.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::encode::gauge;

/// Reads `/proc/self` at each scrape. Encodes nothing if it cannot be read.
#[derive(Debug)]
pub struct ProcessMetrics;

struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    started_at: u64,
    open_files: usize,
    max_files: Option<u64>,
}

fn read() -> ProcResult<ProcessStats> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks_per_second = procfs::ticks_per_second();
    Ok(ProcessStats {
        cpu_seconds: as_f64(stat.utime + stat.stime) / as_f64(ticks_per_second),
        resident_bytes: stat.rss_bytes().get(),
        started_at: procfs::boot_time_secs()? + stat.starttime / ticks_per_second,
        open_files: process.fd_count()?,
        max_files: match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(files) => Some(files),
            LimitValue::Unlimited => None,
        },
    })
}

#[expect(clippy::cast_precision_loss, reason = "2⁵³ ticks are millions of years")]
fn as_f64(ticks: u64) -> f64 {
    ticks as f64
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(stats) = read() else { return Ok(()) };
        encoder
            .encode_descriptor("process_cpu_seconds", "User and system CPU time in seconds", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&stats.cpu_seconds, None)?;
        let encoder = &mut encoder;
        gauge(encoder, "process_open_fds", "Open file descriptors", &stats.open_files)?;
        if let Some(files) = stats.max_files {
            gauge(encoder, "process_max_fds", "Maximum number of open file descriptors", &files)?;
        }
        gauge(encoder, "process_resident_memory_bytes", "Resident memory in bytes", &stats.resident_bytes)?;
        gauge(
            encoder,
            "process_start_time_seconds",
            "Start time of the process in seconds since 1970",
            &stats.started_at,
        )
    }
}
