//! The rule of the duel as a state machine: events in, actions out, without sockets, clocks or tasks. The caller passes the
//! time of each event, which must not decrease.
//!
//! The state is a few words per player, without a queue. Every event is about a player who has joined and has not
//! left; the hub's [`PlayerHandle`](super::hub::PlayerHandle) guarantees that by ownership. A player who leaves is unpaired
//! first, so the look-up of a partner never fails either.
//!
//! A *guest* is a player of another replica who plays with a player of this one. It is among the players while it has a
//! partner here. Its moves never wait in the lobby of this replica, and are never void here: they are returned to its own
//! replica instead. Without guests, nothing here depends on other replicas.

use std::mem;
use std::time::{Duration, Instant};

use proto::wire::rps::{Move, Outcome, Reply};
use slab::Slab;

use crate::game::judge;

/// Identifies a player from [`on_join`](Rounds::on_join) to [`on_leave`](Rounds::on_leave). A later player may get the same
/// id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Another replica had the move, and its outcome will never be known here. The connection closes without a reply. The
    /// rounds themselves never return this.
    Unknown,
}

/// A result of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The new state of the reply to a move.
    Reply {
        /// The player whose reply it is.
        player: PlayerId,
        /// The new state of the reply.
        reply: ReplyState,
    },
    /// The move of a guest is out of play, and no other move has met it. The guest keeps its partner.
    Return {
        /// The guest whose move it is.
        guest: PlayerId,
    },
    /// The partner of a guest has moved, and the guest's last move was returned.
    PartnerMoved {
        /// The guest.
        guest: PlayerId,
    },
    /// The guest has no partner any more. A move that it had in play is out of play, and no other move has met it. The caller
    /// calls [`on_leave`](Rounds::on_leave) for the guest.
    Dismiss {
        /// The guest.
        guest: PlayerId,
    },
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
    /// Players who have joined and not left, without guests.
    pub players: usize,
    /// Players whose move waits in the lobby: 0 or 1.
    pub waiting: usize,
}

/// The activity of a player, for the list of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayerState {
    /// No partner and no move in play. Also for a player who has left.
    NoPartner,
    /// A partner, and no move in play.
    Paired,
    /// A move in play, which waits for the partner's.
    MoveInPlay,
    /// The move waits in the lobby.
    InLobby,
    /// A partner at another replica, which judges.
    AtOtherReplica,
}

impl PlayerState {
    /// Returns the name in the list of connections.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPartner => "no_partner",
            Self::Paired => "paired",
            Self::MoveInPlay => "move_in_play",
            Self::InLobby => "in_lobby",
            Self::AtOtherReplica => "at_other_replica",
        }
    }
}

/// All players, their partners and their moves in play.
#[derive(Debug)]
pub struct Rounds {
    window: Duration,
    players: Slab<Player>,
    /// The player whose move is in the lobby. Every other move in play is in its patience.
    waiting: Option<PlayerId>,
    guests: usize,
    /// The totals; `players` and `waiting` are not used.
    totals: DuelStats,
}

#[derive(Debug, Default)]
struct Player {
    partner: Option<PlayerId>,
    in_play: Option<InPlay>,
    guest: Option<Guest>,
}

/// What differs for a player of another replica.
#[derive(Clone, Copy, Debug, Default)]
struct Guest {
    /// Whether its last move was returned.
    returned: bool,
}

/// A move in play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InPlay {
    /// The move.
    pub mv: Move,
    /// When the move goes to the lobby if the partner has not moved.
    pub patience_end: Instant,
    /// When the move is void.
    pub window_end: Instant,
    /// The latest time at which another replica can judge the move, so that it comes back before the end of its window.
    pub return_by: Instant,
}

/// Another replica returns a move this long before the end of its window, or a tenth of the window if that is less. Its own
/// replica can then make it void in time.
pub const RETURN_MARGIN: Duration = Duration::from_millis(100);
const RETURN_MARGINS_PER_WINDOW: u32 = 10;

/// The patience is the window divided by this.
const PATIENCES_PER_WINDOW: u32 = 10;

impl Rounds {
    /// Creates a state machine in which a move is void `window` after it comes into play.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, players: Slab::new(), waiting: None, guests: 0, totals: DuelStats::default() }
    }

    /// Sets the window of moves that come into play from now on. Moves in play keep their deadlines.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Returns a move that comes into play at `now`, with its deadlines.
    #[must_use]
    pub fn new_move(&self, mv: Move, now: Instant) -> InPlay {
        let Self { window, .. } = *self;
        let return_after = window.saturating_sub(RETURN_MARGIN.min(window / RETURN_MARGINS_PER_WINDOW));
        InPlay {
            mv,
            patience_end: now + window / PATIENCES_PER_WINDOW,
            window_end: now + window,
            return_by: now + return_after,
        }
    }

    /// Event: a player connects.
    pub fn on_join(&mut self) -> PlayerId {
        PlayerId(self.players.insert(Player::default()))
    }

    /// Event: a player who has no move in play moves.
    pub fn on_move(&mut self, player: PlayerId, mv: Move, now: Instant, actions: &mut Vec<Action>) {
        self.on_in_play(player, self.new_move(mv, now), now, actions);
    }

    /// Event: a move comes into play that has deadlines already, because another replica had it before. The player, who
    /// can be a guest, has no other move in play.
    pub fn on_in_play(&mut self, player: PlayerId, in_play: InPlay, now: Instant, actions: &mut Vec<Action>) {
        debug_assert!(self.players[player.0].in_play.is_none(), "the player already has a move in play");
        // At the end of the partner's patience or window the pair may dissolve, even if that timeout has not been
        // reported yet.
        if let Some(partner) = self.players[player.0].partner {
            self.on_timeout(partner, now, actions);
        }
        if let Player { partner: None, guest: Some(_), .. } = self.players[player.0] {
            // The guest has just been dismissed, so its own replica has the move.
            return;
        }
        self.players[player.0].in_play = Some(in_play);
        if in_play.window_end <= now {
            return self.on_timeout(player, now, actions);
        }
        let Some(partner) = self.players[player.0].partner else { return self.enter_lobby(player, now, actions) };
        let Player { in_play: theirs, guest, .. } = &mut self.players[partner.0];
        if theirs.is_some() {
            return self.judge(player, partner, actions);
        }
        if let Some(Guest { returned }) = guest
            && mem::take(returned)
        {
            actions.push(Action::PartnerMoved { guest: partner });
        }
        if in_play.patience_end <= now {
            self.enter_lobby(player, now, actions);
        } else {
            let reply = ReplyState::Pending { deadline: in_play.patience_end };
            actions.push(Action::Reply { player, reply });
        }
    }

    /// Event: the deadline of the player's reply may have passed. A call before the deadline has no effect.
    pub fn on_timeout(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        match self.players[player.0].in_play {
            Some(mine) if mine.window_end <= now => match self.players[player.0].guest {
                Some(_) => self.return_move(player, actions),
                None => self.void(player, now, actions),
            },
            Some(mine) if mine.patience_end <= now => self.enter_lobby(player, now, actions),
            _ => {}
        }
    }

    /// Event: the server drains, and this player waits no longer for a partner's move.
    pub fn on_shutdown(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        if self.players[player.0].in_play.is_some() {
            self.void(player, now, actions);
        }
    }

    /// Event: a player leaves. A move that it has in play is withdrawn.
    pub fn on_leave(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        self.take_move(player);
        self.on_part(player, now, actions);
        let left = self.players.remove(player.0);
        self.guests -= usize::from(left.guest.is_some());
    }

    /// Event: another replica's player is to meet the player whose move waits in the lobby. Returns the guest, who is now the
    /// partner of that player; `None` if the lobby is empty. The move leaves the lobby, and returns to it at `until` unless
    /// the guest's move has come.
    pub fn on_guest(&mut self, until: Instant, now: Instant, actions: &mut Vec<Action>) -> Option<PlayerId> {
        self.on_timeout(self.waiting?, now, actions);
        let player = self.waiting.take()?;
        let guest = PlayerId(self.players.insert(Player { guest: Some(Guest::default()), ..Player::default() }));
        self.guests += 1;
        self.pair(player, guest, now, actions);
        if let Some(in_play) = &mut self.players[player.0].in_play {
            in_play.patience_end = until;
            let reply = ReplyState::Pending { deadline: until.min(in_play.window_end) };
            actions.push(Action::Reply { player, reply });
        }
        Some(guest)
    }

    /// Event: the player plays at another replica from now on, or has no partner. Its pair is dissolved.
    pub fn on_part(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(partner) = self.unpair(player) else { return };
        if self.players[partner.0].guest.is_some() {
            self.take_move(partner);
            actions.push(Action::Dismiss { guest: partner });
        } else {
            self.on_timeout(partner, now, actions);
            self.enter_lobby(partner, now, actions);
        }
    }

    /// Returns the player whose move waits in the lobby, and the end of the move's window.
    #[must_use]
    pub fn waiting(&self) -> Option<(PlayerId, Instant)> {
        let player = self.waiting?;
        Some((player, self.players[player.0].in_play?.window_end))
    }

    /// Takes the player's move out of play, and out of the lobby. The player keeps its partner.
    pub fn take_move(&mut self, player: PlayerId) -> Option<InPlay> {
        self.waiting.take_if(|waiting| *waiting == player);
        self.players[player.0].in_play.take()
    }

    /// Whether the player has a move in play.
    #[must_use]
    pub fn has_move(&self, player: PlayerId) -> bool {
        self.players[player.0].in_play.is_some()
    }

    /// Whether the player has joined and not left. A later player may have the same id.
    #[must_use]
    pub fn contains(&self, player: PlayerId) -> bool {
        self.players.contains(player.0)
    }

    /// Returns the current activity of a player, as far as these rounds know it.
    #[must_use]
    pub fn player_state(&self, player: PlayerId) -> PlayerState {
        match self.players.get(player.0) {
            _ if self.waiting == Some(player) => PlayerState::InLobby,
            Some(Player { in_play: Some(_), .. }) => PlayerState::MoveInPlay,
            Some(Player { partner: Some(_), .. }) => PlayerState::Paired,
            _ => PlayerState::NoPartner,
        }
    }

    /// Counts a reply to a player of this replica.
    pub fn count(&mut self, reply: Reply) {
        match reply {
            Reply::Judged(Outcome::Draw) => self.totals.draws += 1,
            Reply::Judged(Outcome::Win) => self.totals.wins += 1,
            Reply::Judged(Outcome::Lose) => self.totals.losses += 1,
            Reply::Void => self.totals.voids += 1,
            // No replies to a move.
            Reply::NotAMove | Reply::Full => {}
        }
    }

    /// Returns the current stats.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        let (players, waiting) = (self.players.len() - self.guests, usize::from(self.waiting.is_some()));
        DuelStats { players, waiting, ..self.totals }
    }

    /// Brings the player's move into the lobby, unless it is there already or no longer in play. If another move waits
    /// there, the two players become partners, and their round is judged. Otherwise a guest's move is returned.
    fn enter_lobby(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        let Player { in_play: Some(InPlay { window_end, .. }), guest, .. } = self.players[player.0] else { return };
        if self.waiting == Some(player) {
            return;
        }
        if let Some(waiting) = self.waiting {
            self.on_timeout(waiting, now, actions);
        }
        if let Some(waiting) = self.waiting {
            self.pair(player, waiting, now, actions);
            self.judge(player, waiting, actions);
        } else if guest.is_some() {
            self.return_move(player, actions);
        } else {
            self.waiting = Some(player);
            actions.push(Action::Reply { player, reply: ReplyState::Pending { deadline: window_end } });
        }
    }

    /// Judges the moves in play of two partners.
    fn judge(&mut self, player: PlayerId, partner: PlayerId, actions: &mut Vec<Action>) {
        let (Some(mine), Some(theirs)) = (self.take_move(player), self.take_move(partner)) else { return };
        for (player, outcome) in [(partner, judge(theirs.mv, mine.mv)), (player, judge(mine.mv, theirs.mv))] {
            self.reply(player, Reply::Judged(outcome), actions);
        }
    }

    /// Makes the player's move in play void. A partner has no move in play at this point, since the two moves would have
    /// been judged.
    fn void(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        self.take_move(player);
        self.on_part(player, now, actions);
        self.reply(player, Reply::Void, actions);
    }

    fn reply(&mut self, player: PlayerId, reply: Reply, actions: &mut Vec<Action>) {
        // The guest's own replica counts its reply.
        if self.players[player.0].guest.is_none() {
            self.count(reply);
        }
        actions.push(Action::Reply { player, reply: ReplyState::Ready(reply) });
    }

    fn return_move(&mut self, guest: PlayerId, actions: &mut Vec<Action>) {
        self.take_move(guest);
        self.players[guest.0].guest = Some(Guest { returned: true });
        actions.push(Action::Return { guest });
    }

    /// Makes two players partners. Their former partners have no move in play.
    fn pair(&mut self, player: PlayerId, partner: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        for (one, other) in [(player, partner), (partner, player)] {
            self.on_part(one, now, actions);
            self.players[one.0].partner = Some(other);
        }
    }

    /// Dissolves the pair of a player, and returns the former partner.
    fn unpair(&mut self, player: PlayerId) -> Option<PlayerId> {
        let partner = self.players[player.0].partner.take()?;
        self.players[partner.0].partner = None;
        self.totals.pairs_dissolved += 1;
        Some(partner)
    }
}
