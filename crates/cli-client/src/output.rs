//! Answers go to standard output, all else to standard error; with `--json` each is an object on standard output.

use std::fmt::Display;
use std::io::{self, Write};

use proto::wire::number::Number;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::failure::{Failure, Kind};

/// The version of what `--json` prints. Fields may be added to a version; one that goes or changes makes another.
const SCHEMA: u32 = 1;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// In objects, or else in lines; with nothing but answers and errors, if it is to be quiet.
    #[must_use]
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether it speaks in objects.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether it says nothing but answers and errors.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints an answer on a line of its own: as it displays itself, or as an object.
    ///
    /// # Errors
    ///
    /// [`Failure::OutputClosed`] where nobody reads it any more, which ends the command quietly, or else
    /// [`Failure::Output`].
    pub fn answer(&self, answer: &(impl Display + Serialize)) -> Result<(), Failure> {
        if self.json { object(answer) } else { print(answer) }
    }

    /// Prints a line, which an object has no place for.
    ///
    /// # Errors
    ///
    /// As [`Output::answer`].
    pub fn line(&self, line: impl Display) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(line) }
    }

    /// Says what went wrong, where there is something to say. Where nobody hears it, the exit code has to tell alone.
    pub fn complain(&self, failure: &Failure) {
        self.complain_about(&(), failure);
    }

    /// The same, with what it was about, which an object has too.
    pub fn complain_about(&self, about: &impl Serialize, failure: &Failure) {
        let Some(message) = failure.message() else { return };
        // Whoever pressed Ctrl-C knows; a program may not.
        if matches!(failure, Failure::Interrupted(_)) && !self.json {
            return;
        }
        if self.json {
            let (address, phase) = match failure {
                Failure::NoAnswer(error, _) => (Some(&*error.address), Some(error.phase.to_string())),
                _ => (None, None),
            };
            let code = if let Failure::Refused { code, .. } = failure { Some(*code) } else { None };
            let error = Told { kind: failure.kind(), code, message: &message, address, phase };
            // Where standard output takes nothing more, there is still standard error.
            if let Err(Failure::Output(_)) = object(&About { about, error }) {
                tell(&format!("cli-client: {message}\n"));
            }
        } else {
            tell(&format!("cli-client: {message}\n"));
        }
    }
}

fn object(fields: &impl Serialize) -> Result<(), Failure> {
    let object = serde_json::to_string(&Versioned { schema: SCHEMA, fields });
    print(object.map_err(|error| Failure::System(error.into()))?)
}

fn print(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(error),
    })
}

/// Writes to standard error. What nobody reads there is no reason to fail.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A number as an answer shows it: JSON has the same text as the wire.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it serializes by reference")]
pub(crate) fn number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    let text = RawValue::from_string(number.to_string()).map_err(serde::ser::Error::custom)?;
    text.serialize(serializer)
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    fields: &'a T,
}

#[derive(Serialize)]
struct About<'a, T> {
    #[serde(flatten)]
    about: &'a T,
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
}
