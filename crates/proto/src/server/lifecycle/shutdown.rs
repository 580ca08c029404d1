//! Shutdown: told once, heard everywhere, and over by a deadline.
//!
//! Three steps: a signal [begins](Shutdown::trigger) it, every listener and connection hears of it and ends what it does,
//! and whoever waits for them waits no longer than the limit.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// How long before the end of a drain its deadline is.
const ABORT_MARGIN: Duration = Duration::from_millis(100);

/// A handle to the shutdown that its clones share.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<ShutdownState>);

#[derive(Debug)]
struct ShutdownState {
    begun: CancellationToken,
    started_at: OnceLock<Instant>,
    /// In milliseconds, the unit in which it is configured at the least.
    limit: AtomicU64,
}

impl Shutdown {
    /// A shutdown that has not begun, and that takes no longer than `limit` once it has.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let begun = CancellationToken::new();
        let shutdown =
            Self(Arc::new(ShutdownState { begun, started_at: OnceLock::new(), limit: AtomicU64::default() }));
        shutdown.set_limit(limit);
        shutdown
    }

    /// Has it take no longer than `limit`.
    pub fn set_limit(&self, limit: Duration) {
        self.0.limit.store(limit.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.0.limit.load(Ordering::Relaxed))
    }

    /// Begins it at the first SIGTERM or SIGINT, and waits for the second, which gives the exit code of a process that
    /// is to end at once: what a shell gives one which the signal has ended, 128 and its number.
    ///
    /// The handlers are in place when this is called, and not only when it is awaited; as PID 1 of a container a process
    /// gets no default ones.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn handle_signals(&self) -> io::Result<impl Future<Output = u8> + use<>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        Ok(async move {
            let (first, _) = next_of(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first, timeout = ?shutdown.limit(), "draining; a second signal aborts");
            shutdown.trigger();
            let (second, exit_code) = next_of(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = second, "aborted by second signal");
            exit_code
        })
    }

    /// Begins the shutdown; more than once is as good as once.
    pub fn trigger(&self) {
        self.0.started_at.get_or_init(Instant::now);
        self.0.begun.cancel();
    }

    /// When the shutdown began, if it has.
    #[must_use]
    pub fn started_at(&self) -> Option<Instant> {
        self.0.started_at.get().copied()
    }

    /// When it is over, if it has begun.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.started_at().map(|started_at| started_at + self.limit())
    }

    /// When what is not done yet has to be let go of, if it has begun: a moment before the end, so that it is counted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.end().map(|end| end - ABORT_MARGIN.min(self.limit() / 10))
    }

    /// Waits until it begins.
    pub fn triggered(&self) -> WaitForCancellationFuture<'_> {
        self.0.begun.cancelled()
    }

    /// Waits until what is not done yet has to be let go of.
    pub async fn deadline_passed(&self) {
        self.triggered().await;
        if let Some(deadline) = self.deadline() {
            sleep_until(deadline).await;
        }
    }
}

/// The next signal's name, and its exit code.
async fn next_of(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, u8) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 143),
        _ = interrupt.recv() => ("SIGINT", 130),
    }
}
