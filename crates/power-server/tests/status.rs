//! The status page of a running server, and the same as JSON.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::path::Path;

use proto::testing::blocking::{connect, exchange};
use proto::testing::pages::{document, text_of};
use proto::testing::program::ServerProcess;
use serde_json::Value;
use support::program::start;

fn status(server: &ServerProcess) -> Value {
    let (head, body) = server.request("GET", "/status", "").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn the_status_has_the_replies_and_connections_so_far() {
    let server = start(&["--set", "limits.max_connections=7"]);
    let power = server.address("power");
    exchange(power, b"a2\nb2\nfoo\n");
    exchange(power, b"c2");
    server.eventually(|server| status(server)["connections"]["closed"]["peer_closed"] == 2, "has closed two");

    // A sample has been taken since. It stays in the history for minutes.
    let has_requests = |point: &Value| point["requests_per_second"].as_f64().is_some_and(|rate| rate > 0.0);
    let history = |server: &ServerProcess| status(server)["history"].as_array().unwrap().clone();
    server.eventually(|server| history(server).iter().any(has_requests), "has sampled the requests");
    let history = history(&server);
    let point = history.iter().find(|point| has_requests(point)).unwrap();
    assert!(point["p99_seconds"].as_f64().unwrap() > 0.0, "{point}");

    let json = status(&server);
    for (pointer, value) in [
        ("/schema", Value::from(1)),
        ("/service", "power".into()),
        ("/state", "ready".into()),
        ("/connections/max", 7.into()),
        ("/connections/rejected", 0.into()),
        ("/connections/closed/panic", 0.into()),
        ("/connections/limits_reached/max_connections", 0.into()),
        ("/requests/total", 4.into()),
        ("/groups/results/ok/total", 3.into()),
        ("/groups/results/badop/total", 1.into()),
        ("/groups/operations/square/total", 1.into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&value), "{pointer}: {json}");
    }
    assert_eq!(json["connections"]["by_endpoint"][power.to_string()], 2, "{json}");

    let page = document(&server, "/", "");
    assert!(page.contains("<html lang=\"en\""), "{page}");
    assert_eq!(text_of(&page, "state").trim(), "ready");
    assert!(text_of(&page, "table-results").contains("ok  3 "), "{page}");
    assert!(text_of(&page, "table-closed").contains("peer_closed   2"), "{page}");
    let page = document(&server, "/", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n");
    assert!(page.contains("<html lang=\"zh-CN\""), "{page}");
    assert_eq!(text_of(&page, "state").trim(), "就绪");
    server.stop();
}

#[test]
fn the_configuration_in_force_follows_a_reload_except_for_keys_that_need_a_restart() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status.toml");
    let configure = |text: &str| std::fs::write(&path, text).unwrap();
    configure("workers = 2\n");
    let server = start(&["--config", path.to_str().unwrap()]);
    let shown = |server: &ServerProcess| {
        let json = status(server);
        let text = json["configuration"].as_str().unwrap().to_owned();
        // A page is sent again for a short time.
        let has_text = |server: &ServerProcess| document(server, "/", "").contains(&text.replace('"', "&quot;"));
        server.eventually(has_text, "shows the same");
        text
    };
    let text = shown(&server);
    assert!(text.contains("workers = 2  # ") && text.contains("status.toml:1\n"), "{text}");
    assert!(text.contains("max_connections = 10000  # default\n"), "{text}");
    configure("\nworkers = 3\n[limits]\nmax_connections = 20\n");
    server.reload("power", "ok");
    let text = shown(&server);
    assert!(text.contains("workers = 2  # ") && text.contains("status.toml:1\n"), "{text}");
    assert!(text.contains("max_connections = 20  # ") && text.contains("status.toml:4\n"), "{text}");
    configure("workers = x\n");
    server.reload("power", "rejected");
    assert_eq!(shown(&server), text);
    server.stop();
}

#[test]
fn the_pages_show_a_drain() {
    let server = start(&["--set", "framing.settle=30s", "--set", "timeouts.drain=1h", "--set", "timeouts.request=1h"]);
    // A complete request whose end is not visible: the drain awaits `framing.settle`.
    let mut client = connect(server.address("power"));
    client.write_all(b"a2").unwrap();
    server.eventually(|server| status(server)["connections"]["open"] == 1, "has accepted the client");
    server.signal("TERM");
    server.eventually(|server| status(server)["state"] == "draining", "drains");
    let page = document(&server, "/", "");
    assert_eq!(text_of(&page, "state").trim(), "draining");
    assert!(page.contains("<title>power-server: draining</title>"), "{page}");
    assert_eq!(server.get("/readyz"), Some((503, "draining\n".to_owned())));
    server.signal_until_abort("TERM");
}

#[test]
fn an_unknown_path_lists_the_paths() {
    let server = start(&[]);
    let (status, text) = server.get("/nothing").unwrap();
    assert_eq!(status, 404);
    for path in ["/", "/status", "/healthz", "/readyz", "/metrics"] {
        assert!(text.split([' ', ',', '\n']).any(|word| word == path), "{text}");
        assert_eq!(server.get(path).unwrap().0, 200, "{path}");
    }
    server.stop();
}
