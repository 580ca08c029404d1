//! Several runs side by side, and what a connection costs by them.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::figures::{grouped, nanos, rate};
use super::plan::{ConnMode, Workload};
use super::report::{Report, table};
use super::stats::Stats;
use crate::language::texts;

/// The same requests on short connections, on kept ones, and with many in flight: as many of these runs as were made.
#[derive(Debug)]
pub(super) struct Comparison(pub(super) Vec<Report>);

impl Comparison {
    /// The runs by their names for programs.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Report)> {
        ["short", "kept_alive", "pipelined"].into_iter().zip(&self.0)
    }

    /// What a connection costs for each request that has one to itself, in nanoseconds: of the time of the machines,
    /// since they were kept busy, and of its caller's, which is longer the more callers there are.
    fn costs(&self) -> Option<(f64, f64)> {
        let [Report { stats: short, .. }, Report { stats: kept, .. }, ..] = &self.0[..] else { return None };
        if short.right == 0 || kept.right == 0 {
            return None;
        }
        let each = |stats: &Stats| 1e9 / stats.throughput();
        Some((each(short) - each(kept), short.latency.mean() - kept.latency.mean()))
    }

    fn table(&self) -> String {
        let column = |run: &Report| match (run.plan.mode, run.plan.in_flight) {
            (ConnMode::Short(_), _) => texts::bench_column_short(),
            (ConnMode::Kept, 1) => texts::bench_column_kept(),
            (ConnMode::Kept, in_flight) => texts::bench_column_pipelined(&grouped(in_flight)),
        };
        let cells = |run: &Report| {
            let stats = &run.stats;
            let time = |time| if stats.latency.is_empty() { "-".to_owned() } else { nanos(time) };
            [
                column(run),
                texts::bench_a_second(&rate(stats.throughput())),
                time(stats.latency.value_at_quantile(0.5)),
                time(stats.latency.value_at_quantile(0.99)),
                time(stats.latency.max()),
                time(stats.cpu_each()),
                grouped(stats.not_right()),
            ]
        };
        let labels =
            ["", &texts::bench_throughput(), "p50", "p99", "max", &texts::bench_cpu_row(), &texts::bench_errors()];
        let mut rows: Vec<_> = labels.into_iter().map(|label| (label.to_owned(), String::new())).collect();
        for cells in self.0.iter().map(cells) {
            let width = cells.iter().map(|cell| cell.width()).max().unwrap_or_default();
            for ((_, row), cell) in rows.iter_mut().zip(&cells) {
                *row += &" ".repeat(4 + width - cell.width());
                *row += cell;
            }
        }
        table(&rows, "")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Report { plan, quiet, .. }) = self.0.first() else { return Ok(()) };
        if *quiet {
            let lines: Vec<_> = self.named().map(|(name, run)| format!("{name}: {run}")).collect();
            return f.write_str(&lines.join("\n"));
        }
        let Workload::Power { request, .. } = plan.workload else { return Ok(()) };
        let connections = grouped(plan.load.connections);
        let title = texts::bench_compared(&plan.address, &request.to_string(), &connections);
        let mut paragraphs = vec![title, self.table()];
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is not negative")]
        paragraphs.extend(self.costs().map(|(machine, caller)| {
            if machine > 0.0 && caller > 0.0 {
                texts::bench_cost(&nanos(machine as u64), &connections, &nanos(caller as u64))
            } else {
                texts::bench_cost_too_small()
            }
        }));
        for (kind, error) in self.0.iter().flat_map(|run| &run.stats.errors) {
            let error = texts::bench_troubles(&grouped(error.count), &error.first);
            paragraphs.push(format!("{}: {error}", kind.name()));
        }
        let mut remarks: Vec<_> = self.0.iter().flat_map(Report::remarks).collect();
        remarks.dedup();
        paragraphs.extend(remarks);
        f.write_str(&paragraphs.join("\n\n"))
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", "compare")?;
        for (name, run) in self.named() {
            map.serialize_entry(name, run)?;
        }
        if let Some((machine, caller)) = self.costs() {
            map.serialize_entry("connection_us", &(machine / 1e3))?;
            map.serialize_entry("connection_latency_us", &(caller / 1e3))?;
        }
        map.end()
    }
}
