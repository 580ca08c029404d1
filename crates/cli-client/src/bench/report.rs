//! How what came of a run is told: here as a table for people.
//!
//! - [`object`]: as an object for programs;
//! - [`comparison`]: beside other runs.

mod comparison;
mod object;

pub(super) use comparison::Comparison;

use std::fmt;
use std::time::Duration;

use proto::wire::quoted::Quoted;
use unicode_width::UnicodeWidthStr;

use super::figures::{grouped, nanos, percent, rate};
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

/// Whether three counts are as likely as each other, in words.
fn verdict(Fairness { chi_square, p }: Fairness) -> String {
    let told = if p < UNLIKELY { texts::bench_unfair } else { texts::bench_fair };
    told(&format!("{chi_square:.2}"), &format!("{p:.3}"))
}
