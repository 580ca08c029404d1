//! Reports usage errors, and prints help and version.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Error};

use super::Arguments;
use super::help::{self, Detail};
use crate::error::CliError;
use crate::language::texts;
use crate::output::{self, Output};

/// Prints help or version if requested, or reports the error. Returns the exit code.
pub(super) fn report(error: &Error, arguments: &[OsString]) -> ExitCode {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let json = options.any(|argument| argument == "--json");
    let output = Output { json, quiet: false };
    let usage_error = CliError::Usage(message(error, arguments));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Prints in colour on a terminal.
            let Err(error) = error.print().map_err(CliError::from_output) else { return ExitCode::SUCCESS };
            output.report_error(&(), &error);
            return ExitCode::from(error.code());
        }
        _ if json => output.report_error(&(), &usage_error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // On standard error, so only the exit code is left if it cannot be written.
            let short = help::localized(Arguments::command(), Detail::Short).try_get_matches_from(arguments);
            let _ = short.as_ref().err().unwrap_or(error).print();
            output::write_stderr("\n");
            output.report_error(&(), &usage_error);
        }
        _ => output::write_stderr(&usage(error, &usage_error.message().unwrap_or_default(), arguments)),
    }
    ExitCode::from(usage_error.code())
}

/// Formats the message of the error, the usage of the command, and a pointer to its help.
fn usage(error: &Error, message: &str, arguments: &[OsString]) -> String {
    let mut paragraphs = vec![format!("cli-client: {message}")];
    let mut command = names(arguments);
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.trim_start().trim_start_matches("Usage:").trim_start();
        let names: Vec<_> = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
        command = names.join(" ");
        // For a misplaced option, clap puts a similar one of the wrong command into the usage.
        let option = error.get(ContextKind::InvalidArg).map(words).unwrap_or_default();
        if error.kind() != ErrorKind::UnknownArgument || commands_of(&option, arguments).is_none() {
            paragraphs.push(texts::usage_line(usage));
        }
    }
    paragraphs.push(texts::more_help(command));
    paragraphs.join("\n\n") + "\n"
}

/// Returns the names of the command and subcommands on a command line.
fn names(arguments: &[OsString]) -> String {
    let mut command = super::command();
    let mut names = vec![command.get_name().to_owned()];
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if let Some(subcommand) = command.find_subcommand(argument).cloned() {
            names.push(argument.to_owned());
            command = subcommand;
        }
    }
    names.join(" ")
}

/// Returns the commands behind which this option may come, if it was given before one of them.
fn commands_of(option: &str, arguments: &[OsString]) -> Option<String> {
    let is_option = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        match option.strip_prefix('-') {
            // A short option may come behind others, as in `-qc 5`.
            Some(short) if !short.starts_with('-') => {
                argument.starts_with('-') && !argument.starts_with("--") && argument.contains(short)
            }
            _ => argument.starts_with(option),
        }
    };
    let before: Vec<_> = arguments.iter().take_while(|argument| !is_option(argument)).collect();
    let mut command = super::command();
    for argument in before.into_iter().skip(1).filter_map(|argument| argument.to_str()) {
        command = command.find_subcommand(argument).cloned().unwrap_or(command);
    }
    let known: Vec<_> = command
        .get_subcommands()
        .filter(|subcommand| has_option(subcommand, option))
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    (!known.is_empty()).then(|| known.join(&texts::list_separator()))
}

/// Whether the command or a subcommand has this option, such as `--rate` or `-c`.
fn has_option(command: &Command, option: &str) -> bool {
    let is_named = |argument: &Arg| match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some_and(|short| option == format!("-{short}")),
    };
    command.get_arguments().any(is_named) || command.get_subcommands().any(|subcommand| has_option(subcommand, option))
}

/// Returns the commands whose last name is this, such as `rps play`.
fn commands_named(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for group in super::command_without_help_subcommands().get_subcommands() {
        let named = group.get_subcommands().filter(|subcommand| subcommand.get_name() == name);
        found.extend(named.map(|subcommand| format!("{} {}", group.get_name(), subcommand.get_name())));
    }
    // A word of the rules, but an option.
    if name == "duel" {
        found.insert(0, "rps play --duel".to_owned());
    }
    found
}

/// Returns the option that needs this missing argument; clap does not name it.
fn option_that_needs(missing: &str) -> Option<&'static str> {
    [("--duel", "--window"), ("--split <BYTES>", "--delay")]
        .into_iter()
        .find_map(|(other, option)| (missing == other).then_some(option))
}

/// Formats the error as one sentence.
fn message(error: &Error, arguments: &[OsString]) -> String {
    let context = |kind| error.get(kind).map(words).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggested.into_iter().find_map(|kind| error.get(kind));
    // The best one is the last.
    let mut suggested: Vec<_> = suggested.map(all_words).unwrap_or_default().into_iter().rev().collect();
    let sentence = match error.kind() {
        ErrorKind::ValueValidation => {
            let expected = error.source().map(ToString::to_string).unwrap_or_default();
            // Removes the blank that `escape_negative` puts before a negative number.
            texts::invalid_value(context(ContextKind::InvalidValue).trim_start(), &argument, expected)
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => texts::missing_value(&argument),
        ErrorKind::InvalidValue => {
            let expected = texts::one_of(context(ContextKind::ValidValue));
            texts::invalid_value(context(ContextKind::InvalidValue), &argument, expected)
        }
        ErrorKind::UnknownArgument => match commands_of(&argument, arguments) {
            Some(commands) => {
                suggested.clear();
                texts::misplaced(&argument, commands)
            }
            None => texts::unknown_argument(&argument),
        },
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand);
            let named = commands_named(&name);
            if !named.is_empty() {
                suggested = named;
            }
            texts::unknown_command(name)
        }
        ErrorKind::MissingRequiredArgument => match option_that_needs(&argument) {
            Some(option) => texts::needs_option(option, &argument),
            None => texts::missing_argument(&argument),
        },
        ErrorKind::MissingSubcommand => texts::missing_command(context(ContextKind::ValidSubcommand)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => texts::no_command(),
        ErrorKind::TooManyValues => texts::takes_no_value(&argument),
        ErrorKind::InvalidUtf8 => texts::argument_not_text(),
        ErrorKind::ArgumentConflict if argument == context(ContextKind::PriorArg) => texts::repeated(&argument),
        ErrorKind::ArgumentConflict => texts::conflict(&argument, context(ContextKind::PriorArg)),
        // Not possible with this command line; clap has an English message.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let quoted: Vec<_> = suggested.iter().map(|word| format!("'{word}'")).collect();
    if quoted.is_empty() { sentence } else { sentence + &texts::did_you_mean(quoted.join(&texts::list_separator())) }
}

fn words(value: &ContextValue) -> String {
    all_words(value).join(&texts::list_separator())
}

fn all_words(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::Strings(all) => all.clone(),
        other => vec![other.to_string()],
    }
}
