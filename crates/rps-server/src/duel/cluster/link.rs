//! The handler of a connection between two replicas. It makes the handshake, and then passes messages between the
//! connection and the [hub](crate::duel::hub).

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto::server::observe::rate_limit::RateLimit;
use proto::server::{CloseReason, Event, Handler, Progress, WaitFor};
use proto::wire::link::{Bytes32, Challenge, Hello, InvalidMessage, Proof};

use super::secret::{LinkSecret, Side};
use crate::duel::hub::{DuelHub, LinkHandle};
use crate::duel::replica::ProtocolError;

/// One side of a link.
#[derive(Debug)]
pub struct LinkHandler {
    state: State,
    secret: Arc<LinkSecret>,
    /// The owner's endpoint, to which the proofs are bound.
    address: String,
}

#[derive(Debug)]
enum State {
    /// The taker: has sent nothing yet.
    Connected(LinkHandle, Arc<LinkProgress>),
    /// The taker: has sent its hello with this challenge.
    Greeting(LinkHandle, Arc<LinkProgress>, Bytes32),
    /// The owner: has received nothing yet.
    Accepted(Arc<DuelHub>),
    /// The owner: has sent the second of these challenges.
    Challenging(Arc<DuelHub>, [Bytes32; 2]),
    Open(LinkHandle),
    Closed,
}

/// How far a link of this replica came, for the log.
#[derive(Debug, Default)]
pub(super) struct LinkProgress(OnceLock<Result<(), String>>);

impl LinkProgress {
    /// Returns the close reason of the connection, or an error if the link was never open.
    pub(super) fn result(&self, reason: CloseReason) -> Result<CloseReason, String> {
        match self.0.get() {
            Some(Ok(())) => Ok(reason),
            Some(Err(error)) => Err(error.clone()),
            None => Err(format!("closed during the handshake: {reason}")),
        }
    }
}

/// Why a link is closed from this side.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Hello(#[from] InvalidMessage),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the peer is of another lobby: duel.cluster.name differs")]
    Lobby,
    #[error(
        "the peer does not know the secret, or is another replica than the one in the ticket: compare \
         duel.cluster.secret_file and duel.cluster.advertise"
    )]
    Secret,
    #[error("there are too many links")]
    TooMany,
}

impl LinkHandler {
    /// Creates the handler of a link that this replica has opened.
    pub(super) fn taker(
        handle: LinkHandle,
        secret: Arc<LinkSecret>,
        address: String,
        progress: Arc<LinkProgress>,
    ) -> Self {
        Self { state: State::Connected(handle, progress), secret, address }
    }

    /// Creates the handler of a link that another replica has opened, to this replica's `address`.
    pub(super) fn owner(hub: Arc<DuelHub>, secret: Arc<LinkSecret>, address: String) -> Self {
        Self { state: State::Accepted(hub), secret, address }
    }

    /// Handles everything in `input`, and appends what there is to send.
    fn advance(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<WaitFor, LinkError> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Closed) {
                State::Connected(handle, progress) => {
                    let challenge = rand::random();
                    output.extend_from_slice(&Hello { lobby: self.secret.lobby(), challenge }.encode());
                    State::Greeting(handle, progress, challenge)
                }
                State::Greeting(handle, progress, challenge) => {
                    let Some(peer) = Challenge::decode(input) else {
                        // The replica may have closed the link because the handshake takes too long.
                        let is_closing = handle.take_output(output);
                        self.state = State::Greeting(handle, progress, challenge);
                        return Ok(if is_closing { WaitFor::Close } else { WaitFor::MoreData });
                    };
                    let challenges = [challenge, peer.challenge];
                    if !self.secret.verify(Side::Owner, &challenges, &self.address, &peer.proof) {
                        // No log line here: the caller has one for each change.
                        let _ = progress.0.set(Err(LinkError::Secret.to_string()));
                        return Ok(WaitFor::Close);
                    }
                    output.extend_from_slice(&self.secret.prove(Side::Taker, &challenges, &self.address));
                    if progress.0.set(Ok(())).is_ok() {
                        tracing::info!(address = %self.address, "connected to another replica");
                    }
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
                    let challenges = [peer.challenge, challenge];
                    let proof = self.secret.prove(Side::Owner, &challenges, &self.address);
                    output.extend_from_slice(&Challenge { challenge, proof }.encode());
                    State::Challenging(hub, challenges)
                }
                State::Challenging(hub, challenges) => {
                    let Some(peer) = Proof::decode(input) else {
                        self.state = State::Challenging(hub, challenges);
                        return Ok(WaitFor::MoreData);
                    };
                    if !self.secret.verify(Side::Taker, &challenges, &self.address, &peer.proof) {
                        return Err(LinkError::Secret);
                    }
                    State::Open(hub.accept_link().ok_or(LinkError::TooMany)?)
                }
                State::Open(handle) => {
                    while handle.on_input(input)? {}
                    let is_closing = handle.take_output(output);
                    self.state = State::Open(handle);
                    // The state machine closes a link on which no whole message arrives.
                    return Ok(if is_closing { WaitFor::Close } else { WaitFor::Request });
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
            State::Connected(..) => Poll::Ready(()),
            State::Open(handle) | State::Greeting(handle, ..) => handle.poll_output(cx),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::server::Shutdown;
    use proto::server::connection::CloseReason;
    use proto::testing::server::serve;
    use proto::wire::link::Message;
    use proto::wire::rps::Move;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::duel::cluster::LINK_TIMEOUTS;
    use crate::duel::hub::ClusterStep;
    use crate::duel::replica::{EngineCall, EngineReply, MAX_LINKS, Ticket};
    use crate::duel::rounds::ReplyState;

    const WINDOW: Duration = Duration::from_secs(30);
    const ADDRESS: &str = "127.0.0.1:1";

    fn taker_of(link: LinkHandle, secret_text: &str, address: &str) -> LinkHandler {
        LinkHandler::taker(link, secret(secret_text), address.to_owned(), Arc::default())
    }

    fn hub(seed: u8) -> Arc<DuelHub> {
        DuelHub::with_cluster(WINDOW, [seed; 32])
    }

    fn secret(text: &str) -> Arc<LinkSecret> {
        Arc::new(LinkSecret::new(text, "rps"))
    }

    fn serve_owner(hub: &Arc<DuelHub>, secret_text: &str) -> (DuplexStream, JoinHandle<CloseReason>) {
        let (peer, stream) = duplex(1024);
        let handler = LinkHandler::owner(Arc::clone(hub), secret(secret_text), ADDRESS.to_owned());
        (peer, serve(stream, handler, LINK_TIMEOUTS, Shutdown::new(WINDOW)))
    }

    /// A player at `owner` waits, and one at `taker` has taken its ticket. Returns the link that the taker opens.
    async fn ticket_taken(
        owner: &Arc<DuelHub>,
        taker: &Arc<DuelHub>,
    ) -> (crate::duel::hub::PlayerHandle, crate::duel::hub::PlayerHandle, LinkHandle) {
        let (mut waiting, mut other) = (owner.join(), taker.join());
        assert!(matches!(waiting.play(Move::Rock), Some(ReplyState::Pending { .. })));
        let EngineCall::Ask { nonce, .. } = owner.next_engine_call().await else { panic!("no ticket is posted") };
        owner.on_engine_reply(EngineReply::Posted);
        assert!(matches!(other.play(Move::Paper), Some(ReplyState::Pending { .. })));
        assert!(matches!(taker.next_engine_call().await, EngineCall::Ask { .. }));
        let ticket = Ticket { nonce, address: ADDRESS.to_owned() };
        taker.on_engine_reply(EngineReply::Taken(ticket));
        let ClusterStep::Connect(link, address) = taker.next_step() else { panic!("no link is opened") };
        assert_eq!(address, ADDRESS);
        (waiting, other, taker.opening_link(link))
    }

    #[tokio::test(start_paused = true)]
    async fn two_players_at_two_replicas_play_over_a_link() {
        let (owner, taker) = (hub(1), hub(2));
        let (mut waiting, mut other, link) = ticket_taken(&owner, &taker).await;
        let (stream, served) = serve_owner(&owner, "secret");
        let handler = taker_of(link, "secret", ADDRESS);
        let taker_served = serve(stream, handler, LINK_TIMEOUTS, Shutdown::new(WINDOW));
        for round in 0..3 {
            for (player, outcome) in [(&mut waiting, 'z'), (&mut other, 'y')] {
                std::future::poll_fn(|cx| player.poll_reply(cx)).await;
                let reply = player.take_reply();
                assert!(matches!(reply, Some(ReplyState::Ready(reply)) if reply.byte() == outcome as u8), "{reply:?}");
            }
            if round % 2 == 0 {
                assert!(matches!(waiting.play(Move::Rock), Some(ReplyState::Pending { .. })));
                assert!(matches!(other.play(Move::Paper), Some(ReplyState::Pending { .. })));
            } else {
                assert!(matches!(other.play(Move::Paper), Some(ReplyState::Pending { .. })));
                assert!(matches!(waiting.play(Move::Rock), Some(ReplyState::Pending { .. })));
            }
        }
        assert_eq!(owner.cluster_stats().map(|stats| (stats.guests, stats.links)), Some((1, 1)));
        assert_eq!(taker.cluster_stats().map(|stats| (stats.away, stats.links)), Some((1, 1)));
        taker_served.abort();
        assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
        assert_eq!(owner.cluster_stats().map(|stats| (stats.guests, stats.links)), Some((0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_another_secret_or_lobby_gets_no_link() {
        let cases =
            [("one", "other", ADDRESS), ("", "other", ADDRESS), ("one", "", ADDRESS), ("one", "one", "elsewhere:1")];
        for (taker_secret, owner_secret, address) in cases {
            let (owner, other) = (hub(1), hub(2));
            let (_waiting, _other, link) = ticket_taken(&owner, &other).await;
            let (stream, served) = serve_owner(&owner, owner_secret);
            // A proof for another address is wrong: an attacker in between cannot pass it on.
            let handler = taker_of(link, taker_secret, address);
            let reason = serve(stream, handler, LINK_TIMEOUTS, Shutdown::new(WINDOW)).await.unwrap();
            assert!(matches!(reason, CloseReason::Finished), "{reason}: the owner's proof is wrong");
            assert!(matches!(served.await.unwrap(), CloseReason::PeerClosed));
        }
        // A taker that does not check the owner's proof.
        let owner = hub(1);
        let (mut peer, served) = serve_owner(&owner, "secret");
        peer.write_all(&Hello { lobby: secret("").lobby(), challenge: [0; 32] }.encode()).await.unwrap();
        peer.read_exact(&mut [0; 64]).await.unwrap();
        peer.write_all(&[0; 32]).await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        drop(peer);
        assert!(matches!(served.await.unwrap(), CloseReason::Finished));
        let (mut peer, _served) = serve_owner(&owner, "secret");
        peer.write_all(&Hello { lobby: [0; 32], challenge: [0; 32] }.encode()).await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(owner.cluster_stats().map(|stats| stats.links), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_invalid_peer_is_closed() {
        let owner = hub(1);
        for (bytes, closed_after) in [(&b""[..], 1), (b"rps", 1), (b"GET / HTTP/1.1\r\n", 0)] {
            let (mut peer, served) = serve_owner(&owner, "secret");
            let started = tokio::time::Instant::now();
            peer.write_all(bytes).await.unwrap();
            assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
            assert_eq!(started.elapsed().as_secs(), closed_after);
            drop(peer);
            served.await.unwrap();
        }
    }

    /// Makes the handshake as a taker.
    async fn open(hub: &Arc<DuelHub>) -> (DuplexStream, JoinHandle<CloseReason>) {
        let (mut peer, served) = serve_owner(hub, "secret");
        let secret = secret("secret");
        peer.write_all(&Hello { lobby: secret.lobby(), challenge: [0; 32] }.encode()).await.unwrap();
        let mut challenge = BytesMut::zeroed(64);
        peer.read_exact(&mut challenge).await.unwrap();
        let Challenge { challenge, proof } = Challenge::decode(&mut challenge).unwrap();
        let challenges = [[0; 32], challenge];
        assert!(secret.verify(Side::Owner, &challenges, ADDRESS, &proof));
        peer.write_all(&secret.prove(Side::Taker, &challenges, ADDRESS)).await.unwrap();
        (peer, served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_breaks_the_protocol_is_closed_and_hurts_no_player() {
        let owner = hub(1);
        let mut waiting = owner.join();
        assert!(matches!(waiting.play(Move::Rock), Some(ReplyState::Pending { .. })));
        let claim = Message::Claim { session: 7, nonce: 0 };
        for messages in [
            &[Message::Accept { session: 1 }][..],
            &[claim, claim],
            &[Message::Verdict { session: 1, number: 1, outcome: proto::wire::rps::Outcome::Win }],
        ] {
            let (mut peer, served) = open(&owner).await;
            let mut bytes = BytesMut::new();
            for message in messages {
                message.encode(&mut bytes);
            }
            peer.write_all(&bytes).await.unwrap();
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            drop(peer);
            assert!(matches!(served.await.unwrap(), CloseReason::Finished), "{messages:?}");
        }
        let (mut peer, served) = open(&owner).await;
        peer.write_all(b"?").await.unwrap();
        peer.read_to_end(&mut Vec::new()).await.unwrap();
        drop(peer);
        assert!(matches!(served.await.unwrap(), CloseReason::Finished));
        let stats = owner.cluster_stats().unwrap();
        assert_eq!((stats.guests, stats.links), (0, 0));
        assert_eq!(owner.stats().waiting, 1, "the player still waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_link_is_closed_after_three_seconds_and_links_are_limited() {
        let owner = hub(1);
        let ticking = Arc::clone(&owner);
        let clock = tokio::spawn(async move {
            loop {
                if let ClusterStep::Wait(Some(at)) = ticking.next_step() {
                    tokio::time::sleep_until(at).await;
                    ticking.on_time();
                } else {
                    ticking.clock_changed().await;
                }
            }
        });
        let mut peers = Vec::new();
        for _ in 0..MAX_LINKS {
            let (mut peer, served) = open(&owner).await;
            assert_eq!(peer.read_u8().await.unwrap(), b'T');
            peers.push((peer, served));
        }
        let (mut peer, _served) = open(&owner).await;
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0, "one too many");
        assert_eq!(owner.cluster_stats().map(|stats| stats.links), Some(MAX_LINKS));
        let started = tokio::time::Instant::now();
        for (mut peer, served) in peers {
            peer.read_to_end(&mut Vec::new()).await.unwrap();
            drop(peer);
            served.await.unwrap();
        }
        assert_eq!(started.elapsed().as_secs(), 3);
        assert_eq!(owner.cluster_stats().map(|stats| stats.links), Some(0));
        clock.abort();
    }
}
