//! The accept loop and its drain.
//!
//! Accepting cannot fail: an error belongs either to one connection, and the next one is accepted at once, or to the
//! whole machine, and the loop backs off. Every accepted connection is either admitted or rejected with a reply.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::server::connection::close::{close, close_now};
use crate::server::connection::close_reason::CloseReason;
use crate::server::connection::driver;
use crate::server::connection::handler::Handler;
use crate::server::connection::metrics::ConnectionMetrics;
use crate::server::connection::stream::Stream;
use crate::server::connection::timer::{ConnectionTimeouts, DRAIN_IDLE_GRACE};
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::admission::{Admission, LimitReached, Permit};
use crate::server::listener::socket;
use crate::server::observe::rate_limit::RateLimit;

/// A factory of handlers, with everything that the connections of one listener share.
pub trait Service: Send + Sync + 'static {
    /// The protocol handler of one connection.
    type Handler: Handler;

    /// Makes the handler of a new connection.
    fn handler(&self) -> Self::Handler;

    /// The timeouts of a connection.
    fn timeouts(&self) -> Arc<ConnectionTimeouts>;

    /// The bytes that a rejected connection gets.
    fn rejection(&self) -> Bytes;
}

/// A source of connections. TCP, or a test's own connections and errors.
pub trait Listener: Send {
    /// A connection's stream.
    type Stream: Stream;

    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Drops the SYNs of new connections, while those whose handshake has begun can still be accepted. Best effort.
    fn drop_new_syns(&self);

    /// Stops listening and returns the connections that are in the accept queue.
    fn close(self) -> impl Iterator<Item = (Self::Stream, SocketAddr)> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        TcpListener::accept(self)
    }

    fn drop_new_syns(&self) {
        if let Err(error) = socket::drop_new_syns(self) {
            tracing::debug!(%error, "cannot drop new SYNs; connections in handshake may be reset");
        }
    }

    fn close(self) -> impl Iterator<Item = (TcpStream, SocketAddr)> + Send {
        // Not through the runtime, which may not know yet about connections that the kernel has queued. The socket is
        // non-blocking, so this ends with the queue, and in a flood after `MAX_BACKLOG`.
        let listener = self.into_std().ok();
        let mut tries = 0..MAX_BACKLOG;
        std::iter::from_fn(move || {
            let listener = listener.as_ref()?;
            tries
                .find_map(|_| match listener.accept().and_then(register) {
                    Ok(arrived) => Some(Ok(arrived)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Err(error)),
                    Err(error) if belongs_to_one_connection(&error) => None,
                    Err(error) => {
                        tracing::warn!(%error, "cannot empty the accept queue; queued connections are reset");
                        Some(Err(error))
                    }
                })?
                .ok()
        })
    }
}

fn register((stream, peer): (std::net::TcpStream, SocketAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, peer))
}

/// The most connections taken from the queue of a listener that closes: the largest backlog that Linux keeps
/// (listen(2): it fits 16 bits on older kernels, and is cut to `net.core.somaxconn` on all).
const MAX_BACKLOG: usize = 65_536;

/// A rejected connection is closed after this long, whether or not the client has read the reply.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(100);

/// The pause after an error of the whole machine: short at first, since the shortage may be brief, and below a second,
/// so that a recovery is noticed soon.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// Accepts and serves connections until `shutdown` begins, then drains, and returns when the last connection has ended
/// or the drain's time is up.
///
/// A connection keeps the service that was current when it was accepted. A later one affects only later connections.
pub async fn serve<L, S>(
    mut listener: L,
    services: watch::Receiver<Arc<S>>,
    admission: Arc<Admission>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: Shutdown,
) where
    L: Listener,
    S: Service,
{
    let service = Arc::clone(&services.borrow());
    let mut acceptor = Acceptor {
        services,
        service,
        admission,
        metrics,
        shutdown: shutdown.clone(),
        tasks: TaskTracker::new(),
        rejected: TaskTracker::new(),
    };
    let mut triggered = pin!(shutdown.triggered());
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut triggered => break,
            accepted = accept_with_backoff(&mut listener, &acceptor.metrics) => accepted,
        };
        acceptor.on_accept(stream, peer);
    }
    // Clients in the accept queue have completed the handshake and may already have sent a request; closing the
    // listener would reset them. So drop new SYNs first, accept what is in flight for `DRAIN_IDLE_GRACE`, empty the
    // queue, then close.
    listener.drop_new_syns();
    let closing = Instant::now() + DRAIN_IDLE_GRACE;
    let closing = shutdown.deadline().map_or(closing, |deadline| deadline.min(closing));
    while Instant::now() < closing
        && let Ok((stream, peer)) = timeout_at(closing, accept_with_backoff(&mut listener, &acceptor.metrics)).await
    {
        acceptor.on_accept(stream, peer);
    }
    for (stream, peer) in listener.close() {
        acceptor.on_accept(stream, peer);
    }
    acceptor.drain().await;
}

/// Returns the next connection, behind any number of errors. Dropping the future loses none.
pub(crate) async fn accept_with_backoff<L: Listener>(
    listener: &mut L,
    metrics: &ConnectionMetrics,
) -> (L::Stream, SocketAddr) {
    let mut backoff = MIN_BACKOFF;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if belongs_to_one_connection(&error) => {
                metrics.accept_aborted();
                tracing::debug!(%error, "connection aborted before accept");
            }
            Err(error) => {
                static LIMIT: RateLimit = RateLimit::new();
                metrics.accept_exhausted();
                if let Some(suppressed) = LIMIT.allow() {
                    tracing::warn!(%error, ?backoff, suppressed, "accept failed; backing off");
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// Admits or rejects each accepted connection.
struct Acceptor<S> {
    services: watch::Receiver<Arc<S>>,
    /// The latest of them.
    service: Arc<S>,
    admission: Arc<Admission>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: Shutdown,
    tasks: TaskTracker,
    rejected: TaskTracker,
}

impl<S: Service> Acceptor<S> {
    /// Spawns the connection's driver, or rejects the connection. It never waits: a slow rejected client does not delay
    /// the next one.
    fn on_accept<I: Stream>(&mut self, stream: I, peer: SocketAddr) {
        // `has_changed` compares two numbers. It is an error once the sender is gone; then this service stays.
        if self.services.has_changed().unwrap_or(false) {
            self.service = Arc::clone(&self.services.borrow_and_update());
        }
        match self.admission.admit(peer.ip()) {
            Ok(permit) => self.spawn(stream, peer, permit),
            Err(limit) => self.reject(stream, peer, limit),
        }
    }

    fn spawn<I: Stream>(&self, stream: I, peer: SocketAddr, permit: Permit) {
        self.metrics.accepted();
        // At debug level, as everything that is logged in it: a disabled span costs neither time nor memory.
        let span = tracing::debug_span!("connection", %peer);
        // Boxed: the allocator has room for it behind the task, whose size it rounds up.
        let admitted = Box::new(Admitted { peer, metrics: Arc::clone(&self.metrics), _permit: permit });
        // A panic belongs to its connection alone, also one while the handler is made.
        let Ok(handler) = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| self.service.handler()))) else {
            return span.in_scope(|| admitted.end(&CloseReason::Panic));
        };
        let task = serve_admitted(stream, handler, self.service.timeouts(), self.shutdown.clone(), admitted);
        if span.is_disabled() {
            self.tasks.spawn(task);
        } else {
            self.tasks.spawn(task.instrument(span));
        }
    }

    fn reject<I: Stream>(&self, mut stream: I, peer: SocketAddr, limit: LimitReached) {
        static LIMIT: RateLimit = RateLimit::new();
        if let Some(suppressed) = LIMIT.allow() {
            tracing::warn!(%peer, limit = %limit, suppressed, "connection rejected: limit reached");
        }
        self.metrics.rejected();
        let (rejection, shutdown) = (self.service.rejection(), self.shutdown.clone());
        if let Some(slot) = self.admission.try_reject_slot() {
            self.rejected.spawn(async move {
                let _slot = slot;
                let reply = async {
                    if stream.write_all(&rejection).await.is_ok() {
                        close(&mut stream, REJECTION_TIMEOUT, &shutdown).await;
                    }
                };
                // Nothing more is done for a client that has not read it by then.
                let _ = timeout(REJECTION_TIMEOUT, reply).await;
            });
        } else {
            // All slots are taken. A new socket has room for the rejection, so write it and close without waiting, not
            // even for this task's share of the runtime.
            let reply = async {
                if stream.write_all(&rejection).await.is_ok() {
                    close_now(&mut stream).await;
                }
            };
            let _ = unconstrained(reply).now_or_never();
        }
    }

    /// Waits for the connections to end, until the drain's time is up.
    async fn drain(self) {
        self.tasks.close();
        self.rejected.close();
        let ended = async { tokio::join!(self.tasks.wait(), self.rejected.wait()) };
        if let Some(end) = self.shutdown.end()
            && timeout_at(end, ended).await.is_err()
        {
            // They did not end at the drain's deadline either.
            self.metrics.closed_many(&CloseReason::Aborted, self.tasks.len());
        }
    }
}

/// Serves a connection to its end, and counts that. The future is what tokio keeps for the connection.
fn serve_admitted<I: Stream, H: Handler>(
    stream: I,
    handler: H,
    timeouts: Arc<ConnectionTimeouts>,
    shutdown: Shutdown,
    admitted: Box<Admitted>,
) -> impl Future<Output = ()> + Send + use<I, H> {
    let driver = driver::run(stream, handler, timeouts, Arc::clone(&admitted.metrics), shutdown);
    // Combinators, since an `async` block would store the driver twice.
    AssertUnwindSafe(driver).catch_unwind().map(move |ended| admitted.end(&ended.unwrap_or(CloseReason::Panic)))
}

/// What an admitted connection holds from accept to its end. The task owns it, so that the permit is released on every
/// exit path.
struct Admitted {
    peer: SocketAddr,
    metrics: Arc<ConnectionMetrics>,
    _permit: Permit,
}

impl Admitted {
    fn end(&self, reason: &CloseReason) {
        static LIMIT: RateLimit = RateLimit::new();
        self.metrics.closed(reason);
        if !matches!(reason, CloseReason::Panic) {
            tracing::debug!(%reason, "connection closed");
        } else if let Some(suppressed) = LIMIT.allow() {
            tracing::error!(peer = %self.peer, suppressed, "connection task panicked");
        }
    }
}

/// Errors of accept(2) that say something of the connection that was to be accepted and nothing of the next one. The
/// page's own list, "Error handling", asks to take the network's errors as a reason to try again.
fn belongs_to_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::CONNREFUSED
                | Errno::INTR
                | Errno::AGAIN
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
        )
    )
}

#[cfg(test)]
mod tests;
