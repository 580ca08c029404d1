//! The pages `/connections` and `/slow` of a running server.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Instant;

use proto::testing::blocking::{connect, connect_from, connect_unix, expect};
use proto::testing::pages::document;
use proto::testing::program::ServerProcess;
use proto::testing::tls::{TLS13, TestTls, TlsClient, client_config};
use proto::testing::websocket::WebSocketClient;
use serde_json::{Value, json};
use support::program::{BINARY, start};
use tempfile::tempdir;

const JSON: &str = "application/json";

/// Returns the value of a page in JSON.
fn get(server: &ServerProcess, path: &str) -> Value {
    let (status, body) = server.get_as(path, JSON).unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Returns the listed connections.
fn list(server: &ServerProcess, query: &str) -> Vec<Value> {
    let list = get(server, &format!("/connections{query}"));
    assert_eq!((&list["schema"], list.get("incomplete")), (&json!(1), None), "{list}");
    list["connections"].as_array().unwrap().clone()
}

/// Waits until a snapshot has so many connections, and their clients have acknowledged everything, which can take 40
/// ms.
fn wait_for(server: &ServerProcess, connections: usize) {
    let is_acknowledged = |connection: &Value| connection["send_queue_bytes"].as_u64().is_none_or(|bytes| bytes == 0);
    let is_there = |server: &ServerProcess| {
        let listed = list(server, "");
        listed.len() == connections && listed.iter().all(is_acknowledged)
    };
    server.eventually(is_there, "lists all connections");
}

/// Returns the activity of a player of the duel.
fn duel_of(server: &ServerProcess, client: &str) -> Value {
    let listed = list(server, "");
    listed
        .into_iter()
        .find(|connection| connection["client"] == client)
        .map_or(Value::Null, |mut found| found["duel"].take())
}

/// Returns the connection of `client` in a list, without its times, which are checked.
fn find(listed: &[Value], client: &str) -> Value {
    let is_it = |connection: &&Value| connection["client"] == client;
    let found = listed.iter().find(is_it);
    assert!(found.is_some(), "{client}: {listed:#?}");
    let mut found = found.unwrap().clone();
    for times in ["age_seconds", "idle_seconds", "round_trip_seconds"] {
        let seconds = found[times].take();
        let is_time = seconds.as_f64().is_some_and(|seconds| (0.0..600.0).contains(&seconds));
        let is_unknown = found["transport"] == "unix" && times != "age_seconds" && seconds.is_null();
        assert!(is_time || is_unknown, "{times}: {seconds}");
        found.as_object_mut().unwrap().remove(times);
    }
    found
}

/// Returns the expected values of a connection that has received and sent a byte, with these differences.
fn expected(client: &str, endpoint: &str, differences: &Value) -> Value {
    let mut expected = json!({
        "client": client, "endpoint": endpoint, "transport": "tcp", "state": "established", "received_bytes": 1,
        "sent_bytes": 1, "send_queue_bytes": 0, "receive_queue_bytes": 0, "proxy": null, "tls": null, "duel": null,
    });
    expected.as_object_mut().unwrap().extend(differences.as_object().unwrap().clone());
    expected
}

#[test]
fn each_kind_of_connection_is_listed_with_its_values() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("solo");
    let endpoints = format!("127.0.0.1:0,unix:{}", path.display());
    let server = start(&["--solo-listen", &endpoints, "--set", "proxy_protocol.trusted=127.0.0.2/32"]);
    let endpoints = server.endpoints("solo");
    assert!(list(&server, "").is_empty());

    let mut plain = connect(server.address("solo"));
    plain.write_all(b"?").unwrap();
    expect(&mut plain, "e");
    let mut unix = connect_unix(&path);
    unix.write_all(b"?").unwrap();
    expect(&mut unix, "e");
    let mut proxied = connect_from(Ipv4Addr::new(127, 0, 0, 2), server.address("solo"));
    proxied.write_all(b"PROXY TCP6 2001:db8::9 2001:db8::1 777 5001\r\n??").unwrap();
    expect(&mut proxied, "ee");
    let duel = connect(server.address("duel"));
    wait_for(&server, 4);

    let listed = list(&server, "");
    let client = plain.local_addr().unwrap().to_string();
    assert_eq!(find(&listed, &client), expected(&client, &endpoints[0], &json!({})));
    let unknown = json!({
        "transport": "unix", "state": "connected", "received_bytes": null, "sent_bytes": null, "send_queue_bytes": null,
        "receive_queue_bytes": null,
    });
    assert_eq!(find(&listed, "unix"), expected("unix", &endpoints[1], &unknown));
    let client = "[2001:db8::9]:777";
    let proxy = proxied.local_addr().unwrap().to_string();
    let values = json!({ "proxy": proxy, "received_bytes": 47, "sent_bytes": 2 });
    assert_eq!(find(&listed, client), expected(client, &endpoints[0], &values));
    let (client, endpoint) = (duel.local_addr().unwrap().to_string(), server.address("duel").to_string());
    let values = json!({ "duel": "no_partner", "received_bytes": 0, "sent_bytes": 0 });
    assert_eq!(find(&listed, &client), expected(&client, &endpoint, &values));

    let page = document(&server, "/connections", "");
    assert!(page.contains("[2001:db8::9]:777") && page.contains("established"), "{page}");
    document(&server, "/slow", "");

    // Later connections get the descriptors of earlier ones, and nothing of their details.
    drop((plain, unix, proxied, duel));
    wait_for(&server, 0);
    let later: Vec<_> = (0..4).map(|_| connect(server.address("solo"))).collect();
    wait_for(&server, 4);
    let listed = list(&server, "");
    for client in &later {
        let client = client.local_addr().unwrap().to_string();
        let values = json!({ "received_bytes": 0, "sent_bytes": 0 });
        assert_eq!(find(&listed, &client), expected(&client, &endpoints[0], &values));
    }
    drop(later);
    server.stop();
}

#[test]
fn the_subject_of_a_client_is_listed_and_escaped() {
    let tls = TestTls::new();
    // Markup, a line end, and a character that reverses the order of those behind it.
    let hostile = tls.authority.issue_client_named("<script>alert(1)</script>\"&\n\u{202e}");
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let server = start(&tls.arguments(&["--solo-listen", "tls://127.0.0.1:0", "--set", &client_ca]));
    let config = client_config(&tls.authority.certificate, Some(&hostile), &[&TLS13]);
    let mut encrypted = TlsClient::connect(server.address("solo"), &config);
    encrypted.send(b"?").unwrap();
    encrypted.expect("e");
    wait_for(&server, 1);

    let client = encrypted.socket.local_addr().unwrap().to_string();
    let mut found = find(&list(&server, ""), &client);
    for bytes in ["received_bytes", "sent_bytes"] {
        assert!(found[bytes].take().as_u64().unwrap() > 100, "a handshake");
    }
    let values = json!({
        "transport": "tls", "received_bytes": null, "sent_bytes": null,
        "tls": { "version": "1.3", "client_subject": "CN=\\<script\\>alert(1)\\</script\\>\\\"&\\0a\\u{202e}" },
    });
    assert_eq!(found, expected(&client, &server.endpoints("solo")[0], &values));
    let page = document(&server, "/connections", "");
    assert!(page.contains("alert(1)") && !page.contains("<script>alert") && !page.contains('\u{202e}'), "{page}");
    drop(encrypted);
    server.stop();
}

#[test]
fn a_websocket_connection_is_listed_as_a_player() {
    let server = ServerProcess::start(
        &mut BINARY.command(&["--set", "web.listen=127.0.0.1:0"]),
        &["solo", "duel", "web", "admin"],
    );
    let mut socket = WebSocketClient::open(connect(server.address("web")), "/duel");
    socket.send(b"?").unwrap();
    socket.expect("e");
    wait_for(&server, 1);
    let [found] = &list(&server, &format!("?endpoint={}", server.address("web")))[..] else { panic!("one connection") };
    assert_eq!((&found["transport"], &found["duel"]), (&json!("websocket"), &json!("no_partner")), "{found}");
    server.eventually(|server| get(server, "/slow")["slow"][0]["operation"] == "duel", "records the reply");
    drop(socket);
    server.stop();
}

#[test]
fn the_list_shows_what_a_player_of_the_duel_does_and_slow_its_wait() {
    // The patience is a tenth of the window.
    let server = start(&["--set", "duel.window=1h", "--set", "timeouts.idle=2h"]);
    let (mut one, mut other) = (connect(server.address("duel")), connect(server.address("duel")));
    let [one_name, other_name] = [&one, &other].map(|player| player.local_addr().unwrap().to_string());
    let wait_for = |client: &str, expected: &str| {
        server.eventually(|server| duel_of(server, client) == expected, &format!("{client} is {expected}"));
    };
    wait_for(&one_name, "no_partner");
    one.write_all(b"1").unwrap();
    wait_for(&one_name, "in_lobby");
    let in_lobby = Instant::now();
    wait_for(&other_name, "no_partner");
    let waited = in_lobby.elapsed().as_secs_f64();
    other.write_all(b"2").unwrap();
    expect(&mut one, "z");
    expect(&mut other, "y");
    wait_for(&one_name, "paired");
    wait_for(&other_name, "paired");
    other.write_all(b"3").unwrap();
    wait_for(&other_name, "move_in_play");
    wait_for(&one_name, "paired");

    // A reply is recorded after it is written.
    let of = |server: &ServerProcess, client: &str| {
        let slow = get(server, "/slow")["slow"].as_array().unwrap().clone();
        slow.into_iter().find(|reply| reply["client"] == client)
    };
    let [first, second] = [&one_name, &other_name].map(|client| {
        server.eventually(|server| of(server, client).is_some(), "records the reply");
        of(&server, client).unwrap()
    });
    for reply in [&first, &second] {
        assert_eq!(
            (&reply["operation"], &reply["endpoint"]),
            (&json!("duel"), &json!(server.address("duel").to_string()))
        );
        let [duration, waited, handler, write] =
            ["duration", "waited", "handler", "write"].map(|key| reply[format!("{key}_seconds")].as_f64().unwrap());
        assert!((waited + handler + write - duration).abs() < 1e-6, "{reply}");
    }
    assert!(first["waited_seconds"].as_f64().unwrap() >= waited, "{first} {waited}");
    assert_eq!(second["waited_seconds"], 0.0);
    drop((one, other));
    server.stop();
}
