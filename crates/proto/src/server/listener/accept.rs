//! The loop that turns a listener into conversations, and its drain.
//!
//! Accepting cannot fail: an error belongs either to one connection, and the next one is taken at once, or to the
//! whole machine, and the loop pauses. Every accepted connection is either let in or told that there is no room.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::server::connection::close_reason::Closed;
use crate::server::connection::driver;
use crate::server::connection::metrics::Connections;
use crate::server::connection::stream::Stream;
use crate::server::connection::timer::DRAIN_GRACE;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::admission::{Admission, Full, Permit};
use crate::server::listener::socket;
use crate::server::observe::rate_limit::Throttle;

/// What a server does with its connections.
pub trait Service<S>: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(&self, stream: S, shutdown: Shutdown) -> impl Future<Output = Closed> + Send + use<Self, S>;

    /// What a connection is told for which there is no room. Asked for once for each.
    fn refuse(&self) -> Arc<[u8]>;
}

/// Where connections come from; a trait, so that tests can bring connections and errors of their own.
pub trait Listener: Send {
    /// A connection's stream.
    type Stream: Stream;

    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Lets nobody begin to connect any more, while those who have can still be accepted. Where that cannot be done, it
    /// is done without.
    fn refuse_new(&self);

    /// Stops listening and gives the connections that wait to be accepted.
    fn close(self) -> impl Iterator<Item = (Self::Stream, SocketAddr)> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        TcpListener::accept(self)
    }

    fn refuse_new(&self) {
        if let Err(error) = socket::refuse_new(self) {
            tracing::debug!(%error, "connections that are being made when the listener closes may be lost");
        }
    }

    fn close(self) -> impl Iterator<Item = (TcpStream, SocketAddr)> + Send {
        // Past the runtime, which may not have heard yet of what the kernel has queued. The socket is non-blocking, so
        // this ends with the queue, or else with what a flood can bring in.
        let listener = self.into_std().ok();
        let mut tries = 0..WAITING_AT_MOST;
        std::iter::from_fn(move || {
            let listener = listener.as_ref()?;
            tries
                .find_map(|_| match listener.accept().and_then(adopt) {
                    Ok(arrived) => Some(Ok(arrived)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Err(error)),
                    Err(error) if belongs_to_one_connection(&error) => None,
                    Err(error) => {
                        tracing::warn!(%error, "connections that waited to be accepted are lost");
                        Some(Err(error))
                    }
                })?
                .ok()
        })
    }
}

fn adopt((stream, peer): (std::net::TcpStream, SocketAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, peer))
}

/// The most connections taken from the queue of a listener that closes: the largest backlog that Linux keeps
/// (listen(2): it fits 16 bits on older kernels, and is cut to `net.core.somaxconn` on all).
const WAITING_AT_MOST: usize = 65_536;

/// The excess client is told and let go of within this time, whether or not it listens.
const REJECTION_TIME: Duration = Duration::from_millis(100);

/// A pause after the machine ran out of something: short at first, since it may have been a moment's, and never so
/// long that a recovery goes unnoticed for a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Accepts and serves connections until `shutdown` begins, then drains, and returns when the last connection has ended
/// or the drain's time is up.
///
/// Each connection is served by the service that there is when it comes, to its end: a later one is for later
/// connections.
pub async fn serve<L, S>(
    mut listener: L,
    services: watch::Receiver<Arc<S>>,
    admission: Arc<Admission>,
    metrics: Arc<Connections>,
    shutdown: Shutdown,
) where
    L: Listener,
    S: Service<L::Stream>,
{
    let service = Arc::clone(&services.borrow());
    let mut reception = Reception {
        services,
        service,
        admission,
        metrics,
        shutdown: shutdown.clone(),
        tasks: TaskTracker::new(),
        rejected: TaskTracker::new(),
    };
    let mut begun = pin!(shutdown.begun());
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut begun => break,
            arrived = next(&mut listener, &reception.metrics) => arrived,
        };
        reception.receive(stream, peer);
    }
    // Whoever has been let into the queue believes to be connected and may have asked already. So the door is closed
    // to others first, those on the threshold get the time to come in, and only then the queue goes with the listener.
    listener.refuse_new();
    let closing = Instant::now() + DRAIN_GRACE;
    let closing = shutdown.deadline().map_or(closing, |deadline| deadline.min(closing));
    while Instant::now() < closing
        && let Ok((stream, peer)) = timeout_at(closing, next(&mut listener, &reception.metrics)).await
    {
        reception.receive(stream, peer);
    }
    for (stream, peer) in listener.close() {
        reception.receive(stream, peer);
    }
    reception.drain().await;
}

/// The next connection, however long that takes and whatever goes wrong meanwhile. Dropping the future loses none.
pub(crate) async fn next<L: Listener>(listener: &mut L, metrics: &Connections) -> (L::Stream, SocketAddr) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok(arrived) => return arrived,
            Err(error) if belongs_to_one_connection(&error) => {
                metrics.lost_in_queue();
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                static KIND: Throttle = Throttle::new();
                metrics.exhausted();
                if let Some(held_back) = KIND.pass() {
                    tracing::warn!(%error, ?pause, held_back, "cannot accept connections for the moment");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Everything that a new connection meets.
struct Reception<S> {
    services: watch::Receiver<Arc<S>>,
    /// The latest of them.
    service: Arc<S>,
    admission: Arc<Admission>,
    metrics: Arc<Connections>,
    shutdown: Shutdown,
    tasks: TaskTracker,
    rejected: TaskTracker,
}

impl<S> Reception<S> {
    /// Lets a connection in or turns it away, and waits for nothing: those who are turned away do not hold up the next.
    fn receive<I>(&mut self, stream: I, peer: SocketAddr)
    where
        I: Stream,
        S: Service<I>,
    {
        // This looks at a number alone; whoever changes the service can be gone, and then this one stays.
        if self.services.has_changed().unwrap_or(false) {
            self.service = Arc::clone(&self.services.borrow_and_update());
        }
        match self.admission.admit(peer.ip()) {
            Ok(permit) => self.let_in(stream, peer, permit),
            Err(full) => self.turn_away(stream, peer, full),
        }
    }

    fn let_in<I>(&self, stream: I, peer: SocketAddr, permit: Permit)
    where
        I: Stream,
        S: Service<I>,
    {
        self.metrics.accepted();
        let metrics = Arc::clone(&self.metrics);
        // At debug level, as all that is written in it is: a span that nobody sees costs nothing, not even its place.
        let span = tracing::debug_span!("connection", %peer);
        let serve = AssertUnwindSafe(|| self.service.serve(stream, self.shutdown.clone()));
        let begun = span.in_scope(|| catch_unwind(serve));
        // In a box, which finds room in the gap behind the task.
        let end: Box<dyn FnOnce(thread::Result<Closed>) + Send> = Box::new(move |ended| {
            if let Ok(closed) = ended {
                metrics.closed(&closed);
                tracing::debug!(?closed, "closed");
            } else {
                metrics.panicked();
                report_panic(peer);
            }
            // It is here from the beginning, so that it is given back however the task ends.
            drop(permit);
        });
        // No `async` block, which would have two places for what it is given and waits for.
        let task = unless_panicked(begun).map(end);
        if span.is_disabled() {
            self.tasks.spawn(task);
        } else {
            self.tasks.spawn(task.instrument(span));
        }
    }

    fn turn_away<I>(&self, mut stream: I, peer: SocketAddr, full: Full)
    where
        I: Stream,
        S: Service<I>,
    {
        static KIND: Throttle = Throttle::new();
        if let Some(held_back) = KIND.pass() {
            tracing::warn!(%peer, limit = %full, held_back, "a connection was turned away: the limit is reached");
        }
        self.metrics.rejected();
        let (refusal, shutdown) = (self.service.refuse(), self.shutdown.clone());
        if let Some(permit) = self.admission.reject() {
            self.rejected.spawn(async move {
                let _permit = permit;
                let told = async {
                    if stream.write_all(&refusal).await.is_ok() {
                        driver::close(&mut stream, REJECTION_TIME, &shutdown).await;
                    }
                };
                // A client that listens has heard; for one that does not, nothing more is done.
                let _ = timeout(REJECTION_TIME, told).await;
            });
        } else {
            // With so many being told already, this one is told what a new socket always has room for, and nothing is
            // waited for: not even for this task's share of the runtime.
            let told = async {
                if stream.write_all(&refusal).await.is_ok() {
                    driver::close_at_once(&mut stream).await;
                }
            };
            let _ = unconstrained(told).now_or_never();
        }
    }

    /// Waits for the connections to end, and for none longer than the drain's time.
    async fn drain(self) {
        self.tasks.close();
        self.rejected.close();
        let ended = async { tokio::join!(self.tasks.wait(), self.rejected.wait()) };
        if let Some(end) = self.shutdown.end()
            && timeout_at(end, ended).await.is_err()
        {
            // These have heard of the drain's deadline too, and did not end all the same.
            self.metrics.cut(self.tasks.len());
        }
    }
}

/// What comes of what has `begun`, or the panic that has ended it.
fn unless_panicked<F: Future>(begun: thread::Result<F>) -> impl Future<Output = thread::Result<F::Output>> {
    match begun {
        Ok(begun) => AssertUnwindSafe(begun).catch_unwind().left_future(),
        Err(panic) => ready(Err(panic)).right_future(),
    }
}

fn report_panic(peer: SocketAddr) {
    static KIND: Throttle = Throttle::new();
    if let Some(held_back) = KIND.pass() {
        tracing::error!(%peer, held_back, "a connection was ended by a panic; the others go on");
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
