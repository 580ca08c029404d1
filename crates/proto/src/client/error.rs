//! What can go wrong for a client: in which phase, and with which address.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::wire::power::client::ReplyError;
use crate::wire::rps::{Move, UnknownByte};

/// Why there is no answer.
#[derive(Debug)]
pub struct Error {
    /// Whom the client talked to, as it was told.
    pub address: String,
    /// What it was doing.
    pub phase: Phase,
    /// What happened.
    pub kind: ErrorKind,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, phase, kind } = self;
        match (kind, phase) {
            (ErrorKind::TimedOut(limit), Phase::Resolve) => {
                write!(f, "{address}: no address was found within {limit:?}")
            }
            (ErrorKind::TimedOut(limit), Phase::Connect) => write!(f, "{address}: no connection within {limit:?}"),
            (ErrorKind::TimedOut(limit), Phase::Send) => {
                write!(f, "{address}: the request was not taken within {limit:?}")
            }
            (ErrorKind::TimedOut(limit), Phase::Reply) => write!(f, "{address}: no reply within {limit:?}"),
            (ErrorKind::TimedOut(limit), Phase::End) => {
                write!(f, "{address}: the beginning of a reply, but not its end, within {limit:?}")
            }
            (ErrorKind::Io(error), Phase::Resolve) => write!(f, "{address}: the name cannot be resolved: {error}"),
            (ErrorKind::Io(error), Phase::Connect) => write!(f, "{address}: cannot connect: {error}"),
            (ErrorKind::Io(error), Phase::Send) => write!(f, "{address}: the request could not be sent: {error}"),
            (ErrorKind::Io(error), Phase::Reply) => {
                write!(f, "{address}: the connection broke before the reply: {error}")
            }
            (ErrorKind::Io(error), Phase::End) => {
                write!(f, "{address}: the connection broke within the reply: {error}")
            }
            (ErrorKind::Protocol(violation), _) => write!(f, "{address}: the server broke the protocol: {violation}"),
            (ErrorKind::Full, _) => write!(f, "{address}: the server is full: try again later"),
            (ErrorKind::Closed, _) => {
                write!(f, "{address}: the server has closed the connection: it was idle for long, or is shutting down")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What a client was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Finding the addresses of a name.
    Resolve,
    /// Making a connection.
    Connect,
    /// Sending a request.
    Send,
    /// Waiting for the reply.
    Reply,
    /// Waiting for the end of the reply.
    End,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Reply => "reply",
            Self::End => "end",
        })
    }
}

/// What happened to a client.
#[derive(Debug)]
pub enum ErrorKind {
    /// A phase took longer than this.
    TimedOut(Duration),
    /// The operating system reports an error: unreachable, refused, reset.
    Io(io::Error),
    /// The server sent what its wire format does not allow, or ended the stream too early.
    Protocol(Violation),
    /// The server said that it is full.
    Full,
    /// The server closed the connection between two requests: it does so when nothing is asked for long, or when it
    /// shuts down.
    Closed,
}

/// What a server did that its wire format does not allow.
#[derive(Debug)]
pub enum Violation {
    /// It closed the connection in place of a reply.
    NoReply,
    /// It sent more replies than there were requests.
    Unsolicited,
    /// What it sent is no reply of the power wire.
    InvalidReply(ReplyError),
    /// What it sent is no answer of the rock-paper-scissors wire.
    InvalidByte(UnknownByte),
    /// It answered one move with this byte, and with more.
    ExtraBytes {
        /// The first byte.
        first: char,
        /// The others, quoted.
        more: String,
    },
    /// It took a move for none.
    RejectedMove(Move),
    /// It took a byte for a move that is none.
    AcceptedInvalidMove,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReply => f.write_str("it closed the connection without a reply"),
            Self::Unsolicited => f.write_str("it sent more replies than there were requests"),
            Self::InvalidReply(error) => error.fmt(f),
            Self::InvalidByte(unknown) => write!(f, "{unknown} is no answer of this wire"),
            Self::ExtraBytes { first, more } => write!(f, "it answered one move with '{first}' and more, {more}"),
            Self::RejectedMove(shown) => write!(f, "it takes {shown} for no move"),
            Self::AcceptedInvalidMove => f.write_str("it takes '?' for a move"),
        }
    }
}

impl From<Violation> for ErrorKind {
    fn from(violation: Violation) -> Self {
        Self::Protocol(violation)
    }
}

impl From<io::Error> for ErrorKind {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ReplyError> for ErrorKind {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Io(error) => Self::Io(error),
            violation => Self::Protocol(Violation::InvalidReply(violation)),
        }
    }
}
