//! Typed async clients for both services.
//!
//! Every operation has a deadline, and every error says in which phase it happened and whose fault it was.
//!
//! - [`power`]: a short connection a request, or one kept alive with requests in flight;
//! - [`rps`]: one long connection, one answer a move.

pub mod error;
pub mod power;
pub mod rps;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

pub use error::{Error, ErrorKind, Fault, Phase};

/// How long a client waits in each phase. Every limit is for the phase as a whole, however many steps it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a name to be resolved.
    pub resolve: Duration,
    /// For a connection to be made; a name's addresses are tried in turn, each with its share of the time.
    pub connect: Duration,
    /// For a request to be taken by the network.
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

/// Connects to `address`, a name or an IP address with a port.
async fn connect(address: &str, timeouts: &Timeouts) -> Result<TcpStream, Error> {
    let failed = |phase| move |kind| Error::new(address, phase, kind);
    let resolved = within(timeouts.resolve, lookup_host(address)).await.map_err(failed(Phase::Resolve))?;
    let mut last = ErrorKind::Io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    let resolved: Vec<_> = resolved.collect();
    // What the quick ones leave is for the others: a name whose first address is a black hole still has its second.
    let until = Instant::now() + timeouts.connect;
    for (tried, address) in resolved.iter().enumerate() {
        let left = u32::try_from(resolved.len() - tried).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match within(share, TcpStream::connect(address)).await {
            Ok(stream) => {
                // A request is written whole; holding it back for more to come (Nagle) would only delay it. Where the
                // option cannot be set the connection is as good as gone, and the next step says so better.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(ErrorKind::TimedOut(_)) => last = ErrorKind::TimedOut(timeouts.connect),
            Err(kind) => last = kind,
        }
    }
    Err(Error::new(address, Phase::Connect, last))
}

/// What a future gives, or that it did not give it in time.
async fn within<T, E: Into<ErrorKind>>(
    limit: Duration,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, ErrorKind> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ErrorKind::TimedOut(limit)),
    }
}
