//! The accept loop with listeners and errors made for the purpose.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::server::config::sections::ConnectionLimits;
use crate::server::connection::handler::{Event, Progress, WaitFor};
use crate::server::connection::metrics::Summary;
use crate::server::listener::admission::MAX_CONCURRENT_REJECTIONS;

const SECOND: Duration = Duration::from_secs(1);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// Gives connections and errors as a test sends them, and those in `waiting` when it is closed.
struct Scripted {
    arriving: mpsc::UnboundedReceiver<io::Result<DuplexStream>>,
    waiting: Vec<DuplexStream>,
}

impl Listener for Scripted {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.arriving.recv().await {
            Some(arrived) => arrived.map(|stream| (stream, PEER)),
            None => std::future::pending().await,
        }
    }

    fn drop_new_syns(&self) {}

    fn close(self) -> impl Iterator<Item = (DuplexStream, SocketAddr)> + Send {
        self.waiting.into_iter().map(|stream| (stream, PEER))
    }
}

/// Replies `hi` to a byte, and panics at `p`.
struct Greeter {
    greeting: &'static str,
}

impl Service for Greeter {
    type Handler = Greeting;

    fn handler(&self) -> Greeting {
        assert!(!self.greeting.is_empty(), "nothing to say");
        Greeting(self.greeting)
    }

    fn timeouts(&self) -> Arc<ConnectionTimeouts> {
        let minute = 60 * SECOND;
        ConnectionTimeouts { request: None, idle: 10 * minute, write: minute, settle: Duration::ZERO }.into()
    }

    fn rejection(&self) -> Bytes {
        Bytes::from_static(b"full")
    }
}

struct Greeting(&'static str);

impl Handler for Greeting {
    const READ_BYTES: usize = 1;

    fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        let wait_for = match input.split().first() {
            Some(b'p') => panic!("asked for"),
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

struct TestServer {
    events: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    services: watch::Sender<Arc<Greeter>>,
    admission: Arc<Admission>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<()>,
}

fn start(limit: usize, waiting: Vec<DuplexStream>) -> TestServer {
    let (events, arriving) = mpsc::unbounded_channel();
    let services = watch::Sender::new(Arc::new(Greeter { greeting: "hi" }));
    let mut limits = ConnectionLimits::default();
    limits.max_connections = limits.max_connections.clamp_max(limit);
    let admission = Admission::new(&limits);
    let metrics = Arc::<ConnectionMetrics>::default();
    let shutdown = Shutdown::new(8 * SECOND);
    let served = tokio::spawn(serve(
        Scripted { arriving, waiting },
        services.subscribe(),
        Arc::clone(&admission),
        Arc::clone(&metrics),
        shutdown.clone(),
    ));
    TestServer { events, services, admission, metrics, shutdown, served }
}

impl TestServer {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(8);
        self.events.send(Ok(theirs)).unwrap();
        ours
    }

    fn fail(&self, errno: Errno) {
        self.events.send(Err(errno.into())).unwrap();
    }

    async fn stop(self) -> Summary {
        self.shutdown.trigger();
        self.served.await.unwrap();
        self.metrics.summary()
    }
}

async fn ask(mut stream: DuplexStream, byte: u8) -> String {
    let mut heard = String::new();
    // A connection that is turned away may be closed before it has sent anything.
    let _ = stream.write_all(&[byte]).await;
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_connection_does_not_keep_the_next_one_waiting() {
    let server = start(10, vec![]);
    let began = Instant::now();
    for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH, Errno::PERM] {
        server.fail(errno);
    }
    assert_eq!(ask(server.connect(), b'x').await, "hi");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_machine_is_given_longer_and_longer_pauses_but_never_a_second() {
    let server = start(10, vec![]);
    let began = Instant::now();
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        server.fail(errno);
    }
    assert_eq!(ask(server.connect(), b'x').await, "hi");
    assert_eq!(began.elapsed(), MIN_BACKOFF * (1 + 2 + 4 + 8));
    for _ in 0..100 {
        server.fail(Errno::MFILE);
    }
    sleep(60 * SECOND).await;
    let began = Instant::now();
    assert_eq!(ask(server.connect(), b'x').await, "hi");
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_excess_connection_is_told_and_closed_within_its_time() {
    let server = start(1, vec![]);
    let first = server.connect();
    let began = Instant::now();
    assert_eq!(ask(server.connect(), b'x').await, "full");
    let mut deaf = server.connect();
    assert_eq!(ask(first, b'x').await, "hi");
    // One that neither reads nor closes holds nothing after its time.
    sleep(REJECTION_TIMEOUT * 2).await;
    assert!(began.elapsed() <= REJECTION_TIMEOUT * 3);
    assert!(deaf.write_all(b"x").await.is_err());
    assert_eq!(ask(server.connect(), b'x').await, "hi", "a place that was given back is there for the next");
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 2, panicked: 0, aborted: 0 });
}

#[tokio::test(start_paused = true)]
async fn turning_away_many_holds_up_nobody() {
    let server = start(1, vec![]);
    let _first = server.connect();
    let began = Instant::now();
    // More than are given time; those beyond are told at once too, and nobody waits behind them.
    let mut deaf: Vec<_> = (0..MAX_CONCURRENT_REJECTIONS * 3).map(|_| server.connect()).collect();
    for excess in &mut deaf {
        let mut heard = [0; 4];
        excess.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"full");
    }
    assert_eq!(ask(server.connect(), b'x').await, "full");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_connection_alone_and_is_counted() {
    let server = start(2, vec![]);
    let bystander = server.connect();
    assert_eq!(ask(server.connect(), b'p').await, "");
    assert_eq!(ask(bystander, b'x').await, "hi");
    let admission = Arc::clone(&server.admission);
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 0, panicked: 1, aborted: 0 });
    assert_eq!(admission.open(), 0, "its place was given back");
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_anything_is_waited_for_is_counted_too() {
    let server = start(2, vec![]);
    server.services.send_replace(Arc::new(Greeter { greeting: "" }));
    assert_eq!(ask(server.connect(), b'x').await, "");
    let admission = Arc::clone(&server.admission);
    assert_eq!(server.stop().await, Summary { accepted: 1, rejected: 0, panicked: 1, aborted: 0 });
    assert_eq!(admission.open(), 0, "its place was given back");
}

#[tokio::test(start_paused = true)]
async fn a_new_service_is_for_connections_that_come_after_it() {
    let server = start(10, vec![]);
    let early = server.connect();
    // It is accepted once it is counted.
    while server.metrics.summary().accepted == 0 {
        tokio::task::yield_now().await;
    }
    server.services.send_replace(Arc::new(Greeter { greeting: "ho" }));
    assert_eq!(ask(server.connect(), b'x').await, "ho");
    assert_eq!(ask(early, b'x').await, "hi");
    assert_eq!(ask(server.connect(), b'x').await, "ho");
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_accepted_at_shutdown_is_served() {
    let (ours, theirs) = duplex(8);
    let server = start(10, vec![theirs]);
    let asking = tokio::spawn(ask(ours, b'x'));
    tokio::task::yield_now().await;
    assert_eq!(server.stop().await, Summary { accepted: 1, ..Summary::default() });
    assert_eq!(asking.await.unwrap(), "hi");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_by_its_deadline_and_counts_what_is_left() {
    let server = start(10, vec![]);
    let acceptor = Acceptor {
        services: server.services.subscribe(),
        service: Arc::clone(&server.services.borrow()),
        admission: Arc::clone(&server.admission),
        metrics: Arc::clone(&server.metrics),
        shutdown: server.shutdown.clone(),
        tasks: TaskTracker::new(),
        rejected: TaskTracker::new(),
    };
    // A driver always ends by the drain's deadline; this task never does.
    acceptor.tasks.spawn(std::future::pending::<()>());
    acceptor.tasks.spawn(std::future::ready(()));
    let began = Instant::now();
    server.shutdown.trigger();
    acceptor.drain().await;
    assert_eq!(began.elapsed(), 8 * SECOND);
    assert_eq!(server.metrics.summary(), Summary { aborted: 1, ..Summary::default() });
}

#[tokio::test(start_paused = true)]
async fn a_drain_aborts_what_is_not_finished_and_counts_it() {
    let server = start(10, vec![]);
    let mut partial = server.connect();
    partial.write_all(b"?").await.unwrap();
    let _idle = server.connect();
    sleep(SECOND).await;
    let began = Instant::now();
    assert_eq!(server.stop().await, Summary { accepted: 2, rejected: 0, panicked: 0, aborted: 1 });
    assert!(began.elapsed() <= 8 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_real_listener_gives_up_its_queue_when_it_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let peers: Vec<_> = Listener::close(listener).map(|(_, peer)| peer).collect();
    let expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    assert_eq!(peers, expected);
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens there any more");
}

/// As large as the largest handler of the servers.
struct Large([u64; 5]);

impl Handler for Large {
    const READ_BYTES: usize = 1;

    fn handle(&mut self, _: Event, _: &mut BytesMut, _: &mut BytesMut) -> Progress {
        Progress { replies: self.0[0], wait_for: WaitFor::Request }
    }
}

#[tokio::test]
async fn the_task_of_a_connection_takes_at_most_512_bytes() {
    // The fields of tokio 1.54 beside the future: a header, the scheduler, an ID, a stage and a trailer.
    const TOKIO_BYTES: usize = 112;
    let server = start(1, vec![]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let permit = server.admission.admit(PEER.ip()).unwrap();
    let admitted = Box::new(Admitted { peer: PEER, metrics: Arc::clone(&server.metrics), _permit: permit });
    let timeouts = server.services.borrow().timeouts();
    let task = serve_admitted(stream, Large([0; 5]), timeouts, server.shutdown.clone(), admitted);
    assert!(size_of_val(&task) + TOKIO_BYTES <= 512, "{} bytes", size_of_val(&task));
}
