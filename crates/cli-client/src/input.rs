//! The values of a command: its arguments, and those on standard input, one a line, in place of an argument `-`.

use std::future::ready;
use std::io;

use futures::StreamExt;
use futures::stream::{self, LocalBoxStream};
use proto::wire::quoted::Quoted;
use tokio::io::Stdin;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::error::CliError;
use crate::language::texts;
use crate::output::tell;

/// The longest line of input in bytes; numbers and moves are shorter.
const LONGEST_LINE: usize = 4096;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument<T> {
    Value(T),
    /// `-`: the values on standard input.
    Input,
}

/// Parses a value, or says what would be right.
type Parse<T> = fn(&str) -> Result<T, String>;

/// Standard input, one value a line.
pub(crate) struct Input<T> {
    parse: Parse<T>,
    /// Whether a person types the lines: they are asked for each, and may try again after a wrong one.
    pub(crate) interactive: bool,
    lines: FramedRead<Stdin, LinesCodec>,
    line: u64,
    /// Whether the last line could not be read. The stream then has a `None` that is not the end.
    paused: bool,
}

impl<T> Input<T> {
    pub(crate) fn open(parse: Parse<T>, interactive: bool) -> Self {
        let lines = FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(LONGEST_LINE));
        Self { parse, interactive, lines, line: 0, paused: false }
    }

    /// Returns the value on the next line that is not blank, `None` after the last. A person sees `prompt` before each
    /// line. Dropping the future loses no line.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] with the line's number for a wrong line, unless a person may try again; [`CliError::System`] if
    /// standard input cannot be read.
    pub(crate) async fn next(&mut self, prompt: &str) -> Result<Option<T>, CliError> {
        loop {
            if self.interactive {
                tell(prompt);
            }
            if self.paused {
                let _pause = self.lines.next().await;
                self.paused = false;
            }
            let Some(line) = self.lines.next().await else { return Ok(None) };
            self.paused = line.is_err();
            self.line += 1;
            let wrong = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => match (self.parse)(&line) {
                    Ok(value) => return Ok(Some(value)),
                    Err(right) => texts::is_wrong(quoted(&line), right),
                },
                Err(LinesCodecError::MaxLineLengthExceeded) => texts::input_too_long(LONGEST_LINE),
                Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    texts::input_not_text()
                }
                Err(LinesCodecError::Io(error)) => return Err(CliError::System(texts::input_broken(error))),
            };
            if !self.interactive {
                return Err(CliError::Usage(texts::input_line(self.line, &wrong)));
            }
            tell(&format!("{wrong}\n"));
        }
    }
}

/// A line of input, fit to be shown: letters of any script as they are, where [`Quoted`] would show their bytes.
fn quoted(line: &str) -> String {
    if line.chars().any(char::is_control) || line.chars().count() > 24 {
        Quoted(line.as_bytes()).to_string()
    } else {
        format!("'{}'", line.trim())
    }
}

/// Returns the values of a command's arguments in order, with those of standard input in the place of `-`. The errors are
/// those of [`Input::next`].
pub(crate) fn values<T: 'static>(
    arguments: Vec<Argument<T>>,
    parse: Parse<T>,
) -> LocalBoxStream<'static, Result<T, CliError>> {
    let read = move |argument| match argument {
        Argument::Value(value) => stream::once(ready(Ok(value))).left_stream(),
        Argument::Input => {
            let next = async |mut input: Input<T>| Ok(input.next("").await?.map(|value| (value, input)));
            stream::try_unfold(Input::open(parse, false), next).right_stream()
        }
    };
    stream::iter(arguments).flat_map(read).boxed_local()
}
