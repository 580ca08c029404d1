//! The values of a command: its arguments, and lines of standard input in place of an argument `-`.

use std::future::ready;
use std::io;

use futures::StreamExt;
use futures::stream::{self, LocalBoxStream};
use proto::wire::quoted::Printable;
use tokio::io::Stdin;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::error::CliError;
use crate::language::texts;
use crate::output::write_stderr;

/// Maximum length of an input line in bytes. Numbers and moves are shorter.
const MAX_LINE: usize = 4096;

/// Maximum characters of an invalid line in a message: enough to recognise the mistake.
const MAX_QUOTED: usize = 24;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument<T> {
    Value(T),
    /// `-`: read values from standard input.
    Input,
}

/// Parses a value, or returns a message that describes valid values.
type Parse<T> = fn(&str) -> Result<T, String>;

/// Standard input with one value per line.
pub(crate) struct Input<T> {
    parse: Parse<T>,
    /// Whether the input is a terminal: each line has a prompt, and an invalid line may be corrected.
    pub(crate) interactive: bool,
    lines: FramedRead<Stdin, LinesCodec>,
    line: u64,
    /// Whether the last line could not be decoded. `FramedRead` then returns one `None` that is not the end of the
    /// input.
    decode_error: bool,
}

impl<T> Input<T> {
    pub(crate) fn open(parse: Parse<T>, interactive: bool) -> Self {
        let lines = FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(MAX_LINE));
        Self { parse, interactive, lines, line: 0, decode_error: false }
    }

    /// Returns the value on the next line that is not blank, or `None` at the end. Writes `prompt` before each line of
    /// an interactive input. Dropping the future loses no line.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] with the line number for an invalid line of non-interactive input, after which the next line
    /// can be read; [`CliError::System`] if standard input cannot be read.
    pub(crate) async fn next(&mut self, prompt: &str) -> Result<Option<T>, CliError> {
        loop {
            if self.interactive {
                write_stderr(prompt);
            }
            if self.decode_error {
                let _none = self.lines.next().await;
                self.decode_error = false;
            }
            let Some(line) = self.lines.next().await else { return Ok(None) };
            self.decode_error = line.is_err();
            self.line += 1;
            let message = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => match (self.parse)(&line) {
                    Ok(value) => return Ok(Some(value)),
                    Err(expected) => texts::invalid_line(quoted(&line), expected),
                },
                Err(LinesCodecError::MaxLineLengthExceeded) => texts::input_too_long(MAX_LINE),
                Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    texts::input_not_text()
                }
                Err(LinesCodecError::Io(error)) => return Err(CliError::System(texts::input_broken(error))),
            };
            if !self.interactive {
                return Err(CliError::Usage(texts::input_line(self.line, &message)));
            }
            write_stderr(&format!("{message}\n"));
        }
    }
}

/// Quotes a line for a message, truncated.
fn quoted(line: &str) -> String {
    let line = line.trim();
    let shown: String = line.chars().take(MAX_QUOTED).collect();
    let more = if shown.len() < line.len() { "..." } else { "" };
    format!("'{}{more}'", Printable(&shown))
}

/// Returns the values of a command's arguments in order, with the lines of standard input in place of `-`. Errors are
/// those of [`Input::next`]. An invalid line is not the end.
pub(crate) fn values<T: 'static>(
    arguments: Vec<Argument<T>>,
    parse: Parse<T>,
) -> LocalBoxStream<'static, Result<T, CliError>> {
    let read = move |argument| match argument {
        Argument::Value(value) => stream::once(ready(Ok(value))).left_stream(),
        Argument::Input => stream::unfold(Some(Input::open(parse, false)), async |input| {
            let mut input = input?;
            let next = input.next("").await.transpose()?;
            let more = matches!(next, Ok(_) | Err(CliError::Usage(_)));
            Some((next, more.then_some(input)))
        })
        .right_stream(),
    };
    stream::iter(arguments).flat_map(read).boxed_local()
}
