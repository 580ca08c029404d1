//! What can go wrong: how it is said, of which kind it is, and the exit code that tells a script of it.

use std::io;
use std::process::ExitCode;

use proto::client::{Error, ErrorKind, Phase};
use proto::wire::power::Refusal;
use serde::Serialize;

use crate::language::{explain, texts};

/// Why a command did not do all that it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Not all was answered right; what went wrong has been reported when it came, and asks for this exit code.
    Reported(u8),
    /// The input is wrong; what, and what would be right.
    Usage(String),
    /// There was no answer; what to try next, where that is not plain, behind it.
    NoAnswer(Error, String),
    /// The server refused, with this code, and said why.
    Refused {
        /// The code, as it stands on the wire.
        code: &'static str,
        /// What to say.
        message: String,
    },
    /// The answer was well-formed, but not the right one.
    WrongAnswer(String),
    /// Standard input cannot be read.
    Input(io::Error),
    /// Nobody reads standard output any more.
    OutputClosed,
    /// Standard output takes nothing more.
    Output(io::Error),
    /// The operating system refuses what every program needs.
    System(io::Error),
    /// The client was asked to end; with the exit code that says by what.
    Interrupted(u8),
}

/// The exit code that says that the server refused, or that a check failed.
pub(crate) const REFUSED: u8 = 1;

/// The exit code that says that no answer came in time.
pub(crate) const TIMED_OUT: u8 = 4;

/// A kind of failure, by its name in `--json` and in `bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line, the environment or standard input is wrong.
    Usage,
    /// The server, or the machine it should be on, turned us away: nobody listens, or it refused what it was asked.
    Refused,
    /// The connection was reset.
    Reset,
    /// It took too long.
    Timeout,
    /// The server broke the protocol.
    Protocol,
    /// The server closed the connection between two requests.
    Closed,
    /// The name has no address.
    Unresolved,
    /// The server's machine cannot be reached.
    Unreachable,
    /// All local ports towards the server are in use.
    NoLocalPort,
    /// This process may open no more files.
    NoFiles,
    /// The answer was not the right one.
    Wrong,
    /// The client's own machine failed: standard input or output, threads.
    System,
    /// The client was asked to end.
    Interrupted,
}

impl Kind {
    /// The kind of an error of a connection.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match &error.kind {
            ErrorKind::TimedOut(_) => Self::Timeout,
            ErrorKind::Protocol(_) => Self::Protocol,
            ErrorKind::Full => Self::Refused,
            ErrorKind::Closed => Self::Closed,
            ErrorKind::Io(_) if error.phase == Phase::Resolve => Self::Unresolved,
            ErrorKind::Io(cause) => match cause.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused,
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoLocalPort,
                _ if is_out_of_files(cause) => Self::NoFiles,
                _ if error.phase == Phase::Connect => Self::Unreachable,
                // EPIPE is what a reset is called where it is met in writing.
                _ => Self::Reset,
            },
        }
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Usage => texts::kind_usage(),
            Self::Refused => texts::kind_refused(),
            Self::Reset => texts::kind_reset(),
            Self::Timeout => texts::kind_timeout(),
            Self::Protocol => texts::kind_protocol(),
            Self::Closed => texts::kind_closed(),
            Self::Unresolved => texts::kind_unresolved(),
            Self::Unreachable => texts::kind_unreachable(),
            Self::NoLocalPort => texts::kind_no_local_port(),
            Self::NoFiles => texts::kind_no_files(),
            Self::Wrong => texts::kind_wrong(),
            Self::System => texts::kind_system(),
            Self::Interrupted => texts::kind_interrupted(),
        }
    }
}

/// EMFILE and ENFILE, for which the standard library has no kind.
fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    number == Some(Errno::MFILE.raw_os_error()) || number == Some(Errno::NFILE.raw_os_error())
}

impl Failure {
    /// What to say, if anything.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Reported(_) | Self::OutputClosed => None,
            Self::Interrupted(_) => Some(texts::interrupted()),
            Self::Usage(message) | Self::Refused { message, .. } | Self::WrongAnswer(message) => Some(message.clone()),
            Self::NoAnswer(error, hint) => Some(explain::error(error) + hint),
            Self::Input(error) => Some(texts::input_broken(&error.to_string())),
            Self::Output(error) => Some(texts::output_broken(&error.to_string())),
            Self::System(error) => Some(error.to_string()),
        }
    }

    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Usage(_) => Kind::Usage,
            Self::NoAnswer(error, _) => Kind::of(error),
            Self::Refused { .. } => Kind::Refused,
            Self::WrongAnswer(_) => Kind::Wrong,
            Self::Reported(_) | Self::Input(_) | Self::OutputClosed | Self::Output(_) | Self::System(_) => Kind::System,
            Self::Interrupted(_) => Kind::Interrupted,
        }
    }

    /// 0 done; 1 the server refused, or a check failed; 2 usage; 3 cannot connect; 4 timed out; 5 the peer broke the
    /// protocol; 130 Ctrl-C.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The same as a number.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Reported(code) | Self::Interrupted(code) => *code,
            Self::Refused { .. } | Self::WrongAnswer(_) | Self::Input(_) | Self::Output(_) | Self::System(_) => REFUSED,
            Self::Usage(_) => 2,
            Self::NoAnswer(error, _) => match (&error.kind, error.phase) {
                (ErrorKind::Full, _) => REFUSED,
                (ErrorKind::TimedOut(_), _) => TIMED_OUT,
                (ErrorKind::Io(_), Phase::Resolve | Phase::Connect) => 3,
                // Whatever the reason, a request that was sent had no answer.
                (ErrorKind::Io(_) | ErrorKind::Protocol(_) | ErrorKind::Closed, _) => 5,
            },
        }
    }
}

impl Failure {
    /// The server at this address refused.
    #[must_use]
    pub fn refused(address: &str, refusal: &Refusal) -> Self {
        Self::Refused { code: refusal.code.as_str(), message: texts::refused(address, &refusal.to_string()) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = hint(&error);
        Self::NoAnswer(error, hint)
    }
}

/// What to try next where that is not plain, whatever the command.
pub(crate) fn hint(error: &Error) -> String {
    match (Kind::of(error), error.phase) {
        (Kind::Refused, Phase::Connect) => texts::hint_nobody_listens(),
        (Kind::Timeout, _) => texts::hint_timeout(),
        (Kind::NoLocalPort, _) => texts::hint_ports(),
        (Kind::NoFiles, _) => texts::hint_files(),
        _ => String::new(),
    }
}
