//! The pages `/connections` and `/slow` with many connections, and with slow replies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use proto::testing::blocking::{connect, connect_with_small_buffers, expect};
use proto::testing::process::raise_open_files;
use proto::testing::program::ServerProcess;
use serde_json::{Value, json};
use support::program::start;

fn get(server: &ServerProcess, path: &str) -> Value {
    let (status, body) = server.get_as(path, "application/json").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn two_thousand_connections_are_counted_and_the_limit_bounds_the_list() {
    const CONNECTIONS: usize = 2000;
    raise_open_files(4096);
    let server = start(&["--set", "timeouts.idle=10m", "--set", "timeouts.request=10m"]);
    let address = server.address("power");
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = connect(address);
            client.write_all(b"a2\n").unwrap();
            expect(&mut client, "d4.0\n");
            client
        })
        .collect();
    server.eventually(|server| get(server, "/connections")["total"] == CONNECTIONS, "lists all connections");
    for (query, matching, shown) in [
        ("", CONNECTIONS, 100),
        ("?limit=1", CONNECTIONS, 1),
        ("?limit=1000", CONNECTIONS, 1000),
        ("?client=127.0.0.0/8&sort=sent&limit=7", CONNECTIONS, 7),
        ("?client=unix", 0, 0),
        ("?min_age=9m", 0, 0),
    ] {
        let list = get(&server, &format!("/connections{query}"));
        let connections = list["connections"].as_array().unwrap();
        let counts = ["total", "matching", "shown"].map(|key| list[key].as_u64().unwrap());
        assert_eq!(counts, [CONNECTIONS, matching, shown].map(|count| count as u64), "{query}");
        assert_eq!(connections.len(), shown, "{query}");
        assert!(connections.iter().all(|connection| connection["received_bytes"] == 3), "{query}: {list}");
    }
    let sorted = get(&server, "/connections?sort=client&limit=1000");
    let listed: Vec<SocketAddr> = sorted["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| connection["client"].as_str().unwrap().parse().unwrap())
        .collect();
    let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected[..1000]);
    let one = get(&server, &format!("/connections?client={}&limit=1000", expected[0].ip()));
    assert_eq!(one["matching"], CONNECTIONS);
    drop(clients);
    server.stop();
}

#[test]
fn a_wrong_parameter_is_rejected_with_the_right_ones() {
    let server = start(&[]);
    for (path, problem) in [
        ("/connections?limit=0", "limit=0: not valid; use a whole number from 1 to 1000\n"),
        (
            "/connections?x=%3Cb%3E",
            "unknown parameter x; the parameters are client, endpoint, min_age, min_idle, sort and limit\n",
        ),
        ("/slow?limit=1", "this page has no parameters\n"),
    ] {
        for accept in ["application/json", "text/html"] {
            assert_eq!(server.get_as(path, accept), Some((400, problem.to_owned())), "{path}");
        }
    }
    let (status, problem) = server.get("/connections?endpoint=127.0.0.1:1").unwrap();
    let endpoint = server.address("power");
    assert_eq!(
        (status, problem),
        (400, format!("endpoint=127.0.0.1:1: no such endpoint; the endpoints are {endpoint}\n"))
    );
    server.stop();
}

/// Returns the slow replies of an operation, slowest first.
fn slow(server: &ServerProcess, operation: &str) -> Vec<Value> {
    let all = get(server, "/slow")["slow"].as_array().unwrap().clone();
    all.into_iter().filter(|reply| reply["operation"] == operation).collect()
}

fn seconds(reply: &Value, key: &str) -> f64 {
    reply[format!("{key}_seconds")].as_f64().unwrap()
}

#[test]
fn a_slow_reply_shows_where_its_time_was_spent() {
    let server = start(&["--set", "framing.settle=300ms"]);
    let mut client = connect(server.address("power"));
    client.write_all(b"b2").unwrap();
    expect(&mut client, "d8.0");
    server.eventually(|server| slow(server, "cube").len() == 1, "records the reply");
    let [settled] = &slow(&server, "cube")[..] else { panic!("one reply") };
    assert_eq!(settled["client"], client.local_addr().unwrap().to_string());
    assert_eq!(settled["endpoint"], server.address("power").to_string());
    assert!(seconds(settled, "waited") >= 0.3, "{settled}");
    assert_eq!(settled["write_seconds"], 0.0);

    // More replies than fit into the buffers, which the client does not read at first.
    let mut unread = connect_with_small_buffers(server.address("power"));
    let name = unread.local_addr().unwrap().to_string();
    let requests = b"d1234567890\n".repeat(10_000);
    let mut sender = unread.try_clone().unwrap();
    let sending = thread::spawn(move || sender.write_all(&requests).unwrap());
    let is_blocked = |server: &ServerProcess| {
        let list = get(server, "/connections?sort=received");
        let of_client = |connection: &&Value| connection["client"] == name;
        let found = list["connections"].as_array().unwrap().iter().find(of_client).cloned();
        found.is_some_and(|found| found["send_queue_bytes"].as_u64().unwrap() > 0 && found["receive_queue_bytes"] != 0)
    };
    server.eventually(is_blocked, "waits for the client");
    let mut received = vec![0; b"d1234567890.0\n".len() * 10_000];
    unread.read_exact(&mut received).unwrap();
    sending.join().unwrap();
    server.eventually(
        |server| slow(server, "echo").iter().any(|reply| seconds(reply, "write") > 0.0),
        "records the wait for the client",
    );
    let blocked = slow(&server, "echo").into_iter().find(|reply| seconds(reply, "write") > 0.0).unwrap();
    assert_eq!((&blocked["client"], &blocked["waited_seconds"]), (&json!(name), &json!(0.0)));
    let sum: f64 = ["waited", "handler", "write"].map(|key| seconds(&blocked, key)).iter().sum();
    assert!((sum - seconds(&blocked, "duration")).abs() < 1e-6, "{blocked}");
    drop(client);
    server.stop();
}
