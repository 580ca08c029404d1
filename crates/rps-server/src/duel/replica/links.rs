//! The links to other replicas, their clocks and their timeouts.

use std::time::{Duration, Instant};

use proto::wire::link::{InvalidMessage, Message};
use thiserror::Error;

use super::{Action, CLAIM_TIMEOUT, CLOCK_INTERVAL, Cluster, LINK_TIMEOUT, MAX_LINKS, Turn};

/// Identifies a link of a replica. No two links have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) u64);

/// Why the bytes of a link do not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The bytes are not a message.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// The message is one of the other side.
    #[error("a message came from the wrong side of the link")]
    WrongSide,
    /// A session number was used twice, or not in ascending order.
    #[error("the number of a session or of a move is not higher than the one before")]
    Number,
    /// A verdict or a return names a move that is not in play, or a move came before the reply to the last one.
    #[error("a message does not fit the moves in play")]
    Move,
    /// A time is too far away.
    #[error("a time is out of range")]
    Time,
}

/// A link to another replica.
#[derive(Debug)]
pub(super) struct Link {
    /// The address, if this replica has opened the link.
    address: Option<String>,
    state: State,
    /// The other side's clock, and when it arrived.
    clock: Option<(u64, Instant)>,
    /// The highest number of a session of the other side.
    pub(super) last_session: u64,
}

#[derive(Debug)]
enum State {
    /// The link has to be open by this time.
    Connecting(Instant),
    Open {
        next_clock: Instant,
        last_received: Instant,
    },
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn is_outgoing(&self) -> bool {
        self.address.is_some()
    }

    pub(super) fn on_received(&mut self, now: Instant) {
        if let State::Open { last_received, .. } = &mut self.state {
            *last_received = now;
        }
    }

    pub(super) fn set_clock(&mut self, micros: u64, now: Instant) {
        self.clock = Some((micros, now));
    }

    /// Returns what the other side's clock shows at a time of this replica, or less: its last message with the clock has
    /// taken time to arrive. So a deadline comes too early rather than too late.
    pub(super) fn to_peer_clock(&self, time: Instant) -> Option<u64> {
        let (micros, received) = self.clock?;
        let micros_of = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Some(match time.checked_duration_since(received) {
            Some(later) => micros.saturating_add(micros_of(later)),
            None => micros.saturating_sub(micros_of(received - time)),
        })
    }

    pub(super) fn next_time(&self) -> Instant {
        match self.state {
            State::Connecting(until) => until,
            State::Open { next_clock, last_received } => next_clock.min(last_received + LINK_TIMEOUT),
        }
    }
}

impl Cluster {
    fn insert_link(&mut self, address: Option<String>, state: State) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.links.insert(link, Link { address, state, clock: None, last_session: 0 });
        link
    }

    /// Returns the link to this address. Opens it first if necessary; `None` if there are too many.
    pub(super) fn link_to(&mut self, address: &str, turn: &mut Turn<'_>) -> Option<LinkId> {
        let mut outgoing = self.links.iter().filter(|(_, link)| link.is_outgoing());
        if let Some((link, _)) = outgoing.find(|(_, link)| link.address.as_deref() == Some(address)) {
            return Some(*link);
        }
        if self.links.values().filter(|link| link.is_outgoing()).count() >= MAX_LINKS {
            let has_sessions = |link: LinkId| self.sessions.range((link, 0)..=(link, u64::MAX)).next().is_some();
            let unused = self.links.iter().find(|(id, link)| link.is_outgoing() && !has_sessions(**id));
            let unused = *unused?.0;
            self.links.remove(&unused);
            turn.actions.push(Action::Close { link: unused });
        }
        let link = self.insert_link(Some(address.to_owned()), State::Connecting(turn.now + CLAIM_TIMEOUT));
        turn.actions.push(Action::Connect { link, address: address.to_owned() });
        Some(link)
    }

    pub(super) fn on_link_accepted(&mut self, turn: &mut Turn<'_>) -> Option<LinkId> {
        if self.links.values().filter(|link| !link.is_outgoing()).count() >= MAX_LINKS {
            return None;
        }
        let open = State::Open { next_clock: turn.now, last_received: turn.now };
        let link = self.insert_link(None, open);
        self.send_clock(link, turn);
        Some(link)
    }

    pub(super) fn on_link_open(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        // It may have taken too long.
        let Some(state) = self.links.get_mut(&link) else { return };
        state.state = State::Open { next_clock: turn.now, last_received: turn.now };
        self.send_clock(link, turn);
        self.send_claims(link, turn);
    }

    pub(super) fn on_link_lost(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let Some(lost) = self.links.remove(&link) else { return };
        if lost.is_outgoing() {
            self.on_link_lost_away(link, turn);
        } else {
            self.on_link_lost_guests(link, turn);
        }
    }

    /// Closes the links that are silent or still connecting, and sends the clock on the others.
    pub(super) fn check_links(&mut self, turn: &mut Turn<'_>) {
        let due: Vec<_> =
            self.links.iter().filter(|(_, link)| link.next_time() <= turn.now).map(|(id, _)| *id).collect();
        for link in due {
            match self.links[&link].state {
                State::Open { last_received, .. } if last_received + LINK_TIMEOUT > turn.now => {
                    self.send_clock(link, turn);
                }
                _ => {
                    turn.actions.push(Action::Close { link });
                    self.on_link_lost(link, turn);
                    // A player whose claim is lost can meet a guest, whose link can be the next one.
                    self.carry_out(turn);
                }
            }
        }
    }

    fn send_clock(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        if let Some(Link { state: State::Open { next_clock, .. }, .. }) = self.links.get_mut(&link) {
            *next_clock = turn.now + CLOCK_INTERVAL;
            let micros = u64::try_from((turn.now - self.epoch).as_micros()).unwrap_or(u64::MAX);
            turn.send(link, Message::Clock { micros });
        }
    }

    /// Returns the time at which this replica's clock shows `micros`.
    pub(super) fn epoch_time(&self, micros: u64) -> Result<Instant, ProtocolError> {
        self.epoch.checked_add(Duration::from_micros(micros)).ok_or(ProtocolError::Time)
    }
}
