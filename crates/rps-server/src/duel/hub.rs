//! The meeting point of the duel's connections: it applies their events to the [rounds](super::rounds), and carries the
//! actions back to the connections.
//!
//! One lock is held for one event at a time, so all events have one order. Any task on any thread can bring an event, and
//! no connection depends on another one's task to run.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proto::wire::rps::Move;
use tokio::time::Instant;

use super::rounds::{Action, DuelStats, PlayerId, ReplyState, Rounds};

/// All players.
#[derive(Debug)]
pub struct DuelHub {
    state: Mutex<HubState>,
}

#[derive(Debug)]
struct HubState {
    rounds: Rounds,
    /// One for each player, at its [index](PlayerId::index).
    slots: Vec<Slot>,
    /// Empty between two events, and kept for its room.
    actions: Vec<Action>,
}

/// The state of one player's reply.
#[derive(Debug, Default)]
struct Slot {
    /// Of the player's move, if it has one that is not answered.
    reply: Option<ReplyState>,
    waker: Option<Waker>,
}

impl Slot {
    /// Where the reply stands. A reply that is ready is taken out.
    fn take_reply(&mut self) -> Option<ReplyState> {
        match self.reply {
            Some(ReplyState::Ready(_)) => self.reply.take(),
            pending => pending,
        }
    }
}

impl DuelHub {
    /// A hub without players, where a move is void `window` after it came into play.
    #[must_use]
    pub fn new(window: Duration) -> Arc<Self> {
        let state = HubState { rounds: Rounds::new(window), slots: Vec::new(), actions: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A place at the hub; dropping what this gives leaves it.
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

    /// Has moves that come into play from now on be void after so long.
    pub fn set_window(&self, window: Duration) {
        self.state().rounds.set_window(window);
    }

    /// What has been played here, and by how many.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        self.state().rounds.stats()
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        // A panic under this lock is a fault of the state machine. It ends the connection whose event it was; the
        // others play on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One player's place at the hub.
#[derive(Debug)]
pub struct PlayerHandle {
    hub: Arc<DuelHub>,
    id: PlayerId,
}

impl PlayerHandle {
    /// Brings a move into play. There must be none of this player in play yet.
    pub fn play(&mut self, shown: Move) -> Option<ReplyState> {
        self.apply(|rounds, player, now, actions| rounds.on_move(player, shown, now, actions), Slot::take_reply)
    }

    /// Takes the reply, if it is ready or its deadline has passed.
    pub fn take_reply(&mut self) -> Option<ReplyState> {
        self.apply(Rounds::on_timeout, Slot::take_reply)
    }

    /// Takes the reply. If it is not ready, the move is void.
    pub fn stop_waiting(&mut self) -> Option<ReplyState> {
        self.apply(|rounds, player, _, actions| rounds.on_shutdown(player, actions), Slot::take_reply)
    }

    /// Polls for a reply that is ready.
    pub fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.hub.state();
        let slot = &mut state.slots[self.id.index()];
        if let Some(ReplyState::Ready(_)) = slot.reply {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Applies an event of this player to the state machine, carries out its actions, and then takes from the player's
    /// slot what is asked for.
    fn apply<T>(
        &mut self,
        event: impl FnOnce(&mut Rounds, PlayerId, std::time::Instant, &mut Vec<Action>),
        take: impl FnOnce(&mut Slot) -> T,
    ) -> T {
        let mut woken = Vec::new();
        let mut state = self.hub.state();
        let HubState { rounds, slots, actions } = &mut *state;
        // The clock is read under the lock, so that the time of events does not go back.
        event(rounds, self.id, Instant::now().into_std(), actions);
        for Action { player, reply } in actions.drain(..) {
            let slot = &mut slots[player.index()];
            slot.reply = Some(reply);
            if let ReplyState::Ready(_) = reply {
                woken.extend(slot.waker.take());
            }
        }
        let taken = take(&mut slots[self.id.index()]);
        drop(state);
        // Waking can take a system call, and needs no lock.
        woken.into_iter().for_each(Waker::wake);
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
    fn an_answer_that_was_not_taken_is_not_left_to_the_next_player() {
        let hub = DuelHub::new(Duration::from_secs(30));
        let (mut one, mut other) = (hub.join(), hub.join());
        assert!(matches!(one.play(Move::Rock), Some(ReplyState::Pending { .. })));
        assert!(matches!(other.play(Move::Rock), Some(ReplyState::Ready(_))));
        let slot = one.id;
        drop(one);
        let mut next = hub.join();
        assert_eq!(next.id, slot, "a place that was left is there for the next");
        assert_eq!(next.take_reply(), None);
    }
}
