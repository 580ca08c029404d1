//! Error replies: `e`, a code, a space, and a message that names the error and a valid alternative.

use std::fmt;
use std::time::Duration;

use super::operation::Operation;
use crate::wire::number::{Number, NumberError};
use crate::wire::quoted::Quoted;

/// The code of an error reply. It is for programs; the message after it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The first byte is not an op letter.
    BadOp,
    /// The text after the op letter is not a number.
    BadNum,
    /// The operand or the result is beyond the largest double.
    Range,
    /// The request is longer than the server's limit.
    TooLong,
    /// No complete request arrived in time.
    Timeout,
    /// The server has reached its connection limit.
    Busy,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 6] = [Self::BadOp, Self::BadNum, Self::Range, Self::TooLong, Self::Timeout, Self::Busy];

    /// Returns the code as on the wire.
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

    /// Returns whether a server closes the connection after this error even if requests are lines. After a bare request
    /// it closes the connection after other errors, too.
    #[must_use]
    pub const fn closes_connection(self) -> bool {
        matches!(self, Self::TooLong | Self::Timeout | Self::Busy)
    }

    /// Returns the code with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
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
    /// The kind of error, for programs.
    pub code: ErrorCode,
    /// The message for people: printable ASCII without line ends.
    pub message: String,
}

impl ErrorReply {
    /// Returns the error reply to a request whose first byte is not an op letter.
    #[must_use]
    pub fn bad_operation(text: &[u8]) -> Self {
        let first = Quoted(&text[..text.len().min(1)]);
        let message = format!("{first} is no operation: send a (square), b (cube), c (fourth power) or d (echo)");
        Self { code: ErrorCode::BadOp, message }
    }

    /// Returns the error reply to a request whose text after the op letter is not a number.
    #[must_use]
    pub fn bad_number(number: &[u8]) -> Self {
        let message = if number.iter().all(|&byte| crate::wire::number::is_blank(byte)) {
            "the number is missing: send it behind the op letter, as in a2".to_owned()
        } else {
            format!("{} is {}", Quoted(number), NumberError::Malformed)
        };
        Self { code: ErrorCode::BadNum, message }
    }

    /// Returns the error reply to an operand beyond the largest double.
    #[must_use]
    pub fn operand_out_of_range(number: &[u8]) -> Self {
        Self { code: ErrorCode::Range, message: format!("{} is {}", Quoted(number), NumberError::OutOfRange) }
    }

    /// Returns the error reply to a request whose result is beyond the largest double.
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

    /// Returns the error reply to a request longer than `limit` bytes, the terminator not counted.
    #[must_use]
    pub fn too_long(limit: usize) -> Self {
        Self { code: ErrorCode::TooLong, message: format!("a request has at most {limit} bytes before its end") }
    }

    /// Returns the error reply for a connection without a complete request within `timeout`.
    #[must_use]
    pub fn timed_out(timeout: Duration) -> Self {
        Self { code: ErrorCode::Timeout, message: format!("no whole request came within {timeout:?}") }
    }

    /// Returns the error reply to a request that waited `timeout`, because its client sends more requests than it may.
    #[must_use]
    pub fn timed_out_over_rate(timeout: Duration) -> Self {
        let message =
            format!("more requests come from this address than this server takes: this one waited {timeout:?}");
        Self { code: ErrorCode::Timeout, message }
    }

    /// Returns the error reply to a request that is incomplete when the server stops.
    #[must_use]
    pub fn shut_down() -> Self {
        Self { code: ErrorCode::Timeout, message: "no whole request came before the server stopped".to_owned() }
    }

    /// Returns the error reply of a server that has reached its connection limit.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            code: ErrorCode::Busy,
            message: "as many connections are open as this server takes: try again later".to_owned(),
        }
    }

    /// Returns the error reply of a server that has reached a limit on the connections of one client.
    #[must_use]
    pub fn busy_for_client() -> Self {
        Self {
            code: ErrorCode::Busy,
            message: "this server takes no more connections from this address for now: try again later".to_owned(),
        }
    }
}

impl fmt::Display for ErrorReply {
    /// Writes the error reply as on the wire, without the leading `e`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    fn error_reply_to(text: &[u8]) -> String {
        Request::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_message_quotes_the_invalid_part() {
        assert_eq!(
            error_reply_to(b"x5"),
            "BADOP 'x' is no operation: send a (square), b (cube), c (fourth power) or d (echo)"
        );
        assert_eq!(error_reply_to(b"a"), "BADNUM the number is missing: send it behind the op letter, as in a2");
        assert_eq!(error_reply_to(b"aabc"), "BADNUM 'abc' is not a decimal number such as 2, -0.5 or 1e-3");
        assert_eq!(error_reply_to(b"ainf"), "BADNUM 'inf' is not a decimal number such as 2, -0.5 or 1e-3");
        assert_eq!(error_reply_to(b"a1e999"), "RANGE '1e999' is beyond the largest double, 1.7976931348623157e+308");
    }

    #[test]
    fn every_code_is_found_by_its_name() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::from_name("badop"), None);
    }
}
