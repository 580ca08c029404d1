//! Finds players of other replicas: posts a ticket for the player in the lobby, or takes another replica's ticket.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::away::Away;
use super::{ASK_INTERVAL, Action, Cluster, Turn};
use crate::duel::rounds::{PlayerId, Rounds};

/// A waiting move of another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The number of the player's move: secret until the ticket is posted.
    pub nonce: u128,
    /// The endpoint of the replica where the player waits.
    pub address: String,
}

/// A call of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineCall {
    /// Take the ticket of another replica, if there is one; otherwise post a ticket of this replica.
    Ask {
        /// The number of the ticket.
        nonce: u128,
        /// When the engine removes it.
        expires_in: Duration,
    },
    /// Remove the ticket with this number, if it is still there.
    Withdraw {
        /// The number of the ticket.
        nonce: u128,
    },
}

/// The reply to [`EngineCall::Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineReply {
    /// The ticket is posted.
    Posted,
    /// The ticket of another replica is taken, and none is posted.
    Taken(Ticket),
    /// It is not known what the engine has done.
    Failed,
}

/// The state of this replica's ticket.
#[derive(Debug)]
pub(super) struct Tickets {
    /// The ticket that may be in the engine.
    posted: Option<u128>,
    /// The move for which the engine was asked last.
    asked: Option<u128>,
    /// The last ticket in the count of posted tickets.
    counted: Option<u128>,
    /// The ticket of the call in flight.
    in_flight: Option<u128>,
    /// When to ask for the same move again.
    next_ask: Instant,
    /// Do not ask for any move before this.
    not_before: Instant,
}

impl Tickets {
    pub(super) fn new(now: Instant) -> Self {
        Self { posted: None, asked: None, counted: None, in_flight: None, next_ask: now, not_before: now }
    }

    /// Sets when the engine is asked next.
    pub(super) fn ask_at(&mut self, time: Instant) {
        (self.next_ask, self.not_before) = (time, time);
    }

    pub(super) fn next_time(&self, rounds: &Rounds) -> Option<Instant> {
        (self.in_flight.is_none() && rounds.waiting().is_some()).then(|| self.next_ask.max(self.not_before))
    }
}

impl Cluster {
    /// Posts a ticket for the player in the lobby when it is time to, and withdraws the ticket of a player who has left the
    /// lobby. One call is in flight at a time, so there is never more than one ticket of this replica.
    pub(super) fn keep_ticket(&mut self, turn: &mut Turn<'_>) {
        let waiting = turn.rounds.waiting().filter(|_| !self.is_draining);
        let waiting = waiting.map(|(player, window_end)| (self.nonce(player), window_end));
        let nonce = waiting.map(|(nonce, _)| nonce);
        if let Some(nonce) = self.tickets.posted.take_if(|posted| Some(*posted) != nonce) {
            turn.actions.push(Action::Engine(EngineCall::Withdraw { nonce }));
        }
        let Some((nonce, window_end)) = waiting else { return };
        let tickets = &mut self.tickets;
        if tickets.asked != Some(nonce) {
            (tickets.asked, tickets.next_ask) = (Some(nonce), turn.now);
        }
        let expires_in = window_end.saturating_duration_since(turn.now);
        if tickets.in_flight.is_some() || turn.now < tickets.next_ask.max(tickets.not_before) || expires_in.is_zero() {
            return;
        }
        (tickets.in_flight, tickets.posted, tickets.next_ask) = (Some(nonce), Some(nonce), turn.now + ASK_INTERVAL);
        turn.actions.push(Action::Engine(EngineCall::Ask { nonce, expires_in }));
    }

    pub(super) fn on_engine_reply(&mut self, reply: EngineReply, turn: &mut Turn<'_>) {
        let asked = self.tickets.in_flight.take();
        match reply {
            EngineReply::Posted => {
                self.stats.tickets_posted += u64::from(self.tickets.counted != asked);
                self.tickets.counted = asked;
            }
            EngineReply::Taken(ticket) => {
                self.tickets.posted = None;
                self.stats.tickets_taken += 1;
                // The player may have met a partner meanwhile. The ticket's owner then posts it again.
                if let Some((player, _)) = turn.rounds.waiting().filter(|_| !self.is_draining) {
                    self.claim(player, &ticket, turn);
                }
            }
            EngineReply::Failed => {}
        }
    }

    /// Returns the number of the player's move in tickets: always the same for a move, so that a ticket that is posted again
    /// has the same number.
    fn nonce(&mut self, player: PlayerId) -> u128 {
        let Away { nonce, .. } = self.away.entry(player).or_default();
        *nonce.get_or_insert_with(|| self.random.random())
    }

    /// Whether the player in the lobby waits with this ticket.
    pub(super) fn is_waiting_with(&self, nonce: u128, rounds: &Rounds) -> bool {
        let away = rounds.waiting().and_then(|(player, _)| self.away.get(&player));
        away.is_some_and(|away| away.nonce == Some(nonce))
    }

    /// Counts the ticket of a move that is void.
    pub(super) fn on_expired(&mut self, nonce: Option<u128>) {
        self.stats.tickets_expired += u64::from(nonce.is_some() && self.tickets.posted == nonce);
    }
}
