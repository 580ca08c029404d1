//! English and Chinese: how the language is chosen, and that no text of the other language appears; and the flags that
//! control how much is printed.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::io::Write;
use std::time::Duration;

use support::fake::{Fake, Then, read_some, read_to_eof};
use support::real::ReservedPort;
use support::terminal::Terminal;
use support::{client, real, run};
use unicode_width::UnicodeWidthStr;

const COMMANDS: &[&str] = &[
    "",
    "power",
    "power square",
    "power cube",
    "power fourth",
    "power echo",
    "rps",
    "rps throw",
    "rps play",
    "bench",
    "bench power",
    "bench rps",
    "bench duel",
    "bench exchange",
    "bench compare",
    "probe",
    "probe power",
    "probe rps",
    "probe duel",
    "completions",
    "man",
];

/// Their `--help` has texts below long options.
const CHECK_COMMANDS: &[&str] = &["check", "check power", "check rps", "check duel"];

#[test]
fn every_command_has_help_in_both_languages_that_fits_a_terminal() {
    for command in COMMANDS {
        for (language, usage) in [("en", "\nUsage: cli-client"), ("zh", "\n用法：cli-client")] {
            let help = run(&format!("{command} --help --lang {language}"));
            help.assert_success(&help.stdout);
            assert!(help.stdout.contains(usage), "{help:?}");
            for line in help.stdout.lines() {
                assert!(line.width() <= 80, "{command}: {line:?}");
                assert_eq!(line, line.trim_end(), "{command}");
            }
            // Each option is followed by its description.
            let is_option = |line: &&str| line.starts_with("  -") || line.starts_with("      --");
            for option in help.stdout.lines().filter(is_option) {
                assert!(option.trim().contains("  "), "{command}: {option:?}");
            }
            assert!(!help.stdout.contains('\x1b'), "{help:?}");
            if language == "zh" {
                for english in ["Usage", "Options", "Commands", "Arguments", "Print ", "[default", "[env", "possible"] {
                    assert!(!help.stdout.contains(english), "{english} is in {help:?}");
                }
                // Names and literal values come alone or in pairs; three English words in a row are an untranslated
                // sentence.
                for line in help.stdout.lines().filter(|line| !line.starts_with("用法") && !is_example(line)) {
                    let words: Vec<_> = line.split_whitespace().collect();
                    let is_sentence = |three: &[&str]| three.concat().bytes().all(|byte| byte.is_ascii_alphabetic());
                    assert!(!words.windows(3).any(is_sentence), "{line:?}");
                }
            }
        }
    }
}

#[test]
fn help_is_the_same_with_every_way_to_request_it() {
    for command in COMMANDS {
        for language in ["en", "zh"] {
            let help = run(&format!("{command} --help --lang {language}")).stdout;
            run(&format!("--lang {language} help {command}")).assert_success(&help);
            let short = run(&format!("{command} -h --lang {language}")).stdout;
            run(&format!("--lang {language} {command} -qh")).assert_success(&short);
        }
    }
}

#[test]
fn short_help_has_one_line_per_option_and_is_shorter() {
    for command in COMMANDS.iter().chain(CHECK_COMMANDS) {
        for language in ["en", "zh"] {
            let [short, long] = ["-h", "--help"].map(|flag| run(&format!("--lang {language} {command} {flag}")).stdout);
            assert!(short.lines().count() < long.lines().count(), "{command}: {short}");
            // The summary and the usage come first.
            let after_usage = short.splitn(3, "\n\n").nth(2).expect("three parts");
            let (options, end) = after_usage.rsplit_once("\n\n").expect("two parts");
            // No label stands alone above its text.
            for line in options.lines().filter(|line| line.starts_with("  ")) {
                let column = line.len() - line.trim_start().len();
                assert!(column <= 6 && line.trim().contains("  ") && line.width() <= 80, "{command}: {line:?}");
            }
            for option in ["--lang", "--json", "--timeout", "--help"] {
                assert!(end.contains(option), "{command}: {end:?}");
            }
            for part in ["cli-client ", "130 Ctrl-C", "--cacert"] {
                assert!(long.contains(part) && !end.contains(part), "{command}: {part:?}");
            }
        }
    }
}

/// Whether a line of a help is an example.
fn is_example(line: &str) -> bool {
    line.starts_with("  ") && line.contains("cli-client ")
}

#[test]
fn help_has_colours_only_on_a_terminal_that_allows_them() {
    let shown = |name, value| {
        let mut terminal = Terminal::start(client("--help").with_env(name, value));
        let shown = terminal.see("130 Ctrl-C");
        assert_eq!(terminal.code(), Some(0));
        shown
    };
    assert!(shown("NO_COLOR", "").contains('\x1b'));
    assert!(!shown("NO_COLOR", "1").contains('\x1b'));
    assert!(!shown("TERM", "dumb").contains('\x1b'));
    // Errors have no colours, and output to a pipe has none on any terminal.
    for arguments in ["--help", "power", "power square abc"] {
        let finished = client(arguments).with_env("TERM", "xterm-256color").run("");
        assert!(!(finished.stdout + &finished.stderr).contains('\x1b'), "{arguments}");
    }
}

#[test]
fn the_flag_overrides_the_environment_and_the_first_variable_set_decides() {
    let server = Fake::replying_to_each_read(b"y");
    for (arguments, variables, expected) in [
        ("--lang zh rps throw rock", ["C", "", ""], "石头 胜利\n"),
        ("rps throw rock --lang=zh", ["C", "", ""], "石头 胜利\n"),
        ("rps throw rock --lang en", ["zh_CN.UTF-8", "", ""], "rock win\n"),
        ("rps throw rock", ["zh_CN.UTF-8", "C", "C"], "石头 胜利\n"),
        ("rps throw rock", ["", "zh_CN.UTF-8", "C"], "石头 胜利\n"),
        ("rps throw rock", ["", "", "zh_CN.UTF-8"], "石头 胜利\n"),
        ("rps throw rock", ["", "C", "zh_CN.UTF-8"], "rock win\n"),
        ("rps throw rock --json", ["zh_CN.UTF-8", "", ""], "{\"schema\":1,\"move\":\"rock\",\"outcome\":\"win\"}\n"),
    ] {
        let mut client = client(&format!("{arguments} --addr {server}"));
        for (name, value) in ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().zip(variables) {
            client = client.with_env(name, value);
        }
        client.run("").assert_success(expected);
    }
    run("power square 2 --lang de").assert_usage_error("'de' for '--lang");
}

#[test]
fn errors_are_in_chinese() {
    let closed_port = ReservedPort::new();
    let silent = Fake::silent();
    let garbage = Fake::replying(b"220 hello");
    let resetting = Fake::resetting_after(read_to_eof);
    let full = real::power_with_max_connections(1);
    let _occupant = full.occupy("d1\n");
    for (server, code, expected) in [
        (closed_port.to_string(), 3, "无法连接：连接被拒绝；那里没有程序在监听"),
        (silent.to_string(), 4, "200ms 内没有应答；--timeout"),
        (garbage.to_string(), 5, "服务器违反了协议：'220 hello' 不是 power 协议的有效应答"),
        (resetting.to_string(), 5, "连接被重置"),
        (full.to_string(), 1, "错误应答：BUSY"),
    ] {
        run(&format!("power square 2 --timeout 200ms --lang zh --addr {server}")).assert_failed(code, "", &[expected]);
    }
    run("power square 2 --timeout 60s --lang zh --addr nosuchhost.invalid:1").assert_failed(
        3,
        "",
        &["无法解析主机名："],
    );
    run("bench power -n 1 --sources 127.0.0.2 --lang zh --addr [::1]:1").assert_failed(
        2,
        "",
        &["--sources：无法从 127.0.0.2 到达 [::1]:1：IP 版本不同"],
    );
    for (arguments, expected) in [
        ("power square abc", "cli-client: '<NUMBER>...' 的值 'abc' 无效：不是 2、-0.5、1e-3 这样的十进制数"),
        ("power square 1e999", "超出最大的双精度数"),
        ("power square 2 --bogus", "cli-client: 无法识别的参数 '--bogus'"),
        ("power sqare", "cli-client: 无法识别的命令 'sqare'；是不是 'square'？"),
        ("rps throw lizard", "不是有效的出拳"),
        ("rps play --best-of 2", "请输入 1 到 999999 的奇数"),
        ("bench power -n 0", "的整数"),
        ("power square 2 --timeout soon", "请输入带单位的时长"),
    ] {
        run(&format!("{arguments} --lang zh")).assert_usage_error(expected);
    }
    let house = Fake::replying_to_each_read(b"y");
    let finished = client(&format!("rps throw - --lang zh --addr {house}")).run("石头\n蜥蜴\n");
    finished.assert_failed(2, "石头 胜利\n", &["标准输入第 2 行：'蜥蜴' 不是有效的出拳"]);
}

#[test]
fn usage_errors_are_completely_in_chinese() {
    for (arguments, expected) in [
        (
            "power square",
            "cli-client: 缺少：<NUMBER>...\n\n用法：cli-client power square <NUMBER>...\n\n详情请看 'cli-client power square --help'。\n",
        ),
        (
            "rps throw 1 --timeout",
            "cli-client: '--timeout <DURATION>' 需要一个值\n\n详情请看 'cli-client rps throw --help'。\n",
        ),
        ("power square 2 --keep-alive=no", "cli-client: '--keep-alive' 不带值"),
        ("power square 2 --split 0", "请输入 1 到 1000000 的整数"),
        (
            "bench power --compare --keep-alive",
            "cli-client: '--compare' 不能与 '--keep-alive' 一起用\n\n用法：cli-client ",
        ),
        ("power square 2 --framing bare --keep-alive", "cli-client: --keep-alive 需要逐行：请去掉 --framing，"),
    ] {
        let finished = run(&format!("--lang zh {arguments}"));
        finished.assert_usage_error(expected);
        assert!(!finished.stderr.contains("Usage"), "{finished:?}");
    }
    for (command, variable) in [("power square 2", "POWER_ADDR"), ("rps play", "RPS_ADDR"), ("probe duel", "DUEL_ADDR")]
    {
        let client = client(&format!("{command} --lang zh")).with_env(variable, "x");
        client.run("").assert_failed(
            2,
            "",
            &[&format!("{variable}：'x' 不是端点：缺少端口，或端口无效；请输入 HOST:PORT")],
        );
    }
    // With an invalid `--lang` the environment decides.
    let client = client("power square 2 --lang de").with_env("LC_ALL", "zh_CN.UTF-8");
    client.run("").assert_usage_error("cli-client: '--lang <LANGUAGE>' 的值 'de' 无效：可以是 en、zh");
}

#[test]
fn outcomes_and_the_reason_of_a_void_round_are_in_chinese() {
    let house = Fake::new(|stream| {
        for reply in *b"xyz" {
            read_some(stream)?;
            stream.write_all(&[reply])?;
        }
        read_some(stream)?;
        Ok(Then::Close)
    });
    run(&format!("rps throw 1 2 3 --lang zh --addr {house}")).assert_success("剪刀 平局\n石头 胜利\n布 失败\n");
    let duel = real::duel(Duration::from_millis(300));
    let mut terminal = Terminal::start(client(&format!("rps play --duel --lang zh --addr {duel}")));
    terminal.see("0:0 剪刀、石头还是布？");
    terminal.press("石头\n");
    terminal.see("等待对方出拳：还剩 ");
    terminal.see(
        "石头 作废\r\n没有别的玩家及时出拳，这一局作废，不计胜负；\r\n下一局的对手可能换人\r\n0:0 剪刀、石头还是布？",
    );
    terminal.press("\x04");
    terminal.see("0 胜，0 负，0 平，1 作废\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn the_version_is_the_same_in_both_languages() {
    for arguments in ["-V", "--version", "--lang zh -V", "--version --lang zh"] {
        run(arguments).assert_success(concat!("cli-client ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn objects_have_english_names_and_chinese_messages() {
    let closed_port = ReservedPort::new();
    run(&format!("power square 2 --json --lang zh --addr {closed_port}")).assert_failed(
        3,
        &format!(
            "{{\"schema\":1,\"error\":{{\"kind\":\"refused\",\"message\":\"{closed_port}：无法连接：连接被拒绝；那里没有程序在监听：\
             服务器在运行吗？地址对吗？\",\"address\":\"{closed_port}\",\"phase\":\"connect\"}}}}\n"
        ),
        &[],
    );
    let house = Fake::replying_to_each_read(b"y");
    client(&format!("rps play --best-of 1 --json --lang zh --addr {house}")).run("布\n").assert_success(concat!(
        "{\"schema\":1,\"move\":\"paper\",\"outcome\":\"win\"}\n",
        "{\"schema\":1,\"score\":{\"won\":1,\"lost\":0,\"drawn\":0,\"void\":0},\"match\":\"won\"}\n",
    ));
}

#[test]
fn a_game_on_a_terminal_is_in_chinese() {
    let house = Fake::replying_to_each_read(b"y");
    let mut terminal = Terminal::start(client(&format!("rps play --best-of 3 --lang zh --addr {house}")));
    terminal.see("0:0 剪刀、石头还是布？");
    terminal.press("蜥蜴\n");
    terminal.see("'蜥蜴' 不是有效的出拳：剪刀、石头、布（");
    terminal.see("0:0 剪刀、石头还是布？");
    terminal.press("石头\n");
    terminal.see("     你 ");
    terminal.see("庄家\r\n");
    terminal.see("石头 胜利\r\n1:0 剪刀、石头还是布？");
    terminal.press("布\n");
    terminal.see("布 胜利\r\n2 胜，0 负，0 平\r\n你以 2:0 赢得比赛。\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn bench_probe_and_trace_are_in_chinese() {
    let (power, rps) = (real::power(), real::rps());
    let probe = run(&format!("probe power --lang zh --addr {power}"));
    assert!(probe.stdout.starts_with(&format!("{power} 的 power 正常（")), "{probe:?}");
    let table = run(&format!("bench rps -n 100 --lang zh --addr {rps}"));
    for row in ["  请求    100 个应答正确，", "  吞吐量  ", "  结果    平局 ", "  公平性  卡方 "] {
        assert!(table.stdout.contains(row), "{row} is not in {table:?}");
    }
    let traced = run(&format!("power square 2 --trace --lang zh --addr {power}"));
    assert!(traced.stderr.contains("半关闭      客户端不再发送，但仍在接收"), "{traced:?}");
}

#[test]
fn quiet_prints_only_results_and_errors() {
    let (power, closed_port) = (real::power(), ReservedPort::new());
    run(&format!("probe power -q --addr {power}")).assert_success("");
    run(&format!("power square 2 -q --addr {power}")).assert_success("4.0\n");
    run(&format!("probe power -q --addr {closed_port}")).assert_failed(3, "", &["cannot connect"]);
    let house = Fake::replying_to_each_read(b"y");
    let mut terminal = Terminal::start(client(&format!("rps play -q --addr {house}")));
    terminal.press("rock\n\x04");
    // Only the echo of the terminal comes before the result.
    assert_eq!(terminal.see("rock win\r\n"), "rock\r\n");
    terminal.see("1 won, 0 lost, 0 drawn\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn verbose_prints_events_in_chinese_and_the_same_results() {
    let (power, late) = (real::power(), real::power_dropping_first_connection());
    let finished = run(&format!("power square 2 -v --lang zh --addr {power}"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "4.0\n"));
    let mut rest = finished.stderr.as_str();
    for phase in ["解析  ", "连接  ", "已连上  ", "半关闭  ", "首字节\n", "结束  ", "共发 4 字节，收 4 字节\n"]
    {
        rest = rest.split_once(phase).expect("all phases in this order").1;
    }
    // The bytes that `--trace` would print.
    assert!(!finished.stderr.contains("a2.0") && !finished.stderr.contains("61 32"), "{finished:?}");
    let waited = run(&format!("probe power --wait 60s -v --lang zh --addr {late}"));
    assert!(waited.code == Some(0) && waited.stderr.contains(&format!("尚未就绪：{late}：")), "{waited:?}");
}

#[test]
fn a_dumb_terminal_shows_the_remaining_time_once() {
    let server = real::duel(Duration::from_millis(300));
    let client = client(&format!("rps play --duel --addr {server}")).with_env("TERM", "dumb");
    let mut terminal = Terminal::start(client);
    terminal.press("rock\n");
    let shown = terminal.see("rock void\r\n");
    assert!(shown.ends_with("waiting for the other player: 30 s left\r\n") && !shown.contains('\x1b'), "{shown:?}");
    terminal.press("\x04");
    terminal.see("0 won, 0 lost, 0 drawn, 1 void\r\n");
    assert_eq!(terminal.code(), Some(0));
}
