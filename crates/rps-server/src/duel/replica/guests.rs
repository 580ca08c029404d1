//! Other replicas' players whose moves this replica judges.

use std::time::Instant;

use proto::wire::link::Message;
use proto::wire::rps::{Move, Reply};

use super::links::LinkId;
use super::{CLAIM_TIMEOUT, Cluster, ProtocolError, Turn};
use crate::duel::rounds::{InPlay, PlayerId, ReplyState};

/// A player of another replica.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) link: LinkId,
    pub(super) session: u64,
    /// The number of its last move.
    number: u64,
    /// The timer of its move in play.
    timer: Option<Instant>,
}

impl Cluster {
    /// Accepts a claim only while the very move of the ticket waits in the lobby.
    pub(super) fn on_claim(
        &mut self,
        link: LinkId,
        session: u64,
        nonce: u128,
        turn: &mut Turn<'_>,
    ) -> Result<(), ProtocolError> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        if session <= state.last_session {
            return Err(ProtocolError::Number);
        }
        state.last_session = session;
        let until = turn.now + CLAIM_TIMEOUT;
        let is_waiting = !self.is_draining && self.is_waiting_with(nonce, turn.rounds);
        let waiting = turn.rounds.waiting().filter(|_| is_waiting);
        let met = waiting.and_then(|(player, _)| Some((player, turn.rounds.on_guest(until, turn.now, turn.results)?)));
        let Some((player, guest)) = met else {
            self.stats.tickets_refused += 1;
            turn.send(link, Message::Refuse { session });
            return Ok(());
        };
        // The player may have been the partner of a player of another replica, who was late.
        self.end_pair(player, turn);
        self.timers.insert((until, player));
        self.guests.insert(guest, Guest { link, session, number: 0, timer: None });
        self.guest_sessions.insert((link, session), guest);
        turn.send(link, Message::Accept { session });
        Ok(())
    }

    pub(super) fn on_guest_move(
        &mut self,
        link: LinkId,
        session: u64,
        number: u64,
        mv: Move,
        (patience_end, window_end): (Instant, Instant),
        turn: &mut Turn<'_>,
    ) -> Result<(), ProtocolError> {
        // This replica has ended the session meanwhile, and its dissolve has returned the move.
        let Some(&guest) = self.guest_sessions.get(&(link, session)) else { return Ok(()) };
        let Some(state) = self.guests.get_mut(&guest) else { return Ok(()) };
        if number <= state.number {
            return Err(ProtocolError::Number);
        }
        if turn.rounds.has_move(guest) {
            return Err(ProtocolError::Move);
        }
        state.number = number;
        turn.bring_into_play(guest, InPlay { mv, patience_end, window_end, return_by: window_end });
        Ok(())
    }

    /// Handles a reply of the rounds to a guest's move.
    pub(super) fn on_guest_reply(&mut self, guest: PlayerId, reply: ReplyState, turn: &mut Turn<'_>) {
        self.stop_timer(guest);
        let Some(state) = self.guests.get_mut(&guest) else { return };
        let Guest { link, session, number, .. } = *state;
        match reply {
            ReplyState::Pending { deadline } => {
                state.timer = Some(deadline);
                self.timers.insert((deadline, guest));
            }
            ReplyState::Ready(Reply::Judged(outcome)) => {
                turn.send(link, Message::Verdict { session, number, outcome });
            }
            // The rounds return a guest's move instead.
            ReplyState::Ready(_) | ReplyState::Unknown => {}
        }
    }

    pub(super) fn return_move(&mut self, guest: PlayerId, turn: &mut Turn<'_>) {
        self.stop_timer(guest);
        if let Some(Guest { link, session, number, .. }) = self.guests.get(&guest) {
            turn.send(*link, Message::Return { session: *session, number: *number });
        }
    }

    pub(super) fn on_partner_of_guest_moved(&self, guest: PlayerId, turn: &mut Turn<'_>) {
        if let Some(Guest { link, session, .. }) = self.guests.get(&guest) {
            turn.send(*link, Message::PartnerMoved { session: *session });
        }
    }

    /// Ends a guest's session, and leaves its move to its own replica.
    pub(super) fn dismiss(&mut self, guest: PlayerId, turn: &mut Turn<'_>) {
        if let Some(Guest { link, session, .. }) = self.remove_guest(guest, turn) {
            turn.send(link, Message::Dissolve { session });
        }
    }

    pub(super) fn on_guest_left(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) {
        if let Some(&guest) = self.guest_sessions.get(&(link, session)) {
            self.remove_guest(guest, turn);
        }
    }

    pub(super) fn on_withdraw(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) {
        // If the session has ended, a dissolve was sent already.
        if let Some(&guest) = self.guest_sessions.get(&(link, session)) {
            self.dismiss(guest, turn);
        }
    }

    /// A lost link is like a reset of each player behind it.
    pub(super) fn on_link_lost_guests(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let guests: Vec<_> = self.guest_sessions.range((link, 0)..=(link, u64::MAX)).map(|(_, guest)| *guest).collect();
        for guest in guests {
            self.remove_guest(guest, turn);
        }
    }

    fn remove_guest(&mut self, guest: PlayerId, turn: &mut Turn<'_>) -> Option<Guest> {
        self.stop_timer(guest);
        let removed = self.guests.remove(&guest)?;
        self.guest_sessions.remove(&(removed.link, removed.session));
        turn.rounds.on_leave(guest, turn.now, turn.results);
        Some(removed)
    }

    fn stop_timer(&mut self, guest: PlayerId) {
        if let Some(timer) = self.guests.get_mut(&guest).and_then(|state| state.timer.take()) {
            self.timers.remove(&(timer, guest));
        }
    }
}
