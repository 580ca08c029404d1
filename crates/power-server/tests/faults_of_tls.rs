//! The rows of FAULTS.md about TLS. After each fault the server runs, has had no panic, and holds no more files than before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proto::testing::blocking::{connect, connect_from, connect_with_small_buffers, expect_reset, reset_on_close};
use proto::testing::certificates::{Authority, CertificateFiles};
use proto::testing::process::raise_open_files;
use proto::testing::program::ServerProcess;
use proto::testing::tls::{
    ConnectionEnd, HandshakeKind, TLS12, TLS13, TestTls, TlsClient, VERSIONS, client_config, exchange,
    resuming_client_config,
};
use support::program;

const TLS_ENDPOINT: [&str; 2] = ["--listen", "tls://127.0.0.1:0"];

/// Starts a server that listens with TLS.
fn start(tls: &TestTls, arguments: &[&str]) -> ServerProcess {
    program::start(&tls.arguments(&[&TLS_ENDPOINT, arguments].concat()))
}

fn handshakes(server: &ServerProcess, result: &str) -> u64 {
    server.metric(&format!("power_tls_handshakes_total{{result=\"{result}\"}}"))
}

fn accepted(server: &ServerProcess) -> u64 {
    server.metric("power_connections_total{result=\"accepted\"}")
}

/// The first flight of a client: one record with a `ClientHello`.
fn client_hello(tls: &TestTls, address: SocketAddr) -> Vec<u8> {
    TlsClient::on(connect(address), &tls.client()).records()
}

/// Sends `bytes` in plain text, with a FIN, and returns what the server sends before it closes.
fn send_plain(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).unwrap();
    received
}

/// Returns why a client with this certificate gets no reply.
fn rejection(address: SocketAddr, tls: &TestTls, identity: Option<&CertificateFiles>) -> String {
    VERSIONS
        .map(|version| {
            let config = client_config(&tls.authority.certificate, identity, &[version]);
            // In TLS 1.3, the client has ended its handshake when the server rejects the certificate.
            let error = TlsClient::try_connect(address, &config).and_then(|mut client| client.try_read_rest());
            error.unwrap_err().to_string()
        })
        .join(" and ")
}

#[test]
fn row_37_failed_handshakes_are_counted_by_result_and_affect_no_other_client() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let server = start(&tls, &["--set", &client_ca, "--set", "timeouts.handshake=1h", "--log-level", "debug"]);
    let baseline = server.baseline();
    let power = server.address("power");
    let right = tls.authority.issue_client();
    let with = |identity| client_config(&tls.authority.certificate, identity, &VERSIONS);
    let mut open = TlsClient::connect(power, &with(Some(&right)));
    open.send(b"a2\n").unwrap();
    open.expect("d4.0\n");

    let mut expected = [("no_certificate", 0), ("bad_certificate", 0), ("protocol", 0), ("closed", 0)];
    let mut check = |result: &str, count: u64| {
        let (_, total) = expected.iter_mut().find(|(name, _)| *name == result).unwrap();
        *total += count;
        for (result, total) in expected {
            server.eventually(|server| handshakes(server, result) == total, &format!("counts {total} {result}"));
        }
        let failed: u64 = expected.iter().map(|(_, total)| total).sum();
        server.eventually(|server| server.closed("power", "tls_failed") == failed, "counts the close reason");
    };
    assert_eq!(
        rejection(power, &tls, None),
        "received fatal alert: CertificateRequired and received fatal alert: CertificateRequired"
    );
    check("no_certificate", 2);
    let stranger = Authority::named("stranger");
    for (identity, reason) in [
        (stranger.issue_client(), "UnknownCA"),
        // Of an authority with the same name.
        (Authority::new().issue_client(), "DecryptError"),
        (tls.authority.issue_expired_client(), "CertificateExpired"),
        // Of a server.
        (tls.authority.issue_server(), "UnsupportedCertificate"),
    ] {
        let error = rejection(power, &tls, Some(&identity));
        assert!(error.contains(reason), "{error}");
        check("bad_certificate", 2);
    }
    // The client rejects the certificate of the server.
    for (authority, reason) in [(&stranger, "UnknownIssuer"), (&Authority::new(), "BadSignature")] {
        let config = client_config(&authority.certificate, Some(&right), &VERSIONS);
        let error = TlsClient::try_connect(power, &config).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        check("bad_certificate", 1);
    }

    // Plain text, and versions that are too old: the client gets an alert.
    for bytes in [&b"a2\n"[..], b"GET / HTTP/1.0\r\n\r\n", &[0; 64]] {
        let received = send_plain(power, bytes);
        assert!(matches!(received[..], [21, 3, _, 0, 2, 2, _]), "{received:?}");
        check("protocol", 1);
    }
    // A record with a hello of TLS 1.1, and its random bytes.
    let start = [&[22, 3, 1, 0, 69, 1, 0, 0, 65, 3, 2][..], &[7; 32]].concat();
    // No session, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, no compression, and 22 bytes of extensions: groups, point
    // formats and signature algorithms, so that only the version is wrong.
    let rest = [0, 0, 2, 0xc0, 0x09, 1, 0, 0, 22];
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    let tls_1_1 = [&start[..], &rest, &extensions].concat();
    let received = send_plain(power, &tls_1_1);
    assert!(matches!(received[..], [21, 3, _, 0, 2, 2, 70]), "protocol_version: {received:?}");
    check("protocol", 1);

    // The end of the connection in the handshake: after a part of the hello, after the hello, and a reset.
    let hello = client_hello(&tls, power);
    check("closed", 1);
    for part in [&hello[..100], &hello] {
        let mut socket = connect(power);
        socket.write_all(part).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
        check("closed", 1);
    }
    let mut socket = connect(power);
    socket.write_all(&hello[..100]).unwrap();
    server.eventually(|server| server.metric("power_connections") == 2, "accepts the client");
    reset_on_close(&socket);
    drop(socket);
    check("closed", 1);

    // A slow handshake in single bytes is a handshake.
    let mut client = TlsClient::on(connect(power), &with(Some(&right)));
    client.handshake(1).unwrap();
    client.send(b"b2\n").unwrap();
    client.expect("d8.0\n");
    open.send(b"a3\n").unwrap();
    open.expect("d9.0\n");
    drop((open, client));
    server.returns_to(baseline, "power");
    assert_eq!(handshakes(&server, "ok"), 2);
    assert_eq!(server.metric("power_tls_handshake_duration_seconds_count"), 2);
    let log = server.stop();
    assert!(log.contains("handshake failed") && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn row_37_a_client_that_is_silent_in_the_handshake_is_closed_at_the_timeout() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.handshake=1s"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let hello = client_hello(&tls, power);
    for (bytes, count) in [(&b""[..], 1), (&hello[..100], 2), (&hello, 3)] {
        let began = Instant::now();
        let mut socket = connect(power);
        socket.write_all(bytes).unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(received.is_empty(), bytes.len() < hello.len(), "only a whole hello gets a reply");
        server.eventually(|server| handshakes(server, "timeout") == count, &format!("counts {count} timeouts"));
    }
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_37_a_client_rejects_a_certificate_for_another_host() {
    let tls = TestTls::new();
    replace(&tls, &tls.authority.issue_wrong_host());
    let server = start(&tls, &[]);
    for (version, count) in VERSIONS.into_iter().zip(1..) {
        let error = TlsClient::try_connect(server.address("power"), &tls.client_of(version)).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
        server.eventually(|server| handshakes(server, "bad_certificate") == count, "counts the alert of the client");
    }
    server.stop();
}

#[test]
fn row_37_the_request_timeout_begins_after_the_handshake() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.request=1s", "--set", "timeouts.handshake=1h"]);
    for version in VERSIONS {
        let mut client = TlsClient::on(connect(server.address("power")), &tls.client_of(version));
        let hello = client.records();
        client.socket.write_all(&hello[..10]).unwrap();
        // Not a wait: the handshake takes longer than the timeout.
        thread::sleep(Duration::from_millis(1200));
        client.socket.write_all(&hello[10..]).unwrap();
        let began = Instant::now();
        client.handshake(usize::MAX).unwrap();
        let (reply, _) = client.read_rest();
        assert!(reply.starts_with("eTIMEOUT "), "{reply}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    }
    server.eventually(|server| server.closed("power", "request_timeout") == 2, "counts the timeouts");
    server.stop();
}

#[test]
fn row_38_after_a_truncation_only_whole_requests_have_replies() {
    let tls = TestTls::new();
    for (settle, cases) in [
        // A request that counts as complete once no more bytes come is not complete.
        ("1h", &[(&b"a2\nb2\n"[..], "d4.0\nd8.0\n"), (b"a2", ""), (b"a2\nb3", "d4.0\n"), (b"a-", ""), (b"", "")][..]),
        ("0s", &[(b"a2\nb2\n", "d4.0\nd8.0\n"), (b"a2", "d4.0"), (b"a2\nb3", "d4.0\n"), (b"a2\r", ""), (b"a", "")]),
    ] {
        let server = start(&tls, &["--set", &format!("framing.settle={settle}"), "--set", "timeouts.request=2h"]);
        let baseline = server.baseline();
        for (bytes, replies) in cases {
            for version in VERSIONS {
                let mut client = TlsClient::connect(server.address("power"), &tls.client_of(version));
                client.send(bytes).unwrap();
                client.truncate();
                assert_eq!(
                    client.read_rest(),
                    ((*replies).to_owned(), ConnectionEnd::CloseNotify),
                    "{bytes:?}, settle {settle}"
                );
            }
        }
        server.returns_to(baseline, "power");
        assert_eq!(server.closed("power", "tls_truncated"), 2 * cases.len() as u64);
        server.stop();
    }
}

#[test]
fn row_39_a_thousand_handshakes_that_never_end_are_closed_at_the_timeout() {
    raise_open_files(8192);
    let tls = TestTls::new();
    let settings = ["--set", "limits.max_connections=1001", "--set", "timeouts.handshake=10s"];
    let server = start(&tls, &settings);
    let (baseline, power, config) = (server.baseline(), server.address("power"), tls.client());
    assert_eq!(exchange(power, &config, b"a2"), "d4.0");
    let before = server.resident_kib();
    let hello = client_hello(&tls, power);
    let began = Instant::now();
    let stuck: Vec<_> = (0..1000)
        .map(|number| {
            let mut socket = connect(power);
            // Half of them get the server's part of the handshake.
            socket.write_all(if number % 2 == 0 { &hello } else { &hello[..hello.len() / 2] }).unwrap();
            socket
        })
        .collect();
    server.eventually(|server| accepted(server) >= 1002, "accepts all");
    // One place is left.
    assert_eq!(exchange(power, &config, b"a3"), "d9.0");
    let growth = server.resident_kib().saturating_sub(before);
    assert!(growth < 64 * 1024, "memory grew by {growth} KiB");
    let full =
        TlsClient::try_connect(power, &config).and_then(|last| Ok((last, TlsClient::try_connect(power, &config)?)));
    // On a slow machine, the first handshakes may have timed out by now.
    assert!(full.is_err() || began.elapsed() > Duration::from_secs(10), "handshakes count against max_connections");
    drop(full);
    for mut socket in stuck {
        socket.read_to_end(&mut Vec::new()).unwrap();
    }
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    server.returns_to(baseline, "power");
    assert_eq!(handshakes(&server, "timeout"), 1000);
    server.stop();
}

#[test]
fn row_40_a_flood_of_key_updates_ends_its_connection() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.request=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let mut other = TlsClient::connect(power, &tls.client());
    let mut flood = TlsClient::connect(power, &tls.client_of(&TLS13));
    // A few are served.
    for _ in 0..4 {
        flood.send_key_update().unwrap();
    }
    flood.send(b"a2\n").unwrap();
    flood.expect("d4.0\n");
    assert!((0..10_000).any(|_| flood.send_key_update().is_err()), "10,000 key updates are sent");
    server.eventually(|server| server.closed("power", "io_error") == 1, "closes the connection");
    other.send(b"a3\n").unwrap();
    other.expect("d9.0\n");
    drop((flood, other));
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_40_a_flood_of_renegotiations_ends_its_connection() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.request=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let mut other = TlsClient::connect(power, &tls.client());
    let mut config = resuming_client_config(&tls.authority.certificate, None, &[&TLS12]);
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let request_renegotiations = |count| {
        let mut client = TlsClient::connect(power, &config);
        client.send(b"a2\n").unwrap();
        client.expect("d4.0\n");
        client.request_renegotiations(&config, count)
    };
    // The first one is rejected with a warning alert, and the connection goes on until the FIN.
    let mut first = request_renegotiations(1);
    first.shutdown(Shutdown::Write).unwrap();
    first.read_to_end(&mut Vec::new()).unwrap();
    server.eventually(|server| server.closed("power", "tls_truncated") == 1, "goes on after the first one");
    let flood = request_renegotiations(1000);
    server.eventually(|server| server.closed("power", "io_error") == 1, "closes the connection");
    other.send(b"a3\n").unwrap();
    other.expect("d9.0\n");
    drop((flood, other));
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
fn row_41_a_tls_client_over_a_limit_is_closed_without_a_byte() {
    let tls = TestTls::new();
    let limits = ["--set", "limits.max_connections=2", "--set", "limits.max_connections_per_ip=1"];
    let server = start(&tls, &limits);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let mut first = TlsClient::connect(power, &tls.client());
    let is_rejected = |mut socket: TcpStream| {
        let hello = client_hello_for(&tls, &socket);
        let _ = socket.write_all(&hello);
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received);
        received.is_empty()
    };
    assert!(is_rejected(connect(power)));
    let mut second = TlsClient::on(connect_from(Ipv4Addr::new(127, 0, 0, 2), power), &tls.client());
    second.handshake(usize::MAX).unwrap();
    assert!(is_rejected(connect_from(Ipv4Addr::new(127, 0, 0, 3), power)));
    for (limit, count) in [("max_connections", 1), ("max_connections_per_ip", 1)] {
        assert_eq!(server.metric(&format!("power_limits_reached_total{{limit=\"{limit}\"}}")), count, "{limit}");
    }
    assert_eq!(server.metric("power_connections_total{result=\"rejected\"}"), 2);
    assert_eq!(handshakes(&server, "ok"), 2, "a rejected client makes no handshake");
    for client in [&mut first, &mut second] {
        client.send(b"a2\n").unwrap();
        client.expect("d4.0\n");
    }
    drop((first, second));
    server.returns_to(baseline, "power");
    assert_eq!(exchange(power, &tls.client(), b"a2"), "d4.0");
    server.stop();
}

/// A `ClientHello` for a connection that is open already.
fn client_hello_for(tls: &TestTls, socket: &TcpStream) -> Vec<u8> {
    TlsClient::on(socket.try_clone().unwrap(), &tls.client()).records()
}

/// Replaces the certificate and the key of the server.
fn replace(tls: &TestTls, files: &CertificateFiles) {
    fs::copy(&files.certificate, &tls.server.certificate).unwrap();
    fs::copy(&files.key, &tls.server.key).unwrap();
}

#[test]
fn row_42_a_reload_replaces_the_certificate_and_rejects_a_bad_one() {
    let tls = TestTls::new();
    let client_ca = tls.authority.folder().join("client-ca.pem");
    fs::copy(&tls.authority.certificate, &client_ca).unwrap();
    let server = start(&tls, &["--set", &format!("tls.client_ca={}", client_ca.display())]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    let identity = tls.authority.issue_client();
    let config = client_config(&tls.authority.certificate, Some(&identity), &VERSIONS);
    let mut old = TlsClient::connect(power, &config);
    let first_certificate = old.server_certificate().to_vec();
    let certificate = || TlsClient::connect(power, &config).server_certificate().to_vec();
    assert_eq!(certificate(), first_certificate);

    replace(&tls, &tls.authority.issue_other_server());
    assert_eq!(certificate(), first_certificate, "not before the reload");
    server.reload("power", "ok");
    let second_certificate = certificate();
    assert_ne!(second_certificate, first_certificate);

    // A key of another certificate.
    fs::copy(&identity.key, &tls.server.key).unwrap();
    server.reload("power", "rejected");
    fs::write(&tls.server.key, "").unwrap();
    server.reload("power", "rejected");
    assert_eq!(certificate(), second_certificate);
    for reason in ["it is not the key of the certificate", "it contains no unencrypted private key in PEM"] {
        let line = "config reload rejected; keeping the current configuration";
        server.eventually(|server| server.log().contains(reason) && server.log().contains(line), reason);
    }

    let expired = "power_tls_certificate_expiry_timestamp_seconds";
    assert!(server.metric(expired) > 978_307_200);
    let warns = |server: &ServerProcess| {
        server.log().contains("WARN proto::server::listener::handshake: the TLS certificate has expired")
    };
    assert!(!warns(&server));
    replace(&tls, &tls.authority.issue_expired());
    server.reload("power", "ok");
    assert_eq!(server.metric(expired), 978_307_200, "2001-01-01");
    server.eventually(warns, "warns of the certificate");
    let error = TlsClient::try_connect(power, &config).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    // A connection keeps what it began with.
    old.send(b"a2\n").unwrap();
    old.expect("d4.0\n");
    drop(old);
    server.returns_to(baseline, "power");
    server.stop();
    // At the start it is only a warning, too.
    let server = start(&tls, &[]);
    assert_eq!(server.metric(expired), 978_307_200);
    server.eventually(warns, "warns of the certificate");
    server.stop();
}

#[test]
fn row_42_a_client_certificate_is_verified_on_each_connection() {
    let tls = TestTls::new();
    let client_ca = tls.authority.folder().join("client-ca.pem");
    let verify = format!("tls.client_ca={}", client_ca.display());
    for version in [&TLS12, &TLS13] {
        fs::copy(&tls.authority.certificate, &client_ca).unwrap();
        let identity = tls.authority.issue_client();
        let connect = |power, config: &Arc<_>| {
            let mut client = TlsClient::try_connect(power, config)?;
            client.send(b"a2\n")?;
            let mut reply = [0; 5];
            client.read_exact(&mut reply)?;
            std::io::Result::Ok(client.handshake_kind())
        };
        for (settings, second) in [(vec![], HandshakeKind::Resumed), (vec!["--set", &verify], HandshakeKind::Full)] {
            let server = start(&tls, &settings);
            let config = resuming_client_config(&tls.authority.certificate, Some(&identity), &[version]);
            let (power, config) = (server.address("power"), Arc::new(config));
            assert_eq!(connect(power, &config).unwrap(), HandshakeKind::Full);
            assert_eq!(connect(power, &config).unwrap(), second, "{version:?} {settings:?}");
            if settings.is_empty() {
                continue;
            }
            fs::copy(&Authority::named("stranger").certificate, &client_ca).unwrap();
            server.reload("power", "ok");
            let error = connect(power, &config).unwrap_err().to_string();
            assert!(error.contains("UnknownCA"), "{error}");
        }
    }
}

#[test]
fn row_57_a_long_chain_of_client_certificates_is_rejected_before_it_is_verified() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", &format!("tls.client_ca={}", tls.authority.certificate.display())]);
    let power = server.address("power");
    let identity = tls.authority.issue_client();
    let connect_with_another = || {
        let mut chain = fs::read(&identity.certificate).unwrap();
        chain.extend(fs::read(&Authority::named("same name").certificate).unwrap());
        fs::write(&identity.certificate, chain).unwrap();
        let config = client_config(&tls.authority.certificate, Some(&identity), &[&TLS12]);
        let mut client = TlsClient::try_connect(power, &config)?;
        client.send(b"a2\n")?;
        client.expect("d4.0\n");
        std::io::Result::Ok(())
    };
    for _ in 0..4 {
        connect_with_another().unwrap();
    }
    connect_with_another().unwrap_err();
    server.eventually(|server| handshakes(server, "bad_certificate") == 1, "rejects the chain");
    server.stop();
}

#[test]
fn row_43_a_tls_client_that_never_reads_is_reset_at_the_write_timeout() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.write=500ms"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    for version in VERSIONS {
        // Without end, and some replies that fit into the buffers of the session and of the socket.
        let mut client = TlsClient::connect(power, &tls.client_of(version));
        let requests = b"x\n".repeat(64 * 1024);
        assert!((0..1000).any(|_| client.send(&requests).is_err()), "the server reads without end");
        let mut client = TlsClient::on(connect_with_small_buffers(power), &tls.client_of(version));
        client.handshake(usize::MAX).unwrap();
        client.send(&b"x\n".repeat(100)).unwrap();
        server.eventually(|server| server.metric("power_connections") == 0, "closes the connections");
        expect_reset(&mut client.socket);
    }
    assert_eq!(server.closed("power", "write_timeout"), 4);
    server.returns_to(baseline, "power");
    assert_eq!(exchange(power, &tls.client(), b"a2"), "d4.0");
    server.stop();
}

#[test]
fn row_43_a_tls_client_that_reads_slowly_or_sends_much_gets_all_replies_in_order() {
    let tls = TestTls::new();
    let server = start(&tls, &["--set", "timeouts.write=4s"]);
    let power = server.address("power");
    let requests = (0..200_000).map(|number| format!("d{number}\n")).collect::<Vec<_>>().concat();
    let replies = (0..200_000).map(|number| format!("d{number}.0\n")).collect::<Vec<_>>().concat();
    for version in VERSIONS {
        let received = exchange(power, &tls.client_of(version), requests.as_bytes());
        assert!(received == replies, "{} of {} bytes", received.len(), replies.len());
    }
    let mut client = TlsClient::on(connect_with_small_buffers(power), &tls.client());
    client.handshake(usize::MAX).unwrap();
    let (requests, replies) = ("x\n".repeat(60), 60);
    client.send(requests.as_bytes()).unwrap();
    client.half_close().unwrap();
    let mut received = String::new();
    while received.lines().count() < replies {
        // Not a wait: the client is slow.
        thread::sleep(Duration::from_millis(20));
        let mut part = [0; 200];
        let count = client.read(&mut part).unwrap();
        assert!(count > 0, "closed after {received}");
        received.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    let (rest, end) = client.read_rest();
    received.push_str(&rest);
    assert_eq!(end, ConnectionEnd::CloseNotify);
    assert!(received.lines().count() == replies && received.lines().all(|line| line.starts_with("eBADOP 'x'")));
    server.stop();
}

#[test]
fn row_44_a_drain_finishes_handshakes_and_ends_connections_with_close_notify() {
    let tls = TestTls::new();
    for version in VERSIONS {
        let server = start(&tls, &[]);
        let power = server.address("power");
        let mut idle = TlsClient::connect(power, &tls.client());
        let mut client = TlsClient::on(connect(power), &tls.client_of(version));
        let hello = client.records();
        client.socket.write_all(&hello[..10]).unwrap();
        server.eventually(|server| accepted(server) == 2, "accepts the clients");
        server.signal("TERM");
        assert_eq!(idle.read_rest(), (String::new(), ConnectionEnd::CloseNotify));
        drop(idle);
        // Later than connections that are idle are closed, and than a client that has had its replies may go on.
        thread::sleep(Duration::from_millis(1200));
        client.socket.write_all(&hello[10..]).unwrap();
        client.handshake(usize::MAX).unwrap();
        client.send(b"a2").unwrap();
        client.expect("d4.0");
        assert_eq!(client.read_rest(), (String::new(), ConnectionEnd::CloseNotify));
        drop(client);
        let (code, log) = server.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=0"), "{log}");
    }
}
