//! The duel: raw bytes to a server in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proto::server::connection::Summary;
use proto::testing::nonblocking::read_to_end;
use proto::testing::{TEST_TIMEOUT, python};
use proto::wire::rps::{Move, Outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::rounds::DuelStats;
use rps_server::game::judge;
use support::{TestServer, read_reply, start_duel};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Polls the stats of the hub until `condition` holds.
async fn until(server: &TestServer, condition: impl Fn(DuelStats) -> bool) {
    let mut interval = interval(Duration::from_millis(1));
    let polling = async {
        while !condition(server.hub.stats()) {
            interval.tick().await;
        }
    };
    timeout(TEST_TIMEOUT, polling).await.unwrap_or_else(|_| panic!("{:?}", server.hub.stats()));
}

async fn partners(server: &TestServer) -> [TcpStream; 2] {
    let (mut one, mut other) = (server.join().await, server.join().await);
    one.write_all(b"2").await.unwrap();
    other.write_all(b"3").await.unwrap();
    assert_eq!((read_reply(&mut one).await, read_reply(&mut other).await), (b'z', b'y'));
    [one, other]
}

const PROGRAM: &str = r#"
import asyncio, sys

async def player(port, moves):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = b""
    for move in moves:
        writer.write(move.encode())
        await writer.drain()
        replies += await reader.read(1)
    writer.close()
    await writer.wait_closed()
    return replies.decode()

async def main(port):
    one, other = await asyncio.gather(player(port, "123123123" * 30), player(port, "111222333" * 30))
    assert one == "xyzzxyyzx" * 30, one
    assert other == "xzyyxzzyx" * 30, other
    print("all right")

asyncio.run(asyncio.wait_for(main(int(sys.argv[1])), 60))
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3: run with -- --ignored python"]
async fn two_python_clients_that_send_one_byte_and_read_one_byte_play_each_other() {
    let server = start_duel(&[]);
    let port = server.duel_address().port().to_string();
    tokio::task::spawn_blocking(move || python::run(&["-c", PROGRAM], &[&port])).await.unwrap();
}

/// The moves of a player, and the replies to them.
type Played = (Vec<Move>, Vec<u8>);

/// Plays `rounds` rounds, each with one byte out and one byte in, and then leaves.
async fn play(mut player: TcpStream, seed: u64, rounds: usize) -> Played {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut moves, mut replies) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mv = Move::ALL[random.random_range(0..3)];
        player.write_all(&[mv.byte()]).await.unwrap();
        moves.push(mv);
        replies.push(read_reply(&mut player).await);
    }
    (moves, replies)
}

/// Returns the opponent's move, which follows from the player's move and its reply.
fn opponent_move(mine: Move, reply: u8) -> Move {
    let fits = |theirs: &Move| match judge(mine, *theirs) {
        Outcome::Draw => reply == b'x',
        Outcome::Win => reply == b'y',
        Outcome::Lose => reply == b'z',
    };
    Move::ALL.into_iter().find(fits).unwrap_or_else(|| panic!("{} is not an outcome", reply.escape_ascii()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pairs_play_a_thousand_rounds_with_matching_replies() {
    const PLAYERS: u64 = 400;
    const ROUNDS: usize = 1000;

    // Partners stay together on a slow machine too: none is late for a tenth of this window.
    let server = start_duel(&[("duel.window", "\"290s\"")]);
    let mut players = JoinSet::new();
    for seed in 0..PLAYERS {
        players.spawn(play(server.join().await, seed, ROUNDS));
    }
    let games: HashMap<Vec<Move>, Vec<u8>> = players.join_all().await.into_iter().collect();
    assert_eq!(games.len() as u64, PLAYERS, "no two players have the same thousand moves");
    for (mine, replies) in &games {
        // Each player has one partner for all rounds, so the partner's game has exactly the moves that the replies imply.
        let theirs: Vec<Move> = mine.iter().zip(replies).map(|(mv, reply)| opponent_move(*mv, *reply)).collect();
        let their_replies = games.get(&theirs).expect("a partner with these moves");
        for round in 0..ROUNDS {
            assert_eq!(opponent_move(theirs[round], their_replies[round]), mine[round], "round {round}");
        }
    }
    let DuelStats { draws, wins, losses, voids, .. } = server.hub.stats();
    assert_eq!((draws + wins + losses, wins, voids), (PLAYERS * ROUNDS as u64, losses, 0));
    until(&server, |stats| stats.players == 0).await;
    assert_eq!(server.hub.stats().pairs_dissolved, PLAYERS / 2);
    assert_eq!(server.stop().await, Summary { accepted: PLAYERS, ..Summary::default() });
}

/// How a player ends its game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    PlaysAllRounds,
    Leaves,
    Resets,
    StopsSending,
}

/// Plays 1,000 rounds, or fewer before another ending; stops early after three void moves in a row. Returns the number of
/// replies, and the stream if it is still open.
async fn play_until(mut player: TcpStream, seed: u64, ending: Ending) -> (u64, Option<TcpStream>) {
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = if ending == Ending::PlaysAllRounds { 1000 } else { random.random_range(0..1000) };
    let (mut replies, mut voids) = (0, 0);
    for _ in 0..rounds {
        player.write_all(&[Move::ALL[random.random_range(0..3)].byte()]).await.unwrap();
        let reply = read_reply(&mut player).await;
        assert!(b"vxyz".contains(&reply), "{}", reply.escape_ascii());
        replies += 1;
        voids = if reply == b'v' { voids + 1 } else { 0 };
        if voids == 3 {
            break;
        }
    }
    match ending {
        Ending::PlaysAllRounds | Ending::StopsSending => (replies, Some(player)),
        Ending::Leaves => (replies, None),
        Ending::Resets => {
            player.write_all(b"1").await.unwrap();
            player.set_zero_linger().unwrap();
            (replies, None)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_players_get_all_their_replies_when_players_leave_reset_or_stop_sending() {
    let server = start_duel(&[("duel.window", "\"300ms\"")]);
    let mut players = JoinSet::new();
    for seed in 0..400 {
        let ending = match seed % 9 {
            0 => Ending::Leaves,
            3 => Ending::Resets,
            6 => Ending::StopsSending,
            _ => Ending::PlaysAllRounds,
        };
        let player = server.join().await;
        // The task panics if a move gets no reply.
        players.spawn(async move { (ending, play_until(player, seed, ending).await) });
    }
    let played = players.join_all().await;
    let received: u64 = played.iter().map(|(_, (replies, _))| replies).sum();
    let resets = played.iter().filter(|(ending, _)| *ending == Ending::Resets).count() as u64;
    drop(played);
    until(&server, |stats| stats.players == 0).await;
    let DuelStats { draws, wins, losses, voids, waiting, .. } = server.hub.stats();
    assert_eq!((draws % 2, wins, waiting), (0, losses, 0));
    // The players received all replies, except at most one per reset.
    let sent = draws + wins + losses + voids;
    assert!((received..=received + resets).contains(&sent), "{sent} sent, {received} received, {resets} resets");
    let summary = server.stop().await;
    assert_eq!(summary, Summary { accepted: 400, ..Summary::default() });
}

#[tokio::test]
async fn a_move_without_an_opponent_is_void_at_the_end_of_the_window() {
    let server = start_duel(&[("duel.window", "\"400ms\"")]);
    let mut player = server.join().await;
    let start = Instant::now();
    player.write_all(b"1").await.unwrap();
    assert_eq!(read_reply(&mut player).await, b'v');
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_player_who_has_half_closed_gets_the_replies_to_all_its_moves() {
    let server = start_duel(&[]);
    let mut one = server.join().await;
    one.write_all(b"13").await.unwrap();
    one.shutdown().await.unwrap();
    let mut other = server.join().await;
    other.write_all(b"22").await.unwrap();
    assert_eq!(read_to_end(&mut one).await, b"zy");
    assert_eq!((read_reply(&mut other).await, read_reply(&mut other).await), (b'y', b'z'));
}

#[tokio::test]
async fn a_reset_withdraws_the_move_in_play_even_with_unread_moves_behind_it() {
    // The window is longer than the timeout of this test, so only the reset can withdraw the move.
    let server = start_duel(&[("duel.window", "\"120s\"")]);
    for ahead in [1, 10_000] {
        let mut player = server.join().await;
        player.write_all(&vec![b'1'; ahead]).await.unwrap();
        until(&server, |stats| stats.waiting == 1).await;
        player.set_zero_linger().unwrap();
        drop(player);
        until(&server, |stats| stats.players == 0 && stats.waiting == 0).await;
        let [one, other] = partners(&server).await;
        drop((one, other));
        until(&server, |stats| stats.players == 0).await;
    }
}

#[tokio::test]
async fn after_a_reset_the_move_of_the_remaining_partner_can_meet_another_player() {
    let server = start_duel(&[]);
    let [mut one, other] = partners(&server).await;
    one.write_all(b"1").await.unwrap();
    other.set_zero_linger().unwrap();
    drop(other);
    until(&server, |stats| stats.waiting == 1).await;
    let mut third = server.join().await;
    third.write_all(b"2").await.unwrap();
    assert_eq!((read_reply(&mut one).await, read_reply(&mut third).await), (b'z', b'y'));
}

#[tokio::test]
async fn both_games_share_one_connection_limit() {
    let server = start_duel(&[("limits.max_connections", "2")]);
    let mut solo = server.connect().await;
    solo.write_all(b"1").await.unwrap();
    read_reply(&mut solo).await;
    let mut duel = server.join().await;
    duel.write_all(b"?").await.unwrap();
    read_reply(&mut duel).await;
    assert_eq!(read_to_end(&mut server.join().await).await, b"f");
    assert_eq!(read_to_end(&mut server.connect().await).await, b"f");
    drop(solo);
    // The next connection of either game gets the freed slot.
    let freed = timeout(TEST_TIMEOUT, async {
        loop {
            let mut player = server.join().await;
            player.write_all(b"?").await.unwrap();
            if read_reply(&mut player).await == b'e' {
                break;
            }
        }
    });
    freed.await.unwrap();
}

#[tokio::test]
async fn a_player_who_never_reads_is_closed_at_the_write_timeout() {
    let server = start_duel(&[("timeouts.write", "\"300ms\"")]);
    let players = [server.join().await, server.join().await];
    // Both players send without reading. The server closes the first one whose replies fill the send buffer, which
    // dissolves the pair.
    let senders =
        players.map(|mut player| tokio::spawn(async move { while player.write_all(&[b'1'; 4096]).await.is_ok() {} }));
    until(&server, |stats| stats.pairs_dissolved == 1).await;
    for sender in senders {
        sender.abort();
    }
    until(&server, |stats| stats.players == 0).await;
}

#[tokio::test]
async fn a_drain_replies_to_a_thousand_moves_that_were_sent_ahead_and_closes() {
    let server = start_duel(&[]);
    let mut one = server.join().await;
    one.write_all(&[b'1'; 1000]).await.unwrap();
    until(&server, |stats| stats.waiting == 1).await;
    let mut other = server.join().await;
    other.write_all(b"2").await.unwrap();
    assert_eq!((read_reply(&mut one).await, read_reply(&mut other).await), (b'z', b'y'));
    server.shutdown.trigger();
    assert_eq!(read_to_end(&mut one).await, [b'v'; 999]);
    assert_eq!(read_to_end(&mut other).await, b"");
    drop((one, other));
    assert_eq!(server.stop().await, Summary { accepted: 2, ..Summary::default() });
}

#[tokio::test]
async fn both_games_drain_at_the_same_time() {
    let server = start_duel(&[]);
    let mut solo = server.connect().await;
    solo.write_all(b"123").await.unwrap();
    let mut duel = server.join().await;
    duel.write_all(b"1").await.unwrap();
    until(&server, |stats| stats.waiting == 1).await;
    server.shutdown.trigger();
    assert_eq!(read_to_end(&mut solo).await.len(), 3);
    assert_eq!(read_to_end(&mut duel).await, b"v");
    drop((solo, duel));
    assert_eq!(server.stop().await, Summary { accepted: 2, ..Summary::default() });
}
