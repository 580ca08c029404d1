//! What can go wrong, and the exit code that tells a script of it.

use std::io;
use std::process::ExitCode;

use proto::client::{Error, ErrorKind, Phase};

/// Why a command did not do all that it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The server refused something; each refusal has been reported when it came.
    Refused,
    /// The input is wrong; what, and what would be right.
    Usage(String),
    /// There was no answer; what to try next, where that is not plain, behind it.
    NoAnswer(Error, &'static str),
    /// The answer was well-formed, but not the right one.
    WrongAnswer(String),
    /// Nobody reads standard output any more.
    OutputClosed,
    /// Standard output takes nothing more.
    Output(io::Error),
    /// The operating system refuses what every program needs.
    System(io::Error),
    /// Ctrl-C.
    Interrupted,
}

/// The exit code that a shell gives a process which SIGINT ended: 128 and its number.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    /// What to say on standard error, if anything.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Refused | Self::OutputClosed | Self::Interrupted => None,
            Self::Usage(message) | Self::WrongAnswer(message) => Some(message.clone()),
            Self::NoAnswer(error, hint) => Some(format!("{error}{hint}")),
            Self::Output(error) => Some(format!("standard output: {error}")),
            Self::System(error) => Some(error.to_string()),
        }
    }

    /// 0 done; 1 the server refused, or a check failed; 2 usage; 3 cannot connect; 4 timed out; 5 the peer broke the
    /// protocol; 130 Ctrl-C.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::OutputClosed => 0,
            Self::Refused | Self::WrongAnswer(_) | Self::Output(_) | Self::System(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => INTERRUPTED,
            Self::NoAnswer(error, _) => match (&error.kind, error.phase) {
                (ErrorKind::Full, _) => 1,
                (ErrorKind::TimedOut(_), _) => 4,
                (ErrorKind::Io(_), Phase::Resolve | Phase::Connect) => 3,
                // Whatever the reason, a request that was sent had no answer.
                (ErrorKind::Io(_) | ErrorKind::Protocol(_) | ErrorKind::Closed, _) => 5,
            },
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = hint(&error);
        Self::NoAnswer(error, hint)
    }
}

/// What to try next where that is not plain, whatever the command.
fn hint(error: &Error) -> &'static str {
    match (&error.kind, error.phase) {
        (ErrorKind::Io(cause), Phase::Connect) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            "; nothing listens there: is the server running, and is this its address?"
        }
        (ErrorKind::TimedOut(_), _) => "; --timeout sets how long to wait",
        _ => "",
    }
}
