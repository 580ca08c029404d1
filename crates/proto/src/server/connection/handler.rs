//! The interface between a connection and its protocol handler. Of other modules, it depends on a type of `observe`; no
//! I/O, no clock.
//!
//! Most handlers reply to a request in the call that reads it. A handler that has to wait for something else, such as a
//! second player, returns [`WaitFor::Reply`]: the driver then reads nothing more until
//! [`poll_reply`](Handler::poll_reply) is ready or the deadline has passed, and delivers [`Event::ReplyReady`].

use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::time::Instant;

pub use crate::server::observe::connections::table::Activity;

/// The protocol of one connection. It maps events to reply bytes and to the next event to wait for.
pub trait Handler: Send + 'static {
    /// Maximum bytes per read. `input` can be longer: it begins with the rest of the last call.
    const READ_BYTES: usize;

    /// Maximum replies of a turn while other connections of the thread have work too. With about 20 µs of work,
    /// hundreds of connections that always have requests delay the others by milliseconds. A longer turn saves system
    /// calls. A request that can take much longer than others counts as several replies.
    const TURN_REPLIES: usize;

    /// Returns the maximum bytes of the next read, at most [`READ_BYTES`](Self::READ_BYTES).
    fn read_bytes(&self) -> usize {
        Self::READ_BYTES
    }

    /// Consumes complete requests from `input` and appends their replies to `output`, which is empty at the call.
    ///
    /// One call is the connection's turn, so it does a bounded amount of work. It stops after `max_replies` replies, or
    /// when `output` has [`MAX_OUTPUT_BYTES`], and returns [`WaitFor::Turn`] if complete requests may remain.
    ///
    /// Leave an incomplete request in `input`: the driver keeps it for the next call. It takes consumed bytes as the
    /// end of a request, and restarts the request timeout. Only output restarts the idle timeout.
    ///
    /// The call with [`Event::Eof`] or [`Event::RequestTimeout`] is the last one: write the replies to the remaining
    /// input. So is that with [`Event::RateTimeout`]: write an error, if the protocol has one. The connection then
    /// closes, as after [`WaitFor::Close`].
    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress;

    /// Calls `count` with the code of each error reply in `output`, the output of one call of [`handle`](Self::handle).
    ///
    /// The access log calls it, only at level debug, so handlers need no counters for it. The default is for
    /// protocols without error replies.
    fn error_codes(_output: &[u8], _count: &mut dyn FnMut(&'static str)) {}

    /// Returns the name of the last request's operation, for the log of slow replies. The default is for protocols
    /// whose replies are not in that log.
    fn operation(&self) -> Option<&'static str> {
        None
    }

    /// Returns a function that names the current activity of the connection, for the list of connections. The driver
    /// does not call it. The default is for handlers that only reply.
    fn activity(&self) -> Option<Activity> {
        None
    }

    /// Polls, after [`WaitFor::Reply`], whether the pending reply is ready. The handler writes it at
    /// [`Event::ReplyReady`].
    ///
    /// The default never becomes ready, for handlers that never wait for a reply.
    fn poll_reply(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Polls, while the driver waits for input, whether the handler has something to send without a request. The
    /// handler writes it at [`Event::Push`].
    ///
    /// The default never becomes ready, for handlers that only reply.
    fn poll_push(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// A handler whose replies can be longer than their requests ends its turn when they have this many bytes; the last
/// reply can exceed it. The replies of one turn are what the server holds in its own memory for a peer that reads
/// nothing.
pub const MAX_OUTPUT_BYTES: usize = 8 * 1024;

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes were read, or it is the connection's next [turn](WaitFor::Turn).
    Data,
    /// After [`WaitFor::Settle`], no more bytes were read for the settle time.
    Settled,
    /// A request was not complete within its timeout.
    RequestTimeout,
    /// A request waited too long for the rate of its client network. The handler need not check the rate:
    /// it limits `max_replies`.
    RateTimeout,
    /// The peer closed its sending half.
    Eof,
    /// The pending reply is ready, or its deadline has passed.
    ReplyReady,
    /// The handler has something to send without a request.
    Push,
    /// The server drains and does not wait longer for the pending reply, or for the rest of a request.
    Shutdown,
}

/// The result of handling one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of requests that got a reply in this call, for the latency metric.
    pub replies: u64,
    /// The event that the handler needs next.
    pub wait_for: WaitFor,
}

/// The event that a handler needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A request, of which no byte has been read.
    Request,
    /// The rest of a request.
    MoreData,
    /// More bytes of a request that may be complete, such as a number without a line end, or no bytes for the settle
    /// time.
    Settle,
    /// A reply that depends on more than this connection, for instance on a second player.
    Reply {
        /// When [`Event::ReplyReady`] is delivered at the latest.
        deadline: Instant,
    },
    /// The connection's next turn: complete requests may remain in `input`. Nothing is read before.
    Turn,
    /// Nothing: the connection closes once its replies are written.
    Close,
    /// Nothing, like [`Close`](Self::Close), but the reason is a request that timed out.
    CloseTimedOut,
    /// Nothing, like [`Close`](Self::Close), but the last request has no reply, because its outcome is not known.
    CloseUnknown,
}
