//! Connects the duel's players: applies their events to the [replica](super::replica), stores the resulting replies, and
//! wakes the players whose replies are ready. In a cluster, it also queues what the links and the engine have to send.
//!
//! All events take the same lock, one at a time, so they have a total order. Any task on any thread can deliver an event,
//! so no connection depends on the task of another connection.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use proto::server::Activity;
use proto::server::observe::metrics::latency::LatencyHistogram;
use proto::wire::link::Message;
use proto::wire::rps::Move;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::replica::{Action, ClusterStats, EngineCall, EngineReply, LinkId, ProtocolError, Replica};
use super::rounds::{DuelStats, PlayerId, ReplyState};

/// The players of the duel, shared by their connections.
#[derive(Debug)]
pub struct DuelHub {
    state: Mutex<HubState>,
    /// There is a call for the engine.
    engine_called: Notify,
    /// A link has to be opened, or the replica needs the time earlier than before.
    clock_changed: Notify,
    /// The time from a claim to its acceptance.
    claim_latency: LatencyHistogram,
}

#[derive(Debug)]
struct HubState {
    replica: Replica,
    /// One per player, at its [index](PlayerId::index).
    slots: Vec<Slot>,
    /// Empty between events; kept to reuse its allocation.
    actions: Vec<Action>,
    /// At most two: one to post or take a ticket, and one before it to withdraw the last ticket.
    engine_calls: VecDeque<EngineCall>,
    connects: VecDeque<(LinkId, String)>,
    outboxes: HashMap<LinkId, Outbox>,
    /// When the caller of [`DuelHub::next_step`] wakes.
    wakes_at: Option<Instant>,
}

/// The state of one player's reply.
#[derive(Debug, Default)]
struct Slot {
    /// The reply to the player's move; `None` without a move, or after the reply has been taken.
    reply: Option<ReplyState>,
    waker: Option<Waker>,
    /// Dropped when the player leaves. The functions of [`PlayerHandle::activity`] hold weak references.
    connected: Option<Arc<()>>,
}

impl Slot {
    /// Returns the state of the reply, and removes the reply if it is ready.
    fn take_reply(&mut self) -> Option<ReplyState> {
        match self.reply {
            Some(ReplyState::Ready(_) | ReplyState::Unknown) => self.reply.take(),
            pending => pending,
        }
    }
}

/// Messages that a link has not sent yet.
#[derive(Debug, Default)]
struct Outbox {
    bytes: BytesMut,
    is_closing: bool,
    waker: Option<Waker>,
}

/// A link that has not sent this many bytes is closed: the other replica does not read. It is enough for messages to tens
/// of thousands of players.
const MAX_OUTBOX_BYTES: usize = 1 << 20;

/// Maximum messages of a link that are handled under one lock. Fewer would take the lock more often, and more would make the
/// players wait.
const MESSAGES_PER_LOCK: usize = 64;

/// The next step of the cluster's task.
#[derive(Debug)]
pub(super) enum ClusterStep {
    /// Open a link.
    Connect(LinkId, String),
    /// Call [`DuelHub::on_time`] at this time, or when [`DuelHub::clock_changed`] ends.
    Wait(Option<Instant>),
}

impl DuelHub {
    /// Creates a hub without players, where a move is void `window` after it comes into play.
    #[must_use]
    pub fn new(window: Duration) -> Arc<Self> {
        Self::with_replica(Replica::new(window))
    }

    /// Creates a hub of a replica in a cluster. `seed` has to be secret, because the numbers of tickets follow from it.
    #[must_use]
    pub fn with_cluster(window: Duration, seed: [u8; 32]) -> Arc<Self> {
        Self::with_replica(Replica::new(window).with_cluster(seed, Instant::now().into_std()))
    }

    fn with_replica(replica: Replica) -> Arc<Self> {
        let state = HubState {
            replica,
            slots: Vec::new(),
            actions: Vec::new(),
            engine_calls: VecDeque::new(),
            connects: VecDeque::new(),
            outboxes: HashMap::new(),
            wakes_at: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            engine_called: Notify::new(),
            clock_changed: Notify::new(),
            claim_latency: LatencyHistogram::default(),
        })
    }

    /// Adds a player. The player leaves when the handle is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> PlayerHandle {
        let mut state = self.state();
        let id = state.replica.on_join();
        if state.slots.len() <= id.index() {
            state.slots.resize_with(id.index() + 1, Slot::default);
        }
        drop(state);
        PlayerHandle { hub: Arc::clone(self), id }
    }

    /// Sets the window of moves that come into play from now on.
    pub fn set_window(&self, window: Duration) {
        self.state().replica.set_window(window);
    }

    /// Returns the current stats of this replica's players.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        self.state().replica.stats()
    }

    /// Returns the current stats of the play with other replicas; `None` without a cluster.
    #[must_use]
    pub fn cluster_stats(&self) -> Option<ClusterStats> {
        self.state().replica.cluster_stats()
    }

    /// Returns the time from a claim to its acceptance.
    #[must_use]
    pub fn claim_latency(&self) -> &LatencyHistogram {
        &self.claim_latency
    }

    /// Gives the players of other replicas back to them, and takes no new ones.
    pub fn drain(&self) {
        self.apply(Replica::on_drain, |_| ());
    }

    /// Returns what the task of the cluster has to do next.
    pub(super) fn next_step(&self) -> ClusterStep {
        let mut state = self.state();
        if let Some((link, address)) = state.connects.pop_front() {
            return ClusterStep::Connect(link, address);
        }
        let wakes_at = state.replica.next_time().map(Instant::from_std);
        state.wakes_at = wakes_at;
        ClusterStep::Wait(wakes_at)
    }

    /// Waits until [`next_step`](Self::next_step) has something new.
    pub(super) async fn clock_changed(&self) {
        self.clock_changed.notified().await;
    }

    /// Reports to the replica that time has passed.
    pub(super) fn on_time(&self) {
        self.apply(Replica::on_time, |_| ());
    }

    /// Waits for the next call of the engine.
    pub(super) async fn next_engine_call(&self) -> EngineCall {
        loop {
            let called = self.engine_called.notified();
            if let Some(call) = self.state().engine_calls.pop_front() {
                return call;
            }
            called.await;
        }
    }

    /// Reports to the replica the engine's reply to [`EngineCall::Ask`].
    pub(super) fn on_engine_reply(&self, reply: EngineReply) {
        self.apply(|replica, now, actions| replica.on_engine_reply(reply, now, actions), |_| ());
    }

    /// Reports to the replica that the engine can be called again.
    pub(super) fn on_engine_up(&self) {
        self.apply(Replica::on_engine_up, |_| ());
    }

    /// Adds a link that another replica has opened; `None` if there are too many.
    pub(super) fn accept_link(self: &Arc<Self>) -> Option<LinkHandle> {
        let (link, ()) = self.apply(Replica::on_link_accepted, |_| ());
        Some(LinkHandle { hub: Arc::clone(self), link: link? })
    }

    /// Returns the handle of a link that this replica is about to open. The link is lost when the handle is dropped.
    pub(super) fn opening_link(self: &Arc<Self>, link: LinkId) -> LinkHandle {
        LinkHandle { hub: Arc::clone(self), link }
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        // A panic under this lock is a bug in the state machine. It closes the connection whose event it was; the
        // others continue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an event to the state machine, carries out its actions, and wakes the players and links that they concern.
    /// Returns the results of `event`, and of `take` after it.
    fn apply<T, R>(
        &self,
        event: impl FnOnce(&mut Replica, std::time::Instant, &mut Vec<Action>) -> T,
        take: impl FnOnce(&mut HubState) -> R,
    ) -> (T, R) {
        let mut wakers = Vec::new();
        let (mut calls_engine, mut changes_clock) = (false, false);
        let mut state = self.state();
        let mut actions = mem::take(&mut state.actions);
        // Read the clock under the lock, so that events are in the order of their times.
        let result = event(&mut state.replica, Instant::now().into_std(), &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Reply { player, reply } => {
                    let slot = &mut state.slots[player.index()];
                    slot.reply = Some(reply);
                    if let ReplyState::Ready(_) | ReplyState::Unknown = reply {
                        wakers.extend(slot.waker.take());
                    }
                }
                Action::Send { link, message } => state.send(link, message, &mut wakers),
                Action::Close { link } => state.close(link, &mut wakers),
                Action::Connect { link, address } => {
                    state.outboxes.insert(link, Outbox::default());
                    state.connects.push_back((link, address));
                    changes_clock = true;
                }
                Action::Engine(call) => {
                    state.engine_calls.push_back(call);
                    calls_engine = true;
                }
                Action::Accepted(after) => self.claim_latency.observe(after, 1),
            }
        }
        state.actions = actions;
        if let Some(next) = state.replica.next_time().map(Instant::from_std)
            && state.wakes_at.is_none_or(|wakes_at| next < wakes_at)
        {
            state.wakes_at = Some(next);
            changes_clock = true;
        }
        let taken = take(&mut state);
        drop(state);
        // Wake after the lock is released, since waking can take a system call.
        wakers.into_iter().for_each(Waker::wake);
        if calls_engine {
            self.engine_called.notify_one();
        }
        if changes_clock {
            self.clock_changed.notify_one();
        }
        (result, taken)
    }
}

impl HubState {
    fn send(&mut self, link: LinkId, message: Message, wakers: &mut Vec<Waker>) {
        let outbox = self.outboxes.entry(link).or_default();
        message.encode(&mut outbox.bytes);
        outbox.is_closing |= outbox.bytes.len() > MAX_OUTBOX_BYTES;
        wakers.extend(outbox.waker.take());
    }

    fn close(&mut self, link: LinkId, wakers: &mut Vec<Waker>) {
        let outbox = self.outboxes.entry(link).or_default();
        outbox.is_closing = true;
        wakers.extend(outbox.waker.take());
        if let Some(queued) = self.connects.iter().position(|(connect, _)| *connect == link) {
            // No task has the link yet.
            self.connects.remove(queued);
            self.outboxes.remove(&link);
        }
    }
}

/// A link to another replica. The link is lost when the handle is dropped.
#[derive(Debug)]
pub(super) struct LinkHandle {
    hub: Arc<DuelHub>,
    link: LinkId,
}

impl LinkHandle {
    /// The handshake of a link that this replica has opened is done.
    pub(super) fn on_open(&self) {
        self.hub.apply(|replica, now, actions| replica.on_link_open(self.link, now, actions), |_| ());
    }

    /// Handles the messages at the beginning of `input`, up to [`MESSAGES_PER_LOCK`]. Returns whether there may be more.
    ///
    /// # Errors
    ///
    /// Fails if the peer does not follow the protocol.
    pub(super) fn on_input(&self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let handle = |replica: &mut Replica, now, actions: &mut Vec<Action>| {
            for _ in 0..MESSAGES_PER_LOCK {
                let Some(message) = Message::decode(input)? else { return Ok(false) };
                replica.on_message(self.link, message, now, actions)?;
            }
            Ok(true)
        };
        self.hub.apply(handle, |_| ()).0
    }

    /// Appends the messages to send to `output`. Returns whether the link has to be closed.
    pub(super) fn take_output(&self, output: &mut BytesMut) -> bool {
        let mut state = self.hub.state();
        let Some(outbox) = state.outboxes.get_mut(&self.link) else { return true };
        output.extend_from_slice(&outbox.bytes);
        outbox.bytes.clear();
        outbox.is_closing
    }

    /// Polls whether there is something to send, or the link has to be closed.
    pub(super) fn poll_output(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.hub.state();
        match state.outboxes.get_mut(&self.link) {
            Some(outbox) if outbox.bytes.is_empty() && !outbox.is_closing => {
                match &mut outbox.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        let link = self.link;
        self.hub.apply(
            |replica, now, actions| replica.on_link_lost(link, now, actions),
            |state| state.outboxes.remove(&link),
        );
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
        self.apply(|replica, player, now, actions| replica.on_move(player, mv, now, actions), Slot::take_reply)
    }

    /// Takes the reply if it is ready or its deadline has passed. Otherwise returns its state.
    pub fn take_reply(&mut self) -> Option<ReplyState> {
        self.apply(Replica::on_timeout, Slot::take_reply)
    }

    /// Takes the reply. If it is not ready, the move becomes void: at once, or as soon as another replica that has the move
    /// confirms that it is not judged.
    pub fn stop_waiting(&mut self) -> Option<ReplyState> {
        self.apply(Replica::on_shutdown, Slot::take_reply)
    }

    /// Completes when the reply is ready.
    pub fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.hub.state();
        let slot = &mut state.slots[self.id.index()];
        if let Some(ReplyState::Ready(_) | ReplyState::Unknown) = slot.reply {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Returns a function that names the current activity of this player. It does not keep the hub. After the player
    /// has left, it returns `None`.
    pub(super) fn activity(&self) -> Activity {
        let connected = Arc::downgrade(self.hub.state().slots[self.id.index()].connected.get_or_insert_default());
        let (hub, id) = (Arc::downgrade(&self.hub), self.id);
        Arc::new(move || {
            let hub = hub.upgrade()?;
            // Under the lock, another player cannot get the slot in between.
            let state = hub.state();
            (connected.strong_count() > 0).then(|| state.replica.player_state(id).name())
        })
    }

    /// Applies an event of this player. Returns the result of `take` on this player's slot.
    fn apply<T>(
        &mut self,
        event: impl FnOnce(&mut Replica, PlayerId, std::time::Instant, &mut Vec<Action>),
        take: impl FnOnce(&mut Slot) -> T,
    ) -> T {
        let id = self.id;
        let take = |state: &mut HubState| take(&mut state.slots[id.index()]);
        self.hub.apply(|replica, now, actions| event(replica, id, now, actions), take).1
    }
}

impl Drop for PlayerHandle {
    fn drop(&mut self) {
        self.apply(Replica::on_leave, mem::take);
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

    #[test]
    fn the_activity_of_a_player_that_has_left_is_not_that_of_the_next_one() {
        let hub = DuelHub::new(Duration::from_secs(30));
        let mut player = hub.join();
        let (first, second) = (player.activity(), player.activity());
        assert_eq!(first(), Some("no_partner"));
        assert!(matches!(player.play(Move::Rock), Some(ReplyState::Pending { .. })));
        assert_eq!((first(), second()), (Some("in_lobby"), Some("in_lobby")));
        let slot = player.id;
        drop(player);
        assert_eq!(first(), None);
        let next = hub.join();
        assert_eq!(next.id, slot, "the new player gets the free slot");
        assert_eq!((first(), second(), next.activity()()), (None, None, Some("no_partner")));
        let activity = next.activity();
        let weak = Arc::downgrade(&hub);
        drop((next, hub));
        assert_eq!((activity(), weak.strong_count()), (None, 0));
    }
}
