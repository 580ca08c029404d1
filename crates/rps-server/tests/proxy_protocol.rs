//! The PROXY protocol, rows 45 to 49 of `crates/power-server/tests/FAULTS.md`. The checks are those of
//! `proto::testing::proxy`, which hold for both servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};

use proto::testing::blocking::connect;
use proto::testing::proxy::{ProxiedService, TlsWithHaProxy, header_of};
use proto::wire::link::Hello;
use proto::wire::proxy_header::LOCAL;
use ring::digest::{SHA256, digest};
use support::program::{BINARY, clean_command, start};

const SOLO: ProxiedService = ProxiedService {
    binary: BINARY,
    name: "solo",
    argument: "--solo-listen",
    prefix: "rps",
    request: "1",
    reply_bytes: 1,
    is_reply: |reply| matches!(reply, "x" | "y" | "z"),
    rejection: "f",
};

#[test]
fn row_45_the_address_in_a_header_is_the_address_of_the_client() {
    SOLO.check_headers_name_the_client();
}

#[test]
fn row_45_the_rates_count_the_address_in_a_header() {
    SOLO.check_rates_count_the_client();
}

#[test]
fn row_45_a_tls_handshake_follows_the_header() {
    SOLO.check_a_header_before_tls();
}

#[test]
fn row_45_unix_sockets_can_be_trusted() {
    SOLO.check_a_trusted_unix_socket();
}

#[test]
fn row_45_the_health_check_sends_a_header_where_its_own_address_is_trusted() {
    let server = SOLO.start(&[]);
    let address = server.address("solo").to_string();
    for (trusted, code) in [("127.0.0.1", 0), ("", 1)] {
        let trusted = format!("proxy_protocol.trusted={trusted}");
        let checked = clean_command()
            .args(["--solo-listen", &address, "--duel-listen", "", "--set", &trusted, "--healthcheck"])
            .output()
            .unwrap();
        assert_eq!(checked.status.code(), Some(code), "{trusted}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    assert_eq!(server.metric("rps_connections_closed_total{reason=\"bad_proxy_header\"}"), 1);
    server.stop();
}

#[test]
fn row_46_a_connection_without_a_valid_header_is_closed_without_a_reply() {
    SOLO.check_bad_headers();
}

#[test]
fn row_47_a_header_from_another_address_is_a_request() {
    let server = SOLO.start(&[]);
    let baseline = server.baseline();
    // 1 to 3 are moves. The connection is closed at the sixteenth other byte.
    let replies = SOLO.forge(&server, &header_of("192.0.2.1:7"));
    assert!(replies.starts_with("eeee") && replies.matches('e').count() == 16, "{replies}");
    assert_eq!(SOLO.forge(&server, &LOCAL), "e".repeat(9), "its bytes without CR and LF");
    server.returns_to(baseline, "rps");
}

#[test]
fn row_48_a_full_server_rejects_before_the_header() {
    SOLO.check_a_full_server_rejects_before_the_header();
}

#[test]
fn row_48_a_thousand_connections_that_send_no_header_delay_no_other() {
    SOLO.check_silent_proxies();
}

#[test]
fn row_49_a_reload_changes_the_headers_of_new_connections_only() {
    SOLO.check_a_reload();
}

#[test]
fn row_49_a_header_in_progress_is_served_within_the_drain() {
    SOLO.check_a_drain();
}

#[test]
fn a_link_of_another_replica_begins_without_a_header() {
    let settings =
        ["proxy_protocol.trusted=127.0.0.1", "duel.cluster.listen=127.0.0.1:0", "duel.cluster.engine=redis://[::1]:1"];
    let server = start(&settings.map(|setting| ["--set", setting]).concat());
    let mut link = connect(server.endpoints("cluster")[0].parse().unwrap());
    let hello = Hello { lobby: digest(&SHA256, b"rps").as_ref().try_into().unwrap(), challenge: [0; 32] };
    link.write_all(&hello.encode()).unwrap();
    link.read_exact(&mut [0; 64]).unwrap();
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_names_the_client_in_headers_of_both_versions() {
    for options in ["send-proxy", "send-proxy-v2"] {
        SOLO.check_haproxy(options);
    }
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_ends_tls_and_names_the_client() {
    SOLO.check_tls_with_haproxy(TlsWithHaProxy::Ends);
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_sends_the_header_in_front_of_tls() {
    SOLO.check_tls_with_haproxy(TlsWithHaProxy::PassesOn);
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_makes_a_tls_handshake_behind_its_header() {
    SOLO.check_tls_with_haproxy(TlsWithHaProxy::Begins);
}
