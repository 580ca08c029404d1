//! Plays random games on the state machines of two to four replicas, and checks the promises of duels across replicas
//! after each event. A seed repeats a game.
//!
//! The model has the network between the replicas, the engine, the players' connections, and all clocks. It sees only
//! the events and actions of a replica. It derives from them where each move is, who are partners, and which two moves
//! a round has judged: a replica reports both in the actions of one event. This command plays one game and prints its
//! events: `DUEL_SEED=17 cargo test -p rps-server --test cluster_simulator -- --nocapture`.
//!
//! The types and the clock are here; `players`, `engine` and `network` are what happens around the replicas, `actions`
//! carries out what they do, and `checks` has the promises:
//!
//! - S1: a move has at most one verdict.
//! - S2: the two verdicts of a round fit each other and the moves; a move that one side has judged is never void.
//! - S3: a move that is void or returned is not judged afterwards.
//! - L1: each connection has its reply by the end of the move's window, or closes because the outcome is unknown.
//! - L2: two players who wait at different replicas meet within 1.5 s, while the engine and the links work.
//! - A1: without the engine, partners play on, and players of one replica meet.
//! - A2: a replica that crashes ends no connection but its own and those whose move it had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "prints the seed of a failing game, and events on request")]
#![allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations occur")]

mod actions;
mod checks;
mod engine;
mod network;
mod players;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, mem, thread};

use proto::wire::link::Message;
use proto::wire::rps::{Move, Outcome, Reply};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::replica::{
    Action, CLAIM_TIMEOUT, EngineCall, EngineReply, LINK_TIMEOUT, LinkId, Replica, Ticket, WITHDRAW_TIMEOUT,
};
use rps_server::duel::rounds::{PlayerId, RETURN_MARGIN, ReplyState};
use rps_server::game::judge;

const SEEDS: u64 = 100_000;

#[test]
fn a_hundred_thousand_random_games_keep_the_promises() {
    if let Ok(seed) = env::var("DUEL_SEED") {
        play(seed.parse().unwrap(), true, &mut Coverage::default());
        return;
    }
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let coverages: Vec<Coverage> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| play_seeds(&next, &failed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut coverage = Coverage::default();
    for (case, count) in coverages.iter().flat_map(|coverage| coverage.0.iter().enumerate()) {
        coverage.0[case] += count;
    }
    for (case, count) in Case::ALL.iter().zip(coverage.0) {
        println!("{case:?}: {count}");
    }
    // Each case must occur often enough, since a case that never occurs is not tested.
    for (case, count) in Case::ALL.iter().zip(coverage.0) {
        let required = case.required();
        assert!(count >= required, "{case:?}: {count}, required: {required}");
    }
    let count = |case: Case| coverage.0[case as usize];
    assert!(count(Case::RetriedAtOnce) * 100 < count(Case::ClaimFailed), "retries have no random delay");
}

/// Plays the next seed, again and again.
fn play_seeds(next: &AtomicU64, failed: &AtomicBool) -> Coverage {
    let mut coverage = Coverage::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= SEEDS || failed.load(Ordering::Relaxed) {
            return coverage;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, false, &mut coverage))) {
            if !failed.swap(true, Ordering::Relaxed) {
                println!(
                    "seed {seed}: DUEL_SEED={seed} cargo test -p rps-server --test cluster_simulator -- --nocapture"
                );
                let _ = catch_unwind(|| play(seed, true, &mut Coverage::default()));
            }
            resume_unwind(panic);
        }
    }
}

macro_rules! cases {
    ($($case:ident $required:literal $(#[$doc:meta])*,)*) => {
        /// A situation whose occurrences are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Case {
            $($(#[$doc])* $case,)*
        }

        impl Case {
            const ALL: [Self; [$(Self::$case),*].len()] = [$(Self::$case),*];

            /// Returns how often it has to occur in [`SEEDS`] games.
            const fn required(self) -> u64 {
                match self {
                    $(Self::$case => $required,)*
                }
            }
        }
    };
}

cases! {
    Events 1_000_000 /** Events of replicas. */,
    LocalRound 10_000 /** A round of two players of one replica. */,
    CrossRound 10_000 /** A round of players of two replicas. */,
    CrossRoundAgain 1_000 /** A round of players of two replicas who were partners already. */,
    GuestMetAnother 100 /** A guest's move met another player's, since its partner was late. */,
    Void 10_000 /** A void move. */,
    DrainVoid 1_000 /** A void move in a drain. */,
    Unknown 1_000 /** A move whose outcome is unknown. */,
    ClaimFailed 1_000 /** A claim without success. */,
    RetriedAtOnce 0 /** A claim without success, and the engine is asked again at the same instant. */,
    StaleTicketRefused 1_000 /** A claim of a move that is no longer in play. */,
    ClaimOfLeaver 100 /** A claim of a move whose player has left. */,
    ClaimOfFormerProcess 10 /** A claim at a process that started after the ticket's process ended. */,
    ClaimLost 100 /** A claim that did not arrive. */,
    ClaimTimedOut 1_000 /** A claim that had no answer in time. */,
    ConnectionRefused 100 /** A link that could not be opened. */,
    LateAccept 100 /** An accept after the claim timed out. */,
    AcceptedWithoutMove 100 /** An accepted waiter that got no move in time. */,
    BothPosted 1_000 /** Two replicas have posted a live ticket while both players wait. */,
    MutualClaims 50 /** Two replicas claim each other's tickets at the same time. */,
    VerdictLost 1_000 /** The owner has judged, and its verdict did not arrive. */,
    CrashAfterVerdict 100 /** The owner has judged, and crashed before its verdict arrived. */,
    UnjudgedUnknown 100 /** The outcome is unknown, and the owner never judged. */,
    VerdictAfterUnknown 20 /** A verdict that arrived after its outcome was unknown. */,
    ReturnAtPatienceEnd 1_000 /** The owner returned a move at the end of its patience. */,
    ReturnTooLate 100 /** The owner returned a move that came at the end of its window. */,
    NotSent 100 /** A partner's move that was too late to send to the owner. */,
    PartnerMoved 1_000 /** The partner moved after a return. */,
    PartnerMovedDuringClaim 20 /** The partner moved after a return, and during a claim. */,
    MovedAfterReturn 100 /** A returned move was sent to the owner again. */,
    DissolveCrossedMove 100 /** A move arrived after the owner had dissolved the pair. */,
    WithdrawConfirmed 100 /** The owner has confirmed a withdrawal. */,
    WithdrawCrossedVerdict 10 /** The owner judged a move before it read the withdrawal. */,
    WithdrawTimedOut 10 /** The owner has not confirmed a withdrawal in time. */,
    LinkSilent 100 /** A link that was silent for too long. */,
    EngineFailedOver 1_000 /** The engine had old data. */,
    EngineEmptied 1_000 /** The engine lost its data. */,
    EngineDown 1_000 /** The engine went down. */,
    LocalRoundEngineDown 100 /** A round of players of one replica without the engine. */,
    CrossRoundEngineDown 100 /** A round of players of two replicas without the engine. */,
    DrainWithGuests 100 /** The drain of an owner that has guests. */,
    DrainAway 100 /** The drain of a taker that has a move at the owner. */,
    CrashWithGuests 100 /** The crash of an owner that has guests. */,
    ReturnedHome 100 /** A move came back because its owner dissolved the pair. */,
    WaitedTogether 1_000 /** Two players at different replicas who waited together met. */,
    Late 10_000 /** A timeout that was reported late. */,
}

/// How often each case occurred.
#[derive(Clone, Copy, Debug)]
struct Coverage([u64; Case::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Case::ALL.len()])
    }
}

fn play(seed: u64, print_events: bool, coverage: &mut Coverage) {
    let mut game = Game::new(seed, print_events, coverage);
    for _ in 0..game.random.random_range(20..70) {
        game.step();
    }
    game.finish();
}

/// Microseconds since the game began.
type Time = u64;

const MILLISECOND: Time = 1_000;
const SECOND: Time = 1_000_000;

/// L2: two players wait together for this long at most.
const MEETING_TIME: Time = 1_500 * MILLISECOND;

/// An engine call fails after this time.
const ENGINE_TIMEOUT: Time = 50 * MILLISECOND;

/// In a drain, a move waits this long for a partner's move.
const GRACE: Time = 50 * MILLISECOND;

fn micros(duration: Duration) -> Time {
    Time::try_from(duration.as_micros()).unwrap()
}

/// Which things fail in a game.
#[derive(Clone, Copy, Debug)]
struct Faults {
    engine: bool,
    links: bool,
    crashes: bool,
    drains: bool,
}

/// A process at one of the addresses, or the last one if none runs.
struct Process {
    /// How many processes the address had before. A process is identified by its address and this.
    incarnation: u32,
    replica: Replica,
    window: Time,
    is_up: bool,
    is_draining: bool,
    /// Time 0 of its clock.
    epoch: Instant,
    /// What its clock shows at time 0.
    clock_offset: Time,
    links: Vec<(LinkId, usize, Side)>,
    /// When it wants to be called, and when it is called.
    wake: Option<(Time, Time)>,
    calls: VecDeque<EngineCall>,
    is_calling: bool,
    claims: u64,
    replies: u64,
    unknown_outcomes: u64,
    last_failed_claim: Option<Time>,
}

/// A player and its connection.
struct Player {
    process: usize,
    id: PlayerId,
    is_here: bool,
    /// Its move, an index.
    in_play: Option<usize>,
    partner: Option<Partner>,
    /// The deadline of the reply.
    deadline: Time,
    /// When the connection wants to report a timeout, and when it does. A connection reads a new deadline only in its
    /// own events.
    timer: Option<(Time, Time)>,
    /// The server drains, and the player does not wait any more. Since when.
    is_stopping: Option<Time>,
    /// The connection is about to close.
    is_closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partner {
    /// A player of the same replica.
    Local(usize),
    /// A guest: its session.
    Guest(usize),
    /// A player of another replica, which judges: the session.
    Away(usize),
}

#[derive(Debug)]
struct SimulatedMove {
    player: usize,
    process: usize,
    incarnation: u32,
    mv: Move,
    since: Time,
    patience_end: Time,
    window_end: Time,
    place: Place,
    /// Since when it is in the lobby, or in a claim after that.
    waits_since: Option<Time>,
    nonce: Option<u128>,
    /// Whether a replica has judged it.
    judged: Option<Outcome>,
    reply: Option<ReplyState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits for the partner's move.
    Patience,
    Lobby,
    /// It is to meet the move of a ticket. The session.
    Claim(usize),
    /// Another replica has it. The session.
    Owner(usize),
    /// The link to the replica that has it is lost.
    Lost,
}

/// A claim, and the pair that follows if it is accepted.
#[derive(Debug)]
struct Session {
    taker: usize,
    incarnation: u32,
    number: u64,
    target: usize,
    connection: Option<usize>,
    nonce: u128,
    player: usize,
    at_taker: AtTaker,
    is_claim_sent: bool,
    is_guest: bool,
    /// The partner at the owner, while the player is a guest.
    host: usize,
    /// The last move that was sent, and its number.
    sent: Option<(usize, u64)>,
    /// The move that the owner has in play, and the end of its patience.
    at_owner: Option<(usize, Time)>,
    /// Whether the owner has returned the last move, and the partner has not moved since.
    is_returned: bool,
    is_withdrawn: bool,
    /// Whether the partner has moved, and waits for the player's move.
    is_wanted: bool,
    /// Whether the claim is refused, or the accept came in time or is answered.
    is_answered: bool,
    rounds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtTaker {
    Claims,
    IsPaired,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Taker,
    Owner,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Taker => Self::Owner,
            Self::Owner => Self::Taker,
        }
    }
}

/// A connection between two replicas. Arrays are in the order of [`Side`].
#[derive(Debug)]
struct Connection {
    processes: [(usize, u32); 2],
    links: [Option<LinkId>; 2],
    states: [End; 2],
    /// The messages from each side.
    flows: [Flow; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Connecting,
    Open,
    Closed,
}

#[derive(Debug, Default)]
struct Flow {
    messages: VecDeque<InFlight>,
    /// No message arrives before this.
    not_before: Time,
    /// Messages are lost from now on.
    is_cut: bool,
    /// The delay of the last clock that has arrived.
    clock_delay: Time,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    message: Message,
    sent_at: Time,
    arrives_at: Time,
}

#[derive(Clone, Debug)]
struct Stored {
    process: usize,
    incarnation: u32,
    nonce: u128,
    expires: Time,
}

#[derive(Debug, Default)]
struct Engine {
    ticket: Option<Stored>,
    is_down: bool,
    history: Vec<Stored>,
}

#[derive(Debug)]
enum Event {
    /// A link is open at the taker.
    Open(usize),
    /// A link is open at the owner.
    Accept(usize),
    Deliver(usize, Side),
    Lost(usize, Side),
    Execute {
        process: usize,
        incarnation: u32,
        call: EngineCall,
        reply_at: Option<Time>,
    },
    EngineReply {
        process: usize,
        incarnation: u32,
        reply: Option<EngineReply>,
    },
    EngineUp {
        process: usize,
        incarnation: u32,
    },
    /// The grace period of a drain has ended.
    Stop {
        process: usize,
        incarnation: u32,
    },
    Start(usize),
    Leave(usize),
    Break(usize),
    Stall(usize),
    Crash(usize),
    Drain(usize),
    DisturbEngine,
}

/// The event of a replica.
#[derive(Clone, Debug)]
enum Cause {
    Moves(usize),
    Leaves,
    Timeout,
    Stops(usize),
    Drains,
    Engine(EngineReply),
    Message(usize, Side, Message),
    Lost,
    Time,
    Other,
}

/// A party of a round: a player's move, or a guest's.
#[derive(Clone, Copy, Debug)]
struct Party {
    mv: usize,
    /// The session of a guest.
    session: Option<usize>,
    outcome: Outcome,
}

struct Game<'a> {
    random: StdRng,
    print_events: bool,
    coverage: &'a mut Coverage,
    now: Time,
    window: Time,
    max_step: Time,
    max_players: usize,
    /// Whether each timeout is reported exactly at its deadline, or possibly later.
    is_punctual: bool,
    faults: Faults,
    /// Whether nothing fails from now on.
    is_calm: bool,
    /// Nothing fails after this, so far.
    disturbed_until: Time,
    is_ever_disturbed: bool,
    addresses: Vec<String>,
    processes: Vec<Process>,
    players: Vec<Player>,
    moves: Vec<SimulatedMove>,
    sessions: Vec<Session>,
    connections: Vec<Connection>,
    /// Until when messages between two addresses are delayed.
    partitions: Vec<(usize, usize, Time)>,
    engine: Engine,
    events: BTreeMap<(Time, u64), Event>,
    last_event: u64,
    actions: Vec<Action>,
    /// Players whose deadline has changed in this event.
    changed: Vec<usize>,
}

impl<'a> Game<'a> {
    fn new(seed: u64, print_events: bool, coverage: &'a mut Coverage) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let replicas = random.random_range(2..=4);
        // Short ones more often than long ones.
        let longest = [1_000, 3_000, 10_000, 30_000, 60_000][random.random_range(0..5)];
        let window = random.random_range(500..=longest) * MILLISECOND;
        let max_step = [5, 50, 200, 600][random.random_range(0..4)] * MILLISECOND;
        let nothing_fails = random.random_range(0..4) == 0;
        let mut fails = || !nothing_fails && random.random_bool(0.5);
        let faults = Faults { engine: fails(), links: fails(), crashes: fails(), drains: fails() };
        let mut game = Self {
            print_events,
            coverage,
            now: 0,
            window,
            max_step,
            max_players: random.random_range(2..=replicas * 3),
            is_punctual: random.random_bool(0.5),
            faults,
            is_calm: false,
            disturbed_until: 0,
            is_ever_disturbed: false,
            addresses: (0..replicas).map(|replica| format!("replica-{replica}:5003")).collect(),
            processes: Vec::new(),
            players: Vec::new(),
            moves: Vec::new(),
            sessions: Vec::new(),
            connections: Vec::new(),
            partitions: Vec::new(),
            engine: Engine::default(),
            events: BTreeMap::new(),
            last_event: 0,
            actions: Vec::new(),
            changed: Vec::new(),
            random,
        };
        for _ in 0..replicas {
            let process = game.new_process(0);
            game.processes.push(process);
        }
        game
    }

    fn new_process(&mut self, incarnation: u32) -> Process {
        let window = self.random_window();
        // Each process has its own clock.
        let epoch = Instant::now() + Duration::from_micros(self.random.random_range(0..1_000_000_000));
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.random.random::<u64>().to_ne_bytes());
        Process {
            incarnation,
            replica: Replica::new(Duration::from_micros(window)).with_cluster(seed, epoch),
            window,
            is_up: true,
            is_draining: false,
            epoch,
            clock_offset: self.random.random_range(0..1_000_000_000),
            links: Vec::new(),
            wake: None,
            calls: VecDeque::new(),
            is_calling: false,
            claims: 0,
            replies: 0,
            unknown_outcomes: 0,
            last_failed_claim: None,
        }
    }

    /// Returns the window of a replica: in most cases that of all others.
    fn random_window(&mut self) -> Time {
        match self.random.random_range(0..10) {
            0 => self.window * 2,
            1 => self.window / 2,
            _ => self.window,
        }
    }

    // Time and events.

    fn count(&mut self, case: Case) {
        self.coverage.0[case as usize] += 1;
    }

    fn count_if(&mut self, condition: bool, case: Case) {
        self.coverage.0[case as usize] += u64::from(condition);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// Something is not as it should be until `until`.
    fn disturb(&mut self, until: Time) {
        self.disturbed_until = self.disturbed_until.max(until);
        self.is_ever_disturbed = true;
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.last_event += 1;
        self.events.insert((at.max(self.now), self.last_event), event);
    }

    fn instant(&self, process: usize) -> Instant {
        let Process { epoch, clock_offset, .. } = &self.processes[process];
        *epoch + Duration::from_micros(clock_offset + self.now)
    }

    /// Returns the first time of the model that is not before `instant`.
    fn time(&self, process: usize, instant: Instant) -> Time {
        let Process { epoch, clock_offset, .. } = &self.processes[process];
        Time::try_from((instant - *epoch).as_nanos().div_ceil(1_000)).unwrap() - clock_offset
    }

    /// Returns when a timeout at `at` is reported.
    fn report_at(&mut self, at: Time) -> Time {
        if self.is_punctual || self.is_calm {
            return at;
        }
        let latest = [0, 0, 0, 10, 300, 4_000][self.random.random_range(0..6)] * MILLISECOND;
        self.count_if(latest > 0, Case::Late);
        at + self.random.random_range(0..=latest)
    }

    /// Advances the time, and delivers all events up to then.
    fn run_until(&mut self, end: Time) {
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timer = (0..self.players.len())
                .filter_map(|player| self.players[player].timer.map(|(_, at)| (at, player)))
                .min();
            let wake =
                (0..self.processes.len()).filter_map(|one| self.processes[one].wake.map(|(_, at)| (at, one))).min();
            let next = [event, timer.map(|(at, _)| at), wake.map(|(at, _)| at)].into_iter().flatten().min();
            let next = next.filter(|next| *next <= end);
            let to = next.unwrap_or(end).max(self.now);
            if to > self.now {
                self.check_before_time_passes(to);
                self.now = to;
            }
            if next.is_none() {
                return;
            }
            // Things at the same instant come in any order.
            let is_due = |at: Option<Time>| at.is_some_and(|at| at <= to);
            let due = [is_due(event), is_due(timer.map(|(at, _)| at)), is_due(wake.map(|(at, _)| at))];
            let mut choice =
                if due.iter().filter(|due| **due).count() == 1 { 0 } else { self.random.random_range(0..3) };
            while !due[choice] {
                choice = (choice + 1) % 3;
            }
            match choice {
                0 => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.deliver(event);
                }
                1 => self.time_out(timer.unwrap().1),
                _ => {
                    let process = wake.unwrap().1;
                    self.processes[process].wake = None;
                    self.event(process, &Cause::Time, Replica::on_time);
                    let next = self.processes[process].replica.next_time().map(|next| self.time(process, next));
                    assert!(next.is_none_or(|next| next > self.now), "the replica wants to be called again at once");
                }
            }
        }
    }

    /// Lets a replica handle an event, and carries out its actions.
    fn event<T>(
        &mut self,
        process: usize,
        cause: &Cause,
        handle: impl FnOnce(&mut Replica, Instant, &mut Vec<Action>) -> T,
    ) -> T {
        let (now, lobby) = (self.instant(process), self.lobby(process));
        let mut actions = mem::take(&mut self.actions);
        let result = handle(&mut self.processes[process].replica, now, &mut actions);
        self.carry_out(process, cause, lobby, actions);
        result
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Open(connection) => self.open(connection),
            Event::Accept(connection) => self.accept(connection),
            Event::Deliver(connection, from) => self.deliver_message(connection, from),
            Event::Lost(connection, side) => self.lose(connection, side),
            Event::Execute { process, incarnation, call, reply_at } => {
                self.execute(process, incarnation, &call, reply_at);
            }
            Event::EngineReply { process, incarnation, reply } => {
                if self.runs(process, incarnation) {
                    self.processes[process].is_calling = false;
                    if let Some(reply) = reply {
                        let cause = Cause::Engine(reply.clone());
                        self.event(process, &cause, |replica, now, actions| {
                            replica.on_engine_reply(reply, now, actions);
                        });
                    }
                    self.call_next(process);
                }
            }
            Event::EngineUp { process, incarnation } => {
                if self.runs(process, incarnation) && !self.engine.is_down {
                    self.event(process, &Cause::Other, Replica::on_engine_up);
                }
            }
            Event::Stop { process, incarnation } => {
                if self.runs(process, incarnation) {
                    self.stop_players(process);
                }
            }
            Event::Start(process) => {
                if !self.processes[process].is_up {
                    let incarnation = self.processes[process].incarnation + 1;
                    self.processes[process] = self.new_process(incarnation);
                    self.print(|| format!("replica {process} starts"));
                }
            }
            Event::Leave(player) => {
                let Player { is_here, is_stopping, is_closing, .. } = self.players[player];
                if is_here && is_stopping.is_some() && !is_closing && self.random.random_range(0..4) == 0 {
                    // It has sent another move ahead.
                    self.players[player].is_stopping = None;
                    self.make_move(player);
                    self.stop(player);
                } else if is_here {
                    self.leave(player);
                }
            }
            _ if self.is_calm => {}
            Event::Break(connection) => self.break_connection(connection),
            Event::Stall(connection) => self.stall_for_a_while(connection),
            Event::Crash(process) => self.crash(process),
            Event::Drain(process) => self.drain(process),
            Event::DisturbEngine => self.disturb_engine(),
        }
    }

    fn print(&self, text: impl FnOnce() -> String) {
        if self.print_events {
            println!("{:>10.3} ms: {}", Duration::from_micros(self.now).as_secs_f64() * 1e3, text());
        }
    }

    fn runs(&self, process: usize, incarnation: u32) -> bool {
        let Process { is_up, incarnation: current, .. } = self.processes[process];
        is_up && current == incarnation
    }

    /// Returns the player whose move is in the lobby of a replica.
    fn lobby(&self, process: usize) -> Option<usize> {
        (0..self.players.len()).find(|player| self.is_in_lobby(*player, process))
    }

    fn is_in_lobby(&self, player: usize, process: usize) -> bool {
        let Player { process: own, in_play, is_here, .. } = self.players[player];
        is_here && own == process && in_play.is_some_and(|mv| self.moves[mv].place == Place::Lobby)
    }

    fn players_of(&self, process: usize) -> impl Iterator<Item = usize> {
        (0..self.players.len())
            .filter(move |player| self.players[*player].process == process && self.players[*player].is_here)
    }

    // Steps.
}
