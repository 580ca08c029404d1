//! The errors of commands: message, kind and exit code.

use std::io;

use proto::client::{Error, ErrorKind, HandshakeError, Phase, Violation};
use proto::wire::number::Number;
use proto::wire::power::client::ReplyError;
use proto::wire::power::{self, ErrorCode};
use proto::wire::quoted::Printable;
use proto::wire::rps::{self, UnknownByte};
use rustix::io::Errno;
use serde::Serialize;

use crate::language::{explain, texts};

/// Exit code for an error reply, a full server, a failed check, or an error on the client's machine.
pub(crate) const EXIT_FAILURE: u8 = 1;

/// Exit code for wrong arguments, environment or standard input.
pub(crate) const EXIT_USAGE: u8 = 2;

/// Exit code for a timeout.
pub(crate) const EXIT_TIMEOUT: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The error has been reported; only the exit code is left.
    Reported(u8),
    /// The command line, the environment or standard input is invalid. The message describes valid values.
    Usage(String),
    /// No reply, and a hint about the next step, which may be empty.
    NoReply(Error, String),
    /// An error reply, with its code on the wire.
    ErrorReply { code: &'static str, message: String },
    /// A valid reply with a wrong value.
    WrongReply(String),
    /// The reader has closed standard output.
    OutputClosed,
    /// Standard output cannot be written.
    Output(io::Error),
    /// Standard input cannot be read, or the system lacks a resource.
    System(String),
    /// A signal interrupted the command. The value is the exit code.
    Interrupted(u8),
}

/// The kind of an error. The names are part of the `--json` schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    Usage,
    /// An error reply, a full server, or a refused connection.
    Refused,
    Reset,
    Timeout,
    Protocol,
    /// The server closed the connection between two requests, or before the reply to a move.
    Closed,
    /// The host name could not be resolved.
    Unresolved,
    Unreachable,
    /// The TLS handshake failed.
    Handshake,
    NoLocalPort,
    NoFiles,
    /// A valid reply with a wrong value.
    Wrong,
    /// An error on the client's machine: standard streams, threads.
    System,
    Interrupted,
}

impl FailureKind {
    pub(crate) fn from_error(error: &Error) -> Self {
        match &error.kind {
            ErrorKind::TimedOut(_) => Self::Timeout,
            ErrorKind::Protocol(_) => Self::Protocol,
            ErrorKind::Full => Self::Refused,
            ErrorKind::Closed | ErrorKind::OutcomeUnknown => Self::Closed,
            ErrorKind::Handshake(_) => Self::Handshake,
            ErrorKind::Io(_) if error.phase == Phase::Resolve => Self::Unresolved,
            ErrorKind::Io(_) if error.phase == Phase::Handshake => Self::Handshake,
            ErrorKind::Io(cause) => match (cause.kind(), Errno::from_io_error(cause)) {
                (io::ErrorKind::ConnectionRefused, _) => Self::Refused,
                (io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse, _) => Self::NoLocalPort,
                (_, Some(Errno::MFILE | Errno::NFILE)) => Self::NoFiles,
                _ if error.phase == Phase::Connect => Self::Unreachable,
                // A write to a reset connection fails with EPIPE.
                _ => Self::Reset,
            },
        }
    }
}

impl CliError {
    /// Creates the error for an error reply from this address.
    pub(crate) fn from_reply(address: &str, reply: &power::ErrorReply) -> Self {
        Self::ErrorReply { code: reply.code.as_str(), message: texts::error_reply(address, reply) }
    }

    /// Like [`Self::from_reply`], and names the operand if the code is about the connection. The other codes quote it.
    pub(crate) fn from_reply_to(address: &str, operand: Number, reply: &power::ErrorReply) -> Self {
        match reply.code {
            ErrorCode::TooLong | ErrorCode::Timeout | ErrorCode::Busy => {
                Self::ErrorReply { code: reply.code.as_str(), message: texts::error_reply_to(address, operand, reply) }
            }
            ErrorCode::BadOp | ErrorCode::BadNum | ErrorCode::Range => Self::from_reply(address, reply),
        }
    }

    pub(crate) fn from_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Output(error) }
    }

    /// Replaces the hint of [`CliError::NoReply`] if `hint` returns one.
    pub(crate) fn with_hint(self, hint: impl FnOnce(&ErrorKind, Phase) -> Option<String>) -> Self {
        match self {
            Self::NoReply(error, default) => {
                let hint = hint(&error.kind, error.phase).unwrap_or(default);
                Self::NoReply(error, hint)
            }
            other => other,
        }
    }

    /// Returns the message, or `None` if there is nothing to report. It is [escaped](Printable), because it quotes
    /// arguments, variables and addresses.
    pub(crate) fn message(&self) -> Option<String> {
        let message = match self {
            Self::Reported(_) | Self::OutputClosed => None,
            Self::Interrupted(_) => Some(texts::interrupted()),
            Self::Usage(message)
            | Self::ErrorReply { message, .. }
            | Self::WrongReply(message)
            | Self::System(message) => Some(message.clone()),
            Self::NoReply(error, hint) => Some(explain::error(error) + hint),
            Self::Output(error) => Some(texts::output_broken(error)),
        };
        message.map(|message| Printable(&message).to_string())
    }

    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Usage(_) => FailureKind::Usage,
            Self::NoReply(error, _) => FailureKind::from_error(error),
            Self::ErrorReply { .. } => FailureKind::Refused,
            Self::WrongReply(_) => FailureKind::Wrong,
            Self::Reported(_) | Self::OutputClosed | Self::Output(_) | Self::System(_) => FailureKind::System,
            Self::Interrupted(_) => FailureKind::Interrupted,
        }
    }

    /// Returns the exit code: 0 success; 1 error reply, server full, or failed check; 2 usage error; 3 cannot connect,
    /// or the TLS handshake failed; 4 timeout; 5 protocol violation or broken connection; 128 + n for signal n.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Reported(code) | Self::Interrupted(code) => *code,
            Self::ErrorReply { .. } | Self::WrongReply(_) | Self::Output(_) | Self::System(_) => EXIT_FAILURE,
            Self::Usage(_) => EXIT_USAGE,
            Self::NoReply(error, _) => match (&error.kind, error.phase) {
                (ErrorKind::Full, _) => EXIT_FAILURE,
                (ErrorKind::TimedOut(_), _) => EXIT_TIMEOUT,
                (ErrorKind::Handshake(_), _)
                | (ErrorKind::Io(_), Phase::Resolve | Phase::Connect | Phase::Handshake) => 3,
                // The request was sent, but no valid reply came.
                (ErrorKind::Io(_) | ErrorKind::Protocol(_) | ErrorKind::Closed | ErrorKind::OutcomeUnknown, _) => 5,
            },
        }
    }
}

impl From<Error> for CliError {
    /// Adds the hint that applies to every command.
    fn from(error: Error) -> Self {
        let hint = match (FailureKind::from_error(&error), error.phase) {
            (FailureKind::Refused, Phase::Connect) => texts::hint_not_listening(),
            (FailureKind::Unreachable, _) if is_missing_file(&error.kind) => texts::hint_not_listening(),
            (FailureKind::Protocol, _) if is_tls_alert(&error.kind) => texts::hint_tls(),
            (FailureKind::Protocol, _) => hint_of_service(&error.kind),
            (FailureKind::Handshake, _) => hint_of_handshake(&error.kind),
            (FailureKind::Timeout, _) => texts::hint_timeout(),
            (FailureKind::NoLocalPort, _) => texts::hint_ports(),
            (FailureKind::NoFiles, _) => texts::hint_files(),
            _ => String::new(),
        };
        Self::NoReply(error, hint)
    }
}

/// Whether the path of a Unix socket does not exist.
fn is_missing_file(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::NotFound)
}

/// Whether a reply is a record of TLS with an alert (RFC 8446, section 5.1): 0x15, and a version that begins with 3.
fn is_tls_alert(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Protocol(Violation::InvalidReply(
            ReplyError::Malformed(quoted) | ReplyError::UnexpectedEof(quoted),
        )) => quoted.starts_with(r"'\x15\x03"),
        ErrorKind::Protocol(Violation::InvalidByte(UnknownByte(byte))) => *byte == 0x15,
        _ => false,
    }
}

/// Names the other service of this project if the reply looks like one of its.
fn hint_of_service(kind: &ErrorKind) -> String {
    let is_rps = |quoted: &str| {
        // The reply is in quotes. The rps server replies to each byte of a request.
        let reply = quoted.trim_matches('\'');
        !reply.is_empty() && reply.bytes().all(|byte| rps::Reply::from_byte(byte).is_some())
    };
    // The power server cannot read a move, and closes after its error reply.
    let is_power = |first: &char, more: &str| {
        let code = more.trim_start_matches('\'');
        *first == 'e' && ErrorCode::ALL.iter().any(|known| code.starts_with(known.as_str()))
    };
    match kind {
        ErrorKind::Protocol(Violation::InvalidReply(
            ReplyError::Malformed(quoted) | ReplyError::UnexpectedEof(quoted),
        )) if is_rps(quoted) => texts::hint_is_rps(),
        ErrorKind::Protocol(Violation::ExtraBytes { first, more }) if is_power(first, more) => texts::hint_is_power(),
        _ => String::new(),
    }
}

/// Returns the option that helps, if any.
fn hint_of_handshake(kind: &ErrorKind) -> String {
    let ErrorKind::Handshake(reason) = kind else { return String::new() };
    match reason {
        HandshakeError::UnknownAuthority
        | HandshakeError::NoAuthorities(_)
        | HandshakeError::UnreadableAuthorities { .. } => texts::hint_cacert(),
        HandshakeError::WrongName(_) | HandshakeError::InvalidName(_) => texts::hint_server_name(),
        HandshakeError::Expired | HandshakeError::NotValidYet => texts::hint_expired(),
        HandshakeError::WrongPurpose => texts::hint_purpose(),
        HandshakeError::IsAuthority => texts::hint_not_an_authority(),
        HandshakeError::ClientCertificate(_) | HandshakeError::Refused => texts::hint_cert(),
        HandshakeError::RejectedCertificate(_) => texts::hint_other_cert(),
        HandshakeError::NotTls => texts::hint_not_tls(),
        HandshakeError::Closed => texts::hint_closed(),
        HandshakeError::UnusableKey | HandshakeError::NoCommonVersion | HandshakeError::Other(_) => String::new(),
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}
