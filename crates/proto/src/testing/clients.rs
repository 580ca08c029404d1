//! Clients that send without end, on a separate thread.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::nonblocking::connect;
use super::program::ServerProcess;
use super::{TEST_TIMEOUT, eventually};

/// Clients of one kind.
#[derive(Debug)]
pub struct Clients {
    /// The progress of each client: its exchanges, or its reads.
    progress: Arc<[AtomicUsize]>,
    stop: CancellationToken,
    thread: JoinHandle<Vec<Duration>>,
}

impl Clients {
    /// Starts clients that send `requests` repeatedly, and read all replies in the meantime.
    pub fn flood(address: SocketAddr, count: usize, requests: &str) -> Self {
        let requests: Arc<[u8]> = requests.as_bytes().into();
        Self::start(count, move |progress| {
            let requests = Arc::clone(&requests);
            async move {
                let (mut read, mut write) = connect(address).await.into_split();
                let sending = async {
                    loop {
                        write.write_all(&requests).await.unwrap();
                    }
                };
                let mut replies = vec![0; 64 * 1024];
                let reading = async {
                    loop {
                        assert!(read.read(&mut replies).await.unwrap() > 0, "the server closed a connection");
                        progress.count();
                    }
                };
                tokio::join!(sending, reading).0;
            }
        })
    }

    /// Starts clients that repeatedly send `request` and read a reply of `reply_bytes` bytes, which `is_reply` must accept.
    pub fn ping_pong(
        address: SocketAddr,
        count: usize,
        request: &'static str,
        reply_bytes: usize,
        is_reply: fn(&[u8]) -> bool,
    ) -> Self {
        Self::start(count, move |mut progress| async move {
            let mut stream = connect(address).await;
            let mut reply = vec![0; reply_bytes];
            loop {
                let started = Instant::now();
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.read_exact(&mut reply).await.unwrap();
                progress.durations.push(started.elapsed());
                assert!(is_reply(&reply), "{reply:?}");
                progress.count();
            }
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        count: usize,
        client: impl Fn(Progress) -> F + Send + 'static,
    ) -> Self {
        let progress: Arc<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::default()).collect();
        let stop = CancellationToken::new();
        let (counts, stopped) = (Arc::clone(&progress), stop.clone());
        let thread = thread::spawn(move || {
            let (sender, durations) = std::sync::mpsc::channel();
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut clients = JoinSet::new();
                for number in 0..count {
                    let counts = Arc::clone(&counts);
                    clients.spawn(client(Progress { number, counts, durations: Vec::new(), sender: sender.clone() }));
                }
                tokio::select! {
                    () = stopped.cancelled() => {}
                    // A client ends only by a panic.
                    Some(ended) = clients.join_next() => ended.unwrap(),
                }
                clients.shutdown().await;
            });
            drop(sender);
            durations.into_iter().flatten().collect()
        });
        Self { progress, stop, thread }
    }

    /// Returns the progress of the slowest client.
    pub fn least_progress(&self) -> usize {
        self.progress.iter().map(|progress| progress.load(Ordering::Relaxed)).min().unwrap_or_default()
    }

    /// Makes health checks for five seconds while ping-pong clients run, prints the durations of both, and checks that the
    /// median exchange and 99 % of the health checks take less than `limit`.
    pub fn measure(self, server: &ServerProcess, name: &str, limit: Duration) {
        let (begun, mut checks) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_secs(5) {
            let started = Instant::now();
            assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
            checks.push(started.elapsed());
            // Without a pause, the checks would take much of the machine themselves.
            thread::sleep(Duration::from_millis(5));
        }
        checks.sort_unstable();
        assert!(eventually(TEST_TIMEOUT, || self.least_progress() > 0), "{name}: a client got no reply");
        let exchanges = self.stop();
        let (p50, p99) = (exchanges[exchanges.len() / 2], exchanges[exchanges.len() * 99 / 100]);
        let (check_p50, check_p99) = (checks[checks.len() / 2], checks[checks.len() * 99 / 100]);
        println!(
            "{name}: {} exchanges, p50 {p50:?}, p99 {p99:?}; /healthz p50 {check_p50:?}, p99 {check_p99:?}",
            exchanges.len()
        );
        assert!(p50 < limit && check_p99 < limit, "{name}: p50 {p50:?}, /healthz p99 {check_p99:?}");
    }

    /// Closes their connections. Returns the durations of the exchanges in ascending order.
    pub fn stop(self) -> Vec<Duration> {
        self.stop.cancel();
        let mut durations = self.thread.join().expect("every client gets its replies");
        durations.sort_unstable();
        durations
    }
}

/// The progress of one client. Dropping it hands over the durations.
struct Progress {
    number: usize,
    counts: Arc<[AtomicUsize]>,
    durations: Vec<Duration>,
    sender: std::sync::mpsc::Sender<Vec<Duration>>,
}

impl Progress {
    fn count(&self) {
        self.counts[self.number].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // The receiver is there for longer than the clients.
        let _ = self.sender.send(std::mem::take(&mut self.durations));
    }
}
