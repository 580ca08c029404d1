//! TLS of the power service and of the admin listener: replies, ends of a connection, the configuration and its check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proto::testing::process::ChildProcess;
use proto::testing::tls::{End, TestTls, TlsClient, VERSIONS, client_config, exchange};
use proto::testing::transcript::transcripts_over_tls;
use support::program::{BINARY, clean_command, start};

const TLS_ENDPOINT: [&str; 2] = ["--listen", "tls://127.0.0.1:0"];

#[test]
fn the_server_replays_every_transcript_of_the_page_over_tls() {
    let tls = TestTls::new();
    for transcript in transcripts_over_tls("power") {
        let server = start(&tls.arguments(&[&TLS_ENDPOINT[..], &transcript.arguments()].concat()));
        for version in VERSIONS {
            transcript.replay_over_tls(server.address("power"), &tls.client_of(version));
        }
        assert_eq!(server.metric("power_tls_handshakes_total{result=\"ok\"}"), 2);
        server.stop();
    }
}

#[test]
fn close_notify_without_a_fin_is_the_end_of_the_requests() {
    let tls = TestTls::new();
    let server = start(&tls.arguments(&TLS_ENDPOINT));
    for version in VERSIONS {
        let mut client = TlsClient::connect(server.address("power"), &tls.client_of(version));
        client.send(b"a2\nb2").unwrap();
        client.send_close_notify().unwrap();
        assert_eq!(client.read_rest(), ("d4.0\nd8.0\n".to_owned(), End::CloseNotify));
    }
    server.eventually(|server| server.metric("power_connections_closed_total{reason=\"peer_closed\"}") == 2, "closes");
    server.stop();
}

#[test]
fn one_server_has_plain_and_tls_endpoints() {
    let tls = TestTls::new();
    let server = start(&tls.arguments(&["--listen", "tls://127.0.0.1:0,127.0.0.1:0"]));
    assert_eq!(exchange(server.address("power"), &tls.client(), b"a2"), "d4.0");
    assert_eq!(proto::testing::blocking::exchange(server.second_address("power"), b"a3"), "d9.0");
    server.stop();
}

#[test]
fn files_of_tls_that_cannot_be_used_exit_with_2_also_without_a_tls_endpoint() {
    let tls = TestTls::new();
    let (server, client) = (&tls.server, tls.authority.issue_client());
    let empty = tls.authority.folder().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = tls.authority.folder().join("missing.pem");
    let set = |key: &str, file: &Path| format!("{key}={}", file.display());
    let pair = |certificate, key| vec![set("tls.certificate", certificate), set("tls.key", key)];
    let with = |setting: String| [pair(&server.certificate, &server.key), vec![setting]].concat();
    for (settings, error) in [
        (pair(&missing, &server.key), "tls.certificate: cannot read "),
        (pair(&empty, &server.key), "it contains no certificate in PEM"),
        (pair(&server.certificate, &missing), "tls.key: cannot read "),
        (pair(&server.certificate, &empty), "it contains no unencrypted private key in PEM"),
        (pair(&server.certificate, &client.key), "it is not the key of the certificate"),
        (with(set("tls.client_ca", &missing)), "tls.client_ca: cannot read "),
        (with(set("tls.client_ca", &empty)), "it contains no certificate in PEM"),
        (with(set("admin.client_ca", &empty)), "it contains no certificate in PEM"),
        (vec!["listen=tls://127.0.0.1:0".to_owned()], "tls.certificate"),
    ] {
        for check in [&["--check-config"][..], &[]] {
            let settings = settings.iter().flat_map(|setting| ["--set", setting]);
            let output = clean_command().args(settings).args(check).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(error) && output.stdout.is_empty(), "{error}: {stderr}");
        }
    }
}

#[test]
fn the_health_check_asks_tls_endpoints_and_readyz_if_clients_need_a_certificate() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let admin_ca = format!("admin.client_ca={}", tls.authority.certificate.display());
    let check = |listen: &str, admin: &str, settings: &[&str]| -> Output {
        let arguments = [&["--listen", listen, "--admin-listen", admin, "--healthcheck"], settings].concat();
        clean_command().args(tls.arguments(&arguments)).output().unwrap()
    };
    for (settings, admin_scheme) in [(&[][..], ""), (&["--set", &client_ca], ""), (&["--set", &client_ca], "tls://")] {
        let admin = format!("{admin_scheme}127.0.0.1:0");
        let listen = [&TLS_ENDPOINT[..], &["--admin-listen", &admin], settings].concat();
        let mut server = ChildProcess::start(
            BINARY.clean_command().args(tls.arguments(&listen)).stdout(std::process::Stdio::piped()),
        );
        let address = |service: &str| {
            let text = format!("listening service=\"{service}\" address=");
            let find = |log: &str| Some(log.split_once(&text)?.1.split_once(['\n', ' '])?.0.to_owned());
            server.stdout.wait_for(service, find)
        };
        let (power, admin) = (address("power"), address("admin"));
        assert!(power.starts_with("tls://"), "{power}");
        let checked = check(&power, &admin, settings);
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
        // Without an admin listener that it can ask.
        for (admin, settings) in [("", settings), (admin.as_str(), &[settings, &["--set", &admin_ca]].concat())] {
            let checked = check(&power, admin, settings);
            let stderr = String::from_utf8_lossy(&checked.stderr);
            let can_ask = settings.first().is_none_or(|_| !settings.contains(&client_ca.as_str()))
                || (admin.starts_with("127") && !admin.is_empty());
            assert_eq!(checked.status.code(), Some(i32::from(!can_ask)), "{admin}: {stderr}");
            assert!(can_ask || stderr.contains("cannot ask"), "{stderr}");
        }
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn the_health_check_asks_a_unix_socket() {
    let folder = TestTls::new();
    let listen = format!("unix:{}", folder.authority.folder().join("power").display());
    let mut server =
        ChildProcess::start(BINARY.clean_command().args(["--listen", &listen]).stdout(std::process::Stdio::piped()));
    server.stdout.wait_for("listening", |log| log.contains("listening service=\"power\"").then_some(()));
    let check = || clean_command().args(["--listen", &listen, "--healthcheck"]).output().unwrap().status.code();
    assert_eq!(check(), Some(0));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert_eq!(check(), Some(1));
}

/// Runs a program to its end, with this standard input, and returns its exit code and output.
fn run(program: &str, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::piped());
    let mut child = ChildProcess::start(command.stdout(std::process::Stdio::piped()));
    child.write(input);
    let stdout = child.stdout.wait_for_end();
    (child.wait(), stdout)
}

#[test]
#[ignore = "needs curl and openssl, like the tests of Python: run with -- --ignored python"]
fn curl_and_openssl_ask_the_admin_listener_over_tls_as_python_does() {
    let tls = TestTls::new();
    let admin_ca = format!("admin.client_ca={}", tls.authority.certificate.display());
    let ca = tls.authority.certificate.to_str().unwrap();
    let client = tls.authority.issue_client();
    let identity = ["--cert", client.certificate.to_str().unwrap(), "--key", client.key.to_str().unwrap()];
    for (settings, needs_certificate) in [(&[][..], false), (&["--set", &admin_ca], true)] {
        let admin = ["--admin-listen", "tls://127.0.0.1:0"];
        let mut command = BINARY.command(&tls.arguments(&[&admin[..], settings].concat()));
        let mut server = ChildProcess::start(command.stdout(std::process::Stdio::piped()));
        let text = "listening service=\"admin\" address=tls://";
        let find = |log: &str| Some(log.split_once(text)?.1.split_once(['\n', ' '])?.0.to_owned());
        let address = server.stdout.wait_for("admin", find);
        let url = format!("https://{address}");
        for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            let curl = |path: &str, others: &[&str]| {
                let url = format!("{url}{path}");
                run("curl", &[&version[..], &["-sS", "--cacert", ca, &url], others].concat(), "")
            };
            assert_eq!(curl("/healthz", &identity), (Some(0), "ok\n".to_owned()));
            let (code, metrics) = curl("/metrics", &identity);
            assert!(code == Some(0) && metrics.contains("power_tls_handshakes_total"), "{metrics}");
            assert_eq!(curl("/healthz", &[]).0 == Some(0), !needs_certificate);
        }
        let request = "GET /healthz HTTP/1.0\r\n\r\n";
        let s_client = ["s_client", "-connect", &address, "-CAfile", ca, "-verify_return_error", "-quiet", "-ign_eof"];
        let identity = ["-cert", identity[1], "-key", identity[3]];
        // It exits with 1 at a FIN without close_notify.
        let (code, response) = run("openssl", &[&s_client[..], &identity].concat(), request);
        assert!(code == Some(0) && response.ends_with("\r\n\r\nok\n"), "{code:?}: {response}");
        // TLS 1.1 fails, also with a client that would allow it.
        let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
        let (code, _) = run("openssl", &[&s_client[..], &identity, &old].concat(), request);
        assert_eq!(code, Some(1));
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn services_and_the_admin_listener_have_authorities_of_their_own() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let arguments = [&TLS_ENDPOINT[..], &["--admin-listen", "tls://127.0.0.1:0", "--set", &client_ca]].concat();
    let server = start(&tls.arguments(&arguments));
    let mut admin = TlsClient::connect(server.address("admin"), &tls.client());
    admin.send(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let (response, end) = admin.read_rest();
    assert!(response.starts_with("HTTP/1.0 200") && end == End::CloseNotify, "{response} {end:?}");
    let identity = tls.authority.issue_client();
    let config = client_config(&tls.authority.certificate, Some(&identity), &VERSIONS);
    assert_eq!(exchange(server.address("power"), &config, b"a2"), "d4.0");
    server.stop();
}
