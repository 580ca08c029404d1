//! The report of a run, or of several runs side by side: a table, or a JSON object.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use proto::wire::quoted::Quoted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::figures::{float, grouped, micros, nanos, percent, rate};
use super::plan::{Plan, Workload};
use super::stats::{ErrorStats, Fairness, Outcomes, Stats};
use crate::error::{EXIT_TIMEOUT, FailureKind};
use crate::language::texts;

/// Maximum length of a histogram bar.
const MAX_BAR: u64 = 40;

/// A house is called unfair if a fair house would produce counts at least this uneven with a lower probability than
/// this. One of 1,000 runs against a fair house is thus called unfair.
const MIN_P: f64 = 0.001;

/// Above this share of its threads' time the client may limit the load.
const SATURATED: f64 = 0.9;

/// With less CPU time than this, most of it is start-up, and the share means nothing.
const MIN_CPU: Duration = Duration::from_millis(100);

/// A run and its stats.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) plan: Arc<Plan>,
    pub(super) stats: Stats,
    pub(super) quiet: bool,
}

impl Report {
    /// Returns the weight and the exit code of the worst error: a wrong reply, or else the most frequent kind, or else
    /// a run without any reply.
    pub(super) fn worst(&self) -> Option<(u64, u8)> {
        let errors = self.stats.errors.iter();
        let weighed =
            errors.map(|(&kind, error)| (if kind == FailureKind::Wrong { u64::MAX } else { error.count }, error.code));
        weighed.max().or_else(|| (self.stats.correct == 0).then_some((0, EXIT_TIMEOUT)))
    }

    fn title(&self) -> String {
        let Plan { workload, keep_alive, framing, .. } = &*self.plan;
        let server = self.plan.server();
        let connections = grouped(self.plan.load.connections);
        let in_flight = grouped(self.plan.in_flight);
        let (request, framing) = match workload {
            Workload::Power { request, .. } => (request.to_string(), texts::bench_in_parentheses(framing.name())),
            Workload::Exchange { send, .. } => (Quoted(send).to_string(), String::new()),
            Workload::Rps => return texts::bench_house(server, connections, in_flight),
            Workload::Duel => return texts::bench_players(server, connections, in_flight),
        };
        if *keep_alive {
            texts::bench_keep_alive_load(server, request, connections, in_flight)
        } else {
            texts::bench_short(server, request, framing, connections)
        }
    }

    /// The rows of the table, each with its label.
    fn rows(&self) -> Vec<(String, String)> {
        let stats = &self.stats;
        let correct = texts::bench_correct(grouped(stats.correct), format!("{:.2}", stats.elapsed.as_secs_f64()));
        let cpu = texts::bench_cpu(nanos(stats.cpu_per_reply()), format!("{:.2}", stats.cores()));
        let rows = [
            (true, texts::bench_requests(), correct),
            (true, texts::bench_throughput(), texts::bench_per_second(rate(stats.throughput()))),
            (stats.unsent > 0, texts::bench_unsent(), texts::bench_not_sent(grouped(stats.unsent))),
            (stats.in_play > 0, texts::bench_in_play(), texts::bench_no_reply(grouped(stats.in_play))),
            (!stats.latency.is_empty(), texts::bench_latency(), self.quantiles()),
            (stats.correct > 0, texts::bench_client(), cpu),
        ];
        let mut rows: Vec<_> =
            rows.into_iter().filter_map(|(shown, label, value)| shown.then_some((label, value))).collect();
        rows.extend(self.outcomes());
        let error =
            |(kind, error): (&FailureKind, &ErrorStats)| (texts::kind_name(*kind).to_owned(), error_text(error));
        rows.extend(stats.errors.iter().map(error));
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
        let mut counts = texts::bench_outcomes(share(draw), share(win), share(lose));
        if void > 0 {
            counts += &texts::score_void(void);
        }
        let mut rows = vec![(texts::bench_outcome(), counts)];
        if self.plan.workload == Workload::Rps {
            let fairness =
                Fairness::from_counts([draw, win, lose]).map(|fairness| (texts::bench_fairness(), verdict(fairness)));
            let moves = texts::bench_moves(grouped(scissors), grouped(rock), grouped(paper));
            let evenness =
                Fairness::from_counts([scissors, rock, paper]).map(|even| (texts::bench_evenness(), verdict(even)));
            rows.extend(fairness.into_iter().chain([(texts::bench_house_moves(), moves)]).chain(evenness));
        }
        rows
    }

    /// Returns the latency histogram. The first row ends at 1 µs; the upper bound of each further row is twice that of
    /// the row before.
    fn histogram(&self) -> Vec<(String, String)> {
        let latency = &self.stats.latency;
        let counts = latency.iter_log(1000, 2.0).map(|step| step.count_since_last_iteration());
        let bounds = (0..32).map(|power| 1000_u64 << power);
        let rows = once(0).chain(bounds.clone()).zip(bounds).zip(counts);
        let rows: Vec<_> = rows.skip_while(|row| row.1 == 0).collect();
        let max = rows.iter().map(|row| row.1).max().unwrap_or(1);
        let row = |((least, next), count)| {
            let bar = "#".repeat(usize::try_from(count * MAX_BAR / max).unwrap_or_default());
            let label = format!("{:>7} - {:>7}", nanos(least), nanos(next));
            (label, format!("{bar:<width$} {:>6}", percent(count, latency.len()), width = 40))
        };
        rows.into_iter().map(row).collect()
    }

    /// Returns notes below the table.
    fn remarks(&self) -> Vec<String> {
        let Self { plan, stats, .. } = self;
        let missed = plan.load.rate.filter(|&rate| stats.throughput() < 0.95 * float(rate));
        let saturated = stats.cores() > SATURATED * float(plan.threads()) && stats.cpu > MIN_CPU;
        let remarks = [
            missed.map(|rate| texts::bench_rate_missed(grouped(rate))),
            stats.aborted.then(texts::bench_aborted),
            saturated.then(|| saturated_text(plan.threads())),
        ];
        remarks.into_iter().flatten().collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quiet {
            let stats = &self.stats;
            let quantiles = (!stats.latency.is_empty()).then(|| self.quantiles());
            let unsent = (stats.unsent > 0).then(|| format!("{} {}", texts::bench_unsent(), grouped(stats.unsent)));
            let error = |(kind, error): (&FailureKind, &ErrorStats)| {
                format!("{} {}", texts::kind_name(*kind), grouped(error.count))
            };
            let parts =
                [Some(texts::bench_per_second(rate(stats.throughput()))), quantiles, unsent].into_iter().flatten();
            return f.write_str(&parts.chain(stats.errors.iter().map(error)).collect::<Vec<_>>().join("  "));
        }
        let mut paragraphs = vec![self.title(), table(&self.rows(), "  "), table(&self.histogram(), "  ")];
        paragraphs.extend(self.remarks());
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        f.write_str(&paragraphs.join("\n\n"))
    }
}

/// The README of this crate describes the fields. New ones may be added; none is removed.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, stats, .. } = self;
        let is_house = plan.workload == Workload::Rps;
        let Outcomes { draw, win, lose, house: [scissors, rock, paper], .. } = stats.outcomes;
        let fairness = Fairness::from_counts([draw, win, lose]).filter(|_| is_house);
        let evenness = Fairness::from_counts([scissors, rock, paper]).filter(|_| is_house);
        let counts: BTreeMap<_, _> = stats.errors.iter().map(|(kind, error)| (kind, error.count)).collect();
        let messages: BTreeMap<_, _> = stats.errors.iter().map(|(kind, error)| (kind, &error.first)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", plan.workload.name())?;
        map.serialize_entry("address", &plan.addresses(","))?;
        entry(&mut map, "keep_alive", (!plan.workload.is_game()).then_some(plan.keep_alive))?;
        map.serialize_entry("connections", &plan.load.connections)?;
        map.serialize_entry("pipeline", &plan.in_flight)?;
        map.serialize_entry("threads", &plan.threads())?;
        entry(&mut map, "rate", plan.load.rate)?;
        map.serialize_entry("requests", &stats.requests())?;
        map.serialize_entry("right", &stats.correct)?;
        map.serialize_entry("errors", &counts)?;
        entry(&mut map, "first_messages", Some(messages).filter(|messages| !messages.is_empty()))?;
        entry(&mut map, "unsent", plan.load.rate.map(|_| stats.unsent))?;
        entry(&mut map, "in_play", (plan.workload == Workload::Duel).then_some(stats.in_play))?;
        map.serialize_entry("seconds", &stats.elapsed.as_secs_f64())?;
        map.serialize_entry("throughput", &stats.throughput())?;
        map.serialize_entry("latency_us", &Latency(stats))?;
        map.serialize_entry("cpu_us", &micros(stats.cpu_per_reply()))?;
        entry(&mut map, "outcomes", Some(stats.outcomes).filter(|outcomes| *outcomes != Outcomes::default()))?;
        entry(&mut map, "chi_square", fairness.map(|fairness| fairness.chi_square))?;
        entry(&mut map, "p", fairness.map(|fairness| fairness.p))?;
        entry(&mut map, "house", evenness.map(|evenness| HouseMoves { scissors, rock, paper, evenness }))?;
        map.end()
    }
}

/// Writes an entry if it has a value.
fn entry<M: SerializeMap>(map: &mut M, name: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// The moves of the house, and a test of their evenness.
#[derive(Serialize)]
struct HouseMoves {
    scissors: u64,
    rock: u64,
    paper: u64,
    #[serde(flatten)]
    evenness: Fairness,
}

/// Latencies in microseconds; empty without replies.
struct Latency<'a>(&'a Stats);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(stats) = self;
        let least = [("min", micros(stats.latency.min())), ("mean", stats.latency.mean() / 1e3)];
        let all = least.into_iter().chain(stats.quantiles().map(|(name, time)| (name, micros(time))));
        serializer.collect_map(all.filter(|_| !stats.latency.is_empty()))
    }
}

/// The same requests on short, keep-alive and pipelined connections, as far as the runs were made.
#[derive(Debug)]
pub(super) struct Comparison<'a>(pub(super) &'a [Report]);

impl Comparison<'_> {
    /// Returns the runs with their JSON names.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Report)> {
        ["short", "kept_alive", "pipelined"].into_iter().zip(self.0)
    }

    /// Returns the cost of a new connection per request in nanoseconds: the wall-clock time per request, and the extra
    /// wait of a caller, which grows with the number of callers.
    fn costs(&self) -> Option<(f64, f64)> {
        let [Report { stats: short, .. }, Report { stats: keep_alive, .. }, ..] = self.0 else { return None };
        if short.correct == 0 || keep_alive.correct == 0 {
            return None;
        }
        let each = |stats: &Stats| 1e9 / stats.throughput();
        Some((each(short) - each(keep_alive), short.latency.mean() - keep_alive.latency.mean()))
    }

    fn table(&self) -> String {
        let column = |run: &Report| match (run.plan.keep_alive, run.plan.in_flight) {
            (false, _) => texts::bench_column_short(),
            (true, 1) => texts::bench_column_keep_alive(),
            (true, in_flight) => texts::bench_column_pipelined(grouped(in_flight)),
        };
        let cells = |run: &Report| {
            let stats = &run.stats;
            let time = |time| if stats.latency.is_empty() { "-".to_owned() } else { nanos(time) };
            [
                column(run),
                texts::bench_per_second(rate(stats.throughput())),
                time(stats.latency.value_at_quantile(0.5)),
                time(stats.latency.value_at_quantile(0.99)),
                time(stats.latency.max()),
                time(stats.cpu_per_reply()),
                grouped(stats.error_count()),
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

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Report { plan, quiet, .. }) = self.0.first() else { return Ok(()) };
        if *quiet {
            let lines: Vec<_> = self.named().map(|(name, run)| format!("{name}: {run}")).collect();
            return f.write_str(&lines.join("\n"));
        }
        let Workload::Power { request, .. } = plan.workload else { return Ok(()) };
        let connections = grouped(plan.load.connections);
        let title = texts::bench_compared(plan.server(), request, &connections);
        let mut paragraphs = vec![title, self.table()];
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is not negative")]
        paragraphs.extend(self.costs().map(|(wall_clock, wait)| {
            if wall_clock > 0.0 && wait > 0.0 {
                texts::bench_cost(nanos(wall_clock as u64), &connections, nanos(wait as u64))
            } else {
                texts::bench_cost_not_measurable()
            }
        }));
        for (kind, error) in self.0.iter().flat_map(|run| &run.stats.errors) {
            paragraphs.push(format!("{}: {}", texts::kind_name(*kind), error_text(error)));
        }
        let mut remarks: Vec<_> = self.0.iter().flat_map(Report::remarks).collect();
        remarks.dedup();
        paragraphs.extend(remarks);
        f.write_str(&paragraphs.join("\n\n"))
    }
}

impl Serialize for Comparison<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", "compare")?;
        for (name, run) in self.named() {
            map.serialize_entry(name, run)?;
        }
        let costs = self.costs();
        entry(&mut map, "connection_us", costs.map(|(wall_clock, _)| wall_clock / 1e3))?;
        entry(&mut map, "connection_latency_us", costs.map(|(_, wait)| wait / 1e3))?;
        map.end()
    }
}

fn error_text(error: &ErrorStats) -> String {
    texts::bench_error(grouped(error.count), &error.first)
}

/// Formats rows of a label, padded to the longest, and a value.
fn table(rows: &[(String, String)], gap: &str) -> String {
    let width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
    let row = |(label, value): &(String, String)| format!("  {label}{:1$}{gap}{value}", "", width - label.width());
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

fn saturated_text(threads: u64) -> String {
    let more = 2 * threads;
    if threads == 1 { texts::bench_saturated(more) } else { texts::bench_saturated_threads(threads, more) }
}

/// Formats a fairness test.
fn verdict(Fairness { chi_square, p }: Fairness) -> String {
    let (chi_square, is_likely) = (format!("{chi_square:.2}"), p >= MIN_P);
    let p = format!("{p:.3}");
    if is_likely { texts::bench_fair(chi_square, p) } else { texts::bench_unfair(chi_square, p) }
}
