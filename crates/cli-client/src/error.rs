//! The errors of commands: message, kind and exit code of each.

use std::io;

use proto::client::{Error, ErrorKind, Phase};
use proto::wire::power::ErrorReply;
use rustix::io::Errno;
use serde::Serialize;

use crate::language::{explain, texts};

/// The exit code of a command that the server refused, or of a check that failed.
pub(crate) const REFUSED: u8 = 1;

/// The exit code of a command that timed out.
pub(crate) const TIMED_OUT: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// What went wrong is reported already and has this exit code.
    Reported(u8),
    /// The command line, the environment or standard input is wrong; the message says what would be right.
    Usage(String),
    /// No reply, and a hint what to try next, which may be empty.
    NoAnswer(Error, String),
    /// An error reply of the server, with its code on the wire.
    Refused { code: &'static str, message: String },
    /// A well-formed reply that is wrong.
    WrongAnswer(String),
    /// The reader of standard output has closed it.
    OutputClosed,
    /// Standard output cannot be written.
    Output(io::Error),
    /// Standard input cannot be read, or a system call failed that every program needs.
    System(String),
    /// A signal ended the client; with its exit code.
    Interrupted(u8),
}

/// A kind of failure. Its name is part of the format of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    Usage,
    /// An error reply, or a connection refused.
    Refused,
    Reset,
    Timeout,
    Protocol,
    /// The server closed the connection between two requests.
    Closed,
    /// The name has no address.
    Unresolved,
    Unreachable,
    NoLocalPort,
    NoFiles,
    /// A wrong answer.
    Wrong,
    /// The client's own machine failed: standard input or output, threads.
    System,
    Interrupted,
}

impl FailureKind {
    pub(crate) fn of(error: &Error) -> Self {
        match &error.kind {
            ErrorKind::TimedOut(_) => Self::Timeout,
            ErrorKind::Protocol(_) => Self::Protocol,
            ErrorKind::Full => Self::Refused,
            ErrorKind::Closed => Self::Closed,
            ErrorKind::Io(_) if error.phase == Phase::Resolve => Self::Unresolved,
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
    /// The error reply of the server at this address.
    pub(crate) fn refused(address: &str, refusal: &ErrorReply) -> Self {
        Self::Refused { code: refusal.code.as_str(), message: texts::refused(address, refusal) }
    }

    pub(crate) fn of_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Output(error) }
    }

    /// Replaces the hint of a missing reply, where `hint` has a better one.
    pub(crate) fn with_hint(self, hint: impl FnOnce(&ErrorKind, Phase) -> Option<String>) -> Self {
        match self {
            Self::NoAnswer(error, usual) => {
                let hint = hint(&error.kind, error.phase).unwrap_or(usual);
                Self::NoAnswer(error, hint)
            }
            other => other,
        }
    }

    /// The message, unless there is nothing to report.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Reported(_) | Self::OutputClosed => None,
            Self::Interrupted(_) => Some(texts::interrupted()),
            Self::Usage(message)
            | Self::Refused { message, .. }
            | Self::WrongAnswer(message)
            | Self::System(message) => Some(message.clone()),
            Self::NoAnswer(error, hint) => Some(explain::error(error) + hint),
            Self::Output(error) => Some(texts::output_broken(error)),
        }
    }

    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Usage(_) => FailureKind::Usage,
            Self::NoAnswer(error, _) => FailureKind::of(error),
            Self::Refused { .. } => FailureKind::Refused,
            Self::WrongAnswer(_) => FailureKind::Wrong,
            Self::Reported(_) | Self::OutputClosed | Self::Output(_) | Self::System(_) => FailureKind::System,
            Self::Interrupted(_) => FailureKind::Interrupted,
        }
    }

    /// The exit code: 0 done; 1 the server refused, or a check failed; 2 usage; 3 cannot connect; 4 timed out; 5 the
    /// server broke the protocol; 128 and more a signal.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Reported(code) | Self::Interrupted(code) => *code,
            Self::Refused { .. } | Self::WrongAnswer(_) | Self::Output(_) | Self::System(_) => REFUSED,
            Self::Usage(_) => 2,
            Self::NoAnswer(error, _) => match (&error.kind, error.phase) {
                (ErrorKind::Full, _) => REFUSED,
                (ErrorKind::TimedOut(_), _) => TIMED_OUT,
                (ErrorKind::Io(_), Phase::Resolve | Phase::Connect) => 3,
                // A request was sent and had no reply.
                (ErrorKind::Io(_) | ErrorKind::Protocol(_) | ErrorKind::Closed, _) => 5,
            },
        }
    }
}

impl From<Error> for CliError {
    /// Adds the hint that fits every command.
    fn from(error: Error) -> Self {
        let hint = match (FailureKind::of(&error), error.phase) {
            (FailureKind::Refused, Phase::Connect) => texts::hint_nobody_listens(),
            (FailureKind::Timeout, _) => texts::hint_timeout(),
            (FailureKind::NoLocalPort, _) => texts::hint_ports(),
            (FailureKind::NoFiles, _) => texts::hint_files(),
            _ => String::new(),
        };
        Self::NoAnswer(error, hint)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}
