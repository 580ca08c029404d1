//! The pages of the repository: their commands, links and file names are right.
//!
//! - A `console` block shows a command and its output. The client's are run and must print what the page shows.
//! - A command in an `sh` block, or in backticks, is not run, because it needs docker, minutes, or another terminal. It is
//!   checked instead: its programs, files, packages, tests, options and subcommands exist.
//! - Links, and the paths in backticks, lead to something that exists.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::Chars;
use std::time::Duration;

use proto::testing::process::ChildProcess;
use support::fake::{Fake, Then, read_some};
use support::real;
use support::terminal::Terminal;

const README: &str = "README.md";
const CHINESE: &str = "crates/README.zh.md";
const CODE: &str = "crates/README.md";
const CLIENT: &str = "crates/cli-client/README.md";

/// All pages with commands.
const PAGES: [&str; 8] = [
    README,
    CHINESE,
    CODE,
    "crates/proto/README.md",
    CLIENT,
    "config/README.md",
    "config/deploy/README.md",
    "scripts/README.md",
];

/// Where the reading tour starts the two programs on asyncio.
const ASYNCIO: [(&str, &str); 2] = [("power", "127.0.0.1:6000"), ("rps", "127.0.0.1:6001")];

/// Commands whose output depends on time and chance. Their numbers and the outcomes of games are not compared.
const VARYING: [&str; 4] = ["bench", "probe", "rps", "--trace"];

/// Programs that are not part of this repository. Only the files among their arguments are checked.
const OTHER_PROGRAMS: &str = "curl docker docker-compose echo grep head install ip kill kubectl mkdir nc printf promtool sed seq sleep systemctl";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of all of these files that have this extension.
fn read_all(paths: &[String], wanted: &str) -> String {
    paths.iter().filter(|path| extension(path) == wanted).map(|path| read(path)).collect()
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The folder with the programs that cargo has built.
fn programs() -> &'static str {
    env!("CARGO_BIN_EXE_cli-client").strip_suffix("cli-client").expect("the program has its name")
}

/// A fenced block of a page.
struct Block {
    language: String,
    text: String,
}

/// A page: its fenced blocks, and the text outside them.
struct Page {
    path: &'static str,
    blocks: Vec<Block>,
    text: String,
}

fn page(path: &'static str) -> Page {
    let (mut blocks, mut text, mut open) = (Vec::new(), String::new(), None::<Block>);
    for line in read(path).lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some(Block { language: language.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => push_line(&mut block.text, line),
            (None, None) => push_line(&mut text, line),
        }
    }
    assert!(open.is_none(), "{path}: a block is not closed");
    Page { path, blocks, text }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn pages() -> impl Iterator<Item = Page> {
    PAGES.into_iter().map(page)
}

/// The parts of a text in single backticks.
fn code_spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace('\n', " ").replace("\\|", "|")).collect()
}

/// A command and the output that a page shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Example {
    command: String,
    shown: Vec<String>,
}

fn examples_of(page: &Page) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in page.blocks.iter().filter(|block| block.language == "console").flat_map(|block| block.text.lines()) {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(example)) => example.shown.push(line.to_owned()),
            (None, None) => panic!("{}: {line:?} belongs to no command", page.path),
        }
    }
    examples
}

/// The examples of all pages, each once.
fn examples() -> BTreeSet<Example> {
    pages().flat_map(|page| examples_of(&page)).collect()
}

/// Whether a test can run this: a game at a terminal has its own test, and other programs may be missing.
fn is_runnable(command: &str) -> bool {
    (!command.contains("rps play") || command.contains('|'))
        && simple_commands(command).iter().all(|words| match words.iter().find(|word| !is_assignment(word)) {
            Some(program) => match program.as_str() {
                "curl" | "nc" => false,
                "power-server" | "rps-server" => Path::new(programs()).join(program).exists(),
                _ => true,
            },
            None => false,
        })
}

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

// Commands that are checked, not run.

#[test]
fn every_command_of_every_page_can_be_run() {
    let (mut checked, mut problems) = (0, Vec::new());
    for page in pages() {
        let blocks = page.blocks.iter().filter(|block| block.language == "sh").map(|block| block.text.clone());
        let console =
            examples_of(&page).into_iter().map(|example| example.command).filter(|command| !is_runnable(command));
        let inline = code_spans(&page.text).into_iter().filter(|span| {
            let (first, rest) = span.split_once(' ').unwrap_or((span, ""));
            let has_placeholder = rest.split(' ').any(|word| word.len() > 1 && word.chars().all(char::is_uppercase));
            let is_command =
                first.starts_with("scripts/") || matches!(first, "cargo" | "bash" | "cli-client" | "docker");
            is_command && !has_placeholder && (!rest.is_empty() || first.starts_with("scripts/"))
        });
        for script in blocks.chain(console).chain(inline) {
            for words in simple_commands(&script) {
                checked += 1;
                if let Err(problem) = check(&words) {
                    problems.push(format!("{}: `{}`: {problem}", page.path, words.join(" ")));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 100, "only {checked} commands");
}

/// Splits a shell script into simple commands, and these into words. Redirections are dropped.
fn simple_commands(script: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words) = (Vec::new(), Vec::new());
    let mut rest = script.chars().peekable();
    while let Some(&next) = rest.peek() {
        match next {
            '#' => while rest.next_if(|&next| next != '\n').is_some() {},
            '\n' | ';' | '&' | '|' | '(' | ')' => {
                rest.next();
                commands.push(std::mem::take(&mut words));
            }
            '>' | '<' => {
                rest.next();
                while rest.next_if(|next| " >&".contains(*next)).is_some() {}
                next_word(&mut rest);
            }
            next if next.is_whitespace() => _ = rest.next(),
            _ => words.push(next_word(&mut rest)),
        }
    }
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

/// A word without its quotes.
fn next_word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(next) = rest.next_if(|&next| !next.is_whitespace() && !";&|()<>".contains(next)) {
        match next {
            '\\' => word.extend(rest.next().filter(|&next| next != '\n')),
            '\'' | '"' => word.extend(rest.by_ref().take_while(|&character| character != next)),
            other => word.push(other),
        }
    }
    word
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || "_0123456789".contains(letter))
    })
}

fn ensure(condition: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(problem()) }
}

/// Checks that a simple command can be run.
fn check(words: &[String]) -> Result<(), String> {
    let start = words.iter().position(|word| !is_assignment(word)).unwrap_or(words.len());
    let (variables, words) = words.split_at(start);
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for file in
        arguments.iter().filter(|word| ["config/", "crates/", "scripts/"].iter().any(|top| word.starts_with(top)))
    {
        ensure(exists(file), || format!("{file} does not exist"))?;
    }
    match (program.as_str(), arguments.as_slice()) {
        ("cargo", arguments) => check_cargo(arguments),
        ("cli-client", arguments) => check_run("cli-client", variables, arguments, "--help"),
        ("power-server" | "rps-server", arguments) => check_server(program, variables, arguments),
        ("bash", [script]) => ensure(exists(script), || format!("{script} does not exist")),
        ("alias", [alias]) => check_script(alias.split_once('=').map_or("", |(_, command)| command)),
        ("unshare", ["--net", "sh", "-c", script]) => check_script(script),
        ("docker", ["build", "--target", target, ..]) => {
            ensure(read("Dockerfile").contains(&format!(" AS {target}\n")), || format!("there is no target {target}"))
        }
        ("docker", ["run", .., image]) => {
            ensure(read("Dockerfile").contains(&format!(" AS {image}\n")), || format!("there is no image {image}"))
        }
        (script, arguments) if script.starts_with("scripts/") => check_project_script(script, arguments),
        (other, _) => {
            ensure(OTHER_PROGRAMS.split(' ').any(|program| program == other), || format!("no check for {other}"))
        }
    }
}

fn check_script(script: &str) -> Result<(), String> {
    simple_commands(script).iter().try_for_each(|words| check(words))
}

/// Checks a script of the project: it exists, can be executed, and knows the names among its arguments.
fn check_project_script(path: &str, arguments: &[&str]) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = fs::metadata(root().join(path)).map_err(|error| error.to_string())?;
    ensure(metadata.permissions().mode() & 0o111 != 0, || "it is not executable".to_owned())?;
    let mut source = read(path);
    if path == "scripts/bench.sh" {
        source += &read_all(&files("scripts/bench"), "py");
    }
    let is_name = |word: &str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    for name in arguments.iter().filter(|word| is_name(word)) {
        ensure(source.contains(name), || format!("it does not know {name}"))?;
    }
    Ok(())
}

/// Checks the arguments of a server. Its own program does, if cargo has built it: `cargo test --workspace` does.
fn check_server(program: &str, variables: &[String], arguments: &[&str]) -> Result<(), String> {
    if Path::new(programs()).join(program).exists() {
        let has_mode = arguments.iter().any(|argument| matches!(*argument, "--check-config" | "--healthcheck"));
        return check_run(program, variables, arguments, if has_mode { "--help" } else { "--check-config" });
    }
    let source =
        read(&format!("crates/{program}/src/main.rs")) + &read("crates/proto/src/server/config/command_line.rs");
    for option in arguments.iter().filter_map(|argument| argument.strip_prefix("--")) {
        let field = format!(" {}: ", option.replace('-', "_"));
        ensure(source.contains(&field), || format!("there is no option --{option}"))?;
    }
    Ok(())
}

/// Runs a program with an additional option, with which it checks its arguments and does nothing else.
fn check_run(program: &str, variables: &[String], arguments: &[&str], option: &str) -> Result<(), String> {
    let mut command = Command::new(Path::new(programs()).join(program));
    command.args(arguments).arg(option).current_dir(root()).stdin(Stdio::null());
    command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    let output = command.output().map_err(|error| error.to_string())?;
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
}

fn check_cargo(arguments: &[&str]) -> Result<(), String> {
    let (arguments, passed) = match arguments.iter().position(|argument| *argument == "--") {
        Some(end) => (&arguments[..end], &arguments[end + 1..]),
        None => (arguments, [].as_slice()),
    };
    let Some((&subcommand, options)) = arguments.split_first() else { return Err("no subcommand".to_owned()) };
    let (mut package, mut targets, mut filters, mut features) = (None, Vec::new(), Vec::new(), Vec::new());
    let mut options = options.iter().copied();
    while let Some(option) = options.next() {
        let mut value = || options.next().ok_or(format!("{option} has no value"));
        match option {
            "-p" | "-qp" => package = Some(value()?),
            "--test" => targets.push(("tests", value()?)),
            "--bench" => targets.push(("benches", value()?)),
            "--features" => features.push(value()?),
            "--fuzz-dir" => targets.push(("fuzz", value()?)),
            "--path" => ensure(exists(value()?), || format!("{arguments:?}: there is no such folder"))?,
            "--workspace" | "--all" | "--all-targets" | "--check" | "--release" | "--no-deps" | "--open"
            | "--no-run" | "--offline" | "--locked" | "-q" => {}
            name if !name.starts_with('-') => filters.push(name),
            other => return Err(format!("no check for {other}")),
        }
    }
    let packages = match package {
        Some(package) => vec![package],
        None => vec!["proto", "power-server", "rps-server", "cli-client"],
    };
    let in_packages = |file: &str| {
        let paths = packages.iter().map(|package| format!("crates/{package}/{file}"));
        paths.filter(|path| exists(path)).collect::<Vec<_>>()
    };
    ensure(!in_packages("Cargo.toml").is_empty(), || format!("there is no package {package:?}"))?;
    let manifests: String = in_packages("Cargo.toml").iter().map(|path| read(path)).collect();
    for feature in features {
        ensure(manifests.contains(&format!("\n{feature} = [")), || format!("there is no feature {feature}"))?;
    }
    match subcommand {
        "test" => {
            filters.extend(passed.iter().filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase())));
            let sources: Vec<_> = if targets.is_empty() {
                packages.iter().flat_map(|package| files(&format!("crates/{package}"))).collect()
            } else {
                targets.iter().flat_map(|(folder, name)| in_packages(&format!("{folder}/{name}.rs"))).collect()
            };
            ensure(sources.len() >= targets.len().max(1), || format!("{targets:?}: not all of these exist"))?;
            let sources = read_all(&sources, "rs");
            let names: Vec<_> =
                sources.lines().filter_map(|line| line.trim_start().split_once("fn ")?.1.split('(').next()).collect();
            for filter in filters {
                ensure(names.iter().any(|name| name.contains(filter)), || format!("no test has {filter} in its name"))?;
            }
            Ok(())
        }
        "bench" => targets.iter().try_for_each(|(folder, name)| {
            ensure(!in_packages(&format!("{folder}/{name}.rs")).is_empty(), || format!("there is no benchmark {name}"))
        }),
        "run" => {
            let program = package.ok_or("no package")?;
            ensure(!in_packages("src/main.rs").is_empty(), || format!("{program} is not a program"))?;
            if program == "cli-client" { Ok(()) } else { check_server(program, &[], passed) }
        }
        "fuzz" => match (targets.as_slice(), filters.as_slice()) {
            ([(_, folder)], ["run", target]) => {
                let file = format!("{folder}/targets/{target}.rs");
                ensure(exists(&file), || format!("{file} does not exist"))
            }
            _ => Err("no check for this".to_owned()),
        },
        "build" | "clippy" | "doc" | "fmt" | "install" | "update" => Ok(()),
        other => Err(format!("no check for cargo {other}")),
    }
}

// Links and file names.

/// The files below a folder, as paths from the top folder.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && name != "target" => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(path: &Path) -> BTreeSet<String> {
    let (mut anchors, mut in_block) = (BTreeSet::new(), false);
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        in_block ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if !in_block && line.starts_with('#') && heading.starts_with(' ') {
            let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            anchors.insert(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut followed = 0;
    for page in pages() {
        let page_path = root().join(page.path);
        for link in page.text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page_path.clone() } else { page_path.with_file_name("").join(file) };
            assert!(path.exists(), "{}: {target} does not exist", page.path);
            assert!(anchor.is_empty() || anchors(&path).contains(anchor), "{}: no heading for {target}", page.path);
            followed += 1;
        }
    }
    assert!(followed > 80, "only {followed} links");
}

#[test]
fn every_path_in_backticks_exists() {
    let all: Vec<_> = ["crates", "config", "scripts", ".ci"].into_iter().flat_map(files).collect();
    for page in pages() {
        let is_path = |span: &String| {
            matches!(extension(span), "rs" | "sh" | "py" | "md" | "service" | "yml" | "yaml")
                && !span.contains([' ', '*', '~'])
        };
        for span in code_spans(&page.text).into_iter().filter(is_path) {
            let is_there = all.iter().any(|path| *path == span || path.ends_with(&format!("/{span}")));
            assert!(is_there, "{}: there is no file {span}", page.path);
        }
    }
}
