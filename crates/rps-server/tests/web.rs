//! Web endpoints: the page, both games over WebSocket, and clients that break its rules (rows 66 to 69 of
//! `crates/power-server/tests/FAULTS.md`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proto::testing::TEST_TIMEOUT;
use proto::testing::blocking::{
    connect, connect_unix, connect_with_small_buffers, exchange, expect, random_bytes, read_to_end, reset_on_close,
};
use proto::testing::process::run;
use proto::testing::program::ServerProcess;
use proto::testing::tls::{TestTls, TlsClient};
use proto::testing::transcript::transcripts_over_websocket;
use proto::testing::websocket::{
    BINARY, CLOSE, PING, PONG, TEXT, WebSocketClient, WebSocketEnd, frame, read_head, request, request_with,
};
use support::program::{BINARY as PROGRAM, clean_command};
use tempfile::tempdir;

/// Starts a server with a web endpoint on a free port.
fn start(arguments: &[&str]) -> ServerProcess {
    start_command(PROGRAM.command(arguments).env("RPS_SERVER_WEB_LISTEN", "127.0.0.1:0"))
}

fn start_command(command: &mut Command) -> ServerProcess {
    ServerProcess::start(command, &["solo", "duel", "web", "admin"])
}

fn open(server: &ServerProcess, path: &str) -> WebSocketClient<TcpStream> {
    WebSocketClient::open(connect(server.address("web")), path)
}

fn end(code: u16, text: &str) -> WebSocketEnd {
    WebSocketEnd::Close(code, text.to_owned())
}

/// Sends an HTTP request and returns the response.
fn fetch(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    read_to_end(&mut stream)
}

fn web_requests(server: &ServerProcess, result: &str) -> u64 {
    server.metric(&format!("rps_web_requests_total{{result=\"{result}\"}}"))
}

#[test]
fn the_page_loads_nothing_else_and_knows_the_window() {
    let server = start(&["--set", "duel.window=1500ms"]);
    let response = fetch(server.address("web"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, page) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for header in [
        "content-type: text/html; charset=utf-8\r\n",
        "content-security-policy: default-src 'none'; ",
        "x-frame-options: DENY",
        "connection: close",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(page.contains(" data-window=\"1.5\"") && page.ends_with("</html>\n"), "{page}");
    assert!(page.len() < 40 * 1024, "{}", page.len());
    for text in ["https://", "http://", "//cdn", "@import", "url("] {
        assert!(!page.contains(text), "{text}");
    }
    server.eventually(|server| server.closed("rps", "http_response") == 1, "counts the connection");
    assert_eq!(web_requests(&server, "page"), 1);
    server.stop();
}

#[test]
fn a_client_that_half_closes_gets_the_whole_response() {
    let server = start(&[]);
    for _ in 0..20 {
        for (path, length) in [("/", 30_000), ("/chess", 50)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let response = exchange(server.address("web"), request.as_bytes());
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
            assert!(body.len() > length, "{body}");
        }
    }
    server.stop();
}

#[test]
fn row_69_a_page_that_is_read_slowly_is_complete_and_one_that_is_not_read_is_reset() {
    let server = start(&["--set", "timeouts.handshake=1s", "--set", "timeouts.write=2s"]);
    let baseline = server.baseline();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut slow = connect_with_small_buffers(server.address("web"));
    let mut never = connect_with_small_buffers(server.address("web"));
    for stream in [&mut slow, &mut never] {
        stream.write_all(request).unwrap();
    }
    // Longer than the deadline of the handshake.
    thread::sleep(Duration::from_millis(1200));
    let response = read_to_end(&mut slow);
    assert!(response.ends_with("</html>\n"), "{} bytes", response.len());
    server.eventually(|server| server.closed("rps", "write_timeout") == 1, "resets the other one");
    assert_eq!(server.orphans("web"), 0, "the kernel keeps nothing");
    drop((slow, never));
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn both_games_are_played_over_websocket() {
    let server = start(&[]);
    let mut solo = open(&server, "/solo");
    solo.send(b"1q2").unwrap();
    solo.send(b"\n3").unwrap();
    solo.send_frame(PING, b"still there?").unwrap();
    let (mut replies, mut pongs) = (String::new(), Vec::new());
    while replies.len() < 4 || pongs.is_empty() {
        match solo.read_frame().unwrap() {
            (BINARY, payload) => replies.push_str(&String::from_utf8(payload).unwrap()),
            (PONG, payload) => pongs.extend(payload),
            other => unreachable!("{other:?}"),
        }
    }
    assert!(replies[..1].contains(['x', 'y', 'z']) && &replies[1..2] == "e", "{replies}");
    assert_eq!(pongs, b"still there?");
    solo.send_frame(CLOSE, &1000_u16.to_be_bytes()).unwrap();
    assert_eq!(solo.read_rest(), (String::new(), end(1000, "")));

    let (mut browser, mut program) = (open(&server, "/duel"), connect(server.address("duel")));
    for (mine, theirs, replies) in [("1", "2", ["z", "y"]), ("3", "3", ["x", "x"]), ("3", "2", ["y", "z"])] {
        browser.send(mine.as_bytes()).unwrap();
        program.write_all(theirs.as_bytes()).unwrap();
        browser.expect(replies[0]);
        expect(&mut program, replies[1]);
    }
    let endpoint = server.address("web");
    let series = format!("rps_endpoint_connections_total{{endpoint=\"{endpoint}\",transport=\"websocket\"}}");
    assert_eq!(server.metric(&series), 2);
    assert_eq!(web_requests(&server, "websocket"), 2);
    server.stop();
}

#[test]
fn pings_are_answered_while_a_move_waits_for_the_other_player() {
    let server = start(&[]);
    let mut player = open(&server, "/duel");
    player.send(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
    for number in [b"1", b"2"] {
        player.send_frame(PING, number).unwrap();
        assert_eq!(player.read_frame(), Some((PONG, number.to_vec())));
    }
    // The next move waits behind the first one. A FIN is a half-close.
    player.send(b"3").unwrap();
    player.stream.shutdown(Shutdown::Write).unwrap();
    let mut partner = connect(server.address("duel"));
    partner.write_all(b"22").unwrap();
    expect(&mut partner, "yz");
    assert_eq!(player.read_rest(), ("zy".to_owned(), end(1000, "")));
    server.stop();
}

#[test]
fn a_close_frame_takes_a_waiting_move_back() {
    let server = start(&[]);
    for behind_the_move in [false, true] {
        let mut player = open(&server, "/duel");
        player.send(b"1").unwrap();
        if !behind_the_move {
            server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
        }
        player.send_frame(CLOSE, &1001_u16.to_be_bytes()).unwrap();
        assert_eq!(player.read_rest(), (String::new(), end(1001, "")));
        server.eventually(|server| server.metric("rps_duel_players") == 0, "removes the player");
        assert_eq!(server.metric("rps_duel_waiting"), 0);
    }
    server.eventually(|server| server.closed("rps", "peer_closed") == 2, "closes both");
    server.stop();
}

#[test]
fn a_reset_while_a_move_waits_takes_the_move_back() {
    let server = start(&[]);
    let mut player = open(&server, "/duel");
    player.send(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
    reset_on_close(&player.stream);
    drop(player);
    server.eventually(|server| server.metric("rps_duel_waiting") == 0, "removes the move");
    server.stop();
}

#[test]
fn each_end_has_its_close_code() {
    let server = start(&["--set", "duel.window=300ms"]);
    let mut wrong = open(&server, "/solo");
    wrong.send(&[b'q'; 20]).unwrap();
    assert_eq!(wrong.read_rest(), ("e".repeat(16), end(1008, "finished")));
    let mut alone = open(&server, "/duel");
    alone.send(b"1").unwrap();
    alone.expect("v");
    let mut without_close = open(&server, "/solo");
    without_close.send(b"q").unwrap();
    without_close.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(without_close.read_rest(), ("e".to_owned(), end(1000, "")));
    server.stop();
    let server = start(&["--set", "timeouts.idle=500ms", "--set", "duel.window=300ms"]);
    assert_eq!(open(&server, "/solo").read_rest(), (String::new(), end(1000, "idle_timeout")));
    server.stop();
}

#[test]
fn a_drain_closes_with_1001_and_voids_moves_in_play() {
    let server = start(&[]);
    let (mut solo, mut duel) = (open(&server, "/solo"), open(&server, "/duel"));
    duel.send(b"1").unwrap();
    server.eventually(|server| server.metric("rps_duel_waiting") == 1, "has a move in play");
    server.signal("TERM");
    assert_eq!(solo.read_rest(), (String::new(), end(1001, "drained")));
    assert_eq!(duel.read_rest(), ("v".to_owned(), end(1001, "drained")));
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_tls_connection_without_a_request_does_not_delay_a_drain() {
    let tls = TestTls::new();
    let command =
        &mut PROGRAM.command(&tls.arguments(&["--web-listen", "tls://127.0.0.1:0", "--set", "timeouts.handshake=60s"]));
    let server = start_command(command);
    let silent = TlsClient::connect(server.address("web"), &tls.client());
    server.eventually(|server| server.metric("rps_tls_handshakes_total{result=\"ok\"}") == 1, "makes the handshake");
    server.signal("TERM");
    let (code, log) = server.wait_for_exit();
    // It was not aborted at the end of the drain, which is before the deadline of the handshake.
    assert!(code == Some(0) && log.contains("aborted=0"), "{log}");
    drop(silent);
}

#[test]
fn a_full_server_replies_503_and_counts_as_healthy() {
    let server = start(&["--set", "limits.max_connections=1"]);
    let web = server.address("web");
    let player = open(&server, "/solo");
    for request in [request("/duel"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()] {
        let response = fetch(web, &request);
        assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\ntoo many connections; try again later\n"), "{response}");
    }
    let web = web.to_string();
    let arguments = ["--solo-listen", "", "--duel-listen", "", "--web-listen", &web, "--healthcheck"];
    assert_eq!(run(clean_command().args(arguments), "").code, Some(0), "full");
    drop(player);
    server.eventually(|server| server.metric("rps_connections") == 0, "has room again");
    assert_eq!(run(clean_command().args(arguments), "").code, Some(0));
    server.stop();
    let stopped = run(clean_command().args(arguments), "");
    assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
}

#[test]
fn the_health_check_needs_the_page() {
    let server = start(&[]);
    // The solo listener does not speak HTTP.
    let solo = server.address("solo").to_string();
    let arguments = ["--solo-listen", "", "--duel-listen", "", "--web-listen", &solo, "--healthcheck"];
    let wrong = run(clean_command().args(arguments), "");
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    server.stop();
}

#[test]
fn row_66_a_request_that_opens_nothing_gets_its_status_and_is_counted() {
    let server = start(&["--set", "web.origins=https://game.example"]);
    let web = server.address("web");
    let version = request("/solo").replace("Version: 13", "Version: 8");
    for (request, status, result, count) in [
        ("GET /solo HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "426 Upgrade Required", "bad_request", 1),
        (version, "426 Upgrade Required", "bad_version", 1),
        (request("/chess"), "404 Not Found", "not_found", 1),
        (request_with("/duel", "Origin: https://evil.example\r\n"), "403 Forbidden", "foreign_origin", 1),
        (request_with("/duel", "Origin: null\r\n"), "403 Forbidden", "foreign_origin", 2),
        ("\x16\x03\x01 not HTTP\r\n\r\n".to_owned(), "400 Bad Request", "bad_request", 2),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), "4", "bad_request", 3),
        ("POST /solo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1".to_owned(), "405 ", "bad_request", 4),
    ] {
        let mut stream = connect(web);
        // The server may close before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let head = read_head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {head}");
        drop(stream);
        server.eventually(|server| web_requests(server, result) == count, result);
    }
    for origin in ["https://game.example", "http://localhost", "https://localhost"] {
        let mut stream = connect(web);
        stream.write_all(request_with("/duel", &format!("Origin: {origin}\r\n")).as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "), "{origin}");
    }
    drop(connect(web));
    server.eventually(|server| web_requests(server, "closed") == 1, "counts a client that sends nothing");
    server.stop();
}

/// The header of a frame with this first byte and a payload of this many bytes.
fn long_header(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat()
}

#[test]
fn row_67_frames_that_break_the_rules_are_closed_with_their_code() {
    const FRAGMENT: u8 = 0x02;
    const CONTINUATION: u8 = 0x00;
    let server = start(&[]);
    let baseline = server.baseline();
    let cases = [
        (frame(TEXT, b"1"), 1003, "text: send binary messages"),
        (b"\x82\x011".to_vec(), 1002, "a frame without a mask"),
        (frame(0xC2, b"1"), 1002, "a reserved bit is set"),
        (frame(0x83, b"1"), 1002, "unknown opcode"),
        (frame(0x80, b"1"), 1002, "a continuation without a message"),
        ([frame(FRAGMENT, b""), frame(BINARY, b"1")].concat(), 1002, "a message within another one"),
        (frame(PING, &[0; 126]), 1002, "a control frame that is divided or too long"),
        (frame(CLOSE, b"x"), 1002, "invalid close code"),
        (frame(CLOSE, &1006_u16.to_be_bytes()), 1002, "invalid close code"),
        (long_header(BINARY, 1 << 30), 1009, "a message of more than 65536 bytes"),
        (long_header(BINARY, 1 << 63), 1002, "invalid length of a payload"),
        (
            [frame(FRAGMENT, b""), frame(CONTINUATION, b"").repeat(2000)].concat(),
            1008,
            "a message of more than 1024 frames",
        ),
        (
            [frame(FRAGMENT, b""), frame(CONTINUATION, &[b'\n'; 50]).repeat(1500)].concat(),
            1008,
            "a message of more than 1024 frames",
        ),
        (frame(PING, b"").repeat(500), 1008, "too many control frames"),
        (frame(PONG, b"").repeat(500), 1008, "too many control frames"),
    ];
    let count = cases.len() as u64;
    for (frames, code, text) in cases {
        for path in ["/solo", "/duel"] {
            let mut client = open(&server, path);
            // The bytes before the violation get their reply.
            client.send(b"q").unwrap();
            client.stream.write_all(&frames).unwrap();
            assert_eq!(client.read_rest(), ("e".to_owned(), end(code, text)), "{path}");
        }
    }
    server.eventually(|server| server.closed("rps", "websocket_failed") == 2 * count, "counts each of them");
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn row_67_a_flood_of_frames_ends_with_a_close() {
    let server = start(&[]);
    let baseline = server.baseline();
    for flood in [frame(PING, &[b'x'; 125]), frame(BINARY, b"")] {
        let mut client = open(&server, "/solo");
        let started = Instant::now();
        // The server sends its close frame and a FIN, discards for a second, and closes.
        while client.stream.write_all(&flood.repeat(1000)).is_ok() {
            assert!(started.elapsed() < TEST_TIMEOUT);
        }
    }
    server.eventually(|server| server.closed("rps", "websocket_failed") == 2, "closes both");
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn row_68_a_thousand_silent_upgrades_delay_no_other_and_end_at_their_timeout() {
    let server = start(&["--set", "timeouts.handshake=2s"]);
    let baseline = server.baseline();
    let web = server.address("web");
    let silent: Vec<_> = (0..1000)
        .map(|number| {
            let mut stream = connect(web);
            // Half of them send a part of the request.
            stream.write_all(&request("/solo").as_bytes()[..number % 2 * 60]).unwrap();
            stream
        })
        .collect();
    let mut player = open(&server, "/solo");
    player.send(b"q").unwrap();
    player.expect("e");
    drop(player);
    // Without bytes, the kernel keeps a connection out of the accept queue for as long as it defers the accept.
    server.eventually(|server| web_requests(server, "timeout") >= 500, "ends them");
    drop(silent);
    server.eventually(|server| server.metric("rps_connections") == 0, "has no connection");
    assert_eq!(web_requests(&server, "timeout") + web_requests(&server, "closed"), 1000);
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn row_69_a_browser_that_never_reads_is_reset_at_the_write_timeout() {
    let server = start(&["--set", "timeouts.write=500ms"]);
    let baseline = server.baseline();
    let mut client = WebSocketClient::open(connect(server.address("web")), "/solo");
    let moves = vec![b'1'; 60_000];
    let error = std::iter::from_fn(|| Some(client.send(&moves))).find_map(Result::err).unwrap();
    assert!(error.kind() != std::io::ErrorKind::WouldBlock, "{error}");
    drop(client);
    server.eventually(|server| server.closed("rps", "write_timeout") == 1, "resets it");
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn row_67_random_bytes_harm_no_other_connection() {
    let server = start(&[]);
    let baseline = server.baseline();
    let mut random = random_bytes(7);
    for number in 0..500 {
        let bytes: Vec<u8> = (0..40).map(|_| random()).collect();
        if number % 2 == 0 {
            let mut client = open(&server, if number % 4 == 0 { "/solo" } else { "/duel" });
            client.stream.write_all(&bytes).unwrap();
        } else {
            connect(server.address("web")).write_all(&bytes).unwrap();
        }
    }
    let mut player = open(&server, "/solo");
    player.send(b"q").unwrap();
    player.expect("e");
    drop(player);
    server.returns_to(baseline, "rps");
    server.stop();
}

#[test]
fn the_address_in_a_proxy_header_counts_at_a_web_endpoint() {
    let server = start(&["--set", "proxy_protocol.trusted=127.0.0.1", "--set", "limits.max_connections_per_ip=1"]);
    let through_proxy = |client: &str| {
        let mut stream = connect(server.address("web"));
        stream.write_all(format!("PROXY TCP4 {client} 10.0.0.1 7 80\r\n").as_bytes()).unwrap();
        stream.write_all(request("/solo").as_bytes()).unwrap();
        let head = read_head(&mut stream);
        (stream, head)
    };
    let (_first, head) = through_proxy("192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, head) = through_proxy("192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let (_other, head) = through_proxy("192.0.2.2");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    server.stop();
}

#[test]
fn the_server_replies_over_websocket_as_in_each_transcript_of_the_protocol_page() {
    for game in ["solo", "duel"] {
        for transcript in transcripts_over_websocket(game) {
            let server = start(&transcript.arguments());
            transcript.replay_over_websocket(server.address("web"), &format!("/{game}"));
            server.stop();
        }
    }
}

/// A player of the duel on any transport.
trait Player {
    fn send(&mut self, bytes: &[u8]);
    fn receive(&mut self, count: usize) -> String;
}

struct Direct<S>(S);

impl<S: Read + Write> Player for Direct<S> {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn receive(&mut self, count: usize) -> String {
        read_text(&mut self.0, count)
    }
}

fn read_text(stream: &mut impl Read, count: usize) -> String {
    let mut received = vec![0; count];
    stream.read_exact(&mut received).unwrap();
    String::from_utf8(received).unwrap()
}

struct Framed<S>(WebSocketClient<S>);

impl<S: Read + Write> Player for Framed<S> {
    /// Sends each piece as a message of several frames.
    fn send(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.0.send_frame(BINARY & 0x0F, first).unwrap();
        self.0.send_frame(PING, b"between").unwrap();
        self.0.send_frame(0x80, rest).unwrap();
    }

    fn receive(&mut self, count: usize) -> String {
        read_text(&mut self.0, count)
    }
}

/// Plays `bytes` in these pieces against a partner on TCP who always plays scissors. Returns the replies.
fn play(player: &mut dyn Player, partner: &mut TcpStream, bytes: &[u8], sizes: &[usize]) -> String {
    let is_move = |byte: &&u8| b"123".contains(byte);
    let moves = bytes.iter().filter(is_move).count();
    partner.write_all(&vec![b'1'; moves]).unwrap();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        player.send(piece);
        rest = after;
    }
    let replies = player.receive(bytes.iter().filter(|&&byte| byte != b'\n').count());
    partner.read_exact(&mut vec![0; moves]).unwrap();
    replies
}

/// The replies to a player whose partner always plays scissors.
fn expected(bytes: &[u8]) -> String {
    let reply = |byte: &u8| match byte {
        b'1' => Some('x'),
        b'2' => Some('y'),
        b'3' => Some('z'),
        b'\n' => None,
        _ => Some('e'),
    };
    bytes.iter().filter_map(reply).collect()
}

#[test]
fn the_same_conversation_has_the_same_bytes_over_every_transport() {
    let folder = tempdir().unwrap();
    let (duel_path, web_path) = (folder.path().join("duel"), folder.path().join("web"));
    let tls = TestTls::new();
    let unix = |path: &Path| format!("127.0.0.1:0,tls://127.0.0.1:0,unix:{}", path.display());
    let (duel, web) = (unix(&duel_path), unix(&web_path));
    let arguments = ["--duel-listen", &duel, "--web-listen", &web, "--set", "limits.max_bad_frames=1000000"];
    let server = start_command(&mut PROGRAM.command(&tls.arguments(&arguments)));
    let connect_all = |path: &PathBuf, service: &str| {
        let tls = TlsClient::connect(server.second_address(service), &tls.client());
        (connect(server.address(service)), tls, connect_unix(path))
    };
    let (tcp, encrypted, unix) = connect_all(&duel_path, "duel");
    let (web_tcp, web_encrypted, web_unix) = connect_all(&web_path, "web");
    let players: Vec<(&str, Box<dyn Player>)> = vec![
        ("tcp", Box::new(Direct(tcp))),
        ("tls", Box::new(Direct(encrypted))),
        ("unix", Box::new(Direct(unix))),
        ("websocket", Box::new(Framed(WebSocketClient::open(web_tcp, "/duel")))),
        ("websocket over tls", Box::new(Framed(WebSocketClient::open(web_encrypted, "/duel")))),
        ("websocket over unix", Box::new(Framed(WebSocketClient::open(web_unix, "/duel")))),
    ];
    for (transport, player) in players {
        // The runner calls a closure that cannot change what it captures.
        let pair = RefCell::new((player, connect(server.address("duel"))));
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            cases: 30,
            ..ProptestConfig::default()
        });
        let bytes = prop::collection::vec(prop::sample::select(b"123123123\nq".to_vec()), 1..200);
        let sizes = prop::collection::vec(1..40_usize, 1..6);
        let checked = runner.run(&(bytes, sizes), |(bytes, sizes)| {
            let (player, partner) = &mut *pair.borrow_mut();
            prop_assert_eq!(play(&mut **player, partner, &bytes, &sizes), expected(&bytes), "{}", transport);
            Ok(())
        });
        checked.unwrap();
    }
    server.stop();
    assert!(!web_path.exists());
}

#[test]
fn a_web_endpoint_alone_is_enough() {
    let command = &mut PROGRAM.command(&["--solo-listen", "", "--duel-listen", "", "--web-listen", "127.0.0.1:0"]);
    let server = ServerProcess::start(command, &["web", "admin"]);
    let mut solo = open(&server, "/solo");
    solo.send(b"q").unwrap();
    solo.expect("e");
    server.stop();
}
