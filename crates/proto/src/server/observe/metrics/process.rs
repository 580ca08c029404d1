//! What the kernel counts of the process: named and measured as Prometheus' own client libraries do, so that everybody's
//! dashboards fit.

use std::fmt;

use procfs::process::Process as Status;
use procfs::{ProcResult, WithCurrentSystemInfo};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::encode::gauge;

/// Reads `/proc/self` (proc(5)) whenever it is asked. Where there is none, nothing is told.
#[derive(Debug)]
pub struct ProcessMetrics;

struct Reading {
    cpu_seconds: f64,
    resident_bytes: u64,
    started_at: u64,
    open_files: usize,
    most_files: Option<u64>,
}

fn read() -> ProcResult<Reading> {
    let status = Status::myself()?;
    let stat = status.stat()?;
    let ticks = procfs::ticks_per_second();
    Ok(Reading {
        cpu_seconds: exact(stat.utime + stat.stime) / exact(ticks),
        resident_bytes: stat.rss_bytes().get(),
        started_at: procfs::boot_time_secs()? + stat.starttime / ticks,
        open_files: status.fd_count()?,
        most_files: match status.limits()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Value(files) => Some(files),
            procfs::process::LimitValue::Unlimited => None,
        },
    })
}

#[expect(clippy::cast_precision_loss, reason = "2⁵³ ticks are millions of years")]
fn exact(ticks: u64) -> f64 {
    ticks as f64
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(reading) = read() else { return Ok(()) };
        encoder
            .encode_descriptor("process_cpu_seconds", "CPU time used, user and system", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&reading.cpu_seconds, None)?;
        let encoder = &mut encoder;
        gauge(encoder, "process_open_fds", "Open files, sockets among them", &reading.open_files)?;
        if let Some(files) = reading.most_files {
            gauge(encoder, "process_max_fds", "The limit of open files", &files)?;
        }
        gauge(encoder, "process_resident_memory_bytes", "Memory in use", &reading.resident_bytes)?;
        gauge(encoder, "process_start_time_seconds", "When the process began, since 1970", &reading.started_at)
    }
}
