//! The report of a run, or of several runs side by side: a table, or a JSON object.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use proto::wire::number::Number;
use proto::wire::quoted::Quoted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::figures::{float, grouped, micros, nanos, percent, rate, time};
use super::layout::{Cell, Layout};
use super::plan::{Plan, Workload};
use super::stats::{ErrorStats, Fairness, LatencyMetric, Outcomes, Stats};
use super::threshold::Expectation;
use crate::arguments::values::SourceList;
use crate::error::{EXIT_TIMEOUT, FailureKind};
use crate::language::texts;
use crate::output;

/// Minimum and maximum length of the longest bar of the histogram.
const MIN_BAR: usize = 8;
const MAX_BAR: usize = 40;

/// The latency figures of a table, in its order.
pub(super) const ALL_LATENCIES: [&str; 9] = ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max", "min", "mean"];

/// The latency figures of the single line with `--quiet`.
const QUIET_LATENCIES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// A house is called unfair if a fair house would produce counts at least this uneven with a lower probability than
/// this. One of 1,000 runs against a fair house is thus called unfair.
const MIN_P: f64 = 0.001;

/// Above this share of its threads' time the client may limit the load.
const SATURATED: f64 = 0.9;

/// With less CPU time than this, most of it is start-up, and the share means nothing.
const MIN_CPU: Duration = Duration::from_millis(100);

/// Width of a row of the histogram without its bar.
const HISTOGRAM_TEXT: usize = 31;

/// A run and its stats.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) plan: Arc<Plan>,
    /// The name of the run in a comparison.
    pub(super) name: Option<&'static str>,
    /// When the load began.
    pub(super) started: SystemTime,
    pub(super) stats: Stats,
    pub(super) quiet: bool,
    pub(super) layout: Layout,
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

    /// Returns the thresholds with the measured figures.
    fn expectations(&self) -> impl Iterator<Item = Expectation<'_>> {
        self.plan.load.thresholds.iter().map(|threshold| threshold.check(&self.stats))
    }

    /// Whether a threshold is not met.
    pub(super) fn has_failures(&self) -> bool {
        self.expectations().any(|expectation| !expectation.is_met())
    }

    /// Returns a message for each threshold that is not met.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let failed = self.expectations().filter(|expectation| !expectation.is_met());
        failed.map(|failed| {
            let run = self.name.map(|_| format!("{}: ", self.column())).unwrap_or_default();
            run + &failed.message()
        })
    }

    /// Returns the heading of the run in a comparison.
    fn column(&self) -> String {
        match (self.plan.keep_alive, self.plan.in_flight) {
            (false, _) => texts::bench_column_short(),
            (true, 1) => texts::bench_column_keep_alive(),
            (true, in_flight) => texts::bench_column_pipelined(grouped(in_flight)),
        }
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
    fn rows(&self) -> Vec<(String, Cell)> {
        let stats = &self.stats;
        let prose = |(label, value)| (label, Cell::Prose(value));
        let correct = texts::bench_correct(grouped(stats.correct), format!("{:.2}", stats.elapsed.as_secs_f64()));
        let cpu = texts::bench_cpu(nanos(stats.cpu_per_reply()), format!("{:.2}", stats.cores()));
        let rows = [
            (true, texts::bench_requests(), Cell::Prose(correct)),
            (true, texts::bench_throughput(), Cell::Prose(texts::bench_per_second(rate(stats.throughput())))),
            (stats.unsent > 0, texts::bench_unsent(), Cell::Prose(texts::bench_not_sent(grouped(stats.unsent)))),
            (stats.in_play > 0, texts::bench_in_play(), Cell::Prose(texts::bench_no_reply(grouped(stats.in_play)))),
            (!stats.latency.is_empty(), texts::bench_latency(), Cell::Figures(self.latencies(&ALL_LATENCIES))),
            (stats.correct > 0, texts::bench_client(), Cell::Prose(cpu)),
        ];
        let mut rows: Vec<_> =
            rows.into_iter().filter_map(|(shown, label, value)| shown.then_some((label, value))).collect();
        rows.extend(self.outcomes().into_iter().map(prose));
        let error =
            |(kind, error): (&FailureKind, &ErrorStats)| (texts::kind_name(*kind).to_owned(), error_text(error));
        rows.extend(stats.errors.iter().map(error).map(prose));
        rows
    }

    /// Returns the latency figures of these names, each with its name.
    fn latencies(&self, names: &[&str]) -> Vec<String> {
        let figure = |name: &&str| {
            let figure = LatencyMetric::named(name)?.of(&self.stats.latency)?;
            Some(format!("{name} {}", time(figure)))
        };
        names.iter().filter_map(figure).collect()
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
    fn histogram(&self) -> Vec<(String, Cell)> {
        let latency = &self.stats.latency;
        let counts = latency.iter_log(1000, 2.0).map(|step| step.count_since_last_iteration());
        let bounds = (0..32).map(|power| 1000_u64 << power);
        let rows = once(0).chain(bounds.clone()).zip(bounds).zip(counts);
        let rows: Vec<_> = rows.skip_while(|row| row.1 == 0).collect();
        let max = rows.iter().map(|row| row.1).max().unwrap_or(1);
        let width = self.layout.columns().saturating_sub(HISTOGRAM_TEXT).clamp(MIN_BAR, MAX_BAR);
        let row = |((least, next), count)| {
            let bar = "#".repeat(usize::try_from(count * width as u64 / max).unwrap_or_default());
            let label = format!("{:>7} - {:>7}", nanos(least), nanos(next));
            (label, Cell::Figures(vec![format!("{bar:<width$} {:>6}", percent(count, latency.len()))]))
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
            let quantiles = (!stats.latency.is_empty()).then(|| self.latencies(&QUIET_LATENCIES).join("  "));
            let unsent = (stats.unsent > 0).then(|| format!("{} {}", texts::bench_unsent(), grouped(stats.unsent)));
            let error = |(kind, error): (&FailureKind, &ErrorStats)| {
                format!("{} {}", texts::kind_name(*kind), grouped(error.count))
            };
            let parts =
                [Some(texts::bench_per_second(rate(stats.throughput()))), quantiles, unsent].into_iter().flatten();
            return f.write_str(&parts.chain(stats.errors.iter().map(error)).collect::<Vec<_>>().join("  "));
        }
        let layout = self.layout;
        let mut paragraphs =
            vec![layout.paragraph(&self.title()), layout.table(&self.rows()), layout.table(&self.histogram())];
        paragraphs.extend(self.remarks().iter().map(|remark| layout.paragraph(remark)));
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        f.write_str(&paragraphs.join("\n\n"))
    }
}

/// The README of this crate describes the fields. New ones may be added; none is removed.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, stats, .. } = self;
        let load = &plan.load;
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
        entry(&mut map, "rate", load.rate)?;
        match &plan.workload {
            Workload::Power { request, .. } => {
                map.serialize_entry("op", &request.operation.to_string())?;
                map.serialize_entry("number", &Operand(request.operand))?;
                map.serialize_entry("framing", plan.framing.name())?;
            }
            Workload::Exchange { send, expect } => {
                map.serialize_entry("send", &escaped(send))?;
                map.serialize_entry("expect", &escaped(expect))?;
            }
            Workload::Rps | Workload::Duel => {}
        }
        entry(&mut map, "max_requests", load.requests)?;
        entry(&mut map, "duration_s", plan.duration().map(|duration| duration.as_secs_f64()))?;
        entry(&mut map, "warmup_s", load.warmup.map(|warmup| warmup.as_secs_f64()))?;
        entry(&mut map, "sources", load.sources.as_ref().map(|SourceList(sources)| sources))?;
        map.serialize_entry("timeout_s", &plan.timeout.as_secs_f64())?;
        entry(&mut map, "window_s", plan.window.map(|window| window.as_secs_f64()))?;
        entry(&mut map, "insecure", plan.insecure.then_some(true))?;
        entry(&mut map, "server_name", plan.server_name.as_deref())?;
        map.serialize_entry("version", env!("CARGO_PKG_VERSION"))?;
        map.serialize_entry("started", &humantime::format_rfc3339_millis(self.started).to_string())?;
        map.serialize_entry("requests", &stats.requests())?;
        map.serialize_entry("right", &stats.correct)?;
        map.serialize_entry("errors", &counts)?;
        entry(&mut map, "first_messages", Some(messages).filter(|messages| !messages.is_empty()))?;
        entry(&mut map, "unsent", plan.load.rate.map(|_| stats.unsent))?;
        entry(&mut map, "in_play", (plan.workload == Workload::Duel).then_some(stats.in_play))?;
        map.serialize_entry("seconds", &stats.elapsed.as_secs_f64())?;
        map.serialize_entry("throughput", &stats.throughput())?;
        map.serialize_entry("latency_us", &Latency(&stats.latency))?;
        map.serialize_entry("cpu_us", &micros(stats.cpu_per_reply()))?;
        entry(&mut map, "outcomes", Some(stats.outcomes).filter(|outcomes| *outcomes != Outcomes::default()))?;
        entry(&mut map, "chi_square", fairness.map(|fairness| fairness.chi_square))?;
        entry(&mut map, "p", fairness.map(|fairness| fairness.p))?;
        entry(&mut map, "house", evenness.map(|evenness| HouseMoves { scissors, rock, paper, evenness }))?;
        let expectations: Vec<_> = self.expectations().collect();
        entry(&mut map, "expectations", Some(expectations).filter(|expectations| !expectations.is_empty()))?;
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

/// An operand with the same digits as on the wire.
#[derive(Serialize)]
struct Operand(#[serde(serialize_with = "output::number")] Number);

/// Writes bytes in the notation of `--send` and `--expect`.
fn escaped(bytes: &[u8]) -> String {
    let escape = |&byte: &u8| match byte {
        b'\r' => "\\r".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(escape).collect()
}

/// Latencies in microseconds; empty without replies.
pub(super) struct Latency<'a>(pub(super) &'a Histogram<u64>);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figure = |(name, metric): (&'static str, LatencyMetric)| Some((name, metric.of(self.0)? / 1e3));
        serializer.collect_map(LatencyMetric::ALL.into_iter().filter_map(figure))
    }
}

/// The same requests on short, keep-alive and pipelined connections, as far as the runs were made.
#[derive(Debug)]
pub(super) struct Comparison<'a>(pub(super) &'a [Report]);

impl Comparison<'_> {
    /// The JSON names of the runs.
    pub(super) const NAMES: [&'static str; 3] = ["short", "kept_alive", "pipelined"];

    /// Returns the runs with their JSON names.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Report)> {
        Self::NAMES.into_iter().zip(self.0)
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

    /// Returns a table with a column per run, or a table per run where that is too wide.
    fn table(&self, layout: Layout) -> String {
        let cells = |run: &Report| {
            let stats = &run.stats;
            let latency = |metric: LatencyMetric| metric.of(&stats.latency).map_or_else(|| "-".to_owned(), time);
            let cpu = if stats.latency.is_empty() { "-".to_owned() } else { nanos(stats.cpu_per_reply()) };
            [
                run.column(),
                texts::bench_per_second(rate(stats.throughput())),
                latency(LatencyMetric::Quantile(0.5)),
                latency(LatencyMetric::Quantile(0.99)),
                latency(LatencyMetric::Max),
                cpu,
                grouped(stats.error_count()),
            ]
        };
        let runs: Vec<_> = self.0.iter().map(cells).collect();
        let labels =
            ["", &texts::bench_throughput(), "p50", "p99", "max", &texts::bench_cpu_row(), &texts::bench_errors()];
        let wide = columns(&labels, &runs);
        if wide.lines().all(|line| line.width() <= layout.columns()) {
            return wide;
        }
        runs.iter().map(|run| columns(&labels, std::slice::from_ref(run))).collect::<Vec<_>>().join("\n\n")
    }
}

/// Formats a table with a label per row and a column per run, right-aligned.
pub(super) fn columns<const ROWS: usize>(labels: &[&str; ROWS], runs: &[[String; ROWS]]) -> String {
    let label_width = labels.iter().map(|label| label.width()).max().unwrap_or_default();
    let mut rows = labels.map(|label| format!("  {label}{:1$}", "", label_width - label.width()));
    for cells in runs {
        let width = cells.iter().map(|cell| cell.width()).max().unwrap_or_default();
        for (row, cell) in rows.iter_mut().zip(cells) {
            *row += &" ".repeat(4 + width - cell.width());
            *row += cell;
        }
    }
    rows.join("\n")
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Report { plan, quiet, layout, .. }) = self.0.first() else { return Ok(()) };
        if *quiet {
            let lines: Vec<_> = self.named().map(|(name, run)| format!("{name}: {run}")).collect();
            return f.write_str(&lines.join("\n"));
        }
        let Workload::Power { request, .. } = plan.workload else { return Ok(()) };
        let connections = grouped(plan.load.connections);
        let title = texts::bench_compared(plan.server(), request, &connections);
        let mut paragraphs = vec![title];
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
        let mut paragraphs: Vec<_> = paragraphs.iter().map(|paragraph| layout.paragraph(paragraph)).collect();
        paragraphs.insert(1, self.table(*layout));
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

fn saturated_text(threads: u64) -> String {
    let more = 2 * threads;
    if threads == 1 { texts::bench_saturated(more) } else { texts::bench_saturated_threads(threads, more) }
}

/// Formats a fairness test.
fn verdict(Fairness { chi_square, p }: Fairness) -> String {
    let (chi_square, is_likely) = (format!("{chi_square:.2}"), p >= MIN_P);
    let p = format!("{p:.3}");
    if is_likely { texts::bench_fair(chi_square, p, MIN_P) } else { texts::bench_unfair(chi_square, p, MIN_P) }
}
