//! Checks of the PROXY protocol that hold for the services of both servers, against the program.
//!
//! It uses `program` and `blocking`. The server trusts 127.0.0.1, so a client of a check is a proxy; one that connects
//! from 127.0.0.2 is not trusted. The admin listener of each server is asked from 127.0.0.1, without a header.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tempfile::tempdir;

use super::blocking::{connect, connect_from, connect_unix};
use super::certificates::{Authority, CertificateFiles};
use super::haproxy::{self, HaProxy};
use super::process::raise_open_files;
use super::program::{Binary, ServerProcess};
use super::properties::proxy_header::{HeaderV2, line};
use super::tls::{ConnectionEnd, TlsClient, VERSIONS, client_config};
use crate::wire::proxy_header::LOCAL;

/// A service of a server.
#[derive(Clone, Copy, Debug)]
pub struct ProxiedService {
    /// The server.
    pub binary: Binary,
    /// The name of the service in the log.
    pub name: &'static str,
    /// The argument that sets its endpoints.
    pub argument: &'static str,
    /// The prefix of its metrics.
    pub prefix: &'static str,
    /// A request that leaves the connection open.
    pub request: &'static str,
    /// The length of each reply.
    pub reply_bytes: usize,
    /// Whether a text is a reply.
    pub is_reply: fn(&str) -> bool,
    /// The start of a rejection. No reply starts with its first byte.
    pub rejection: &'static str,
}

const UNTRUSTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How the bytes of a header and a request arrive.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Together,
    ByteByByte,
    HeaderFirst,
}

/// The part of haproxy in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWithHaProxy {
    /// The client makes its handshake with haproxy, and the server gets plain text.
    Ends,
    /// The client makes its handshake with the server, behind the header.
    PassesOn,
    /// The client sends plain text, and haproxy makes a handshake with the server.
    Begins,
}

/// Returns a v1 header that names this client.
#[must_use]
pub fn header_of(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let proxy = if client.is_ipv4() { "127.0.0.1:443" } else { "[::1]:443" };
    line(client, proxy.parse().unwrap()).into_bytes()
}

/// Returns valid headers, each with its client. `None`: the peer of the socket counts.
fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let v6: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
    let over_ipv6 = HeaderV2 { family: 0x21, source: v6, destination: v6, tlvs: vec![(5, vec![7; 100])] };
    let longest = HeaderV2::tcp([192, 0, 2, 3], 7, vec![(4, vec![0; 4065])]);
    let mut udp = HeaderV2::tcp([192, 0, 2, 4], 7, Vec::new());
    udp.family = 0x12;
    let mut unix = LOCAL.to_vec();
    unix[12..16].copy_from_slice(&[0x21, 0x31, 0, 216]);
    unix.extend([0; 216]);
    vec![
        (header_of("192.0.2.1:7"), Some("192.0.2.1:7")),
        (header_of("[2001:db8:1::1]:7"), Some("[2001:db8:1::1]:7")),
        (header_of("[::ffff:192.0.2.9]:7"), Some("192.0.2.9:7")),
        (HeaderV2::tcp([192, 0, 2, 2], 7, Vec::new()).to_bytes(true), Some("192.0.2.2:7")),
        (longest.to_bytes(false), Some("192.0.2.3:7")),
        (over_ipv6.to_bytes(true), Some("[2001:db8::1]:7")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (LOCAL.to_vec(), None),
        (udp.to_bytes(false), None),
        (unix, None),
    ]
}

/// Returns bytes from which no header can come. `true`: the client then half-closes.
fn bad_headers() -> Vec<(&'static str, Vec<u8>, bool)> {
    let request = b"a2\n";
    let mut oversized = LOCAL.to_vec();
    oversized[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    oversized.extend([0; 4081]);
    let mut checksum = HeaderV2::tcp([192, 0, 2, 1], 7, Vec::new()).to_bytes(true);
    *checksum.last_mut().unwrap() ^= 1;
    let mut version = LOCAL.to_vec();
    version[12] = 0x11;
    let tcp4 = header_of("192.0.2.1:7");
    vec![
        ("a request", request.to_vec(), false),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), false),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), false),
        ("16 bytes", vec![0xff; 16], false),
        ("v1 with another protocol", b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(), false),
        ("v1 with a wrong address", b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 1\r\n".to_vec(), false),
        ("v1 that is too long", format!("PROXY UNKNOWN {}", "x".repeat(200)).into_bytes(), false),
        ("v2 with another version", version, false),
        ("v2 of more than 4 KiB", oversized, false),
        ("v2 with a wrong checksum", [&checksum[..], request].concat(), false),
        ("FIN", Vec::new(), true),
        ("FIN within v1", tcp4[..tcp4.len() - 1].to_vec(), true),
        ("FIN within v2", LOCAL[..15].to_vec(), true),
    ]
}

impl ProxiedService {
    /// Starts the server. It trusts 127.0.0.1, logs at `debug`, and has these `settings`.
    #[must_use]
    pub fn start(&self, settings: &[&str]) -> ServerProcess {
        let settings = ["proxy_protocol.trusted=127.0.0.1"].iter().chain(settings).flat_map(|&set| ["--set", set]);
        self.binary.start(&["--log-level", "debug"].into_iter().chain(settings).collect::<Vec<_>>())
    }

    /// Sends the bytes and a request. Returns whether it gets a reply; otherwise it must be a rejection.
    #[must_use]
    pub fn is_served(&self, stream: &mut (impl Read + Write), before: &[u8]) -> bool {
        // A rejected client may be closed before this write.
        let _ = stream.write_all(&[before, self.request.as_bytes()].concat());
        self.has_reply(stream)
    }

    fn has_reply(&self, stream: &mut impl Read) -> bool {
        let mut reply = vec![0; self.reply_bytes];
        stream.read_exact(&mut reply[..1]).unwrap();
        if reply[0] == self.rejection.as_bytes()[0] {
            stream.read_to_end(&mut reply).unwrap();
            reply.retain(|&byte| byte != 0);
            assert!(reply.starts_with(self.rejection.as_bytes()), "{}", reply.escape_ascii());
            return false;
        }
        stream.read_exact(&mut reply[1..]).unwrap();
        let reply = String::from_utf8(reply).unwrap();
        assert!((self.is_reply)(&reply), "{reply}");
        true
    }

    fn deliver(&self, stream: &mut TcpStream, header: &[u8], delivery: Delivery) -> bool {
        stream.set_nodelay(true).unwrap();
        match delivery {
            Delivery::Together => {}
            Delivery::ByteByByte => {
                for byte in header {
                    // The server may have rejected the connection.
                    let _ = stream.write_all(&[*byte]);
                }
            }
            Delivery::HeaderFirst => {
                let _ = stream.write_all(header);
            }
        }
        self.is_served(stream, if matches!(delivery, Delivery::Together) { header } else { b"" })
    }

    fn counted(&self, server: &ServerProcess, result: &str) -> u64 {
        server.metric(&format!("{}_connections_total{{result=\"{result}\"}}", self.prefix))
    }

    /// Waits until this many connections are open.
    fn wait_for_open(&self, server: &ServerProcess, count: u64) {
        let series = format!("{}_connections", self.prefix);
        server.eventually(|server| server.metric(&series) == count, &format!("{count} open connections"));
    }

    /// Checks that the address in each header counts for `limits.max_connections_per_ip` and is in the log, whether
    /// the header arrives in one piece or in many. Without an address, the peer of the socket counts.
    pub fn check_headers_name_the_client(&self) {
        let server = self.start(&["limits.max_connections_per_ip=1"]);
        let (address, baseline) = (server.address(self.name), server.baseline());
        let mut expected = Vec::new();
        for (header, client) in headers() {
            for delivery in [Delivery::Together, Delivery::ByteByByte, Delivery::HeaderFirst] {
                let mut held = connect(address);
                assert!(self.deliver(&mut held, &header, delivery), "{delivery:?} {}", header.escape_ascii());
                assert!(!self.deliver(&mut connect(address), &header, delivery), "{delivery:?}: over the limit");
                // Another client is not at its limit.
                assert!(self.is_served(&mut connect(address), &header_of("198.51.100.1:1")));
                let client = client.map_or(held.local_addr().unwrap(), |client| client.parse().unwrap());
                expected.push(format!("connection closed peer={client} "));
                drop(held);
                self.wait_for_open(&server, 0);
            }
        }
        let count = expected.len() as u64;
        assert_eq!((self.counted(&server, "accepted"), self.counted(&server, "rejected")), (2 * count, count));
        server.returns_to(baseline, self.prefix);
        let log = server.stop();
        for line in expected {
            assert!(log.contains(&line), "no {line} in\n{log}");
        }
    }

    /// Checks that the address in the header counts for the rates of connections and requests.
    pub fn check_rates_count_the_client(&self) {
        let server = self.start(&["limits.new_connections_per_ip=1"]);
        let (address, baseline, began) = (server.address(self.name), server.baseline(), Instant::now());
        let header = header_of("192.0.2.1:7");
        let rejected = (0..20).filter(|_| !self.is_served(&mut connect(address), &header)).count();
        // One a second, so that a machine must take more than 20 s to have all served.
        assert!(rejected > 0 || began.elapsed() > Duration::from_secs(18), "{:?}", began.elapsed());
        assert!(self.is_served(&mut connect(address), &header_of("192.0.2.2:7")));
        assert!(self.is_served(&mut connect(address), &LOCAL), "the rate of the proxy is its own");
        server.returns_to(baseline, self.prefix);
        server.stop();

        let server = self.start(&["limits.requests_per_ip=1"]);
        let (address, began) = (server.address(self.name), Instant::now());
        for _ in 0..3 {
            assert!(self.is_served(&mut connect(address), &header));
        }
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        server.stop();
    }

    /// Checks that what cannot become a header is closed without a reply, and that another client is served.
    pub fn check_bad_headers(&self) {
        let server = self.start(&[]);
        let (address, baseline) = (server.address(self.name), server.baseline());
        let mut other = connect_from(UNTRUSTED, address);
        for (index, (name, bytes, half_closes)) in bad_headers().into_iter().enumerate() {
            let mut stream = connect(address);
            stream.write_all(&bytes).unwrap();
            if half_closes {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            expect_close_without_reply(&mut stream, name);
            let count = index as u64 + 1;
            server.eventually(|server| server.closed(self.prefix, "bad_proxy_header") == count, name);
            assert!(self.is_served(&mut other, b""), "{name}");
        }
        drop(other);
        server.returns_to(baseline, self.prefix);
        let log = server.stop();
        assert!(
            log.contains(" handshake failed peer=127.0.0.1:") && log.contains(" reason=bad_proxy_header error="),
            "{log}"
        );
        assert!(!log.contains("ERROR"), "{log}");
    }

    /// Checks that 1,000 connections without a complete header delay no others, and are closed at `timeouts.handshake`.
    pub fn check_silent_proxies(&self) {
        raise_open_files(4096);
        let connect_silent = |address: SocketAddr| {
            let mut silent: Vec<_> = (0..1_000).map(|_| connect(address)).collect();
            for stream in &mut silent[..500] {
                // The connection may be at its timeout.
                let _ = stream.write_all(b"PROXY TCP4 192.0.2.1");
            }
            silent
        };
        // No timeout makes room for the others.
        let server = self.start(&["timeouts.handshake=1h"]);
        let (address, baseline) = (server.address(self.name), server.baseline());
        let silent = connect_silent(address);
        for _ in 0..20 {
            assert!(self.is_served(&mut connect(address), &header_of("192.0.2.1:7")));
            assert!(self.is_served(&mut connect_from(UNTRUSTED, address), b""));
        }
        self.wait_for_open(&server, 1_000);
        assert_eq!(server.closed(self.prefix, "bad_proxy_header"), 0);
        drop(silent);
        server.returns_to(baseline, self.prefix);
        server.stop();

        let server = self.start(&["timeouts.handshake=1s"]);
        let (address, baseline, began) = (server.address(self.name), server.baseline(), Instant::now());
        for stream in &mut connect_silent(address) {
            expect_close_without_reply(stream, "silence");
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        server.returns_to(baseline, self.prefix);
        assert_eq!(server.closed(self.prefix, "bad_proxy_header"), 1_000);
        server.stop();
    }

    /// Checks that connections that owe a header count against `limits.max_connections`, and that a full server rejects
    /// before the header.
    pub fn check_a_full_server_rejects_before_the_header(&self) {
        let server = self.start(&["limits.max_connections=2", "timeouts.handshake=1h"]);
        let (address, baseline) = (server.address(self.name), server.baseline());
        let mut owing = [connect(address), connect(address)];
        for stream in &mut owing {
            stream.write_all(b"P").unwrap();
        }
        self.wait_for_open(&server, 2);
        let mut third = connect(address);
        third.write_all(b"P").unwrap();
        assert!(!self.has_reply(&mut third));
        for stream in &mut owing {
            assert!(self.is_served(stream, &header_of("192.0.2.1:7")[1..]));
        }
        assert_eq!((self.counted(&server, "accepted"), self.counted(&server, "rejected")), (2, 1));
        drop((owing, third));
        server.returns_to(baseline, self.prefix);
        server.stop();
    }

    /// Sends a header from an address that is not trusted, and returns the reply.
    #[must_use]
    pub fn forge(&self, server: &ServerProcess, header: &[u8]) -> String {
        let mut stream = connect_from(UNTRUSTED, server.address(self.name));
        stream.write_all(header).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).unwrap();
        let peer = format!("connection closed peer={} ", stream.local_addr().unwrap());
        drop(stream);
        self.wait_for_open(server, 0);
        server.eventually(|server| server.log().contains(&peer), "the real peer is in the log");
        assert_eq!(server.closed(self.prefix, "bad_proxy_header"), 0);
        received
    }

    /// Starts the server with TLS. It trusts 127.0.0.1.
    fn start_tls(&self, files: &CertificateFiles) -> ServerProcess {
        let certificate = format!("tls.certificate={}", files.certificate.display());
        let key = format!("tls.key={}", files.key.display());
        let settings = ["proxy_protocol.trusted=127.0.0.1", &certificate, &key];
        let arguments = [self.argument, "tls://127.0.0.1:0", "--log-level", "debug"].into_iter();
        self.binary.start(&arguments.chain(settings.into_iter().flat_map(|set| ["--set", set])).collect::<Vec<_>>())
    }

    /// Connects, sends `header`, makes a TLS handshake, sends a request and ends the data. Returns the replies and the
    /// address of the client.
    fn exchange_tls(&self, address: SocketAddr, header: &[u8], authority: &Authority) -> (String, SocketAddr) {
        let mut socket = connect(address);
        socket.write_all(header).unwrap();
        let mut client = TlsClient::on(socket, &client_config(&authority.certificate, None, &VERSIONS));
        client.handshake(usize::MAX).unwrap();
        client.send(self.request.as_bytes()).unwrap();
        client.half_close().unwrap();
        let (reply, end) = client.read_rest();
        assert_eq!(end, ConnectionEnd::CloseNotify);
        (reply, client.socket.local_addr().unwrap())
    }

    /// Checks that a TLS handshake follows the header, and that the header's address counts.
    pub fn check_a_header_before_tls(&self) {
        let authority = Authority::new();
        let server = self.start_tls(&authority.issue_server());
        let (address, baseline) = (server.address(self.name), server.baseline());
        for (header, client) in headers() {
            let (reply, _) = self.exchange_tls(address, &header, &authority);
            assert!((self.is_reply)(&reply), "{client:?}: {reply}");
            if let Some(client) = client {
                let line = format!("connection closed peer={client} ");
                server.eventually(|server| server.log().contains(&line), &line);
            }
        }
        // TLS without the header.
        let mut stream = connect(address);
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
        expect_close_without_reply(&mut stream, "TLS");
        drop(stream);
        server.returns_to(baseline, self.prefix);
        assert_eq!((server.closed(self.prefix, "bad_proxy_header"), server.closed(self.prefix, "tls_failed")), (1, 0));
        assert_eq!(server.metric(&format!("{}_tls_handshakes_total{{result=\"ok\"}}", self.prefix)), 10);
        server.stop();
    }

    /// Checks that the header of haproxy names the client, with these `options` of its connections to the server.
    pub fn check_haproxy(&self, options: &str) {
        let server = self.start(&[]);
        let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), server.address(self.name), "", options);
        let mut stream = connect(haproxy.address);
        assert!(self.is_served(&mut stream, b""), "{options}");
        let line = format!("connection closed peer={} ", stream.local_addr().unwrap());
        drop((stream, haproxy));
        server.eventually(|server| server.log().contains(&line), &line);
        server.stop();
    }

    /// Checks TLS with haproxy, which sends a header: it ends TLS, passes it on, or makes a handshake with the server.
    pub fn check_tls_with_haproxy(&self, tls: TlsWithHaProxy) {
        let authority = Authority::new();
        let files = authority.issue_server();
        let server = if tls == TlsWithHaProxy::Ends { self.start(&[]) } else { self.start_tls(&files) };
        let listen = match tls {
            TlsWithHaProxy::Ends => format!("ssl crt {}", haproxy::joined(&files).display()),
            TlsWithHaProxy::PassesOn | TlsWithHaProxy::Begins => String::new(),
        };
        let options = match tls {
            TlsWithHaProxy::Ends | TlsWithHaProxy::PassesOn => "send-proxy-v2".to_owned(),
            TlsWithHaProxy::Begins => format!(
                "send-proxy-v2 ssl verify required verifyhost localhost ca-file {}",
                authority.certificate.display()
            ),
        };
        let haproxy = HaProxy::start(Ipv4Addr::LOCALHOST.into(), server.address(self.name), &listen, &options);
        let client = if tls == TlsWithHaProxy::Begins {
            let mut stream = connect(haproxy.address);
            assert!(self.is_served(&mut stream, b""));
            stream.local_addr().unwrap()
        } else {
            let (reply, client) = self.exchange_tls(haproxy.address, b"", &authority);
            assert!((self.is_reply)(&reply), "{reply}");
            client
        };
        drop(haproxy);
        let line = format!("connection closed peer={client} ");
        server.eventually(|server| server.log().contains(&line), &line);
        if tls != TlsWithHaProxy::Ends {
            assert_eq!(server.metric(&format!("{}_tls_handshakes_total{{result=\"ok\"}}", self.prefix)), 1);
        }
        server.stop();
    }

    /// Checks that the peers of a Unix socket are trusted by `"unix"`, and have no limit per IP without an address.
    pub fn check_a_trusted_unix_socket(&self) {
        let folder = tempdir().unwrap();
        let path = &folder.path().join("socket");
        let endpoints = format!("127.0.0.1:0,unix:{}", path.display());
        let settings = ["proxy_protocol.trusted=unix", "limits.max_connections_per_ip=1"];
        let set = settings.into_iter().flat_map(|set| ["--set", set]);
        let server = self.binary.start(&[self.argument, &endpoints].into_iter().chain(set).collect::<Vec<_>>());
        let baseline = server.baseline();
        let mut held = connect_unix(path);
        assert!(self.is_served(&mut held, &header_of("192.0.2.1:7")));
        assert!(!self.is_served(&mut connect_unix(path), &header_of("192.0.2.1:8")));
        let mut local = [connect_unix(path), connect_unix(path)];
        assert!(local.iter_mut().all(|stream| self.is_served(stream, &LOCAL)));
        let mut without = connect_unix(path);
        without.write_all(self.request.as_bytes()).unwrap();
        expect_close_without_reply(&mut without, "no header");
        // TCP is not trusted.
        assert!(self.is_served(&mut connect(server.address(self.name)), b""));
        drop((held, local, without));
        server.returns_to(baseline, self.prefix);
        server.stop();
        assert!(!path.exists());
    }

    /// Checks that a reload changes `proxy_protocol.trusted` and `timeouts.handshake` for new connections only.
    pub fn check_a_reload(&self) {
        let folder = tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        let write = |trusted: &str, handshake: &str| {
            let text = format!("[proxy_protocol]\ntrusted = [{trusted}]\n[timeouts]\nhandshake = \"{handshake}\"\n");
            fs::write(&file, text).unwrap();
        };
        write("", "1h");
        let server = self.binary.start(&["--config", file.to_str().unwrap()]);
        let (address, baseline) = (server.address(self.name), server.baseline());
        let mut plain = connect(address);
        assert!(self.is_served(&mut plain, b""));
        write("\"127.0.0.0/8\"", "1h");
        server.reload(self.prefix, "ok");
        let mut owing = connect(address);
        owing.write_all(b"P").unwrap();
        self.wait_for_open(&server, 2);
        write("\"127.0.0.1\"", "1ms");
        server.reload(self.prefix, "ok");
        let mut late = connect(address);
        late.write_all(b"P").unwrap();
        expect_close_without_reply(&mut late, "the new timeout");
        assert!(self.is_served(&mut owing, &header_of("192.0.2.1:7")[1..]), "the old timeout");
        assert!(self.is_served(&mut plain, b""), "an open connection");
        write("", "1h");
        server.reload(self.prefix, "ok");
        assert!(self.is_served(&mut connect(address), b""));
        drop((plain, owing, late));
        server.returns_to(baseline, self.prefix);
        server.stop();
    }

    /// Checks that a header in progress at SIGTERM is served within the drain, and an incomplete one is aborted.
    pub fn check_a_drain(&self) {
        let server = self.start(&["timeouts.handshake=1h", "timeouts.drain=5s"]);
        let address = server.address(self.name);
        let header = header_of("192.0.2.1:7");
        let [mut owing, mut silent] = [connect(address), connect(address)];
        owing.write_all(&header[..20]).unwrap();
        silent.write_all(&header[..20]).unwrap();
        self.wait_for_open(&server, 2);
        server.signal("TERM");
        server.eventually(|server| server.log().contains("draining; "), "drains");
        assert!(self.is_served(&mut owing, &header[20..]));
        expect_close_without_reply(&mut owing, "the drain");
        expect_close_without_reply(&mut silent, "the end of the drain");
        let (code, log) = server.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=1"), "{log}");
    }
}

/// Checks that the connection ends without a byte. The kernel resets it if the server has not read everything.
fn expect_close_without_reply(stream: &mut impl Read, name: &str) {
    let mut received = Vec::new();
    if let Err(error) = stream.read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{name}: {error}");
    }
    assert!(received.is_empty(), "{name}: {}", received.escape_ascii());
}
