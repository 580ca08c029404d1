//! Prints answers to standard output and everything else to standard error; with `--json`, errors too are objects on
//! standard output.

use std::fmt::Display;
use std::io::{self, Write};

use clap::Args;
use proto::wire::number::Number;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{CliError, FailureKind};
use crate::language::texts;

/// The version of what `--json` prints. It changes when a field changes or goes, not when one is added.
const SCHEMA: u32 = 1;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    #[arg(long, global = true, help = texts::json())]
    pub(crate) json: bool,

    #[arg(short, long, global = true, help = texts::quiet())]
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints an answer: a line for people, or an object for programs.
    ///
    /// # Errors
    ///
    /// [`CliError::OutputClosed`] on a broken pipe, which ends the command quietly, or else [`CliError::Output`].
    pub(crate) fn answer(self, line: impl Display, fields: &impl Serialize) -> Result<(), CliError> {
        if self.json { object(fields, None) } else { print(line) }
    }

    /// Reports an error; an object also has the fields of the request that it is about, `&()` for none. Where the report
    /// cannot be written, the exit code is all that is left.
    pub(crate) fn report_error(self, about: &impl Serialize, failure: &CliError) {
        let Some(message) = failure.message() else { return };
        // A person who pressed Ctrl-C knows; a program may not.
        if matches!(failure, CliError::Interrupted(_)) && !self.json {
            return;
        }
        if self.json {
            let (address, phase) = match failure {
                CliError::NoAnswer(error, _) => (Some(&*error.address), Some(error.phase.to_string())),
                _ => (None, None),
            };
            let code = if let CliError::Refused { code, .. } = failure { Some(*code) } else { None };
            let error = ErrorObject { kind: failure.kind(), code, message: &message, address, phase };
            // A full disk takes no object; standard error may still take the message.
            if !matches!(object(about, Some(error)), Err(CliError::Output(_))) {
                return;
            }
        }
        tell(&format!("cli-client: {message}\n"));
    }
}

fn object(fields: &impl Serialize, error: Option<ErrorObject<'_>>) -> Result<(), CliError> {
    let object = serde_json::to_string(&Object { schema: SCHEMA, fields, error });
    print(object.map_err(io::Error::from)?)
}

fn print(line: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout(), "{line}").map_err(CliError::of_output)
}

/// Writes to standard error, and ignores errors: there is nowhere left to report them.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Serializes a number with the same digits as on the wire.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it serializes by reference")]
pub(crate) fn number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    let text = RawValue::from_string(number.to_string()).map_err(serde::ser::Error::custom)?;
    text.serialize(serializer)
}

/// Serializes a value by its English name, in every language of the process.
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
