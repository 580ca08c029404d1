//! Typed async clients for both services.
//!
//! Every operation has a timeout, and every error names the phase in which it happened. The module depends on
//! [`wire`](crate::wire) for the bytes and on [`endpoint`](crate::endpoint) for the addresses.
//!
//! - [`connector`]: a server's endpoint, and how to connect to it: TCP, a Unix socket or TLS;
//! - [`tls`]: which servers the client trusts, and why a handshake failed;
//! - [`power`]: the power client, with one connection per request or with one connection for many requests in flight;
//! - [`rps`]: the rock-paper-scissors client, with one long connection and one reply per move;
//! - [`pipeline`]: a connection that sends requests while it reads replies, for games and load generators;
//! - [`stream`]: a connection's byte stream, with an observer for tracing;
//! - [`error`]: the errors of a client.

pub mod connector;
pub mod error;
pub mod pipeline;
pub mod power;
pub mod rps;
pub mod stream;
pub mod tls;

use std::time::Duration;

pub use connector::Connector;
pub use error::{Error, ErrorKind, Phase, Violation};
pub use pipeline::Pipeline;
pub use tls::{HandshakeError, Tls};

/// The timeout of each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving the host name.
    pub resolve: Duration,
    /// Connecting. A name's addresses are tried in turn; each gets an equal share of the remaining time.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// One write of a power request: the whole request, each chunk with [`Chunking`](power::Chunking), or the half-close.
    /// For moves and for the requests of a [`Pipeline`], the reply timeout includes the time to send.
    pub send: Duration,
    /// Waiting for a reply, from the start of the wait.
    pub reply: Duration,
}

impl Timeouts {
    /// Returns the same timeout for every phase.
    #[must_use]
    pub const fn all(timeout: Duration) -> Self {
        Self { resolve: timeout, connect: timeout, handshake: timeout, send: timeout, reply: timeout }
    }
}

impl Default for Timeouts {
    /// Five seconds each, the same as the power server's default request timeout.
    fn default() -> Self {
        Self::all(Duration::from_secs(5))
    }
}
