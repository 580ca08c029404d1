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
        /// The end of the move's patience; for a move in the lobby, the end of its window.
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
    /// Players whose move waits in the lobby: 0 or 1.
    pub waiting: usize,
}

/// All players, their partners and their moves in play.
#[derive(Debug)]
pub struct Rounds {
    window: Duration,
    players: Slab<Player>,
    /// The player whose move is in the lobby. Every other move in play is in its patience.
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
    patience_end: Instant,
    window_end: Instant,
}

/// The patience is the window divided by this.
const PATIENCES_PER_WINDOW: u32 = 10;

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
        // At the end of the partner's patience or window the pair may dissolve, even if that timeout has not been
        // reported yet.
        if let Some(partner) = self.players[player.0].partner {
            self.on_timeout(partner, now, actions);
        }
        let (patience_end, window_end) = (now + self.window / PATIENCES_PER_WINDOW, now + self.window);
        self.players[player.0].in_play = Some(InPlay { mv, patience_end, window_end });
        match self.players[player.0].partner {
            Some(partner) if self.players[partner.0].in_play.is_some() => self.judge(player, partner, actions),
            Some(_) => actions.push(Action { player, reply: ReplyState::Pending { deadline: patience_end } }),
            None => self.enter_lobby(player, now, actions),
        }
    }

    /// Event: the deadline of the player's reply may have passed. A call before the deadline has no effect.
    pub fn on_timeout(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        match self.players[player.0].in_play {
            Some(mine) if mine.window_end <= now => self.void(player, actions),
            Some(mine) if mine.patience_end <= now => self.enter_lobby(player, now, actions),
            _ => {}
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
        self.take_move(player);
        self.players.remove(player.0);
        let Some(partner) = partner else { return };
        self.on_timeout(partner, now, actions);
        self.enter_lobby(partner, now, actions);
    }

    /// Returns the current stats.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        DuelStats { players: self.players.len(), waiting: usize::from(self.waiting.is_some()), ..self.totals }
    }

    /// Brings the player's move into the lobby, unless it is there already or no longer in play. If another move waits
    /// there, the two players become partners, and their round is judged.
    fn enter_lobby(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(InPlay { window_end, .. }) = self.players[player.0].in_play else { return };
        if self.waiting == Some(player) {
            return;
        }
        if let Some(waiting) = self.waiting {
            self.on_timeout(waiting, now, actions);
        }
        if let Some(waiting) = self.waiting {
            for (one, other) in [(player, waiting), (waiting, player)] {
                self.unpair(one);
                self.players[one.0].partner = Some(other);
            }
            self.judge(player, waiting, actions);
        } else {
            self.waiting = Some(player);
            actions.push(Action { player, reply: ReplyState::Pending { deadline: window_end } });
        }
    }

    /// Judges the moves in play of two partners.
    fn judge(&mut self, player: PlayerId, partner: PlayerId, actions: &mut Vec<Action>) {
        let (Some(mine), Some(theirs)) = (self.take_move(player), self.take_move(partner)) else { return };
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
        self.take_move(player);
        self.unpair(player);
        self.totals.voids += 1;
        actions.push(Action { player, reply: ReplyState::Ready(Reply::Void) });
    }

    /// Takes the player's move out of play, and out of the lobby.
    fn take_move(&mut self, player: PlayerId) -> Option<InPlay> {
        self.waiting.take_if(|waiting| *waiting == player);
        self.players[player.0].in_play.take()
    }

    /// Dissolves the pair of a player, and returns the former partner.
    fn unpair(&mut self, player: PlayerId) -> Option<PlayerId> {
        let partner = self.players[player.0].partner.take()?;
        self.players[partner.0].partner = None;
        self.totals.pairs_dissolved += 1;
        Some(partner)
    }
}
