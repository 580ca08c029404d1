//! `bench compare`: which figures of two or more reports differ beyond the noise of their runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::figures::{float, rate, time};
use super::layout::{Cell, Layout};
use super::report::ALL_LATENCIES;
use crate::error::CliError;
use crate::language::{explain, texts};
use crate::output::SCHEMA;
use crate::session::Session;

/// Maximum size of a file in bytes. A report takes about 1 kB.
const MAX_FILE: u64 = 1 << 20;

/// Maximum number of runs in a file. The exact test takes time with the fourth power of this.
const MAX_RUNS: usize = 50;

/// A figure differs if the test has a probability below this.
const MAX_P: f64 = 0.01;

/// The fields of a report that describe the load. Some reports lack some of them.
const PARAMETERS: [&str; 20] = [
    "address",
    "keep_alive",
    "connections",
    "pipeline",
    "threads",
    "rate",
    "op",
    "number",
    "framing",
    "send",
    "expect",
    "max_requests",
    "duration_s",
    "warmup_s",
    "sources",
    "timeout_s",
    "window_s",
    "insecure",
    "server_name",
    "version",
];

/// Compares the runs of each file with those of the first one.
///
/// # Errors
///
/// [`CliError::Usage`] if a file has no reports, or if the reports have different workloads.
pub(super) fn run(files: &[PathBuf], session: &Session) -> Result<(), CliError> {
    if files.len() < 2 {
        return Err(CliError::Usage(texts::compare_one_file()));
    }
    let files: Vec<_> = files.iter().map(|path| Runs::read(path)).collect::<Result<_, _>>()?;
    let Some((baseline, others)) = files.split_first() else { return Ok(()) };
    for (number, other) in others.iter().enumerate() {
        if other.workload != baseline.workload {
            let Runs { file, workload, .. } = other;
            let message = texts::compare_workloads(&baseline.file, &baseline.workload, file, workload);
            return Err(CliError::Usage(message));
        }
        let comparison = Comparison::new(baseline, other);
        let between = if number > 0 { "\n" } else { "" };
        session.output.print(format_args!("{between}{comparison}"), &comparison)?;
    }
    Ok(())
}

/// The reports in a file: runs of the same load.
#[derive(Debug)]
struct Runs {
    file: String,
    workload: String,
    reports: Vec<Map<String, Value>>,
}

impl Runs {
    /// Reads a file with one report per line.
    fn read(path: &Path) -> Result<Self, CliError> {
        let file = path.display().to_string();
        let wrong = |reason| CliError::Usage(texts::compare_file(&file, reason));
        let mut text = String::new();
        let read = File::open(path).and_then(|opened| opened.take(MAX_FILE + 1).read_to_string(&mut text));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong(texts::compare_not_reports()),
            _ => wrong(explain::system(&error)),
        })?;
        if text.len() as u64 > MAX_FILE {
            return Err(wrong(texts::compare_too_long(MAX_FILE)));
        }
        let mut reports = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let report: Option<Map<_, _>> = serde_json::from_str(line).ok();
            let report = report.filter(|report| report.get("schema") == Some(&SCHEMA.into()));
            let report = report.ok_or_else(|| wrong(texts::compare_not_reports()))?;
            match report.get("bench").and_then(Value::as_str) {
                Some("compare") => return Err(wrong(texts::compare_is_comparison())),
                Some(_) => reports.push(report),
                None => return Err(wrong(texts::compare_not_reports())),
            }
        }
        if reports.len() > MAX_RUNS {
            return Err(wrong(texts::compare_too_many(reports.len(), MAX_RUNS)));
        }
        let mut workloads = reports.iter().filter_map(|report| report["bench"].as_str());
        let workload = workloads.next().ok_or_else(|| wrong(texts::compare_not_reports()))?.to_owned();
        if let Some(other) = workloads.find(|other| *other != workload) {
            return Err(CliError::Usage(texts::compare_workloads(&file, &workload, &file, other)));
        }
        Ok(Self { file, workload, reports })
    }

    /// Returns the distinct values of a parameter, in the order of the runs.
    fn parameter(&self, name: &str) -> Vec<&Value> {
        let mut distinct = Vec::new();
        for value in self.reports.iter().map(|report| report.get(name).unwrap_or(&Value::Null)) {
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        distinct
    }

    /// Whether a run has this figure.
    fn has(&self, figure: Figure) -> bool {
        self.reports.iter().any(|report| figure.of(report).is_some())
    }

    /// Returns a figure of every run; `None` if a run lacks it.
    fn figures(&self, figure: Figure) -> Option<Vec<f64>> {
        self.reports.iter().map(|report| figure.of(report)).collect()
    }
}

/// A figure of a report.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Throughput,
    Latency(&'static str),
    Cpu,
    Errors,
    Unsent,
}

impl Figure {
    fn all() -> impl Iterator<Item = Self> {
        let latencies = ALL_LATENCIES.map(Self::Latency);
        [Self::Throughput].into_iter().chain(latencies).chain([Self::Cpu, Self::Errors, Self::Unsent])
    }

    /// Returns the name in `--json`, as in a report.
    fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency(name) => name,
            Self::Cpu => "cpu_us",
            Self::Errors => "errors",
            Self::Unsent => "unsent",
        }
    }

    fn label(self) -> String {
        match self {
            Self::Throughput => texts::bench_throughput(),
            Self::Latency(name) => name.to_owned(),
            Self::Cpu => texts::bench_cpu_row(),
            Self::Errors => texts::bench_errors(),
            Self::Unsent => texts::bench_unsent(),
        }
    }

    /// Returns the figure of a report.
    fn of(self, report: &Map<String, Value>) -> Option<f64> {
        match self {
            Self::Latency(name) => report.get("latency_us")?.get(name)?.as_f64(),
            Self::Errors => {
                let counts = report.get("errors")?.as_object()?.values().map(Value::as_u64);
                counts.sum::<Option<u64>>().map(float)
            }
            Self::Throughput | Self::Cpu | Self::Unsent => report.get(self.name())?.as_f64(),
        }
        .filter(|figure| figure.is_finite() && *figure >= 0.0)
    }

    fn text(self, figure: f64) -> String {
        match self {
            Self::Throughput => texts::bench_per_second(rate(figure)),
            Self::Latency(_) | Self::Cpu => time(figure * 1e3),
            Self::Errors | Self::Unsent => format!("{figure:.0}"),
        }
    }
}

/// Whether a figure differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Better,
    Worse,
    /// No difference beyond the noise.
    WithinNoise,
    /// The same in all runs.
    Equal,
    /// There are too few runs to know the noise.
    Unknown,
}

/// A figure of two files.
#[derive(Debug, Serialize)]
struct Difference {
    #[serde(skip)]
    figure: Figure,
    /// The medians.
    baseline: f64,
    other: f64,
    /// The relative change of the median; `None` from zero.
    change: Option<f64>,
    /// The probability of ranks at least this uneven if the files do not differ.
    p: f64,
    verdict: Verdict,
}

impl Difference {
    fn new(figure: Figure, baseline: &mut [f64], other: &mut [f64]) -> Self {
        let test = RankTest::new(baseline, other);
        let (before, after) = (median(baseline), median(other));
        let is_lower_better = !matches!(figure, Figure::Throughput);
        let verdict = match test {
            // Without any difference the noise does not matter.
            _ if baseline.iter().chain(other.iter()).all(|figure| figure.total_cmp(&before).is_eq()) => Verdict::Equal,
            RankTest { least_p, .. } if least_p >= MAX_P => Verdict::Unknown,
            RankTest { p, .. } if p >= MAX_P => Verdict::WithinNoise,
            RankTest { is_lower, .. } if is_lower == is_lower_better => Verdict::Better,
            _ => Verdict::Worse,
        };
        let change = (before > 0.0).then(|| after / before - 1.0);
        Self { figure, baseline: before, other: after, change, p: test.p, verdict }
    }

    /// Returns the parts of a row: both medians, the change and the verdict.
    fn parts(&self) -> [String; 4] {
        let change = self.change.map_or_else(String::new, |change| format!("{:+.1} %", 100.0 * change));
        let p = format!("{:.3}", self.p);
        let verdict = match self.verdict {
            Verdict::Better => texts::compare_better(p),
            Verdict::Worse => texts::compare_worse(p),
            Verdict::WithinNoise => texts::compare_within_noise(p),
            Verdict::Equal => texts::compare_equal(),
            Verdict::Unknown => texts::compare_unknown(),
        };
        [self.figure.text(self.baseline), self.figure.text(self.other), change, verdict]
    }
}

/// Returns the median of figures, at least one.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// The rank test of Mann and Whitney: whether the figures of one file tend to be lower than those of the other.
#[derive(Clone, Copy, Debug)]
struct RankTest {
    /// The two-sided probability, exact for these ties: the share of all ways to divide the figures between the files
    /// whose rank sum is at least as far from its mean.
    p: f64,
    /// The lowest probability that this many runs can have.
    least_p: f64,
    /// Whether the figures of the second file are the lower ones.
    is_lower: bool,
}

impl RankTest {
    fn new(baseline: &[f64], other: &[f64]) -> Self {
        let mut all: Vec<_> = baseline.iter().chain(other).copied().collect();
        all.sort_unstable_by(f64::total_cmp);
        // Equal figures share the mean of their ranks. Twice that is a whole number.
        let twice_rank = |figure: &f64| {
            let below = all.partition_point(|other| other < figure);
            let up_to = all.partition_point(|other| other <= figure);
            below + up_to + 1
        };
        let ranks: Vec<_> = all.iter().map(twice_rank).collect();
        let (taken, max_sum) = (baseline.len(), ranks.iter().sum::<usize>());
        // The number of ways to choose this many figures with this sum of ranks.
        let mut ways = vec![vec![0.0; max_sum + 1]; taken + 1];
        ways[0][0] = 1.0;
        for &rank in &ranks {
            for count in (1..=taken).rev() {
                for sum in (rank..=max_sum).rev() {
                    ways[count][sum] += ways[count - 1][sum - rank];
                }
            }
        }
        let mean = taken * (all.len() + 1);
        let observed: usize = baseline.iter().map(twice_rank).sum();
        let total: f64 = ways[taken].iter().sum();
        let far = |sum: usize| sum.abs_diff(mean) >= observed.abs_diff(mean);
        let extreme: f64 = ways[taken].iter().enumerate().filter(|&(sum, _)| far(sum)).map(|(_, ways)| ways).sum();
        Self { p: extreme / total, least_p: 2.0 / total, is_lower: observed > mean }
    }
}

/// The runs of a file compared with those of the first one.
#[derive(Debug)]
struct Comparison<'a> {
    baseline: &'a Runs,
    other: &'a Runs,
    differences: Vec<Difference>,
    /// The figures that only some runs have.
    incomplete: Vec<Figure>,
}

impl<'a> Comparison<'a> {
    fn new(baseline: &'a Runs, other: &'a Runs) -> Self {
        let (mut differences, mut incomplete) = (Vec::new(), Vec::new());
        for figure in Figure::all() {
            match (baseline.figures(figure), other.figures(figure)) {
                (Some(mut before), Some(mut after)) => {
                    differences.push(Difference::new(figure, &mut before, &mut after));
                }
                _ if baseline.has(figure) || other.has(figure) => incomplete.push(figure),
                _ => {}
            }
        }
        Self { baseline, other, differences, incomplete }
    }

    /// Returns the parameters whose values differ between the files, or between the runs of a file.
    fn parameters(&self) -> impl Iterator<Item = (&'static str, [Vec<&'a Value>; 2])> {
        let values = |name| (name, [self.baseline.parameter(name), self.other.parameter(name)]);
        PARAMETERS.into_iter().map(values).filter(|(_, [before, after])| before != after || before.len() > 1)
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { baseline, other, differences, incomplete } = self;
        let layout = Layout::of_stdout();
        let title = texts::compare_title(
            &baseline.workload,
            &baseline.file,
            baseline.reports.len(),
            &other.file,
            other.reports.len(),
        );
        let mut paragraphs = vec![layout.paragraph(&title)];
        let list = |values: &[&Value]| {
            let text = |value: &&Value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            values.iter().map(text).collect::<Vec<_>>().join(&texts::list_separator())
        };
        let parameter = |(name, [before, after]): (&str, [Vec<&Value>; 2])| {
            (name.to_owned(), Cell::Prose(format!("{} -> {}", list(&before), list(&after))))
        };
        let parameters: Vec<_> = self.parameters().map(parameter).collect();
        if !parameters.is_empty() {
            paragraphs.push(texts::compare_parameters() + "\n\n" + &layout.table(&parameters));
        }
        let rows: Vec<_> =
            differences.iter().map(|difference| (difference.figure.label(), difference.parts())).collect();
        let width = |part: usize| rows.iter().map(|(_, parts)| parts[part].width()).max().unwrap_or_default();
        let [before_width, after_width, change_width] = [0, 1, 2].map(width);
        let pad = |text: &str, width: usize| " ".repeat(width - text.width());
        let row = |(label, [before, after, change, verdict]): (String, [String; 4])| {
            let medians = pad(&before, before_width) + &before + " -> " + &after + &pad(&after, after_width);
            (label, Cell::Figures(vec![medians, pad(&change, change_width) + &change, verdict]))
        };
        paragraphs.push(layout.table(&rows.into_iter().map(row).collect::<Vec<_>>()));
        if !incomplete.is_empty() {
            let names: Vec<_> = incomplete.iter().map(|figure| figure.label()).collect();
            paragraphs.push(layout.paragraph(&texts::compare_incomplete(names.join(&texts::list_separator()))));
        }
        if differences.iter().any(|difference| difference.verdict == Verdict::Unknown) {
            paragraphs.push(layout.paragraph(&texts::compare_noise_unknown()));
        }
        f.write_str(&paragraphs.join("\n\n"))
    }
}

/// A file of a comparison in `--json`.
#[derive(Serialize)]
struct Side<'a> {
    file: &'a str,
    runs: usize,
}

impl<'a> From<&'a Runs> for Side<'a> {
    fn from(Runs { file, reports, .. }: &'a Runs) -> Self {
        Self { file, runs: reports.len() }
    }
}

impl Serialize for Comparison<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let differences = self.differences.iter().map(|difference| (difference.figure.name(), difference));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("compare", &self.baseline.workload)?;
        map.serialize_entry("baseline", &Side::from(self.baseline))?;
        map.serialize_entry("other", &Side::from(self.other))?;
        map.serialize_entry("parameters", &self.parameters().collect::<BTreeMap<_, _>>())?;
        map.serialize_entry("figures", &differences.collect::<BTreeMap<_, _>>())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_test_is_exact() {
        let p = |one: &[f64], other: &[f64]| RankTest::new(one, other).p;
        let is = |p: f64, expected: f64| assert!((p - expected).abs() < 1e-12, "{p} is not {expected}");
        // Of the 252 ways to choose 5 of 10 ranks, two are as extreme as this one, and eight as the next.
        is(p(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0);
        is(p(&[1.0, 2.0, 3.0, 5.0, 6.0], &[4.0, 7.0, 8.0, 9.0, 10.0]), 8.0 / 252.0);
        is(p(&[7.0; 5], &[7.0; 5]), 1.0);
        is(p(&[1.0], &[2.0]), 1.0);
        // Two of four figures are equal: the ranks are 1, 2.5, 2.5 and 4. Of six rank sums, four are 1.5 off the mean.
        is(p(&[1.0, 2.0], &[2.0, 3.0]), 4.0 / 6.0);
        let (many, more): (Vec<_>, Vec<_>) = ((0..50).map(float).collect(), (50..100).map(float).collect());
        assert!(p(&many, &more) < 1e-25);
    }

    #[test]
    fn a_difference_is_better_worse_noise_or_unknown() {
        let verdict = |figure, one: &[f64], other: &[f64]| {
            Difference::new(figure, &mut one.to_vec(), &mut other.to_vec()).verdict
        };
        let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(verdict(Figure::Throughput, &low, &high), Verdict::Better);
        assert_eq!(verdict(Figure::Throughput, &high, &low), Verdict::Worse);
        assert_eq!(verdict(Figure::Cpu, &high, &low), Verdict::Better);
        assert_eq!(verdict(Figure::Latency("p99"), &low, &high), Verdict::Worse);
        assert_eq!(verdict(Figure::Cpu, &[1.0, 3.0, 5.0, 7.0, 9.0], &[2.0, 4.0, 6.0, 8.0, 10.0]), Verdict::WithinNoise);
        // Four runs of each cannot have a lower probability than 2 / 70.
        assert_eq!(verdict(Figure::Cpu, &low[..4], &high[..4]), Verdict::Unknown);
        assert_eq!(verdict(Figure::Errors, &[0.0], &[0.0]), Verdict::Equal);
    }
}
