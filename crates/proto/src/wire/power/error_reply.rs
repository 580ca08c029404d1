//! The error replies: `e`, a code, a space and a message that says what was wrong and what would be right.

use std::fmt;
use std::time::Duration;

use super::operation::Operation;
use crate::wire::number::{Number, NumberError};
use crate::wire::quoted::Quoted;

/// What kind of error a reply tells of; programs go by this, people by the message behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The first byte is no op letter.
    BadOp,
    /// What follows the op letter is no number.
    BadNum,
    /// The operand or the result is beyond the largest double.
    Range,
    /// The request is longer than the server takes.
    TooLong,
    /// No whole request came in time.
    Timeout,
    /// The server has as many connections as it takes.
    Busy,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::BadOp, Self::BadNum, Self::Range, Self::TooLong, Self::Timeout, Self::Busy];

    /// The code as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadOp => "BADOP",
            Self::BadNum => "BADNUM",
            Self::Range => "RANGE",
            Self::TooLong => "TOOLONG",
            Self::Timeout => "TIMEOUT",
            Self::Busy => "BUSY",
        }
    }

    /// Whether a server closes the connection with it, also where requests are lines. (After a bare request it closes
    /// with others too.)
    #[must_use]
    pub const fn closes_connection(self) -> bool {
        matches!(self, Self::TooLong | Self::Timeout | Self::Busy)
    }

    /// The code that a word stands for.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// The kind of error.
    pub code: ErrorCode,
    /// One message for people: printable ASCII, no line end in it.
    pub message: String,
}

impl ErrorReply {
    /// The first byte is no op letter.
    #[must_use]
    pub fn bad_operation(text: &[u8]) -> Self {
        let first = Quoted(&text[..text.len().min(1)]);
        let message = format!("{first} is no operation: send a (square), b (cube), c (fourth power) or d (echo)");
        Self { code: ErrorCode::BadOp, message }
    }

    /// What follows the op letter is no number.
    #[must_use]
    pub fn bad_number(number: &[u8]) -> Self {
        let message = if number.iter().all(|&byte| crate::wire::number::is_blank(byte)) {
            "the number is missing: send it behind the op letter, as in a2".to_owned()
        } else {
            format!("{} is {}", Quoted(number), NumberError::Malformed)
        };
        Self { code: ErrorCode::BadNum, message }
    }

    /// The operand is a number, but no double.
    #[must_use]
    pub fn operand_out_of_range(number: &[u8]) -> Self {
        Self { code: ErrorCode::Range, message: format!("{} is {}", Quoted(number), NumberError::OutOfRange) }
    }

    /// The result is no finite double.
    #[must_use]
    pub fn result_out_of_range(operation: Operation, operand: Number) -> Self {
        let name = match operation {
            Operation::Square => "square",
            Operation::Cube => "cube",
            Operation::Fourth => "fourth power",
            Operation::Echo => "value",
        };
        let message = format!("the {name} of '{operand}' is {}", NumberError::OutOfRange);
        Self { code: ErrorCode::Range, message }
    }

    /// The request is longer than `limit` bytes, its terminator not counted.
    #[must_use]
    pub fn too_long(limit: usize) -> Self {
        Self { code: ErrorCode::TooLong, message: format!("a request has at most {limit} bytes before its end") }
    }

    /// No whole request came within `limit`.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        Self { code: ErrorCode::Timeout, message: format!("no whole request came within {limit:?}") }
    }

    /// The server has as many connections as it takes.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            code: ErrorCode::Busy,
            message: "as many connections are open as this server takes: try again later".to_owned(),
        }
    }
}

impl fmt::Display for ErrorReply {
    /// As it stands on the wire behind the `e`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    fn refused(text: &[u8]) -> String {
        Request::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_sentence_quotes_what_was_wrong() {
        assert_eq!(
            refused(b"x5"),
            "BADOP 'x' is no operation: send a (square), b (cube), c (fourth power) or d (echo)"
        );
        assert_eq!(refused(b"a"), "BADNUM the number is missing: send it behind the op letter, as in a2");
        assert_eq!(refused(b"aabc"), "BADNUM 'abc' is not a decimal number such as 2, -0.5 or 1e-3");
        assert_eq!(refused(b"ainf"), "BADNUM 'inf' is not a decimal number such as 2, -0.5 or 1e-3");
        assert_eq!(refused(b"a1e999"), "RANGE '1e999' is beyond the largest double, 1.7976931348623157e+308");
    }

    #[test]
    fn every_code_is_found_by_its_word() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::from_name("badop"), None);
    }
}
