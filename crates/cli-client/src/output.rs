//! Prints results on standard output and everything else on standard error. With `--json`, errors are objects on
//! standard output.

use std::fmt::Display;
use std::io::{self, Write};

use clap::Args;
use proto::wire::number::Number;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{CliError, FailureKind};
use crate::language::texts;

/// The schema version of `--json`. It changes when a field is changed or removed, not when one is added.
pub(crate) const SCHEMA: u32 = 1;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    #[arg(long, global = true, help = texts::json())]
    pub(crate) json: bool,

    #[arg(short, long, global = true, help = texts::quiet())]
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints a result: a line of text, or a JSON object.
    ///
    /// # Errors
    ///
    /// [`CliError::OutputClosed`] on a broken pipe, which ends the command without a message; otherwise
    /// [`CliError::Output`].
    pub(crate) fn print(self, line: impl Display, fields: &impl Serialize) -> Result<(), CliError> {
        if self.json { print_object(fields, None) } else { print_line(line) }
    }

    /// Reports an error. `about` holds the fields of the request for the JSON object; `&()` has none. If the report
    /// cannot be written, only the exit code is left.
    pub(crate) fn report_error(self, about: &impl Serialize, error: &CliError) {
        let Some(message) = error.message() else { return };
        // The user pressed Ctrl-C and needs no message; a program may need it.
        if matches!(error, CliError::Interrupted(_)) && !self.json {
            return;
        }
        if self.json {
            let (address, phase) = match error {
                CliError::NoReply(error, _) => (Some(&*error.address), Some(error.phase.to_string())),
                _ => (None, None),
            };
            let code = if let CliError::ErrorReply { code, .. } = error { Some(*code) } else { None };
            let error = ErrorObject { kind: error.kind(), code, message: &message, address, phase };
            // If standard output cannot be written, standard error may still work.
            if !matches!(print_object(about, Some(error)), Err(CliError::Output(_))) {
                return;
            }
        }
        write_message(&message);
    }
}

fn print_object(fields: &impl Serialize, error: Option<ErrorObject<'_>>) -> Result<(), CliError> {
    let object = serde_json::to_string(&Object { schema: SCHEMA, fields, error });
    print_line(object.map_err(io::Error::from)?)
}

fn print_line(line: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout(), "{line}").map_err(CliError::from_output)
}

/// Writes a message of one line to standard error, behind the name of the program.
pub(crate) fn write_message(message: &str) {
    write_stderr(&format!("cli-client: {message}\n"));
}

/// Writes to standard error. Ignores errors, because there is nowhere to report them.
pub(crate) fn write_stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Serializes a number with the same digits as on the wire.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the value by reference")]
pub(crate) fn number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    let text = RawValue::from_string(number.to_string()).map_err(serde::ser::Error::custom)?;
    text.serialize(serializer)
}

/// Serializes a value by its English name, in every language.
pub(crate) fn by_name<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(Serialize)]
struct Object<'a, T> {
    schema: u32,
    #[serde(flatten)]
    fields: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject<'a>>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    kind: FailureKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
}
