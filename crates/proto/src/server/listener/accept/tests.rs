//! The accept loop with a scripted listener and errors.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::server::config::sections::ConnectionLimits;
use crate::server::connection::handler::{Event, Progress, WaitFor};
use crate::server::connection::metrics::Summary;
use crate::server::connection::socket::SocketStream;
use crate::server::listener::admission::MAX_CONCURRENT_REJECTIONS;
use crate::server::listener::endpoint::bind;
use crate::server::listener::socket::{ListenOptions, SocketBuffers};

const SECOND: Duration = Duration::from_secs(1);
const PEER: Peer = Peer::Ip(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1));

/// Returns the connections and errors that a test sends, and the connections in `queued` when it is closed.
struct ScriptedListener {
    incoming: mpsc::UnboundedReceiver<io::Result<DuplexStream>>,
    queued: Vec<DuplexStream>,
}

impl Listener for ScriptedListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
        match self.incoming.recv().await {
            Some(result) => result.map(|stream| Accepted { stream, peer: PEER, handshake: None }),
            None => std::future::pending().await,
        }
    }

    fn refuse_new(&mut self) {}

    fn close(self) -> impl Iterator<Item = Accepted<DuplexStream>> + Send {
        self.queued.into_iter().map(|stream| Accepted { stream, peer: PEER, handshake: None })
    }
}

/// A service whose handlers reply to a byte with the greeting and close. `p` makes them panic, and `?` is an incomplete
/// request. With an empty greeting, the creation of a handler panics.
struct GreetingService {
    greeting: &'static str,
}

impl Service for GreetingService {
    type Handler = GreetingHandler;

    fn handler(&self) -> GreetingHandler {
        assert!(!self.greeting.is_empty(), "the greeting is empty");
        GreetingHandler(self.greeting)
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        let minute = 60 * SECOND;
        ConnectionTimeouts { request: None, idle: 10 * minute, write: minute, settle: Duration::ZERO }
    }

    fn rejection(&self, _: LimitReached) -> Bytes {
        Bytes::from_static(b"full")
    }
}

struct GreetingHandler(&'static str);

impl Handler for GreetingHandler {
    const READ_BYTES: usize = 1;
    const TURN_REPLIES: usize = 1;

    fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        let wait_for = match input.split().first() {
            Some(b'p') => panic!("on purpose"),
            Some(b'?') => WaitFor::MoreData,
            Some(_) => {
                output.extend_from_slice(self.0.as_bytes());
                WaitFor::Close
            }
            None => WaitFor::Request,
        };
        Progress { replies: 0, wait_for }
    }
}

struct GreeterServer {
    incoming: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    services: watch::Sender<Arc<GreetingService>>,
    admission: Arc<Admission>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<()>,
}

fn start(limit: usize, queued: Vec<DuplexStream>) -> GreeterServer {
    let (sender, incoming) = mpsc::unbounded_channel();
    let services = watch::Sender::new(Arc::new(GreetingService { greeting: "hi" }));
    let mut limits = ConnectionLimits::default();
    limits.max_connections = limits.max_connections.clamp_max(limit);
    let admission = Admission::new(&limits);
    let metrics = Arc::<ConnectionMetrics>::default();
    let shutdown = Shutdown::new(8 * SECOND);
    let served = tokio::spawn(serve(
        ScriptedListener { incoming, queued },
        services.subscribe(),
        Arc::clone(&admission),
        Arc::clone(&metrics),
        shutdown.clone(),
    ));
    GreeterServer { incoming: sender, services, admission, metrics, shutdown, served }
}

impl GreeterServer {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(8);
        self.incoming.send(Ok(theirs)).unwrap();
        ours
    }

    fn fail(&self, errno: Errno) {
        self.incoming.send(Err(errno.into())).unwrap();
    }

    fn context(&self) -> Arc<ConnectionContext> {
        let timeouts = self.services.borrow().timeouts();
        Arc::new(ConnectionContext::new(timeouts, Arc::clone(&self.metrics), self.shutdown.clone()))
    }

    /// Returns another accept loop of this server.
    fn connections(&self) -> Connections<GreetingService> {
        Connections {
            service: Arc::clone(&self.services.borrow()),
            endpoint: "test".into(),
            accepted: self.metrics.of_endpoint("test", "memory"),
            admission: Arc::clone(&self.admission),
            context: self.context(),
            tasks: TaskTracker::new(),
            rejected: TaskTracker::new(),
        }
    }

    async fn stop(self) -> Summary {
        self.shutdown.trigger();
        self.served.await.unwrap();
        self.metrics.summary()
    }
}

/// Sends a byte and returns the reply, up to the end of the stream.
async fn exchange(mut stream: DuplexStream, byte: u8) -> String {
    let mut reply = String::new();
    // Ignored: a rejected connection may be closed before the byte is sent.
    let _ = stream.write_all(&[byte]).await;
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_connection_does_not_delay_the_next_one() {
    let server = start(10, vec![]);
    let start = Instant::now();
    for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH, Errno::PERM] {
        server.fail(errno);
    }
    assert_eq!(exchange(server.connect(), b'x').await, "hi");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_backoff_doubles_with_each_shortage_and_stays_below_a_second() {
    let server = start(10, vec![]);
    let start = Instant::now();
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        server.fail(errno);
    }
    assert_eq!(exchange(server.connect(), b'x').await, "hi");
    assert_eq!(start.elapsed(), MIN_BACKOFF * (1 + 2 + 4 + 8));
    for _ in 0..100 {
        server.fail(Errno::MFILE);
    }
    sleep(60 * SECOND).await;
    let start = Instant::now();
    assert_eq!(exchange(server.connect(), b'x').await, "hi");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_connection_gets_a_reply_and_is_closed_within_the_timeout() {
    let server = start(1, vec![]);
    let first = server.connect();
    let start = Instant::now();
    assert_eq!(exchange(server.connect(), b'x').await, "full");
    let mut not_reading = server.connect();
    assert_eq!(exchange(first, b'x').await, "hi");
    // A client that neither reads nor closes holds no slot after the timeout.
    sleep(REJECTION_TIMEOUT * 2).await;
    assert!(start.elapsed() <= REJECTION_TIMEOUT * 3);
    assert!(not_reading.write_all(b"x").await.is_err());
    assert_eq!(exchange(server.connect(), b'x').await, "hi", "the freed slot is available");
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 2, panicked: 0, aborted: 0 });
}

#[tokio::test(start_paused = true)]
async fn rejecting_many_connections_delays_no_other() {
    let server = start(1, vec![]);
    let _first = server.connect();
    let start = Instant::now();
    // More than there are slots: the others get the reply immediately too.
    let mut rejected: Vec<_> = (0..MAX_CONCURRENT_REJECTIONS * 3).map(|_| server.connect()).collect();
    for stream in &mut rejected {
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"full");
    }
    assert_eq!(exchange(server.connect(), b'x').await, "full");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_only_its_connection_and_is_counted() {
    let server = start(2, vec![]);
    let other = server.connect();
    assert_eq!(exchange(server.connect(), b'p').await, "");
    assert_eq!(exchange(other, b'x').await, "hi");
    let admission = Arc::clone(&server.admission);
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 0, panicked: 1, aborted: 0 });
    assert_eq!(admission.open(), 0, "the slot is freed");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_creation_of_a_handler_is_counted() {
    let server = start(2, vec![]);
    server.services.send_replace(Arc::new(GreetingService { greeting: "" }));
    assert_eq!(exchange(server.connect(), b'x').await, "");
    let admission = Arc::clone(&server.admission);
    assert_eq!(server.stop().await, Summary { accepted: 1, rejected: 0, panicked: 1, aborted: 0 });
    assert_eq!(admission.open(), 0, "the slot is freed");
}

#[tokio::test(start_paused = true)]
async fn a_new_service_applies_to_later_connections() {
    let server = start(10, vec![]);
    let early = server.connect();
    // It is counted when it is accepted.
    while server.metrics.summary().accepted == 0 {
        tokio::task::yield_now().await;
    }
    server.services.send_replace(Arc::new(GreetingService { greeting: "ho" }));
    assert_eq!(exchange(server.connect(), b'x').await, "ho");
    assert_eq!(exchange(early, b'x').await, "hi");
    assert_eq!(exchange(server.connect(), b'x').await, "ho");
}

#[tokio::test(start_paused = true)]
async fn connections_in_the_accept_queue_at_shutdown_are_served() {
    let (ours, theirs) = duplex(8);
    let server = start(10, vec![theirs]);
    let client = tokio::spawn(exchange(ours, b'x'));
    tokio::task::yield_now().await;
    assert_eq!(server.stop().await, Summary { accepted: 1, ..Summary::default() });
    assert_eq!(client.await.unwrap(), "hi");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_its_timeout_is_over_and_counts_unfinished_tasks() {
    let server = start(10, vec![]);
    let connections = server.connections();
    // A driver always ends at the drain deadline; this task never ends.
    connections.tasks.spawn(std::future::pending::<()>());
    connections.tasks.spawn(std::future::ready(()));
    let start = Instant::now();
    server.shutdown.trigger();
    connections.drain().await;
    assert_eq!(start.elapsed(), 8 * SECOND + DRAIN_END_GRACE);
    assert_eq!(server.metrics.summary(), Summary { aborted: 1, ..Summary::default() });
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_past_its_end_a_drain_waits_for_the_final_reads() {
    let server = start(10, vec![]);
    let connections = server.connections();
    server.shutdown.trigger();
    tokio::time::advance(60 * SECOND).await;
    connections.tasks.spawn(sleep(DRAIN_END_GRACE / 2));
    connections.drain().await;
    assert_eq!(server.metrics.summary(), Summary::default());
}

#[tokio::test(start_paused = true)]
async fn a_drain_aborts_unfinished_connections_and_counts_them() {
    let server = start(10, vec![]);
    server.services.send_replace(Arc::new(GreetingService { greeting: "more than the stream can hold" }));
    let mut unread = server.connect();
    unread.write_all(b"!").await.unwrap();
    let _idle = server.connect();
    sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 0, panicked: 0, aborted: 1 });
    assert!(start.elapsed() <= 8 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test]
async fn closing_a_tcp_listener_returns_its_accept_queue() {
    let options = ListenOptions { backlog: 16, defer_accept: false, buffers: SocketBuffers::default() };
    let listener = bind(([127, 0, 0, 1], 0).into(), options).unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let peers: Vec<_> = listener.close().map(|accepted| accepted.peer).collect();
    let expected: Vec<_> = clients.iter().map(|client| Peer::Ip(client.local_addr().unwrap())).collect();
    assert_eq!(peers, expected);
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
}

/// A handler as large as the largest one of the servers.
struct Large([u64; 5]);

impl Handler for Large {
    const READ_BYTES: usize = 1;
    const TURN_REPLIES: usize = 1;

    fn handle(&mut self, _: Event, _: &mut BytesMut, _: &mut BytesMut, _: usize) -> Progress {
        Progress { replies: self.0[0], wait_for: WaitFor::Request }
    }
}

#[tokio::test]
async fn the_task_of_a_connection_takes_at_most_512_bytes() {
    // The fields of tokio 1.54 besides the future: a header, the scheduler, an ID, a stage and a trailer.
    const TOKIO_BYTES: usize = 112;
    let server = start(1, vec![]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = SocketStream::from(OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
    let permit = server.admission.admit(PEER.ip()).unwrap();
    let admitted = Box::new(Admitted { peer: PEER, metrics: Arc::clone(&server.metrics), permit });
    let end = move |reason| admitted.end(&reason, None);
    let task = serve_to_end(stream, Large([0; 5]), server.context(), end);
    assert!(size_of_val(&task) + TOKIO_BYTES <= 512, "{} bytes", size_of_val(&task));
}
