//! Reads the headers of haproxy, the reference implementation of the protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::ServerName;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::TEST_TIMEOUT;
use crate::testing::certificates::Authority;
use crate::testing::haproxy::{self, HaProxy};
use crate::testing::tls::{VERSIONS, client_config};

/// The request of a client, which must stay behind the header.
const REQUEST: &[u8] = b"a2\n";

const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// A haproxy process in front of a listener of the test.
struct Proxied {
    haproxy: HaProxy,
    backend: TcpListener,
}

impl Proxied {
    /// Starts it. `listen` and `server` are the options of its listener and of its connections to the test.
    async fn start(ip: IpAddr, listen: &str, server: &str) -> Self {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, listen, server) = (backend.local_addr().unwrap(), listen.to_owned(), server.to_owned());
        // It blocks to restore the actions of signals.
        let haproxy = spawn_blocking(move || HaProxy::start(ip, address, &listen, &server)).await.unwrap();
        Self { haproxy, backend }
    }

    /// Connects, sends a request, and returns the address of the client.
    async fn send_request(&self) -> SocketAddr {
        let mut client = TcpStream::connect(self.haproxy.address).await.unwrap();
        send(&mut client).await;
        client.local_addr().unwrap()
    }

    /// Accepts a connection of haproxy. Returns its header, the result of the reader, and the bytes behind the header.
    async fn accept(&self) -> (Vec<u8>, Option<SocketAddr>, Vec<u8>) {
        let accept = async {
            let (mut stream, _) = self.backend.accept().await.unwrap();
            // HAProxy sends the header at once, so the first segment has all of it.
            let mut segment = vec![0; 4096];
            let length = stream.peek(&mut segment).await.unwrap();
            let Ok(Parsed::Complete { length, .. }) = parse(&segment[..length]) else {
                panic!("{:?}", segment[..length].escape_ascii().to_string());
            };
            segment.truncate(length);
            let source = read_header(&mut stream).await.unwrap();
            let mut rest = Vec::new();
            // A request ends with a FIN, a health check with a reset.
            let end = stream.read_to_end(&mut rest).await;
            assert!(end.is_ok() || rest.is_empty(), "{end:?}");
            (segment, source, rest)
        };
        timeout(TEST_TIMEOUT, accept).await.unwrap()
    }
}

/// Sends the request and then the end of the data.
async fn send(client: &mut (impl AsyncWrite + Unpin)) {
    client.write_all(REQUEST).await.unwrap();
    client.shutdown().await.unwrap();
}

/// Returns the types of the TLVs of a v2 header for TCP over IPv4.
fn tlv_types(header: &[u8]) -> Vec<u8> {
    let (mut types, mut rest) = (Vec::new(), &header[28..]);
    while let [kind, high, low, others @ ..] = rest {
        types.push(*kind);
        rest = &others[usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    types
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn the_headers_of_haproxy_name_the_client() {
    for (server, is_v2, types) in [
        ("send-proxy", false, &[][..]),
        ("send-proxy-v2", true, &[]),
        ("send-proxy-v2 proxy-v2-options crc32c", true, &[CRC32C]),
        ("send-proxy-v2 proxy-v2-options crc32c,unique-id", true, &[CRC32C, UNIQUE_ID]),
    ] {
        let proxied = Proxied::start(Ipv4Addr::LOCALHOST.into(), "", server).await;
        let client = proxied.send_request().await;
        let (header, source, rest) = proxied.accept().await;
        assert_eq!((source, &rest[..]), (Some(client), REQUEST), "{server}");
        assert_eq!(header.starts_with(b"PROXY TCP4 "), !is_v2, "{server}");
        if is_v2 {
            assert_eq!(tlv_types(&header), types, "{server}");
        }
    }
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn the_headers_of_haproxy_with_the_name_of_a_tls_client_are_read() {
    let authority = Authority::new();
    let (server, client) = (authority.issue_server(), authority.issue_client());
    let both = haproxy::joined(&server);
    let connector = TlsConnector::from(client_config(&authority.certificate, Some(&client), &VERSIONS));

    let listen = format!("ssl crt {} ca-file {} verify required", both.display(), authority.certificate.display());
    for (options, types) in [
        ("send-proxy-v2-ssl-cn", &[SSL][..]),
        ("send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,ssl,cert-cn,ssl-cipher", &[CRC32C, UNIQUE_ID, SSL]),
    ] {
        let proxied = Proxied::start(Ipv4Addr::LOCALHOST.into(), &listen, options).await;
        let stream = TcpStream::connect(proxied.haproxy.address).await.unwrap();
        let address = stream.local_addr().unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        send(&mut stream).await;
        let (header, source, rest) = proxied.accept().await;
        assert_eq!((source, &rest[..]), (Some(address), REQUEST), "{options}");
        assert_eq!(tlv_types(&header), types, "{options}");
        assert!(header.windows(11).any(|bytes| bytes == b"test client"), "{options}: the name of the certificate");
    }
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn a_health_check_of_haproxy_keeps_the_real_peer() {
    for (server, header) in [
        ("send-proxy-v2 check check-send-proxy inter 50ms", &LOCAL[..]),
        ("send-proxy check check-send-proxy inter 50ms", b"PROXY TCP4 127.0.0.1 127.0.0.1 "),
    ] {
        let proxied = Proxied::start(Ipv4Addr::LOCALHOST.into(), "", server).await;
        let (sent, source, rest) = proxied.accept().await;
        assert!(sent.starts_with(header), "{}", sent.escape_ascii());
        assert_eq!(source.map(|source| source.ip()), sent.starts_with(b"P").then(|| Ipv4Addr::LOCALHOST.into()));
        assert_eq!(rest, b"");
    }
    let check = "send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 50ms";
    let proxied = Proxied::start(Ipv4Addr::LOCALHOST.into(), "", check).await;
    let (sent, source, _) = proxied.accept().await;
    assert_eq!(sent[..14], LOCAL[..14], "with a checksum, it is longer");
    assert_eq!((sent.len(), source), (LOCAL.len() + 7, None));
}

#[tokio::test]
#[ignore = "needs haproxy and IPv6"]
async fn the_headers_of_haproxy_name_clients_over_ipv6() {
    for server in ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"] {
        let proxied = Proxied::start(Ipv6Addr::LOCALHOST.into(), "", server).await;
        let client = proxied.send_request().await;
        let (_, source, rest) = proxied.accept().await;
        assert_eq!((source, &rest[..]), (Some(client), REQUEST), "{server}");

        // An IPv4 client at a listener for both families has an IPv4-mapped address, which counts as IPv4.
        let mut proxied = Proxied::start(Ipv6Addr::UNSPECIFIED.into(), "", server).await;
        proxied.haproxy.address.set_ip(Ipv4Addr::LOCALHOST.into());
        let client = proxied.send_request().await;
        let (_, source, rest) = proxied.accept().await;
        assert_eq!((source, &rest[..]), (Some(client), REQUEST), "{server}");
    }
}
