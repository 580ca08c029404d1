//! The interface between a connection and its protocol handler. No I/O, no clock.
//!
//! Most handlers reply to a request in the call that reads it. A handler that has to wait for something else, such as a
//! second player, returns [`WaitFor::Reply`]: the driver then reads nothing more until
//! [`poll_reply`](Handler::poll_reply) is ready or the deadline has passed, and delivers [`Event::ReplyReady`].

use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::time::Instant;

/// The protocol of one connection: events in, bytes and what to wait for out.
pub trait Handler: Send + 'static {
    /// The most bytes that one read takes. The replies to that many bytes are the most that the server holds for a
    /// peer that reads nothing.
    const READ_BYTES: usize;

    /// Takes whole requests from `input` and appends their replies to `output`.
    ///
    /// The driver keeps the rest of `input` for the next call, and drops it at [`Event::Eof`].
    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress;

    /// Polls, after [`WaitFor::Reply`], for the reply that comes from elsewhere; [`Event::ReplyReady`] collects it.
    ///
    /// The default never becomes ready, for handlers that never wait for a reply.
    fn poll_reply(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes were read.
    Data,
    /// No more bytes were read for `settle` after a whole request.
    Settled,
    /// A whole request did not arrive within its timeout.
    RequestTimeout,
    /// The peer closed its sending half.
    Eof,
    /// The reply that comes from elsewhere is ready, or its deadline has passed.
    ReplyReady,
    /// The server drains and waits no longer for the reply that comes from elsewhere.
    Shutdown,
}

/// The result of handling one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests that were replied to.
    pub replies: u64,
    /// The next thing that the handler needs.
    pub wait_for: WaitFor,
}

/// The next thing that a handler needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A request, of which no byte has been read.
    Request,
    /// The rest of a request.
    MoreData,
    /// More bytes of what already reads as a whole request, or silence.
    Settle,
    /// A reply that comes from elsewhere, until `deadline`.
    Reply {
        /// When [`Event::ReplyReady`] is delivered at the latest.
        deadline: Instant,
    },
    /// Nothing: the connection closes once its replies are written.
    Close,
}
