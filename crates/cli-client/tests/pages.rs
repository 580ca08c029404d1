//! The pages of the repository: the commands that no test runs, links and file names are right.
//!
//! A command in an `sh` block, or in backticks, needs docker, minutes, or another terminal. It is checked instead: its
//! programs, files, packages, tests, options and subcommands exist. `readme.rs` runs the examples in `console` blocks.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::pages::{
    code_spans, examples_of, exists, extension, files, is_assignment, is_runnable, pages, programs, read, read_all,
    root, simple_commands,
};

/// Programs that are not part of this repository. Only the files among their arguments are checked.
const OTHER_PROGRAMS: &str = "curl docker docker-compose echo grep head install ip jq kill kubectl mkdir nc printf promtool redis-cli redis-server sed sleep systemctl";

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
            let is_command = first.starts_with("scripts/")
                || matches!(first, "cargo" | "bash" | "cli-client" | "docker" | "promtool");
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
    // Behind `--` is a command.
    for name in arguments.iter().take_while(|word| **word != "--").filter(|word| is_name(word)) {
        ensure(source.contains(name), || format!("it does not know {name}"))?;
    }
    Ok(())
}

/// Checks the arguments of a server. Its own program does, if cargo has built it: `cargo test --workspace` does.
fn check_server(program: &str, variables: &[String], arguments: &[&str]) -> Result<(), String> {
    if Path::new(programs()).join(program).exists() {
        // `--check-config` reads the files of TLS, which an earlier command of the page makes.
        let is_help_only =
            |argument: &&str| matches!(*argument, "--check-config" | "--healthcheck") || argument.starts_with("tls.");
        let option = if arguments.iter().any(is_help_only) { "--help" } else { "--check-config" };
        return check_run(program, variables, arguments, option);
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
    let (mut packages, mut targets, mut filters, mut features) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut options = options.iter().copied();
    while let Some(option) = options.next() {
        let mut value = || options.next().ok_or(format!("{option} has no value"));
        match option {
            "-p" | "-qp" => packages.push(value()?),
            "--test" => targets.push(("tests", value()?)),
            "--bench" => targets.push(("benches", value()?)),
            "--bin" => ensure(packages.contains(&value()?), || format!("{arguments:?}: there is no such program"))?,
            "--features" => features.push(value()?),
            "--fuzz-dir" => targets.push(("fuzz", value()?)),
            "--path" => ensure(exists(value()?), || format!("{arguments:?}: there is no such folder"))?,
            "--workspace" | "--all" | "--all-targets" | "--check" | "--release" | "--no-deps" | "--open"
            | "--no-run" | "--offline" | "--locked" | "-q" => {}
            name if !name.starts_with('-') => filters.push(name),
            other => return Err(format!("no check for {other}")),
        }
    }
    for package in &packages {
        ensure(exists(&format!("crates/{package}/Cargo.toml")), || format!("there is no package {package}"))?;
    }
    let program = packages.first().copied();
    if packages.is_empty() {
        packages = vec!["proto", "power-server", "rps-server", "cli-client"];
    }
    let in_packages = |file: &str| {
        let paths = packages.iter().map(|package| format!("crates/{package}/{file}"));
        paths.filter(|path| exists(path)).collect::<Vec<_>>()
    };
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
            let program = program.ok_or("no package")?;
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
        "build" | "clippy" | "doc" | "fmt" | "install" | "rustc" | "update" => Ok(()),
        other => Err(format!("no check for cargo {other}")),
    }
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
    let all: Vec<_> =
        ["crates", "config", "scripts", ".ci"].into_iter().flat_map(files).chain(["Cargo.toml".to_owned()]).collect();
    for page in pages() {
        let is_path = |span: &String| {
            matches!(extension(span), "rs" | "sh" | "py" | "md" | "service" | "yml" | "yaml" | "toml" | "cfg")
                && !span.contains([' ', '*', '~'])
        };
        for span in code_spans(&page.text).into_iter().filter(is_path) {
            let is_there = all.iter().any(|path| *path == span || path.ends_with(&format!("/{span}")));
            assert!(is_there, "{}: there is no file {span}", page.path);
        }
    }
}
