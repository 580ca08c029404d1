//! The handler of a connection between two replicas. It makes the handshake, and then passes messages between the
//! connection and the [hub](crate::duel::hub).

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto::server::observe::rate_limit::RateLimit;
use proto::server::{Event, Handler, Progress, WaitFor};
use proto::wire::link::{Bytes32, Challenge, Hello, InvalidMessage, Message, Proof};

use super::secret::{LinkSecret, Side};
use crate::duel::hub::{DuelHub, LinkHandle};
use crate::duel::replica::InvalidSequence;

/// One side of a link.
#[derive(Debug)]
pub struct LinkHandler {
    state: State,
    secret: Arc<LinkSecret>,
}

#[derive(Debug)]
enum State {
    /// The taker: has sent nothing yet.
    Connected(LinkHandle),
    /// The taker: has sent its hello with this challenge.
    Greeting(LinkHandle, Bytes32),
    /// The owner: has received nothing yet.
    Accepted(Arc<DuelHub>),
    /// The owner: has sent this challenge.
    Challenging(Arc<DuelHub>, Bytes32),
    Open(LinkHandle),
    Closed,
}

/// Why a link is closed from this side.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    #[error(transparent)]
    Sequence(#[from] InvalidSequence),
    #[error("the peer is of another lobby: duel.cluster.name differs")]
    Lobby,
    #[error("the peer does not know the secret: the contents of duel.cluster.secret_file differ")]
    Secret,
    #[error("there are too many links")]
    TooMany,
}

impl LinkHandler {
    /// Creates the handler of a link that this replica has opened.
    pub(super) fn taker(handle: LinkHandle, secret: Arc<LinkSecret>) -> Self {
        Self { state: State::Connected(handle), secret }
    }

    /// Creates the handler of a link that another replica has opened.
    pub(super) fn owner(hub: Arc<DuelHub>, secret: Arc<LinkSecret>) -> Self {
        Self { state: State::Accepted(hub), secret }
    }

    /// Handles everything in `input`, and appends what there is to send.
    fn advance(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<WaitFor, LinkError> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Closed) {
                State::Connected(handle) => {
                    let challenge = rand::random();
                    output.extend_from_slice(&Hello { lobby: self.secret.lobby(), challenge }.encode());
                    State::Greeting(handle, challenge)
                }
                State::Greeting(handle, challenge) => {
                    let Some(peer) = Challenge::decode(input) else {
                        self.state = State::Greeting(handle, challenge);
                        return Ok(WaitFor::MoreData);
                    };
                    if !self.secret.verify(Side::Owner, &challenge, &peer.proof) {
                        return Err(LinkError::Secret);
                    }
                    output.extend_from_slice(&self.secret.prove(Side::Taker, &peer.challenge));
                    handle.on_open();
                    State::Open(handle)
                }
                State::Accepted(hub) => {
                    let Some(peer) = Hello::decode(input)? else {
                        self.state = State::Accepted(hub);
                        return Ok(WaitFor::MoreData);
                    };
                    if peer.lobby != self.secret.lobby() {
                        return Err(LinkError::Lobby);
                    }
                    let challenge = rand::random();
                    let proof = self.secret.prove(Side::Owner, &peer.challenge);
                    output.extend_from_slice(&Challenge { challenge, proof }.encode());
                    State::Challenging(hub, challenge)
                }
                State::Challenging(hub, challenge) => {
                    let Some(peer) = Proof::decode(input) else {
                        self.state = State::Challenging(hub, challenge);
                        return Ok(WaitFor::MoreData);
                    };
                    if !self.secret.verify(Side::Taker, &challenge, &peer.proof) {
                        return Err(LinkError::Secret);
                    }
                    State::Open(hub.accept_link().ok_or(LinkError::TooMany)?)
                }
                State::Open(handle) => {
                    while let Some(message) = Message::decode(input)? {
                        handle.on_message(message)?;
                    }
                    let is_closing = handle.take_output(output);
                    self.state = State::Open(handle);
                    return Ok(match (is_closing, input.is_empty()) {
                        (true, _) => WaitFor::Close,
                        (false, true) => WaitFor::Request,
                        (false, false) => WaitFor::MoreData,
                    });
                }
                State::Closed => return Ok(WaitFor::Close),
            }
        }
    }
}

impl Handler for LinkHandler {
    /// Hundreds of messages.
    const READ_BYTES: usize = 16 * 1024;

    /// Nothing is counted as a reply.
    const TURN_REPLIES: usize = usize::MAX;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
        let wait_for = match event {
            Event::Data | Event::Push | Event::Settled | Event::ReplyReady => self.advance(input, output),
            Event::Eof | Event::RequestTimeout | Event::RateTimeout | Event::Shutdown => Ok(WaitFor::Close),
        };
        let wait_for = wait_for.unwrap_or_else(|error| {
            static RATE_LIMIT: RateLimit = RateLimit::new();
            if let Some(suppressed) = RATE_LIMIT.allow() {
                tracing::warn!(%error, suppressed, "link to another replica failed");
            }
            WaitFor::Close
        });
        if wait_for == WaitFor::Close {
            // At once, and not when the connection has closed: players wait for it.
            self.state = State::Closed;
        }
        Progress { replies: 0, wait_for }
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.state {
            State::Connected(_) => Poll::Ready(()),
            State::Open(handle) => handle.poll_output(cx),
            _ => Poll::Pending,
        }
    }
}
