//! Closes a connection so that the peer gets every reply.
//!
//! It depends on the buffers in `io` and on the shutdown. If the peer still sends, closing the socket at once makes the
//! kernel send a RST, and a RST discards replies that the peer has not read. So send a FIN first, discard the data that
//! still arrives, then close.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use super::io::SCRATCH;
use super::stream::Stream;
use crate::server::lifecycle::shutdown::Shutdown;

/// Maximum wait for the peer's FIN.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Maximum bytes discarded in one turn. Beside 64 closed connections whose peers send without a pause, the median exchange
/// of other clients took 0.4 to 1.1 ms, that is 7 to 17 µs a turn, and twice as long with 16 KiB.
const DISCARD_TURN: usize = 4 * 1024;

/// Maximum bytes discarded with one read of a close that does not wait.
const DISCARD_CHUNK: usize = 16 * 1024;

/// The longest time between two checks whether the peer has taken its replies.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The longest wait for a peer that takes its replies slowly, in write timeouts.
pub(crate) const MAX_WRITE_TIMEOUTS: u32 = 6;

/// Closes `stream` so that the peer gets every reply, or none of them is left in the kernel.
///
/// Half-closes it, then discards incoming data until the peer closes too, at most for [`LINGER`]. Then waits until the peer
/// has acknowledged everything, as long as it acknowledges something within each `write_timeout`, and at most for
/// [`MAX_WRITE_TIMEOUTS`]: the connection counts against the limits until the kernel holds nothing for it. Returns whether
/// the peer has taken everything. Otherwise the close is a reset, except at the drain deadline: the process then ends, and
/// the kernel still delivers the replies.
pub(crate) async fn close<S: Stream>(stream: &mut S, write_timeout: Duration, shutdown: &Shutdown) -> bool {
    let half_closed = Instant::now();
    let acknowledged = stream.send_queue().acknowledged;
    let is_taken = tokio::select! {
        biased;
        is_taken = async {
            half_close(stream, LINGER).await;
            let is_taken = wait_until_taken(stream, acknowledged, half_closed, write_timeout).await;
            if S::HAS_END_MESSAGE && is_taken {
                // The socket may have had no room for the message until now.
                let _ = timeout(LINGER, stream.shutdown()).await;
            }
            is_taken
        } => is_taken,
        () = shutdown.deadline_passed() => return true,
    };
    if !is_taken {
        stream.reset_on_close();
    }
    is_taken
}

/// Half-closes `stream`, then discards incoming data until the peer closes too, at most for `linger`.
pub(crate) async fn half_close<S>(stream: &mut S, linger: Duration)
where
    S: Stream,
{
    let discard = async {
        stream.shutdown().await?;
        while poll_fn(|cx| poll_discard(stream, cx, DISCARD_TURN)).await? > 0 {
            // A peer that sends without a pause takes turns with the other connections of the thread.
            yield_now().await;
        }
        io::Result::Ok(())
    };
    // The result does not matter: the connection is closed either way.
    let _ = timeout(linger, discard).await;
}

/// Waits until the peer has acknowledged everything, or acknowledges nothing for a write timeout. Returns whether it has
/// acknowledged everything. `acknowledged` is the number of bytes that it had acknowledged at the half-close.
///
/// The kernel sends no event for that, so check after a round trip, and then after twice as long each time.
async fn wait_until_taken<S: Stream>(
    stream: &S,
    mut acknowledged: u64,
    half_closed: Instant,
    write_timeout: Duration,
) -> bool {
    let mut interval = stream.send_queue().round_trip + Duration::from_millis(1);
    let mut progress = half_closed;
    loop {
        let queue = stream.send_queue();
        let now = Instant::now();
        if queue.is_empty {
            return true;
        }
        if queue.acknowledged != acknowledged {
            (acknowledged, progress) = (queue.acknowledged, now);
        }
        let deadline = (progress + write_timeout).min(half_closed + write_timeout * MAX_WRITE_TIMEOUTS);
        if deadline <= now {
            return false;
        }
        sleep_until(deadline.min(now + interval)).await;
        interval = (interval * 2).min(MAX_CHECK_INTERVAL);
    }
}

/// Half-closes like [`half_close`], but without waiting. Discards at most 128 KiB, more than a new socket has room for.
pub(crate) async fn half_close_now<S>(stream: &mut S)
where
    S: Stream,
{
    let _ = stream.shutdown().await;
    for _ in 0..(128 * 1024 / DISCARD_CHUNK) {
        if !matches!(poll_fn(|cx| poll_discard(stream, cx, DISCARD_CHUNK)).await, Ok(1..)) {
            break;
        }
    }
}

fn poll_discard<S: Stream>(stream: &mut S, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.input.clear();
        stream.poll_append(cx, &mut scratch.input, limit)
    })
}
