//! Help in the language of the process: headings, flags, line breaks and examples; short for `-h`, whole for `--help`.

use clap::{Arg, ArgAction, Command};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::language::{Language, texts};

/// Maximum width of the help text, a common value.
const WIDTH: usize = 80;

/// Width of the text beside the longest option.
const TEXT_WIDTH: usize = 48;

/// Maximum width of the text of an option in the short help, so that it fits one line beside the longest option.
const SHORT_WIDTH: usize = 44;

/// Maximum width of the summary of a command, so that it fits one line beside the longest name.
const SUMMARY_WIDTH: usize = 65;

/// How much a help says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// `-h`: one line per option, without the options of every command.
    Short,
    /// `--help`: whole texts, examples and exit codes.
    Long,
}

/// Localizes a command and all its subcommands.
pub(super) fn localized(command: Command, detail: Detail) -> Command {
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version).help(texts::version_flag());
    let mut command = localize(command.disable_version_flag(true).arg(version), "", detail);
    // Clap adds its help subcommands here.
    command.build();
    localize_help(command)
}

/// Localizes the command with these names of subcommands, separated by blanks.
fn localize(command: Command, names: &str, detail: Detail) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help(texts::help_flag());
    let usage = texts::usage_line("{usage}");
    let template = format!("{{about-with-newline}}\n{usage}\n\n{{all-args}}{{after-help}}");
    command
        .disable_help_flag(true)
        .arg(help)
        .max_term_width(WIDTH)
        .help_template(template)
        .after_help(after_help(names, detail))
        .subcommand_help_heading(texts::help_commands())
        .mut_args(|argument| {
            let is_common = argument.is_global_set();
            // The last occurrence of an option wins, as in other programs. But another address would silently go
            // unused.
            let id = argument.get_id().clone();
            let is_single = matches!(argument.get_action(), ArgAction::Set | ArgAction::SetTrue);
            let overrides_self = is_single && !argument.is_positional() && id != "addr";
            let argument = if overrides_self { argument.overrides_with(id) } else { argument };
            let heading = match &argument {
                argument if argument.is_positional() => texts::help_arguments(),
                _ if is_common => texts::help_common(),
                _ => texts::help_options(),
            };
            let text = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let text = if detail == Detail::Short { shortened(&text, SHORT_WIDTH) } else { wrapped(&text) };
            let takes_values = argument.get_action().takes_values();
            let argument = argument.help_heading(heading).help(text).hide(detail == Detail::Short && is_common);
            // Clap writes these in English. The help texts contain them where they matter.
            argument.hide_default_value(takes_values).hide_possible_values(takes_values)
        })
        .mut_subcommands(|subcommand| {
            let names = format!("{names} {}", subcommand.get_name());
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            let subcommand = match detail {
                Detail::Short => subcommand.about(shortened(&about, SUMMARY_WIDTH)),
                Detail::Long => subcommand,
            };
            localize(subcommand, names.trim_start(), detail)
        })
}

/// Returns the end of a help: the common options by name, or examples and exit codes.
fn after_help(names: &str, detail: Detail) -> String {
    if detail == Detail::Short {
        return texts::help_short_end();
    }
    let examples = EXAMPLES.iter().filter(|(of, _)| *of == names).flat_map(|(_, examples)| *examples);
    let examples: String = examples.flat_map(|example| ["  ", example, "\n"]).collect();
    let mut parts = vec![texts::exit_codes()];
    if !examples.is_empty() {
        parts.insert(0, format!("{}\n{examples}", texts::help_examples()));
    }
    match names {
        "bench compare" => parts.insert(0, texts::bench_compare_rule() + "\n"),
        "probe duel" => parts.insert(0, texts::probe_duel_note() + "\n"),
        _ => {}
    }
    parts.join("\n")
}

/// Command lines for the help of each command.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "cli-client power square 2 -0.5 1e8",
            "cli-client rps play",
            "cli-client probe power --wait 30s",
            "cli-client bench rps -n 100k",
            "cli-client check power --level core",
        ],
    ),
    ("power", &["cli-client power square 2 3", "seq 1 1000 | cli-client power cube - --keep-alive"]),
    (
        "power square",
        &[
            "cli-client power square 2 -0.5 1e8",
            "seq 1 1000 | cli-client power square - --keep-alive",
            "cli-client power square 2 --trace",
            "cli-client power square 2 --addr tls://power.example:5000",
        ],
    ),
    ("power cube", &["cli-client power cube 2 -3", "cli-client power cube 2 --json"]),
    ("power fourth", &["cli-client power fourth 2 -3", "cli-client power fourth 2 --framing line"]),
    ("power echo", &["cli-client power echo 1e-7 0.1", "cli-client power echo 12 --framing bare --split 1 --trace"]),
    ("rps", &["cli-client rps play --best-of 5", "cli-client rps throw rock paper"]),
    (
        "rps throw",
        &[
            "cli-client rps throw rock paper scissors",
            "cli-client rps throw rock --duel",
            "yes rock | head -n 100 | cli-client rps throw -",
        ],
    ),
    ("rps play", &["cli-client rps play --best-of 5", "cli-client rps play --duel --addr rps.example:5002"]),
    (
        "bench",
        &["cli-client bench power -n 100k --keep-alive", "cli-client bench rps -c 64 -z 10s", "cli-client bench duel"],
    ),
    ("bench power", &["cli-client bench power -n 100k --keep-alive", "cli-client bench power --compare"]),
    (
        "bench rps",
        &[
            "cli-client bench rps -c 64 -z 10s",
            "cli-client bench rps -c 64 --rate 20k --expect 'p99<2ms'",
            "cli-client bench rps -z 1m --series series.ndjson",
        ],
    ),
    ("bench duel", &["cli-client bench duel -c 64 -n 100k"]),
    ("bench compare", &["cli-client bench compare before.json after.json"]),
    ("bench exchange", &[r"cli-client bench exchange --addr 127.0.0.1:6379 --send 'PING\r\n' --expect '+PONG\r\n'"]),
    (
        "check",
        &["cli-client check power --level core --addr 127.0.0.1:6000", "cli-client check rps --list --level robust"],
    ),
    (
        "check power",
        &[
            "cli-client check power --level core --addr 127.0.0.1:6000",
            "cli-client check power --only 1.2,blank-lines --trace",
            "cli-client check power --request-timeout 1s --idle 3s --slow",
        ],
    ),
    ("check rps", &["cli-client check rps --level robust", "cli-client check rps --only fair --rounds 3m"]),
    ("check duel", &["cli-client check duel --window 30s", "cli-client check duel --only void --json"]),
    ("probe", &["cli-client probe power --wait 30s", "cli-client probe duel --json"]),
    ("probe power", &["cli-client probe power --wait 30s", "cli-client probe power -q --addr unix:/run/power.sock"]),
    ("probe rps", &["cli-client probe rps --wait 30s", "cli-client probe rps -q"]),
    ("probe duel", &["cli-client probe duel", "cli-client probe duel --addr 127.0.0.1:5002,127.0.0.1:6002"]),
    (
        "completions",
        &[
            "source <(cli-client completions bash)    # ~/.bashrc",
            "source <(cli-client completions zsh)     # ~/.zshrc, after compinit",
            "cli-client completions fish | source     # ~/.config/fish/config.fish",
        ],
    ),
    ("man", &["cli-client man | man -l -", "cli-client man /usr/local/share/man/man1"]),
];

/// Minimum width of a shortened text: less says nothing, such as `Open loop`.
const MIN_WIDTH: usize = 12;

/// Shortens a text to its longest beginning that fits the width and is whole sentences, or else ends before punctuation,
/// if possible before other punctuation than a comma. What follows are details, a default or a variable.
fn shortened(text: &str, width: usize) -> String {
    let text = text.replace('\n', " ");
    if text.width() <= width {
        return text;
    }
    let beginning = |ends: &[&str]| {
        let ends = ends.iter().flat_map(|end| text.match_indices(end)).map(|(at, _)| &text[..at]);
        let is_whole = |start: &&str| {
            let count = |brackets: [char; 3]| start.matches(brackets).count();
            (MIN_WIDTH..=width).contains(&start.width()) && count(['[', '(', '（']) == count([']', ')', '）'])
        };
        ends.filter(is_whole).max_by_key(|start| start.len())
    };
    let whole = beginning(&[". ", "。"])
        .or_else(|| beginning(&["; ", ": ", " (", " [", "；", "：", "（"]))
        .or_else(|| beginning(&[", ", "，"]));
    whole.map_or_else(|| cut(&text, width), str::to_owned)
}

/// Cuts a text at the last possible line break that leaves room for an ellipsis.
fn cut(text: &str, width: usize) -> String {
    let mut short = String::new();
    for word in words(text) {
        if short.width() + word.trim_end().width() > width - 3 {
            break;
        }
        short.push_str(word);
    }
    format!("{}...", short.trim_end())
}

fn localize_help(command: Command) -> Command {
    command.mut_subcommands(|subcommand| match subcommand.get_name() {
        "help" => subcommand.about(texts::help_command()).disable_help_subcommand(true),
        _ => localize_help(subcommand),
    })
}

/// Breaks lines of Chinese text, which has no blanks for clap to break at.
fn wrapped(text: &str) -> String {
    if Language::current() == Language::English {
        return text.to_owned();
    }
    let mut wrapped = String::new();
    let mut column = 0;
    for word in words(text) {
        if column > 0 && column + word.trim_end().width() > TEXT_WIDTH {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            column = 0;
        }
        wrapped.push_str(word);
        column += word.width();
    }
    wrapped
}

/// Splits a text at possible line breaks: after a blank and next to a wide character, but not before closing or after
/// opening punctuation, and not inside the label of a default or variable such as `[默认：`.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let is_wide = |character: char| character.width() == Some(2);
    let mut words = Vec::new();
    let (mut start, mut before, mut in_label) = (0, '（', false);
    for (at, after) in text.char_indices() {
        let may_end = before == ' ' || is_wide(before) || is_wide(after);
        if may_end && !in_label && before != '（' && !"，。；：、）] ".contains(after) {
            words.push(&text[start..at]);
            start = at;
        }
        in_label = after == '[' || in_label && after != '：';
        before = after;
    }
    words.push(&text[start..]);
    words
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn no_line_break_inside_words_or_before_closing_punctuation() {
        for (text, split) in [
            ("服务", vec!["服", "务"]),
            ("服，务", vec!["服，", "务"]),
            ("--timeout 服", vec!["--timeout ", "服"]),
            ("服 a服（a）b", vec!["服 ", "a", "服", "（a）", "b"]),
            ("服 [环境变量：POWER_ADDR] 务", vec!["服 ", "[环境变量：", "POWER_ADDR] ", "务"]),
        ] {
            assert_eq!(words(text), split, "{text}");
        }
    }

    #[test]
    fn a_short_text_ends_before_punctuation() {
        for (text, short) in [
            ("Compute powers", "Compute powers"),
            ("The server's timeouts.request [default: 5s]", "The server's timeouts.request [default: 5s]"),
            ("A sentence ends here. Then; another begins", "A sentence ends here. Then; another begins"),
            ("A sentence ends here. Then; another one begins here", "A sentence ends here"),
            ("不满足此条件就以 1 退出，如 p99<2ms。指标：p50、p90、p95", "不满足此条件就以 1 退出，如 p99<2ms"),
            ("剪刀、石头、布（或 1、2、3，或 scissors、rock、paper；-）", "剪刀、石头、布"),
            ("With --split: pause between two pieces [default: 20ms]", "With --split: pause between two pieces"),
            ("Number of threads that send the load [default: 1]", "Number of threads that send the load"),
            ("Open loop: send this many requests per second at fixed", "Open loop: send this many requests per..."),
            ("Run short, keep-alive and pipelined connections in turn", "Run short, keep-alive and pipelined..."),
            ("Endpoint of the server: HOST:PORT, tls://HOST:PORT or unix:PATH [env: X]", "Endpoint of the server"),
            ("Send all requests on one connection, as lines, without waiting", "Send all requests on one connection"),
            ("按这个字节数把每个请求分片发送，网络也可能这样做。服务器可能把", "按这个字节数把每个请求分片发送"),
            (&"word ".repeat(20), "word word word word word word word word..."),
        ] {
            assert_eq!(shortened(text, SHORT_WIDTH), short);
        }
        let summary = "Test whether a server is a right implementation of its protocol";
        assert_eq!(shortened(summary, SUMMARY_WIDTH), summary);
    }

    #[test]
    fn every_command_has_examples_and_each_is_a_valid_command_line() {
        fn check(command: &Command, names: &str) {
            let has_examples = EXAMPLES.iter().any(|(of, examples)| *of == names && !examples.is_empty());
            assert!(has_examples || names == "help", "{names:?} has no example");
            for subcommand in command.get_subcommands() {
                check(subcommand, format!("{names} {}", subcommand.get_name()).trim_start());
            }
        }
        let command = super::super::command_without_help_subcommands();
        check(&command, "");
        for example in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            let start = example.find("cli-client").expect("an example runs the client");
            let words = example[start..].split(['|', '#', ')']).next().unwrap_or_default().split_whitespace();
            let words = words.map(|word| super::super::escape_negative(word.trim_matches('\'').into()));
            let parsed = command.clone().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
}
