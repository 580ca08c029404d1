//! How connections end.

use std::io;

/// How a connection ended.
#[derive(Debug)]
pub enum Closed {
    /// The peer closed its half and got its answers.
    ByPeer,
    /// The conversation was over.
    Over,
    /// The request did not come in time.
    TimedOut,
    /// Nothing was asked for long.
    Idle,
    /// It was idle when the server shut down.
    Drained,
    /// It was not done when the drain's time was up.
    Cut,
    /// The peer did not take its answers in time.
    NotRead,
    /// Reading or writing failed, most often since the peer reset the connection.
    Failed(io::Error),
}
