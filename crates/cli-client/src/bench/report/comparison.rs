//! Several runs side by side, and what a connection costs by them.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::super::figures::{grouped, nanos, rate};
use super::super::plan::{Style, Work};
use super::{Report, lines};
use crate::language::texts;

/// The same requests on short connections, on kept ones, and with many in flight: so many of these runs as were made.
#[derive(Debug)]
pub(in crate::bench) struct Comparison {
    runs: Vec<Report>,
}

impl Comparison {
    /// What the runs are called for programs, in their order.
    const NAMES: [&str; 3] = ["short", "kept_alive", "pipelined"];

    /// The comparison, if there is anything to compare.
    pub(in crate::bench) fn new(runs: Vec<Report>) -> Option<Self> {
        (!runs.is_empty()).then_some(Self { runs })
    }

    pub(in crate::bench) fn runs(&self) -> &[Report] {
        &self.runs
    }

    /// What a connection costs for each request that has one to itself, in nanoseconds: of the time of the machines, since
    /// they were kept busy, and of its caller's, which is longer the more callers there are.
    fn costs(&self) -> Option<(f64, f64)> {
        let [short, kept, ..] = &self.runs[..] else { return None };
        if short.tally.right == 0 || kept.tally.right == 0 {
            return None;
        }
        let each = |report: &Report| 1e9 / report.tally.throughput();
        Some((each(short) - each(kept), short.tally.latency.mean() - kept.tally.latency.mean()))
    }

    fn table(&self) -> String {
        let column = |report: &Report| match (report.work.style(), report.in_flight) {
            (Style::Short(_), _) => texts::bench_column_short(),
            (_, 1) => texts::bench_column_kept(),
            (_, in_flight) => texts::bench_column_pipelined(&grouped(in_flight as u64)),
        };
        let cells = |cell: &dyn Fn(&Report) -> String| self.runs.iter().map(cell).collect::<Vec<_>>();
        let time = |run: &Report, time: u64| if run.tally.latency.is_empty() { "-".to_owned() } else { nanos(time) };
        let rows = [
            (String::new(), cells(&column)),
            (texts::bench_throughput(), cells(&|run| texts::bench_a_second(&rate(run.tally.throughput())))),
            ("p50".to_owned(), cells(&|run| time(run, run.quantile(0.5)))),
            ("p99".to_owned(), cells(&|run| time(run, run.quantile(0.99)))),
            ("max".to_owned(), cells(&|run| time(run, run.tally.latency.max()))),
            (texts::bench_cpu_row(), cells(&|run| time(run, run.cpu_each()))),
            (texts::bench_errors(), cells(&|run| grouped(run.tally.not_right()))),
        ];
        let label_width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
        let width = |column: usize| rows.iter().map(|(_, cells)| cells[column].width()).max().unwrap_or_default();
        let widths: Vec<_> = (0..self.runs.len()).map(width).collect();
        let row = |(label, cells): &(String, Vec<String>)| {
            let mut row = format!("  {label}{:1$}", "", label_width - label.width());
            for (cell, width) in cells.iter().zip(&widths) {
                row += &" ".repeat(4 + width - cell.width());
                row += cell;
            }
            row
        };
        lines(rows.iter().map(row))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.runs[0];
        if first.quiet {
            let line = |(name, run): (&&str, &Report)| format!("{name}: {run}");
            return f.write_str(&lines(Self::NAMES.iter().zip(&self.runs).map(line)));
        }
        let Work::Power { request, .. } = first.work else { return Ok(()) };
        let title = texts::bench_compared(&first.address, &request.to_string(), &grouped(first.connections));
        let mut paragraphs = vec![title, self.table()];
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is not negative")]
        paragraphs.extend(self.costs().map(|(machine, caller)| {
            if machine > 0.0 && caller > 0.0 {
                let connections = grouped(first.connections);
                texts::bench_cost(&nanos(machine as u64), &connections, &nanos(caller as u64))
            } else {
                texts::bench_cost_too_small()
            }
        }));
        for run in &self.runs {
            for (kind, troubles) in &run.tally.troubles {
                let troubles = texts::bench_troubles(&grouped(troubles.count), &troubles.first);
                paragraphs.push(format!("{}: {troubles}", kind.name()));
            }
        }
        let mut remarks: Vec<_> = self.runs.iter().flat_map(Report::remarks).collect();
        remarks.dedup();
        paragraphs.extend(remarks);
        f.write_str(&paragraphs.join("\n\n"))
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", "compare")?;
        for (name, run) in Self::NAMES.iter().zip(&self.runs) {
            map.serialize_entry(name, run)?;
        }
        if let Some((machine, caller)) = self.costs() {
            map.serialize_entry("connection_us", &(machine / 1e3))?;
            map.serialize_entry("connection_latency_us", &(caller / 1e3))?;
        }
        map.end()
    }
}
