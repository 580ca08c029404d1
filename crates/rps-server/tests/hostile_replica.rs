//! Another replica that sends random messages. It can end the rounds of the players behind it, and nothing else: this replica
//! goes on, and each of its players' moves gets at most one reply, and by the end of its window.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use proto::wire::link::Message;
use proto::wire::rps::{Move, Outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::replica::{Action, EngineCall, EngineReply, LinkId, Replica, Ticket};
use rps_server::duel::rounds::{PlayerId, ReplyState};

const SEEDS: u64 = 20_000;
const WINDOW: Duration = Duration::from_secs(3);

struct Game {
    random: StdRng,
    replica: Replica,
    actions: Vec<Action>,
    now: Instant,
    /// The end of the window of each player's move in play.
    players: HashMap<PlayerId, Option<Instant>>,
    links: Vec<LinkId>,
    /// The ticket of this replica that it has posted last.
    nonce: u128,
    asks: usize,
    /// The last claim of this replica.
    claim: Option<(LinkId, u64)>,
    /// What happened, for the coverage.
    accepted: u64,
    broken: u64,
    verdicts: u64,
    unknown: u64,
}

impl Game {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            random: StdRng::seed_from_u64(seed),
            replica: Replica::new(WINDOW).with_cluster([7; 32], now),
            actions: Vec::new(),
            now,
            players: HashMap::new(),
            links: Vec::new(),
            nonce: 0,
            asks: 0,
            claim: None,
            accepted: 0,
            broken: 0,
            verdicts: 0,
            unknown: 0,
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..20) {
            0 if self.players.len() < 4 => {
                let player = self.replica.on_join();
                assert!(self.players.insert(player, None).is_none(), "the id of a player who is there");
            }
            1..6 => {
                if let Some(player) = self.player(Option::is_none) {
                    let mv = Move::ALL[self.random.random_range(0..3)];
                    self.players.insert(player, Some(self.now + WINDOW));
                    self.replica.on_move(player, mv, self.now, &mut self.actions);
                }
            }
            6 => {
                if let Some(player) = self.player(|_| true) {
                    self.players.remove(&player);
                    self.replica.on_leave(player, self.now, &mut self.actions);
                }
            }
            7 if self.links.len() < 3 => {
                self.links.extend(self.replica.on_link_accepted(self.now, &mut self.actions));
            }
            8 => self.answer_engine(),
            9..11 => {
                self.now += Duration::from_millis(self.random.random_range(0..400));
                self.replica.on_time(self.now, &mut self.actions);
            }
            _ => self.send(),
        }
        self.carry_out();
        for player in self.players.keys().copied().collect::<Vec<_>>() {
            // The player's connection does this at the deadline of its move.
            self.replica.on_timeout(player, self.now, &mut self.actions);
            self.carry_out();
        }
        for in_play in self.players.values().flatten() {
            assert!(*in_play > self.now, "a move has no reply at the end of its window");
        }
        assert_eq!(self.replica.stats().players, self.players.len());
    }

    fn player(&mut self, condition: impl Fn(&Option<Instant>) -> bool) -> Option<PlayerId> {
        let mut players: Vec<_> =
            self.players.iter().filter(|(_, in_play)| condition(in_play)).map(|(id, _)| *id).collect();
        players.sort_unstable();
        (!players.is_empty()).then(|| players[self.random.random_range(0..players.len())])
    }

    fn answer_engine(&mut self) {
        if self.asks == 0 {
            return;
        }
        self.asks -= 1;
        let ticket = Ticket { nonce: 5, address: format!("h:{}", self.random.random_range(1..3)) };
        let reply = match self.random.random_range(0..4) {
            0 => EngineReply::Posted,
            1 => EngineReply::Failed,
            _ => EngineReply::Taken(ticket),
        };
        self.replica.on_engine_reply(reply, self.now, &mut self.actions);
    }

    /// Sends a random message. Numbers are small, so that they often fit.
    fn send(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let link = self.links[self.random.random_range(0..self.links.len())];
        let (mut link, mut session, number) = (link, self.random.random_range(0..8), self.random.random_range(0..4));
        if let Some(claim) = self.claim
            && self.random.random_bool(0.5)
        {
            (link, session) = claim;
        }
        let time = |random: &mut StdRng| match random.random_range(0..10) {
            0 => u64::MAX,
            1 => 0,
            _ => random.random_range(0..20_000_000),
        };
        let message = match self.random.random_range(0..12) {
            0 => Message::Clock { micros: time(&mut self.random) },
            1 | 2 => {
                let nonce = if self.random.random_bool(0.8) { self.nonce } else { 5 };
                Message::Claim { session, nonce }
            }
            3 | 4 => Message::Accept { session },
            5 => Message::Refuse { session },
            6 => {
                let mv = Move::ALL[self.random.random_range(0..3)];
                let (patience_end, window_end) = (time(&mut self.random), time(&mut self.random));
                Message::Move { session, number, mv, patience_end, window_end }
            }
            7 => {
                let outcome = [Outcome::Draw, Outcome::Win, Outcome::Lose][self.random.random_range(0..3)];
                Message::Verdict { session, number, outcome }
            }
            8 => Message::Return { session, number },
            9 => Message::PartnerMoved { session },
            10 => Message::Dissolve { session },
            _ if self.random.random_bool(0.5) => Message::Leave { session },
            _ => Message::Withdraw { session },
        };
        if self.replica.on_message(link, message, self.now, &mut self.actions).is_err() {
            self.broken += 1;
            // Half of the messages are those of the other side, so not each one closes the link.
            if self.random.random_bool(0.1) {
                self.links.retain(|other| *other != link);
                self.replica.on_link_lost(link, self.now, &mut self.actions);
            }
        }
    }

    fn carry_out(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.carry_out_one(&action);
            }
        }
    }

    fn carry_out_one(&mut self, action: &Action) {
        match *action {
            Action::Reply { player, reply } => {
                let in_play = self.players.get_mut(&player).unwrap_or_else(|| panic!("{player:?} has left"));
                assert!(in_play.is_some(), "a reply without a move");
                match reply {
                    ReplyState::Pending { .. } => {}
                    ReplyState::Ready(_) => {
                        self.verdicts += 1;
                        *in_play = None;
                    }
                    ReplyState::Unknown => {
                        self.unknown += 1;
                        // The connection closes.
                        self.players.remove(&player);
                        self.replica.on_leave(player, self.now, &mut self.actions);
                    }
                }
            }
            Action::Engine(EngineCall::Ask { nonce, .. }) => {
                self.nonce = nonce;
                self.asks += 1;
            }
            Action::Send { link, message: Message::Claim { session, .. } } => self.claim = Some((link, session)),
            Action::Engine(EngineCall::Withdraw { .. }) | Action::Send { .. } => {}
            Action::Connect { link, .. } => {
                self.links.push(link);
                self.replica.on_link_open(link, self.now, &mut self.actions);
            }
            Action::Close { link } => self.links.retain(|other| *other != link),
            Action::Accepted(_) => self.accepted += 1,
        }
    }
}

#[test]
fn a_replica_survives_random_messages_and_its_players_get_their_replies() {
    let [mut accepted, mut broken, mut verdicts, mut unknown, mut guests] = [0; 5];
    for seed in 0..SEEDS {
        let mut game = Game::new(seed);
        let played = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..100 {
                game.step();
                guests += game.replica.cluster_stats().unwrap().guests as u64;
            }
        }));
        if let Err(panic) = played {
            println!("seed {seed}");
            resume_unwind(panic);
        }
        accepted += game.accepted;
        broken += game.broken;
        verdicts += game.verdicts;
        unknown += game.unknown;
    }
    println!("{accepted} accepted, {guests} guests, {broken} invalid, {verdicts} replies, {unknown} unknown");
    for (count, case) in [
        (accepted, "claims accepted by the hostile replica"),
        (guests, "guests of the hostile replica"),
        (broken, "invalid messages"),
        (verdicts, "replies"),
        (unknown, "unknown outcomes"),
    ] {
        assert!(count > SEEDS / 500, "{case}: {count}");
    }
}
