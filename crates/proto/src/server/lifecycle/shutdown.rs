//! The shutdown of a server: a drain with a deadline.
//!
//! It depends on `service_manager`. A signal [triggers](Shutdown::trigger) the shutdown. Every listener and connection
//! then finishes its work; connections that are not finished at the [deadline](Shutdown::deadline) are aborted, and the
//! server stops at the [end](Shutdown::end) of the drain timeout.

use std::future::{Future, pending};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::server::lifecycle::service_manager::ServiceManager;

/// Maximum time between the deadline of a drain and its end, in which aborted connections are counted.
const ABORT_MARGIN: Duration = Duration::from_millis(100);

/// A signal that follows the first one within this time is a part of the same request: timeout(1) of GNU sends SIGTERM
/// to its child and then to the process group, and a shell and a terminal can both pass a signal on.
const REPEAT_WINDOW: Duration = Duration::from_millis(200);

/// A handle to a shutdown. Clones share the shutdown.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<ShutdownState>);

#[derive(Debug)]
struct ShutdownState {
    token: CancellationToken,
    started_at: OnceLock<Instant>,
    /// The drain timeout in milliseconds. The smallest value that can be configured is 1 ms.
    timeout_ms: AtomicU64,
}

impl Shutdown {
    /// Creates a shutdown that is not triggered yet, with this drain timeout.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let shutdown = Self(Arc::new(ShutdownState {
            token: CancellationToken::new(),
            started_at: OnceLock::new(),
            timeout_ms: AtomicU64::default(),
        }));
        shutdown.set_timeout(timeout);
        shutdown
    }

    /// Sets the drain timeout.
    pub fn set_timeout(&self, timeout: Duration) {
        self.0.timeout_ms.store(timeout.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.timeout_ms.load(Ordering::Relaxed))
    }

    /// Installs handlers for SIGTERM and SIGINT. The first signal notifies the service manager and triggers the
    /// shutdown. The returned future ends at the first signal after [`REPEAT_WINDOW`], with the exit code of a process
    /// killed by that signal, which is 128 plus the signal's number.
    ///
    /// The handlers are installed by this call, not when the future is first polled. They are needed in a container
    /// too: the kernel's default actions do not apply to PID 1.
    ///
    /// # Errors
    ///
    /// Fails if the handlers cannot be installed.
    pub(crate) fn handle_signals(&self, manager: ServiceManager) -> io::Result<impl Future<Output = u8> + use<>> {
        let mut signals = signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = self.clone();
        Ok(async move {
            // The stream has no end.
            let Some((first, _)) = signals.next().await else { return pending().await };
            let first_at = Instant::now();
            tracing::info!(signal = first, timeout = ?shutdown.timeout(), "draining; a second signal aborts");
            // From here on, no reload begins.
            shutdown.0.started_at.get_or_init(Instant::now);
            // Before the trigger, because a drain without connections may end the process at once.
            manager.stopping();
            shutdown.trigger();
            let Some((second, exit_code)) = next_after_repeats(first_at, &mut signals).await else {
                return pending().await;
            };
            tracing::warn!(signal = second, "aborted by second signal");
            exit_code
        })
    }

    /// Starts the shutdown. Further calls have no effect.
    pub fn trigger(&self) {
        self.0.started_at.get_or_init(Instant::now);
        self.0.token.cancel();
    }

    /// Returns when the shutdown started, if it has.
    #[must_use]
    pub fn started_at(&self) -> Option<Instant> {
        self.0.started_at.get().copied()
    }

    /// Returns when the drain timeout is over, if the shutdown has started.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.started_at().map(|started_at| started_at + self.timeout())
    }

    /// Returns when unfinished connections are aborted, if the shutdown has started: 100 ms before the end, or a tenth
    /// of the drain timeout if that is shorter.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.end().map(|end| end - ABORT_MARGIN.min(self.timeout() / 10))
    }

    /// Waits until the shutdown starts.
    pub fn triggered(&self) -> WaitForCancellationFuture<'_> {
        self.0.token.cancelled()
    }

    /// Waits until the [deadline](Self::deadline).
    pub async fn deadline_passed(&self) {
        self.triggered().await;
        if let Some(deadline) = self.deadline() {
            sleep_until(deadline).await;
        }
    }
}

/// Returns the signals as they arrive, each with its name and its exit code.
fn signals(mut terminate: Signal, mut interrupt: Signal) -> impl Stream<Item = (&'static str, u8)> + Unpin {
    stream::poll_fn(move |cx| {
        if terminate.poll_recv(cx).is_ready() {
            Poll::Ready(Some(("SIGTERM", 143)))
        } else {
            interrupt.poll_recv(cx).map(|_| Some(("SIGINT", 130)))
        }
    })
}

/// Waits for the first signal that is no repetition of the one at `first_at`.
async fn next_after_repeats<S>(first_at: Instant, signals: &mut S) -> Option<(&'static str, u8)>
where
    S: Stream<Item = (&'static str, u8)> + Unpin,
{
    loop {
        let (signal, exit_code) = signals.next().await?;
        if first_at.elapsed() >= REPEAT_WINDOW {
            return Some((signal, exit_code));
        }
        tracing::debug!(signal, "repeated signal ignored");
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_signal_after_200_ms_is_a_second_one() {
        let first_at = Instant::now();
        // The times of the signals in milliseconds after the first one.
        let signals = [(0, ("SIGTERM", 143)), (20, ("SIGINT", 130)), (199, ("SIGTERM", 143)), (201, ("SIGINT", 130))];
        let mut signals = pin!(stream::iter(signals).then(async |(at, signal)| {
            sleep_until(first_at + Duration::from_millis(at)).await;
            signal
        }));
        assert_eq!(next_after_repeats(first_at, &mut signals).await, Some(("SIGINT", 130)));
        assert_eq!(first_at.elapsed(), Duration::from_millis(201));
    }
}
