//! Connects the duel's players: applies their events to the [rounds](super::rounds), stores the resulting replies, and
//! wakes the players whose replies are ready.
//!
//! All events take the same lock, one at a time, so they have a total order. Any task on any thread can deliver an event,
//! so no connection depends on the task of another connection.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proto::wire::rps::Move;
use tokio::time::Instant;

use super::rounds::{Action, DuelStats, PlayerId, ReplyState, Rounds};

/// The players of the duel, shared by their connections.
#[derive(Debug)]
pub struct DuelHub {
    state: Mutex<HubState>,
}

#[derive(Debug)]
struct HubState {
    rounds: Rounds,
    /// One per player, at its [index](PlayerId::index).
    slots: Vec<Slot>,
    /// Empty between events; kept to reuse its allocation.
    actions: Vec<Action>,
}

/// The state of one player's reply.
#[derive(Debug, Default)]
struct Slot {
    /// The reply to the player's move; `None` without a move, or after the reply has been taken.
    reply: Option<ReplyState>,
    waker: Option<Waker>,
}

impl Slot {
    /// Returns the state of the reply, and removes the reply if it is ready.
    fn take_reply(&mut self) -> Option<ReplyState> {
        match self.reply {
            Some(ReplyState::Ready(_)) => self.reply.take(),
            pending => pending,
        }
    }
}

impl DuelHub {
    /// Creates a hub without players, where a move is void `window` after it comes into play.
    #[must_use]
    pub fn new(window: Duration) -> Arc<Self> {
        let state = HubState { rounds: Rounds::new(window), slots: Vec::new(), actions: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Adds a player. The player leaves when the handle is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> PlayerHandle {
        let mut state = self.state();
        let id = state.rounds.on_join();
        if state.slots.len() <= id.index() {
            state.slots.resize_with(id.index() + 1, Slot::default);
        }
        drop(state);
        PlayerHandle { hub: Arc::clone(self), id }
    }

    /// Sets the window of moves that come into play from now on.
    pub fn set_window(&self, window: Duration) {
        self.state().rounds.set_window(window);
    }

    /// Returns the current stats.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        self.state().rounds.stats()
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        // A panic under this lock is a bug in the state machine. It closes the connection whose event it was; the
        // others continue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A player of the hub.
#[derive(Debug)]
pub struct PlayerHandle {
    hub: Arc<DuelHub>,
    id: PlayerId,
}

impl PlayerHandle {
    /// Brings a move into play. The player must have no other move in play.
    pub fn play(&mut self, mv: Move) -> Option<ReplyState> {
        self.apply(|rounds, player, now, actions| rounds.on_move(player, mv, now, actions), Slot::take_reply)
    }

    /// Takes the reply if it is ready or its deadline has passed. Otherwise returns its state.
    pub fn take_reply(&mut self) -> Option<ReplyState> {
        self.apply(Rounds::on_timeout, Slot::take_reply)
    }

    /// Takes the reply. If it is not ready, the move becomes void.
    pub fn stop_waiting(&mut self) -> Option<ReplyState> {
        self.apply(|rounds, player, _, actions| rounds.on_shutdown(player, actions), Slot::take_reply)
    }

    /// Completes when the reply is ready.
    pub fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.hub.state();
        let slot = &mut state.slots[self.id.index()];
        if let Some(ReplyState::Ready(_)) = slot.reply {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Applies an event of this player to the state machine, stores the replies of its actions, and wakes the players
    /// whose replies are ready. Returns the result of `take` on this player's slot.
    fn apply<T>(
        &mut self,
        event: impl FnOnce(&mut Rounds, PlayerId, std::time::Instant, &mut Vec<Action>),
        take: impl FnOnce(&mut Slot) -> T,
    ) -> T {
        let mut wakers = Vec::new();
        let mut state = self.hub.state();
        let HubState { rounds, slots, actions } = &mut *state;
        // Read the clock under the lock, so that events are in the order of their times.
        event(rounds, self.id, Instant::now().into_std(), actions);
        for Action { player, reply } in actions.drain(..) {
            let slot = &mut slots[player.index()];
            slot.reply = Some(reply);
            if let ReplyState::Ready(_) = reply {
                wakers.extend(slot.waker.take());
            }
        }
        let taken = take(&mut slots[self.id.index()]);
        drop(state);
        // Wake after the lock is released, since waking can take a system call.
        wakers.into_iter().for_each(Waker::wake);
        taken
    }
}

impl Drop for PlayerHandle {
    fn drop(&mut self) {
        self.apply(Rounds::on_leave, mem::take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_was_not_taken_does_not_go_to_the_next_player_in_the_slot() {
        let hub = DuelHub::new(Duration::from_secs(30));
        let (mut one, mut other) = (hub.join(), hub.join());
        assert!(matches!(one.play(Move::Rock), Some(ReplyState::Pending { .. })));
        assert!(matches!(other.play(Move::Rock), Some(ReplyState::Ready(_))));
        let slot = one.id;
        drop(one);
        let mut next = hub.join();
        assert_eq!(next.id, slot, "the new player gets the free slot");
        assert_eq!(next.take_reply(), None);
    }
}
