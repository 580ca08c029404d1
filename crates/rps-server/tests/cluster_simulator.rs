//! Plays random games on the state machines of two to four replicas, and checks the promises of duels across replicas
//! after each event. A seed repeats a game.
//!
//! The model has the network between the replicas, the engine, the players' connections, and all clocks. It sees only
//! the events and actions of a replica. It derives from them where each move is, who are partners, and which two moves
//! a round has judged: a replica reports both in the actions of one event. This command plays one game and prints its
//! events: `DUEL_SEED=17 cargo test -p rps-server --test cluster_simulator -- --nocapture`.
//!
//! The promises:
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
    Action, CLAIM_TIMEOUT, EngineCall, EngineReply, LINK_TIMEOUT, LinkId, RETURN_MARGIN, Replica, Ticket,
    WITHDRAW_TIMEOUT,
};
use rps_server::duel::rounds::{PlayerId, ReplyState};
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
        // Each process has a clock of its own.
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

    /// Does something at random, and lets time pass.
    fn step(&mut self) {
        let here: Vec<_> = (0..self.players.len()).filter(|player| self.players[*player].is_here).collect();
        let player = (!here.is_empty()).then(|| here[self.random.random_range(0..here.len())]);
        let player = player.filter(|player| !self.players[*player].is_closing);
        let idle = player.filter(|player| {
            let Player { in_play, is_stopping, .. } = self.players[*player];
            in_play.is_none() && is_stopping.is_none()
        });
        let process = self.random.random_range(0..self.processes.len());
        let Faults { engine, links, crashes, drains } = self.faults;
        match (self.random.random_range(0..100), player, idle) {
            (0..16, ..) if here.len() < self.max_players => self.join(process),
            (16..72, _, Some(player)) => self.make_move(player),
            // To leave with a move in play is a reset.
            (72..77, Some(player), _) => self.leave(player),
            (77..80, Some(player), _) => self.poll(player),
            (80..84, ..) if links => self.disturb_links(),
            (84..88, ..) if engine => self.disturb_engine(),
            (88..90, ..) if crashes => self.crash(process),
            (90..92, ..) if drains => self.drain(process),
            (92, ..) => self.reload(process),
            _ => {}
        }
        let mut to = self.now + self.random.random_range(0..=self.max_step);
        let next_timer = self.players.iter().filter_map(|player| player.timer).map(|(at, _)| at).min();
        if let Some(next) = next_timer.filter(|_| self.random.random_range(0..20) == 0) {
            // The next thing happens at the same time as a timeout, or just before.
            to = next.saturating_sub(self.random.random_range(0..2)).max(self.now);
        }
        self.run_until(to);
    }

    /// A replica gets another window. Moves in play keep theirs.
    fn reload(&mut self, process: usize) {
        let window = self.random_window();
        self.processes[process].window = window;
        self.processes[process].replica.set_window(Duration::from_micros(window));
    }

    fn join(&mut self, process: usize) {
        let Process { is_up, is_draining, .. } = self.processes[process];
        if !is_up || is_draining {
            return;
        }
        let id = self.processes[process].replica.on_join();
        assert!(self.find_player(process, id).is_none(), "two players with the same id");
        self.print(|| format!("player {} joins at replica {process}: {id:?}", self.players.len()));
        self.players.push(Player {
            process,
            id,
            is_here: true,
            in_play: None,
            partner: None,
            deadline: 0,
            timer: None,
            is_stopping: None,
            is_closing: false,
        });
    }

    fn find_player(&self, process: usize, id: PlayerId) -> Option<usize> {
        self.players_of(process).find(|player| self.players[*player].id == id)
    }

    fn make_move(&mut self, player: usize) {
        let mv = Move::ALL[self.random.random_range(0..3)];
        let Player { process, id, .. } = self.players[player];
        let window = self.processes[process].window;
        self.players[player].in_play = Some(self.moves.len());
        self.moves.push(SimulatedMove {
            player,
            process,
            incarnation: self.processes[process].incarnation,
            mv,
            since: self.now,
            patience_end: self.now + window / 10,
            window_end: self.now + window,
            place: Place::Patience,
            waits_since: None,
            nonce: None,
            judged: None,
            reply: None,
        });
        self.event(process, &Cause::Moves(player), |replica, now, actions| replica.on_move(id, mv, now, actions));
        self.arm(player);
    }

    /// The player's connection learns of the deadline.
    fn arm(&mut self, player: usize) {
        let Player { is_here, in_play, deadline, .. } = self.players[player];
        self.players[player].timer =
            (is_here && in_play.is_some()).then(|| (deadline, self.report_at(deadline).max(self.now)));
    }

    fn poll(&mut self, player: usize) {
        let Player { process, id, .. } = self.players[player];
        self.event(process, &Cause::Timeout, |replica, now, actions| replica.on_timeout(id, now, actions));
        self.arm(player);
    }

    fn time_out(&mut self, player: usize) {
        self.poll(player);
        if let Some((at, _)) = self.players[player].timer {
            assert!(at > self.now, "still in play after the timeout at its deadline");
        }
    }

    fn leave(&mut self, player: usize) {
        let Player { process, id, in_play, partner, .. } = self.players[player];
        let left = &mut self.players[player];
        (left.is_here, left.in_play, left.timer, left.partner) = (false, None, None, None);
        if let Some(Partner::Local(partner)) = partner {
            self.players[partner].partner = None;
        }
        self.event(process, &Cause::Leaves, |replica, now, actions| replica.on_leave(id, now, actions));
        if let Some(mv) = in_play {
            self.moves[mv].waits_since = None;
        }
        // A session whose claim has not been sent.
        for session in self.sessions.iter_mut().filter(|session| session.player == player) {
            if session.at_taker != AtTaker::Ended {
                assert!(!session.is_claim_sent, "the owner does not learn that the player has left");
                session.at_taker = AtTaker::Ended;
            }
        }
        self.check_process(process);
        self.exit_if_empty(process);
    }

    // Drains and crashes.

    fn drain(&mut self, process: usize) {
        let Process { is_up, is_draining, incarnation, .. } = self.processes[process];
        if !is_up || is_draining {
            return;
        }
        self.disturb(self.now);
        let has_guests = self.guests(process).next().is_some();
        self.count_if(has_guests, Case::DrainWithGuests);
        self.processes[process].is_draining = true;
        self.event(process, &Cause::Drains, Replica::on_drain);
        assert!(self.guests(process).next().is_none(), "the draining replica still has guests");
        self.schedule(self.now + GRACE, Event::Stop { process, incarnation });
        self.exit_if_empty(process);
    }

    /// The players of a draining replica wait no longer. Some have sent another move ahead.
    fn stop_players(&mut self, process: usize) {
        for player in self.players_of(process).collect::<Vec<_>>() {
            self.poll(player);
            if !self.players[player].is_here {
                continue;
            }
            self.stop(player);
        }
    }

    fn stop(&mut self, player: usize) {
        let Player { process, id, in_play, .. } = self.players[player];
        self.players[player].is_stopping = Some(self.now);
        if let Some(mv) = in_play {
            self.count_if(matches!(self.moves[mv].place, Place::Owner(_)), Case::DrainAway);
            self.event(process, &Cause::Stops(player), |replica, now, actions| {
                replica.on_shutdown(id, now, actions);
            });
            self.arm(player);
        } else if self.players[player].is_here {
            self.leave(player);
        }
    }

    /// A draining replica exits when its players have left.
    fn exit_if_empty(&mut self, process: usize) {
        let Process { is_up, is_draining, .. } = self.processes[process];
        let stops = self.players_of(process).all(|player| self.players[player].is_stopping.is_some());
        if is_up && is_draining && stops && self.players_of(process).next().is_none() {
            self.print(|| format!("replica {process} exits"));
            for (_, connection, side) in mem::take(&mut self.processes[process].links) {
                self.close_end(connection, side, true);
            }
            self.end_process(process);
        }
    }

    fn crash(&mut self, process: usize) {
        if !self.processes[process].is_up {
            return;
        }
        self.print(|| format!("replica {process} crashes"));
        let has_guests = self.guests(process).next().is_some();
        self.count_if(has_guests, Case::CrashWithGuests);
        self.count_lost_verdicts(process);
        for (_, connection, side) in mem::take(&mut self.processes[process].links) {
            self.close_end(connection, side, false);
        }
        for player in self.players_of(process).collect::<Vec<_>>() {
            let player = &mut self.players[player];
            (player.is_here, player.in_play, player.timer, player.partner) = (false, None, None, None);
        }
        self.end_process(process);
    }

    fn count_lost_verdicts(&mut self, process: usize) {
        for connection in 0..self.connections.len() {
            let Connection { processes, states, flows, .. } = &self.connections[connection];
            if processes[1].0 == process && states[1] == End::Open {
                let is_verdict = |in_flight: &InFlight| matches!(in_flight.message, Message::Verdict { .. });
                let has_verdict = flows[1].messages.iter().any(is_verdict);
                self.count_if(has_verdict, Case::CrashAfterVerdict);
            }
        }
    }

    fn end_process(&mut self, process: usize) {
        let incarnation = self.processes[process].incarnation;
        for session in 0..self.sessions.len() {
            let Session { taker, incarnation: own, .. } = self.sessions[session];
            if (taker, own) == (process, incarnation) {
                self.sessions[session].at_taker = AtTaker::Ended;
            }
        }
        let ended = &mut self.processes[process];
        (ended.is_up, ended.wake) = (false, None);
        ended.calls.clear();
        self.disturb(self.now + micros(CLAIM_TIMEOUT));
        let at = self.now + self.random.random_range(0..SECOND);
        self.schedule(at, Event::Start(process));
    }

    // The engine.

    fn call_engine(&mut self, process: usize, call: EngineCall) {
        if let EngineCall::Ask { nonce, expires_in } = call {
            assert!(!self.processes[process].is_draining, "a ticket of a draining replica");
            let player = self.lobby(process).expect("a ticket without a move in the lobby");
            let mv = self.players[player].in_play.unwrap();
            assert_eq!(self.now + micros(expires_in), self.moves[mv].window_end, "the end of a ticket");
            if let Some(own) = self.moves[mv].nonce {
                assert_eq!(nonce, own, "a move with two nonces");
            } else {
                assert!(self.moves.iter().all(|other| other.nonce != Some(nonce)), "two moves with the same nonce");
                self.moves[mv].nonce = Some(nonce);
            }
            if self.processes[process].last_failed_claim == Some(self.now) {
                self.count(Case::RetriedAtOnce);
            }
        }
        self.processes[process].calls.push_back(call);
        assert!(self.processes[process].calls.len() <= 3, "too many calls of the engine");
        if !self.processes[process].is_calling {
            self.call_next(process);
        }
    }

    fn call_next(&mut self, process: usize) {
        if self.processes[process].is_calling {
            return;
        }
        let Some(call) = self.processes[process].calls.pop_front() else { return };
        self.processes[process].is_calling = true;
        let incarnation = self.processes[process].incarnation;
        let asks = matches!(call, EngineCall::Ask { .. });
        let failed = asks.then_some(EngineReply::Failed);
        if self.engine.is_down {
            self.schedule(self.now, Event::EngineReply { process, incarnation, reply: failed });
            return;
        }
        let mut execute_at = self.now + self.random.random_range(0..2_500);
        let mut reply_at = Some(execute_at + self.random.random_range(0..2_500));
        let fault = if self.faults.engine && !self.is_calm { self.random.random_range(0..100) } else { 100 };
        match fault {
            // Slow.
            0..6 => {
                execute_at = self.now + self.random.random_range(0..120) * MILLISECOND;
                reply_at = Some(execute_at + self.random.random_range(0..20) * MILLISECOND);
            }
            // Lost before it is executed, or after.
            6..10 => execute_at = Time::MAX,
            10..14 => reply_at = None,
            // Executed twice.
            14..17 => {
                let again_at = execute_at + self.random.random_range(0..60) * MILLISECOND;
                self.schedule(again_at, Event::Execute { process, incarnation, call: call.clone(), reply_at: None });
            }
            _ => {}
        }
        let fails_at = self.now + ENGINE_TIMEOUT;
        reply_at = reply_at.filter(|at| execute_at != Time::MAX && *at <= fails_at);
        if fault < 17 {
            self.disturb(self.now + 4 * ENGINE_TIMEOUT);
        }
        if execute_at != Time::MAX {
            self.schedule(execute_at, Event::Execute { process, incarnation, call, reply_at });
        }
        if reply_at.is_none() {
            self.schedule(fails_at, Event::EngineReply { process, incarnation, reply: failed });
            if self.random.random_bool(0.5) {
                let at = fails_at + self.random.random_range(0..100) * MILLISECOND;
                self.schedule(at, Event::EngineUp { process, incarnation });
            }
        }
    }

    fn execute(&mut self, process: usize, incarnation: u32, call: &EngineCall, reply_at: Option<Time>) {
        let asks = matches!(call, EngineCall::Ask { .. });
        let reply = if self.engine.is_down {
            asks.then_some(EngineReply::Failed)
        } else {
            self.engine_reply(process, incarnation, call)
        };
        self.print(|| format!("engine executes {call:?} of {process}: {reply:?}, at {reply_at:?}"));
        if let Some(at) = reply_at {
            self.schedule(at, Event::EngineReply { process, incarnation, reply });
        }
    }

    fn engine_reply(&mut self, process: usize, incarnation: u32, call: &EngineCall) -> Option<EngineReply> {
        self.engine.ticket.take_if(|ticket| ticket.expires <= self.now);
        let is_own = |ticket: &Stored| (ticket.process, ticket.incarnation) == (process, incarnation);
        match *call {
            EngineCall::Withdraw { nonce } => {
                self.engine.ticket.take_if(|ticket| is_own(ticket) && ticket.nonce == nonce);
                None
            }
            EngineCall::Ask { nonce, expires_in } => {
                if let Some(ticket) = self.engine.ticket.take_if(|ticket| !is_own(ticket)) {
                    let address = self.addresses[ticket.process].clone();
                    return Some(EngineReply::Taken(Ticket { nonce: ticket.nonce, address }));
                }
                let ticket = Stored { process, incarnation, nonce, expires: self.now + micros(expires_in) };
                self.engine.history.push(ticket.clone());
                self.engine.ticket = Some(ticket);
                Some(EngineReply::Posted)
            }
        }
    }

    fn disturb_engine(&mut self) {
        match self.random.random_range(0..4) {
            0 if self.engine.is_down => self.engine_up(),
            0 => {
                self.print(|| "engine down".to_owned());
                self.engine.is_down = true;
                self.count(Case::EngineDown);
            }
            1 => {
                self.print(|| "engine empty".to_owned());
                let had_ticket = self.engine.ticket.take().is_some();
                self.count_if(had_ticket, Case::EngineEmptied);
            }
            _ => {
                let recent = self.engine.history.len().saturating_sub(5);
                if recent < self.engine.history.len() {
                    let mut index = self.random.random_range(recent..self.engine.history.len());
                    let waits = |ticket: &Stored| {
                        let player = self.lobby(ticket.process).and_then(|player| self.players[player].in_play);
                        player.is_some_and(|mv| self.moves[mv].nonce == Some(ticket.nonce))
                    };
                    let waiting = self.engine.history.iter().position(waits);
                    if self.random.random_bool(0.5) {
                        index = waiting.unwrap_or(index);
                    }
                    let mut ticket = self.engine.history[index].clone();
                    // The other engine's clock can be late.
                    ticket.expires += self.random.random_range(0..2) * self.random.random_range(0..2 * SECOND);
                    self.print(|| format!("engine has old data: {ticket:?}"));
                    self.engine.ticket = Some(ticket);
                    self.count(Case::EngineFailedOver);
                }
            }
        }
        self.disturb(self.now);
    }

    fn engine_up(&mut self) {
        self.print(|| "engine up".to_owned());
        self.engine.is_down = false;
        self.disturb(self.now + 50 * MILLISECOND);
        for process in 0..self.processes.len() {
            let at = self.now + self.random.random_range(0..50) * MILLISECOND;
            let incarnation = self.processes[process].incarnation;
            self.schedule(at, Event::EngineUp { process, incarnation });
        }
    }

    // Links.

    fn disturb_links(&mut self) {
        if self.chance(25) {
            let (one, other) =
                (self.random.random_range(0..self.processes.len()), self.random.random_range(0..self.processes.len()));
            let until = self.now + self.random.random_range(100..5_000) * MILLISECOND;
            self.print(|| format!("replicas {one} and {other} are apart until {until}"));
            self.partitions.push((one, other, until));
            self.disturb(until + micros(LINK_TIMEOUT));
            for connection in 0..self.connections.len() {
                let ends = self.connections[connection].processes.map(|(process, _)| process);
                if ends == [one, other] || ends == [other, one] {
                    self.stall(connection, until);
                }
            }
            return;
        }
        let is_alive = |connection: &usize| self.connections[*connection].states.contains(&End::Open);
        let alive: Vec<_> = (0..self.connections.len()).filter(is_alive).collect();
        if alive.is_empty() {
            return;
        }
        let connection = alive[self.random.random_range(0..alive.len())];
        if self.chance(40) {
            self.stall_for_a_while(connection);
        } else {
            self.break_connection(connection);
        }
    }

    fn break_connection(&mut self, connection: usize) {
        self.print(|| format!("connection {connection} breaks"));
        for side in [Side::Taker, Side::Owner] {
            self.cut(connection, side, true);
            self.notice_loss(connection, side, false);
        }
    }

    fn stall_for_a_while(&mut self, connection: usize) {
        let longest = [500, 2_500, 8_000][self.random.random_range(0..3)];
        let until = self.now + self.random.random_range(50..longest) * MILLISECOND;
        self.print(|| format!("connection {connection} stalls until {until}"));
        self.disturb(until + SECOND);
        self.stall(connection, until);
    }

    fn stall(&mut self, connection: usize, until: Time) {
        for from in [Side::Taker, Side::Owner] {
            let flow = &mut self.connections[connection].flows[from as usize];
            flow.not_before = flow.not_before.max(until);
            for in_flight in &mut flow.messages {
                in_flight.arrives_at = in_flight.arrives_at.max(until);
            }
            for _ in 0..self.connections[connection].flows[from as usize].messages.len() {
                self.schedule(until, Event::Deliver(connection, from));
            }
        }
    }

    /// The messages from `side` are lost from now on, and some of those in flight.
    fn cut(&mut self, connection: usize, side: Side, loses_some: bool) {
        let flow = &mut self.connections[connection].flows[side as usize];
        flow.is_cut = true;
        if loses_some {
            let kept = self.random.random_range(0..=flow.messages.len());
            for InFlight { message, .. } in flow.messages.split_off(kept) {
                self.count_lost(message);
            }
        }
    }

    fn count_lost(&mut self, message: Message) {
        match message {
            Message::Verdict { .. } => self.count(Case::VerdictLost),
            Message::Claim { .. } => self.count(Case::ClaimLost),
            _ => {}
        }
    }

    /// `side` notices that the connection is lost, after all that still arrives: soon, late, or never.
    fn notice_loss(&mut self, connection: usize, side: Side, is_orderly: bool) {
        let after = match self.random.random_range(0..10) {
            _ if is_orderly => 0..10,
            0..7 => 0..10,
            7..9 => 0..500,
            _ => {
                self.disturb(self.now + micros(LINK_TIMEOUT) + 2 * SECOND);
                return;
            }
        };
        let after = self.random.random_range(after) * MILLISECOND;
        let flow = &self.connections[connection].flows[side.other() as usize];
        let at = flow.not_before.max(self.now + after);
        self.disturb(at);
        self.schedule(at, Event::Lost(connection, side));
    }

    fn delay(&mut self) -> Time {
        if self.faults.links && !self.is_calm && self.random.random_range(0..50) == 0 {
            let delay = self.random.random_range(50..700) * MILLISECOND;
            self.disturb(self.now + delay);
            return delay;
        }
        self.random.random_range(0..10 * MILLISECOND)
    }

    /// Returns until when two addresses are apart.
    fn apart_until(&self, one: usize, other: usize) -> Time {
        let partitions = self.partitions.iter();
        let apart = partitions.filter(|(a, b, _)| (*a, *b) == (one, other) || (*a, *b) == (other, one));
        apart.map(|(.., until)| *until).max().unwrap_or(0)
    }

    fn connect(&mut self, process: usize, link: LinkId, address: &str) {
        let target = self.addresses.iter().position(|own| own == address).expect("an address");
        let incarnation = self.processes[process].incarnation;
        let connection = self.connections.len();
        let apart_until = self.apart_until(process, target);
        let flow = || Flow { not_before: apart_until, ..Flow::default() };
        self.connections.push(Connection {
            processes: [(process, incarnation), (target, self.processes[target].incarnation)],
            links: [Some(link), None],
            states: [End::Connecting; 2],
            flows: [flow(), flow()],
        });
        self.processes[process].links.push((link, connection, Side::Taker));
        let at = (self.now + self.delay()).max(apart_until);
        let is_refused = !self.processes[target].is_up || (self.faults.links && !self.is_calm && self.chance(3));
        if is_refused {
            self.disturb(at);
            // Nothing comes back in some cases.
            if self.chance(80) {
                self.schedule(at, Event::Lost(connection, Side::Taker));
            }
        } else {
            self.schedule(at, Event::Open(connection));
        }
    }

    fn open(&mut self, connection: usize) {
        let Connection { processes: [taker, owner], links, states, .. } = &self.connections[connection];
        let (taker, owner, link) = (*taker, *owner, links[0].unwrap());
        if states[0] != End::Connecting {
            return;
        }
        if !self.runs(owner.0, owner.1) {
            return self.schedule(self.now, Event::Lost(connection, Side::Taker));
        }
        self.connections[connection].states[0] = End::Open;
        let accept_at = (self.now + self.delay()).max(self.connections[connection].flows[0].not_before);
        self.connections[connection].flows[0].not_before = accept_at;
        self.schedule(accept_at, Event::Accept(connection));
        self.event(taker.0, &Cause::Other, |replica, now, actions| replica.on_link_open(link, now, actions));
    }

    fn accept(&mut self, connection: usize) {
        let Connection { processes: [_, (owner, incarnation)], states, .. } = &self.connections[connection];
        let (owner, incarnation) = (*owner, *incarnation);
        if states[1] != End::Connecting {
            return;
        }
        if !self.runs(owner, incarnation) {
            return self.notice_loss(connection, Side::Taker, true);
        }
        let (now, lobby) = (self.instant(owner), self.lobby(owner));
        let mut actions = mem::take(&mut self.actions);
        let link = self.processes[owner].replica.on_link_accepted(now, &mut actions).expect("there are few links");
        self.connections[connection].states[1] = End::Open;
        self.connections[connection].links[1] = Some(link);
        self.processes[owner].links.push((link, connection, Side::Owner));
        self.carry_out(owner, &Cause::Other, lobby, actions);
    }

    fn deliver_message(&mut self, connection: usize, from: Side) {
        let to = from.other();
        let Connection { processes, links, states, flows } = &mut self.connections[connection];
        let flow = &mut flows[from as usize];
        if flow.messages.front().is_none_or(|first| first.arrives_at > self.now) {
            return;
        }
        let InFlight { message, sent_at, .. } = flow.messages.pop_front().unwrap();
        let ((process, incarnation), link) = (processes[to as usize], links[to as usize]);
        if let Message::Clock { .. } = message {
            flow.clock_delay = self.now - sent_at;
        }
        if states[to as usize] != End::Open || !self.runs(process, incarnation) {
            return self.count_lost(message);
        }
        self.before_message(connection, message);
        let link = link.unwrap();
        let handled = self.event(process, &Cause::Message(connection, to, message), |replica, now, actions| {
            replica.on_message(link, message, now, actions)
        });
        assert_eq!(handled, Ok(()), "replicas follow their protocol");
        self.after_message(connection, message);
    }

    /// One side notices that the connection is lost.
    fn lose(&mut self, connection: usize, side: Side) {
        let Connection { processes, links, states, .. } = &self.connections[connection];
        let ((process, incarnation), link) = (processes[side as usize], links[side as usize]);
        if states[side as usize] == End::Closed {
            return;
        }
        let Some(link) = link else {
            // The owner has not accepted it yet.
            self.connections[connection].states[side as usize] = End::Closed;
            return;
        };
        if !self.runs(process, incarnation) {
            return;
        }
        let was_open = states[side as usize] == End::Open;
        self.count_if(!was_open, Case::ConnectionRefused);
        self.close_end(connection, side, false);
        self.processes[process].links.retain(|(own, ..)| *own != link);
        self.event(process, &Cause::Lost, |replica, now, actions| replica.on_link_lost(link, now, actions));
    }

    /// One side closes the connection. The other side notices it.
    fn close_end(&mut self, connection: usize, side: Side, is_orderly: bool) {
        let other = side.other();
        self.connections[connection].states[side as usize] = End::Closed;
        if self.connections[connection].states[other as usize] != End::Closed
            && !self.connections[connection].flows[side as usize].is_cut
        {
            let loses_some = !is_orderly && self.random.random_bool(0.5);
            self.cut(connection, side, loses_some);
            self.notice_loss(connection, other, is_orderly);
        }
        self.cut(connection, other, true);
        for session in 0..self.sessions.len() {
            if self.sessions[session].connection == Some(connection) {
                match side {
                    Side::Taker => self.lose_at_taker(session),
                    Side::Owner => self.end_guest(session),
                }
            }
        }
    }

    fn lose_at_taker(&mut self, session: usize) {
        self.sessions[session].at_taker = AtTaker::Ended;
        let player = self.sessions[session].player;
        let player = &mut self.players[player];
        if player.partner == Some(Partner::Away(session)) {
            player.partner = None;
        }
        if let Some(mv) = player.in_play
            && self.moves[mv].place == Place::Owner(session)
        {
            self.moves[mv].place = Place::Lost;
        }
    }

    /// The player of the session is no longer a guest.
    fn end_guest(&mut self, session: usize) {
        let Session { is_guest, host, .. } = self.sessions[session];
        if is_guest {
            let ended = &mut self.sessions[session];
            (ended.is_guest, ended.at_owner, ended.is_returned) = (false, None, false);
            if self.players[host].partner == Some(Partner::Guest(session)) {
                self.players[host].partner = None;
            }
        }
    }

    /// Returns the sessions whose players are guests of a replica.
    fn guests(&self, process: usize) -> impl Iterator<Item = usize> {
        (0..self.sessions.len())
            .filter(move |session| self.sessions[*session].is_guest && self.owner(*session) == process)
    }

    /// Returns the address of a session's owner.
    fn owner(&self, session: usize) -> usize {
        self.connections[self.sessions[session].connection.unwrap()].processes[1].0
    }

    // The actions of a replica.

    fn carry_out(&mut self, process: usize, cause: &Cause, lobby: Option<usize>, mut actions: Vec<Action>) {
        self.print(|| {
            let actions: Vec<_> = actions.iter().map(|action| self.describe(process, action)).collect();
            format!("replica {process}: {cause:?}: {}", actions.join(", "))
        });
        self.count(Case::Events);
        if let (Cause::Engine(EngineReply::Taken(ticket)), Some(player)) = (cause, lobby)
            && self.processes[process].replica.stats().waiting == 0
        {
            self.begin_claim(process, player, ticket);
        }
        let mut judged = Vec::new();
        let mut calls = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Reply { player, reply } => self.reply(process, player, reply, cause, &mut judged),
                Action::Send { link, message } => self.send(process, link, message, cause, lobby, &mut judged),
                Action::Connect { link, address } => self.connect(process, link, &address),
                Action::Close { link } => self.close(process, link, cause),
                Action::Accepted(after) => {
                    assert!(matches!(cause, Cause::Message(_, Side::Taker, Message::Accept { .. })));
                    assert!(!self.is_punctual || after <= CLAIM_TIMEOUT, "accepted after the timeout");
                }
                Action::Engine(call) => calls.push(call),
            }
            if let [one, other] = judged[..] {
                self.check_round(one, other);
                judged.clear();
            }
        }
        self.actions = actions;
        assert!(judged.is_empty(), "a move was judged alone: {judged:?}");
        for player in mem::take(&mut self.changed) {
            self.check_pending(player);
        }
        self.check_cause(process, cause);
        self.check_wanted(process);
        for call in calls {
            self.call_engine(process, call);
        }
        for session in 0..self.sessions.len() {
            if self.sessions[session].connection.is_none() {
                self.sessions[session].connection = self.outgoing(process, self.sessions[session].target);
            }
        }
        if !matches!(cause, Cause::Leaves) {
            self.check_process(process);
        }
        let next = self.processes[process].replica.next_time().map(|next| self.time(process, next));
        if next != self.processes[process].wake.map(|(at, _)| at) {
            self.processes[process].wake = next.map(|at| (at, self.report_at(at).max(self.now)));
        }
    }

    fn describe(&self, process: usize, action: &Action) -> String {
        match action {
            Action::Reply { player, reply: ReplyState::Pending { deadline } } => {
                format!("{player:?} waits until {}", self.time(process, *deadline))
            }
            Action::Reply { player, reply } => format!("{player:?} gets {reply:?}"),
            Action::Send { link, message } => format!("{message:?} on {link:?}"),
            other => format!("{other:?}"),
        }
    }

    /// Returns the connection to an address that a replica has opened.
    fn outgoing(&self, process: usize, address: usize) -> Option<usize> {
        let mut links = self.processes[process].links.iter();
        let found = links.find(|(_, connection, side)| {
            *side == Side::Taker && self.connections[*connection].processes[1].0 == address
        });
        found.map(|(_, connection, _)| *connection)
    }

    fn begin_claim(&mut self, process: usize, player: usize, ticket: &Ticket) {
        let target = self.addresses.iter().position(|own| *own == ticket.address).unwrap();
        let session = self.sessions.len();
        self.processes[process].claims += 1;
        let mv = self.players[player].in_play.unwrap();
        self.moves[mv].place = Place::Claim(session);
        let is_mutual = self.sessions.iter().any(|other| {
            other.at_taker == AtTaker::Claims && other.taker == target && other.target == process && process != target
        });
        self.count_if(is_mutual, Case::MutualClaims);
        self.sessions.push(Session {
            taker: process,
            incarnation: self.processes[process].incarnation,
            number: self.processes[process].claims,
            target,
            connection: None,
            nonce: ticket.nonce,
            player,
            at_taker: AtTaker::Claims,
            is_claim_sent: false,
            is_guest: false,
            host: usize::MAX,
            sent: None,
            at_owner: None,
            is_returned: false,
            is_withdrawn: false,
            is_wanted: false,
            is_answered: false,
            rounds: 0,
        });
    }

    /// A claim ends without success.
    fn end_claim(&mut self, session: usize) {
        let Session { taker, player, .. } = self.sessions[session];
        self.sessions[session].at_taker = AtTaker::Ended;
        if self.players[player].is_here {
            self.count(Case::ClaimFailed);
            self.processes[taker].last_failed_claim = Some(self.now);
        }
    }

    fn close(&mut self, process: usize, link: LinkId, cause: &Cause) {
        let (connection, side) = self.end(process, link);
        let was_open = self.connections[connection].states[side as usize] == End::Open;
        assert!(matches!(cause, Cause::Time), "a link is closed without reason");
        self.count_if(was_open, Case::LinkSilent);
        self.count_if(!was_open, Case::ConnectionRefused);
        self.processes[process].links.retain(|(own, ..)| *own != link);
        self.close_end(connection, side, self.is_calm);
    }

    fn end(&self, process: usize, link: LinkId) -> (usize, Side) {
        let end = self.processes[process].links.iter().find(|(own, ..)| *own == link);
        let (_, connection, side) = end.expect("an action for a link that is closed");
        (*connection, *side)
    }

    fn reply(&mut self, process: usize, id: PlayerId, reply: ReplyState, cause: &Cause, judged: &mut Vec<Party>) {
        let player = self.find_player(process, id).expect("a reply for a player who is not here");
        let mv = self.players[player].in_play.expect("a reply without a move");
        if let Place::Claim(session) = self.moves[mv].place
            && self.sessions[session].at_taker == AtTaker::Claims
        {
            // The claim has waited for the link to open.
            assert!(!self.sessions[session].is_claim_sent, "the owner does not learn that the claim has ended");
            self.end_claim(session);
        }
        if let ReplyState::Pending { deadline } = reply {
            self.players[player].deadline = self.time(process, deadline);
            if !self.changed.contains(&player) {
                self.changed.push(player);
            }
            return;
        }
        self.changed.retain(|changed| *changed != player);
        (self.players[player].in_play, self.players[player].timer) = (None, None);
        self.moves[mv].reply = Some(reply);
        match reply {
            ReplyState::Unknown => self.check_unknown(player, mv),
            ReplyState::Ready(Reply::Void) => self.check_void(player, mv),
            ReplyState::Ready(Reply::Judged(outcome)) => match (self.moves[mv].place, cause) {
                (
                    Place::Owner(session),
                    Cause::Message(connection, Side::Taker, Message::Verdict { session: number, .. }),
                ) => {
                    assert_eq!(self.session(*connection, *number), session, "the verdict of another session");
                    assert_eq!(self.moves[mv].judged, Some(outcome), "S2: the verdict is another one");
                }
                (Place::Owner(_) | Place::Lost, _) => panic!("S2: two replicas judge the same move"),
                _ => judged.push(Party { mv, session: None, outcome }),
            },
            _ => panic!("{reply:?} is not a reply to a move"),
        }
        if reply == ReplyState::Unknown {
            self.players[player].is_closing = true;
            self.processes[process].unknown_outcomes += 1;
        } else {
            self.processes[process].replies += 1;
        }
        if self.players[player].is_closing || self.players[player].is_stopping.is_some() {
            let at = self.now + self.random.random_range(0..2) * MILLISECOND;
            self.schedule(at, Event::Leave(player));
        }
    }

    /// Returns the session of a connection.
    fn session(&self, connection: usize, number: u64) -> usize {
        let is_it = |session: &Session| (session.connection, session.number) == (Some(connection), number);
        self.sessions.iter().position(is_it).expect("a session that nobody has begun")
    }

    fn send(
        &mut self,
        process: usize,
        link: LinkId,
        message: Message,
        cause: &Cause,
        lobby: Option<usize>,
        judged: &mut Vec<Party>,
    ) {
        let (connection, side) = self.end(process, link);
        assert_eq!(self.connections[connection].states[side as usize], End::Open, "a message before the link is open");
        match message {
            Message::Clock { micros } => {
                assert_eq!(micros, self.processes[process].clock_offset + self.now, "the wrong clock");
            }
            Message::Claim { session: number, nonce } => {
                let is_it = |session: &Session| {
                    (session.taker, session.number) == (process, number) && session.at_taker == AtTaker::Claims
                };
                let session = self.sessions.iter_mut().find(|session| is_it(session)).expect("a claim without a move");
                assert!(session.nonce == nonce && !session.is_claim_sent, "a ticket is claimed once");
                (session.is_claim_sent, session.connection) = (true, Some(connection));
            }
            Message::Leave { session } => {
                let session = self.session(connection, session);
                let player = self.sessions[session].player;
                match self.sessions[session].at_taker {
                    AtTaker::Claims => {
                        self.count_if(self.players[player].is_here, Case::ClaimTimedOut);
                        self.end_claim(session);
                    }
                    AtTaker::IsPaired => {
                        self.sessions[session].at_taker = AtTaker::Ended;
                        if self.players[player].partner == Some(Partner::Away(session)) {
                            self.players[player].partner = None;
                        }
                    }
                    AtTaker::Ended => {
                        let Cause::Message(_, _, Message::Accept { session: number }) = *cause else {
                            panic!("a session ends twice");
                        };
                        assert_eq!(number, self.sessions[session].number, "a session ends twice");
                        self.sessions[session].is_answered = true;
                    }
                }
            }
            Message::Withdraw { session } => {
                let session = self.session(connection, session);
                assert!(matches!(cause, Cause::Stops(player) if *player == self.sessions[session].player));
                self.sessions[session].is_withdrawn = true;
            }
            Message::Move { session, .. } => self.check_move_sent(self.session(connection, session), message),
            Message::Accept { session } => self.check_accept(self.session(connection, session), cause, lobby),
            Message::Refuse { session } => self.check_refuse(process, self.session(connection, session), lobby),
            Message::Verdict { session, number, outcome } => {
                let session = self.session(connection, session);
                let (mv, _) = self.sessions[session].at_owner.take().expect("S1, S3: a verdict without a move");
                assert_eq!(self.sessions[session].sent, Some((mv, number)), "the verdict of another move");
                judged.push(Party { mv, session: Some(session), outcome });
            }
            Message::Return { session, number } => {
                let session = self.session(connection, session);
                let (mv, _) = self.sessions[session].at_owner.take().expect("S3: a return without a move");
                assert_eq!(self.sessions[session].sent, Some((mv, number)), "the return of another move");
                self.sessions[session].is_returned = true;
                let is_late = self.now + MILLISECOND * 20
                    >= self.moves[mv].window_end - self.margin(self.sessions[session].taker);
                self.count(if is_late { Case::ReturnTooLate } else { Case::ReturnAtPatienceEnd });
            }
            Message::PartnerMoved { session } => {
                let session = self.session(connection, session);
                let Session { is_guest, is_returned, at_owner, host, .. } = self.sessions[session];
                assert!(is_guest && is_returned && at_owner.is_none(), "nobody waits for this");
                assert!(self.players[host].in_play.is_some(), "the partner has not moved");
                self.sessions[session].is_returned = false;
                self.count(Case::PartnerMoved);
            }
            Message::Dissolve { session } => {
                let session = self.session(connection, session);
                assert!(self.sessions[session].is_guest, "a session ends twice");
                self.end_guest(session);
            }
        }
        self.transmit(connection, side, message);
    }

    fn transmit(&mut self, connection: usize, from: Side, message: Message) {
        if self.connections[connection].flows[from as usize].is_cut {
            return self.count_lost(message);
        }
        let at = self.now + self.delay();
        let flow = &mut self.connections[connection].flows[from as usize];
        flow.not_before = flow.not_before.max(at);
        let arrives_at = flow.not_before;
        flow.messages.push_back(InFlight { message, sent_at: self.now, arrives_at });
        self.schedule(arrives_at, Event::Deliver(connection, from));
        if !matches!(message, Message::Clock { .. }) {
            self.fail_soon(connection);
        }
    }

    /// Lets something fail around a message, more often than at other times.
    fn fail_soon(&mut self, connection: usize) {
        let Faults { engine, links, crashes, drains } = self.faults;
        let at = self.now + self.random.random_range(0..20 * MILLISECOND);
        let process = self.connections[connection].processes[self.random.random_range(0..2)].0;
        let event = match self.random.random_range(0..100) {
            0 if links => Event::Break(connection),
            1 | 6..9 if links => Event::Stall(connection),
            2 if crashes => Event::Crash(process),
            3 | 4 if drains => Event::Drain(process),
            5 if engine => Event::DisturbEngine,
            _ => return,
        };
        self.schedule(at, event);
    }

    fn margin(&self, process: usize) -> Time {
        micros(RETURN_MARGIN).min(self.processes[process].window / 10)
    }

    // Checks.

    fn check_move_sent(&mut self, session: usize, message: Message) {
        let Message::Move { number, mv: sent, patience_end, window_end, .. } = message else { return };
        let Session { at_taker, player, connection, sent: last, .. } = self.sessions[session];
        assert_eq!(at_taker, AtTaker::IsPaired, "a move before the owner has accepted");
        let mv = self.players[player].in_play.expect("a move that is not in play");
        assert!(last.is_none_or(|(_, last)| last < number), "the number of a move is used again");
        assert!(!matches!(self.moves[mv].place, Place::Owner(_) | Place::Lost), "the move is at an owner already");
        assert_eq!(sent, self.moves[mv].mv);
        let latest = self.moves[mv].window_end - self.margin(self.moves[mv].process);
        assert!(self.now < latest, "the move is sent too late");
        self.count_if(last.is_some_and(|(last, _)| last == mv), Case::MovedAfterReturn);
        self.moves[mv].place = Place::Owner(session);
        (self.sessions[session].sent, self.sessions[session].is_wanted) = (Some((mv, number)), false);
        let Connection { processes: [_, owner], flows, .. } = &self.connections[connection.unwrap()];
        if self.runs(owner.0, owner.1) {
            // The clock has taken time to arrive. So the deadlines are early by this time, and never late.
            let (offset, delay) = (self.processes[owner.0].clock_offset, flows[Side::Owner as usize].clock_delay);
            assert_eq!(window_end + delay, latest + offset, "the end of the window on the owner's clock");
            assert_eq!(patience_end + delay, self.moves[mv].patience_end + offset, "the end of the patience");
        }
    }

    fn check_accept(&mut self, session: usize, cause: &Cause, lobby: Option<usize>) {
        let Cause::Message(_, _, Message::Claim { nonce, .. }) = *cause else { panic!("an accept without a claim") };
        let owner = self.owner(session);
        assert!(!self.processes[owner].is_draining, "a draining replica accepts a claim");
        let host = lobby.expect("a claim of nothing is accepted");
        let mv = self.players[host].in_play.unwrap();
        assert_eq!(self.moves[mv].nonce, Some(nonce), "a claim of another move is accepted");
        assert!(self.now < self.moves[mv].window_end, "a claim is accepted after the end of the window");
        if let Some(Partner::Local(partner)) = self.players[host].partner.replace(Partner::Guest(session)) {
            self.players[partner].partner = None;
        }
        (self.sessions[session].is_guest, self.sessions[session].host) = (true, host);
        let until = self.now + micros(CLAIM_TIMEOUT);
        let mv = &mut self.moves[mv];
        mv.patience_end = until;
        let waited = mv.waits_since.is_some_and(|since| self.now > since + SECOND / 2);
        self.count_if(waited, Case::WaitedTogether);
    }

    fn check_refuse(&mut self, process: usize, session: usize, lobby: Option<usize>) {
        self.sessions[session].is_answered = true;
        let nonce = self.sessions[session].nonce;
        if let Some(mv) = lobby.and_then(|player| self.players[player].in_play) {
            let waits = self.moves[mv].nonce == Some(nonce) && self.now < self.moves[mv].window_end;
            assert!(!waits || self.processes[process].is_draining, "a claim is refused although the move waits");
        }
        let Some(claimed) = self.moves.iter().find(|mv| mv.nonce == Some(nonce)) else { panic!("a ticket of nobody") };
        let has_left = !self.players[claimed.player].is_here;
        let is_former = !self.runs(claimed.process, claimed.incarnation) || claimed.process != process;
        let is_stale = claimed.reply.is_some();
        self.count_if(is_former, Case::ClaimOfFormerProcess);
        self.count_if(is_stale, Case::StaleTicketRefused);
        self.count_if(has_left && !is_stale && !is_former, Case::ClaimOfLeaver);
    }

    fn check_unknown(&mut self, player: usize, mv: usize) {
        let Player { deadline, is_stopping, .. } = self.players[player];
        let window_end = self.moves[mv].window_end;
        match self.moves[mv].place {
            Place::Lost => {}
            Place::Owner(session) => {
                assert!(self.now >= deadline, "unknown, although the owner still has time");
                self.count_if(is_stopping.is_some() && self.now < window_end, Case::WithdrawTimedOut);
                assert_eq!(self.sessions[session].at_taker, AtTaker::Ended, "the owner does not learn it");
            }
            place => panic!("A2: the move was never sent, but its outcome is unknown: {place:?}"),
        }
        assert!(!self.is_punctual || self.now <= window_end, "L1: unknown after the end of the window");
        assert!(!self.is_punctual || self.is_ever_disturbed, "unknown, although nothing has failed");
        self.count(Case::Unknown);
        self.count_if(self.moves[mv].judged.is_none(), Case::UnjudgedUnknown);
    }

    fn check_void(&mut self, player: usize, mv: usize) {
        let Player { partner, is_stopping, .. } = self.players[player];
        let SimulatedMove { place, window_end, judged, .. } = self.moves[mv];
        assert!(!matches!(place, Place::Owner(_) | Place::Lost), "S3: void, but the owner has not returned it");
        assert_eq!(judged, None, "S2: judged, and void");
        if self.now < window_end {
            assert!(is_stopping.is_some(), "void before the end of its window");
            self.count(Case::DrainVoid);
        }
        assert!(!self.is_punctual || self.now <= window_end, "L1: void after the end of its window");
        self.count(Case::Void);
        if let Some(Partner::Local(partner)) = partner {
            (self.players[player].partner, self.players[partner].partner) = (None, None);
        }
    }

    fn check_round(&mut self, one: Party, other: Party) {
        for (mine, theirs) in [(one, other), (other, one)] {
            let SimulatedMove { player, mv, window_end, patience_end, judged, reply, .. } = self.moves[mine.mv];
            assert_eq!(mine.outcome, judge(mv, self.moves[theirs.mv].mv), "S2: the outcome of the moves");
            assert_eq!(judged, None, "S1: judged twice");
            assert_ne!(reply, Some(ReplyState::Ready(Reply::Void)), "S3: judged after it was void");
            assert!(self.now < window_end, "judged after the end of its window");
            assert_ne!(player, self.moves[theirs.mv].player, "a player met itself");
            self.moves[mine.mv].judged = Some(mine.outcome);
            let opponent = match theirs.session {
                Some(session) => Partner::Guest(session),
                None => Partner::Local(self.moves[theirs.mv].player),
            };
            if let Some(session) = mine.session {
                let Session { host, is_guest, rounds, .. } = self.sessions[session];
                assert!(is_guest && theirs.session.is_none(), "two guests meet");
                self.sessions[session].rounds += 1;
                self.count(Case::CrossRound);
                self.count_if(self.engine.is_down, Case::CrossRoundEngineDown);
                self.count_if(rounds > 0, Case::CrossRoundAgain);
                if opponent != Partner::Local(host) {
                    self.count(Case::GuestMetAnother);
                    if self.players[host].partner == Some(Partner::Guest(session)) {
                        self.players[host].partner = None;
                    }
                    self.sessions[session].host = self.moves[theirs.mv].player;
                }
                continue;
            }
            if let Some(former) = self.players[player].partner.replace(opponent)
                && former != opponent
            {
                match former {
                    Partner::Local(former) => {
                        assert!(self.now >= patience_end, "a new opponent before the end of the patience");
                        let their_move = self.players[former].in_play.map(|mv| &self.moves[mv]);
                        let has_moved =
                            their_move.is_some_and(|mv| mv.since < self.now && !matches!(mv.place, Place::Claim(_)));
                        assert!(!has_moved, "a new opponent although the partner has moved");
                        self.players[former].partner = None;
                    }
                    Partner::Guest(session) => assert!(!self.sessions[session].is_guest, "the guest is not dismissed"),
                    Partner::Away(session) => {
                        assert_eq!(self.sessions[session].at_taker, AtTaker::Ended, "the owner does not learn it");
                    }
                }
            }
        }
        if one.session.is_none() && other.session.is_none() {
            self.count(Case::LocalRound);
            self.count_if(self.engine.is_down, Case::LocalRoundEngineDown);
        }
    }

    /// Checks the deadline of a reply, and derives where the move is.
    fn check_pending(&mut self, player: usize) {
        let Player { in_play, partner, deadline, is_stopping, .. } = self.players[player];
        let mv = in_play.unwrap();
        let SimulatedMove { patience_end, window_end, place, waits_since, .. } = self.moves[mv];
        match place {
            Place::Owner(_) => {
                let latest = is_stopping.map_or(window_end, |since| window_end.min(since + micros(WITHDRAW_TIMEOUT)));
                assert_eq!(deadline, latest, "the deadline of a move at the owner");
                self.moves[mv].waits_since = None;
            }
            Place::Lost => panic!("S3: the owner may have judged the move, and it is in play again"),
            Place::Patience | Place::Lobby | Place::Claim(_) => {
                let has_partner = matches!(partner, Some(Partner::Local(_) | Partner::Guest(_)));
                let waits_for_partner = has_partner && self.now < patience_end;
                let expected = if waits_for_partner { patience_end.min(window_end) } else { window_end };
                assert_eq!(deadline, expected, "the wrong deadline");
                if waits_for_partner {
                    (self.moves[mv].place, self.moves[mv].waits_since) = (Place::Patience, None);
                } else {
                    if let Some(Partner::Guest(session)) = partner {
                        self.count_if(self.sessions[session].sent.is_none(), Case::AcceptedWithoutMove);
                    }
                    self.moves[mv].place = Place::Lobby;
                    self.moves[mv].waits_since = waits_since.or(Some(self.now));
                }
            }
        }
    }

    /// Updates the model before a replica handles a message.
    fn before_message(&mut self, connection: usize, message: Message) {
        let number = match message {
            Message::Clock { .. } => return,
            Message::Claim { session, .. }
            | Message::Accept { session }
            | Message::Refuse { session }
            | Message::Move { session, .. }
            | Message::Verdict { session, .. }
            | Message::Return { session, .. }
            | Message::PartnerMoved { session }
            | Message::Dissolve { session }
            | Message::Leave { session }
            | Message::Withdraw { session } => session,
        };
        let session = self.session(connection, number);
        let Session { at_taker, player, sent, is_guest, is_withdrawn, .. } = self.sessions[session];
        let in_play = self.players[player].in_play;
        match message {
            Message::Accept { .. } if at_taker == AtTaker::Claims => {
                self.sessions[session].at_taker = AtTaker::IsPaired;
                (self.sessions[session].is_answered, self.sessions[session].is_wanted) = (true, true);
                self.moves[in_play.unwrap()].place = Place::Patience;
                if let Some(Partner::Local(partner)) = self.players[player].partner.replace(Partner::Away(session)) {
                    self.players[partner].partner = None;
                }
            }
            Message::Accept { .. } => self.count(Case::LateAccept),
            Message::PartnerMoved { .. } if at_taker == AtTaker::IsPaired => {
                if let Some(mv) = in_play.filter(|mv| self.moves[*mv].place != Place::Owner(session)) {
                    let is_claiming = matches!(self.moves[mv].place, Place::Claim(_));
                    self.count_if(is_claiming, Case::PartnerMovedDuringClaim);
                    self.sessions[session].is_wanted = true;
                }
            }
            Message::Refuse { .. } if at_taker == AtTaker::Claims => self.end_claim(session),
            Message::Verdict { .. } => {
                let (mv, _) = sent.unwrap();
                let SimulatedMove { place, reply, .. } = self.moves[mv];
                if at_taker == AtTaker::IsPaired {
                    assert_eq!(place, Place::Owner(session), "a verdict for a move that is not at the owner");
                    self.count_if(is_withdrawn, Case::WithdrawCrossedVerdict);
                }
                self.count_if(reply == Some(ReplyState::Unknown), Case::VerdictAfterUnknown);
            }
            Message::Return { .. } if at_taker == AtTaker::IsPaired => {
                let mv = &mut self.moves[in_play.unwrap()];
                assert_eq!(mv.place, Place::Owner(session));
                mv.place = Place::Patience;
                self.count_if(is_withdrawn, Case::WithdrawConfirmed);
            }
            Message::Dissolve { .. } if at_taker == AtTaker::IsPaired => {
                self.sessions[session].at_taker = AtTaker::Ended;
                if self.players[player].partner == Some(Partner::Away(session)) {
                    self.players[player].partner = None;
                }
                if let Some(mv) = in_play.filter(|mv| self.moves[*mv].place == Place::Owner(session)) {
                    self.moves[mv].place = Place::Patience;
                    self.count(if is_withdrawn { Case::WithdrawConfirmed } else { Case::ReturnedHome });
                }
            }
            Message::Move { number, patience_end, .. } if is_guest => {
                let (mv, sent_number) = sent.unwrap();
                assert_eq!(number, sent_number);
                let offset = self.processes[self.owner(session)].clock_offset;
                self.sessions[session].at_owner = Some((mv, patience_end.saturating_sub(offset)));
            }
            Message::Move { .. } => self.count(Case::DissolveCrossedMove),
            Message::Leave { .. } => self.end_guest(session),
            _ => {}
        }
    }

    fn after_message(&mut self, connection: usize, message: Message) {
        match message {
            Message::Accept { session } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(session.is_answered, "a late accept without an answer");
            }
            Message::Withdraw { session } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(!session.is_guest, "a withdrawal is not confirmed");
            }
            Message::Claim { session, .. } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(session.is_guest || session.is_answered, "a claim without an answer");
            }
            _ => {}
        }
    }

    /// A move for which the partner waits is at the owner, or in a claim, or too late.
    fn check_wanted(&mut self, process: usize) {
        for session in 0..self.sessions.len() {
            let Session { is_wanted, at_taker, taker, player, .. } = self.sessions[session];
            if is_wanted
                && at_taker == AtTaker::IsPaired
                && taker == process
                && let Some(mv) = self.players[player].in_play
                && !matches!(self.moves[mv].place, Place::Claim(_))
            {
                assert!(
                    self.now >= self.moves[mv].window_end - self.margin(process),
                    "the owner does not get the move"
                );
                self.sessions[session].is_wanted = false;
                self.count(Case::NotSent);
            }
        }
    }

    fn check_cause(&mut self, process: usize, cause: &Cause) {
        match *cause {
            Cause::Moves(player) => {
                let Player { in_play: Some(mv), partner, .. } = self.players[player] else { return };
                match partner {
                    Some(Partner::Away(session)) => {
                        assert_eq!(self.moves[mv].place, Place::Owner(session), "the owner does not get the move");
                    }
                    Some(Partner::Guest(session)) => {
                        assert!(!self.sessions[session].is_returned, "the guest does not learn that its partner moved");
                    }
                    _ => {}
                }
            }
            Cause::Engine(EngineReply::Posted) => {
                let has_posted = |player: usize| {
                    let nonce = self.players[player].in_play.and_then(|mv| self.moves[mv].nonce);
                    self.engine.history.iter().any(|ticket| Some(ticket.nonce) == nonce)
                };
                let waiting = (0..self.processes.len()).filter_map(|process| self.lobby(process));
                let both = waiting.filter(|player| has_posted(*player)).count() >= 2;
                self.count_if(both && self.lobby(process).is_some(), Case::BothPosted);
            }
            _ => {}
        }
    }

    /// Checks the invariants of a replica after an event.
    fn check_process(&self, process: usize) {
        let Process { replica, replies, unknown_outcomes, links, incarnation, .. } = &self.processes[process];
        let stats = replica.stats();
        assert_eq!(stats.players, self.players_of(process).count());
        assert_eq!(stats.draws + stats.wins + stats.losses + stats.voids, *replies, "the count of replies");
        let waiting = self.players_of(process).filter(|player| self.is_in_lobby(*player, process)).count();
        assert!(waiting <= 1, "A1: {waiting} moves are in the lobby, and could meet each other");
        assert_eq!(stats.waiting, waiting, "the move in the lobby");
        let stats = replica.cluster_stats().unwrap();
        assert_eq!(stats.guests, self.guests(process).count(), "the guests");
        let is_away = |session: &&Session| {
            (session.taker, session.incarnation, session.at_taker) == (process, *incarnation, AtTaker::IsPaired)
        };
        assert_eq!(stats.away, self.sessions.iter().filter(is_away).count(), "the players with a partner elsewhere");
        assert_eq!(stats.unknown_outcomes, *unknown_outcomes);
        let is_open = |(_, connection, side): &&(LinkId, usize, Side)| {
            self.connections[*connection].states[*side as usize] == End::Open
        };
        assert_eq!(stats.links, links.iter().filter(is_open).count(), "the open links");
        for player in self.players_of(process) {
            let Player { in_play: Some(mv), partner, .. } = self.players[player] else { continue };
            match self.moves[mv].place {
                Place::Lost => panic!("the link to the owner is lost, and the player gets nothing"),
                Place::Owner(session) => {
                    assert_eq!(
                        self.sessions[session].at_taker,
                        AtTaker::IsPaired,
                        "a move at an owner without a session"
                    );
                }
                Place::Patience => match partner {
                    Some(Partner::Local(partner)) => {
                        let theirs = self.players[partner].in_play.map(|mv| self.moves[mv].place);
                        let is_here = theirs.is_some_and(|place| !matches!(place, Place::Claim(_)));
                        assert!(!is_here, "two partners wait for each other");
                    }
                    Some(Partner::Guest(session)) => {
                        assert!(self.sessions[session].at_owner.is_none(), "two partners wait for each other");
                    }
                    _ => panic!("no partner, and not in the lobby"),
                },
                Place::Lobby | Place::Claim(_) => {}
            }
        }
    }

    fn check_before_time_passes(&mut self, to: Time) {
        if self.engine.is_down {
            self.disturb(to);
        }
        if !self.is_punctual {
            return;
        }
        for player in self.players.iter().filter(|player| player.in_play.is_some()) {
            assert!(player.deadline >= to, "L1: a deadline passes unnoticed");
        }
        for session in &self.sessions {
            assert!(session.at_owner.is_none_or(|(_, end)| end >= to), "L1: a guest's deadline passes unnoticed");
        }
        if to <= self.disturbed_until + MEETING_TIME {
            return;
        }
        // Since when the first player of each replica waits.
        let first = |process: usize| {
            let in_play = self.players_of(process).filter_map(|player| self.players[player].in_play);
            in_play.filter_map(|mv| self.moves[mv].waits_since).min()
        };
        let mut waiting: Vec<_> = (0..self.processes.len())
            .filter(|process| !self.processes[*process].is_draining)
            .filter_map(first)
            .collect();
        waiting.sort_unstable();
        if let Some(together) = waiting.get(1) {
            let since = self.disturbed_until.max(*together);
            assert!(to <= since + MEETING_TIME, "L2: two players wait together since {since}");
        }
    }

    /// Ends all faults. In some games, all moves then get their replies, and nothing is left when the players have
    /// left.
    fn finish(mut self) {
        self.is_calm = true;
        if self.engine.is_down {
            self.engine_up();
        }
        if self.random.random_range(0..4) == 0 {
            let last =
                self.players.iter().filter_map(|player| player.in_play).map(|mv| self.moves[mv].window_end).max();
            self.run_until(last.unwrap_or(self.now).max(self.now) + 5 * SECOND);
            assert!(self.players.iter().all(|player| player.in_play.is_none()), "L1: a move in play after its window");
        } else {
            let end = self.now + self.random.random_range(0..SECOND);
            self.run_until(end);
        }
        for player in 0..self.players.len() {
            if self.players[player].is_here {
                self.leave(player);
            }
        }
        if self.random.random_range(0..4) != 0 {
            return;
        }
        let apart = self.partitions.iter().map(|(.., until)| *until);
        let stalled = self.connections.iter().flat_map(|connection| &connection.flows).map(|flow| flow.not_before);
        let quiet = apart.chain(stalled).max().unwrap_or(0).max(self.now);
        self.run_until(quiet + micros(LINK_TIMEOUT) * 2);
        for process in 0..self.processes.len() {
            let stats = self.processes[process].replica.cluster_stats().unwrap();
            assert!(
                !self.processes[process].is_up || (stats.guests, stats.away) == (0, 0),
                "players after all have left"
            );
        }
        for connection in &self.connections {
            let open = connection.states.map(|state| state == End::Open);
            assert_eq!(open[0], open[1], "one side has not noticed that a link is lost");
        }
    }
}
