//! The client of the matchmaking engine against real servers, in all the setups that a URL can name.
//!
//! The tests need the program `redis-server`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "prints the seed of a failing test")]

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use proto::client::Tls;
use proto::testing::certificates::Authority;
use proto::testing::process::is_stopped;
use proto::testing::{TEST_TIMEOUT, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rps_server::duel::cluster::engine::{Engine, EngineHealth, EngineOptions, MAX_ADDRESS_BYTES};
use rps_server::duel::replica::{EngineCall, EngineReply, Ticket};
use support::engine_model::{Caller, EngineModel, Value};
use support::redis_server::{Control, RedisServer, free_port};
use tokio::time::timeout;

const KEY: &str = "rps:duel:ticket";
const HOUR: Duration = Duration::from_hours(1);

fn caller(process: u128) -> Caller {
    Caller { process, address: format!("tls://10.0.0.{process}:5003") }
}

/// Connects as the replica with this process. A call has the time of a test, so that a slow machine changes no result.
fn engine(url: &str, process: u128) -> Engine {
    let options = EngineOptions { call_timeout: TEST_TIMEOUT, ..EngineOptions::default() };
    engine_with(url, process, options)
}

fn engine_with(url: &str, process: u128, options: EngineOptions) -> Engine {
    log();
    let Caller { process, address } = caller(process);
    Engine::with_options(&url.parse().unwrap(), "rps", process, address, options).unwrap()
}

/// Connects like [`engine`], and waits until the engine is available.
async fn ready_engine(url: &str, process: u128) -> Engine {
    let engine = engine(url, process);
    came_up(&mut engine.health()).await;
    engine
}

async fn came_up(health: &mut EngineHealth) {
    timeout(TEST_TIMEOUT, health.came_up()).await.expect("the engine becomes available");
}

fn wait_until_down(engine: &Engine) {
    assert!(eventually(TEST_TIMEOUT, || !engine.is_up()), "the engine stays available");
}

async fn ask(engine: &mut Engine, nonce: u128) -> EngineReply {
    let call = EngineCall::Ask { nonce, expires_in: HOUR };
    timeout(TEST_TIMEOUT, engine.call(call)).await.unwrap().expect("every ask has a reply")
}

async fn withdraw(engine: &mut Engine, nonce: u128) {
    assert_eq!(timeout(TEST_TIMEOUT, engine.call(EngineCall::Withdraw { nonce })).await.unwrap(), None);
}

/// Asks again after each failure.
async fn ask_until_done(engine: &mut Engine, nonce: u128) -> EngineReply {
    let started = Instant::now();
    let mut health = engine.health();
    loop {
        assert!(started.elapsed() < TEST_TIMEOUT, "no call succeeds");
        came_up(&mut health).await;
        match ask(engine, nonce).await {
            EngineReply::Failed => {}
            reply => return reply,
        }
    }
}

fn taken(process: u128, nonce: u128) -> EngineReply {
    EngineReply::Taken(Ticket { nonce, address: caller(process).address })
}

/// The lines of the log of all tests.
fn log() -> &'static Mutex<Vec<u8>> {
    #[derive(Clone, Copy)]
    struct Writer(&'static Mutex<Vec<u8>>);
    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    static LOG: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let log: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Writer(log)).init();
        log
    })
}

/// Returns the lines of the log with this text.
fn log_lines(text: &str) -> Vec<String> {
    let log = String::from_utf8(log().lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Returns the only line of the log with this text.
fn log_line(text: &str) -> String {
    let mut lines = log_lines(text);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// Texts that are not tickets, most of them almost.
fn garbage(random: &mut StdRng) -> Vec<u8> {
    let [process, nonce] = [random.random_range(1..=4_u128), random.random()];
    let valid = caller(process).ticket(nonce);
    let upper = format!("{:032X}", u128::MAX - nonce % 100);
    let texts: [Vec<u8>; 16] = [
        Vec::new(),
        b"-".to_vec(),
        b"\xff\0\r\n".to_vec(),
        valid.replacen('1', "2", 1).into_bytes(),
        format!(" {valid}").into_bytes(),
        format!("{valid} ").into_bytes(),
        format!("{valid}\n").into_bytes(),
        format!("{valid}\0").into_bytes(),
        format!("{valid}ä").into_bytes(),
        valid.replacen(' ', "  ", 1).into_bytes(),
        valid.rsplit_once(' ').unwrap().0.as_bytes().to_vec(),
        format!("{} ", valid.rsplit_once(' ').unwrap().0).into_bytes(),
        format!("1 {upper} {nonce:032x} a:1").into_bytes(),
        format!("1 {process:031x} {nonce:032x} a:1").into_bytes(),
        format!("1 {process:032x} 0{nonce:032x} a:1").into_bytes(),
        format!("1 {process:032x} {nonce:032x} {}", "a".repeat(MAX_ADDRESS_BYTES + 1)).into_bytes(),
    ];
    texts[random.random_range(0..texts.len())].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_and_the_model_give_the_same_results() {
    let server = RedisServer::start(&[]);
    let control = server.control();
    let mut engines = Vec::new();
    for process in 1..=3 {
        engines.push(ready_engine(&server.url(), process).await);
    }
    let _: () = control.run("FLUSHALL");
    for seed in 0..8 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut model = EngineModel::default();
        let mut now = Duration::ZERO;
        let _: () = control.run("FLUSHALL");
        for step in 0..500 {
            let process = random.random_range(1..=3_u128);
            let engine = &mut engines[usize::try_from(process).unwrap() - 1];
            let nonce = random.random_range(0..3);
            let set = |text: &[u8]| control.send::<()>(redis::cmd("SET").arg(KEY).arg(text)).unwrap();
            let mut model_reply = None;
            let mut reply = None;
            match random.random_range(0..12) {
                0..5 => {
                    model_reply = Some(model.ask(&caller(process), nonce, HOUR, now));
                    reply = Some(ask(engine, nonce).await);
                }
                5..8 => {
                    model.withdraw(&caller(process), nonce, now);
                    withdraw(engine, nonce).await;
                }
                8 => {
                    now += HOUR;
                    // Only a value with an expiry is removed by time.
                    if control.run::<i64>(&format!("PTTL {KEY}")) > 0 {
                        let _: () = control.run(&format!("DEL {KEY}"));
                    }
                }
                9 => {
                    model.set(Value::OtherType, None);
                    let _: () = control.run(&format!("DEL {KEY}"));
                    let add = ["LPUSH", "SADD", "ZADD"][random.random_range(0..3)];
                    let score = if add == "ZADD" { " 1" } else { "" };
                    let _: () = control.run(&format!("{add} {KEY}{score} value"));
                }
                10 => {
                    let text = garbage(&mut random);
                    model.set(Value::Text(text.clone()), None);
                    set(&text);
                }
                _ => {
                    let text = caller(random.random_range(1..=4)).ticket(random.random()).into_bytes();
                    model.set(Value::Text(text.clone()), None);
                    set(&text);
                }
            }
            assert_eq!(reply, model_reply, "seed {seed}, step {step}");
            let stored: Result<Option<Vec<u8>>, _> = control.send(redis::cmd("GET").arg(KEY));
            let stored = match stored {
                Ok(text) => text.map(Value::Text),
                Err(error) if error.code() == Some("WRONGTYPE") => Some(Value::OtherType),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(stored.as_ref(), model.value(now), "seed {seed}, step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_removes_a_ticket_at_its_expiry() {
    let server = RedisServer::start(&[]);
    let control = server.control();
    let mut engine = ready_engine(&server.url(), 1).await;
    let started = Instant::now();
    assert_eq!(ask(&mut engine, 7).await, EngineReply::Posted);
    let left: u128 = control.run(&format!("PTTL {KEY}"));
    let elapsed = started.elapsed().as_millis();
    let hour = HOUR.as_millis();
    assert!((hour - elapsed - 1..=hour).contains(&left), "{left} ms left after {elapsed} ms");
    assert_eq!(control.run::<String>(&format!("GET {KEY}")), caller(1).ticket(7));
    // Redis rejects an expiry of 0 ms.
    let call = EngineCall::Ask { nonce: 7, expires_in: Duration::from_nanos(1) };
    assert_eq!(engine.call(call).await, Some(EngineReply::Posted));
    assert!(eventually(TEST_TIMEOUT, || control.run::<u8>(&format!("EXISTS {KEY}")) == 0), "the ticket stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_with_passwords_and_databases() {
    let user = "user player on >p@ss/w:rd ~rps:duel:ticket +select +get +set +del +eval +evalsha";
    let server = RedisServer::start_with_config(&format!("requirepass secret\n{user}\n"), &[]);
    let port = server.port;
    let control = Control::open(&format!("redis://:secret@127.0.0.1:{port}/3"));
    for (url, database) in [
        (format!("redis://:secret@127.0.0.1:{port}/3"), true),
        (format!("redis://player:p%40ss%2Fw%3Ard@127.0.0.1:{port}/3"), true),
        (format!("redis://player:p%40ss%2Fw%3Ard@localhost:{port}"), false),
    ] {
        let mut engine = ready_engine(&url, 1).await;
        let debug = format!("{engine:?} {:?}", engine.health());
        assert!(!debug.contains("secret") && !debug.contains("p@ss") && !debug.contains("p%40ss"), "{debug}");
        assert_eq!(ask(&mut engine, 7).await, EngineReply::Posted);
        assert_eq!(control.run::<bool>(&format!("EXISTS {KEY}")), database, "{url}");
        withdraw(&mut engine, 7).await;
        assert!(!control.run::<bool>(&format!("EXISTS {KEY}")));
    }
}

/// Returns the number of connections that the server has accepted.
fn connections(control: &Control) -> u64 {
    let info: String = control.run("INFO stats");
    let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_that_rejects_the_client_is_one_line_in_the_log_without_the_password() {
    let config = "requirepass secret\nreplicaof 127.0.0.1 1\nuser reader on >hunter2 ~* +get +set +del\n";
    let server = RedisServer::start_with_config(config, &[]);
    let port = server.port;
    let control = Control::open(&format!("redis://:secret@127.0.0.1:{port}"));
    let server_url = format!("127.0.0.1:{port}");
    for (credentials, shown, database, reason) in [
        (":hunter1@", ":***@", "/1", "rejects the user or the password"),
        ("", "", "", "NOAUTH"),
        ("reader:hunter2@", "reader:***@", "", "NOPERM"),
        (":secret@", ":***@", "/2", "read only"),
        (":secret@", ":***@", "/99", "DB index"),
    ] {
        let url = format!("redis://{credentials}{server_url}{database}");
        let shown = format!("engine=redis://{shown}{server_url}{database} ");
        let before = connections(&control);
        let mut engine = engine(&url, 1);
        // Several attempts, of which the log has one.
        assert!(eventually(TEST_TIMEOUT, || connections(&control) >= before + 5), "it does not connect again");
        assert!(!engine.is_up());
        assert_eq!(ask(&mut engine, 7).await, EngineReply::Failed);
        drop(engine);
        let line = log_line(&shown);
        assert!(line.contains("WARN") && line.contains("engine is unavailable") && line.contains(reason), "{line}");
    }
    let lines = log_lines(&server_url);
    for secret in ["hunter", "secret"] {
        assert!(lines.iter().all(|line| !line.contains(secret)), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_with_tls() {
    let authority = Authority::new();
    let files = authority.issue_server();
    let [certificate, key, ca] = [&files.certificate, &files.key, &authority.certificate].map(|p| p.to_str().unwrap());
    let tls_port = free_port().to_string();
    let options = ["--tls-port", &tls_port, "--tls-cert-file", certificate, "--tls-key-file", key];
    let options = [&options[..], &["--tls-ca-cert-file", ca, "--tls-auth-clients", "no"]].concat();
    let server = RedisServer::start(&options);
    let options = |authority: &Authority| {
        let tls = Tls::default().with_authorities(&authority.certificate).unwrap();
        EngineOptions { tls: Arc::new(tls), call_timeout: TEST_TIMEOUT }
    };
    for host in ["127.0.0.1", "localhost"] {
        let mut engine = engine_with(&format!("rediss://{host}:{tls_port}"), 1, options(&authority));
        came_up(&mut engine.health()).await;
        assert_eq!(ask(&mut engine, 7).await, EngineReply::Posted);
        assert_eq!(server.control().run::<String>(&format!("GET {KEY}")), caller(1).ticket(7));
        withdraw(&mut engine, 7).await;
    }
    let url = format!("rediss://127.0.0.1:{tls_port}/1");
    let engine = engine_with(&url, 1, options(&Authority::named("another authority")));
    let shown = format!("engine={url} ");
    assert!(eventually(TEST_TIMEOUT, || !log_lines(&shown).is_empty()), "no line in the log");
    assert!(!engine.is_up());
    assert!(log_line(&shown).contains("not signed by a trusted authority"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_at_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis socket");
    let server = RedisServer::start(&["--unixsocket", socket.to_str().unwrap(), "--requirepass", "a b+c"]);
    let url = format!("redis+unix://{}?db=2&pass=a+b%2Bc", socket.to_str().unwrap().replace(' ', "%20"));
    let mut engine = ready_engine(&url, 1).await;
    assert_eq!(ask(&mut engine, 7).await, EngineReply::Posted);
    let control = Control::open(&format!("redis://:a%20b%2Bc@127.0.0.1:{}/2", server.port));
    assert_eq!(control.run::<String>(&format!("GET {KEY}")), caller(1).ticket(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_that_stops_fails_calls_in_time_and_shifts_no_reply_afterwards() {
    let server = RedisServer::start(&[]);
    let mut one = engine_with(&server.url(), 1, EngineOptions::default());
    let mut two = engine_with(&server.url(), 2, EngineOptions::default());
    assert_eq!(ask_until_done(&mut one, 1).await, EngineReply::Posted);
    let mut health = two.health();
    came_up(&mut health).await;
    for round in 0..3 {
        server.signal("STOP");
        assert!(eventually(TEST_TIMEOUT, || is_stopped(server.id())), "the server does not stop");
        // The server carries out this call when it goes on, and its reply is for a connection that is closed.
        let started = Instant::now();
        assert_eq!(ask(&mut two, 100).await, EngineReply::Failed);
        let elapsed = started.elapsed();
        // 50 ms, and room for other processes on the machine.
        assert!(elapsed < Duration::from_secs(5), "the call took {elapsed:?}");
        assert!(!two.is_up() && !health.is_up());
        assert_eq!(ask(&mut two, 101).await, EngineReply::Failed);
        server.signal("CONT");
        came_up(&mut health).await;
        for number in 0..50 {
            let nonce = 1000 * (round + 1) + number;
            // One of them may hold the ticket of a call that failed.
            if ask_until_done(&mut one, nonce).await == EngineReply::Posted {
                match ask_until_done(&mut two, nonce + 500).await {
                    EngineReply::Taken(ticket) => assert_eq!(ticket.nonce, nonce),
                    // The call that took the ticket had failed.
                    reply => assert_eq!(reply, EngineReply::Posted),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_that_restarts_empty_is_noticed_without_a_call() {
    let mut server = RedisServer::start(&[]);
    let mut one = ready_engine(&server.url(), 1).await;
    let mut two = ready_engine(&server.url(), 2).await;
    let mut health = one.health();
    came_up(&mut health).await;
    assert!(timeout(Duration::ZERO, health.came_up()).await.is_err(), "this connection was reported");
    assert_eq!(ask(&mut one, 1).await, EngineReply::Posted);
    server.kill();
    wait_until_down(&one);
    wait_until_down(&two);
    assert_eq!(ask(&mut one, 1).await, EngineReply::Failed);
    withdraw(&mut one, 1).await;
    server.restart();
    came_up(&mut health).await;
    assert_eq!(ask_until_done(&mut two, 2).await, EngineReply::Posted);
    assert_eq!(ask(&mut one, 1).await, taken(2, 2));
    drop((one, two));
    let lines = log_lines(&server.url());
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let [up, down] = ["engine is available", "engine is unavailable"].map(count);
    assert_eq!((up, down), (4, 2), "one line a change: {lines:?}");
}

/// Starts nodes of a cluster, each with a part of the slots.
fn start_cluster(nodes: u16) -> Vec<RedisServer> {
    let start = |_| {
        let cluster_port = free_port().to_string();
        RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &cluster_port])
    };
    let servers: Vec<_> = (0..nodes).map(start).collect();
    for (number, server) in (0..).zip(&servers) {
        let control = server.control();
        let slots = (0..16_384_u16).filter(|slot| slot % nodes == number).map(|slot| slot.to_string());
        let _: () = control.run(&format!("CLUSTER ADDSLOTS {}", slots.collect::<Vec<_>>().join(" ")));
        for other in &servers {
            let port: String = control_config(other, "cluster-port");
            let _: () = control.run(&format!("CLUSTER MEET 127.0.0.1 {} {port}", other.port));
        }
    }
    for server in &servers {
        let control = server.control();
        let is_ok = || {
            let info: String = control.run("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{nodes}"))
        };
        assert!(eventually(TEST_TIMEOUT, is_ok), "{}", control.run::<String>("CLUSTER INFO"));
    }
    servers
}

fn control_config(server: &RedisServer, name: &str) -> String {
    let (_, value): (String, String) = server.control().run(&format!("CONFIG GET {name}"));
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_cluster_redirects_to_the_node_with_the_key() {
    let servers = start_cluster(3);
    let slot: usize = servers[0].control().run(&format!("CLUSTER KEYSLOT {KEY}"));
    let owner = &servers[slot % 3];
    let [source, target] = [owner, &servers[(slot + 1) % 3]].map(RedisServer::control);
    let closed = free_port();
    let urls = [
        format!("redis-cluster://127.0.0.1:{closed},127.0.0.1:{}", servers[(slot + 1) % 3].port),
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{closed}", servers[(slot + 2) % 3].port),
        owner.url(),
    ];
    let [mut one, mut two, mut three] = [1, 2, 3].map(|process| engine(&urls[process - 1], process as u128));
    assert_eq!(ask_until_done(&mut one, 1).await, EngineReply::Posted);
    assert_eq!(source.run::<String>(&format!("GET {KEY}")), caller(1).ticket(1));
    assert_eq!(ask_until_done(&mut two, 2).await, taken(1, 1));
    assert_eq!(ask_until_done(&mut three, 3).await, EngineReply::Posted);

    // The slot moves. The key with the ticket stays where it is, and a new one is at the other node.
    let [source_id, target_id] = [&source, &target].map(|node| node.run::<String>("CLUSTER MYID"));
    let _: () = target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
    let _: () = source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
    assert_eq!(ask_until_done(&mut one, 1).await, taken(3, 3));
    // Each of them has to find out where the key is.
    assert_eq!(ask(&mut one, 1).await, EngineReply::Failed);
    assert_eq!(ask_until_done(&mut one, 1).await, EngineReply::Posted);
    assert_eq!(ask_until_done(&mut two, 2).await, taken(1, 1));
    assert_eq!(ask_until_done(&mut three, 3).await, EngineReply::Posted);
    assert_eq!(ask_until_done(&mut two, 2).await, taken(3, 3));
    for node in [&target, &source] {
        let _: () = node.run(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
    }
    assert_eq!(ask_until_done(&mut one, 1).await, EngineReply::Posted);
    assert_eq!(ask_until_done(&mut two, 2).await, taken(1, 1));
    assert_eq!(ask_until_done(&mut three, 3).await, EngineReply::Posted);
    assert_eq!(target.run::<String>(&format!("GET {KEY}")), caller(3).ticket(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs redis-server: run with -- --ignored redis"]
async fn redis_sentinel_names_the_server_also_after_a_failover() {
    for password in ["", "secret"] {
        let credentials = ["--requirepass", password, "--masterauth", password];
        let credentials = if password.is_empty() { &[][..] } else { &credentials[..] };
        let mut first = RedisServer::start(credentials);
        let master = format!("127.0.0.1 {}", first.port);
        let second = RedisServer::start(&[credentials, &["--replicaof", &master]].concat());
        let config = format!(
            "sentinel monitor lobby {master} 1\nsentinel down-after-milliseconds lobby 500\n\
             sentinel failover-timeout lobby 3000\n"
        );
        let auth = format!("sentinel auth-pass lobby {password}\nrequirepass {password}\n");
        let config = if password.is_empty() { config } else { config + &auth };
        let sentinel = RedisServer::start_with_config(&config, &["--sentinel"]);
        let user = if password.is_empty() { String::new() } else { format!(":{password}@") };
        let control = Control::open(&format!("redis://{user}127.0.0.1:{}", sentinel.port));
        let has_replica = || control.run::<String>("INFO sentinel").contains("slaves=1,");
        assert!(eventually(TEST_TIMEOUT, has_replica), "{}", control.run::<String>("INFO sentinel"));
        let replica = Control::open(&format!("redis://{user}127.0.0.1:{}", second.port));
        let is_linked = || replica.run::<String>("INFO replication").contains("master_link_status:up");
        assert!(eventually(TEST_TIMEOUT, is_linked), "{}", replica.run::<String>("INFO replication"));

        let closed = free_port();
        let url = format!("redis-sentinel://{user}127.0.0.1:{closed},127.0.0.1:{}/lobby", sentinel.port);
        let mut one = ready_engine(&url, 1).await;
        let mut two = ready_engine(&url, 2).await;
        assert_eq!(ask(&mut one, 1).await, EngineReply::Posted);
        let is_copied = || replica.run::<Option<String>>(&format!("GET {KEY}")) == Some(caller(1).ticket(1));
        assert!(eventually(TEST_TIMEOUT, is_copied), "the ticket is not replicated");
        first.kill();
        wait_until_down(&one);
        assert_eq!(ask_until_done(&mut two, 2).await, taken(1, 1));
        assert_eq!(ask_until_done(&mut one, 1).await, EngineReply::Posted);
        // A failover closes the connections of clients.
        let promoted = Control::open(&format!("redis://{user}127.0.0.1:{}", second.port));
        assert_eq!(promoted.run::<String>(&format!("GET {KEY}")), caller(1).ticket(1));

        let unknown = url.replace("/lobby", "/other");
        let _engine = engine(&unknown, 3);
        let shown = unknown.replace("secret", "***");
        assert!(eventually(TEST_TIMEOUT, || !log_lines(&shown).is_empty()), "no line in the log");
        assert!(log_line(&shown).contains("Sentinel does not know the server 'other'"));
    }
}
