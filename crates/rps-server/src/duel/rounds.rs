//! The rule of the duel as a state machine: events in, actions out, without sockets, clocks or tasks. The caller passes the
//! time of each event, which must not decrease.
//!
//! The state is a few words per player, without a queue. Every event is about a player who has joined and has not
//! left; the hub's [`PlayerHandle`](super::hub::PlayerHandle) guarantees that by ownership. A player who leaves is unpaired
//! first, so the look-up of a partner never fails either.

use std::time::{Duration, Instant};

use proto::wire::rps::{Move, Outcome, Reply};
use slab::Slab;

use crate::game::judge;

/// Identifies a player from [`on_join`](Rounds::on_join) to [`on_leave`](Rounds::on_leave). A later player may get the same
/// id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayerId(usize);

impl PlayerId {
    /// Returns the player's index in a list of all players. It is less than the highest number of simultaneous players so
    /// far.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// The state of the reply to a player's move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyState {
    /// The move is in play. Unless the reply is ready before `deadline`, the caller has to call
    /// [`on_timeout`](Rounds::on_timeout) for the player then.
    Pending {
        /// The end of the move's window.
        deadline: Instant,
    },
    /// The move is no longer in play, and gets this reply.
    Ready(Reply),
}

/// A result of an event: the new state of one player's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The player whose reply it is.
    pub player: PlayerId,
    /// The new state of the reply.
    pub reply: ReplyState,
}

/// Totals of replies and pairs, and the current number of players.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DuelStats {
    /// Replies *draw*: two per drawn round.
    pub draws: u64,
    /// Replies *win*: as many as losses.
    pub wins: u64,
    /// Replies *lose*: as many as wins.
    pub losses: u64,
    /// Replies *void*: to moves that no other move met.
    pub voids: u64,
    /// Pairs that have been dissolved.
    pub pairs_dissolved: u64,
    /// Players who have joined and not left.
    pub players: usize,
    /// Players who wait in the lobby: 0 or 1.
    pub waiting: usize,
}

/// All players, their partners and their moves in play.
#[derive(Debug)]
pub struct Rounds {
    window: Duration,
    players: Slab<Player>,
    /// The player in the lobby: the only player with a move in play and no partner.
    waiting: Option<PlayerId>,
    /// The totals; `players` and `waiting` are not used.
    totals: DuelStats,
}

#[derive(Debug, Default)]
struct Player {
    partner: Option<PlayerId>,
    in_play: Option<InPlay>,
}

#[derive(Clone, Copy, Debug)]
struct InPlay {
    mv: Move,
    deadline: Instant,
}

impl Rounds {
    /// Creates a state machine in which a move is void `window` after it comes into play.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, players: Slab::new(), waiting: None, totals: DuelStats::default() }
    }

    /// Sets the window of moves that come into play from now on. Moves in play keep their deadlines.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Event: a player connects.
    pub fn on_join(&mut self) -> PlayerId {
        PlayerId(self.players.insert(Player::default()))
    }

    /// Event: a player who has no move in play moves.
    pub fn on_move(&mut self, player: PlayerId, mv: Move, now: Instant, actions: &mut Vec<Action>) {
        debug_assert!(self.players[player.0].in_play.is_none(), "the player already has a move in play");
        // A partner whose window is over is no longer the partner, even if its timeout has not been reported yet.
        if let Some(partner) = self.players[player.0].partner {
            self.on_timeout(partner, now, actions);
        }
        let deadline = now + self.window;
        self.players[player.0].in_play = Some(InPlay { mv, deadline });
        match self.players[player.0].partner {
            Some(partner) if self.players[partner.0].in_play.is_some() => self.judge(player, partner, actions),
            Some(_) => {}
            None => self.enter_lobby(player, now, actions),
        }
        if self.players[player.0].in_play.is_some() {
            actions.push(Action { player, reply: ReplyState::Pending { deadline } });
        }
    }

    /// Event: the deadline of the player's reply may have passed. A call before the deadline has no effect.
    pub fn on_timeout(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        if self.players[player.0].in_play.is_some_and(|mine| mine.deadline <= now) {
            self.void(player, actions);
        }
    }

    /// Event: the server drains, and this player waits no longer for a partner's move.
    pub fn on_shutdown(&mut self, player: PlayerId, actions: &mut Vec<Action>) {
        if self.players[player.0].in_play.is_some() {
            self.void(player, actions);
        }
    }

    /// Event: a player leaves. A move that it has in play is withdrawn.
    pub fn on_leave(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        let partner = self.unpair(player);
        self.players.remove(player.0);
        if self.waiting == Some(player) {
            self.waiting = None;
        }
        let Some(partner) = partner else { return };
        self.on_timeout(partner, now, actions);
        if self.players[partner.0].in_play.is_some() {
            self.enter_lobby(partner, now, actions);
        }
    }

    /// Returns the current stats.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        DuelStats { players: self.players.len(), waiting: usize::from(self.waiting.is_some()), ..self.totals }
    }

    /// Pairs a player who has a move in play and no partner with the player in the lobby, and judges their round. If the
    /// lobby is empty, the player waits there.
    fn enter_lobby(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        if let Some(waiting) = self.waiting {
            self.on_timeout(waiting, now, actions);
        }
        if let Some(waiting) = self.waiting.take() {
            self.players[player.0].partner = Some(waiting);
            self.players[waiting.0].partner = Some(player);
            self.judge(player, waiting, actions);
        } else {
            self.waiting = Some(player);
        }
    }

    /// Judges the moves in play of two partners.
    fn judge(&mut self, player: PlayerId, partner: PlayerId, actions: &mut Vec<Action>) {
        let (mine, theirs) = (self.players[player.0].in_play.take(), self.players[partner.0].in_play.take());
        let (Some(mine), Some(theirs)) = (mine, theirs) else { return };
        for (player, outcome) in [(partner, judge(theirs.mv, mine.mv)), (player, judge(mine.mv, theirs.mv))] {
            match outcome {
                Outcome::Draw => self.totals.draws += 1,
                Outcome::Win => self.totals.wins += 1,
                Outcome::Lose => self.totals.losses += 1,
            }
            actions.push(Action { player, reply: ReplyState::Ready(Reply::Judged(outcome)) });
        }
    }

    /// Makes the player's move in play void. A partner has no move in play at this point, since the two moves would have
    /// been judged.
    fn void(&mut self, player: PlayerId, actions: &mut Vec<Action>) {
        self.players[player.0].in_play = None;
        if self.waiting == Some(player) {
            self.waiting = None;
        }
        self.unpair(player);
        self.totals.voids += 1;
        actions.push(Action { player, reply: ReplyState::Ready(Reply::Void) });
    }

    /// Dissolves the pair of a player, and returns the former partner.
    fn unpair(&mut self, player: PlayerId) -> Option<PlayerId> {
        let partner = self.players[player.0].partner.take()?;
        self.players[partner.0].partner = None;
        self.totals.pairs_dissolved += 1;
        Some(partner)
    }
}
