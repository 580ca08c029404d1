//! Where the connections of the duel meet: it tells the [rounds](super::rounds) what happens, and the connections what
//! comes of it.
//!
//! There is one lock, held for an event at a time, and all that happens has one order, the same for everybody. Which
//! task of which thread brings an event does not matter, and no task has to run for the others to go on.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proto::wire::rps::{Answer, Move};
use tokio::time::Instant;

use super::rounds::{Action, PlayerId, Rounds, Tally};

/// Everybody who plays.
#[derive(Debug)]
pub struct Table {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rounds: Rounds,
    /// One for each player, at its [index](PlayerId::index).
    seats: Vec<Seat>,
    /// Empty between two events, and kept for its room.
    actions: Vec<Action>,
}

/// How one player's move stands.
#[derive(Debug, Default)]
struct Seat {
    answer: Option<Answer>,
    wake_at: Option<Instant>,
    waker: Option<Waker>,
}

impl Seat {
    fn standing(&mut self) -> Option<Standing> {
        self.answer.take().map(Standing::Answered).or(self.wake_at.map(Standing::InPlay))
    }
}

/// How a player's move stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has its answer.
    Answered(Answer),
    /// It is in play, until then at the latest.
    InPlay(Instant),
}

impl Table {
    /// A table without players, where a move is void `window` after it came into play.
    #[must_use]
    pub fn new(window: Duration) -> Arc<Self> {
        let state = State { rounds: Rounds::new(window), seats: Vec::new(), actions: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A place at the table; dropping what this gives leaves it.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Player {
        let mut state = self.state();
        let id = state.rounds.joined();
        if state.seats.len() <= id.index() {
            state.seats.resize_with(id.index() + 1, Seat::default);
        }
        drop(state);
        Player { table: Arc::clone(self), id }
    }

    /// Has moves that come into play from now on be void after so long.
    pub fn set_window(&self, window: Duration) {
        self.state().rounds.set_window(window);
    }

    /// What has been played here, and by how many.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state().rounds.tally()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be a fault of the state machine, met by the one connection that told of the
        // event. The others play on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One player's place at the table.
#[derive(Debug)]
pub struct Player {
    table: Arc<Table>,
    id: PlayerId,
}

impl Player {
    /// Brings a move into play. There must be none of this player in play yet.
    pub fn play(&mut self, shown: Move) -> Option<Standing> {
        self.tell(|rounds, player, now, actions| rounds.moved(player, shown, now, actions), Seat::standing)
    }

    /// Takes the answer, if it is there or its time has come.
    pub fn take_answer(&mut self) -> Option<Standing> {
        self.tell(Rounds::time_passed, Seat::standing)
    }

    /// Takes the answer; where there is none, the move is void.
    pub fn stop_waiting(&mut self) -> Option<Standing> {
        self.tell(|rounds, player, _, actions| rounds.stopped(player, actions), Seat::standing)
    }

    /// Waits until the answer is there.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.table.state();
        let seat = &mut state.seats[self.id.index()];
        if seat.answer.is_some() {
            return Poll::Ready(());
        }
        match &mut seat.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Tells of an event of this player, carries out what it leads to, and then takes from the player's seat what is
    /// asked for.
    fn tell<T>(
        &mut self,
        event: impl FnOnce(&mut Rounds, PlayerId, std::time::Instant, &mut Vec<Action>),
        take: impl FnOnce(&mut Seat) -> T,
    ) -> T {
        let mut woken = Vec::new();
        let mut state = self.table.state();
        let State { rounds, seats, actions } = &mut *state;
        // The clock is read under the lock, so that the time of events does not go back.
        event(rounds, self.id, Instant::now().into_std(), actions);
        for action in actions.drain(..) {
            match action {
                Action::Answer(player, answer) => {
                    let seat = &mut seats[player.index()];
                    seat.answer = Some(answer);
                    seat.wake_at = None;
                    woken.extend(seat.waker.take());
                }
                Action::WakeAt(player, at) => seats[player.index()].wake_at = Some(Instant::from_std(at)),
            }
        }
        let taken = take(&mut seats[self.id.index()]);
        drop(state);
        // Waking can take a system call, and needs no lock.
        woken.into_iter().for_each(Waker::wake);
        taken
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.tell(Rounds::left, mem::take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_not_taken_is_not_left_to_the_next_player() {
        let table = Table::new(Duration::from_secs(30));
        let (mut one, mut other) = (table.join(), table.join());
        assert!(matches!(one.play(Move::Rock), Some(Standing::InPlay(_))));
        assert!(matches!(other.play(Move::Rock), Some(Standing::Answered(_))));
        let seat = one.id;
        drop(one);
        let mut next = table.join();
        assert_eq!(next.id, seat, "a place that was left is there for the next");
        assert_eq!(next.take_answer(), None);
    }
}
