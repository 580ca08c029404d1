//! How what came of a run is told: as a table for people, as an object for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto::wire::quoted::Quoted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::plan::{Plan, Style, Work};
use super::tally::{Fairness, Outcomes, Tally};
use crate::failure::{Kind, TIMED_OUT};
use crate::language::texts;

/// The quantiles that are told, by their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The longest bar of the histogram.
const LONGEST_BAR: u64 = 40;

/// An outcome that a fair house shows less often than this is called unfair: one honest run in a thousand is.
const UNLIKELY: f64 = 0.001;

/// From this share of its threads' time on, the client may be what limits the load.
const SATURATED: f64 = 0.9;

/// Less CPU time than this goes into getting ready, and tells nothing.
const TELLING: Duration = Duration::from_millis(100);

/// What came of one run.
#[derive(Debug)]
pub(super) struct Report {
    server: &'static str,
    address: String,
    work: Work,
    connections: u64,
    in_flight: usize,
    threads: u64,
    rate: Option<u64>,
    tally: Tally,
    quiet: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan, address: &str, tally: Tally, quiet: bool) -> Self {
        let server = match plan.work {
            Work::Power { .. } => "power",
            Work::Rps => "rps",
            Work::Duel => "duel",
            Work::Exchange { .. } => "exchange",
        };
        Self {
            server,
            address: address.to_owned(),
            work: plan.work.clone(),
            connections: plan.load.connections,
            in_flight: plan.in_flight,
            threads: plan.load.threads.min(plan.load.connections),
            rate: plan.load.rate,
            tally,
            quiet,
        }
    }

    /// Whether nothing came of it, neither good nor bad.
    pub(super) fn is_empty(&self) -> bool {
        self.tally.right == 0 && self.tally.not_right() == 0
    }

    /// What decides the exit code, by its weight and with the code: a wrong answer, or else the most frequent failure, or
    /// else that there was no answer at all.
    pub(super) fn worst(&self) -> Option<(u64, u8)> {
        let troubles = self.tally.troubles.iter();
        let weighed = troubles
            .map(|(&kind, troubles)| (if kind == Kind::Wrong { u64::MAX } else { troubles.count }, troubles.code));
        weighed.max().or_else(|| (self.tally.right == 0).then_some((0, TIMED_OUT)))
    }

    fn title(&self) -> String {
        let connections = grouped(self.connections);
        let in_flight = grouped(self.in_flight as u64);
        match &self.work {
            Work::Power { request, style: Style::Short(framing), .. } => {
                let framing = super::plan::framing_name(*framing);
                texts::bench_short(&self.address, &request.to_string(), framing, &connections)
            }
            Work::Power { request, style: Style::Kept, .. } => {
                texts::bench_kept(&self.address, &request.to_string(), &connections, &in_flight)
            }
            Work::Rps => texts::bench_house(&self.address, &connections, &in_flight),
            Work::Duel => texts::bench_players(&self.address, &connections, &in_flight),
            Work::Exchange { send, style: Style::Short(_), .. } => {
                texts::bench_exchange_short(&self.address, &Quoted(send).to_string(), &connections)
            }
            Work::Exchange { send, style: Style::Kept, .. } => {
                texts::bench_exchange_kept(&self.address, &Quoted(send).to_string(), &connections, &in_flight)
            }
        }
    }

    /// How many cores this client kept busy.
    fn cores(&self) -> f64 {
        if self.tally.took.is_zero() { 0.0 } else { self.tally.cpu.as_secs_f64() / self.tally.took.as_secs_f64() }
    }

    /// The CPU time of this client for each right answer.
    fn cpu_each(&self) -> u64 {
        let nanos = u64::try_from(self.tally.cpu.as_nanos()).unwrap_or(u64::MAX);
        nanos / self.tally.right.max(1)
    }

    fn quantile(&self, quantile: f64) -> u64 {
        self.tally.latency.value_at_quantile(quantile)
    }

    /// The rows of the table, each with its label.
    fn rows(&self) -> Vec<(String, String)> {
        let tally = &self.tally;
        let seconds = format!("{:.2}", tally.took.as_secs_f64());
        let mut rows = vec![
            (texts::bench_requests(), texts::bench_right(&grouped(tally.right), &seconds)),
            (texts::bench_throughput(), texts::bench_a_second(&rate(tally.throughput()))),
        ];
        if tally.unsent > 0 {
            rows.push((texts::bench_unsent(), texts::bench_not_sent(&grouped(tally.unsent))));
        }
        if tally.in_play > 0 {
            rows.push((texts::bench_in_play(), texts::bench_unanswered(&grouped(tally.in_play))));
        }
        if !tally.latency.is_empty() {
            rows.push((texts::bench_latency(), self.quantiles()));
        }
        if tally.right > 0 {
            let cpu = texts::bench_cpu(&nanos(self.cpu_each()), &format!("{:.2}", self.cores()));
            rows.push((texts::bench_client(), cpu));
        }
        rows.extend(self.outcomes());
        for (kind, troubles) in &tally.troubles {
            rows.push((kind.name(), texts::bench_troubles(&grouped(troubles.count), &troubles.first)));
        }
        rows
    }

    fn quantiles(&self) -> String {
        let mut all: Vec<_> =
            QUANTILES.iter().map(|&(name, quantile)| format!("{name} {}", nanos(self.quantile(quantile)))).collect();
        all.push(format!("max {}", nanos(self.tally.latency.max())));
        all.join("  ")
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let Outcomes { draw, win, lose, void, house: [scissors, rock, paper] } = self.tally.outcomes;
        let total = draw + win + lose + void;
        if total == 0 {
            return Vec::new();
        }
        let share = |count| format!("{} ({})", grouped(count), percent(count, total));
        let mut counts = texts::bench_outcomes(&share(draw), &share(win), &share(lose));
        if void > 0 {
            counts += &texts::score_void(void);
        }
        let mut rows = vec![(texts::bench_outcome(), counts)];
        if self.work == Work::Rps {
            rows.extend(self.tally.outcomes.fairness().map(|fairness| (texts::bench_fairness(), verdict(fairness))));
            let moves = texts::bench_moves(&grouped(scissors), &grouped(rock), &grouped(paper));
            rows.push((texts::bench_house_moves(), moves));
            rows.extend(self.tally.outcomes.evenness().map(|evenness| (texts::bench_evenness(), verdict(evenness))));
        }
        rows
    }

    /// The times of the answers, each row twice as long as the one before.
    fn histogram(&self) -> Vec<(String, String)> {
        let latency = &self.tally.latency;
        // From a microsecond on, which is what the shortest exchange takes.
        let bounds: Vec<u64> = (0..32).map(|power| 1000_u64 << power).collect();
        let count = |low: u64, high: u64| latency.count_between(low, high.saturating_sub(1));
        let mut rows: Vec<_> = std::iter::once((0, bounds[0]))
            .chain(bounds.windows(2).map(|pair| (pair[0], pair[1])))
            .map(|(low, high)| (low, high, count(low, high)))
            .collect();
        let is_empty = |row: &(u64, u64, u64)| row.2 == 0;
        let first = rows.iter().position(|row| !is_empty(row)).unwrap_or(rows.len());
        let last = rows.iter().rposition(|row| !is_empty(row)).map_or(0, |last| last + 1);
        rows = rows.get(first..last).unwrap_or_default().to_vec();
        let most = rows.iter().map(|row| row.2).max().unwrap_or(1).max(1);
        let row = |(low, high, count): (u64, u64, u64)| {
            let bar = "#".repeat(usize::try_from(count * LONGEST_BAR / most).unwrap_or_default());
            let label = format!("{:>7} - {:>7}", nanos(low), nanos(high));
            (label, format!("{bar:<width$} {:>6}", percent(count, latency.len()), width = 40))
        };
        rows.into_iter().map(row).collect()
    }

    /// What whoever reads the table should know.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        #[allow(clippy::cast_precision_loss, reason = "a rate has no sixteen digits")]
        if let Some(rate) = self.rate
            && self.tally.throughput() < 0.95 * rate as f64
        {
            remarks.push(texts::bench_rate_missed(&grouped(rate)));
        }
        if self.tally.given_up {
            remarks.push(texts::bench_given_up());
        }
        #[allow(clippy::cast_precision_loss, reason = "there are no so many threads")]
        if self.cores() > SATURATED * self.threads as f64 && self.tally.cpu > TELLING {
            remarks.push(texts::bench_saturated());
        }
        remarks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quiet {
            f.write_str(&texts::bench_a_second(&rate(self.tally.throughput())))?;
            if !self.tally.latency.is_empty() {
                write!(f, "  {}", self.quantiles())?;
            }
            if self.tally.unsent > 0 {
                write!(f, "  {} {}", texts::bench_unsent(), grouped(self.tally.unsent))?;
            }
            for (kind, troubles) in &self.tally.troubles {
                write!(f, "  {} {}", kind.name(), grouped(troubles.count))?;
            }
            return Ok(());
        }
        let rows = self.rows();
        let width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
        let row = |(label, value): &(String, String)| format!("  {label}{:1$}  {value}", "", width - label.width());
        let bar = |(label, bar): &(String, String)| format!("  {label}  {bar}");
        let mut paragraphs = vec![self.title(), lines(rows.iter().map(row)), lines(self.histogram().iter().map(bar))];
        paragraphs.extend(self.remarks());
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        f.write_str(&paragraphs.join("\n\n"))
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tally = &self.tally;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", self.server)?;
        map.serialize_entry("address", &self.address)?;
        if !self.work.is_game() {
            map.serialize_entry("keep_alive", &(self.work.style() == Style::Kept))?;
        }
        map.serialize_entry("connections", &self.connections)?;
        map.serialize_entry("pipeline", &self.in_flight)?;
        map.serialize_entry("threads", &self.threads)?;
        if let Some(rate) = self.rate {
            map.serialize_entry("rate", &rate)?;
        }
        map.serialize_entry("requests", &(tally.right + tally.not_right()))?;
        map.serialize_entry("right", &tally.right)?;
        let errors: BTreeMap<_, _> = tally.troubles.iter().map(|(kind, troubles)| (kind, troubles.count)).collect();
        map.serialize_entry("errors", &errors)?;
        let messages: BTreeMap<_, _> = tally.troubles.iter().map(|(kind, troubles)| (kind, &troubles.first)).collect();
        if !messages.is_empty() {
            map.serialize_entry("first_messages", &messages)?;
        }
        if self.rate.is_some() {
            map.serialize_entry("unsent", &tally.unsent)?;
        }
        if self.work == Work::Duel {
            map.serialize_entry("in_play", &tally.in_play)?;
        }
        map.serialize_entry("seconds", &tally.took.as_secs_f64())?;
        map.serialize_entry("throughput", &tally.throughput())?;
        map.serialize_entry("latency_us", &Latency(self))?;
        map.serialize_entry("cpu_us", &micros(self.cpu_each()))?;
        if tally.outcomes != Outcomes::default() {
            let Outcomes { draw, win, lose, void, .. } = tally.outcomes;
            map.serialize_entry("outcomes", &OutcomeCounts { draw, win, lose, void })?;
        }
        if self.work == Work::Rps
            && let Some(Fairness { chi_square, p }) = tally.outcomes.fairness()
        {
            map.serialize_entry("chi_square", &chi_square)?;
            map.serialize_entry("p", &p)?;
        }
        if self.work == Work::Rps
            && let Some(Fairness { chi_square, p }) = tally.outcomes.evenness()
        {
            let [scissors, rock, paper] = tally.outcomes.house;
            map.serialize_entry("house", &House { scissors, rock, paper, chi_square, p })?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct OutcomeCounts {
    draw: u64,
    win: u64,
    lose: u64,
    void: u64,
}

/// What the house showed, and whether it did so evenly.
#[derive(Serialize)]
struct House {
    scissors: u64,
    rock: u64,
    paper: u64,
    chi_square: f64,
    p: f64,
}

/// Whether three counts are as likely as each other, in words.
fn verdict(Fairness { chi_square, p }: Fairness) -> String {
    let told = if p < UNLIKELY { texts::bench_unfair } else { texts::bench_fair };
    told(&format!("{chi_square:.2}"), &format!("{p:.3}"))
}

/// The times of the answers in microseconds; none where there are no answers.
struct Latency<'a>(&'a Report);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let latency = &self.0.tally.latency;
        let mut map = serializer.serialize_map(None)?;
        if !latency.is_empty() {
            map.serialize_entry("min", &micros(latency.min()))?;
            map.serialize_entry("mean", &(latency.mean() / 1e3))?;
            for (name, quantile) in QUANTILES {
                map.serialize_entry(name, &micros(self.0.quantile(quantile)))?;
            }
            map.serialize_entry("max", &micros(latency.max()))?;
        }
        map.end()
    }
}

/// The same requests on short connections, on kept ones, and with many in flight: so many of these runs as were made.
#[derive(Debug)]
pub(super) struct Comparison {
    runs: Vec<Report>,
}

impl Comparison {
    /// What the runs are called for programs, in their order.
    const NAMES: [&str; 3] = ["short", "kept_alive", "pipelined"];

    /// The comparison, if there is anything to compare.
    pub(super) fn new(runs: Vec<Report>) -> Option<Self> {
        (!runs.is_empty()).then_some(Self { runs })
    }

    pub(super) fn runs(&self) -> &[Report] {
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

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that is not negative")]
fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { grouped(per_second.round() as u64) }
}

/// So many in so long, as a rate.
#[allow(clippy::cast_precision_loss, reason = "a rate has no sixteen digits")]
pub(super) fn per_second(count: u64, took: Duration) -> String {
    rate(if took.is_zero() { 0.0 } else { count as f64 / took.as_secs_f64() })
}

#[allow(clippy::cast_precision_loss, reason = "a share has no sixteen digits")]
fn percent(count: u64, total: u64) -> String {
    format!("{:.1} %", 100.0 * count as f64 / total.max(1) as f64)
}

#[allow(clippy::cast_precision_loss, reason = "a time has no sixteen digits")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A time in the unit that fits, to three digits.
#[allow(clippy::cast_precision_loss, reason = "a time has no sixteen digits")]
fn nanos(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => (nanos as f64, "ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let digits = if unit == "ns" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_fit_to_be_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 950, 1_000, 12_345, 123_456, 1_000_000, 99_960_000, 1_500_000_000].map(nanos),
            ["0 ns", "950 ns", "1.00 µs", "12.3 µs", "123 µs", "1.00 ms", "100 ms", "1.50 s"]
        );
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!((rate(12.34), rate(12_345.6)), ("12.3".to_owned(), "12,346".to_owned()));
    }
}
