//! `completions`: prints a script with which a shell asks this program for candidates.
//!
//! The script runs the client with the words of the command line and the variable [`VARIABLE`], and [`answer`] prints
//! the candidates. So they always belong to the installed version. The scripts that clap generates ahead of time
//! complete nothing below the first word in bash if the name of the program has a hyphen (clap issues 6421 and 6529).

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;
use clap::builder::StyledStr;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use clap_complete::{Shell, env::EnvCompleter};
use proto::wire::power::Operation;
use proto::wire::rps::Move;

use crate::arguments;
use crate::error::CliError;
use crate::language::{Language, texts};

/// The variable with which a script asks for candidates. Its value is the name of the shell.
const VARIABLE: &str = "_CLI_CLIENT_COMPLETE";

/// The index of the word to complete, set by the scripts of clap; without it, the last word.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

/// Called through its file in a folder of `fpath`, the script only defines the function; zsh expects the candidates.
const ZSH_AUTOLOAD: &str = r#"[[ $funcstack[1] == _cli-client ]] && _clap_dynamic_completer_cli_client "$@""#;

/// Prints the script for a shell.
pub(crate) fn print_script(shell: Shell) -> Result<(), CliError> {
    let name = arguments::command().get_name().to_owned();
    let mut script = Vec::new();
    let shells = Shells::builtins();
    // Every `Shell` has a completer.
    if let Some(completer) = shells.completer(&shell.to_string()) {
        completer.write_registration(VARIABLE, &name, &name, &name, &mut script)?;
    }
    if shell == Shell::Zsh {
        writeln!(script, "{ZSH_AUTOLOAD}")?;
    }
    io::stdout().write_all(&script).map_err(CliError::from_output)
}

/// Prints the candidates if a script asks for them. Returns `None` for an ordinary command.
pub(crate) fn answer() -> Option<ExitCode> {
    let shell = env::var(VARIABLE).ok().filter(|shell| !shell.is_empty())?;
    let words: Vec<_> = env::args_os().skip_while(|argument| argument != "--").skip(1).collect();
    Language::choose(&words);
    let shells = Shells::builtins();
    let printed = match shells.completer(&shell) {
        Some(completer) if !words.is_empty() => print_candidates(completer, words),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    // A message would appear within the line that the user types.
    Some(if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_candidates(completer: &dyn EnvCompleter, words: Vec<OsString>) -> io::Result<()> {
    let index = env::var(INDEX).ok().and_then(|index| index.parse().ok()).unwrap_or(words.len() - 1);
    let words = joined(words, index);
    let is_option = words.get(index).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let mut command = prepared(arguments::command(), is_option);
    let mut candidates = Vec::new();
    completer.write_complete(&mut command, words, env::current_dir().ok().as_deref(), &mut candidates)?;
    io::stdout().write_all(&candidates)
}

/// Removes each `=` before the word to complete: bash passes `--lang=zh` as three words. Each becomes a flag, because
/// the completer reads the index of the word again.
fn joined(words: Vec<OsString>, index: usize) -> Vec<OsString> {
    let is_separator = |(at, word): &(usize, OsString)| *at < index && word == "=";
    let (separators, mut words): (Vec<_>, Vec<_>) = words.into_iter().enumerate().partition(is_separator);
    let flags = separators.into_iter().map(|(at, _)| (at, "--json".into()));
    // Behind the name of the program, if there is one.
    let start = words.len().min(1);
    words.splice(start..start, flags);
    words.into_iter().map(|(_, word)| word).collect()
}

/// Adds the candidates of values that have several spellings. Without a `-` at the start of the word, options are
/// candidates only if nothing else is one.
fn prepared(command: Command, with_options: bool) -> Command {
    let command = command.mut_args(|argument| {
        let argument = match argument.get_id().as_str() {
            "moves" => argument.add(ArgValueCandidates::new(moves)),
            "op" => argument.add(ArgValueCandidates::new(operations)),
            _ => argument,
        };
        let hidden = !with_options && !argument.is_positional();
        argument.hide(hidden)
    });
    command.mut_subcommands(|subcommand| prepared(subcommand, with_options))
}

fn moves() -> Vec<CompletionCandidate> {
    let names = Move::ALL.into_iter().flat_map(|mv| [mv.to_string(), texts::move_name(mv).to_owned()]);
    let mut names: Vec<_> = names.collect();
    // In English both are the same.
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn operations() -> Vec<CompletionCandidate> {
    let help = |operation| match operation {
        Operation::Square => texts::square(),
        Operation::Cube => texts::cube(),
        Operation::Fourth => texts::fourth(),
        Operation::Echo => texts::echo(),
    };
    let candidate = |operation: Operation| {
        CompletionCandidate::new(operation.to_string()).help(Some(StyledStr::from(help(operation))))
    };
    Operation::ALL.map(candidate).into()
}
