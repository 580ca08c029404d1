//! Random games on the duel's state machine, each repeatable from its seed, with the rule checked after every event.
//!
//! The model here knows only what was asked and what was answered; who is whose partner it learns from the answers.
//! `DUEL_SEED=17 cargo test -p rps-server --test simulator -- --nocapture` plays one game alone and tells its events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a failing game has to be found again")]

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
fn a_hundred_thousand_random_games_keep_the_rule() {
    if let Ok(seed) = env::var("DUEL_SEED") {
        play(seed.parse().unwrap(), true, &mut Found::default());
        return;
    }
    let mut found = Found::default();
    for seed in 0..SEEDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, false, &mut found))) {
            println!("seed {seed}: DUEL_SEED={seed} cargo test -p rps-server --test simulator -- --nocapture");
            resume_unwind(panic);
        }
    }
    println!("{found:?}");
    // A simulator that never came to a thing would prove nothing of it.
    let Found { rounds, replayed, voids, late, stopped, borders, removed, survivors_judged, survivors_void } = found;
    for (count, what) in [
        (rounds, "rounds"),
        (replayed, "rounds of the same partners"),
        (voids, "voids"),
        (late, "moves that were found to be overdue"),
        (stopped, "voids at a stop"),
        (borders, "moves at the very end of a window"),
        (removed, "moves taken out by a reset"),
        (survivors_judged, "moves that outlived their partner and were judged"),
        (survivors_void, "moves that outlived their partner and were not"),
    ] {
        assert!(count > SEEDS / 100, "{what}: {count}");
    }
}

/// What the games came to.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    rounds: u64,
    replayed: u64,
    voids: u64,
    late: u64,
    stopped: u64,
    borders: u64,
    removed: u64,
    survivors_judged: u64,
    survivors_void: u64,
}

fn play(seed: u64, told: bool, found: &mut Found) {
    let mut game = Game::new(seed, told, found);
    for _ in 0..game.random.random_range(20..120) {
        game.step();
    }
    game.finish();
}

/// A player as the world outside knows it.
#[derive(Debug)]
struct Player {
    id: PlayerId,
    in_play: Option<InPlay>,
    /// With whom the last round was judged, unless something has parted the two since.
    partner: Option<PlayerId>,
}

#[derive(Clone, Copy, Debug)]
struct InPlay {
    shown: Move,
    since: Duration,
    /// Whether a partner left while it was in play.
    survivor: bool,
    /// When the state machine has asked to be woken for it.
    wake_at: Option<Duration>,
}

struct Game<'a> {
    random: StdRng,
    told: bool,
    rounds: Rounds,
    actions: Vec<Action>,
    start: Instant,
    now: Duration,
    window: Duration,
    most_players: usize,
    /// Whether time that has passed is told of at once, or at some time later.
    punctual: bool,
    players: Vec<Player>,
    answers: u64,
    parted: u64,
    found: &'a mut Found,
}

impl<'a> Game<'a> {
    fn new(seed: u64, told: bool, found: &'a mut Found) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let window = Duration::from_millis(random.random_range(1..40));
        Self {
            told,
            rounds: Rounds::new(window),
            actions: Vec::new(),
            start: Instant::now(),
            now: Duration::ZERO,
            window,
            most_players: random.random_range(1..7),
            punctual: random.random_bool(0.5),
            players: Vec::new(),
            answers: 0,
            parted: 0,
            found,
            random,
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let player = (!self.players.is_empty()).then(|| self.random.random_range(0..self.players.len()));
        match (self.random.random_range(0..100), player) {
            (0..10, _) if self.players.len() < self.most_players => self.join(),
            (10..65, Some(player)) if self.players[player].in_play.is_none() => self.shows(player),
            // Who leaves with a move in play has reset the connection.
            (65..72, Some(player)) => self.leave(player),
            (72..74, Some(player)) => self.wake(player),
            (74..76, Some(player)) if self.players[player].in_play.is_some() => self.stop(player),
            (76..100, _) => self.pass_time(),
            _ => {}
        }
    }

    fn join(&mut self) {
        let id = self.rounds.on_join();
        assert!(self.players.iter().all(|other| other.id != id), "two players cannot be told apart");
        self.players.push(Player { id, in_play: None, partner: None });
        self.settle("joins", id, false);
    }

    fn shows(&mut self, player: usize) {
        let shown = Move::ALL[self.random.random_range(0..3)];
        let borders =
            self.players.iter().filter(|other| other.in_play.is_some_and(|it| it.since + self.window == self.now));
        self.found.borders += borders.count() as u64;
        let player = &mut self.players[player];
        let id = player.id;
        player.in_play = Some(InPlay { shown, since: self.now, survivor: false, wake_at: None });
        self.rounds.on_move(id, shown, self.start + self.now, &mut self.actions);
        self.settle("moves", id, false);
    }

    fn leave(&mut self, player: usize) {
        let gone = self.players.swap_remove(player);
        self.found.removed += u64::from(gone.in_play.is_some());
        if let Some(partner) = gone.partner {
            self.parted += 1;
            let partner = self.player(partner);
            partner.partner = None;
            if let Some(in_play) = &mut partner.in_play {
                in_play.survivor = true;
            }
        }
        self.rounds.on_leave(gone.id, self.start + self.now, &mut self.actions);
        self.settle("leaves", gone.id, false);
    }

    fn wake(&mut self, player: usize) {
        let id = self.players[player].id;
        self.rounds.on_timeout(id, self.start + self.now, &mut self.actions);
        self.settle("is woken", id, false);
        let in_play = self.player(id).in_play;
        assert!(
            in_play.is_none_or(|it| self.now < it.since + self.window),
            "it was woken at its time, and not answered"
        );
    }

    fn stop(&mut self, player: usize) {
        let id = self.players[player].id;
        self.rounds.on_shutdown(id, &mut self.actions);
        self.settle("is stopped", id, true);
        assert!(self.player(id).in_play.is_none(), "who waits no longer has an answer");
    }

    /// Time goes on by a little, or to one side or the other of the next instant that somebody is to be woken at.
    fn pass_time(&mut self) {
        let tick = Duration::from_millis(1);
        let next = self.players.iter().filter_map(|player| player.in_play?.wake_at).filter(|at| *at > self.now).min();
        let to = match (self.random.random_range(0..5), next) {
            (0, Some(next)) => next.saturating_sub(tick).max(self.now),
            (1 | 2, Some(next)) => next,
            (3, Some(next)) => next + tick,
            _ => self.now + tick * self.random.random_range(0..20),
        };
        self.go_on(to);
        if self.random.random_bool(0.5) {
            self.wake_the_overdue();
        }
    }

    fn go_on(&mut self, to: Duration) {
        while self.punctual && self.now < to {
            // Everybody is woken before time goes on, if not before all else that happens at the same instant.
            self.wake_the_overdue();
            self.now = self.players.iter().filter_map(|player| player.in_play?.wake_at).min().unwrap_or(to).min(to);
        }
        self.now = to;
    }

    fn wake_the_overdue(&mut self) {
        let now = self.now;
        let is_overdue = |player: &Player| player.in_play.is_some_and(|it| it.wake_at.is_some_and(|at| at <= now));
        while let Some(player) = self.players.iter().position(is_overdue) {
            self.wake(player);
        }
    }

    /// Takes what an event led to, and holds it against the rule.
    fn settle(&mut self, what: &str, who: PlayerId, stopped: bool) {
        let actions = std::mem::take(&mut self.actions);
        if self.told {
            println!("{:?}: {who:?} {what}: {actions:?}", self.now);
        }
        let mut judged = Vec::new();
        for &Action { player: id, reply } in &actions {
            match reply {
                ReplyState::Pending { deadline } => {
                    let (at, window) = (deadline - self.start, self.window);
                    let in_play =
                        self.player(id).in_play.as_mut().expect("a move in play is what anybody is woken for");
                    assert_eq!(at, in_play.since + window, "a move is in play for the window");
                    in_play.wake_at = Some(at);
                }
                ReplyState::Ready(answer) => {
                    let in_play = self.player(id).in_play.take().expect("one answer a move, and none without");
                    self.answers += 1;
                    match answer {
                        Reply::Void => self.check_void(id, in_play, stopped),
                        Reply::Judged(outcome) => judged.push((id, in_play, outcome)),
                        Reply::NotAMove | Reply::Full => panic!("{answer:?} is no end of a round"),
                    }
                }
            }
        }
        match judged[..] {
            [] => {}
            [one, other] => self.check_round(one, other),
            _ => panic!("an event ends one round at the most: {judged:?}"),
        }
        self.actions = actions;
        self.actions.clear();
        self.check_all();
    }

    fn check_void(&mut self, id: PlayerId, in_play: InPlay, stopped: bool) {
        let end = in_play.since + self.window;
        if stopped {
            self.found.stopped += 1;
        } else {
            assert!(self.now >= end, "void before the end of its window");
            assert!(!self.punctual || self.now == end, "void after the end of its window");
            self.found.late += u64::from(self.now > end);
            self.found.survivors_void += u64::from(in_play.survivor);
        }
        self.found.voids += 1;
        if let Some(partner) = self.player(id).partner.take() {
            self.parted += 1;
            self.player(partner).partner = None;
        }
    }

    fn check_round(&mut self, one: (PlayerId, InPlay, Outcome), other: (PlayerId, InPlay, Outcome)) {
        assert_ne!(one.0, other.0, "a player met itself");
        for ((id, mine, outcome), (opponent, theirs, _)) in [(one, other), (other, one)] {
            assert_eq!(outcome, judge(mine.shown, theirs.shown), "of {mine:?} against {theirs:?}");
            assert!(self.now < mine.since + self.window, "judged after the end of its window");
            let partner = self.player(id).partner.replace(opponent);
            assert!(partner.is_none_or(|partner| partner == opponent), "partners were parted while both kept moving");
            self.found.replayed += u64::from(partner.is_some());
            self.found.survivors_judged += u64::from(mine.survivor);
        }
        let apart = one.1.since.abs_diff(other.1.since);
        assert!(apart < self.window, "the two moves of a round are {apart:?} apart");
        self.found.rounds += 1;
    }

    /// What holds between any two events.
    fn check_all(&mut self) {
        let tally = self.rounds.stats();
        assert_eq!(tally.players, self.players.len());
        assert_eq!(tally.draws + tally.wins + tally.losses + tally.voids, self.answers, "one count for every answer");
        assert_eq!((tally.draws % 2, tally.wins), (0, tally.losses), "both sides of a round are counted");
        assert_eq!(tally.dissolved, self.parted);
        let in_play = |player: &&Player| player.in_play.is_some();
        let waiting = self.players.iter().filter(in_play).filter(|player| player.partner.is_none()).count();
        assert!(waiting <= 1, "{waiting} wait, and could play");
        assert_eq!(tally.waiting, waiting);
        for player in self.players.iter().filter(in_play) {
            let wake_at = player.in_play.and_then(|in_play| in_play.wake_at);
            assert!(wake_at.is_some(), "nobody will be woken for the move of {:?}", player.id);
            let partner = player.partner.and_then(|id| self.players.iter().find(|other| other.id == id));
            assert!(partner.is_none_or(|partner| partner.in_play.is_none()), "two partners wait for each other");
        }
    }

    /// Everybody goes, some after their answer.
    fn finish(mut self) {
        if self.random.random_bool(0.5) {
            self.go_on(self.now + self.window * 2);
            self.wake_the_overdue();
            assert!(self.players.iter().all(|player| player.in_play.is_none()), "time answers every move");
        }
        while !self.players.is_empty() {
            self.leave(0);
        }
        let tally = self.rounds.stats();
        assert_eq!((tally.players, tally.waiting), (0, 0), "nothing is left when all have gone");
    }

    fn player(&mut self, id: PlayerId) -> &mut Player {
        self.players.iter_mut().find(|player| player.id == id).expect("only those who are there are told of")
    }
}
