//! The PROXY protocol, rows 45 to 49 of FAULTS.md. The checks are those of `proto::testing::proxy`, which hold for both
//! servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use proto::testing::proxy::{ProxiedService, TlsWithHaProxy, header_of};
use proto::wire::proxy_header::LOCAL;
use support::program::{BINARY, clean_command};

const POWER: ProxiedService = ProxiedService {
    binary: BINARY,
    name: "power",
    argument: "--listen",
    prefix: "power",
    request: "a2\n",
    reply_bytes: 5,
    is_reply: |reply| reply == "d4.0\n",
    rejection: "eBUSY ",
};

#[test]
fn row_45_the_address_in_a_header_is_the_address_of_the_client() {
    POWER.check_headers_name_the_client();
}

#[test]
fn row_45_the_rates_count_the_address_in_a_header() {
    POWER.check_rates_count_the_client();
}

#[test]
fn row_45_a_tls_handshake_follows_the_header() {
    POWER.check_a_header_before_tls();
}

#[test]
fn row_45_unix_sockets_can_be_trusted() {
    POWER.check_a_trusted_unix_socket();
}

#[test]
fn row_45_the_health_check_sends_a_header_where_its_own_address_is_trusted() {
    let server = POWER.start(&[]);
    let address = server.address("power").to_string();
    for (trusted, code) in [("127.0.0.1", 0), ("", 1)] {
        let trusted = format!("proxy_protocol.trusted={trusted}");
        let checked =
            clean_command().args(["--listen", &address, "--set", &trusted, "--healthcheck"]).output().unwrap();
        assert_eq!(checked.status.code(), Some(code), "{trusted}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    assert_eq!(server.metric("power_connections_closed_total{reason=\"bad_proxy_header\"}"), 1);
    server.stop();
}

#[test]
fn row_46_a_connection_without_a_valid_header_is_closed_without_a_reply() {
    POWER.check_bad_headers();
}

#[test]
fn row_47_a_header_from_another_address_is_a_request() {
    let server = POWER.start(&[]);
    let baseline = server.baseline();
    assert!(POWER.forge(&server, &header_of("192.0.2.1:7")).starts_with("eBADOP 'P' "));
    assert!(POWER.forge(&server, &LOCAL).lines().all(|line| line.starts_with('e')));
    server.returns_to(baseline, "power");
}

#[test]
fn row_48_a_full_server_rejects_before_the_header() {
    POWER.check_a_full_server_rejects_before_the_header();
}

#[test]
fn row_48_a_thousand_connections_that_send_no_header_delay_no_other() {
    POWER.check_silent_proxies();
}

#[test]
fn row_49_a_reload_changes_the_headers_of_new_connections_only() {
    POWER.check_a_reload();
}

#[test]
fn row_49_a_header_in_progress_is_served_within_the_drain() {
    POWER.check_a_drain();
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_names_the_client_in_headers_of_both_versions() {
    for options in ["send-proxy", "send-proxy-v2"] {
        POWER.check_haproxy(options);
    }
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_ends_tls_and_names_the_client() {
    POWER.check_tls_with_haproxy(TlsWithHaProxy::Ends);
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_sends_the_header_in_front_of_tls() {
    POWER.check_tls_with_haproxy(TlsWithHaProxy::PassesOn);
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_makes_a_tls_handshake_behind_its_header() {
    POWER.check_tls_with_haproxy(TlsWithHaProxy::Begins);
}
