//! What an operator sees of TLS: health checks, the log, reloads and restarts.

mod support;

use std::fs;
use std::io::Write;
use std::process::Output;

use proto::testing::blocking::connect;
use proto::testing::program::ServerProcess;
use proto::testing::tls::{TestTls, TlsClient, exchange};
use support::program::{clean_command, command, start};

const ANY: &str = "127.0.0.1:0";
const TLS_ENDPOINT: [&str; 2] = ["--listen", "tls://127.0.0.1:0"];

fn accepted(server: &ServerProcess) -> u64 {
    server.metric("power_connections_total{result=\"accepted\"}")
}

fn reload(server: &ServerProcess) {
    let series = "power_config_reloads_total{result=\"ok\"}";
    let before = server.metric(series);
    server.signal("HUP");
    server.eventually(|server| server.metric(series) == before + 1, "a reload");
}

#[test]
fn a_health_check_does_not_read_the_files_of_tls() {
    let tls = TestTls::new();
    let server = start(&tls.arguments(&TLS_ENDPOINT));
    // A renewal has gone wrong, and the server keeps its certificate.
    fs::write(&tls.server.certificate, "no certificate").unwrap();
    fs::remove_file(&tls.server.key).unwrap();
    let listen = format!("tls://{}", server.address("power"));
    let arguments = tls.arguments(&["--listen", &listen]);
    let Output { status, stderr, .. } = clean_command().args(&arguments).arg("--healthcheck").output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    let checked = clean_command().args(&arguments).arg("--check-config").output().unwrap();
    assert_eq!(checked.status.code(), Some(2));
    server.stop();
}

#[test]
fn a_full_server_with_tls_is_healthy() {
    let tls = TestTls::new();
    let server = start(&tls.arguments(&[&TLS_ENDPOINT[..], &["--set", "limits.max_connections=1"]].concat()));
    let mut client = TlsClient::connect(server.address("power"), &tls.client());
    client.send(b"a2\n").unwrap();
    client.expect("d4.0\n");
    let listen = format!("tls://{}", server.address("power"));
    let arguments = tls.arguments(&["--listen", &listen, "--healthcheck"]);
    let Output { status, stderr, .. } = clean_command().args(&arguments).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(server.metric("power_connections_total{result=\"rejected\"}"), 1);
    server.stop();
    let Output { status, .. } = clean_command().args(&arguments).output().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_connection_that_sends_nothing_does_not_delay_a_restart() {
    let tls = TestTls::new();
    let patient = ["--set", "timeouts.handshake=1h", "--set", "timeouts.drain=1h"];
    let trusted = ["--set", "proxy_protocol.trusted=127.0.0.1"];
    for trusted in [&[][..], &trusted] {
        let server = start(&tls.arguments(&[&TLS_ENDPOINT, &patient[..], trusted].concat()));
        let silent = connect(server.address("power"));
        server.eventually(|server| accepted(server) + server.metric("power_connections") > 0, "accepts the client");
        server.signal("TERM");
        let (code, log) = server.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped accepted=1 rejected=0 panicked=0 aborted=0"), "{log}");
        drop(silent);
    }
}

#[test]
fn a_reload_that_removes_the_certificate_needs_a_restart() {
    let tls = TestTls::new();
    let config = tls.authority.folder().join("power-server.toml");
    let section = format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\n",
        tls.server.certificate.display().to_string(),
        tls.server.key.display().to_string()
    );
    fs::write(&config, format!("listen = \"tls://127.0.0.1:0\"\n{section}")).unwrap();
    let mut command = clean_command();
    command.arg("--config").arg(&config).args(["--admin-listen", ANY]);
    let server = ServerProcess::start(&mut command, &["power", "admin"]);
    let power = server.address("power");

    // In the same files.
    tls.authority.issue_server();
    reload(&server);
    server.eventually(|server| server.log().contains("TLS files replaced; new connections use them"), "replaces them");
    assert!(!server.log().contains("no changes"), "{}", server.log());

    fs::write(&config, "listen = \"127.0.0.1:0\"\n").unwrap();
    reload(&server);
    server.eventually(|server| server.log().contains("config changes need a restart"), "warns");
    assert_eq!(exchange(power, &tls.client(), b"a2"), "d4.0");
    let log = server.stop();
    let warning = log.lines().find(|line| line.contains("config changes need a restart")).unwrap();
    assert!(warning.contains("tls.certificate = \\\"\\\"") && warning.contains("tls.key = "), "{warning}");
    assert!(!log.contains("new connections use it"), "{log}");
}

#[test]
fn settings_of_tls_without_an_endpoint_are_a_warning() {
    let tls = TestTls::new();
    let authority = tls.authority.certificate.display();
    let client_ca = [format!("tls.client_ca={authority}"), format!("admin.client_ca={authority}")];
    let client_ca = ["--set", &client_ca[0], "--set", &client_ca[1]];
    let warned = |arguments: &[&str]| {
        let server = ServerProcess::start(&mut command(arguments), &[]);
        server.eventually(|server| server.log().contains(" listening service=\"admin\""), "starts");
        let log = server.stop();
        let keys = log.lines().filter_map(|line| line.split_once("the setting has no effect")?.1.split('"').nth(1));
        keys.map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = ["--listen", ANY, "--admin-listen", ANY];
    assert_eq!(
        warned(&tls.arguments(&[&plain[..], &client_ca].concat())),
        ["tls.certificate", "tls.client_ca", "admin.client_ca"]
    );
    let admin = ["--listen", ANY, "--admin-listen", "tls://127.0.0.1:0"];
    assert_eq!(warned(&tls.arguments(&[&admin[..], &client_ca].concat())), ["tls.client_ca"]);
    let both = ["--listen", "tls://127.0.0.1:0", "--admin-listen", "tls://127.0.0.1:0"];
    assert_eq!(warned(&tls.arguments(&[&both[..], &client_ca].concat())), [""; 0]);
}

#[test]
fn the_log_has_the_client_of_a_failed_handshake_behind_a_proxy() {
    let tls = TestTls::new();
    let trusted = ["--set", "proxy_protocol.trusted=127.0.0.1", "--log-level", "debug"];
    let server = start(&tls.arguments(&[&TLS_ENDPOINT[..], &trusted].concat()));
    let mut client = connect(server.address("power"));
    client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 40001 5000\r\nno TLS\n").unwrap();
    let is_logged = |server: &ServerProcess| {
        server.log().contains("handshake failed peer=192.0.2.7:40001 endpoint=tls://127.0.0.1:")
    };
    server.eventually(is_logged, "logs the client");
    server.stop();
}

#[test]
fn a_failed_handshake_of_the_admin_listener_is_logged() {
    let tls = TestTls::new();
    let arguments = ["--listen", ANY, "--admin-listen", "tls://127.0.0.1:0", "--log-level", "debug"];
    let server = ServerProcess::start(&mut command(&tls.arguments(&arguments)), &["power", "admin"]);
    connect(server.address("admin")).write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    server.eventually(|server| server.log().contains("admin handshake failed peer=127.0.0.1:"), "logs it");
    server.stop();
}

#[test]
fn a_second_signal_leaves_no_socket_file_of_the_admin_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    let settings = ["--set", "framing.settle=30s", "--set", "timeouts.drain=1h", "--set", "timeouts.request=1h"];
    let arguments = [&["--listen", ANY, "--admin-listen", &admin], &settings[..]].concat();
    let server = ServerProcess::start(&mut command(&arguments), &["power"]);
    server.eventually(|server| server.log().contains(" listening service=\"admin\""), "starts");
    assert!(path.exists());
    // A complete request whose end is not visible: the drain awaits `framing.settle`.
    let mut client = connect(server.address("power"));
    client.write_all(b"a2").unwrap();
    server.signal("TERM");
    server.eventually(|server| server.log().contains("draining; a second signal aborts"), "drains");
    server.signal_until_abort("TERM");
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(143), "{log}");
    assert!(!path.exists());
}
