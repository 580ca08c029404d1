//! Plays each row of the tables in the documentation of `rps_server::duel`, on the state machine and, with a paused clock,
//! over connections in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use proto::server::lifecycle::Shutdown;
use proto::testing::breakable::breakable_stream;
use proto::wire::rps::{Move, Reply};
use rps_server::duel::hub::DuelHub;
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
