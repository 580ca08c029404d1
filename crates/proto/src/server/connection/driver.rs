//! The driver of a connection: one loop that carries bytes between a stream and a [`Handler`].
//!
//! The [timer](super::timer) decides what happens next, `ConnectionIo` does it, and the handler says what to wait
//! for. Each of them can be read alone.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::close_reason::CloseReason;
use super::handler::{Event, Handler, WaitFor};
use super::io::ConnectionIo;
use super::metrics::ConnectionMetrics;
use super::stream::Stream;
use super::timer::{ConnectionTimeouts, ConnectionTimer, Step};
use crate::server::lifecycle::shutdown::Shutdown;

/// Serves one connection until it ends.
///
/// Replies are not flushed: a stream that buffers writes is not supported. `metrics` counts the time of each reply, from
/// the moment when everything that it needs was there.
///
/// The future is the memory of an idle connection, so it is kept small: arguments are used where they are captured,
/// because an `async` block stores what it moves twice; locals that are not needed across an `await` are neither borrowed
/// nor in scope there; what only few connections need is boxed. A test counts the bytes.
pub fn run<S, H>(
    stream: S,
    handler: H,
    timeouts: Arc<ConnectionTimeouts>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: Shutdown,
) -> impl Future<Output = CloseReason> + Send + use<S, H>
where
    S: Stream,
    H: Handler,
{
    let mut io = ConnectionIo::new(stream, handler);
    let mut timer = ConnectionTimer::new(&timeouts, Instant::now());
    async move {
        let mut alarm = pin!(sleep_until(timer.idle_deadline()));
        // Boxed: the allocator has room for it behind the task, whose size it rounds up.
        let mut triggered = Box::pin(shutdown.triggered().fuse());
        let mut now = timer.last_progress();
        let reason = loop {
            let done = {
                let waited = match timer.step(now, &timeouts, &shutdown) {
                    Step::Wait(deadline) => {
                        if is_too_late(alarm.deadline(), deadline, now) {
                            alarm.as_mut().reset(deadline);
                        }
                        if timer.waits_for_reply() {
                            io.wait_reply(triggered.as_mut(), alarm.as_mut()).await
                        } else {
                            io.wait_data(triggered.as_mut(), alarm.as_mut()).await
                        }
                    }
                    Step::Deliver(event) => io.deliver(event).await,
                    Step::FinalRead => {
                        // Requests that the peer has sent by now are in time. The runtime asks the kernel
                        // for it while this task yields.
                        yield_now().await;
                        match io.read_now().await {
                            Ok(None) => break CloseReason::Drained,
                            waited => waited,
                        }
                    }
                    Step::CloseIdle => break CloseReason::Idle,
                    Step::Abort => return CloseReason::Aborted,
                };
                match waited {
                    Ok(Some(done)) => done,
                    Ok(None) => {
                        now = Instant::now();
                        continue;
                    }
                    Err(error) => return CloseReason::Io(error),
                }
            };
            let done = match io.unsent.take() {
                None => done,
                Some(unsent) => match io.flush(unsent, done, timeouts.write, &shutdown).await {
                    Ok(done) => done,
                    Err(reason) => return reason,
                },
            };
            now = Instant::now();
            done.observe(&metrics.latency, timer.last_progress(), now);
            match (done.event, done.progress.wait_for) {
                (Event::Eof, _) => return CloseReason::PeerClosed,
                (Event::RequestTimeout, _) => break CloseReason::RequestTimeout,
                (_, WaitFor::Close) => break CloseReason::Finished,
                _ => timer.on_progress(&done, &timeouts, now),
            }
        };
        io.close(reason, &shutdown).await
    }
}

/// Whether an alarm has to be reset for `deadline`. Most deadlines move before they pass, so an alarm that is too early
/// is left as it is until it fires, since resetting it takes a lock.
fn is_too_late(alarm: Instant, deadline: Instant, now: Instant) -> bool {
    deadline < alarm || alarm <= now
}

#[cfg(test)]
mod tests;
