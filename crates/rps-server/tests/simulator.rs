//! Plays random games on the duel's state machine and checks the rule after each event. A seed repeats a game.
//!
//! The model knows only events and replies; it learns from the replies which players are partners. This command plays one
//! game and prints its events: `DUEL_SEED=17 cargo test -p rps-server --test simulator -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "prints the seed of a failing game, and events on request")]

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use proto::wire::rps::{Move, Outcome, Reply};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::rounds::{Action, PlayerId, ReplyState, Rounds};
use rps_server::game::judge;

const SEEDS: u64 = 100_000;

#[test]
fn a_hundred_thousand_random_games_follow_the_rule() {
    if let Ok(seed) = env::var("DUEL_SEED") {
        play(seed.parse().unwrap(), true, &mut Coverage::default());
        return;
    }
    let mut coverage = Coverage::default();
    for seed in 0..SEEDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, false, &mut coverage))) {
            println!("seed {seed}: DUEL_SEED={seed} cargo test -p rps-server --test simulator -- --nocapture");
            resume_unwind(panic);
        }
    }
    println!("{coverage:?}");
    // Each case must occur often enough, since a case that never occurs is not tested.
    let Coverage {
        rounds,
        repeated_pairs,
        voids,
        late_voids,
        drain_voids,
        at_deadline,
        withdrawn,
        unpaired_judged,
        unpaired_void,
        left_late_partner,
        judged_with_late_partner,
        at_patience_end,
    } = coverage;
    for (count, case) in [
        (rounds, "rounds"),
        (repeated_pairs, "players who met the same partner again"),
        (voids, "void moves"),
        (late_voids, "void moves whose timeout was reported late"),
        (drain_voids, "void moves in a drain"),
        (at_deadline, "moves at the end of another move's window"),
        (withdrawn, "moves withdrawn by a reset"),
        (unpaired_judged, "moves judged after the partner left"),
        (unpaired_void, "moves void after the partner left"),
        (left_late_partner, "moves that met another move because the partner was late"),
        (judged_with_late_partner, "moves judged with the partner although it was late"),
        (at_patience_end, "moves at the end of another move's patience"),
    ] {
        assert!(count > SEEDS / 100, "{case}: {count}");
    }
}

/// How often each case occurred.
#[derive(Clone, Copy, Debug, Default)]
struct Coverage {
    rounds: u64,
    repeated_pairs: u64,
    voids: u64,
    late_voids: u64,
    drain_voids: u64,
    at_deadline: u64,
    withdrawn: u64,
    unpaired_judged: u64,
    unpaired_void: u64,
    left_late_partner: u64,
    judged_with_late_partner: u64,
    at_patience_end: u64,
}

fn play(seed: u64, print_events: bool, coverage: &mut Coverage) {
    let mut game = Game::new(seed, print_events, coverage);
    for _ in 0..game.random.random_range(20..120) {
        game.step();
    }
    game.finish();
}

/// A player of the model.
#[derive(Debug)]
struct SimulatedPlayer {
    id: PlayerId,
    in_play: Option<SimulatedMove>,
    /// The opponent of the last judged round, until the pair is dissolved.
    partner: Option<PlayerId>,
}

#[derive(Clone, Copy, Debug)]
struct SimulatedMove {
    mv: Move,
    since: Duration,
    /// Whether the partner left while the move was in play.
    unpaired: bool,
    /// The deadline that the state machine has returned: the end of the patience, or of the window in the lobby.
    deadline: Option<Duration>,
}

impl SimulatedMove {
    /// Returns the end of the patience and the end of the window.
    fn ends(&self, window: Duration) -> (Duration, Duration) {
        (self.since + window / 10, self.since + window)
    }

    fn is_in_lobby(&self, window: Duration) -> bool {
        self.deadline == Some(self.ends(window).1)
    }
}

struct Game<'a> {
    random: StdRng,
    print_events: bool,
    rounds: Rounds,
    actions: Vec<Action>,
    start: Instant,
    now: Duration,
    window: Duration,
    max_players: usize,
    /// Whether each timeout is reported exactly at its deadline, or possibly later.
    punctual: bool,
    players: Vec<SimulatedPlayer>,
    replies: u64,
    pairs_dissolved: u64,
    coverage: &'a mut Coverage,
}

impl<'a> Game<'a> {
    fn new(seed: u64, print_events: bool, coverage: &'a mut Coverage) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let window = Duration::from_millis(random.random_range(1..40));
        Self {
            print_events,
            rounds: Rounds::new(window),
            actions: Vec::new(),
            start: Instant::now(),
            now: Duration::ZERO,
            window,
            max_players: random.random_range(1..7),
            punctual: random.random_bool(0.5),
            players: Vec::new(),
            replies: 0,
            pairs_dissolved: 0,
            coverage,
            random,
        }
    }

    /// Delivers a random event, or advances the time.
    fn step(&mut self) {
        let player = (!self.players.is_empty()).then(|| self.random.random_range(0..self.players.len()));
        match (self.random.random_range(0..100), player) {
            (0..10, _) if self.players.len() < self.max_players => self.join(),
            (10..65, Some(player)) if self.players[player].in_play.is_none() => self.make_move(player),
            // To leave with a move in play is a reset.
            (65..72, Some(player)) => self.leave(player),
            (72..74, Some(player)) => self.time_out(player),
            (74..76, Some(player)) if self.players[player].in_play.is_some() => self.shut_down(player),
            (76..100, _) => self.pass_time(),
            _ => {}
        }
    }

    fn join(&mut self) {
        let id = self.rounds.on_join();
        assert!(self.players.iter().all(|other| other.id != id), "two players with the same id");
        self.players.push(SimulatedPlayer { id, in_play: None, partner: None });
        self.check_actions("joins", id, false);
    }

    fn make_move(&mut self, player: usize) {
        let mv = Move::ALL[self.random.random_range(0..3)];
        for (patience_end, window_end) in
            self.players.iter().filter_map(|other| other.in_play).map(|in_play| in_play.ends(self.window))
        {
            self.coverage.at_deadline += u64::from(window_end == self.now);
            self.coverage.at_patience_end += u64::from(patience_end == self.now);
        }
        let player = &mut self.players[player];
        let id = player.id;
        player.in_play = Some(SimulatedMove { mv, since: self.now, unpaired: false, deadline: None });
        self.rounds.on_move(id, mv, self.start + self.now, &mut self.actions);
        self.check_actions("moves", id, false);
    }

    fn leave(&mut self, player: usize) {
        let left = self.players.swap_remove(player);
        self.coverage.withdrawn += u64::from(left.in_play.is_some());
        if let Some(partner) = left.partner {
            self.pairs_dissolved += 1;
            let partner = self.player(partner);
            partner.partner = None;
            if let Some(in_play) = &mut partner.in_play {
                in_play.unpaired = true;
            }
        }
        self.rounds.on_leave(left.id, self.start + self.now, &mut self.actions);
        self.check_actions("leaves", left.id, false);
    }

    fn time_out(&mut self, player: usize) {
        let id = self.players[player].id;
        self.rounds.on_timeout(id, self.start + self.now, &mut self.actions);
        self.check_actions("times out", id, false);
        if let Some(in_play) = self.player(id).in_play {
            let (patience_end, window_end) = in_play.ends(self.window);
            assert!(self.now < window_end, "still in play after the timeout at the end of its window");
            assert!(
                self.now < patience_end || in_play.is_in_lobby(self.window),
                "not in the lobby after the timeout at the end of its patience"
            );
        }
    }

    fn shut_down(&mut self, player: usize) {
        let id = self.players[player].id;
        self.rounds.on_shutdown(id, self.start + self.now, &mut self.actions);
        self.check_actions("is shut down", id, true);
        assert!(self.player(id).in_play.is_none(), "still in play after the shutdown");
    }

    /// Advances the time by a random step, or to just before, at, or just after the next deadline.
    fn pass_time(&mut self) {
        let tick = Duration::from_millis(1);
        let next = self.players.iter().filter_map(|player| player.in_play?.deadline).filter(|at| *at > self.now).min();
        let to = match (self.random.random_range(0..5), next) {
            (0, Some(next)) => next.saturating_sub(tick).max(self.now),
            (1 | 2, Some(next)) => next,
            (3, Some(next)) => next + tick,
            _ => self.now + tick * self.random.random_range(0..20),
        };
        self.advance(to);
        if self.random.random_bool(0.5) {
            self.time_out_overdue();
        }
    }

    fn advance(&mut self, to: Duration) {
        while self.punctual && self.now < to {
            // Report each timeout before the time advances; other events at the same instant may come first.
            self.time_out_overdue();
            self.now = self.players.iter().filter_map(|player| player.in_play?.deadline).min().unwrap_or(to).min(to);
        }
        self.now = to;
    }

    fn time_out_overdue(&mut self) {
        let now = self.now;
        let is_overdue =
            |player: &SimulatedPlayer| player.in_play.and_then(|in_play| in_play.deadline).is_some_and(|at| at <= now);
        while let Some(player) = self.players.iter().position(is_overdue) {
            self.time_out(player);
        }
    }

    /// Checks the actions of an event against the rule.
    fn check_actions(&mut self, event: &str, of: PlayerId, is_shutdown: bool) {
        let actions = std::mem::take(&mut self.actions);
        if self.print_events {
            println!("{:?}: {of:?} {event}: {actions:?}", self.now);
        }
        let mut judged = Vec::new();
        for &action in &actions {
            let Action::Reply { player: id, reply } = action else { panic!("{action:?} without guests") };
            if let ReplyState::Ready(reply) = reply {
                let in_play = self.player(id).in_play.take().expect("a move in play for each reply");
                self.replies += 1;
                match reply {
                    Reply::Void => self.check_void(id, in_play, is_shutdown),
                    Reply::Judged(outcome) => judged.push((id, in_play, outcome)),
                    Reply::NotAMove | Reply::Full => panic!("{reply:?} is not a reply to a move"),
                }
            }
        }
        match judged[..] {
            [] => {}
            [one, other] => self.check_round(one, other),
            _ => panic!("an event judges at most one round: {judged:?}"),
        }
        // After the replies, since they dissolve pairs. A move can enter the lobby and meet the partner's in one event.
        let of = |action: &Action| if let Action::Reply { player, .. } = action { Some(*player) } else { None };
        for (index, &action) in actions.iter().enumerate() {
            if let Action::Reply { player: id, reply: ReplyState::Pending { deadline } } = action
                && actions[index + 1..].iter().all(|later| of(later) != Some(id))
            {
                self.check_pending(id, deadline - self.start);
            }
        }
        self.actions = actions;
        self.actions.clear();
        self.check_invariants();
    }

    fn check_pending(&mut self, id: PlayerId, deadline: Duration) {
        let (now, window) = (self.now, self.window);
        let player = self.player(id);
        let in_play = player.in_play.as_mut().expect("a move in play for each deadline");
        let (patience_end, window_end) = in_play.ends(window);
        let waits_for_partner = player.partner.is_some() && now < patience_end;
        assert_eq!(deadline, if waits_for_partner { patience_end } else { window_end }, "the wrong deadline");
        in_play.deadline = Some(deadline);
    }

    fn check_void(&mut self, id: PlayerId, in_play: SimulatedMove, is_shutdown: bool) {
        let end = in_play.since + self.window;
        if is_shutdown {
            self.coverage.drain_voids += 1;
        } else {
            assert!(self.now >= end, "void before the end of its window");
            assert!(!self.punctual || self.now == end, "void after the end of its window");
            self.coverage.late_voids += u64::from(self.now > end);
            self.coverage.unpaired_void += u64::from(in_play.unpaired);
        }
        self.coverage.voids += 1;
        if let Some(partner) = self.player(id).partner.take() {
            self.pairs_dissolved += 1;
            self.player(partner).partner = None;
        }
    }

    fn check_round(&mut self, one: (PlayerId, SimulatedMove, Outcome), other: (PlayerId, SimulatedMove, Outcome)) {
        assert_ne!(one.0, other.0, "a player met itself");
        for ((id, mine, outcome), (opponent, theirs, _)) in [(one, other), (other, one)] {
            assert_eq!(outcome, judge(mine.mv, theirs.mv), "{mine:?} against {theirs:?}");
            let (patience_end, window_end) = mine.ends(self.window);
            assert!(self.now < window_end, "judged after the end of its window");
            match self.player(id).partner.replace(opponent) {
                Some(partner) if partner == opponent => {
                    self.coverage.repeated_pairs += 1;
                    self.coverage.judged_with_late_partner += u64::from(mine.is_in_lobby(self.window));
                }
                Some(partner) => {
                    assert!(self.now >= patience_end, "a new opponent before the end of the patience");
                    let now = self.now;
                    let partner = self.player(partner);
                    assert!(
                        partner.in_play.is_none_or(|in_play| in_play.since == now),
                        "a new opponent although the partner had moved"
                    );
                    partner.partner = None;
                    self.pairs_dissolved += 1;
                    self.coverage.left_late_partner += 1;
                }
                None => {}
            }
            self.coverage.unpaired_judged += u64::from(mine.unpaired);
        }
        let apart = one.1.since.abs_diff(other.1.since);
        assert!(apart < self.window, "the two moves of a round are {apart:?} apart");
        self.coverage.rounds += 1;
    }

    /// Checks the invariants after an event.
    fn check_invariants(&mut self) {
        let stats = self.rounds.stats();
        assert_eq!(stats.players, self.players.len());
        assert_eq!(stats.draws + stats.wins + stats.losses + stats.voids, self.replies, "the count of replies");
        assert_eq!((stats.draws % 2, stats.wins), (0, stats.losses), "both players of a round are counted");
        assert_eq!(stats.pairs_dissolved, self.pairs_dissolved);
        let in_play = |player: &&SimulatedPlayer| player.in_play.is_some();
        let is_in_lobby =
            |player: &&SimulatedPlayer| player.in_play.is_some_and(|in_play| in_play.is_in_lobby(self.window));
        let waiting = self.players.iter().filter(is_in_lobby).count();
        assert!(waiting <= 1, "{waiting} moves are in the lobby, and could meet each other");
        assert_eq!(stats.waiting, waiting);
        for player in self.players.iter().filter(in_play) {
            let deadline = player.in_play.and_then(|in_play| in_play.deadline);
            assert!(deadline.is_some(), "the move of {:?} has no deadline", player.id);
            assert!(player.partner.is_some() || is_in_lobby(&player), "no partner, and not in the lobby");
            assert!(!self.punctual || deadline >= Some(self.now), "a deadline has passed unnoticed");
            let partner = player.partner.and_then(|id| self.players.iter().find(|other| other.id == id));
            assert!(partner.is_none_or(|partner| partner.in_play.is_none()), "two partners wait for each other");
        }
    }

    /// Removes all players, in half of the games after all moves have their replies.
    fn finish(mut self) {
        if self.random.random_bool(0.5) {
            self.advance(self.now + self.window * 2);
            self.time_out_overdue();
            assert!(self.players.iter().all(|player| player.in_play.is_none()), "a move in play after its window");
        }
        while !self.players.is_empty() {
            self.leave(0);
        }
        let stats = self.rounds.stats();
        assert_eq!((stats.players, stats.waiting), (0, 0), "players after all have left");
    }

    fn player(&mut self, id: PlayerId) -> &mut SimulatedPlayer {
        self.players.iter_mut().find(|player| player.id == id).expect("an action for a player who has left")
    }
}
