//! This replica's players whose moves another replica judges.
//!
//! A move is in one place at a time: in the rounds of this replica, in a claim, or at the owner. Only the replica that has it
//! decides about it. While it is at the owner, only the owner's verdict or return gives it an outcome. Without either by the
//! end of its window, or after the loss of the link, the outcome is unknown.

use std::time::Instant;

use proto::wire::link::Message;
use proto::wire::rps::{Outcome, Reply};

use super::links::LinkId;
use super::{Action, CLAIM_TIMEOUT, ClaimResult, Cluster, ProtocolError, Ticket, Turn, WITHDRAW_TIMEOUT};
use crate::duel::rounds::{InPlay, PlayerId, ReplyState};

/// A player's state in the play with other replicas.
#[derive(Debug, Default)]
pub(super) struct Away {
    /// The number of its move in tickets, if the move was in the lobby.
    pub(super) nonce: Option<u128>,
    /// Its partner at another replica.
    pair: Option<Pair>,
    /// The ticket that it has taken.
    claim: Option<Claim>,
}

/// A pair with a player of another replica, which judges.
#[derive(Debug)]
struct Pair {
    link: LinkId,
    session: u64,
    /// The number of the last move at the owner.
    number: u64,
    at_owner: Option<MoveAtOwner>,
    /// Whether the owner has said that the partner has moved, while this player had a claim.
    partner_moved: bool,
}

#[derive(Clone, Copy, Debug)]
struct MoveAtOwner {
    in_play: InPlay,
    /// When the outcome counts as unknown.
    deadline: Instant,
    /// In a drain: the move is void once the owner has given it back.
    is_withdrawn: bool,
}

/// A ticket that a player has taken, until the owner replies.
#[derive(Debug)]
struct Claim {
    link: LinkId,
    session: u64,
    nonce: u128,
    in_play: InPlay,
    since: Instant,
}

impl Away {
    pub(super) fn is_paired(&self) -> bool {
        self.pair.is_some()
    }

    /// Whether its move is in a claim: in no rounds, until the owner replies.
    pub(super) fn has_claim(&self) -> bool {
        self.claim.is_some()
    }

    fn pair_in(&mut self, session: u64) -> Option<&mut Pair> {
        self.pair.as_mut().filter(|pair| pair.session == session)
    }
}

impl Cluster {
    /// Brings a player's new move into play: at the replica that judges it.
    pub(super) fn bring_into_play(&mut self, player: PlayerId, in_play: InPlay, turn: &mut Turn<'_>) {
        if self.away.get(&player).is_some_and(Away::is_paired) {
            self.send_move(player, in_play, turn);
        } else {
            turn.bring_into_play(player, in_play);
        }
    }

    /// Claims the move of a ticket for the player in the lobby. The player waits or takes, never both.
    pub(super) fn claim(&mut self, player: PlayerId, ticket: &Ticket, turn: &mut Turn<'_>) {
        let Some(link) = self.link_to(&ticket.address, turn) else {
            self.stats.claims[ClaimResult::LinkLost as usize] += 1;
            return;
        };
        let Some(in_play) = turn.rounds.take_move(player) else { return };
        self.last_session += 1;
        let (session, nonce) = (self.last_session, ticket.nonce);
        self.sessions.insert((link, session), player);
        self.timers.insert((turn.now + CLAIM_TIMEOUT, player));
        self.away.entry(player).or_default().claim = Some(Claim { link, session, nonce, in_play, since: turn.now });
        if self.is_open(link) {
            turn.send(link, Message::Claim { session, nonce });
        }
    }

    fn is_open(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(super::Link::is_open)
    }

    /// Sends the claims that have waited for the link to open.
    pub(super) fn send_claims(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        for player in self.players_at(link) {
            if let Some(Claim { session, nonce, .. }) = self.away.get(&player).and_then(|away| away.claim.as_ref()) {
                turn.send(link, Message::Claim { session: *session, nonce: *nonce });
            }
        }
    }

    fn players_at(&self, link: LinkId) -> Vec<PlayerId> {
        self.sessions.range((link, 0)..=(link, u64::MAX)).map(|(_, player)| *player).collect()
    }

    pub(super) fn on_accept(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) -> Result<(), ProtocolError> {
        let player = self.sessions.get(&(link, session)).copied();
        let Some((player, away)) = player.and_then(|player| Some((player, self.away.get_mut(&player)?))) else {
            // Too late.
            turn.send(link, Message::Leave { session });
            return Ok(());
        };
        let claim = away.claim.take_if(|claim| claim.session == session).ok_or(ProtocolError::Move)?;
        self.stats.claims[ClaimResult::Accepted as usize] += 1;
        turn.actions.push(Action::Accepted(turn.now - claim.since));
        // Both players leave the partners that they had.
        self.end_pair(player, turn);
        turn.rounds.on_part(player, turn.now, turn.results);
        let pair = Pair { link, session, number: 0, at_owner: None, partner_moved: false };
        self.away.entry(player).or_default().pair = Some(pair);
        if !self.try_send_move(player, claim.in_play, turn) {
            // The owner's player need not wait for the move.
            self.end_pair(player, turn);
            turn.bring_into_play(player, claim.in_play);
        }
        Ok(())
    }

    pub(super) fn on_refuse(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) -> Result<(), ProtocolError> {
        let Some(&player) = self.sessions.get(&(link, session)) else { return Ok(()) };
        let claim = self.away.get(&player).and_then(|away| away.claim.as_ref());
        if claim.is_none_or(|claim| claim.session != session) {
            return Err(ProtocolError::Move);
        }
        self.end_claim(player, ClaimResult::Refused, turn);
        Ok(())
    }

    /// Ends a claim without success. The move returns to the lobby.
    fn end_claim(&mut self, player: PlayerId, result: ClaimResult, turn: &mut Turn<'_>) {
        let Some(claim) = self.away.get_mut(&player).and_then(|away| away.claim.take()) else { return };
        self.stats.claims[result as usize] += 1;
        self.end_session(claim.link, claim.session, result == ClaimResult::TimedOut, turn);
        let retry = turn.now + self.retry_delay();
        self.tickets.ask_at(retry);
        self.resume(player, claim.in_play, turn);
    }

    /// Removes a session. Sends leave if `notify`.
    fn end_session(&mut self, link: LinkId, session: u64, notify: bool, turn: &mut Turn<'_>) {
        self.sessions.remove(&(link, session));
        if notify && self.is_open(link) {
            turn.send(link, Message::Leave { session });
        }
    }

    /// Brings a move that no other move has met back into play here, or at the owner if the partner has moved there.
    fn resume(&mut self, player: PlayerId, in_play: InPlay, turn: &mut Turn<'_>) {
        let pair = self.away.get(&player).and_then(|away| away.pair.as_ref());
        if pair.is_some_and(|pair| pair.partner_moved) {
            self.send_move(player, in_play, turn);
        } else {
            turn.bring_into_play(player, in_play);
        }
    }

    /// Sends a move to the owner. If it could not come back before the end of its window, brings it into play here.
    fn send_move(&mut self, player: PlayerId, in_play: InPlay, turn: &mut Turn<'_>) {
        if !self.try_send_move(player, in_play, turn) {
            turn.bring_into_play(player, in_play);
        }
    }

    /// Sends a move to the owner, unless it could not come back before the end of its window. Returns whether it did.
    fn try_send_move(&mut self, player: PlayerId, in_play: InPlay, turn: &mut Turn<'_>) -> bool {
        let InPlay { mv, patience_end, window_end, return_by } = in_play;
        let Some(pair) = self.away.get_mut(&player).and_then(|away| away.pair.as_mut()) else { return false };
        pair.partner_moved = false;
        let owner_time = |time| self.links.get(&pair.link).and_then(|link| link.to_peer_clock(time));
        let (Some(owner_patience_end), Some(owner_return_by), true) =
            (owner_time(patience_end), owner_time(return_by), turn.now < return_by)
        else {
            return false;
        };
        pair.number += 1;
        pair.at_owner = Some(MoveAtOwner { in_play, deadline: window_end, is_withdrawn: false });
        let Pair { link, session, number, .. } = *pair;
        let (patience_end, owner_end) = (owner_patience_end, owner_return_by);
        turn.send(link, Message::Move { session, number, mv, patience_end, window_end: owner_end });
        turn.reply(player, ReplyState::Pending { deadline: window_end });
        true
    }

    /// Returns the player of a session, and its move at the owner with this number.
    fn take_at_owner(
        &mut self,
        link: LinkId,
        session: u64,
        number: u64,
    ) -> Result<Option<(PlayerId, MoveAtOwner)>, ProtocolError> {
        let Some(&player) = self.sessions.get(&(link, session)) else { return Ok(None) };
        let pair = self.away.get_mut(&player).and_then(|away| away.pair_in(session)).ok_or(ProtocolError::Move)?;
        let at_owner = pair.at_owner.take_if(|_| pair.number == number).ok_or(ProtocolError::Move)?;
        Ok(Some((player, at_owner)))
    }

    pub(super) fn on_verdict(
        &mut self,
        link: LinkId,
        session: u64,
        number: u64,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) -> Result<(), ProtocolError> {
        if let Some((player, _)) = self.take_at_owner(link, session, number)? {
            self.on_move_ended(player);
            turn.reply(player, ReplyState::Ready(Reply::Judged(outcome)));
        }
        Ok(())
    }

    pub(super) fn on_return(
        &mut self,
        link: LinkId,
        session: u64,
        number: u64,
        turn: &mut Turn<'_>,
    ) -> Result<(), ProtocolError> {
        if let Some((player, at_owner)) = self.take_at_owner(link, session, number)? {
            self.on_returned(player, at_owner, turn);
        }
        Ok(())
    }

    fn on_returned(&mut self, player: PlayerId, at_owner: MoveAtOwner, turn: &mut Turn<'_>) {
        if at_owner.is_withdrawn {
            self.end_pair(player, turn);
            self.on_move_ended(player);
            turn.reply(player, ReplyState::Ready(Reply::Void));
        } else {
            self.resume(player, at_owner.in_play, turn);
        }
    }

    pub(super) fn on_partner_moved(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) {
        let Some(&player) = self.sessions.get(&(link, session)) else { return };
        let Some(away) = self.away.get_mut(&player) else { return };
        let is_claiming = away.claim.is_some();
        let Some(pair) = away.pair_in(session).filter(|pair| pair.at_owner.is_none()) else { return };
        if is_claiming {
            pair.partner_moved = true;
        } else if let Some(in_play) = turn.rounds.take_move(player) {
            self.send_move(player, in_play, turn);
        }
    }

    pub(super) fn on_dissolve(&mut self, link: LinkId, session: u64, turn: &mut Turn<'_>) {
        let Some(player) = self.sessions.remove(&(link, session)) else { return };
        let Some(away) = self.away.get_mut(&player) else { return };
        if away.pair_in(session).is_none() {
            // An owner that follows the protocol never sends this: it accepts a claim before it dissolves the pair.
            return;
        }
        if let Some(Pair { at_owner: Some(at_owner), .. }) = away.pair.take() {
            self.on_returned(player, at_owner, turn);
        }
    }

    /// Ends the pair of a player with a player of another replica, if there is one. It has no move at the owner.
    pub(super) fn end_pair(&mut self, player: PlayerId, turn: &mut Turn<'_>) {
        if let Some(pair) = self.away.get_mut(&player).and_then(|away| away.pair.take()) {
            self.end_session(pair.link, pair.session, true, turn);
        }
    }

    /// The player's move has its outcome from this replica's own rounds: it has met a player here, or is void.
    pub(super) fn on_reply_here(&mut self, player: PlayerId, reply: Reply, turn: &mut Turn<'_>) {
        if reply == Reply::Void {
            self.on_expired(self.away.get(&player).and_then(|away| away.nonce));
        }
        self.end_pair(player, turn);
        self.on_move_ended(player);
    }

    fn on_move_ended(&mut self, player: PlayerId) {
        if let Some(away) = self.away.get_mut(&player) {
            away.nonce = None;
            if away.pair.is_none() {
                self.away.remove(&player);
            }
        }
    }

    /// Handles the timeout of a move that is not in the rounds. Returns whether there was one.
    pub(super) fn on_timeout_away(&mut self, player: PlayerId, turn: &mut Turn<'_>) -> bool {
        let Some(away) = self.away.get(&player) else { return false };
        if let Some(Claim { since, in_play, .. }) = &away.claim {
            if turn.now >= (*since + CLAIM_TIMEOUT).min(in_play.window_end) {
                self.end_claim(player, ClaimResult::TimedOut, turn);
            }
            return true;
        }
        let Some(MoveAtOwner { deadline, .. }) = away.pair.as_ref().and_then(|pair| pair.at_owner) else {
            return false;
        };
        if turn.now >= deadline {
            self.on_unknown(player, turn);
        }
        true
    }

    fn on_unknown(&mut self, player: PlayerId, turn: &mut Turn<'_>) {
        self.end_pair(player, turn);
        self.on_move_ended(player);
        self.stats.unknown_outcomes += 1;
        turn.reply(player, ReplyState::Unknown);
    }

    pub(super) fn on_shutdown(&mut self, player: PlayerId, turn: &mut Turn<'_>) {
        let away = self.away.get_mut(&player);
        match away.and_then(|away| away.pair.as_mut()) {
            Some(Pair { link, session, at_owner: Some(at_owner), .. }) => {
                if !at_owner.is_withdrawn {
                    at_owner.is_withdrawn = true;
                    at_owner.deadline = at_owner.deadline.min(turn.now + WITHDRAW_TIMEOUT);
                    let (link, message, deadline) = (*link, Message::Withdraw { session: *session }, at_owner.deadline);
                    turn.send(link, message);
                    turn.reply(player, ReplyState::Pending { deadline });
                }
            }
            pair => {
                if let Some(pair) = pair {
                    // The move must not go to the owner now.
                    pair.partner_moved = false;
                }
                self.end_claim(player, ClaimResult::TimedOut, turn);
                turn.rounds.on_shutdown(player, turn.now, turn.results);
            }
        }
    }

    pub(super) fn on_player_left(&mut self, player: PlayerId, turn: &mut Turn<'_>) {
        let Some(Away { pair, claim, .. }) = self.away.remove(&player) else { return };
        let sessions = [pair.map(|pair| (pair.link, pair.session)), claim.map(|claim| (claim.link, claim.session))];
        for (link, session) in sessions.into_iter().flatten() {
            self.end_session(link, session, true, turn);
        }
    }

    /// The link is lost: a claim on it has failed, and the outcome of a move at the owner is unknown.
    pub(super) fn on_link_lost_away(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        for player in self.players_at(link) {
            let Some(away) = self.away.get_mut(&player) else { continue };
            if away.claim.as_ref().is_some_and(|claim| claim.link == link) {
                self.end_claim(player, ClaimResult::LinkLost, turn);
            }
            let pair = self.away.get(&player).and_then(|away| away.pair.as_ref()).filter(|pair| pair.link == link);
            match pair {
                Some(Pair { at_owner: Some(_), .. }) => self.on_unknown(player, turn),
                Some(_) => self.end_pair(player, turn),
                None => {}
            }
        }
    }
}
