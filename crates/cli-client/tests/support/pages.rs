//! The pages of the repository: their blocks, commands and examples.

use std::collections::BTreeSet;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

pub(crate) const README: &str = "README.md";
pub(crate) const CHINESE: &str = "crates/README.zh.md";
pub(crate) const CLIENT: &str = "crates/cli-client/README.md";

/// All pages.
pub(crate) const PAGES: [&str; 12] = [
    README,
    CHINESE,
    "crates/README.md",
    "crates/proto/README.md",
    CLIENT,
    "config/README.md",
    "config/deploy/README.md",
    "config/deploy/RUNBOOK.md",
    "scripts/README.md",
    "crates/proto/PROTOCOL.md",
    "crates/proto/PERFORMANCE.md",
    "crates/power-server/tests/FAULTS.md",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of all of these files that have this extension.
pub(crate) fn read_all(paths: &[String], wanted: &str) -> String {
    paths.iter().filter(|path| extension(path) == wanted).map(|path| read(path)).collect()
}

pub(crate) fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The folder with the programs that cargo has built.
pub(crate) fn programs() -> &'static str {
    env!("CARGO_BIN_EXE_cli-client").strip_suffix("cli-client").expect("the program has its name")
}

/// A fenced block of a page.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// A page: its fenced blocks, and the text outside them.
pub(crate) struct Page {
    pub(crate) path: &'static str,
    pub(crate) blocks: Vec<Block>,
    pub(crate) text: String,
}

pub(crate) fn page(path: &'static str) -> Page {
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

pub(crate) fn pages() -> impl Iterator<Item = Page> {
    PAGES.into_iter().map(page)
}

/// The parts of a text in single backticks.
pub(crate) fn code_spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace('\n', " ").replace("\\|", "|")).collect()
}

/// A command and the output that a page shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) shown: Vec<String>,
}

pub(crate) fn examples_of(page: &Page) -> Vec<Example> {
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
pub(crate) fn examples() -> BTreeSet<Example> {
    pages().flat_map(|page| examples_of(&page)).collect()
}

/// Whether a test can run this: a game at a terminal has its own test, and other programs may be missing.
pub(crate) fn is_runnable(command: &str) -> bool {
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

/// Splits a shell script into simple commands, and these into words. Redirections are dropped.
pub(crate) fn simple_commands(script: &str) -> Vec<Vec<String>> {
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

pub(crate) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || "_0123456789".contains(letter))
    })
}

/// The files below a folder, as paths from the top folder.
pub(crate) fn files(folder: &str) -> Vec<String> {
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
