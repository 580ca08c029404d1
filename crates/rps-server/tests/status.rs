//! The status page of a running server, and the same as JSON.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};

use proto::testing::blocking::connect;
use proto::testing::pages::{document, text_of};
use proto::testing::program::ServerProcess;
use serde_json::Value;
use support::program::start;

fn status(server: &ServerProcess) -> Value {
    let (code, body) = server.get("/status").unwrap();
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn the_status_has_the_rounds_and_players_so_far() {
    let server = start(&[]);
    let mut solo = connect(server.address("solo"));
    solo.write_all(b"1239").unwrap();
    solo.read_exact(&mut [0; 4]).unwrap();
    let mut players = [connect(server.address("duel")), connect(server.address("duel"))];
    for player in &mut players {
        player.write_all(b"2").unwrap();
    }
    for player in &mut players {
        player.read_exact(&mut [0; 1]).unwrap();
    }
    server.eventually(|server| status(server)["connections"]["open"] == 3, "has three connections");
    let json = status(&server);
    let total = |group: &str, names: &[&str]| -> u64 {
        names.iter().map(|name| json["groups"][group][name]["total"].as_u64().unwrap()).sum()
    };
    assert_eq!(json["service"], "rps");
    assert_eq!(total("solo", &["draw", "win", "lose"]), 3, "{json}");
    assert_eq!(total("solo", &["bad_frames"]), 1, "{json}");
    assert_eq!(total("house_moves", &["scissors", "rock", "paper"]), 3, "{json}");
    assert_eq!(total("duel", &["draw"]), 2, "{json}");
    assert_eq!(json["groups"]["duel"]["players"], 2, "{json}");
    assert_eq!(json["groups"]["duel"]["waiting"], 0, "{json}");
    assert_eq!(json["groups"].get("cluster"), None, "{json}");

    let page = document(&server, "/", "Accept-Language: en\r\n");
    assert!(text_of(&page, "table-duel").contains("connected players  2 "), "{page}");
    let page = document(&server, "/", "Accept-Language: zh\r\n");
    assert!(text_of(&page, "table-duel").contains("在线玩家  2 "), "{page}");
    server.stop();
}

#[test]
fn the_pages_show_no_password_of_the_engine() {
    // Nothing listens there, so the engine is down.
    let engine = "duel.cluster.engine=redis://user:hunter2@127.0.0.1:1";
    let server = start(&["--set", engine, "--set", "duel.cluster.listen=127.0.0.1:0"]);
    let json = status(&server);
    assert_eq!(json["groups"]["cluster"]["engine_up"], false, "{json}");
    assert_eq!(json["groups"]["cluster"]["links"], 0, "{json}");
    let page = document(&server, "/", "");
    for text in [&page, &json.to_string()] {
        assert!(text.contains("***@127.0.0.1:1") && !text.contains("hunter2"), "{text}");
    }
    server.stop();
}
