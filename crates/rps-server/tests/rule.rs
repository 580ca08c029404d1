//! Plays each row of the tables in the documentation of `rps_server::duel`, on the state machine, on the state machines
//! of several replicas and, with a paused clock, over connections in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::server::lifecycle::Shutdown;
use proto::testing::breakable::breakable_stream;
use proto::wire::rps::{Move, Reply};
use rps_server::duel::hub::DuelHub;
use rps_server::duel::replica::{self, EngineCall, EngineReply, LinkId, Replica, Ticket};
use rps_server::duel::rounds::{Action, PlayerId, ReplyState, Rounds};
use support::join_in_memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

const DOCUMENTATION: &str = include_str!("../src/duel/mod.rs");
const WINDOW: Duration = Duration::from_secs(30);

/// Later than every time in the tables, and before the idle timeout.
const END: Duration = Duration::from_mins(2);

/// Words with their times: the steps of a player, or the kinds of its replies.
type Timeline = Vec<(&'static str, Duration)>;

/// A row of a table: the steps of each player, and the replies to each player.
#[derive(Clone)]
struct Row {
    text: &'static str,
    steps: Vec<Timeline>,
    replies: Vec<Timeline>,
}

/// Returns the rows of all tables.
fn rows() -> Vec<Row> {
    let lines: Vec<_> = DOCUMENTATION.lines().filter_map(|line| line.strip_prefix("//! |")).collect();
    let is_separator = |line: &str| line.starts_with("--");
    let headings = lines.windows(2).filter(|pair| is_separator(pair[1])).count();
    assert_eq!(headings, 3, "three tables");
    let mut rows = Vec::new();
    for (index, line) in lines.iter().copied().enumerate() {
        if is_separator(line) || lines.get(index + 1).is_some_and(|next| is_separator(next)) {
            continue;
        }
        let mut cells: Vec<_> = line.trim_end_matches('|').split('|').map(parse_cell).collect();
        let replies = cells.split_off(cells.len() / 2);
        rows.push(Row { text: line, steps: cells, replies });
    }
    assert!(rows.len() > 50, "{} rows", rows.len());
    rows
}

/// Parses a cell such as `moves at 0, 6, resets at 29.999`. A time without a word repeats the word before it. `nothing`
/// and `is silent` give an empty timeline.
fn parse_cell(text: &'static str) -> Timeline {
    let entries = text.split(',').map(str::trim).filter(|entry| !["nothing", "is silent"].contains(entry));
    let mut word = "";
    entries
        .map(|entry| {
            let time = match entry.split_once(" at ") {
                Some((own, time)) => {
                    word = own;
                    time
                }
                None => entry,
            };
            (word, Duration::from_secs_f64(time.parse().unwrap()))
        })
        .collect()
}

impl Row {
    /// Exchanges the first two players.
    fn swapped(mut self) -> Self {
        self.steps.swap(0, 1);
        self.replies.swap(0, 1);
        self
    }
}

/// Returns each row in each of its variants, and whether the players start as partners, two by two: with the first two
/// players exchanged or not, and, in rows of two players, for partners and for players who have not met before.
fn cases() -> Vec<(Row, bool)> {
    let mut cases = Vec::new();
    for row in rows() {
        for row in [row.clone(), row.swapped()] {
            if row.steps.len() == 2 {
                cases.push((row.clone(), false));
            }
            cases.push((row, true));
        }
    }
    cases
}

#[test]
fn the_state_machine_follows_each_row_of_the_rule() {
    for (row, partners) in cases() {
        // The result must not depend on the order of a timeout and a step at the same instant.
        for timeout_first in [true, false] {
            let replies = play_on_rounds(&row, partners, timeout_first);
            assert_eq!(replies, row.replies, "partners: {partners}, timeout first: {timeout_first}: {}", row.text);
        }
    }
}

fn play_on_rounds(row: &Row, partners: bool, timeout_first: bool) -> Vec<Timeline> {
    let (mut rounds, mut actions) = (Rounds::new(WINDOW), Vec::new());
    let start = std::time::Instant::now();
    let players: Vec<PlayerId> = row.steps.iter().map(|_| rounds.on_join()).collect();
    if partners {
        for player in players.chunks_exact(2).flatten() {
            rounds.on_move(*player, Move::Rock, start, &mut actions);
        }
        actions.clear();
    }
    let mut steps: Vec<(Duration, usize, &str)> = Vec::new();
    for (player, own) in row.steps.iter().enumerate() {
        steps.extend(own.iter().map(|(step, time)| (*time, player, *step)));
    }
    steps.sort_by_key(|(time, ..)| *time);
    let mut steps = steps.into_iter().peekable();
    let mut deadlines: Vec<Option<Duration>> = vec![None; players.len()];
    let mut replies = vec![Vec::new(); players.len()];
    loop {
        let timeout = (0..players.len()).filter_map(|player| Some((deadlines[player]?, player))).min();
        let step_next = match (steps.peek(), timeout) {
            (None, None) => return replies,
            (Some((time, ..)), Some((deadline, _))) => *time < deadline || (*time == deadline && !timeout_first),
            (step, _) => step.is_some(),
        };
        let now = if step_next {
            let (now, player, step) = steps.next().unwrap();
            match step {
                "moves" => rounds.on_move(players[player], Move::Rock, start + now, &mut actions),
                "leaves" | "resets" => {
                    rounds.on_leave(players[player], start + now, &mut actions);
                    deadlines[player] = None;
                }
                "half-closes" => {}
                _ => panic!("{step}: {}", row.text),
            }
            now
        } else {
            let (now, player) = timeout.unwrap();
            deadlines[player] = None;
            rounds.on_timeout(players[player], start + now, &mut actions);
            now
        };
        for action in actions.drain(..) {
            let Action::Reply { player, reply } = action else { panic!("{action:?} without guests") };
            let index = players.iter().position(|id| *id == player).unwrap();
            match reply {
                ReplyState::Pending { deadline } => deadlines[index] = Some(deadline - start),
                ReplyState::Ready(reply) => {
                    deadlines[index] = None;
                    let word = if reply == Reply::Void { "void" } else { "judged" };
                    replies[index].push((word, now));
                }
                ReplyState::Unknown => panic!("the rounds judge every move"),
            }
        }
    }
}

/// Returns all ways to connect `players` players to two replicas, both of which have players, and one with a replica
/// for each player.
fn assignments(players: usize) -> Vec<Vec<usize>> {
    // The first player is at the first replica. The replicas are alike.
    let splits = (1..1 << (players - 1)).map(|split| (0..players).map(|player| split << 1 >> player & 1).collect());
    splits.chain((players > 2).then(|| (0..players).collect())).collect()
}

#[test]
fn several_replicas_follow_each_row_of_the_rule() {
    let mut deviations = 0;
    for (row, partners) in cases() {
        for replicas in assignments(row.steps.len()) {
            for order in [[true, true], [true, false], [false, true], [false, false]] {
                let [timeout_first, first_judges] = order;
                let expected = if partners { deviation(&row, &replicas, timeout_first, first_judges) } else { None };
                deviations += u32::from(expected.is_some());
                let replies = InstantCluster::new(&replicas).play(&row, partners, timeout_first, first_judges);
                let case = format!("partners: {partners}, at {replicas:?}, {order:?}: {}", row.text);
                assert_eq!(replies, expected.unwrap_or_else(|| row.replies.clone()), "{case}");
            }
        }
    }
    assert_eq!(deviations, 18, "plays that deviate from the tables");
}

/// Returns the replies to partners at several replicas where the tables do not hold. A message takes no time here, and
/// no claim is refused, so all other replies come at the exact times of the tables.
///
/// - A move is not sent to another replica in the last 100 ms of its window, since it might not come back in time. So a
///   move that was returned at the end of its patience does not meet the partner's move at 29.999. It does if the late
///   partner is the one that has to send its move.
/// - At the end of a patience, it takes a message to find the move that waits at another replica. If the partner's move
///   is the next event, it comes first.
fn deviation(row: &Row, replicas: &[usize], timeout_first: bool, first_judges: bool) -> Option<Vec<Timeline>> {
    let seconds = Duration::from_secs_f64;
    let moves_at = |time| row.steps.iter().position(|own| own.first() == Some(&("moves", seconds(time))));
    // The index of the partner whose replica judges.
    let owner = usize::from(!first_judges);
    let mut replies = row.replies.clone();
    match row.steps.len() {
        2 => {
            let (first, late) = (moves_at(0.0)?, moves_at(29.999)?);
            let is_judged = row.replies[late] == [("judged", seconds(29.999))];
            if !is_judged || replicas[first] == replicas[late] || owner != late {
                return None;
            }
            replies[first] = vec![("void", seconds(30.0))];
            replies[late] = vec![("void", seconds(59.999))];
        }
        3 => {
            let (first, late, third) = (moves_at(0.0)?, moves_at(3.0)?, moves_at(1.0)?);
            // The first move comes to these lobbies at the end of its patience.
            let lobbies = [replicas[first], replicas[owner]];
            if timeout_first || lobbies.contains(&replicas[third]) {
                return None;
            }
            replies[late] = vec![("judged", seconds(3.0))];
            replies[third] = vec![("void", seconds(31.0))];
        }
        _ => return None,
    }
    Some(replies)
}

/// Replicas whose links and engine take no time.
struct InstantCluster {
    start: std::time::Instant,
    now: Duration,
    replicas: Vec<Replica>,
    /// The other end of each end of a link.
    links: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    /// The ticket in the engine: the replica, the number and the end.
    ticket: Option<(usize, u128, Duration)>,
    /// The actions that are not carried out yet.
    actions: VecDeque<(usize, replica::Action)>,
    players: Vec<(usize, PlayerId)>,
    deadlines: Vec<Option<Duration>>,
    replies: Vec<Timeline>,
}

impl InstantCluster {
    /// Creates a cluster with a player at each of `replicas`.
    fn new(replicas: &[usize]) -> Self {
        let start = std::time::Instant::now();
        let number = replicas.iter().max().unwrap() + 1;
        let mut replicas_of = Vec::new();
        for seed in 0..number {
            replicas_of.push(Replica::new(WINDOW).with_cluster([u8::try_from(seed).unwrap(); 32], start));
        }
        Self {
            start,
            now: Duration::ZERO,
            players: replicas.iter().map(|replica| (*replica, replicas_of[*replica].on_join())).collect(),
            replicas: replicas_of,
            links: BTreeMap::new(),
            ticket: None,
            actions: VecDeque::new(),
            deadlines: vec![None; replicas.len()],
            replies: vec![Vec::new(); replicas.len()],
        }
    }

    fn play(mut self, row: &Row, partners: bool, timeout_first: bool, first_judges: bool) -> Vec<Timeline> {
        if partners {
            for pair in 0..self.players.len() / 2 {
                // The first to move waits, so its replica judges.
                for player in if first_judges { [0, 1] } else { [1, 0] } {
                    self.step(pair * 2 + player, "moves");
                }
            }
            self.replies.iter_mut().for_each(Vec::clear);
        }
        let mut steps: Vec<(Duration, usize, &str)> = Vec::new();
        for (player, own) in row.steps.iter().enumerate() {
            steps.extend(own.iter().map(|(step, time)| (*time, player, *step)));
        }
        steps.sort_by_key(|(time, ..)| *time);
        let mut steps = steps.into_iter().peekable();
        loop {
            let timer = self.next_timer();
            if let Some((time, player, step)) =
                steps.next_if(|(time, ..)| timer.is_none_or(|(at, _)| *time < at || *time == at && !timeout_first))
            {
                self.now = time;
                self.step(player, step);
            } else if steps.peek().is_none() && self.deadlines.iter().all(Option::is_none) {
                return self.replies;
            } else if let Some((at, timer)) = timer {
                self.now = at.max(self.now);
                match timer {
                    Timer::Player(player) => self.step(player, "times out"),
                    Timer::Replica(replica) => self.event(replica, Replica::on_time),
                }
            }
        }
    }

    fn next_timer(&self) -> Option<(Duration, Timer)> {
        let players = self.deadlines.iter().enumerate().filter_map(|(index, at)| Some(((*at)?, Timer::Player(index))));
        let replicas = self.replicas.iter().enumerate();
        let replicas = replicas.filter_map(|(index, one)| Some((one.next_time()? - self.start, Timer::Replica(index))));
        players.chain(replicas).min()
    }

    fn step(&mut self, index: usize, step: &str) {
        let (replica, player) = self.players[index];
        match step {
            "moves" => self.event(replica, |one, now, actions| one.on_move(player, Move::Rock, now, actions)),
            "leaves" | "resets" => {
                self.deadlines[index] = None;
                self.event(replica, |one, now, actions| one.on_leave(player, now, actions));
            }
            "half-closes" => {}
            "times out" => {
                self.deadlines[index] = None;
                self.event(replica, |one, now, actions| one.on_timeout(player, now, actions));
            }
            _ => panic!("{step}"),
        }
    }

    /// Lets a replica handle an event, and carries out all that follows from it.
    fn event<T>(
        &mut self,
        replica: usize,
        handle: impl FnOnce(&mut Replica, std::time::Instant, &mut Vec<replica::Action>) -> T,
    ) {
        self.handle(replica, handle);
        while let Some((replica, action)) = self.actions.pop_front() {
            self.carry_out(replica, action);
        }
    }

    fn handle<T>(
        &mut self,
        replica: usize,
        handle: impl FnOnce(&mut Replica, std::time::Instant, &mut Vec<replica::Action>) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let result = handle(&mut self.replicas[replica], self.start + self.now, &mut actions);
        self.actions.extend(actions.into_iter().map(|action| (replica, action)));
        result
    }

    fn carry_out(&mut self, replica: usize, action: replica::Action) {
        match action {
            replica::Action::Reply { player, reply } => {
                let index = self.players.iter().position(|one| *one == (replica, player)).unwrap();
                self.deadlines[index] = None;
                match reply {
                    ReplyState::Pending { deadline } => self.deadlines[index] = Some(deadline - self.start),
                    ReplyState::Ready(Reply::Void) => self.replies[index].push(("void", self.now)),
                    ReplyState::Ready(_) => self.replies[index].push(("judged", self.now)),
                    ReplyState::Unknown => panic!("the outcome is unknown, although no link is lost"),
                }
            }
            replica::Action::Engine(EngineCall::Withdraw { nonce }) => {
                self.ticket.take_if(|(owner, own, _)| (*owner, *own) == (replica, nonce));
            }
            replica::Action::Engine(EngineCall::Ask { nonce, expires_in }) => {
                let taken = self.ticket.take().filter(|(owner, _, end)| *owner != replica && *end > self.now);
                let reply = if let Some((owner, nonce, _)) = taken {
                    EngineReply::Taken(Ticket { nonce, address: owner.to_string() })
                } else {
                    self.ticket = Some((replica, nonce, self.now + expires_in));
                    EngineReply::Posted
                };
                self.handle(replica, |one, now, actions| one.on_engine_reply(reply, now, actions));
            }
            replica::Action::Connect { link, address } => {
                let owner = address.parse().unwrap();
                let accepted = self.handle(owner, Replica::on_link_accepted).unwrap();
                self.links.insert((replica, link), (owner, accepted));
                self.links.insert((owner, accepted), (replica, link));
                self.handle(replica, |one, now, actions| one.on_link_open(link, now, actions));
            }
            replica::Action::Send { link, message } => {
                let (other, link) = self.links[&(replica, link)];
                let handled = self.handle(other, |one, now, actions| one.on_message(link, message, now, actions));
                assert_eq!(handled, Ok(()));
            }
            replica::Action::Close { .. } => panic!("a link is closed, although it works"),
            replica::Action::Accepted(_) => {}
        }
    }
}

/// What waits for a point in time: a connection, or a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Player(usize),
    Replica(usize),
}

#[tokio::test(start_paused = true)]
async fn connections_follow_each_row_of_the_rule() {
    for (row, partners) in cases() {
        let replies = play_on_connections(&row, partners).await;
        assert_eq!(replies, row.replies, "partners: {partners}: {}", row.text);
    }
}

async fn play_on_connections(row: &Row, partners: bool) -> Vec<Timeline> {
    let (hub, shutdown) = (DuelHub::new(WINDOW), Shutdown::new(WINDOW));
    let mut clients = Vec::new();
    for _ in &row.steps {
        let (client, stream, reset) = breakable_stream(8);
        drop(join_in_memory(stream, &hub, &shutdown));
        clients.push((client, reset));
    }
    if partners {
        for pair in clients.chunks_exact_mut(2) {
            for (client, _) in &mut *pair {
                client.write_all(b"2").await.unwrap();
            }
            for (client, _) in pair {
                assert_eq!(client.read_u8().await.unwrap(), b'x');
            }
        }
    }
    let start = Instant::now();
    let readers: Vec<_> = clients
        .into_iter()
        .zip(row.steps.clone())
        .map(|((client, reset), steps)| {
            let (mut read, mut write) = split(client);
            tokio::spawn(async move {
                for (step, time) in steps {
                    sleep_until(start + time).await;
                    match step {
                        "moves" => write.write_all(b"2").await.unwrap(),
                        "leaves" | "half-closes" => write.shutdown().await.unwrap(),
                        "resets" => reset.cancel(),
                        _ => panic!("{step}"),
                    }
                }
                sleep_until(start + END).await;
                drop(write);
            });
            tokio::spawn(async move {
                let mut replies = Vec::new();
                while let Ok(reply) = read.read_u8().await {
                    let word = match reply {
                        b'v' => "void",
                        b'x' => "judged",
                        _ => panic!("{reply}"),
                    };
                    replies.push((word, start.elapsed()));
                }
                replies
            })
        })
        .collect();
    let mut replies = Vec::new();
    for reader in readers {
        replies.push(reader.await.unwrap());
    }
    assert_eq!(hub.stats().players, 0, "the hub still has players");
    let _ = Arc::into_inner(hub).expect("a connection still holds the hub");
    replies
}
