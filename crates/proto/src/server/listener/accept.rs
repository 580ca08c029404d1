//! The accept loop and its drain.
//!
//! It depends on `access_log`, `admission`, `extended`, `handshake`, `limit_reached`, `peer`, `proxy`, `web`,
//! `connection`, `lifecycle`, and the rate limit, the counters and the table of connections in `observe`. Start reading
//! at [`serve`].
//!
//! An accept error never ends the loop. An error of one connection is skipped; a resource shortage of the process or
//! the machine makes the loop back off. Every accepted connection is either admitted, or rejected with a reply.

use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::server::connection::arrivals::ArrivalCounter;
use crate::server::connection::close::{MAX_WRITE_TIMEOUTS, close, half_close, half_close_now};
use crate::server::connection::close_reason::CloseReason;
use crate::server::connection::driver::{self, ConnectionContext};
use crate::server::connection::handler::Handler;
use crate::server::connection::metrics::ConnectionMetrics;
use crate::server::connection::stream::Stream;
use crate::server::connection::timer::{ConnectionTimeouts, DRAIN_FIRST_BYTES_GRACE};
use crate::server::connection::websocket::WebSocketStream;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::access_log::{AccessRecord, log_close};
use crate::server::listener::admission::{Admission, Permit};
use crate::server::listener::extended::Extended;
use crate::server::listener::handshake::Handshake;
use crate::server::listener::limit_reached::LimitReached;
use crate::server::listener::peer::Peer;
use crate::server::listener::proxy::read_header;
use crate::server::listener::web::{self, Opened, RequestResult, Site, WebMetrics};
use crate::server::observe::connections::table::CONNECTIONS;
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::rate_limit::RateLimit;

/// A factory of handlers, with everything that the connections of one listener share.
pub trait Service: Send + Sync + 'static {
    /// The protocol handler of one connection.
    type Handler: Handler;

    /// Whether its connections begin with an HTTP request: it is served at web endpoints only. The default is `false`.
    const IS_WEB: bool = false;

    /// Creates the handler of a new connection.
    fn handler(&self) -> Self::Handler;

    /// Returns the timeouts of a connection.
    fn timeouts(&self) -> ConnectionTimeouts;

    /// Returns the reply to a connection that is rejected because of `limit`.
    fn rejection(&self, limit: LimitReached) -> Bytes;

    /// Returns what the service has at its web endpoints. The default is for services without web endpoints.
    fn site(&self) -> Option<&Site> {
        None
    }

    /// Creates the handler of a new WebSocket connection to one of [`Site::paths`]. The default is for services whose
    /// paths have the same handler. `None` is an error of the service: the client gets a response that it cannot use.
    fn handler_at(&self, _path: &str) -> Option<Self::Handler> {
        Some(self.handler())
    }
}

/// A source of connections: a listening socket, or a test.
pub trait Listener: Send {
    /// A connection's stream.
    type Stream: Stream;

    /// Waits for the next connection. Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;

    /// Returns the endpoint, for the log and the metrics. The default is empty, for a test.
    fn endpoint(&self) -> String {
        String::new()
    }

    /// Returns the value of the label `transport`: `tcp`, `unix`, `tls` over either, or `websocket` over any of these.
    /// The default is for a test.
    fn transport(&self) -> &'static str {
        "memory"
    }

    /// Whether another process goes on accepting from the same socket, so that a drain leaves the accept queue to it.
    /// The default is `false`.
    fn is_inherited(&self) -> bool {
        false
    }

    /// Stops new connections from entering the accept queue. Those whose TCP handshake has begun still do. Best effort.
    fn refuse_new(&mut self);

    /// Stops listening and returns the connections that are in the accept queue.
    fn close(self) -> impl Iterator<Item = Accepted<Self::Stream>> + Send;
}

/// A connection that was accepted and is neither admitted nor rejected yet.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The byte stream.
    pub stream: S,
    /// The address of the client.
    pub peer: Peer,
    /// The handshake before the first request; `None` if the connection begins with a request.
    pub handshake: Option<Handshake>,
}

/// In a drain, connections are accepted for this long, so that requests in flight arrive: a round trip for a handshake
/// that has begun, or half of one for a request behind a handshake. Clients farther away can lose a request. A longer
/// time delays the clients whose SYNs are dropped, and the next process.
const DRAIN_ACCEPT_GRACE: Duration = Duration::from_millis(250);

/// Additional time at the end of a drain. If the process was stopped past the end, the drivers need it for the final
/// read, because requests may have arrived meanwhile.
const DRAIN_END_GRACE: Duration = Duration::from_millis(100);

/// A rejected connection is closed after this long, whether or not the client has read the reply.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(100);

/// The backoff after a resource shortage: short at first, because the shortage may be brief, and always below a second,
/// so that the loop notices soon when it is over.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// Accepts and serves connections until `shutdown` is triggered, then drains. Returns when the last connection has
/// ended or the drain timeout is over.
///
/// A connection keeps the service that was current when it was accepted. A new service affects only later connections.
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
    let endpoint = listener.endpoint();
    let accepted = metrics.of_endpoint(&endpoint, listener.transport());
    let context = ConnectionContext::new(service.timeouts(), metrics, shutdown.clone());
    let connections = Connections {
        service,
        endpoint: endpoint.into(),
        accepted,
        admission,
        context: Arc::new(context),
        tasks: TaskTracker::new(),
        rejected: TaskTracker::new(),
    };
    let mut acceptor = Acceptor { services, connections, arrivals: ArrivalCounter::new(Instant::now()) };
    let mut triggered = pin!(shutdown.triggered());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut triggered => break,
            accepted = accept_with_backoff(&mut listener, &acceptor.connections.context.metrics) => accepted,
        };
        acceptor.on_accept(accepted);
    }
    if listener.is_inherited() {
        drop(listener);
        return acceptor.connections.drain().await;
    }
    // Clients in the accept queue have completed the handshake and may already have sent a request; closing the
    // listener would reset them. So refuse new connections first, accept what is in flight for `DRAIN_ACCEPT_GRACE`,
    // empty the queue, then close.
    listener.refuse_new();
    let closing = Instant::now() + DRAIN_ACCEPT_GRACE;
    let closing = shutdown.deadline().map_or(closing, |deadline| deadline.min(closing));
    while Instant::now() < closing
        && let Ok(accepted) =
            timeout_at(closing, accept_with_backoff(&mut listener, &acceptor.connections.context.metrics)).await
    {
        acceptor.on_accept(accepted);
    }
    for accepted in listener.close() {
        acceptor.on_accept(accepted);
    }
    acceptor.connections.drain().await;
}

/// Waits for the next connection; logs and counts accept errors. Dropping the future loses no connection.
pub(crate) async fn accept_with_backoff<L: Listener>(
    listener: &mut L,
    metrics: &ConnectionMetrics,
) -> Accepted<L::Stream> {
    let mut backoff = MIN_BACKOFF;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_connection_error(&error) => {
                metrics.accept_aborted();
                tracing::debug!(%error, "connection aborted before accept");
            }
            Err(error) => {
                static RATE_LIMIT: RateLimit = RateLimit::new();
                metrics.accept_exhausted();
                if let Some(suppressed) = RATE_LIMIT.allow() {
                    tracing::warn!(%error, ?backoff, suppressed, "accept failed; backing off");
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// Admits or rejects each accepted connection, with the current service.
struct Acceptor<S> {
    services: watch::Receiver<Arc<S>>,
    connections: Connections<S>,
    arrivals: ArrivalCounter,
}

/// The service of new connections, and the state that all connections share.
struct Connections<S> {
    /// The current service.
    service: Arc<S>,
    endpoint: Arc<str>,
    /// Counts the admitted connections of the endpoint.
    accepted: Arc<Counters<1>>,
    admission: Arc<Admission>,
    context: Arc<ConnectionContext>,
    tasks: TaskTracker,
    rejected: TaskTracker,
}

impl<S> Clone for Connections<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            endpoint: Arc::clone(&self.endpoint),
            accepted: Arc::clone(&self.accepted),
            admission: Arc::clone(&self.admission),
            context: Arc::clone(&self.context),
            tasks: self.tasks.clone(),
            rejected: self.rejected.clone(),
        }
    }
}

impl<S: Service> Acceptor<S> {
    /// Spawns the connection's driver or handshake, or rejects the connection. It never waits: a rejected client that
    /// reads slowly does not delay the next connection.
    fn on_accept<I: Stream>(&mut self, accepted: Accepted<I>) {
        let Accepted { stream, peer, handshake } = accepted;
        let connections = &mut self.connections;
        // `has_changed` is cheap: it compares two numbers. It fails once the sender is dropped; the service is then
        // final.
        if self.services.has_changed().unwrap_or(false) {
            let service = Arc::clone(&self.services.borrow_and_update());
            let timeouts = service.timeouts();
            connections.service = service;
            connections.context = Arc::new(ConnectionContext { timeouts, ..(*connections.context).clone() });
        }
        let are_fast = self.arrivals.count(Instant::now());
        connections.context.arrivals.set_fast(are_fast && connections.admission.has_room());
        let expects_header = handshake.as_ref().is_some_and(|handshake| handshake.expects_header);
        // With a header, the client network is known after it.
        let permit = connections.admission.admit(peer.ip().filter(|_| !expects_header));
        match (permit, handshake) {
            (Ok(permit), handshake) => {
                let record = AccessRecord::new(&connections.endpoint);
                match handshake {
                    None => connections.spawn(stream, Admitted::new(peer, connections, permit), record),
                    Some(handshake) => connections.spawn_handshake(stream, peer, permit, handshake, record),
                }
            }
            (Err(limit), handshake) => {
                connections.reject(stream, peer, limit, handshake.as_ref());
            }
        }
    }
}

impl<S: Service> Connections<S> {
    fn spawn<I: Stream>(&self, stream: I, admitted: Box<Admitted>, record: Option<Arc<AccessRecord>>) {
        // A panic ends only its connection, also a panic in the creation of the handler.
        let Ok(handler) = catch_unwind(AssertUnwindSafe(|| self.service.handler())) else {
            return admitted.end(&CloseReason::Panic, record.as_deref());
        };
        self.spawn_driver(stream, handler, admitted, record);
    }

    fn spawn_driver<I: Stream>(
        &self,
        stream: I,
        handler: S::Handler,
        admitted: Box<Admitted>,
        record: Option<Arc<AccessRecord>>,
    ) {
        let timeouts = &self.context.timeouts;
        let quota = admitted.permit.quota(timeouts.request.unwrap_or(timeouts.idle));
        if let (Some(activity), Some(socket)) = (handler.activity(), stream.socket()) {
            CONNECTIONS.add_details(socket.as_raw_fd(), |details| details.activity = Some(activity));
        }
        let handler = Extended::new(handler, quota, record.clone());
        let context = Arc::clone(&self.context);
        // Two closures, so that the task holds no pointer to a record that does not exist.
        match record {
            None => {
                let task = serve_to_end(stream, handler, context, move |reason| admitted.end(&reason, None));
                self.tasks.spawn(task)
            }
            Some(record) => {
                let end = move |reason| admitted.end(&reason, Some(&record));
                self.tasks.spawn(serve_to_end(stream, handler, context, end))
            }
        };
    }

    /// Makes each step of the handshake in a separate task. The last one spawns the driver, so an idle connection holds
    /// no memory of its handshake.
    fn spawn_handshake<I: Stream>(
        &self,
        stream: I,
        peer: Peer,
        permit: Permit,
        handshake: Handshake,
        record: Option<Arc<AccessRecord>>,
    ) {
        if handshake.expects_header {
            let connections = self.clone();
            self.tasks.spawn(async move { connections.read_header(stream, peer, permit, handshake, record).await });
        } else {
            self.after_header(stream, Admitted::new(peer, self, permit), handshake, record);
        }
    }

    async fn read_header<I: Stream>(
        self,
        mut stream: I,
        peer: Peer,
        mut permit: Permit,
        handshake: Handshake,
        record: Option<Arc<AccessRecord>>,
    ) {
        let deadline = handshake.deadline;
        let header = async {
            self.wait_first_bytes(&mut stream, deadline).await?;
            let header = match self.run_step(timeout_at(deadline, read_header(&mut stream))).await? {
                Ok(header) => header.map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            header.map_err(CloseReason::BadProxyHeader)
        };
        let client = match header.await {
            Ok(client) => client,
            // No half-close: a RST discards nothing, because no reply was sent.
            Err(reason) => return Admitted::new(peer, &self, permit).end(&reason, record.as_deref()),
        };
        if let (Some(client), Some(socket)) = (client, stream.socket()) {
            CONNECTIONS.add_details(socket.as_raw_fd(), |details| details.proxied_client = Some(client));
        }
        let peer = client.map_or(peer, Peer::Ip);
        if let Some(client) = peer.ip()
            && let Err(limit) = permit.admit_client(client)
        {
            return self.reject(stream, peer, limit, Some(&handshake));
        }
        self.after_header(stream, Admitted::new(peer, &self, permit), handshake, record);
    }

    fn after_header<I: Stream>(
        &self,
        mut stream: I,
        admitted: Box<Admitted>,
        handshake: Handshake,
        record: Option<Arc<AccessRecord>>,
    ) {
        let Handshake { deadline, tls, web, .. } = handshake;
        let Some(tls) = tls else { return self.after_tls(stream, admitted, deadline, web, record) };
        let connections = self.clone();
        let handshake = async move {
            let accepted = async {
                connections.wait_first_bytes(&mut stream, deadline).await?;
                let accepted = connections.run_step(tls.accept(stream, deadline)).await?;
                accepted.map_err(CloseReason::TlsFailed)
            };
            match accepted.await {
                Ok(stream) => connections.after_tls(stream, admitted, deadline, web, record),
                Err(reason) => admitted.end(&reason, record.as_deref()),
            }
        };
        self.tasks.spawn(handshake);
    }

    fn after_tls<I: Stream>(
        &self,
        stream: I,
        admitted: Box<Admitted>,
        deadline: Instant,
        web: Option<Arc<WebMetrics>>,
        record: Option<Arc<AccessRecord>>,
    ) {
        // A constant, so that the program contains no WebSocket driver for services without web endpoints.
        if !S::IS_WEB {
            return self.spawn(stream, admitted, record);
        }
        let (connections, web) = (self.clone(), web.unwrap_or_default());
        self.tasks.spawn(async move {
            match connections.open(stream, deadline, &web).await {
                Ok((stream, handler)) => connections.spawn_driver(stream, handler, admitted, record),
                Err(reason) => admitted.end(&reason, record.as_deref()),
            }
        });
    }

    /// Serves the HTTP request of a web endpoint. Returns the WebSocket connection that it opens.
    ///
    /// # Errors
    ///
    /// Returns the close reason if it opens none. The client then has the response.
    async fn open<I: Stream>(
        &self,
        mut stream: I,
        deadline: Instant,
        metrics: &WebMetrics,
    ) -> Result<(WebSocketStream<I>, S::Handler), CloseReason> {
        let ConnectionContext { timeouts, shutdown, .. } = &*self.context;
        let opened = async {
            self.wait_first_bytes(&mut stream, deadline).await?;
            let write_timeout = timeouts.write * MAX_WRITE_TIMEOUTS;
            self.run_step(web::open(&mut stream, &*self.service, deadline, write_timeout)).await
        };
        let (result, reason) = match opened.await? {
            Ok(Opened::WebSocket(handler, frames)) => {
                metrics.count(RequestResult::WebSocket);
                return Ok((WebSocketStream::new(stream, &frames), handler));
            }
            Ok(Opened::Response(result)) => {
                let is_taken = close(&mut stream, timeouts.write, shutdown).await;
                (result, if is_taken { CloseReason::HttpResponse } else { CloseReason::WriteTimeout })
            }
            Ok(Opened::NotTaken(result)) => {
                stream.reset_on_close();
                (result, CloseReason::WriteTimeout)
            }
            Ok(Opened::Closed) => (RequestResult::Closed, CloseReason::PeerClosed),
            Ok(Opened::TimedOut) => (RequestResult::Timeout, CloseReason::RequestTimeout),
            Err(error) => (RequestResult::Closed, CloseReason::Io(error)),
        };
        metrics.count(result);
        Err(reason)
    }

    /// Waits for the first bytes of a step, until its deadline.
    ///
    /// # Errors
    ///
    /// Returns the close reason if they do not come within [`DRAIN_FIRST_BYTES_GRACE`] in a drain: a client that
    /// connects before it needs the connection must not delay a restart.
    async fn wait_first_bytes<I: Stream>(&self, stream: &mut I, deadline: Instant) -> Result<(), CloseReason> {
        let shutdown = &self.context.shutdown;
        let drained = async {
            shutdown.triggered().await;
            // The result does not matter: either time is over.
            let _ = timeout(DRAIN_FIRST_BYTES_GRACE, shutdown.deadline_passed()).await;
        };
        tokio::select! {
            biased;
            // At its deadline, the step fails by itself.
            _ = timeout_at(deadline, stream.wait_input()) => Ok(()),
            () = drained => Err(CloseReason::Drained),
        }
    }

    /// Awaits a step of a handshake.
    ///
    /// # Errors
    ///
    /// Returns the close reason if the step panics, or does not end before the drain deadline.
    async fn run_step<F: Future>(&self, step: F) -> Result<F::Output, CloseReason> {
        tokio::select! {
            biased;
            result = AssertUnwindSafe(step).catch_unwind() => result.map_err(|_| CloseReason::Panic),
            () = self.context.shutdown.deadline_passed() => Err(CloseReason::Aborted),
        }
    }

    fn reject<I: Stream>(&self, mut stream: I, peer: Peer, limit: LimitReached, handshake: Option<&Handshake>) {
        if let Some(suppressed) = self.admission.limits_reached().add(limit) {
            tracing::warn!(%peer, endpoint = %self.endpoint, %limit, suppressed, "connection rejected: limit reached");
        }
        self.context.metrics.rejected();
        if handshake.is_some_and(|handshake| handshake.tls.is_some()) {
            // A TLS client can read a reply only after the handshake, and the handshake costs more than the request.
            return;
        }
        let is_web = handshake.is_some_and(|handshake| handshake.web.is_some());
        let rejection = if is_web { Bytes::from_static(web::FULL) } else { self.service.rejection(limit) };
        // A rejected connection counts against no limit, so the kernel must not hold its reply for long.
        stream.set_send_timeout(self.context.timeouts.write);
        if let Some(slot) = self.admission.try_reject_slot() {
            self.rejected.spawn(async move {
                let _slot = slot;
                let reply = async {
                    if stream.write_all(&rejection).await.is_ok() {
                        half_close(&mut stream, REJECTION_TIMEOUT).await;
                    }
                };
                // The result does not matter: the connection is closed either way.
                let _ = timeout(REJECTION_TIMEOUT, reply).await;
            });
        } else {
            // All slots are taken. The send buffer of a new socket has room for the reply, so write it and close
            // without waiting. `unconstrained`: otherwise an exhausted coop budget of this task could make the write
            // return `Pending`.
            let reply = async {
                if stream.write_all(&rejection).await.is_ok() {
                    half_close_now(&mut stream).await;
                }
            };
            let _ = unconstrained(reply).now_or_never();
        }
    }

    /// Waits for the connections to end, until the drain timeout is over and at most for [`DRAIN_END_GRACE`] more.
    async fn drain(self) {
        self.tasks.close();
        self.rejected.close();
        // In this order: the header of a connection can name a client over its limit, which is then rejected.
        let mut ended = pin!(async {
            self.tasks.wait().await;
            self.rejected.wait().await;
        });
        // Each driver ends its connection at the drain deadline, which is a little earlier. So connections are left
        // only if the process was stopped or had no CPU time, or by a bug.
        if let Some(end) = self.context.shutdown.end()
            && timeout_at(end, &mut ended).await.is_err()
            && timeout(DRAIN_END_GRACE, ended).await.is_err()
        {
            self.context.metrics.closed_many(&CloseReason::Aborted, self.tasks.len());
        }
    }
}

/// Serves a connection to its end, and calls `end` with the close reason. This future is the task of the connection.
fn serve_to_end<I: Stream, H: Handler, F: FnOnce(CloseReason) + Send>(
    stream: I,
    handler: H,
    context: Arc<ConnectionContext>,
    end: F,
) -> impl Future<Output = ()> + Send + use<I, H, F> {
    let driver = driver::run(stream, handler, context);
    // Combinators, because an `async` block would store the driver twice.
    AssertUnwindSafe(driver).catch_unwind().map(move |result| end(result.unwrap_or(CloseReason::Panic)))
}

/// The state of an admitted connection from accept to its end. Owned by its task, so that the permit is released on
/// every exit path.
struct Admitted {
    peer: Peer,
    metrics: Arc<ConnectionMetrics>,
    permit: Permit,
}

impl Admitted {
    /// Counts the connection as accepted. Boxed: the small block fits into a gap that the alignment of tasks leaves in
    /// the heap.
    #[expect(clippy::unnecessary_box_returns, reason = "every caller needs the box, for the reason above")]
    fn new<S>(peer: Peer, connections: &Connections<S>, permit: Permit) -> Box<Self> {
        let metrics = Arc::clone(&connections.context.metrics);
        metrics.accepted();
        connections.accepted.add(0, 1);
        Box::new(Self { peer, metrics, permit })
    }

    /// Counts and logs the end of the connection.
    fn end(&self, reason: &CloseReason, record: Option<&AccessRecord>) {
        static PANICS: RateLimit = RateLimit::new();
        static HEADERS: RateLimit = RateLimit::new();
        self.metrics.closed(reason);
        let peer = self.peer;
        match reason {
            CloseReason::Panic => {
                if let Some(suppressed) = PANICS.allow() {
                    tracing::error!(%peer, suppressed, "connection task panicked");
                }
            }
            // The peer is in a trusted network, so its configuration or that of this server is wrong.
            CloseReason::BadProxyHeader(error) => {
                if let Some(suppressed) = HEADERS.allow() {
                    tracing::warn!(%peer, reason = %reason.label(), %error, suppressed, "handshake failed");
                }
            }
            _ => log_close(peer, record, reason),
        }
    }
}

/// Whether an error of accept(2) concerns only the connection that was to be accepted, so that the next accept can
/// succeed at once. The man page, "Error handling", has the list of network errors after which to retry.
pub(super) fn is_connection_error(error: &io::Error) -> bool {
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
