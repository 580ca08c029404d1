//! Completions in real shells, and the manual pages.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use proto::testing::process::ChildProcess;
use support::terminal::Terminal;
use support::{client, run};
use tempfile::tempdir;

/// Returns a command of a shell in which `cli-client` is on the path.
fn shell(program: &str) -> Command {
    let folder = env!("CARGO_BIN_EXE_cli-client").strip_suffix("/cli-client").expect("the program has its name");
    let path = format!("{folder}:{}", env::var("PATH").expect("PATH is set"));
    let mut command = Command::new(program);
    command.env("PATH", path).env("LC_ALL", "C").env("TERM", "xterm").current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs a script in a shell, and returns its output.
fn run_script(program: &str, script: &str) -> String {
    let mut process =
        ChildProcess::start(shell(program).args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()));
    let code = process.wait();
    let output = process.stdout.wait_for_end();
    assert_eq!(code, Some(0), "{output}");
    output
}

/// Command lines with the candidates of the last word.
const LINES: [(&str, &str); 13] = [
    ("cli-client ", "power rps bench probe check completions man help"),
    ("cli-client po", "power"),
    ("cli-client power ", "square cube fourth echo help"),
    ("cli-client --lang zh probe d", "duel"),
    ("cli-client rps throw ", "scissors rock paper"),
    ("cli-client rps throw rock pa", "paper"),
    ("cli-client bench power --op ", "square cube fourth echo"),
    ("cli-client power square --framing ", "eof line bare"),
    ("cli-client check duel --level ", "core full robust"),
    ("cli-client power square 2 --lang ", "en zh"),
    ("cli-client completions ", "bash elvish fish powershell zsh"),
    // No file names.
    ("cli-client power square --addr ", ""),
    ("cli-client power square --cacert Car", "Cargo.toml"),
];

/// Removes the descriptions, which follow a tab, and joins the candidates.
fn candidates(output: &str) -> String {
    let names: Vec<_> = output.lines().filter_map(|line| line.split('\t').next()).collect();
    names.join(" ")
}

#[test]
fn bash_completes_commands_and_values() {
    // Bash splits words at `=`.
    let split = [("cli-client power square --lang = z", "zh"), ("cli-client --lang = zh power sq", "square")];
    for (line, expected) in LINES.into_iter().chain(split) {
        // As bash does: the words up to the cursor, and the function with the command, the word and the word before it.
        let script = format!(
            r#"source <(cli-client completions bash)
            COMP_WORDS=({line}); [[ "{line}" == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMP_TYPE=9
            function=$(complete -p cli-client | sed 's/.*-F \([^ ]*\).*/\1/')
            "$function" cli-client "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
            printf '%s\n' "${{COMPREPLY[@]}}""#
        );
        assert_eq!(candidates(&run_script("bash", &script)), expected, "{line:?}");
    }
}

#[test]
#[ignore = "needs fish: run with -- --ignored fish"]
fn fish_completes_commands_and_values() {
    for (line, expected) in LINES {
        let script = format!("cli-client completions fish | source; complete --do-complete '{line}'");
        assert_eq!(candidates(&run_script("fish", &script)), expected, "{line:?}");
    }
}

#[test]
#[ignore = "needs zsh: run with -- --ignored zsh"]
fn zsh_completes_commands_and_values() {
    let folder = tempdir().expect("there is a folder");
    fs::write(folder.path().join("_cli-client"), run("completions zsh").stdout).expect("the folder can be written");
    // The two ways of installation: read at the start, and loaded from a folder of `fpath` at the first completion.
    let by_source = "autoload -U compinit; compinit -u -D; source <(cli-client completions zsh)".to_owned();
    let by_folder = format!("fpath=({} $fpath); autoload -U compinit; compinit -u -D", folder.path().display());
    for setup in [by_source, by_folder] {
        let mut zsh = shell("zsh");
        zsh.args(["-f", "-i"]);
        let mut terminal = Terminal::start_command(zsh);
        // The prompt shows that the setup is done, which the echo of the keys does not.
        terminal.press(&format!("{setup}; PROMPT=re''ady'> '\n"));
        terminal.see("ready> ");
        terminal.press("cli-client power fo\t");
        terminal.see("cli-client power fo");
        terminal.see("urth");
        // Ctrl-U clears the line.
        terminal.press("\x15cli-client rps throw \t");
        for name in ["scissors", "rock", "paper"] {
            terminal.see(name);
        }
        terminal.press("\x15cli-client power square --addr C\tX");
        let typed = terminal.see("X");
        assert!(!typed.contains("Cargo.toml"), "{typed:?}");
    }
}

#[test]
fn a_script_is_printed_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&format!("completions {shell}"));
        script.assert_success(&script.stdout);
        assert!(script.stdout.contains("_CLI_CLIENT_COMPLETE"), "{script:?}");
    }
    run("completions tcsh").assert_usage_error("'tcsh'");
}

#[test]
fn moves_and_descriptions_are_in_the_language_of_the_user() {
    let ask = |command: &str, word: &str, locale: &str| {
        client(&format!("-- cli-client {command}"))
            .with_arguments(&[word])
            .with_env("_CLI_CLIENT_COMPLETE", "fish")
            .with_env("LC_ALL", locale)
            .run("")
    };
    ask("rps throw", "", "C").assert_success("scissors\nrock\npaper\n");
    ask("rps throw", "", "zh_CN.UTF-8").assert_success("scissors\n剪刀\nrock\n石头\npaper\n布\n");
    ask("power square --framing", "l", "zh_CN.UTF-8").assert_success("line\t发一行；应答是一行\n");
    ask("bench power --op", "c", "zh_CN.UTF-8").assert_success("cube\t立方：x·x·x\n");
}

#[test]
fn a_wrong_request_for_candidates_fails_without_output() {
    for (shell, arguments) in [("fish", ""), ("fish", "--"), ("bash", "power"), ("tcsh", "-- cli-client power")] {
        let asked = client(arguments).with_env("_CLI_CLIENT_COMPLETE", shell).run("");
        asked.assert_failed(1, "", &[]);
    }
    for words in ["cli-client power", "="] {
        let beyond = client(&format!("-- {words}")).with_env("_CLI_CLIENT_COMPLETE", "bash");
        beyond.with_env("_CLAP_COMPLETE_INDEX", "99").run("").assert_failed(1, "", &[]);
    }
}

#[test]
fn the_manual_is_in_english_and_has_a_page_per_command() {
    let page = run("man");
    page.assert_success(&page.stdout);
    let title = concat!(".TH cli-client 1 \"\" \"cli-client ", env!("CARGO_PKG_VERSION"), "\" \"User Commands\"\n");
    for part in [title, ".SH NAME\n", ".SH COMMANDS\n", ".SH EXAMPLES\n", ".SH \"EXIT STATUS\"\n"] {
        assert!(page.stdout.contains(part), "{part}: {page:?}");
    }
    run("--lang zh man").assert_success(&page.stdout);
    let folder = tempdir().expect("there is a folder");
    let path = folder.path().to_str().expect("the path is UTF-8");
    run(&format!("man {path}")).assert_success("");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a page").file_name()).collect();
    names.sort();
    for name in ["cli-client.1", "cli-client-power.1", "cli-client-power-square.1", "cli-client-rps-play.1"] {
        assert!(names.iter().any(|other| other == name), "{name} is not in {names:?}");
    }
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("help")), "{names:?}");
    run(&format!("man {path}/missing")).assert_failed(1, "", &["/missing/cli-client.1: No such file or directory"]);
}

#[test]
#[ignore = "needs mandoc: run with -- --ignored mandoc"]
fn mandoc_finds_only_the_missing_date_in_the_pages() {
    let folder = tempdir().expect("there is a folder");
    run(&format!("man {}", folder.path().display())).assert_success("");
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let page = entry.expect("a page").path();
        let checked = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output();
        let checked = checked.expect("mandoc is installed");
        let found = String::from_utf8_lossy(&checked.stdout);
        // A date is optional, and a build has none.
        let other: Vec<_> = found.lines().filter(|line| !line.contains("WARNING: missing date")).collect();
        assert!(other.is_empty() && checked.stderr.is_empty(), "{checked:?}");
    }
}
