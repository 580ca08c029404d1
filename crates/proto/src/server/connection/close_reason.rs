//! Why a connection ended.

use std::{fmt, io};

/// Why a connection ended.
#[derive(Debug)]
pub enum CloseReason {
    /// The peer closed its sending half and got its replies.
    PeerClosed,
    /// The handler finished.
    Finished,
    /// A request did not arrive in time.
    RequestTimeout,
    /// No request arrived for the idle timeout.
    Idle,
    /// It was idle during a drain.
    Drained,
    /// It was not finished at the drain's deadline.
    Aborted,
    /// The peer did not take its replies in time.
    WriteTimeout,
    /// Reading or writing failed, most often because the peer reset the connection.
    Io(io::Error),
    /// Its task panicked.
    Panic,
}

impl CloseReason {
    /// The labels of the metric, in the order of the variants.
    pub(super) const LABELS: [&str; 9] = [
        "peer_closed",
        "finished",
        "request_timeout",
        "idle_timeout",
        "drained",
        "aborted",
        "write_timeout",
        "io_error",
        "panic",
    ];

    /// The position of this reason's label in [`LABELS`](Self::LABELS).
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::Finished => 1,
            Self::RequestTimeout => 2,
            Self::Idle => 3,
            Self::Drained => 4,
            Self::Aborted => 5,
            Self::WriteTimeout => 6,
            Self::Io(_) => 7,
            Self::Panic => 8,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::LABELS[self.index()])?;
        if let Self::Io(error) = self { write!(f, ": {error}") } else { Ok(()) }
    }
}
