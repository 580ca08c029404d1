//! One replica's part of the duel as a state machine: events in, actions out, without sockets, clocks or tasks.
//!
//! It depends on [`rounds`] and on the messages of [`link`](proto::wire::link). Without a cluster, it passes the events of
//! players to the rounds. A cluster adds four parts, each in a file:
//!
//! - `tickets`: finds players of other replicas, with tickets in the engine;
//! - `away`: this replica's players whose moves another replica judges;
//! - `guests`: other replicas' players whose moves this replica judges;
//! - `links`: the links, their clocks and their timeouts.
//!
//! [`cluster`](super::cluster) explains how they work together. The caller passes the time of each event, which must not
//! decrease, and carries out the actions in their order.

mod away;
mod guests;
mod links;
mod tickets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use proto::wire::link::Message;
use proto::wire::rps::Move;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::rounds::{self, DuelStats, PlayerId, PlayerState, ReplyState, Rounds};
use away::Away;
use guests::Guest;
use links::Link;
pub use links::{LinkId, ProtocolError};
use tickets::Tickets;
pub use tickets::{EngineCall, EngineReply, Ticket};

/// Maximum links that this replica has opened, and maximum links that it has accepted.
pub const MAX_LINKS: usize = 64;
/// Maximum time from a claim to its reply, and from there to the move. The time to connect is part of the first.
pub const CLAIM_TIMEOUT: Duration = Duration::from_millis(250);
/// Both sides of a link send their clock at this interval.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// A link is closed when nothing has arrived for this long.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(3);
/// A player who waits asks the engine again at this interval, which heals lost tickets.
pub const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// After a claim without success, the engine is asked again after a random time up to this, so that two replicas that
/// claim each other's tickets do not do so again and again.
pub const MAX_RETRY_DELAY: Duration = Duration::from_millis(100);
/// In a drain, the owner of a move has this long to confirm its withdrawal.
pub const WITHDRAW_TIMEOUT: Duration = Duration::from_millis(500);

/// A result of an event, for the caller to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The new state of the reply to a player's move.
    Reply {
        /// The player of this replica.
        player: PlayerId,
        /// The new state of the reply.
        reply: ReplyState,
    },
    /// Call the engine. The reply to [`EngineCall::Ask`] is an event: [`Replica::on_engine_reply`].
    Engine(EngineCall),
    /// Connect to another replica and make the handshake. Then call [`Replica::on_link_open`] or [`Replica::on_link_lost`].
    Connect {
        /// The new link.
        link: LinkId,
        /// The endpoint in the ticket.
        address: String,
    },
    /// Send a message on a link.
    Send {
        /// The link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a link. The state machine has removed it already.
    Close {
        /// The link.
        link: LinkId,
    },
    /// A claim was accepted, after this time.
    Accepted(Duration),
}

/// The result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimResult {
    /// The two players are partners.
    Accepted,
    /// The ticket's move did not wait any more.
    Refused,
    /// The owner did not reply in time.
    TimedOut,
    /// The link could not be opened or was lost.
    LinkLost,
}

impl ClaimResult {
    /// All results, in the order of [`ClusterStats::claims`].
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::TimedOut, Self::LinkLost];

    /// Returns the result's name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::LinkLost => "link_lost",
        }
    }
}

/// Totals, and current numbers, of the play with other replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterStats {
    /// Claims by result, in the order of [`ClaimResult::ALL`].
    pub claims: [u64; ClaimResult::ALL.len()],
    /// Tickets that this replica has posted, each counted once.
    pub tickets_posted: u64,
    /// Tickets of other replicas that this replica has taken.
    pub tickets_taken: u64,
    /// Posted tickets whose move was void.
    pub tickets_expired: u64,
    /// Claims of other replicas that this replica has refused.
    pub tickets_refused: u64,
    /// Moves whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// Links that are open, in both directions.
    pub links: usize,
    /// Players of this replica whose moves another replica judges.
    pub away: usize,
    /// Players of other replicas whose moves this replica judges.
    pub guests: usize,
}

/// The players of one replica, and its part in a cluster.
#[derive(Debug)]
pub struct Replica {
    rounds: Rounds,
    /// The results of the rounds within an event; empty between events.
    results: Vec<rounds::Action>,
    cluster: Option<Box<Cluster>>,
}

/// The state that a replica has only in a cluster.
#[derive(Debug)]
struct Cluster {
    /// For nonces and delays.
    random: StdRng,
    /// Time 0 of the clock that other replicas see.
    epoch: Instant,
    is_draining: bool,
    /// When to call `on_timeout`, for guests, and for players whose connection has a later deadline. A call too early has
    /// no effect.
    timers: BTreeSet<(Instant, PlayerId)>,
    tickets: Tickets,
    away: HashMap<PlayerId, Away>,
    /// The sessions of this replica's players, at the other end of the link.
    sessions: BTreeMap<(LinkId, u64), PlayerId>,
    last_session: u64,
    guests: HashMap<PlayerId, Guest>,
    /// The sessions of other replicas' players.
    guest_sessions: BTreeMap<(LinkId, u64), PlayerId>,
    links: BTreeMap<LinkId, Link>,
    last_link: u64,
    stats: ClusterStats,
}

/// An event that is being handled.
struct Turn<'a> {
    rounds: &'a mut Rounds,
    results: &'a mut Vec<rounds::Action>,
    now: Instant,
    actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    fn bring_into_play(&mut self, player: PlayerId, in_play: rounds::InPlay) {
        self.rounds.on_in_play(player, in_play, self.now, self.results);
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.actions.push(Action::Send { link, message });
    }

    fn reply(&mut self, player: PlayerId, reply: ReplyState) {
        if let ReplyState::Ready(reply) = reply {
            self.rounds.count(reply);
        }
        self.actions.push(Action::Reply { player, reply });
    }
}

impl Replica {
    /// Creates a replica without a cluster, in which a move is void `window` after it comes into play.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { rounds: Rounds::new(window), results: Vec::new(), cluster: None }
    }

    /// Makes the replica part of a cluster. `seed` has to be secret, because the numbers of tickets follow from it.
    #[must_use]
    pub fn with_cluster(mut self, seed: [u8; 32], now: Instant) -> Self {
        self.cluster = Some(Box::new(Cluster {
            random: StdRng::from_seed(seed),
            epoch: now,
            is_draining: false,
            timers: BTreeSet::new(),
            tickets: Tickets::new(now),
            away: HashMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            guests: HashMap::new(),
            guest_sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
            stats: ClusterStats::default(),
        }));
        self
    }

    /// Sets the window of moves that come into play from now on. Moves in play keep their deadlines.
    pub fn set_window(&mut self, window: Duration) {
        self.rounds.set_window(window);
    }

    /// Returns the current stats of this replica's players.
    #[must_use]
    pub fn stats(&self) -> DuelStats {
        self.rounds.stats()
    }

    /// Returns the current stats of the play with other replicas; `None` without a cluster.
    #[must_use]
    pub fn cluster_stats(&self) -> Option<ClusterStats> {
        let cluster = self.cluster.as_deref()?;
        Some(ClusterStats {
            links: cluster.links.values().filter(|link| link.is_open()).count(),
            away: cluster.away.values().filter(|away| away.is_paired()).count(),
            guests: cluster.guests.len(),
            ..cluster.stats
        })
    }

    /// Returns the current activity of a player of this replica.
    #[must_use]
    pub fn player_state(&self, player: PlayerId) -> PlayerState {
        let away = self.cluster.as_deref().and_then(|cluster| cluster.away.get(&player));
        if away.is_some_and(Away::is_paired) {
            PlayerState::AtOtherReplica
        } else if away.is_some_and(Away::has_claim) {
            PlayerState::MoveInPlay
        } else {
            self.rounds.player_state(player)
        }
    }

    /// Event: a player connects.
    pub fn on_join(&mut self) -> PlayerId {
        self.rounds.on_join()
    }

    /// Event: a player who has no move in play moves.
    pub fn on_move(&mut self, player: PlayerId, mv: Move, now: Instant, actions: &mut Vec<Action>) {
        self.turn(now, actions, |cluster, turn| {
            let in_play = turn.rounds.new_move(mv, now);
            match cluster {
                Some(cluster) => cluster.bring_into_play(player, in_play, turn),
                None => turn.bring_into_play(player, in_play),
            }
        });
    }

    /// Event: the deadline of the player's reply may have passed. A call before the deadline has no effect.
    pub fn on_timeout(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        self.turn(now, actions, |cluster, turn| match cluster {
            Some(cluster) => cluster.on_timeout(player, turn),
            None => turn.rounds.on_timeout(player, now, turn.results),
        });
    }

    /// Event: the server drains, and this player waits no longer for a partner's move. If another replica has the move, the
    /// reply stays pending until that replica has confirmed that the move is not judged.
    pub fn on_shutdown(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        self.turn(now, actions, |cluster, turn| match cluster {
            Some(cluster) => cluster.on_shutdown(player, turn),
            None => turn.rounds.on_shutdown(player, now, turn.results),
        });
    }

    /// Event: a player leaves. A move that it has in play is withdrawn.
    pub fn on_leave(&mut self, player: PlayerId, now: Instant, actions: &mut Vec<Action>) {
        self.turn(now, actions, |cluster, turn| {
            if let Some(cluster) = cluster {
                cluster.on_player_left(player, turn);
            }
            turn.rounds.on_leave(player, now, turn.results);
        });
    }

    /// Event: the server drains. Players of other replicas go back to them, and no new ones come.
    pub fn on_drain(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, Cluster::on_drain);
    }

    /// Event: the engine has replied to [`EngineCall::Ask`], or that call has failed or timed out.
    pub fn on_engine_reply(&mut self, reply: EngineReply, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, |cluster, turn| cluster.on_engine_reply(reply, turn));
    }

    /// Event: the engine can be called again.
    pub fn on_engine_up(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, |cluster, turn| cluster.tickets.ask_at(turn.now));
    }

    /// Event: a replica has connected, and has made the handshake. Returns the new link; `None` if there are too many.
    pub fn on_link_accepted(&mut self, now: Instant, actions: &mut Vec<Action>) -> Option<LinkId> {
        self.cluster_turn(now, actions, Cluster::on_link_accepted).flatten()
    }

    /// Event: this replica has connected, and has made the handshake.
    pub fn on_link_open(&mut self, link: LinkId, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, |cluster, turn| cluster.on_link_open(link, turn));
    }

    /// Event: a link could not be opened, or is closed.
    pub fn on_link_lost(&mut self, link: LinkId, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, |cluster, turn| cluster.on_link_lost(link, turn));
    }

    /// Event: a message has arrived.
    ///
    /// # Errors
    ///
    /// Fails if the peer does not follow the protocol. The caller closes the link, and calls
    /// [`on_link_lost`](Self::on_link_lost).
    pub fn on_message(
        &mut self,
        link: LinkId,
        message: Message,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        let handled = self.cluster_turn(now, actions, |cluster, turn| cluster.on_message(link, message, turn));
        handled.unwrap_or(Ok(()))
    }

    /// Event: time has passed. The caller calls this at [`next_time`](Self::next_time) at the latest.
    pub fn on_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.cluster_turn(now, actions, Cluster::on_time);
    }

    /// Returns when to call [`on_time`](Self::on_time).
    #[must_use]
    pub fn next_time(&self) -> Option<Instant> {
        let cluster = self.cluster.as_deref()?;
        let timer = cluster.timers.first().map(|(at, _)| *at);
        let links = cluster.links.values().map(Link::next_time);
        let ask = if cluster.is_draining { None } else { cluster.tickets.next_time(&self.rounds) };
        links.chain(timer).chain(ask).min()
    }

    fn cluster_turn<T>(
        &mut self,
        now: Instant,
        actions: &mut Vec<Action>,
        event: impl FnOnce(&mut Cluster, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        self.turn(now, actions, |cluster, turn| cluster.map(|cluster| event(cluster, turn)))
    }

    fn turn<T>(
        &mut self,
        now: Instant,
        actions: &mut Vec<Action>,
        event: impl FnOnce(Option<&mut Cluster>, &mut Turn<'_>) -> T,
    ) -> T {
        let Self { rounds, results, cluster } = self;
        // Not empty only after a panic in the last event.
        results.clear();
        let mut turn = Turn { rounds, results, now, actions };
        let result = event(cluster.as_deref_mut(), &mut turn);
        match cluster {
            Some(cluster) => {
                cluster.carry_out(&mut turn);
                cluster.keep_ticket(&mut turn);
            }
            None => turn.actions.extend(turn.results.drain(..).filter_map(|action| match action {
                rounds::Action::Reply { player, reply } => Some(Action::Reply { player, reply }),
                // Only for guests, which exist only in a cluster.
                _ => None,
            })),
        }
        result
    }
}

impl Cluster {
    /// Carries out the results of the rounds so far. An event that removes guests does this first, since a result can name
    /// them.
    fn carry_out(&mut self, turn: &mut Turn<'_>) {
        let mut done = 0;
        // Carrying out a result can add others.
        while let Some(&result) = turn.results.get(done) {
            done += 1;
            match result {
                rounds::Action::Reply { player, reply } if self.guests.contains_key(&player) => {
                    self.on_guest_reply(player, reply, turn);
                }
                rounds::Action::Reply { player, reply } => {
                    if let ReplyState::Ready(reply) = reply {
                        self.on_reply_here(player, reply, turn);
                    }
                    turn.actions.push(Action::Reply { player, reply });
                }
                rounds::Action::Return { guest } => self.return_move(guest, turn),
                rounds::Action::PartnerMoved { guest } => self.on_partner_of_guest_moved(guest, turn),
                rounds::Action::Dismiss { guest } => self.dismiss(guest, turn),
            }
        }
        turn.results.clear();
    }

    fn on_time(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(at, player)) = self.timers.first().filter(|(at, _)| *at <= turn.now) {
            self.timers.remove(&(at, player));
            // The player may have left, and a later player may have its id.
            if turn.rounds.contains(player) {
                self.on_timeout(player, turn);
            }
        }
        // No ticket is posted for a move whose window has ended, so `next_time` would stay in the past until the player's
        // connection reports the timeout.
        if let Some((player, _)) = turn.rounds.waiting() {
            turn.rounds.on_timeout(player, turn.now, turn.results);
        }
        self.carry_out(turn);
        self.check_links(turn);
    }

    fn on_timeout(&mut self, player: PlayerId, turn: &mut Turn<'_>) {
        if !self.on_timeout_away(player, turn) {
            turn.rounds.on_timeout(player, turn.now, turn.results);
        }
    }

    fn on_drain(&mut self, turn: &mut Turn<'_>) {
        self.is_draining = true;
        for guest in self.guests.keys().copied().collect::<Vec<_>>() {
            self.dismiss(guest, turn);
        }
    }

    fn on_message(&mut self, link: LinkId, message: Message, turn: &mut Turn<'_>) -> Result<(), ProtocolError> {
        // The link may be lost already.
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        state.on_received(turn.now);
        let is_taker = state.is_outgoing();
        match (message, is_taker) {
            (Message::Clock { micros }, _) => state.set_clock(micros, turn.now),
            (Message::Accept { session }, true) => self.on_accept(link, session, turn)?,
            (Message::Refuse { session }, true) => self.on_refuse(link, session, turn)?,
            (Message::Verdict { session, number, outcome }, true) => {
                self.on_verdict(link, session, number, outcome, turn)?;
            }
            (Message::Return { session, number }, true) => self.on_return(link, session, number, turn)?,
            (Message::PartnerMoved { session }, true) => self.on_partner_moved(link, session, turn),
            (Message::Dissolve { session }, true) => self.on_dissolve(link, session, turn),
            (Message::Claim { session, nonce }, false) => self.on_claim(link, session, nonce, turn)?,
            (Message::Move { session, number, mv, patience_end, window_end }, false) => {
                let deadlines = (self.epoch_time(patience_end)?, self.epoch_time(window_end)?);
                self.on_guest_move(link, session, number, mv, deadlines, turn)?;
            }
            (Message::Leave { session }, false) => self.on_guest_left(link, session, turn),
            (Message::Withdraw { session }, false) => self.on_withdraw(link, session, turn),
            _ => return Err(ProtocolError::WrongSide),
        }
        Ok(())
    }

    fn retry_delay(&mut self) -> Duration {
        self.random.random_range(Duration::ZERO..MAX_RETRY_DELAY)
    }
}
