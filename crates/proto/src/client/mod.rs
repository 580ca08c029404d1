//! Typed async clients for both services.
//!
//! Every operation has a deadline, and every error says in which phase it happened.
//!
//! - [`endpoint`]: where a server is, and how it is connected to;
//! - [`power`]: a short connection a request, or one kept alive with requests in flight;
//! - [`rps`]: one long connection, one answer a move;
//! - [`pipeline`]: requests sent while replies are read, for games and load generators;
//! - [`stream`]: a connection's bytes, and who is told of them;
//! - [`error`]: why there is no answer.

pub mod endpoint;
pub mod error;
pub mod pipeline;
pub mod power;
pub mod rps;
pub mod stream;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind, Phase, Violation};
pub use pipeline::Pipeline;

/// How long a client waits in each phase. Every limit is for the phase as a whole, however many steps it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a name to be resolved.
    pub resolve: Duration,
    /// For a connection to be made; a name's addresses are tried in turn, each with its share of the time.
    pub connect: Duration,
    /// For a power request to be taken by the network. Moves, and the requests of a [`Pipeline`], are sent within the time
    /// of their replies.
    pub send: Duration,
    /// For a reply, from the moment that it is waited for.
    pub reply: Duration,
}

impl Timeouts {
    /// The same limit for every phase.
    #[must_use]
    pub const fn all(limit: Duration) -> Self {
        Self { resolve: limit, connect: limit, send: limit, reply: limit }
    }
}

impl Default for Timeouts {
    /// Five seconds each: what the servers themselves wait for a request.
    fn default() -> Self {
        Self::all(Duration::from_secs(5))
    }
}

/// What a future gives, or that it did not give it in time.
async fn with_timeout<T, E: Into<ErrorKind>>(
    limit: Duration,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, ErrorKind> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ErrorKind::TimedOut(limit)),
    }
}
