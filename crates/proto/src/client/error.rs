//! The errors of a client, with the server's address and the phase.

use std::fmt;
use std::io;
use std::time::Duration;

use super::tls::{HandshakeError, rejects_certificate};
use crate::wire::power::client::ReplyError;
use crate::wire::quoted::Printable;
use crate::wire::rps::{Move, UnknownByte};

/// Why a request has no valid reply.
#[derive(Debug)]
pub struct Error {
    /// The server's address as the caller gave it.
    pub address: String,
    /// The phase in which the error happened.
    pub phase: Phase,
    /// The kind of error.
    pub kind: ErrorKind,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, phase, kind } = self;
        let address = Printable(address);
        match (kind, phase) {
            (ErrorKind::TimedOut(timeout), Phase::Resolve) => {
                write!(f, "{address}: no address was found within {timeout:?}")
            }
            (ErrorKind::TimedOut(timeout), Phase::Connect) => write!(f, "{address}: no connection within {timeout:?}"),
            (ErrorKind::TimedOut(timeout), Phase::Handshake) => {
                write!(f, "{address}: no TLS handshake within {timeout:?}")
            }
            (ErrorKind::TimedOut(timeout), Phase::Send) => {
                write!(f, "{address}: the request could not be sent within {timeout:?}")
            }
            (ErrorKind::TimedOut(timeout), Phase::Reply) => write!(f, "{address}: no reply within {timeout:?}"),
            (ErrorKind::TimedOut(timeout), Phase::End) => {
                write!(f, "{address}: no complete reply within {timeout:?}")
            }
            (ErrorKind::Io(error), Phase::Resolve) => write!(f, "{address}: the name cannot be resolved: {error}"),
            (ErrorKind::Io(error), Phase::Connect) => write!(f, "{address}: cannot connect: {error}"),
            (ErrorKind::Io(error), Phase::Handshake) => write!(f, "{address}: the TLS handshake failed: {error}"),
            (ErrorKind::Handshake(reason), _) => write!(f, "{address}: the TLS handshake failed: {reason}"),
            (ErrorKind::Io(error), Phase::Send) => write!(f, "{address}: the request could not be sent: {error}"),
            (ErrorKind::Io(error), Phase::Reply) => {
                write!(f, "{address}: the connection broke before the reply: {error}")
            }
            (ErrorKind::Io(error), Phase::End) => {
                write!(f, "{address}: the connection broke during the reply: {error}")
            }
            // The protocols allow it after an idle timeout, for instance.
            (ErrorKind::Protocol(Violation::NoReply), _) => {
                write!(f, "{address}: the server closed the connection without a reply")
            }
            (ErrorKind::Protocol(violation), _) => write!(f, "{address}: the server broke the protocol: {violation}"),
            (ErrorKind::Full, _) => {
                write!(f, "{address}: the server is full, or a limit per client is reached: try again later")
            }
            (ErrorKind::Closed, _) => {
                write!(f, "{address}: the server has closed the connection: idle timeout or shutdown")
            }
            (ErrorKind::OutcomeUnknown, _) => write!(
                f,
                "{address}: the server closed the connection before the reply; the outcome of the move is unknown"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Io(error) => Some(error),
            ErrorKind::Handshake(reason) => Some(reason),
            _ => None,
        }
    }
}

/// A phase of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Resolving the host name.
    Resolve,
    /// Connecting.
    Connect,
    /// The TLS handshake. In TLS 1.3, the server may reject the client's certificate after the first request.
    Handshake,
    /// Sending a request.
    Send,
    /// Waiting for the reply.
    Reply,
    /// Waiting for the rest of the reply.
    End,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Send => "send",
            Self::Reply => "reply",
            Self::End => "end",
        })
    }
}

/// The kind of error.
#[derive(Debug)]
pub enum ErrorKind {
    /// The phase took longer than this timeout.
    TimedOut(Duration),
    /// The operating system reported an error, such as unreachable, refused or reset.
    Io(io::Error),
    /// The TLS handshake failed. The phase is always [`Phase::Handshake`].
    Handshake(HandshakeError),
    /// The server's bytes violate the protocol, or the stream ended too early.
    Protocol(Violation),
    /// The server replied that it is full, or that a limit per client is reached.
    Full,
    /// The server closed the connection between two requests: it does so after an idle timeout and during shutdown.
    Closed,
    /// The server closed the connection after a move was sent and before its reply, so the move may have been judged or
    /// not: the server crashed or was stopped, or it does not know the outcome (PROTOCOL.md, section 2.1).
    OutcomeUnknown,
}

/// A violation of the protocol by the server.
#[derive(Debug)]
pub enum Violation {
    /// The server closed the connection without a reply.
    NoReply,
    /// The server ended its TLS connection without `close_notify`, before the reply was complete. Anyone on the network
    /// path can forge such an end.
    Truncated,
    /// A record of the server is invalid, or the server ended its TLS connection with an alert.
    Tls(Box<rustls::Error>),
    /// The server sent more replies than the client sent requests.
    Unsolicited,
    /// The reply is not valid on the power protocol.
    InvalidReply(ReplyError),
    /// The byte is not a reply of the rock-paper-scissors protocol.
    InvalidByte(UnknownByte),
    /// The server replied to one move with more than one byte.
    ExtraBytes {
        /// The first byte.
        first: char,
        /// The other bytes, quoted.
        more: String,
    },
    /// The server replied that a valid move is not a move.
    RejectedMove(Move),
    /// The server accepted an invalid byte as a move.
    AcceptedInvalidMove,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReply => f.write_str("it closed the connection without a reply"),
            Self::Truncated => {
                f.write_str("it ended the TLS connection without close_notify, so the reply may be incomplete")
            }
            Self::Tls(error) => write!(f, "the TLS connection failed: {error}"),
            Self::Unsolicited => f.write_str("it sent more replies than there were requests"),
            Self::InvalidReply(error) => error.fmt(f),
            Self::InvalidByte(unknown) => {
                write!(f, "{unknown} is not a valid reply of the rock-paper-scissors protocol")
            }
            Self::ExtraBytes { first, more } => {
                write!(f, "it sent more than one byte for one move: '{first}', then {more}")
            }
            Self::RejectedMove(mv) => write!(f, "it rejected {mv} as an invalid move"),
            Self::AcceptedInvalidMove => f.write_str("it accepted '?' as a move"),
        }
    }
}

impl From<Violation> for ErrorKind {
    fn from(violation: Violation) -> Self {
        Self::Protocol(violation)
    }
}

impl From<io::Error> for ErrorKind {
    /// Separates the errors of TLS from those of the connection. In TLS 1.3, the rejection of the client's certificate
    /// arrives after the client has finished the handshake (RFC 8446, section 4.4.2.4). Sockets never return
    /// [`io::ErrorKind::UnexpectedEof`]: for rustls, it is an EOF without `close_notify`.
    fn from(error: io::Error) -> Self {
        match error.downcast() {
            Ok(rustls::Error::AlertReceived(alert)) if rejects_certificate(alert) => {
                HandshakeError::ClientCertificate(alert).into()
            }
            Ok(error) => Violation::Tls(Box::new(error)).into(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Violation::Truncated.into(),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<HandshakeError> for ErrorKind {
    fn from(reason: HandshakeError) -> Self {
        Self::Handshake(reason)
    }
}

impl From<ReplyError> for ErrorKind {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Io(error) => error.into(),
            violation => Self::Protocol(Violation::InvalidReply(violation)),
        }
    }
}
