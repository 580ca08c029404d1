//! Reads the headers of haproxy, the reference implementation of the protocol.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::TEST_TIMEOUT;
use crate::testing::certificates::Authority;
use crate::testing::process::ChildProcess;

/// The request of a client, which must stay behind the header.
const REQUEST: &[u8] = b"a2\n";

const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// A haproxy process in front of a listener of the test.
struct HaProxy {
    _process: ChildProcess,
    _folder: TempDir,
    /// The address at which haproxy listens.
    address: SocketAddr,
    backend: TcpListener,
}

impl HaProxy {
    /// Starts it. `listen` and `server` are the options of its listener and of its connections to the test.
    async fn start(ip: IpAddr, listen: &str, server: &str) -> Self {
        // HAProxy inherits its listener as standard input, so the port is free, and clients can connect at once.
        let listener = StdListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("haproxy.cfg");
        let backend_address = backend.local_addr().unwrap();
        let text = format!(
            "defaults\n mode tcp\n timeout connect 1m\n timeout client 1m\n timeout server 1m\n\
             frontend front\n bind fd@0 {listen}\n unique-id-format %[uuid()]\n default_backend back\n\
             backend back\n server test {backend_address} {server}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(config).stdin(Stdio::from(OwnedFd::from(listener)));
        // It blocks to restore the actions of signals.
        let process = spawn_blocking(move || ChildProcess::start(&mut command)).await.unwrap();
        Self { _process: process, _folder: folder, address, backend }
    }

    /// Connects, sends a request, and returns the address of the client.
    async fn send_request(&self) -> SocketAddr {
        let mut client = TcpStream::connect(self.address).await.unwrap();
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
        let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), "", server).await;
        let client = haproxy.send_request().await;
        let (header, source, rest) = haproxy.accept().await;
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
    let both = authority.folder().join("both.pem");
    let parts = [server.certificate, server.key].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&both, parts.concat()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.certificate).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(client.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(client.key).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    let connector = TlsConnector::from(Arc::new(tls));

    let listen = format!("ssl crt {} ca-file {} verify required", both.display(), authority.certificate.display());
    for (options, types) in [
        ("send-proxy-v2-ssl-cn", &[SSL][..]),
        ("send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,ssl,cert-cn,ssl-cipher", &[CRC32C, UNIQUE_ID, SSL]),
    ] {
        let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), &listen, options).await;
        let stream = TcpStream::connect(haproxy.address).await.unwrap();
        let address = stream.local_addr().unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        send(&mut stream).await;
        let (header, source, rest) = haproxy.accept().await;
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
        let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), "", server).await;
        let (sent, source, rest) = haproxy.accept().await;
        assert!(sent.starts_with(header), "{}", sent.escape_ascii());
        assert_eq!(source.map(|source| source.ip()), sent.starts_with(b"P").then(|| Ipv4Addr::LOCALHOST.into()));
        assert_eq!(rest, b"");
    }
    let check = "send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 50ms";
    let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), "", check).await;
    let (sent, source, _) = haproxy.accept().await;
    assert_eq!(sent[..14], LOCAL[..14], "with a checksum, it is longer");
    assert_eq!((sent.len(), source), (LOCAL.len() + 7, None));
}

#[tokio::test]
#[ignore = "needs haproxy and IPv6"]
async fn the_headers_of_haproxy_name_clients_over_ipv6() {
    for server in ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"] {
        let haproxy = HaProxy::start(Ipv6Addr::LOCALHOST.into(), "", server).await;
        let client = haproxy.send_request().await;
        let (_, source, rest) = haproxy.accept().await;
        assert_eq!((source, &rest[..]), (Some(client), REQUEST), "{server}");

        // An IPv4 client at a listener for both families has an IPv4-mapped address, which counts as IPv4.
        let mut haproxy = HaProxy::start(Ipv6Addr::UNSPECIFIED.into(), "", server).await;
        haproxy.address.set_ip(Ipv4Addr::LOCALHOST.into());
        let client = haproxy.send_request().await;
        let (_, source, rest) = haproxy.accept().await;
        assert_eq!((source, &rest[..]), (Some(client), REQUEST), "{server}");
    }
}
