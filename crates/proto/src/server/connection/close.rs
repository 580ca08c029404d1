//! Closes a connection so that the peer gets every reply.
//!
//! It depends on the buffers in `io` and on the shutdown. If the peer still sends, closing the socket at once makes the
//! kernel send a RST, and a RST discards replies that the peer has not read. So send a FIN first, discard the data that
//! still arrives, then close.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::io::{SCRATCH, poll_read};
use super::stream::Stream;
use crate::server::lifecycle::shutdown::Shutdown;

/// Maximum wait for the peer's FIN.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Maximum bytes discarded with one read.
const DISCARD_CHUNK: usize = 16 * 1024;

/// The longest time between two checks whether the peer has taken its replies.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Closes `stream` so that the peer gets every reply, or none of them is left in the kernel.
///
/// Half-closes it, then discards incoming data until the peer closes too, at most for [`LINGER`]. Then waits until the peer
/// has acknowledged everything, `write_timeout` after the half-close at the latest: the connection counts against the
/// limits until the kernel holds nothing for it. Returns whether the peer has taken everything. Otherwise the close is a
/// reset, except at the drain deadline: the process then ends, and the kernel still delivers the replies.
pub(super) async fn close<S: Stream>(stream: &mut S, write_timeout: Duration, shutdown: &Shutdown) -> bool {
    let half_closed = Instant::now();
    tokio::select! {
        biased;
        () = async {
            half_close(stream, LINGER).await;
            let _ = timeout_at(half_closed + write_timeout, taken(stream)).await;
        } => {}
        () = shutdown.deadline_passed() => return true,
    }
    let is_taken = stream.send_queue().is_empty;
    if !is_taken {
        stream.reset_on_close();
    }
    is_taken
}

/// Half-closes `stream`, then discards incoming data until the peer closes too, at most for `linger`.
pub(crate) async fn half_close<S>(stream: &mut S, linger: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let discard = async {
        stream.shutdown().await?;
        while poll_fn(|cx| poll_discard(stream, cx)).await? > 0 {}
        io::Result::Ok(())
    };
    // The result does not matter: the connection is closed either way. `timeout` elapses even if there is always more
    // data to read; a `sleep` in a select would not be polled then.
    let _ = timeout(linger, discard).await;
}

/// Waits until the peer has acknowledged everything.
///
/// The kernel sends no event for that, so check after a round trip, and then after twice as long each time.
async fn taken<S: Stream>(stream: &S) {
    let mut interval = stream.send_queue().round_trip + Duration::from_millis(1);
    while !stream.send_queue().is_empty {
        sleep(interval).await;
        interval = (interval * 2).min(MAX_CHECK_INTERVAL);
    }
}

/// Half-closes like [`half_close`], but without waiting. Discards at most 128 KiB, more than a new socket has room for.
pub(crate) async fn half_close_now<S>(stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _ = stream.shutdown().await;
    for _ in 0..(128 * 1024 / DISCARD_CHUNK) {
        if !matches!(poll_fn(|cx| poll_discard(stream, cx)).await, Ok(1..)) {
            break;
        }
    }
}

fn poll_discard<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.input.clear();
        poll_read(stream, cx, &mut scratch.input, DISCARD_CHUNK)
    })
}
