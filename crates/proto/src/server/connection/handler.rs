//! The contract between a connection and the service that it is of. No I/O, no clock.
//!
//! Most services answer what they read in the same turn. One that has to wait for something else, such as a second
//! player, says [`Next::Answer`]: then nothing more is read until [`poll_answer`](Conversation::poll_answer) says that
//! the answer is there, or its time is over.

use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::time::Instant;

/// What a service says on one connection, as a function of what it hears.
pub trait Conversation: Send {
    /// How many bytes one read takes at the most. What a peer that never reads can make the server hold is bounded by
    /// the answers to so many bytes.
    const READ_BYTES: usize;

    /// Takes from `input` what can be answered and puts the answers into `output`.
    ///
    /// `input` keeps what was left of it until the next turn. What is left at [`Arrival::End`] is dropped.
    fn turn(&mut self, arrival: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn;

    /// Waits, after [`Next::Answer`], until the answer is there; [`Arrival::Answer`] then asks for it.
    ///
    /// A conversation that answers everything at once has no use for it.
    fn poll_answer(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// What a turn of the conversation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// More bytes have come.
    Bytes,
    /// No more have come while what there was settled.
    Silence,
    /// No more have come in time for what there was.
    Deadline,
    /// No more will come: the peer has closed its half.
    End,
    /// The answer that was waited for is there, or due.
    Answer,
    /// The server stops, and waits for the answer no longer.
    Drain,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many requests were answered.
    pub answered: u64,
    /// What the conversation waits for now.
    pub next: Next,
}

/// What a conversation waits for after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A request; nothing of one has come.
    Request,
    /// The rest of a request.
    Rest,
    /// More of what already reads as a whole request, or silence.
    Settle,
    /// An answer that comes from elsewhere, at this time at the latest.
    Answer(Instant),
    /// Nothing: the connection is over once its last answer is written.
    Close,
}
