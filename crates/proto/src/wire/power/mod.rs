//! The power protocol. A request is an op letter and a number; a reply is a number or an error.
//!
//! - this file: requests and replies;
//! - [`operation`]: the operations and their letters;
//! - [`error_reply`]: the error replies, their codes and messages;
//! - [`server`]: the server's codec, which finds the end of each request;
//! - [`client`]: the client's codec, which finds the end of each reply.
//!
//! ```
//! use proto::wire::power::{Operation, Request};
//!
//! let request = Request::parse(b"b-0.5").unwrap();
//! assert_eq!(request.operation, Operation::Cube);
//! assert_eq!(request.to_string(), "b-0.5");
//!
//! let error_reply = Request::parse(b"b1_000").unwrap_err();
//! assert_eq!(error_reply.to_string(), "BADNUM '1_000' is not a decimal number such as 2, -0.5 or 1e-3");
//! ```

pub mod client;
pub mod error_reply;
pub mod operation;
pub mod server;

use std::fmt;

pub use error_reply::{ErrorCode, ErrorReply};
pub use operation::Operation;

use crate::wire::number::{Literal, Number, NumberError, classify, is_costly};

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// The operation.
    pub operation: Operation,
    /// The number that it is applied to.
    pub operand: Number,
}

impl Request {
    /// Parses one request without its terminator.
    ///
    /// # Errors
    ///
    /// `BADOP`, `BADNUM` or `RANGE`, with a message that quotes the invalid part.
    pub fn parse(text: &[u8]) -> Result<Self, ErrorReply> {
        RequestText::classify(text).parse()
    }
}

impl fmt::Display for Request {
    /// Writes the request as on the wire, without a terminator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.operation.letter()), self.operand)
    }
}

/// A classified request text. One pass over the text gives all that the decoder, the parser and the metrics need.
#[derive(Clone, Copy, Debug)]
struct RequestText<'a> {
    text: &'a [u8],
    /// The operation, and the class of the number after its letter.
    operation: Option<(Operation, Literal<'a>)>,
}

impl<'a> RequestText<'a> {
    fn classify(text: &'a [u8]) -> Self {
        let operation = text.split_first().and_then(|(&letter, number)| {
            let operation = Operation::from_letter(letter)?;
            Some((operation, classify(number)))
        });
        Self { text, operation }
    }

    /// Returns whether parsing can take hundreds of times as long as usual.
    fn is_costly(self) -> bool {
        matches!(self.operation, Some((_, Literal::Complete(literal))) if is_costly(literal))
    }

    fn parse(self) -> Result<Request, ErrorReply> {
        let (operation, literal) = self.operation.ok_or_else(|| ErrorReply::bad_operation(self.text))?;
        let number = &self.text[1..];
        let Literal::Complete(digits) = literal else { return Err(ErrorReply::bad_number(number)) };
        let operand = Number::from_digits(digits).map_err(|error| match error {
            NumberError::Malformed => ErrorReply::bad_number(number),
            NumberError::OutOfRange => ErrorReply::operand_out_of_range(number),
        })?;
        Ok(Request { operation, operand })
    }
}

/// One reply: a number or an error reply.
pub type Reply = Result<Number, ErrorReply>;

/// How a request or a reply ends on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Terminator {
    /// It has no terminator: it ends with the stream, or with the bytes of one read.
    Bare,
    /// A line feed ends it.
    Line,
}
