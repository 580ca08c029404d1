//! The duel, raw bytes against the real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proto::server::connection::Summary;
use proto::testing::nonblocking::read_to_end;
use proto::testing::{PATIENCE, python};
use proto::wire::rps::{Move, Outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::rounds::DuelStats;
use rps_server::game::judge;
use support::{TestServer, hear, start_duel};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Waits until the table stands like this. Nothing tells of it, so it is asked for again and again.
async fn until(server: &TestServer, stands: impl Fn(DuelStats) -> bool) {
    let mut again = interval(Duration::from_millis(1));
    let asking = async {
        while !stands(server.table.stats()) {
            again.tick().await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{:?}", server.table.stats()));
}

async fn partners(server: &TestServer) -> [TcpStream; 2] {
    let (mut one, mut other) = (server.join().await, server.join().await);
    one.write_all(b"2").await.unwrap();
    other.write_all(b"3").await.unwrap();
    assert_eq!((hear(&mut one).await, hear(&mut other).await), (b'z', b'y'));
    [one, other]
}

const PROGRAM: &str = r#"
import asyncio, sys

async def player(port, moves):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    for move in moves:
        writer.write(move.encode())
        await writer.drain()
        answers += await reader.read(1)
    writer.close()
    await writer.wait_closed()
    return answers.decode()

async def main(port):
    one, other = await asyncio.gather(player(port, "123123123" * 30), player(port, "111222333" * 30))
    assert one == "xyzzxyyzx" * 30, one
    assert other == "xzyyxzzyx" * 30, other
    print("all right")

asyncio.run(asyncio.wait_for(main(int(sys.argv[1])), 60))
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3: run with -- --ignored python"]
async fn two_existing_python_programs_that_write_one_byte_and_read_one_byte_play_each_other() {
    let server = start_duel(&[]);
    let port = server.duel_address().port().to_string();
    tokio::task::spawn_blocking(move || python::run(&["-c", PROGRAM], &[&port])).await.unwrap();
}

/// What a player showed and heard.
type Played = (Vec<Move>, Vec<u8>);

/// Plays so many rounds, a byte out and a byte in, and then leaves.
async fn play(mut player: TcpStream, seed: u64, rounds: usize) -> Played {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut moves, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let shown = Move::ALL[random.random_range(0..3)];
        player.write_all(&[shown.byte()]).await.unwrap();
        moves.push(shown);
        answers.push(hear(&mut player).await);
    }
    (moves, answers)
}

/// What the opponent must have shown.
fn opponent(shown: Move, answer: u8) -> Move {
    let fits = |theirs: &Move| match judge(shown, *theirs) {
        Outcome::Draw => answer == b'x',
        Outcome::Win => answer == b'y',
        Outcome::Lose => answer == b'z',
    };
    Move::ALL.into_iter().find(fits).unwrap_or_else(|| panic!("{} is no outcome", answer.escape_ascii()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pairs_play_a_thousand_rounds_each_and_both_sides_always_agree() {
    const PLAYERS: u64 = 400;
    const ROUNDS: usize = 1000;

    let server = start_duel(&[]);
    let mut playing = JoinSet::new();
    for seed in 0..PLAYERS {
        playing.spawn(play(server.join().await, seed, ROUNDS));
    }
    let games: HashMap<Vec<Move>, Vec<u8>> = playing.join_all().await.into_iter().collect();
    assert_eq!(games.len() as u64, PLAYERS, "no two players have the same thousand moves");
    for (shown, answers) in &games {
        // A player has had one partner only, and that one saw the same rounds from the other side.
        let theirs: Vec<Move> = shown.iter().zip(answers).map(|(shown, answer)| opponent(*shown, *answer)).collect();
        let their_answers = games.get(&theirs).expect("somebody showed these moves");
        for round in 0..ROUNDS {
            assert_eq!(opponent(theirs[round], their_answers[round]), shown[round], "round {round}");
        }
    }
    let DuelStats { draws, wins, losses, voids, .. } = server.table.stats();
    assert_eq!((draws + wins + losses, wins, voids), (PLAYERS * ROUNDS as u64, losses, 0));
    until(&server, |tally| tally.players == 0).await;
    assert_eq!(server.table.stats().dissolved, PLAYERS / 2);
    assert_eq!(server.stop().await, Summary { accepted: PLAYERS, ..Summary::default() });
}

/// What becomes of a player amid the game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    PlaysOn,
    Leaves,
    Resets,
    FallsSilent,
}

/// Plays until its fate, or until it has met nobody a few times in a row; how many answers it heard, and whether it is
/// still connected.
async fn play_to_fate(mut player: TcpStream, seed: u64, fate: Fate) -> (u64, Option<TcpStream>) {
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = if fate == Fate::PlaysOn { 1000 } else { random.random_range(0..1000) };
    let (mut heard, mut voids) = (0, 0);
    for _ in 0..rounds {
        player.write_all(&[Move::ALL[random.random_range(0..3)].byte()]).await.unwrap();
        let answer = hear(&mut player).await;
        assert!(b"vxyz".contains(&answer), "{}", answer.escape_ascii());
        heard += 1;
        voids = if answer == b'v' { voids + 1 } else { 0 };
        if voids == 3 {
            break;
        }
    }
    match fate {
        Fate::PlaysOn | Fate::FallsSilent => (heard, Some(player)),
        Fate::Leaves => (heard, None),
        Fate::Resets => {
            player.write_all(b"1").await.unwrap();
            player.set_zero_linger().unwrap();
            (heard, None)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn players_who_leave_reset_or_fall_silent_cost_the_others_no_answer() {
    let server = start_duel(&[("duel.window", "\"300ms\"")]);
    let mut playing = JoinSet::new();
    for seed in 0..400 {
        let fate = match seed % 9 {
            0 => Fate::Leaves,
            3 => Fate::Resets,
            6 => Fate::FallsSilent,
            _ => Fate::PlaysOn,
        };
        let player = server.join().await;
        // Whoever plays on and does not hear an answer to a move fails here.
        playing.spawn(async move { (fate, play_to_fate(player, seed, fate).await) });
    }
    let played = playing.join_all().await;
    let heard: u64 = played.iter().map(|(_, (heard, _))| heard).sum();
    let resets = played.iter().filter(|(fate, _)| *fate == Fate::Resets).count() as u64;
    drop(played);
    until(&server, |tally| tally.players == 0).await;
    let DuelStats { draws, wins, losses, voids, waiting, .. } = server.table.stats();
    assert_eq!((draws % 2, wins, waiting), (0, losses, 0));
    // All answers were heard, but for those that met a reset.
    let given = draws + wins + losses + voids;
    assert!((heard..=heard + resets).contains(&given), "{given} given, {heard} heard, {resets} resets");
    let summary = server.stop().await;
    assert_eq!(summary, Summary { accepted: 400, ..Summary::default() });
}

#[tokio::test]
async fn a_move_that_nobody_meets_is_void_at_the_end_of_the_window() {
    let server = start_duel(&[("duel.window", "\"400ms\"")]);
    let mut player = server.join().await;
    let began = Instant::now();
    player.write_all(b"1").await.unwrap();
    assert_eq!(hear(&mut player).await, b'v');
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_player_who_has_half_closed_still_plays_and_hears_to_the_end() {
    let server = start_duel(&[]);
    let mut one = server.join().await;
    one.write_all(b"13").await.unwrap();
    one.shutdown().await.unwrap();
    let mut other = server.join().await;
    other.write_all(b"22").await.unwrap();
    assert_eq!(read_to_end(&mut one).await, b"zy");
    assert_eq!((hear(&mut other).await, hear(&mut other).await), (b'y', b'z'));
}

#[tokio::test]
async fn a_reset_takes_a_move_out_even_behind_moves_that_were_never_read() {
    // Longer than the patience of this test: it is the reset that ends it, not the window.
    let server = start_duel(&[("duel.window", "\"120s\"")]);
    for ahead in [1, 10_000] {
        let mut gone = server.join().await;
        gone.write_all(&vec![b'1'; ahead]).await.unwrap();
        until(&server, |tally| tally.waiting == 1).await;
        gone.set_zero_linger().unwrap();
        drop(gone);
        until(&server, |tally| tally.players == 0 && tally.waiting == 0).await;
        let [one, other] = partners(&server).await;
        drop((one, other));
        until(&server, |tally| tally.players == 0).await;
    }
}

#[tokio::test]
async fn a_partner_who_resets_leaves_a_move_that_others_can_still_meet() {
    let server = start_duel(&[]);
    let [mut one, other] = partners(&server).await;
    one.write_all(b"1").await.unwrap();
    other.set_zero_linger().unwrap();
    drop(other);
    until(&server, |tally| tally.waiting == 1).await;
    let mut third = server.join().await;
    third.write_all(b"2").await.unwrap();
    assert_eq!((hear(&mut one).await, hear(&mut third).await), (b'z', b'y'));
}

#[tokio::test]
async fn the_limit_is_one_for_both_games() {
    let server = start_duel(&[("limits.max_connections", "2")]);
    let mut solo = server.connect().await;
    solo.write_all(b"1").await.unwrap();
    hear(&mut solo).await;
    let mut duel = server.join().await;
    duel.write_all(b"?").await.unwrap();
    hear(&mut duel).await;
    assert_eq!(read_to_end(&mut server.join().await).await, b"f");
    assert_eq!(read_to_end(&mut server.connect().await).await, b"f");
    drop(solo);
    // The freed place is for whoever comes first, whichever game it is.
    let freed = timeout(PATIENCE, async {
        loop {
            let mut player = server.join().await;
            player.write_all(b"?").await.unwrap();
            if hear(&mut player).await == b'e' {
                break;
            }
        }
    });
    freed.await.unwrap();
}

#[tokio::test]
async fn a_player_who_never_reads_is_let_go_of_at_the_write_deadline() {
    let server = start_duel(&[("timeouts.write", "\"300ms\"")]);
    let players = [server.join().await, server.join().await];
    // Both send all that they can, and neither reads: the first whose answers find no room is let go of. The other one
    // is left alone with its move then, and goes.
    let flooding =
        players.map(|mut player| tokio::spawn(async move { while player.write_all(&[b'1'; 4096]).await.is_ok() {} }));
    until(&server, |tally| tally.dissolved == 1).await;
    for flood in flooding {
        flood.abort();
    }
    until(&server, |tally| tally.players == 0).await;
}

#[tokio::test]
async fn a_drain_answers_a_thousand_moves_that_were_sent_ahead_and_then_ends_the_stream() {
    let server = start_duel(&[]);
    let mut one = server.join().await;
    one.write_all(&[b'1'; 1000]).await.unwrap();
    until(&server, |tally| tally.waiting == 1).await;
    let mut other = server.join().await;
    other.write_all(b"2").await.unwrap();
    assert_eq!((hear(&mut one).await, hear(&mut other).await), (b'z', b'y'));
    server.shutdown.trigger();
    assert_eq!(read_to_end(&mut one).await, [b'v'; 999]);
    assert_eq!(read_to_end(&mut other).await, b"");
    drop((one, other));
    assert_eq!(server.stop().await, Summary { accepted: 2, ..Summary::default() });
}

#[tokio::test]
async fn both_games_drain_side_by_side() {
    let server = start_duel(&[]);
    let mut solo = server.connect().await;
    solo.write_all(b"123").await.unwrap();
    let mut duel = server.join().await;
    duel.write_all(b"1").await.unwrap();
    until(&server, |tally| tally.waiting == 1).await;
    server.shutdown.trigger();
    assert_eq!(read_to_end(&mut solo).await.len(), 3);
    assert_eq!(read_to_end(&mut duel).await, b"v");
    drop((solo, duel));
    assert_eq!(server.stop().await, Summary { accepted: 2, ..Summary::default() });
}
