//! Reports of usage errors, and help and version where asked for.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CliError;
use crate::language::texts;
use crate::output::{self, Output};

/// Prints the help or version asked for, or reports the error, and returns the exit code.
pub(super) fn report(error: &Error, arguments: &[OsString]) -> ExitCode {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let json = options.any(|argument| argument == "--json");
    let failure = CliError::Usage(message(error));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Prints in colour at a terminal. Ignores a closed pipe.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        _ if json => Output { json, quiet: false }.report_error(&(), &failure),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => output::tell(&usage(error, arguments)),
    }
    ExitCode::from(failure.code())
}

/// The error, the usage of the command, and where to find more.
fn usage(error: &Error, arguments: &[OsString]) -> String {
    let mut paragraphs = vec![texts::usage_error(message(error))];
    let mut command = names(arguments);
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.trim_start().trim_start_matches("Usage:").trim_start();
        let names: Vec<_> = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
        command = names.join(" ");
        paragraphs.push(format!("{}: {usage}", texts::help_usage()));
    }
    paragraphs.push(texts::more_help(command));
    paragraphs.join("\n\n") + "\n"
}

/// The names of the command on a command line, as far as it has them.
fn names(arguments: &[OsString]) -> String {
    let mut command = super::command();
    let mut names = vec![command.get_name().to_owned()];
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if let Some(below) = command.find_subcommand(argument).cloned() {
            names.push(argument.to_owned());
            command = below;
        }
    }
    names.join(" ")
}

/// The error in one sentence.
fn message(error: &Error) -> String {
    let context = |kind| error.get(kind).map(words).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggested.into_iter().find_map(|kind| error.get(kind));
    let sentence = match error.kind() {
        ErrorKind::ValueValidation => {
            let right = error.source().map(ToString::to_string).unwrap_or_default();
            // Without the blank that `escape_negative` puts before a negative number.
            texts::invalid_value(context(ContextKind::InvalidValue).trim_start(), &argument, right)
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => texts::missing_value(&argument),
        ErrorKind::InvalidValue => {
            let right = texts::one_of(context(ContextKind::ValidValue));
            texts::invalid_value(context(ContextKind::InvalidValue), &argument, right)
        }
        ErrorKind::UnknownArgument => texts::unknown_argument(&argument),
        ErrorKind::InvalidSubcommand => texts::unknown_command(context(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingRequiredArgument => texts::missing_argument(&argument),
        ErrorKind::MissingSubcommand => texts::missing_command(context(ContextKind::ValidSubcommand)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => texts::no_command(),
        ErrorKind::TooManyValues => texts::takes_no_value(&argument),
        ErrorKind::InvalidUtf8 => texts::argument_not_text(),
        ErrorKind::ArgumentConflict => texts::conflict(&argument, context(ContextKind::PriorArg)),
        // Does not happen with this command line; clap has an English message.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    sentence + &suggested.map(|value| texts::perhaps(words(value))).unwrap_or_default()
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join(", "),
        other => other.to_string(),
    }
}
