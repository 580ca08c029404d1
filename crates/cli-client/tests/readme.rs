//! The examples of the pages: a `console` block shows a command and its output. The client's are run and must print what the
//! page shows. `pages.rs` checks the other commands, and the links.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use proto::testing::process::ChildProcess;
use support::fake::{Fake, Then, read_some};
use support::pages::{
    CHINESE, CLIENT, Example, README, examples, examples_of, is_runnable, page, programs, read, root,
};
use support::real;
use support::terminal::Terminal;

/// Where the reading tour starts the two programs on asyncio.
const ASYNCIO: [(&str, &str); 2] = [("power", "127.0.0.1:6000"), ("rps", "127.0.0.1:6001")];

/// Commands whose output depends on time and chance. Their numbers and the outcomes of games are not compared.
const VARYING: [&str; 4] = ["bench", "probe", "rps", "--trace"];

/// Runs a command in the top folder, and returns its output and errors. `servers` has the address of each server, and
/// the one that the page shows for it.
fn run_in_shell(command: &str, servers: &[(String, &str)]) -> String {
    let path = format!("{}:{}", programs(), std::env::var("PATH").expect("PATH is set"));
    let command = servers.iter().fold(command.to_owned(), |command, (real, shown)| command.replace(shown, real));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{{ {command}; }} 2>&1")]).current_dir(root()).env("PATH", path).env("LC_ALL", "C");
    for (variable, port) in [("POWER_ADDR", ":5000"), ("RPS_ADDR", ":5001"), ("DUEL_ADDR", ":5002")] {
        if let Some((real, _)) = servers.iter().find(|(_, shown)| shown.ends_with(port)) {
            shell.env(variable, real);
        }
    }
    let output = shell.stdin(Stdio::null()).output().expect("the shell starts");
    let printed = String::from_utf8(output.stdout).expect("the output is UTF-8");
    servers.iter().fold(printed, |printed, (real, shown)| printed.replace(real, shown))
}

/// Runs these examples and fails if any prints something else than the page shows. Returns how many there are.
fn run_all(examples: impl Iterator<Item = Example>, servers: &[(String, &str)]) -> usize {
    let (mut run, mut wrong) = (0, String::new());
    for Example { command, shown } in examples {
        let printed = run_in_shell(&command, servers);
        let shown = shown.iter().map(String::as_str);
        let is_as_shown = if VARYING.iter().any(|word| command.contains(word)) {
            constant_lines(printed.lines()) == constant_lines(shown.clone())
        } else {
            printed.lines().eq(shown.clone())
        };
        if !is_as_shown {
            let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
            wrong.extend(["$ ", &command, "\nshown:\n", &shown, "printed:\n", &printed, "\n"]);
        }
        run += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    run
}

/// A line without the parts that vary from run to run.
fn constant_part(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !word.starts_with('#')).map(|word| match word {
        "ns" | "µs" | "ms" | "s" => "time",
        "draw" | "win" | "lose" | "平局" | "胜利" | "失败" => "outcome",
        word => word,
    });
    let mut constant = String::new();
    for character in words.collect::<Vec<_>>().join(" ").chars() {
        match character {
            '0'..='9' | ',' | '.' if constant.ends_with('0') => {}
            '0'..='9' => constant.push('0'),
            other => constant.push(other),
        }
    }
    // The test of fairness fails for one fair house in a thousand.
    match constant.split(' ').next() {
        Some(verdict @ ("fairness" | "evenness")) => verdict.to_owned(),
        _ => constant,
    }
}

/// Lines without the parts that vary. The number of rows of a histogram varies, and a remark appears on a slow machine.
fn constant_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut constant: Vec<_> = lines
        .filter(|line| !line.starts_with("The client used ") && !line.starts_with("The rate of"))
        .map(|line| if line.starts_with('{') { constant_object(line) } else { constant_part(line) })
        .filter(|line| !line.is_empty())
        .collect();
    constant.dedup();
    constant
}

/// The field names and words of an object, without its numbers and the outcomes of rounds.
fn constant_object(line: &str) -> String {
    constant_part(line)
        .replace("\"draw\"", "outcome")
        .replace("\"win\"", "outcome")
        .replace("\"lose\"", "outcome")
        .replace("0e-0", "0")
}

#[test]
fn examples_of_all_pages_print_what_the_pages_show() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_secs(30)));
    let servers = [
        (power.to_string(), "127.0.0.1:5000"),
        (rps.to_string(), "127.0.0.1:5001"),
        (duel.to_string(), "127.0.0.1:5002"),
    ];
    let on_asyncio = |example: &Example| ASYNCIO.iter().any(|(_, address)| example.command.contains(address));
    let runnable = examples().into_iter().filter(|example| !on_asyncio(example) && is_runnable(&example.command));
    let run = run_all(runnable, &servers);
    assert!(run > 15, "only {run} examples");
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn examples_with_the_python_programs_print_what_the_reading_tour_shows() {
    let started = ASYNCIO.map(|(service, shown)| {
        let mut command = Command::new(root().join("scripts/asyncio_peer.py"));
        let program = ChildProcess::start(command.args([service, "0"]).stdout(Stdio::piped()));
        let address = program.stdout.wait_for("an address", |printed| {
            Some(printed.strip_suffix('\n')?.strip_prefix("listening on ")?.to_owned())
        });
        (program, (address, shown))
    });
    let servers = started.each_ref().map(|(_, server)| server.clone());
    for (service, address) in ASYNCIO {
        let examples = examples().into_iter().filter(|example| example.command.contains(address));
        let run = run_all(examples, &servers);
        assert!(run > 0, "the tour has no example with {service}");
    }
}

#[test]
fn the_game_on_the_page_of_the_client_looks_as_shown() {
    let example = examples().into_iter().find(|example| example.command.ends_with("rps play --best-of 3"));
    let Example { command, shown } = example.expect("a page shows a game");
    // This house replies so that the game ends as shown.
    let replies: Vec<u8> = shown
        .iter()
        .filter_map(|line| match line.rsplit_once(' ')?.1 {
            "win" => Some(b'y'),
            "lose" => Some(b'z'),
            "draw" => Some(b'x'),
            _ => None,
        })
        .collect();
    let house = Fake::new(move |stream| {
        for reply in &replies {
            read_some(stream)?;
            stream.write_all(&[*reply])?;
        }
        read_some(stream)?;
        Ok(Then::Close)
    });
    let arguments = command.strip_prefix("cli-client ").expect("the example runs the client");
    let mut person = Terminal::start(support::client(&format!("{arguments} --addr {house}")));
    for line in &shown {
        match line.split_once("? ") {
            Some((prompt, typed)) => {
                person.see(&format!("{prompt}? "));
                person.press(&format!("{typed}\n"));
                person.see(&format!("{typed}\r\n"));
            }
            None => assert_eq!(person.see("\r\n"), line.as_str()),
        }
    }
    assert_eq!(person.code(), Some(0));
}

#[test]
fn the_page_of_the_client_has_an_example_of_every_command() {
    let page = page(CLIENT);
    let commands: Vec<_> = examples_of(&page).into_iter().map(|example| example.command).collect();
    for name in ["power ", "rps throw", "rps play", "bench power", "bench rps", "bench duel", "probe "] {
        assert!(commands.iter().any(|command| command.contains(name)), "{name}");
    }
    assert!(page.blocks.iter().any(|block| block.text.contains("cli-client completions")));
}

#[test]
fn the_readme_is_short_and_starts_with_the_two_set_up_commands() {
    for (path, other) in [(README, CHINESE), (CHINESE, "../README.md")] {
        let text = read(path);
        assert!(text.lines().count() <= 150, "{path}: {} lines", text.lines().count());
        assert!(text.lines().nth(1).is_some_and(|line| line.contains(&format!("]({other})"))), "{path}: line 2");
        let (first_screen, _) = text.split_once("\n## ").expect("there is a section");
        for command in ["scripts/smoke.sh", "cargo test --workspace"] {
            assert!(first_screen.contains(command), "{path}: {command}");
        }
    }
}
