//! The rule of the duel as a state machine: events in, actions out, without sockets, clocks or tasks. Each event carries
//! the time, which never goes back.
//!
//! Its memory is a few words for each player; it has no queue. Every event is about a player who has on_join and not left:
//! the hub's [`Player`](super::hub::PlayerHandle) guarantees that by ownership. The same holds for partners, so a look-up
//! never fails.

use std::time::{Duration, Instant};

use proto::wire::rps::{Move, Outcome, Reply};
use slab::Slab;

use crate::game::judge;

/// A player, from [`on_join`](Rounds::on_join) to [`left`](Rounds::on_leave); after that a new player may get the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayerId(usize);

impl PlayerId {
    /// Its place in a hub of all players, which is never longer than there were players at once.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// Where the reply to a player's move stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyState {
    /// The move is in play. At `deadline` the state machine expects [`on_timeout`](Rounds::on_timeout) for the player,
    /// unless the reply is ready before.
    Pending {
        /// The end of the move's window.
        deadline: Instant,
    },
    /// The move is out of play, with this answer.
    Ready(Reply),
}

/// What an event leads to: the reply of this player now stands so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The player whose move it is.
    pub player: PlayerId,
    /// Where the reply to it stands.
    pub reply: ReplyState,
}

/// What has been played, and by how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DuelStats {
    /// Answers to players: a draw is two of them.
    pub draws: u64,
    /// Answers to players; each goes with a loss.
    pub wins: u64,
    /// Answers to players; each goes with a win.
    pub losses: u64,
    /// Answers to players whose move nobody met in time.
    pub voids: u64,
    /// Pairs that are no more.
    pub dissolved: u64,
    /// Players who are there.
    pub players: usize,
    /// Of those, the ones who wait in the lobby.
    pub waiting: usize,
}

/// All players, who is whose partner, and which moves are in play.
#[derive(Debug)]
pub struct Rounds {
    window: Duration,
    players: Slab<Player>,
    /// Who waits in the lobby: somebody with a move in play and no partner. There is never another one like that.
    waiting: Option<PlayerId>,
    /// Those of its fields that count what has been.
    played: DuelStats,
}

#[derive(Debug, Default)]
struct Player {
    partner: Option<PlayerId>,
    in_play: Option<InPlay>,
}

#[derive(Clone, Copy, Debug)]
struct InPlay {
    shown: Move,
    until: Instant,
}

impl Rounds {
    /// Rounds in which a move is void `window` after it came into play.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, players: Slab::new(), waiting: None, played: DuelStats::default() }
    }

    /// Has moves that come into play from now on be void after so long. Those in play keep their time.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Event: somebody has connected.
    pub fn on_join(&mut self) -> PlayerId {
        PlayerId(self.players.insert(Player::default()))
    }

    /// Event: a player who has no move in play has on_move.
    pub fn on_move(&mut self, player: PlayerId, shown: Move, now: Instant, actions: &mut Vec<Action>) {
        debug_assert!(self.players[player.0].in_play.is_none(), "one move of a player is in play at a time");
        // A partner whose window is over is one no longer, whether it has been woken yet or not.
        if let Some(partner) = self.players[player.0].partner {
            self.on_timeout(partner, now, actions);
        }
        let until = now + self.window;
        self.players[player.0].in_play = Some(InPlay { shown, until });
        match self.players[player.0].partner {
            Some(partner) if self.players[partner.0].in_play.is_some() => self.judge(player, partner, actions),
            Some(_) => {}
            None => self.enter_lobby(player, now, actions),
        }
        if self.players[player.0].in_play.is_some() {
            actions.push(Action { player, reply: ReplyState::Pending { deadline: until } });
        }
    }

    /// Event: it is `now`, and an action has asked for this player to be woken. Too early is no harm.
    pub fn on_timeout(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        if self.players[player.0].in_play.is_some_and(|mine| mine.until <= now) {
            self.void(player, actions);
        }
    }

    /// Event: the server stops, and this player is not to wait any longer.
    pub fn on_shutdown(&mut self, player: PlayerId, actions: &mut Vec<Action>) {
        if self.players[player.0].in_play.is_some() {
            self.void(player, actions);
        }
    }

    /// Event: a player is gone, and with it the move that it may have in play.
    pub fn on_leave(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        let survivor = self.unpair(player);
        self.players.remove(player.0);
        if self.waiting == Some(player) {
            self.waiting = None;
        }
        let Some(survivor) = survivor else { return };
        self.on_timeout(survivor, now, actions);
        if self.players[survivor.0].in_play.is_some() {
            self.enter_lobby(survivor, now, actions);
        }
    }

    /// What has been played, and by how many.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        DuelStats { players: self.players.len(), waiting: usize::from(self.waiting.is_some()), ..self.played }
    }

    /// A player with a move in play and no partner meets the one who waits, or waits.
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

    /// Judges the moves that two partners have in play.
    fn judge(&mut self, player: PlayerId, partner: PlayerId, actions: &mut Vec<Action>) {
        let (mine, theirs) = (self.players[player.0].in_play.take(), self.players[partner.0].in_play.take());
        let (Some(mine), Some(theirs)) = (mine, theirs) else { return };
        for (who, outcome) in [(partner, judge(theirs.shown, mine.shown)), (player, judge(mine.shown, theirs.shown))] {
            match outcome {
                Outcome::Draw => self.played.draws += 1,
                Outcome::Win => self.played.wins += 1,
                Outcome::Lose => self.played.losses += 1,
            }
            actions.push(Action { player: who, reply: ReplyState::Ready(Reply::Judged(outcome)) });
        }
    }

    /// Takes a move out of play that nobody has met. The partner, if there is one, has no move in play, or the two would
    /// have been judged.
    fn void(&mut self, player: PlayerId, actions: &mut Vec<Action>) {
        self.players[player.0].in_play = None;
        if self.waiting == Some(player) {
            self.waiting = None;
        }
        self.unpair(player);
        self.played.voids += 1;
        actions.push(Action { player, reply: ReplyState::Ready(Reply::Void) });
    }

    /// Ends the pair that a player is of, and gives the other one.
    fn unpair(&mut self, player: PlayerId) -> Option<PlayerId> {
        let partner = self.players[player.0].partner.take()?;
        self.players[partner.0].partner = None;
        self.played.dissolved += 1;
        Some(partner)
    }
}
