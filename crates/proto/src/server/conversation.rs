//! The contract between a connection and a service that answers what it reads at once. No I/O, no clock.

use bytes::BytesMut;

/// What a service says on one connection, as a function of what it hears.
pub trait Conversation: Send {
    /// How many bytes one read takes at the most. What a peer that never reads can make the server hold is bounded by
    /// the answers to so many bytes.
    const READ_BYTES: usize;

    /// Takes from `input` what can be answered and puts the answers into `output`.
    ///
    /// `input` keeps what was left of it until the next turn. What is left at [`Arrival::End`] is dropped.
    fn turn(&mut self, arrival: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Next;
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
    /// Nothing: the connection is over once its last answer is written.
    Close,
}
