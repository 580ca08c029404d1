//! Shutdown: told once, heard everywhere, and over by a deadline.
//!
//! Three steps: a signal [begins](Shutdown::begin) it, every listener and connection hears of it and ends what it does,
//! and whoever waits for them waits no longer than the limit.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long before the end of a drain its deadline is.
const LETTING_GO: Duration = Duration::from_millis(100);

/// A handle to the shutdown that its clones share.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: CancellationToken,
    begun_at: Arc<OnceLock<Instant>>,
    limit: Duration,
}

impl Shutdown {
    /// A shutdown that has not begun, and that takes no longer than `limit` once it has.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { begun: CancellationToken::new(), begun_at: Arc::default(), limit }
    }

    /// Begins `self` at the first SIGTERM or SIGINT and ends the process at the second.
    ///
    /// The handlers are in place when this returns; as PID 1 of a container a process gets no default ones.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn begin_on_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let first = next_of(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first.name, limit = ?shutdown.limit, "draining; a second signal ends it at once");
            shutdown.begin();
            let second = next_of(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = second.name, "ended at once by a second signal");
            std::process::exit(second.exit_code);
        });
        Ok(())
    }

    /// Begins the shutdown; more than once is as good as once.
    pub fn begin(&self) {
        self.begun_at.get_or_init(Instant::now);
        self.begun.cancel();
    }

    /// When the shutdown began, if it has.
    #[must_use]
    pub fn begun_at(&self) -> Option<Instant> {
        self.begun_at.get().copied()
    }

    /// When it is over, if it has begun.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.begun_at().map(|begun_at| begun_at + self.limit)
    }

    /// When what is not done yet has to be let go of, if it has begun: a moment before the end, so that it is counted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.end().map(|end| end - LETTING_GO.min(self.limit / 10))
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits until what is not done yet has to be let go of.
    pub async fn deadline_passed(&self) {
        self.begun().await;
        if let Some(deadline) = self.deadline() {
            sleep_until(deadline).await;
        }
    }
}

/// A signal by its name, and the exit code that a shell gives a process which it ended: 128 and its number.
struct Ending {
    name: &'static str,
    exit_code: i32,
}

async fn next_of(terminate: &mut Signal, interrupt: &mut Signal) -> Ending {
    tokio::select! {
        _ = terminate.recv() => Ending { name: "SIGTERM", exit_code: 143 },
        _ = interrupt.recv() => Ending { name: "SIGINT", exit_code: 130 },
    }
}
