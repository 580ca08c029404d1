//! The rule of the duel: every row of the tables in the documentation of `rps_server::duel`, played on the state machine
//! and, under a paused clock, over connections.

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

/// Long after everything in the tables, and before a connection counts as idle.
const END: Duration = Duration::from_mins(2);

/// What the players of a row do and hear, each at its time.
#[derive(Clone)]
struct Row {
    text: &'static str,
    steps: Vec<Vec<(&'static str, Duration)>>,
    heard: Vec<Vec<(&'static str, Duration)>>,
}

/// The rows of both tables.
fn rows() -> Vec<Row> {
    let lines: Vec<_> = DOCUMENTATION.lines().filter_map(|line| line.strip_prefix("//! |")).collect();
    let is_rule = |line: &str| line.starts_with("--");
    let headings = lines.windows(2).filter(|pair| is_rule(pair[1])).count();
    assert_eq!(headings, 2, "two tables");
    let mut rows = Vec::new();
    for (index, line) in lines.iter().copied().enumerate() {
        if is_rule(line) || lines.get(index + 1).is_some_and(|next| is_rule(next)) {
            continue;
        }
        let mut cells: Vec<_> = line.trim_end_matches('|').split('|').map(cell).collect();
        let heard = cells.split_off(cells.len() / 2);
        rows.push(Row { text: line, steps: cells, heard });
    }
    assert!(rows.len() > 30, "{} rows", rows.len());
    rows
}

/// `moves at 0, resets at 29.999` or the like; `nothing` and `is silent` are no steps.
fn cell(text: &'static str) -> Vec<(&'static str, Duration)> {
    let steps = text.split(',').map(str::trim).filter(|step| !["nothing", "is silent"].contains(step));
    steps
        .map(|step| {
            let (what, when) = step.split_once(" at ").unwrap();
            (what, Duration::from_secs_f64(when.parse().unwrap()))
        })
        .collect()
}

impl Row {
    /// The same with the first two players in each other's place.
    fn swapped(mut self) -> Self {
        self.steps.swap(0, 1);
        self.heard.swap(0, 1);
        self
    }
}

/// Every row in every way in which it holds: both ways round, and whether the two are partners or have yet to meet;
/// where there is a third, the two have to be partners.
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
fn the_state_machine_keeps_every_row_of_the_rule() {
    for (row, partners) in cases() {
        // Of what falls on one instant, either may come first.
        for time_first in [true, false] {
            let heard = play_on_rounds(&row, partners, time_first);
            assert_eq!(heard, row.heard, "partners: {partners}, time first: {time_first}: {}", row.text);
        }
    }
}

fn play_on_rounds(row: &Row, partners: bool, time_first: bool) -> Vec<Vec<(&'static str, Duration)>> {
    let (mut rounds, mut actions) = (Rounds::new(WINDOW), Vec::new());
    let start = std::time::Instant::now();
    let players: Vec<PlayerId> = row.steps.iter().map(|_| rounds.on_join()).collect();
    if partners {
        for player in &players[..2] {
            rounds.on_move(*player, Move::Rock, start, &mut actions);
        }
        actions.clear();
    }
    let mut steps: Vec<(Duration, usize, &str)> = Vec::new();
    for (player, own) in row.steps.iter().enumerate() {
        steps.extend(own.iter().map(|(what, when)| (*when, player, *what)));
    }
    steps.sort_by_key(|(when, ..)| *when);
    let mut steps = steps.into_iter().peekable();
    let mut wakes: Vec<Option<Duration>> = vec![None; players.len()];
    let mut heard = vec![Vec::new(); players.len()];
    loop {
        let wake = (0..wakes.len()).filter_map(|player| Some((wakes[player]?, player))).min();
        let step_next = match (steps.peek(), wake) {
            (None, None) => return heard,
            (Some((step, ..)), Some((wake, _))) => *step < wake || (*step == wake && !time_first),
            (step, _) => step.is_some(),
        };
        let now = if step_next {
            let (now, player, what) = steps.next().unwrap();
            match what {
                "moves" => rounds.on_move(players[player], Move::Rock, start + now, &mut actions),
                "leaves" | "resets" => {
                    rounds.on_leave(players[player], start + now, &mut actions);
                    wakes[player] = None;
                }
                "half-closes" => {}
                _ => panic!("{what}: {}", row.text),
            }
            now
        } else {
            let (now, player) = wake.unwrap();
            wakes[player] = None;
            rounds.on_timeout(players[player], start + now, &mut actions);
            now
        };
        for Action { player, reply } in actions.drain(..) {
            let place = players.iter().position(|id| *id == player).unwrap();
            match reply {
                ReplyState::Pending { deadline } => wakes[place] = Some(deadline - start),
                ReplyState::Ready(answer) => {
                    wakes[place] = None;
                    let what = if answer == Reply::Void { "void" } else { "judged" };
                    heard[place].push((what, now));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_keep_every_row_of_the_rule() {
    for (row, partners) in cases() {
        let heard = play_on_connections(&row, partners).await;
        assert_eq!(heard, row.heard, "partners: {partners}: {}", row.text);
    }
}

async fn play_on_connections(row: &Row, partners: bool) -> Vec<Vec<(&'static str, Duration)>> {
    let (table, shutdown) = (DuelHub::new(WINDOW), Shutdown::new(WINDOW));
    let mut clients = Vec::new();
    for _ in &row.steps {
        let (client, stream, breaks) = breakable_stream(8);
        drop(join_in_memory(stream, &table, &shutdown));
        clients.push((client, breaks));
    }
    if partners {
        for (client, _) in &mut clients[..2] {
            client.write_all(b"2").await.unwrap();
        }
        for (client, _) in &mut clients[..2] {
            assert_eq!(client.read_u8().await.unwrap(), b'x');
        }
    }
    let start = Instant::now();
    let hearing: Vec<_> = clients
        .into_iter()
        .zip(row.steps.clone())
        .map(|((client, breaks), steps)| {
            let (mut read, mut write) = split(client);
            tokio::spawn(async move {
                for (what, when) in steps {
                    sleep_until(start + when).await;
                    match what {
                        "moves" => write.write_all(b"2").await.unwrap(),
                        "leaves" | "half-closes" => write.shutdown().await.unwrap(),
                        "resets" => breaks.cancel(),
                        _ => panic!("{what}"),
                    }
                }
                sleep_until(start + END).await;
                drop(write);
            });
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while let Ok(answer) = read.read_u8().await {
                    let what = match answer {
                        b'v' => "void",
                        b'x' => "judged",
                        _ => panic!("{answer}"),
                    };
                    heard.push((what, start.elapsed()));
                }
                heard
            })
        })
        .collect();
    let mut heard = Vec::new();
    for client in hearing {
        heard.push(client.await.unwrap());
    }
    assert_eq!(table.stats().players, 0, "whoever has gone is forgotten");
    let _ = Arc::into_inner(table).expect("and holds nothing");
    heard
}
