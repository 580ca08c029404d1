//! The README: every command of the client that it shows is run, and what it shows has to come out.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

mod support;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use support::fake::{Fake, Then, hear};
use support::real;
use support::terminal::Terminal;

const README: &str = include_str!("../../../README.md");

/// Commands whose output depends on time and chance: it is the same but for its numbers, and how games end.
const VARYING: [&str; 4] = ["bench", "probe", "rps", "--trace"];

/// A command and what it shows.
struct Example {
    command: String,
    shown: Vec<String>,
}

/// The sections whose commands are run with the client alone, and with servers that are there.
const SECTIONS: [&str; 3] = ["A minute's tour", "The client", "中文"];

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for name in SECTIONS {
        let (_, section) = README.split_once(&format!("\n## {name}\n")).expect("there is such a section");
        let section = section.split("\n## ").next().expect("a split has a first part");
        let blocks = section.split("```console\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
        for line in blocks.flat_map(str::lines) {
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push(Example { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(example)) => example.shown.push(line.to_owned()),
                (None, None) => panic!("{line:?} belongs to no command"),
            }
        }
    }
    examples
}

/// A line without what varies from run to run.
fn lasting(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !word.starts_with('#')).map(|word| match word {
        "ns" | "µs" | "ms" | "s" => "time",
        "draw" | "win" | "lose" | "平局" | "胜利" | "失败" => "outcome",
        word => word,
    });
    let mut lasting = String::new();
    for character in words.collect::<Vec<_>>().join(" ").chars() {
        match character {
            '0'..='9' | ',' | '.' if lasting.ends_with('0') => {}
            '0'..='9' => lasting.push('0'),
            other => lasting.push(other),
        }
    }
    // One honest house in a thousand is called unfair.
    match lasting.split(' ').next() {
        Some(verdict @ ("fairness" | "evenness")) => verdict.to_owned(),
        _ => lasting,
    }
}

/// Lines without what varies; a histogram has as many rows as it needs, and a remark comes where the machine is slow.
fn lasting_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lasting: Vec<_> = lines
        .filter(|line| !line.starts_with("The client used ") && !line.starts_with("The rate of"))
        .map(|line| if line.starts_with('{') { lasting_object(line) } else { lasting(line) })
        .filter(|line| !line.is_empty())
        .collect();
    lasting.dedup();
    lasting
}

/// The names of an object's fields, which last, and its words; not its numbers, nor how a round ended.
fn lasting_object(line: &str) -> String {
    lasting(line)
        .replace("\"draw\"", "outcome")
        .replace("\"win\"", "outcome")
        .replace("\"lose\"", "outcome")
        .replace("0e-0", "0")
}

#[test]
fn every_command_of_the_readme_shows_what_stands_there() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_secs(30)));
    let program = env!("CARGO_BIN_EXE_cli-client");
    let folder = program.strip_suffix("cli-client").expect("the program has its name");
    let path = format!("{folder}:{}", std::env::var("PATH").expect("there are programs"));
    let mut run = 0;
    for Example { command, shown } in examples() {
        // A game takes a person, and netcat is not everywhere.
        if command.contains("nc ") || command.contains("rps play") && !command.contains('|') {
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {command}; }} 2>&1")])
            .envs([("PATH", path.as_str()), ("LC_ALL", "C"), ("POWER_ADDR", &power.to_string())])
            .envs([("RPS_ADDR", rps.to_string()), ("DUEL_ADDR", duel.to_string())])
            .output()
            .expect("there is a shell");
        let mut printed = String::from_utf8(output.stdout).expect("the client prints text");
        for (server, port) in [(&power, "5000"), (&rps, "5001"), (&duel, "5002")] {
            printed = printed.replace(&server.to_string(), &format!("127.0.0.1:{port}"));
        }
        if VARYING.iter().any(|word| command.contains(word)) {
            let shown = lasting_lines(shown.iter().map(String::as_str));
            assert_eq!(lasting_lines(printed.lines()), shown, "{command}\n{printed}");
        } else {
            assert_eq!(printed.lines().collect::<Vec<_>>(), shown, "{command}");
        }
        run += 1;
    }
    assert!(run > 15, "the section shows commands");
}

#[test]
fn the_game_of_the_readme_looks_as_it_stands_there() {
    let example = examples().into_iter().find(|example| example.command.ends_with("rps play --best-of 3"));
    let Example { command, shown } = example.expect("the section shows a game");
    // The house does what it takes for the game to go as it stands there.
    let answers: Vec<u8> = shown
        .iter()
        .filter_map(|line| match line.rsplit_once(' ')?.1 {
            "win" => Some(b'y'),
            "lose" => Some(b'z'),
            "draw" => Some(b'x'),
            _ => None,
        })
        .collect();
    let house = Fake::new(move |stream| {
        for answer in &answers {
            hear(stream)?;
            stream.write_all(&[*answer])?;
        }
        hear(stream)?;
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
fn every_command_has_a_section_in_the_readme() {
    let commands: Vec<_> = examples().into_iter().map(|example| example.command).collect();
    for name in ["power ", "rps throw", "rps play", "bench power", "bench rps", "bench duel", "probe "] {
        assert!(commands.iter().any(|command| command.contains(name)), "{name}");
    }
    assert!(README.contains("cli-client completions"));
}
