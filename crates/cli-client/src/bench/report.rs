//! What is told of a run: a table for people, an object for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use proto::wire::power::client::Framing;
use proto::wire::quoted::Quoted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::figures::{grouped, micros, nanos, percent, rate};
use super::plan::{ConnMode, Plan, Workload};
use super::stats::{Fairness, Outcomes, Stats};
use crate::failure::{Kind, TIMED_OUT};
use crate::language::texts;

/// The longest bar of the histogram.
const LONGEST_BAR: u64 = 40;

/// An outcome that a fair house shows less often than this is called unfair: one honest run in a thousand is.
const UNLIKELY: f64 = 0.001;

/// From this share of its threads' time on, the client may be what limits the load.
const SATURATED: f64 = 0.9;

/// Less CPU time than this goes into getting ready, and tells nothing.
const TELLING: Duration = Duration::from_millis(100);

/// A run and its stats.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) plan: Arc<Plan>,
    pub(super) stats: Stats,
    pub(super) quiet: bool,
}

impl Report {
    /// What decides the exit code, by its weight and with the code: a wrong reply, or else the most frequent failure, or
    /// else that there was no reply at all.
    pub(super) fn worst(&self) -> Option<(u64, u8)> {
        let errors = self.stats.errors.iter();
        let weighed =
            errors.map(|(&kind, error)| (if kind == Kind::Wrong { u64::MAX } else { error.count }, error.code));
        weighed.max().or_else(|| (self.stats.right == 0).then_some((0, TIMED_OUT)))
    }

    fn title(&self) -> String {
        let address = &self.plan.address;
        let connections = grouped(self.plan.load.connections);
        let in_flight = grouped(self.plan.in_flight);
        match (&self.plan.workload, self.plan.mode) {
            (Workload::Power { request, .. }, ConnMode::Short(framing)) => {
                let framing = match framing {
                    Framing::EndOfStream => "eof",
                    Framing::Line => "line",
                    Framing::Bare => "bare",
                };
                texts::bench_short(address, &request.to_string(), framing, &connections)
            }
            (Workload::Power { request, .. }, ConnMode::Kept) => {
                texts::bench_kept(address, &request.to_string(), &connections, &in_flight)
            }
            (Workload::Rps, _) => texts::bench_house(address, &connections, &in_flight),
            (Workload::Duel, _) => texts::bench_players(address, &connections, &in_flight),
            (Workload::Exchange { send, .. }, ConnMode::Short(_)) => {
                texts::bench_exchange_short(address, &Quoted(send).to_string(), &connections)
            }
            (Workload::Exchange { send, .. }, ConnMode::Kept) => {
                texts::bench_exchange_kept(address, &Quoted(send).to_string(), &connections, &in_flight)
            }
        }
    }

    /// The rows of the table, each with its label.
    fn rows(&self) -> Vec<(String, String)> {
        let stats = &self.stats;
        let seconds = format!("{:.2}", stats.took.as_secs_f64());
        let mut rows = vec![
            (texts::bench_requests(), texts::bench_right(&grouped(stats.right), &seconds)),
            (texts::bench_throughput(), texts::bench_a_second(&rate(stats.throughput()))),
        ];
        if stats.unsent > 0 {
            rows.push((texts::bench_unsent(), texts::bench_not_sent(&grouped(stats.unsent))));
        }
        if stats.in_play > 0 {
            rows.push((texts::bench_in_play(), texts::bench_unanswered(&grouped(stats.in_play))));
        }
        if !stats.latency.is_empty() {
            rows.push((texts::bench_latency(), self.quantiles()));
        }
        if stats.right > 0 {
            let cpu = texts::bench_cpu(&nanos(stats.cpu_each()), &format!("{:.2}", stats.cores()));
            rows.push((texts::bench_client(), cpu));
        }
        rows.extend(self.outcomes());
        for (kind, error) in &stats.errors {
            rows.push((kind.name(), texts::bench_troubles(&grouped(error.count), &error.first)));
        }
        rows
    }

    fn quantiles(&self) -> String {
        let quantiles = self.stats.quantiles().map(|(name, quantile)| format!("{name} {}", nanos(quantile)));
        quantiles.collect::<Vec<_>>().join("  ")
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let Outcomes { draw, win, lose, void, house: [scissors, rock, paper] } = self.stats.outcomes;
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
        if self.plan.workload == Workload::Rps {
            rows.extend(self.stats.outcomes.fairness().map(|fairness| (texts::bench_fairness(), verdict(fairness))));
            let moves = texts::bench_moves(&grouped(scissors), &grouped(rock), &grouped(paper));
            rows.push((texts::bench_house_moves(), moves));
            rows.extend(self.stats.outcomes.evenness().map(|evenness| (texts::bench_evenness(), verdict(evenness))));
        }
        rows
    }

    /// The latencies, each row twice as long as the one before. The first is of less than a microsecond.
    fn histogram(&self) -> Vec<(String, String)> {
        let latency = &self.stats.latency;
        let bounds: Vec<_> = once(0).chain((0..32).map(|power| 1000_u64 << power)).collect();
        let count = |pair: &[u64]| latency.count_between(pair[0], pair[1] - 1);
        let rows: Vec<_> = bounds.windows(2).map(|pair| (pair, count(pair))).collect();
        let first = rows.iter().position(|row| row.1 > 0).unwrap_or(rows.len());
        let last = rows.iter().rposition(|row| row.1 > 0).map_or(first, |last| last + 1);
        let most = rows.iter().map(|row| row.1).max().unwrap_or(1);
        let row = |&(pair, count): &(&[u64], u64)| {
            let bar = "#".repeat(usize::try_from(count * LONGEST_BAR / most).unwrap_or_default());
            let label = format!("{:>7} - {:>7}", nanos(pair[0]), nanos(pair[1]));
            (label, format!("{bar:<width$} {:>6}", percent(count, latency.len()), width = 40))
        };
        rows[first..last].iter().map(row).collect()
    }

    /// What the reader of the table should know.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        #[allow(clippy::cast_precision_loss, reason = "a rate has no sixteen digits")]
        if let Some(rate) = self.plan.load.rate
            && self.stats.throughput() < 0.95 * rate as f64
        {
            remarks.push(texts::bench_rate_missed(&grouped(rate)));
        }
        if self.stats.given_up {
            remarks.push(texts::bench_given_up());
        }
        #[allow(clippy::cast_precision_loss, reason = "there are no so many threads")]
        if self.stats.cores() > SATURATED * self.plan.threads() as f64 && self.stats.cpu > TELLING {
            remarks.push(texts::bench_saturated());
        }
        remarks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quiet {
            f.write_str(&texts::bench_a_second(&rate(self.stats.throughput())))?;
            if !self.stats.latency.is_empty() {
                write!(f, "  {}", self.quantiles())?;
            }
            if self.stats.unsent > 0 {
                write!(f, "  {} {}", texts::bench_unsent(), grouped(self.stats.unsent))?;
            }
            for (kind, error) in &self.stats.errors {
                write!(f, "  {} {}", kind.name(), grouped(error.count))?;
            }
            return Ok(());
        }
        let mut paragraphs = vec![self.title(), table(&self.rows(), "  "), table(&self.histogram(), "  ")];
        paragraphs.extend(self.remarks());
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        f.write_str(&paragraphs.join("\n\n"))
    }
}

/// The fields are those that the README names: there may be more of them later, and none goes.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, stats, .. } = self;
        let bench = match plan.workload {
            Workload::Power { .. } => "power",
            Workload::Rps => "rps",
            Workload::Duel => "duel",
            Workload::Exchange { .. } => "exchange",
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", bench)?;
        map.serialize_entry("address", &plan.address)?;
        if !plan.workload.is_game() {
            map.serialize_entry("keep_alive", &(plan.mode == ConnMode::Kept))?;
        }
        map.serialize_entry("connections", &plan.load.connections)?;
        map.serialize_entry("pipeline", &plan.in_flight)?;
        map.serialize_entry("threads", &plan.threads())?;
        if let Some(rate) = plan.load.rate {
            map.serialize_entry("rate", &rate)?;
        }
        map.serialize_entry("requests", &stats.requests())?;
        map.serialize_entry("right", &stats.right)?;
        let counts: BTreeMap<_, _> = stats.errors.iter().map(|(kind, error)| (kind, error.count)).collect();
        map.serialize_entry("errors", &counts)?;
        let messages: BTreeMap<_, _> = stats.errors.iter().map(|(kind, error)| (kind, &error.first)).collect();
        if !messages.is_empty() {
            map.serialize_entry("first_messages", &messages)?;
        }
        if plan.load.rate.is_some() {
            map.serialize_entry("unsent", &stats.unsent)?;
        }
        if plan.workload == Workload::Duel {
            map.serialize_entry("in_play", &stats.in_play)?;
        }
        map.serialize_entry("seconds", &stats.took.as_secs_f64())?;
        map.serialize_entry("throughput", &stats.throughput())?;
        map.serialize_entry("latency_us", &Latency(stats))?;
        map.serialize_entry("cpu_us", &micros(stats.cpu_each()))?;
        if stats.outcomes != Outcomes::default() {
            map.serialize_entry("outcomes", &stats.outcomes)?;
        }
        if plan.workload == Workload::Rps {
            if let Some(Fairness { chi_square, p }) = stats.outcomes.fairness() {
                map.serialize_entry("chi_square", &chi_square)?;
                map.serialize_entry("p", &p)?;
            }
            if let Some(evenness) = stats.outcomes.evenness() {
                let [scissors, rock, paper] = stats.outcomes.house;
                map.serialize_entry("house", &House { scissors, rock, paper, evenness })?;
            }
        }
        map.end()
    }
}

/// What the house showed, and whether it did so evenly.
#[derive(Serialize)]
struct House {
    scissors: u64,
    rock: u64,
    paper: u64,
    #[serde(flatten)]
    evenness: Fairness,
}

/// The latencies in microseconds; none where there are no replies.
struct Latency<'a>(&'a Stats);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(stats) = self;
        if stats.latency.is_empty() {
            return serializer.collect_map([("", 0); 0]);
        }
        let least = [("min", micros(stats.latency.min())), ("mean", stats.latency.mean() / 1e3)];
        serializer.collect_map(least.into_iter().chain(stats.quantiles().map(|(name, time)| (name, micros(time)))))
    }
}

/// Lines of a label each, padded to the longest, and a value.
pub(super) fn table(rows: &[(String, String)], gap: &str) -> String {
    let width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
    let row = |(label, value): &(String, String)| format!("  {label}{:1$}{gap}{value}", "", width - label.width());
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Whether three counts are as likely as each other, in words.
fn verdict(Fairness { chi_square, p }: Fairness) -> String {
    let told = if p < UNLIKELY { texts::bench_unfair } else { texts::bench_fair };
    told(&format!("{chi_square:.2}"), &format!("{p:.3}"))
}
