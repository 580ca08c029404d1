//! Answers go to standard output, all else to standard error.

use std::fmt::Display;
use std::io::{self, Write};

use crate::failure::Failure;

/// Prints an answer on a line of its own.
///
/// # Errors
///
/// [`Failure::OutputClosed`] where nobody reads it any more, which ends the command quietly, or else
/// [`Failure::Output`].
pub fn answer(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(error),
    })
}

/// Says what went wrong. Where standard error is closed too, the exit code has to say it alone.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "cli-client: {message}");
}
