//! Clients that go on while a server is restarted. They count replies, closed connections and failures.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::inherited::RestartedServer;
use super::{TEST_TIMEOUT, eventually};

/// A request and its replies, which have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The bytes of the request.
    pub request: &'static [u8],
    /// All correct replies.
    pub replies: &'static [&'static [u8]],
}

/// How a client uses its connections.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    /// A connection for each request, which a half-close ends. The request follows the connect after this time.
    Short(Duration),
    /// Requests on one connection, with this pause after each reply, until the server closes it.
    KeepAlive(Duration),
}

/// The outcome of the connections and requests of some clients.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests with a correct reply.
    pub replies: usize,
    /// Of these, the moves of a duel that were void.
    pub voids: usize,
    /// Connections that the server closed between a reply and the next request.
    pub closed: usize,
    /// Requests that crossed such a close: not the first one of a connection, and without any reply.
    pub crossed: usize,
    /// Whether a request has been sent that has no reply yet.
    pub in_flight: bool,
    /// Whether this request was received before SIGTERM, so that no close can cross it.
    pub must_reply: bool,
    /// Everything else that went wrong.
    pub failures: Vec<String>,
    /// The longest time from connect to an established connection.
    pub slowest_connect: Duration,
    /// The longest time from a request to its reply.
    pub slowest_reply: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} replies ({} void), {} connections closed after a reply, {} requests crossed the close, {} failures, \
             slowest connect {:?}, slowest reply {:?}",
            self.replies,
            self.voids,
            self.closed,
            self.crossed,
            self.failures.len(),
            self.slowest_connect,
            self.slowest_reply
        )
    }
}

/// Running clients.
#[derive(Debug)]
pub struct RestartLoad {
    usage: Use,
    outcomes: Vec<Arc<Mutex<Outcome>>>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl RestartLoad {
    /// Starts `count` clients.
    pub fn start(address: SocketAddr, count: usize, exchange: Exchange, usage: Use) -> Self {
        let outcomes: Vec<Arc<Mutex<Outcome>>> = (0..count).map(|_| Arc::default()).collect();
        let stop = CancellationToken::new();
        let clients: Vec<_> = outcomes.iter().map(Arc::clone).collect();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut tasks = JoinSet::new();
                for outcome in clients {
                    tasks.spawn(Client { address, exchange, outcome }.run(usage));
                }
                stopped.cancelled().await;
                tasks.shutdown().await;
            });
        });
        Self { usage, outcomes, stop, thread }
    }

    /// Waits until each client has this many replies more.
    pub fn wait_for_replies(&self, more: usize) {
        let replies = || self.outcomes.iter().map(|outcome| outcome.lock().unwrap().replies).collect::<Vec<_>>();
        let before = replies();
        let is_done = || replies().iter().zip(&before).all(|(now, before)| *now >= before + more);
        assert!(eventually(TEST_TIMEOUT, is_done), "a client gets no replies: {before:?}, {:?}", replies());
    }

    /// Waits until each client with keep-alive has sent a request to a server that is stopped, which has to reply to
    /// all of them. A client of short connections may wait for a FIN instead, and none of its requests may be lost at
    /// all.
    fn expect_replies_in_flight(&self) {
        if matches!(self.usage, Use::Short(_)) {
            return;
        }
        let in_flight = || self.outcomes.iter().all(|outcome| outcome.lock().unwrap().in_flight);
        assert!(eventually(TEST_TIMEOUT, in_flight), "a client sends no request");
        for outcome in &self.outcomes {
            outcome.lock().unwrap().must_reply = true;
        }
    }

    /// Ends the clients, and returns the sum of their outcomes.
    pub fn stop(self) -> Outcome {
        self.stop.cancel();
        self.thread.join().expect("no client panics");
        let mut sum = Outcome::default();
        for outcome in self.outcomes {
            let outcome = outcome.lock().unwrap();
            sum.replies += outcome.replies;
            sum.voids += outcome.voids;
            sum.closed += outcome.closed;
            sum.crossed += outcome.crossed;
            sum.failures.extend(outcome.failures.iter().cloned());
            sum.slowest_connect = sum.slowest_connect.max(outcome.slowest_connect);
            sum.slowest_reply = sum.slowest_reply.max(outcome.slowest_reply);
        }
        sum
    }
}

/// Restarts a server under these loads, each with its name. Prints their outcomes and checks that no request is lost.
///
/// A connection is closed at most once a restart. A request that crosses that close is the race of every protocol with
/// keep-alive connections: the client sends it again. To tell it from a lost request, every second restart is one of a
/// stopped process: all requests in flight are then older than SIGTERM, and each one needs its reply.
pub fn restart_under_load(server: &mut RestartedServer, restarts: usize, loads: Vec<(&str, RestartLoad)>) {
    let mut slowest = Duration::ZERO;
    for number in 0..restarts {
        for (_, load) in &loads {
            load.wait_for_replies(3);
        }
        if number % 2 == 0 {
            slowest = slowest.max(server.restart());
        } else {
            server.stop_process();
            for (_, load) in &loads {
                load.expect_replies_in_flight();
            }
            server.begin_restart_of_stopped();
            server.wait_until_ready();
        }
    }
    for (_, load) in &loads {
        load.wait_for_replies(3);
    }
    println!("{restarts} restarts, the slowest in {slowest:?}");
    for (name, load) in loads {
        let connections = load.outcomes.len();
        let outcome = load.stop();
        println!("{name}: {connections} clients, {outcome}");
        assert_eq!(outcome.failures, [""; 0], "{name}");
        assert!(outcome.closed + outcome.crossed <= restarts * connections, "{name}: {outcome}");
        // A move is void only if the server stops before the other player moves.
        assert!(outcome.voids <= restarts * connections, "{name}: {outcome}");
    }
}

struct Client {
    address: SocketAddr,
    exchange: Exchange,
    outcome: Arc<Mutex<Outcome>>,
}

/// The reason for a missing reply.
enum NoReply {
    /// The server has closed or reset the connection before any byte of the reply.
    Closed(String),
    Failed(String),
}

impl Client {
    async fn run(self, usage: Use) {
        loop {
            let Some(stream) = self.connect().await else {
                // Without this, a server that refuses would keep the thread from its other clients.
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            match usage {
                Use::Short(think) => self.use_once(stream, think).await,
                Use::KeepAlive(pause) => self.use_until_closed(stream, pause).await,
            }
        }
    }

    fn fail(&self, text: String) {
        let mut outcome = self.outcome.lock().unwrap();
        // Enough to see what happens; a server that is gone fails thousands of times a second.
        if outcome.failures.len() < 100 {
            outcome.failures.push(text);
        }
    }

    async fn connect(&self) -> Option<TcpStream> {
        let started = Instant::now();
        match timeout(TEST_TIMEOUT, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).unwrap();
                let mut outcome = self.outcome.lock().unwrap();
                outcome.slowest_connect = outcome.slowest_connect.max(started.elapsed());
                Some(stream)
            }
            Ok(Err(error)) => {
                self.fail(format!("connect: {error}"));
                None
            }
            Err(_) => {
                self.fail(format!("connect: not within {TEST_TIMEOUT:?}"));
                None
            }
        }
    }

    async fn use_once(&self, mut stream: TcpStream, think: Duration) {
        if !think.is_zero() {
            sleep(think).await;
        }
        match self.request(&mut stream, true).await {
            Ok(()) => match timeout(TEST_TIMEOUT, stream.read(&mut [0])).await {
                Ok(Ok(0)) => {}
                end => self.fail(format!("after a reply: {end:?}")),
            },
            Err(NoReply::Closed(how)) => self.fail(format!("no reply: {how}")),
            Err(NoReply::Failed(text)) => self.fail(text),
        }
    }

    async fn use_until_closed(&self, mut stream: TcpStream, pause: Duration) {
        for number in 0.. {
            match self.request(&mut stream, false).await {
                Ok(()) => {}
                Err(NoReply::Closed(_)) if number > 0 && !self.outcome.lock().unwrap().must_reply => {
                    self.outcome.lock().unwrap().crossed += 1;
                    return;
                }
                Err(NoReply::Closed(how)) => return self.fail(format!("no reply to request {number}: {how}")),
                Err(NoReply::Failed(text)) => return self.fail(text),
            }
            match timeout(pause, stream.read(&mut [0])).await {
                Err(_) => {}
                Ok(Ok(0)) => {
                    self.outcome.lock().unwrap().closed += 1;
                    return;
                }
                Ok(end) => return self.fail(format!("between two requests: {end:?}")),
            }
        }
    }

    async fn request(&self, stream: &mut TcpStream, half_close: bool) -> Result<(), NoReply> {
        let Exchange { request, replies } = self.exchange;
        let mut reply = vec![0; replies[0].len()];
        let started = Instant::now();
        let exchange = async {
            let sent = stream.write_all(request).await;
            if half_close && sent.is_ok() {
                // The read below returns the error if the connection is reset.
                let _ = stream.shutdown().await;
            }
            self.outcome.lock().unwrap().in_flight = sent.is_ok();
            let mut received = 0;
            while received < reply.len() {
                match stream.read(&mut reply[received..]).await {
                    Ok(0) => return Err((received, "EOF".to_owned())),
                    Ok(count) => received += count,
                    Err(error) => return Err((received, error.to_string())),
                }
            }
            Ok(())
        };
        let ended = timeout(TEST_TIMEOUT, exchange).await;
        let took = started.elapsed();
        self.outcome.lock().unwrap().in_flight = false;
        match ended {
            Ok(Ok(())) if replies.contains(&&reply[..]) => {
                let mut outcome = self.outcome.lock().unwrap();
                outcome.replies += 1;
                outcome.must_reply = false;
                outcome.voids += usize::from(reply == b"v");
                outcome.slowest_reply = outcome.slowest_reply.max(took);
                Ok(())
            }
            Ok(Ok(())) => Err(NoReply::Failed(format!("a wrong reply: {:?}", reply.escape_ascii().to_string()))),
            Ok(Err((0, how))) => Err(NoReply::Closed(how)),
            Ok(Err((received, how))) => Err(NoReply::Failed(format!("{how} after {received} bytes of a reply"))),
            Err(_) => Err(NoReply::Failed(format!("{:?}: no reply within {TEST_TIMEOUT:?}", ErrorKind::TimedOut))),
        }
    }
}
