//! `bench`: latency figures and parameters of a report, thresholds, series, comparisons of reports, and lines that
//! fit the terminal.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use proto::testing::TEST_TIMEOUT;
use serde_json::{Value, json};
use support::fake::Fake;
use support::load::{after_first_exchange, reply, reply_to_each, run_bench, run_bench_ok};
use support::terminal::Terminal;
use support::{client, real, run};
use tempfile::tempdir;
use unicode_width::UnicodeWidthStr;

/// The latency figures in the order of a JSON report.
const FIGURES: [&str; 9] = ["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];

/// Returns the objects of a file with one per line.
fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file is there");
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn a_report_has_all_latency_figures_in_order() {
    let server = real::power();
    let report = run_bench_ok(100, &format!("power -n 100 --keep-alive --addr {server}"));
    let latency = report["latency_us"].as_object().expect("an object");
    assert!(latency.len() == FIGURES.len() && FIGURES.iter().all(|name| latency[*name].is_number()), "{report}");
    let quantiles: Vec<_> = FIGURES[2..].iter().map(|name| latency[*name].as_f64()).collect();
    assert!(quantiles.is_sorted() && latency["min"].as_f64() <= quantiles[0], "{report}");
    let table = run(&format!("bench power -n 100 --keep-alive --addr {server}")).stdout;
    let (_, rows) = table.split_once("\n  latency     p50 ").expect("a row");
    let (rows, _) = rows.split_once("\n  client ").expect("the next row");
    for name in ["  p90 ", "  p95 ", "  p99 ", "  p99.9 ", "p99.99 ", "max ", "min ", "mean "] {
        assert!(rows.contains(name), "{name:?} is not in {rows:?}");
    }
    assert!(rows.lines().count() == 2 && table.lines().skip(1).all(|line| line.width() <= 80), "{table}");
}

#[test]
fn a_report_has_all_parameters_that_repeat_the_run() {
    let server = real::power();
    let report = run_bench_ok(
        20,
        &format!(
            "power -n 20 -z 1h --warmup 10ms -c 2 --threads 2 --rate 1k --op cube --number -0.10 --framing line \
             --timeout 7s --sources 127.0.0.2,127.0.0.3 --insecure --server-name power.example --addr {server}"
        ),
    );
    for (name, value) in [
        ("bench", json!("power")),
        ("address", json!(server.to_string())),
        ("keep_alive", json!(false)),
        ("connections", json!(2)),
        ("pipeline", json!(1)),
        ("threads", json!(2)),
        ("rate", json!(1000)),
        ("op", json!("cube")),
        ("number", json!(-0.1)),
        ("framing", json!("line")),
        ("max_requests", json!(20)),
        ("duration_s", json!(3600.0)),
        ("warmup_s", json!(0.01)),
        ("sources", json!(["127.0.0.2", "127.0.0.3"])),
        ("timeout_s", json!(7.0)),
        ("insecure", json!(true)),
        ("server_name", json!("power.example")),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(report[name], value, "{name}: {report}");
    }
    let started = report["started"].as_str().expect("a time");
    assert!(started.len() == "2026-01-01T00:00:00.000Z".len() && started.ends_with('Z'), "{started}");

    let exchange = format!(r"exchange -n 5 --pipeline 2 --send a2\n --expect d4.0\x0a --addr {server}");
    let report = run_bench_ok(5, &exchange);
    assert_eq!((&report["send"], &report["expect"]), (&json!(r"a2\n"), &json!(r"d4.0\n")), "{report}");
    assert!(report.get("insecure").is_none() && report.get("server_name").is_none(), "{report}");
    let duel = real::duel(Duration::from_secs(30));
    let report = run_bench_ok(10, &format!("duel -n 10 -c 2 --window 3s --addr {duel}"));
    assert_eq!((&report["window_s"], &report["timeout_s"]), (&json!(3.0), &json!(5.0)), "{report}");
    assert_eq!(report["duration_s"], Value::Null, "only the count limits this run: {report}");
}

#[test]
fn a_threshold_that_is_not_met_exits_with_1_and_the_figure() {
    let server = real::power();
    let load = format!("-n 50 --keep-alive --addr {server}");
    run(&format!("bench power {load} --expect p99.9<1h,errors<=0,throughput>0.1 -q")).assert_exit_code(0);
    let failed = run(&format!("bench power {load} --expect p99<1ns,p50<1h --expect throughput>=1000m,errors>1%"));
    failed.assert_exit_code(1);
    assert!(failed.stdout.contains("  requests    50 correct replies"), "{failed:?}");
    let messages: Vec<_> = failed.stderr.lines().collect();
    assert_eq!(messages.len(), 3, "{failed:?}");
    for (message, (threshold, unit)) in
        messages.iter().zip([("p99<1ns", "s"), ("throughput>=1000m", "/s"), ("errors>1%", "0.000 %")])
    {
        let beginning = format!("cli-client: threshold not met: {threshold}: measured ");
        assert!(message.starts_with(&beginning) && message.ends_with(unit), "{failed:?}");
    }
    let report = run_bench(1, &format!("power {load} --threshold min>1h --threshold unsent<1"));
    let [failed, met] = [0, 1].map(|number| &report["expectations"][number]);
    assert_eq!((&failed["expect"], &failed["ok"]), (&json!("min>1h"), &json!(false)), "{report}");
    assert_eq!(failed["value_us"], report["latency_us"]["min"], "{report}");
    assert_eq!(*met, json!({"expect": "unsent<1", "value": 0.0, "ok": true}), "{report}");
    assert_eq!(run_bench_ok(5, &format!("power -n 5 --addr {server}"))["expectations"], Value::Null);

    // Of a comparison, each run has to meet them.
    let compared = run(&format!("bench power -n 50 --compare --pipeline 8 --addr {server} --expect max<1ns -q"));
    compared.assert_exit_code(1);
    for run in ["short", "keep-alive", "8 in flight"] {
        let message = format!("cli-client: {run}: threshold not met: max<1ns: measured ");
        assert!(compared.stderr.contains(&message), "{message} is not in {compared:?}");
    }
    let chinese = run(&format!("bench power {load} --expect max<1ns -q --lang zh"));
    assert!(chinese.stderr.starts_with("cli-client: 未达到阈值：max<1ns：实测 "), "{chinese:?}");
}

#[test]
fn an_exchange_has_thresholds_beside_its_expected_reply() {
    let server = real::power();
    let load = format!(r"exchange -n 5 --send a2\n --expect d4.0\n --addr {server}");
    run_bench_ok(5, &format!("{load} --threshold p50<1h"));
    run_bench(1, &format!("{load} --threshold p50<1ns"));
    for (load, option) in [("power --expect p99", "--expect"), ("exchange --threshold p99<2", "--threshold")] {
        let wrong = run(&format!("bench {load}"));
        wrong.assert_usage_error(&format!("for '{option} <CONDITION>': expected a metric, an operator and a value"));
    }
}

#[test]
fn errors_decide_the_exit_code_before_thresholds() {
    let server = after_first_exchange(|stream| reply(stream, b"220 hello"));
    let failed = run(&format!("bench power -n 2 -c 1 --addr {server} --expect errors<50% -q"));
    failed.assert_exit_code(5);
    assert_eq!(failed.stderr, "cli-client: threshold not met: errors<50%: measured 100.000 %\n", "{failed:?}");
    // A run without replies has no latency, so it misses every threshold of latency.
    let server = after_first_exchange(|stream| reply(stream, b"220 hello"));
    let report = run_bench(5, &format!("power -n 2 -c 1 --addr {server} --expect max<1h"));
    assert_eq!(report["expectations"], json!([{"expect": "max<1h", "value_us": null, "ok": false}]), "{report}");
}

#[test]
fn a_series_has_an_object_per_second_that_add_up_to_the_report() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("series.json");
    let server = real::rps();
    for flags in ["", "--rate 2k --threads 2"] {
        let load = format!("rps -c 4 -z 2500ms --warmup 300ms {flags} --addr {server}");
        let report = run_bench(0, &format!("{load} --series {}", file.display()));
        let series = objects(&file);
        // One for the warm-up, and then at most one per second. On a slow machine a second may be missing.
        assert!((2..=4).contains(&series.len()), "{series:?}");
        for (number, object) in series.iter().enumerate() {
            assert_eq!((&object["schema"], &object["second"]), (&json!(1), &json!(number + 1)), "{object}");
            assert_eq!(object["warmup"], json!(number == 0), "{object}");
            assert_eq!(object["errors"], json!({}), "{object}");
            assert_eq!(object["backlog"].is_u64(), flags.contains("--rate"), "{object}");
            let latency = object["latency_us"].as_object().expect("an object");
            assert!(object["right"] == json!(0) || latency.len() == FIGURES.len(), "{object}");
        }
        let counted: u64 = series[1..].iter().filter_map(|object| object["right"].as_u64()).sum();
        assert_eq!(Some(counted), report["right"].as_u64(), "{series:?} {report}");
        let end = series.last().map(|last| last["start_s"].as_f64().zip(last["seconds"].as_f64()));
        assert!(end.flatten().is_some_and(|(start, seconds)| start + seconds >= 2.8), "{series:?}");
    }
}

#[test]
fn a_series_is_written_while_the_load_runs() {
    let folder = tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is installed").success());
    let server = Fake::new(|stream| reply_to_each(stream, || {}));
    let load = format!("bench power --keep-alive -c 1 -z 1h --addr {server} --series {}", pipe.display());
    let running = client(&load).start();
    let (sender, lines) = channel();
    thread::spawn(move || {
        let pipe = BufReader::new(File::open(pipe).expect("the pipe opens"));
        pipe.lines().try_for_each(|line| sender.send(line.expect("a line")))
    });
    let second = |expected: u64| {
        let line = lines.recv_timeout(TEST_TIMEOUT).expect("another second");
        let object: Value = serde_json::from_str(&line).expect("a JSON object");
        assert_eq!(object["second"], json!(expected), "{object}");
    };
    second(1);
    second(2);
    running.interrupt();
    assert_eq!(running.wait().signal, Some(2));
    // The last second is written, too.
    second(3);
}

#[test]
fn a_series_counts_errors_and_names_the_runs_of_a_comparison() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("series.json");
    let server = after_first_exchange(|stream| reply(stream, b"220 hello"));
    run_bench(5, &format!("power -n 3 -c 1 --addr {server} --series {}", file.display()));
    let [object] = &objects(&file)[..] else { panic!("one object") };
    assert_eq!((&object["requests"], &object["right"]), (&json!(3), &json!(0)), "{object}");
    assert_eq!((&object["errors"], &object["latency_us"]), (&json!({"protocol": 3}), &json!({})), "{object}");

    let server = real::power();
    run_bench(0, &format!("power --compare -n 20 --addr {server} --series {}", file.display()));
    let names: Vec<_> = objects(&file).iter().map(|object| object["run"].clone()).collect();
    assert_eq!(names, ["short", "kept_alive", "pipelined"].map(Value::from));
}

#[test]
fn a_series_that_cannot_be_written_exits_with_1() {
    let server = real::power();
    run(&format!("bench power -n 5 --series /no/such/folder/file --addr {server}")).assert_failed(
        1,
        "",
        &["--series: /no/such/folder/file: No such file or directory"],
    );
    // The report is still printed.
    let full = run(&format!("bench power -n 5 -q --series /dev/full --addr {server}"));
    full.assert_exit_code(1);
    assert!(full.stdout.contains("/s  p50 "), "{full:?}");
    assert_eq!(full.stderr, "cli-client: --series: /dev/full: No space left on device (os error 28)\n", "{full:?}");
    run("bench power --series -").assert_usage_error("for '--series <FILE>': expected the name of a file");
}

/// Writes a file with one report per throughput.
fn reports(path: &Path, throughputs: &[f64], connections: u64) -> String {
    let mut text = String::new();
    for throughput in throughputs {
        let report = json!({
            "schema": 1, "bench": "rps", "address": "h:1", "connections": connections, "errors": {},
            "throughput": throughput, "latency_us": {"p50": 1e6 / throughput, "max": 2.0}, "cpu_us": 3.0,
        });
        writeln!(text, "{report}").expect("text grows");
    }
    fs::write(path, text).expect("the file is written");
    path.display().to_string()
}

#[test]
fn compare_says_what_differs_beyond_the_noise() {
    let folder = tempdir().expect("a folder");
    let path = |name| folder.path().join(name);
    let slow = reports(&path("slow"), &[100.0, 101.0, 102.0, 103.0, 104.0], 8);
    let fast = reports(&path("fast"), &[121.0, 122.0, 120.0, 124.0, 123.0], 16);
    let mixed = reports(&path("mixed"), &[100.5, 101.5, 102.5, 103.5, 99.5], 8);
    let one = reports(&path("one"), &[200.0], 8);
    let compared = run(&format!("bench compare {slow} {fast} {mixed} {one}"));
    compared.assert_exit_code(0);
    let pairs: Vec<_> = compared.stdout.split("\n\nrps: ").collect();
    assert_eq!(pairs.len(), 3, "{compared:?}");
    for (pair, rows) in pairs.iter().zip([
        [
            "  connections  8 -> 16\n",
            "  throughput      102/s -> 122/s    +19.6 %  better (p = 0.008)\n",
            "  p50           9.80 ms -> 8.20 ms  -16.4 %  better (p = 0.008)\n",
        ],
        ["(runs: 5)", "within noise (p = ", "  max           2.00 µs -> 2.00 µs  +0.0 %  equal\n"],
        ["(runs: 1)", "+96.1 %  noise unknown\n", "make at least 5 runs for each file"],
    ]) {
        for row in rows {
            assert!(pair.contains(row), "{row:?} is not in {pair}");
        }
    }
    assert!(!pairs[1].contains("parameters"), "{compared:?}");

    let report = run(&format!("bench compare {fast} {slow} --json"));
    let report: Value = serde_json::from_str(&report.stdout).expect("one JSON object");
    assert_eq!(report["baseline"], json!({"file": fast, "runs": 5}), "{report}");
    assert_eq!(report["parameters"], json!({"connections": [[16], [8]]}), "{report}");
    let throughput = &report["figures"]["throughput"];
    assert_eq!((&throughput["baseline"], &throughput["other"]), (&json!(122.0), &json!(102.0)), "{report}");
    assert_eq!((&throughput["verdict"], &report["figures"]["max"]["verdict"]), (&json!("worse"), &json!("equal")));
    assert!(throughput["p"].as_f64() < Some(0.01) && throughput["change"].as_f64() < Some(-0.16), "{report}");
}

#[test]
fn compare_names_figures_that_only_some_runs_have_and_each_value_of_a_parameter_once() {
    let folder = tempdir().expect("a folder");
    let write = |name: &str, runs: &[(u64, Value)]| {
        let path = folder.path().join(name);
        let report = |(connections, more): &(u64, Value)| {
            let mut report = json!({"schema": 1, "bench": "rps", "connections": connections, "throughput": 1.0});
            report.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            report.to_string()
        };
        fs::write(&path, runs.iter().map(report).collect::<Vec<_>>().join("\n")).expect("the file is written");
        path.display().to_string()
    };
    let whole = json!({"cpu_us": 3.0, "latency_us": {"p50": 1.0}});
    let one = write("one", &[(8, whole.clone()), (16, whole.clone()), (8, whole)]);
    let other = write("other", &[(8, json!({"latency_us": {"p50": 1.0}, "unsent": 0}))]);
    for (language, values, names) in [
        ("en", "8, 16", "\n\nNot compared, because a run lacks them: client's CPU, not sent\n"),
        ("zh", "8、16", "\n\n有的运行缺少这些数值，未比较：客户端 CPU、未发出\n"),
    ] {
        let compared = run(&format!("bench compare {one} {other} --lang {language}"));
        assert!(compared.stdout.contains(names), "{compared:?}");
        assert!(compared.stdout.contains(&format!("  connections  {values} -> 8\n")), "{compared:?}");
        assert!(compared.stdout.contains("  p50 ") && !compared.stdout.contains("p90"), "{compared:?}");
    }
    let same = run(&format!("bench compare {one} {one}"));
    assert!(!same.stdout.contains("Not compared"), "{same:?}");
}

#[test]
fn compare_reads_what_bench_writes_and_nothing_else() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("reports");
    let server = real::power();
    let write = |text: &str| fs::write(&path, text).expect("the file is written");
    let compare = || run(&format!("bench compare {0} {0}", path.display()));
    let single = run(&format!("bench power -n 50 --json --addr {server}")).stdout;
    let duplicate = single.repeat(5);
    write(&duplicate);
    let compared = compare();
    compared.assert_exit_code(0);
    assert!(compared.stdout.contains("  p99.99 ") && !compared.stdout.contains("better"), "{compared:?}");
    assert!(!compared.stdout.contains("parameters"), "{compared:?}");

    let comparison = run(&format!("bench power --compare -n 5 --json --addr {server}")).stdout;
    let other_workload = single.replace("\"bench\":\"power\"", "\"bench\":\"rps\"");
    for (text, message) in [
        (comparison.as_str(), "a report of --compare has three loads"),
        (&(single.clone() + &other_workload), "compare runs of the same workload"),
        ("", "each line must be a report of 'bench --json'; five runs: for i in"),
        ("{}\n", "must be a report of"),
        ("[1]\n", "must be a report of"),
        (&(single.clone() + "{\"schema\":1,\"second\":1}\n"), "must be a report of"),
        (&single.repeat(51), "51 runs; at most 50 are allowed"),
        (&" ".repeat((1 << 20) + 1), "longer than 1048576 bytes"),
    ] {
        write(text);
        compare().assert_failed(2, "", &[message]);
    }
    fs::write(&path, b"\xff\n").expect("the file is written");
    compare().assert_failed(2, "", &["must be a report of"]);
    run("bench compare /no/such/file /no/such/file").assert_failed(2, "", &["/no/such/file: No such file"]);
    run(&format!("bench compare {}", path.display())).assert_failed(2, "", &["needs two or more files"]);
    run("bench compare").assert_usage_error("missing: <FILE>...");
}

#[test]
fn a_report_fits_a_narrow_terminal() {
    let (power, rps) = (real::power(), real::rps());
    for language in ["en", "zh"] {
        let failing = after_first_exchange(|stream| reply(stream, b"220 hello"));
        for (load, last) in [
            (format!("rps -n 2000 --addr {rps}"), "%\r\n"),
            (format!("power --keep-alive -n 2000 --addr {power}"), "%\r\n"),
            (format!("power -n 2 -c 1 --addr {failing}"), "\r\n"),
            (format!("power --compare -n 100 --addr {power}"), "\r\n"),
        ] {
            let client = client(&format!("bench {load} --lang {language}"));
            let mut terminal = Terminal::start_with_columns(client, 40);
            let shown = terminal.see_rest();
            assert!(shown.ends_with(last) && shown.contains("p50") | shown.contains("220 hello"), "{shown:?}");
            for line in shown.lines() {
                // The status line clears itself.
                let line = line.rsplit("\x1b[K").next().unwrap_or_default();
                assert!(line.width() <= 40, "{load}: {} columns: {line:?}", line.width());
            }
        }
    }
}

#[test]
fn the_progress_does_not_wrap_at_a_narrow_terminal() {
    let server = Fake::new(|stream| reply_to_each(stream, || {}));
    for (language, columns) in [("zh", 20), ("zh", 40), ("zh", 80), ("en", 40)] {
        let load = format!("bench power --keep-alive -c 1 -z 1h --lang {language} --addr {server}");
        let mut terminal = Terminal::start_with_columns(client(&load), columns);
        terminal.see("\r\x1b[K");
        for _ in 0..2 {
            let frame = terminal.see("\r\x1b[K");
            assert!(!frame.is_empty() && frame.width() < usize::from(columns), "{language}: {frame:?}");
        }
        terminal.interrupt();
        assert_eq!(terminal.termination_signal(), Some(2));
    }
}
