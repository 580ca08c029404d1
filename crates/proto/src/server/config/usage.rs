//! Parses the arguments of a server, reports usage errors, and prints help and version.
//!
//! It depends on `clap`, `builder`, `suggestion` and `wire::quoted`. The errors have the words of those of the client.

use std::io::{self, Write};
use std::process::{self, ExitCode};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Error, Parser};

use super::builder::hide_argument;
use super::suggestion::did_you_mean;
use crate::wire::quoted::Printable;

/// The exit code of wrong usage.
const USAGE: u8 = 2;

/// Parses the arguments of this process. Prints help, the version or an error, and exits, if there is something to
/// print.
#[must_use]
pub fn parse_arguments<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|error| {
        let mut command = A::command();
        let name = command.get_name().to_owned();
        let code = match error.kind() {
            // clap prints in colour on a terminal.
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                exit_status_of_output(&name, error.print().and_then(|()| io::stdout().flush()))
            }
            _ => {
                let (message, usage) = (message(&error), command.render_usage());
                let text = format!("{name}: {message}\n\n{usage}\n\nFor more information, try '{name} --help'.\n");
                // If standard error is closed, only the exit code remains.
                let _ = io::stderr().write_all(text.as_bytes());
                USAGE
            }
        };
        process::exit(code.into())
    })
}

/// Formats the error as one sentence. An argument in it is [escaped](Printable).
fn message(error: &Error) -> String {
    let context = |kind| error.get(kind).map(words).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let sentence = match error.kind() {
        // The value of `--set` behind a blank is such an argument.
        ErrorKind::UnknownArgument => format!("unexpected argument '{}'", hide_argument(&argument)),
        // The values of all options are any text, so clap rejects only a missing one.
        ErrorKind::InvalidValue => format!("a value is required for '{argument}'"),
        ErrorKind::TooManyValues => format!("'{argument}' takes no value"),
        ErrorKind::ArgumentConflict => {
            let prior = context(ContextKind::PriorArg);
            if prior == argument {
                format!("'{argument}' can be given only once")
            } else {
                format!("'{argument}' cannot be used with '{prior}'")
            }
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        // Not possible with these arguments; clap has a message.
        _ => escape(error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ")),
    };
    sentence + &did_you_mean(error.get(ContextKind::SuggestedArg).map(words))
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => escape(&all.join("', '")),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    Printable(text).to_string()
}

/// Returns the exit code of a command whose output was printed with this result. If it could not be written, for
/// example to a full disk, prints the reason to standard error and returns 1. A closed pipe is not an error: its reader
/// needs no more.
pub(super) fn exit_code_of_output(program: &str, printed: io::Result<()>) -> ExitCode {
    ExitCode::from(exit_status_of_output(program, printed))
}

fn exit_status_of_output(program: &str, printed: io::Result<()>) -> u8 {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // If standard error is closed, only the exit code remains.
            let _ = writeln!(io::stderr(), "{program}: cannot write to standard output: {error}");
            1
        }
        _ => 0,
    }
}
