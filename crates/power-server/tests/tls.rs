//! TLS of the power service and of the admin listener: replies, ends of a connection, the configuration and its check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use proto::testing::blocking::{connect, read_to_end};
use proto::testing::certificates::Authority;
use proto::testing::process::{Exit, run};
use proto::testing::python;
use proto::testing::tls::{ConnectionEnd, TestTls, TlsClient, VERSIONS, client_config, exchange};
use proto::testing::transcript::transcripts_over_tls;
use support::program::{check_reply_to_openssl, clean_command, openssl, start};

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
        assert_eq!(client.read_rest(), ("d4.0\nd8.0\n".to_owned(), ConnectionEnd::CloseNotify));
    }
    server.eventually(|server| server.closed("power", "peer_closed") == 2, "closes");
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
            let Exit { code, stdout, stderr } = run(clean_command().args(settings).args(check), "");
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.contains(error) && stdout.is_empty(), "{error}: {stderr}");
        }
    }
}

#[test]
fn the_health_check_asks_tls_endpoints_and_readyz_if_clients_need_a_certificate() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let admin_ca = format!("admin.client_ca={}", tls.authority.certificate.display());
    let (client_ca, admin_ca) = (["--set", &client_ca], ["--set", &admin_ca]);
    let (plain_admin, tls_admin) = ("127.0.0.1:0", "tls://127.0.0.1:0");
    let both = [client_ca, admin_ca].concat();
    for (settings, admin, checks) in [
        // Of each check: the settings, whether it has an admin listener, and the exit code.
        (&[][..], plain_admin, [(&[][..], true, 0), (&[], false, 0), (&admin_ca, true, 0)]),
        (&client_ca, plain_admin, [(&client_ca, true, 0), (&client_ca, false, 1), (&both, true, 0)]),
        (&client_ca, tls_admin, [(&client_ca, true, 0), (&client_ca, false, 1), (&both, true, 1)]),
    ] {
        let arguments = [&TLS_ENDPOINT[..], &["--admin-listen", admin], settings].concat();
        let server = start(&tls.arguments(&arguments));
        let [power, admin] = ["power", "admin"].map(|service| server.endpoints(service).remove(0));
        assert!(power.starts_with("tls://"), "{power}");
        for (settings, has_admin, expected) in checks {
            let admin = if has_admin { &admin } else { "" };
            let arguments = [&["--listen", &power, "--admin-listen", admin, "--healthcheck"], settings].concat();
            let Exit { code, stderr, .. } = run(clean_command().args(tls.arguments(&arguments)), "");
            assert_eq!(code, Some(expected), "{settings:?} {admin}: {stderr}");
            assert_eq!(stderr.contains("cannot ask"), expected == 1, "{stderr}");
        }
        server.stop();
    }
}

#[test]
fn a_reload_replaces_the_certificate_of_the_admin_listener_and_the_authority_of_its_clients() {
    let tls = TestTls::new();
    let client_ca = tls.authority.folder().join("client-ca.pem");
    fs::copy(&tls.authority.certificate, &client_ca).unwrap();
    let setting = format!("admin.client_ca={}", client_ca.display());
    let server = start(&tls.arguments(&["--admin-listen", "tls://127.0.0.1:0", "--set", &setting]));
    let (admin, stranger) = (server.address("admin"), Authority::named("stranger"));
    let [right, other] = [&tls.authority, &stranger].map(Authority::issue_client);
    // Returns the certificate of the server, if it accepts that of the client.
    let ask = |identity| {
        let config = client_config(&tls.authority.certificate, Some(identity), &VERSIONS);
        let mut client = TlsClient::try_connect(admin, &config)?;
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let (response, _) = client.try_read_rest()?;
        assert!(response.ends_with("\r\n\r\nok\n"), "{response}");
        std::io::Result::Ok(client.server_certificate().to_vec())
    };
    let first = ask(&right).unwrap();
    assert!(ask(&other).unwrap_err().to_string().contains("UnknownCA"));

    let files = tls.authority.issue_other_server();
    fs::copy(files.certificate, &tls.server.certificate).unwrap();
    fs::copy(files.key, &tls.server.key).unwrap();
    fs::copy(&stranger.certificate, &client_ca).unwrap();
    assert_eq!(ask(&right).unwrap(), first, "not before the reload");
    server.signal("HUP");
    server.eventually(|server| server.log().contains("TLS files replaced"), "reloads");
    assert_ne!(ask(&other).unwrap(), first);
    assert!(ask(&right).unwrap_err().to_string().contains("UnknownCA"));
    server.stop();
}

#[test]
#[ignore = "needs openssl: run with -- --ignored openssl"]
fn openssl_gets_a_reply_and_tls_1_1_an_alert() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let server = start(&tls.arguments(&[&TLS_ENDPOINT[..], &["--set", &client_ca]].concat()));
    let address = server.address("power").to_string();
    let client = tls.authority.issue_client();
    for version in ["-tls1_2", "-tls1_3"] {
        check_reply_to_openssl(openssl(&tls, &client).args(["-connect", &address, version, "-no_ign_eof"]));
    }
    server.eventually(|server| server.closed("power", "peer_closed") == 2, "gets close_notify");
    // Its own policy would allow TLS 1.1.
    let mut old = openssl(&tls, &client);
    let Exit { code, stdout, stderr } =
        run(old.args(["-connect", &address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]), "a2");
    assert!(code == Some(1) && stdout.is_empty() && stderr.contains("SSL alert number"), "{code:?}: {stdout} {stderr}");
    server.eventually(|server| server.metric("power_tls_handshakes_total{result=\"protocol\"}") == 1, "counts it");
    server.stop();
}

#[test]
#[ignore = "needs curl and openssl: run with -- --ignored openssl"]
fn curl_and_openssl_ask_the_admin_listener_over_tls() {
    let tls = TestTls::new();
    let admin_ca = format!("admin.client_ca={}", tls.authority.certificate.display());
    let client = tls.authority.issue_client();
    let identity = ["--cert", client.certificate.to_str().unwrap(), "--key", client.key.to_str().unwrap()];
    for (settings, needs_certificate) in [(&[][..], false), (&["--set", &admin_ca], true)] {
        let server = start(&tls.arguments(&[&["--admin-listen", "tls://127.0.0.1:0"], settings].concat()));
        let admin = server.address("admin");
        for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            let curl = |path: &str, others: &[&str]| {
                let mut command = Command::new("curl");
                command.args(version).args(["-sS", &format!("https://{admin}{path}")]).args(others);
                run(command.arg("--cacert").arg(&tls.authority.certificate), "")
            };
            let checked = curl("/healthz", &identity);
            assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), "ok\n"), "{}", checked.stderr);
            let metrics = curl("/metrics", &identity);
            assert!(metrics.code == Some(0) && metrics.stdout.contains("power_tls_handshakes_total"), "{metrics:?}");
            assert_eq!(curl("/healthz", &[]).code == Some(0), !needs_certificate);
        }
        let request = "GET /healthz HTTP/1.0\r\n\r\n";
        // It exits with 1 at a FIN without close_notify.
        let mut openssl = openssl(&tls, &client);
        let Exit { code, stdout, stderr } = run(openssl.args(["-connect", &admin.to_string()]), request);
        assert!(code == Some(0) && stdout.ends_with("\r\n\r\nok\n"), "{code:?}: {stdout} {stderr}");
        server.stop();
    }
}

const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys

port, authority, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)

def connect(version):
    context.minimum_version = context.maximum_version = version
    connection = socket.create_connection(("127.0.0.1", int(port)), 60)
    return context.wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=False)

def receive(connection):
    received = b""
    while part := connection.recv(4096):
        received += part
    return received

def is_rejected(version):
    try:
        with connect(version) as connection:
            connection.recv(1)
    except ssl.SSLError as error:
        return "CERTIFICATE_REQUIRED" in error.reason

for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    assert is_rejected(version)
context.load_cert_chain(certificate, key)
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    with connect(version) as connection:
        connection.sendall(b"a2\nb2")
        # A FIN without close_notify. The method of the TLS connection would also stop to decrypt.
        socket.socket.shutdown(connection, socket.SHUT_WR)
        assert receive(connection) == b"d4.0\n"
    with connect(version) as connection:
        connection.sendall(b"a2\n")
        assert connection.recv(5) == b"d4.0\n"
        # Sends close_notify, and waits for that of the server.
        connection.unwrap()
print("all right")
"#;

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn python_presents_a_certificate_and_truncates_a_connection() {
    let tls = TestTls::new();
    let client_ca = format!("tls.client_ca={}", tls.authority.certificate.display());
    let server = start(&tls.arguments(&[&TLS_ENDPOINT[..], &["--set", &client_ca]].concat()));
    let client = tls.authority.issue_client();
    let files = [&tls.authority.certificate, &client.certificate, &client.key].map(|file| file.to_str().unwrap());
    let port = server.address("power").port().to_string();
    python::run(&["-c", PYTHON_CLIENT], &[&[port.as_str()][..], &files].concat());
    server.eventually(|server| server.closed("power", "tls_truncated") == 2, "two truncations");
    server.eventually(|server| server.closed("power", "peer_closed") == 2, "two ends with close_notify");
    server.stop();
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
    assert!(response.starts_with("HTTP/1.0 200") && end == ConnectionEnd::CloseNotify, "{response} {end:?}");
    let identity = tls.authority.issue_client();
    let config = client_config(&tls.authority.certificate, Some(&identity), &VERSIONS);
    assert_eq!(exchange(server.address("power"), &config, b"a2"), "d4.0");
    server.stop();
}

#[test]
fn a_tls_client_of_a_plain_listener_gets_an_error_reply() {
    let tls = TestTls::new();
    let server = start(&[]);
    let mut socket = connect(server.address("power"));
    let hello = TlsClient::on(socket.try_clone().unwrap(), &tls.client()).records();
    socket.write_all(&hello).unwrap();
    assert!(read_to_end(&mut socket).starts_with(r"eBADOP '\x16"));
    let error = TlsClient::try_connect(server.address("power"), &tls.client()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    server.stop();
}
