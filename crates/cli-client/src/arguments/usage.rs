//! Reports usage errors, and prints help and version.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CliError;
use crate::language::texts;
use crate::output::{self, Output};

/// Prints help or version if requested, or reports the error. Returns the exit code.
pub(super) fn report(error: &Error, arguments: &[OsString]) -> ExitCode {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let json = options.any(|argument| argument == "--json");
    let usage_error = CliError::Usage(message(error));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Prints in colour on a terminal.
            let Err(error) = error.print().map_err(CliError::from_output) else { return ExitCode::SUCCESS };
            Output { json, quiet: false }.report_error(&(), &error);
            return ExitCode::from(error.code());
        }
        _ if json => Output { json, quiet: false }.report_error(&(), &usage_error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => output::write_stderr(&usage(error, &usage_error.message().unwrap_or_default(), arguments)),
    }
    ExitCode::from(usage_error.code())
}

/// Formats the message of the error, the usage of the command, and a pointer to its help.
fn usage(error: &Error, message: &str, arguments: &[OsString]) -> String {
    let mut paragraphs = vec![texts::usage_error(message)];
    let mut command = names(arguments);
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.trim_start().trim_start_matches("Usage:").trim_start();
        let names: Vec<_> = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
        command = names.join(" ");
        paragraphs.push(texts::usage_line(usage));
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

/// Formats the error as one sentence.
fn message(error: &Error) -> String {
    let context = |kind| error.get(kind).map(words).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggested.into_iter().find_map(|kind| error.get(kind));
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
        ErrorKind::UnknownArgument => texts::unknown_argument(&argument),
        ErrorKind::InvalidSubcommand => texts::unknown_command(context(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingRequiredArgument => texts::missing_argument(&argument),
        ErrorKind::MissingSubcommand => texts::missing_command(context(ContextKind::ValidSubcommand)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => texts::no_command(),
        ErrorKind::TooManyValues => texts::takes_no_value(&argument),
        ErrorKind::InvalidUtf8 => texts::argument_not_text(),
        ErrorKind::ArgumentConflict => texts::conflict(&argument, context(ContextKind::PriorArg)),
        // Not possible with this command line; clap has an English message.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    sentence + &suggested.map(|value| texts::did_you_mean(words(value))).unwrap_or_default()
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join(", "),
        other => other.to_string(),
    }
}
