//! The close of a connection from this side, so that the peer gets every reply.
//!
//! While the peer may still send, closing the socket could answer its bytes with a reset, and a reset discards replies
//! that the peer has not read. So: end the own half, discard what still arrives, then close.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::io::{SCRATCH, poll_read};
use crate::server::lifecycle::shutdown::Shutdown;

/// How long a close waits for the peer's own.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Bytes discarded with one read.
const DISCARD_CHUNK: usize = 16 * 1024;

/// Ends the own half of `stream`, then discards what the peer still sends, until the peer closes too, `linger` is over,
/// or the shutdown's deadline has passed.
pub(crate) async fn close<S>(stream: &mut S, linger: Duration, shutdown: &Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let discard = async {
        stream.shutdown().await?;
        while poll_fn(|cx| poll_discard(stream, cx)).await? > 0 {}
        io::Result::Ok(())
    };
    // The result does not matter: the connection is over either way. `timeout` fires even if there is always more to
    // read, where a `sleep` beside it in the select would not be polled.
    tokio::select! {
        biased;
        _ = timeout(linger, discard) => {}
        () = shutdown.deadline_passed() => {}
    }
}

/// As [`close`], but discards at most what the receive buffer of a new socket holds (128 KiB, tcp(7), `tcp_rmem`), and
/// does not wait.
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
