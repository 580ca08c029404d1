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
use tokio::time::timeout;

use super::io::{SCRATCH, poll_read};
use crate::server::lifecycle::shutdown::Shutdown;

/// Maximum wait for the peer's FIN.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Maximum bytes discarded with one read.
const DISCARD_CHUNK: usize = 16 * 1024;

/// Half-closes `stream`, then discards incoming data until the peer closes too, `linger` has elapsed, or the drain
/// deadline has passed.
pub(crate) async fn close<S>(stream: &mut S, linger: Duration, shutdown: &Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let discard = async {
        stream.shutdown().await?;
        while poll_fn(|cx| poll_discard(stream, cx)).await? > 0 {}
        io::Result::Ok(())
    };
    // The result does not matter: the connection is closed either way. `timeout` elapses even if there is always more
    // data to read; a `sleep` in the select would not be polled then.
    tokio::select! {
        biased;
        _ = timeout(linger, discard) => {}
        () = shutdown.deadline_passed() => {}
    }
}

/// Closes like [`close`], but without waiting. Discards at most the receive buffer of a new socket (128 KiB, tcp(7),
/// `tcp_rmem`).
pub(crate) async fn close_now<S>(stream: &mut S)
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
