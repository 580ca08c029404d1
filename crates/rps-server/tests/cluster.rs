//! Duels across replicas: three servers, an engine and haproxy, as programs, under load and under faults: rows 58 to 65 of
//! `crates/power-server/tests/FAULTS.md`.
//!
//! Every player counts its replies. A round has two replies that fit each other, so over all players there are as many wins as
//! losses, and an even number of draws. Each move without a reply can be the other half of one round.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "prints what was counted")]

mod support;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::testing::certificates::Authority;
use proto::testing::haproxy::HaProxy;
use proto::testing::program::ServerProcess;
use proto::testing::{TEST_TIMEOUT, eventually};
use proto::wire::rps::{Move, Outcome, Reply};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::program::start;
use support::redis_server::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Lets one test run at a time: each loads the whole machine, and in a duel time matters.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a replica. `settings` are those of the test.
fn replica(redis: &RedisServer, settings: &[&str]) -> ServerProcess {
    let engine = format!("duel.cluster.engine={}", redis.url());
    let common = ["--set", &engine, "--set", "duel.cluster.listen=127.0.0.1:0", "--set", "timeouts.idle=10m"];
    let mut arguments = common.to_vec();
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let server = start(&arguments);
    server.eventually(|server| server.metric("rps_cluster_engine_up") == 1, "reaches the engine");
    server
}

fn replicas(redis: &RedisServer, settings: &[&str]) -> Vec<ServerProcess> {
    (0..3).map(|_| replica(redis, settings)).collect()
}

fn sum(servers: &[ServerProcess], series: &str) -> u64 {
    servers.iter().map(|server| server.metric(series)).sum()
}

/// The replies of a load, counted by its players.
#[derive(Debug, Default)]
struct Counts {
    draws: AtomicU64,
    wins: AtomicU64,
    losses: AtomicU64,
    voids: AtomicU64,
    /// Moves whose connection ended without a reply.
    unanswered: AtomicU64,
    /// Connections that could not be opened.
    refused: AtomicU64,
}

impl Counts {
    fn count(&self, reply: u8) {
        let counter = match Reply::from_byte(reply) {
            Some(Reply::Judged(Outcome::Draw)) => &self.draws,
            Some(Reply::Judged(Outcome::Win)) => &self.wins,
            Some(Reply::Judged(Outcome::Lose)) => &self.losses,
            Some(Reply::Void) => &self.voids,
            _ => panic!("{:?}", char::from(reply)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn judged(&self) -> u64 {
        [&self.draws, &self.wins, &self.losses].iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Waits until the players have this many more judged moves.
    fn wait_for_more(&self, judged: u64) {
        let goal = self.judged() + judged;
        assert!(eventually(TEST_TIMEOUT, || self.judged() >= goal), "not {judged} more judged moves: {self:?}");
    }

    /// Checks that the replies fit each other, except for halves of rounds whose other half has no reply.
    fn check(&self, max_unanswered: u64) {
        let [draws, wins, losses, unanswered] =
            [&self.draws, &self.wins, &self.losses, &self.unanswered].map(|counter| counter.load(Ordering::Relaxed));
        println!("{self:?}");
        assert!(unanswered <= max_unanswered, "{self:?}");
        assert!(wins.abs_diff(losses) + draws % 2 <= unanswered, "replies that contradict each other: {self:?}");
    }
}

/// Players who move until they are stopped, and connect again when their connection ends. Some of them leave now and then, so
/// that new pairs form all the time.
struct Load {
    counts: Arc<Counts>,
    stopping: Arc<AtomicBool>,
    players: JoinSet<()>,
    runtime: Runtime,
}

impl Load {
    /// Starts players, who connect to these addresses in turn. Each connection plays about this number of rounds.
    fn start(addresses: &[SocketAddr], players: usize, rounds: u32) -> Self {
        let (counts, stopping) = (Arc::default(), Arc::default());
        let mut load = Self { counts, stopping, players: JoinSet::new(), runtime: Runtime::new().unwrap() };
        for number in 0..players {
            let address = addresses[number % addresses.len()];
            let (counts, stopping) = (Arc::clone(&load.counts), Arc::clone(&load.stopping));
            let player = async move {
                let mut random = StdRng::seed_from_u64(number as u64);
                while !stopping.load(Ordering::Relaxed) {
                    let Ok(stream) = TcpStream::connect(address).await else {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        // The server may be gone for a while.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let rounds = random.random_range(1..=2 * rounds);
                    play(stream, rounds, &mut random, &counts, &stopping).await;
                }
            };
            load.players.spawn_on(player, load.runtime.handle());
        }
        load
    }

    /// Stops the players after their moves in play have ended.
    fn stop(self) -> Arc<Counts> {
        self.stopping.store(true, Ordering::Relaxed);
        self.runtime.block_on(async { timeout(TEST_TIMEOUT, self.players.join_all()).await.unwrap() });
        self.counts
    }
}

async fn play(mut stream: TcpStream, rounds: u32, random: &mut StdRng, counts: &Counts, stopping: &AtomicBool) {
    stream.set_nodelay(true).unwrap();
    for _ in 0..rounds {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let mv = Move::ALL[random.random_range(0..3)];
        if stream.write_all(&[mv.byte()]).await.is_err() {
            counts.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(reply) = timeout(TEST_TIMEOUT, stream.read_u8()).await.unwrap() else {
            counts.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        counts.count(reply);
    }
}

fn duel_addresses(servers: &[ServerProcess]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address("duel")).collect()
}

fn opponent_move(own: Move, reply: u8) -> Move {
    let Some(Reply::Judged(outcome)) = Reply::from_byte(reply) else { panic!("{reply}") };
    outcome.opponent_move(own)
}

#[ignore = "needs redis-server and haproxy: run with -- --ignored redis"]
#[test]
fn redis_two_hundred_pairs_play_a_thousand_rounds_across_three_replicas() {
    const PLAYERS: u64 = 400;
    const ROUNDS: usize = 1000;

    let _alone = alone();
    let redis = RedisServer::start(&[]);
    // Partners stay together on a slow machine too: none is late for a tenth of this window.
    let servers = replicas(&redis, &["duel.window=290s"]);
    let [first, second, third] = duel_addresses(&servers)[..] else { panic!("three replicas") };
    let others = format!("\n server second {second}\n server third {third}\n balance leastconn");
    let haproxy = HaProxy::start(IpAddr::V4(Ipv4Addr::LOCALHOST), first, "", &others);
    let runtime = Runtime::new().unwrap();
    let (games, streams): (HashMap<_, _>, Vec<_>) = runtime.block_on(async {
        let mut players = JoinSet::new();
        for seed in 0..PLAYERS {
            let mut stream = TcpStream::connect(haproxy.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (met, has_met) = oneshot::channel();
            players.spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                let moves: Vec<_> = (0..ROUNDS).map(|_| Move::ALL[random.random_range(0..3)]).collect();
                let (mut replies, mut met) = (Vec::new(), Some(met));
                for mv in &moves {
                    stream.write_all(&[mv.byte()]).await.unwrap();
                    replies.push(timeout(TEST_TIMEOUT, stream.read_u8()).await.unwrap().unwrap());
                    met.take().map(|met| met.send(()));
                }
                ((moves, replies), stream)
            });
            // The next two players come after these have met, so that haproxy decides who meets: it connects them to
            // different replicas.
            if seed % 2 == 1 {
                has_met.await.unwrap();
            }
        }
        players.join_all().await.into_iter().unzip()
    });
    assert_eq!(games.len() as u64, PLAYERS, "no two players have the same thousand moves");
    for (mine, replies) in &games {
        // Each player has one partner for all rounds, so the partner's game has exactly the moves that the replies imply.
        let theirs: Vec<Move> = mine.iter().zip(replies).map(|(mv, reply)| opponent_move(*mv, *reply)).collect();
        let their_replies = games.get(&theirs).unwrap();
        for round in 0..ROUNDS {
            assert_eq!(opponent_move(theirs[round], their_replies[round]), mine[round], "round {round}");
        }
    }
    let (relayed, guests) = (sum(&servers, "rps_cluster_relayed_players"), sum(&servers, "rps_cluster_guests"));
    println!(
        "{relayed} of {} pairs are at two replicas; {} tickets were posted or taken",
        PLAYERS / 2,
        redis.tickets()
    );
    assert_eq!(relayed, guests);
    assert!(relayed > PLAYERS / 4, "few pairs are at two replicas");
    assert_eq!(sum(&servers, "rps_cluster_unknown_outcomes_total"), 0);
    // At most a few calls for each player who has waited, and none for each round.
    assert!(redis.tickets() < 20 * PLAYERS, "{} tickets were posted or taken", redis.tickets());
    drop(streams);
    for server in servers {
        server.stop();
    }
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn redis_is_not_asked_while_partners_stay_partners() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let servers = replicas(&redis, &[]);
    let load = Load::start(&duel_addresses(&servers)[..2], 2, 1_000_000);
    load.counts.wait_for_more(10);
    let before = redis.tickets();
    load.counts.wait_for_more(1000);
    assert_eq!(redis.tickets(), before);
    assert_eq!(sum(&servers, "rps_cluster_relayed_players"), 1);
    load.stop().check(0);
}

/// An odd number, so that one player always waits.
const PLAYERS: usize = 33;

/// Runs a load over three replicas. After a while, `fault` happens; then the load goes on. Checks that the replies fit each
/// other, with at most `max_unanswered` moves without a reply.
fn with_fault(
    settings: &[&str],
    max_unanswered: u64,
    fault: impl FnOnce(&mut RedisServer, &mut Vec<ServerProcess>, &Arc<Counts>),
) -> Vec<ServerProcess> {
    let _alone = alone();
    let mut redis = RedisServer::start(&[]);
    let mut servers = replicas(&redis, settings);
    let load = Load::start(&duel_addresses(&servers), PLAYERS, 30);
    load.counts.wait_for_more(3000);
    fault(&mut redis, &mut servers, &load.counts);
    load.counts.wait_for_more(3000);
    load.stop().check(max_unanswered);
    servers
}

fn all(servers: &[ServerProcess], condition: impl Fn(&ServerProcess) -> bool, what: &str) {
    for server in servers {
        server.eventually(&condition, what);
    }
}

fn engine_is(up: u64) -> impl Fn(&ServerProcess) -> bool {
    move |server| server.metric("rps_cluster_engine_up") == up
}

/// A move without a partner is void after this, so that players of different replicas do not stay apart for long.
const SHORT_WINDOW: &str = "duel.window=2s";

/// Waits until players of different replicas are partners of each other.
fn meet(servers: &[ServerProcess]) {
    let is_met = || sum(servers, "rps_cluster_relayed_players") > 0;
    assert!(eventually(TEST_TIMEOUT, is_met), "no players of two replicas are partners");
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_58_redis_can_stop_and_go_on() {
    with_fault(&[SHORT_WINDOW], 0, |engine, servers, counts| {
        engine.signal("STOP");
        all(servers, engine_is(0), "notices that the engine does not answer");
        assert!(servers.iter().all(|server| server.get("/readyz").unwrap().0 == 200));
        counts.wait_for_more(3000);
        engine.signal("CONT");
        all(servers, engine_is(1), "reaches the engine again");
        meet(servers);
    });
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_59_redis_can_lose_its_data() {
    with_fault(&[SHORT_WINDOW], 0, |engine, servers, counts| {
        engine.kill();
        all(servers, engine_is(0), "notices that the engine is gone");
        counts.wait_for_more(3000);
        engine.restart();
        all(servers, engine_is(1), "reaches the engine again");
        counts.wait_for_more(3000);
        engine.control().run::<()>("FLUSHALL");
    });
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_60_redis_can_fail_over_to_old_data() {
    with_fault(&[SHORT_WINDOW], 0, |engine, servers, counts| {
        // A ticket of a replica that is there, and of one that is not, for moves that have long been judged.
        let process = "0123456789abcdef0123456789abcdef";
        let alive = servers[0].endpoints("cluster")[0].clone();
        for address in [alive.as_str(), "127.0.0.1:1", "unix:/nothing", "10.255.255.1:5003", "nonsense"] {
            engine.kill();
            engine.restart();
            let ticket = format!("1 {process} {process} {address}");
            engine.control().send::<()>(redis::cmd("SET").arg("rps:duel:ticket").arg(&ticket)).unwrap();
            let is_there = || engine.control().run::<Option<String>>("GET rps:duel:ticket").as_ref() == Some(&ticket);
            assert!(eventually(TEST_TIMEOUT, || !is_there()), "no replica takes the ticket");
            counts.wait_for_more(500);
        }
        engine.control().run::<()>("SET rps:duel:ticket nonsense");
        counts.wait_for_more(500);
        // At once, because a replica posts its ticket at any time.
        let script = "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'nonsense')";
        engine.control().send::<()>(redis::cmd("EVAL").arg(script).arg(1).arg("rps:duel:ticket")).unwrap();
        meet(servers);
    });
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_61_redis_can_answer_late() {
    with_fault(&[SHORT_WINDOW], 0, |engine, servers, counts| {
        for _ in 0..5 {
            engine.control().run::<()>("CLIENT PAUSE 500 ALL");
            counts.wait_for_more(500);
        }
        // The reply comes after the end of the pause.
        engine.control().run::<()>("PING");
        all(servers, engine_is(1), "reaches the engine again");
        // A slow engine is unavailable, once for each replica, and not up and down with each connection.
        let lines = |server: &ServerProcess| server.log().matches("engine is unavailable").count();
        let before: Vec<_> = servers.iter().map(lines).collect();
        engine.control().run::<()>("CLIENT PAUSE 600000 WRITE");
        all(servers, engine_is(0), "notices that the engine is slow");
        counts.wait_for_more(500);
        assert!(servers.iter().all(|server| server.metric("rps_cluster_engine_up") == 0));
        let after: Vec<_> = servers.iter().map(lines).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| *after == before + 1), "{before:?} {after:?}");
        engine.control().run::<()>("CLIENT UNPAUSE");
        all(servers, engine_is(1), "reaches the engine again");
        meet(servers);
    });
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_62_redis_replicas_can_be_killed() {
    // A killed replica takes its own players' moves with it, and those that players of other replicas have there.
    with_fault(&[SHORT_WINDOW], 2 * PLAYERS as u64, |_, servers, counts| {
        let gone = servers.remove(0);
        gone.signal("KILL");
        assert_eq!(gone.wait_for_exit().0, None);
        counts.wait_for_more(3000);
        meet(servers);
    });
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_63_redis_replicas_can_hang() {
    // Links to a replica that hangs are closed after three seconds: its players' partners have unknown outcomes.
    let servers = with_fault(&[], PLAYERS as u64, |_, servers, counts| {
        let hung = &servers[0];
        let address = &hung.endpoints("cluster")[0];
        let logged = |text: &str| {
            let line = format!("{text} address={address}");
            eventually(TEST_TIMEOUT, || servers[1..].iter().any(|server| server.log().contains(&line)))
        };
        assert!(logged("connected to another replica"), "no replica has a link to it");
        hung.signal("STOP");
        assert!(logged("link to another replica closed"), "its links stay open");
        counts.wait_for_more(1000);
        hung.signal("CONT");
        meet(servers);
    });
    println!("{} unknown outcomes", sum(&servers, "rps_cluster_unknown_outcomes_total"));
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn row_64_redis_replicas_can_drain() {
    // A player whose replica drains can send a move just before the close.
    with_fault(&[SHORT_WINDOW], PLAYERS as u64 / 3, |_, servers, counts| {
        let before = sum(&servers[1..], "rps_cluster_unknown_outcomes_total");
        let gone = servers.remove(0);
        let log = gone.stop();
        assert!(log.contains("aborted=0"), "{log}");
        counts.wait_for_more(3000);
        assert_eq!(sum(servers, "rps_cluster_unknown_outcomes_total"), before, "a drain leaves nothing unknown");
        meet(servers);
    });
}

#[ignore = "needs redis-server and haproxy: run with -- --ignored redis"]
#[test]
fn row_65_redis_links_can_be_cut() {
    let _alone = alone();
    // Players at the two replicas can have parted just before the cut: about one time in three.
    assert!((0..20).any(|_| unknown_outcomes_of_a_cut() > 0), "a cut leaves no outcome unknown");
}

/// Cuts a link under load, and returns the number of unknown outcomes.
fn unknown_outcomes_of_a_cut() -> u64 {
    let redis = RedisServer::start(&[]);
    let owner = replica(&redis, &[SHORT_WINDOW]);
    let cluster = owner.endpoints("cluster")[0].parse().unwrap();
    drop(owner);
    // The links to the first replica go through haproxy.
    let proxy = HaProxy::start(IpAddr::V4(Ipv4Addr::LOCALHOST), cluster, "", "");
    let advertise = format!("duel.cluster.advertise={}", proxy.address);
    let listen = format!("duel.cluster.listen={cluster}");
    let behind = replica(&redis, &[SHORT_WINDOW, &advertise, &listen]);
    let servers = [behind, replica(&redis, &[SHORT_WINDOW])];
    let load = Load::start(&duel_addresses(&servers), PLAYERS, 30);
    load.counts.wait_for_more(1000);
    let has_guests = || servers[0].metric("rps_cluster_guests") > 0;
    assert!(eventually(TEST_TIMEOUT, has_guests), "no link goes through haproxy");
    drop(proxy);
    let has_none = || servers[0].metric("rps_cluster_guests") == 0;
    assert!(eventually(TEST_TIMEOUT, has_none), "the link is cut");
    load.counts.wait_for_more(3000);
    let counts = load.stop();
    counts.check(PLAYERS as u64);
    let unknown = sum(&servers, "rps_cluster_unknown_outcomes_total");
    assert_eq!(unknown, counts.unanswered.load(Ordering::Relaxed));
    unknown
}

/// Checks that a player at each of the two servers meet, and returns the log of the second one.
fn check_met(servers: [ServerProcess; 2]) -> [String; 2] {
    let load = Load::start(&duel_addresses(&servers), 2, 1_000_000);
    load.counts.wait_for_more(20);
    assert_eq!(sum(&servers, "rps_cluster_relayed_players"), 1);
    load.stop().check(0);
    servers.map(ServerProcess::stop)
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn redis_links_use_mutual_tls_and_unix_sockets() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let authority = Authority::new();
    // A replica presents its certificate as a server and as a client.
    let files = authority.issue_replica();
    let [certificate, key, ca] = [&files.certificate, &files.key, &authority.certificate].map(|path| path.display());
    let settings = [
        format!("tls.certificate={certificate}"),
        format!("tls.key={key}"),
        format!("tls.client_ca={ca}"),
        "duel.cluster.listen=tls://127.0.0.1:0".to_owned(),
    ];
    let settings = settings.each_ref().map(String::as_str);
    let logs = check_met([replica(&redis, &settings), replica(&redis, &settings)]);
    assert!(logs.iter().any(|log| log.contains("connected to another replica address=tls://127.0.0.1:")), "{logs:?}");
    assert!(!logs.concat().contains("can act as a replica"), "mutual TLS is enough");

    let folder = tempfile::TempDir::new().unwrap();
    let listen = |name| format!("duel.cluster.listen=unix:{}", folder.path().join(name).display());
    let logs = check_met([replica(&redis, &[&listen("one")]), replica(&redis, &[&listen("two")])]);
    assert!(logs.iter().any(|log| log.contains("connected to another replica address=unix:")), "{logs:?}");
}

#[ignore = "needs redis-server: run with -- --ignored redis"]
#[test]
fn redis_replicas_with_other_secrets_or_names_do_not_play_each_other() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let folder = tempfile::TempDir::new().unwrap();
    let secret = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("the secret of {name}")).unwrap();
        format!("duel.cluster.secret_file={}", path.display())
    };
    let same = [secret("the lobby")];
    check_met([replica(&redis, &[&same[0]]), replica(&redis, &[&same[0]])]);

    let servers =
        [replica(&redis, &[SHORT_WINDOW, &secret("one lobby")]), replica(&redis, &[SHORT_WINDOW, &secret("another")])];
    let load = Load::start(&duel_addresses(&servers), 2, 1_000_000);
    let failed = |server: &ServerProcess| server.log().contains("the peer does not know the secret");
    assert!(eventually(TEST_TIMEOUT, || servers.iter().any(failed)), "no replica rejects the other one");
    let voids = || load.counts.voids.load(Ordering::Relaxed);
    assert!(eventually(TEST_TIMEOUT, || voids() >= 2), "the players get their replies");
    assert_eq!(load.counts.judged(), 0);
    load.stop().check(0);
    drop(servers);

    // Two lobbies at one engine.
    let servers = [replica(&redis, &[SHORT_WINDOW]), replica(&redis, &[SHORT_WINDOW, "duel.cluster.name=other"])];
    let load = Load::start(&duel_addresses(&servers), 2, 1_000_000);
    let voids = || load.counts.voids.load(Ordering::Relaxed);
    assert!(eventually(TEST_TIMEOUT, || voids() >= 2), "the players get their replies");
    assert_eq!(load.counts.judged(), 0);
    assert_eq!(sum(&servers, "rps_cluster_links"), 0);
    load.stop().check(0);
}
