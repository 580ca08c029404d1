//! Blocking TLS clients that control each message and each end of a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

pub use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::default_provider;
pub use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore, Stream,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::TEST_TIMEOUT;
use super::blocking;
use super::certificates::{Authority, CertificateFiles};
use crate::client::tls::{certificates, private_key};

/// Both versions that the servers speak.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An authority, and the settings of a server with a certificate that it has issued.
#[derive(Debug)]
pub struct TestTls {
    /// The authority of the server's certificate.
    pub authority: Authority,
    /// The files of the server.
    pub server: CertificateFiles,
    settings: [String; 2],
}

impl TestTls {
    /// Issues a certificate for a server.
    pub fn new() -> Self {
        let authority = Authority::new();
        let server = authority.issue_server();
        let (certificate, key) = (server.certificate.display(), server.key.display());
        let settings = [format!("tls.certificate={certificate}"), format!("tls.key={key}")];
        Self { authority, server, settings }
    }

    /// Returns the arguments of a server with the certificate, and `others`.
    pub fn arguments<'a>(&'a self, others: &[&'a str]) -> Vec<&'a str> {
        let [certificate, key] = &self.settings;
        [&["--set", certificate, "--set", key], others].concat()
    }

    /// Returns the configuration of a client that trusts the authority and speaks both versions.
    pub fn client(&self) -> Arc<ClientConfig> {
        client_config(&self.authority.certificate, None, &VERSIONS)
    }

    /// Returns the configuration of a client that speaks one version.
    pub fn client_of(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        client_config(&self.authority.certificate, None, &[version])
    }
}

impl Default for TestTls {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the configuration of a client that trusts `authority`. It presents the certificate in `identity`, and resumes no
/// sessions.
pub fn client_config(
    authority: &Path,
    identity: Option<&CertificateFiles>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut config = resuming_client_config(authority, identity, versions);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Like [`client_config`], but the client resumes its sessions.
pub fn resuming_client_config(
    authority: &Path,
    identity: Option<&CertificateFiles>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authority).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    match identity {
        Some(files) => {
            let (chain, key) = (certificates(&files.certificate).unwrap(), private_key(&files.key).unwrap());
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// With `close_notify` and a FIN.
    CloseNotify,
    /// With a FIN only.
    Truncation,
    /// With a RST.
    Reset,
}

/// A TLS client.
#[derive(Debug)]
pub struct TlsClient {
    /// The TCP connection.
    pub socket: TcpStream,
    session: ClientConnection,
}

impl TlsClient {
    /// Connects and makes the handshake.
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(address, config).unwrap()
    }

    /// Connects and makes the handshake.
    ///
    /// # Errors
    ///
    /// Fails if the handshake does. In TLS 1.3, a server that rejects the client's certificate does so after the handshake.
    pub fn try_connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut client = Self::on(blocking::connect(address), config);
        client.handshake(usize::MAX)?;
        Ok(client)
    }

    /// Returns a client on a TCP connection, before its handshake.
    pub fn on(socket: TcpStream, config: &Arc<ClientConfig>) -> Self {
        socket.set_nodelay(true).unwrap();
        let session = ClientConnection::new(Arc::clone(config), Ipv4Addr::LOCALHOST.into()).unwrap();
        Self { socket, session }
    }

    /// Makes the handshake, and sends it in writes of at most `write_bytes`.
    ///
    /// # Errors
    ///
    /// Fails if the connection ends, or if either side rejects the other. The server then has the alert of the client.
    pub fn handshake(&mut self, write_bytes: usize) -> io::Result<()> {
        loop {
            for part in self.records().chunks(write_bytes) {
                self.socket.write_all(part)?;
            }
            if !self.session.is_handshaking() {
                return Ok(());
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = self.session.process_new_packets() {
                let alert = self.records();
                // The server may have closed the connection.
                let _ = self.socket.write_all(&alert);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Returns the bytes that the session has to send, and takes them as sent.
    pub fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Returns whether the handshake was a whole one or a resumption.
    pub fn handshake_kind(&self) -> HandshakeKind {
        self.session.handshake_kind().unwrap()
    }

    /// Returns the certificate of the server.
    pub fn server_certificate(&self) -> &[u8] {
        &self.session.peer_certificates().unwrap()[0]
    }

    /// Sends a request for new keys, with a new key of the client (TLS 1.3).
    ///
    /// # Errors
    ///
    /// Fails if the server has closed the connection.
    pub fn send_key_update(&mut self) -> io::Result<()> {
        self.session.refresh_traffic_keys().map_err(io::Error::other)?;
        let records = self.records();
        self.socket.write_all(&records)
    }

    /// Sends up to `count` requests for a renegotiation, each a `ClientHello`, until the server closes the connection.
    /// Returns the connection.
    ///
    /// It encrypts them with the keys of the session, because rustls sends no such message. The session must be TLS
    /// 1.2, and its configuration must have `enable_secret_extraction`.
    pub fn request_renegotiations(self, config: &Arc<ClientConfig>, count: u64) -> TcpStream {
        let hello = Self::on(self.socket.try_clone().unwrap(), config).records();
        let Some(SupportedCipherSuite::Tls12(suite)) = self.session.negotiated_cipher_suite() else {
            panic!("TLS 1.2")
        };
        let (first, secrets) = self.session.dangerous_extract_secrets().unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv }) =
            secrets
        else {
            panic!("a suite with AES-GCM")
        };
        // The nonce has a fixed part and an explicit part, which the record carries (RFC 5288, section 3).
        let (fixed, explicit) = iv.as_ref().split_at(4);
        let mut encrypter = suite.aead_alg.encrypter(key, fixed, explicit);
        for sequence in first..first + count {
            let message = OutboundPlainMessage {
                typ: ContentType::Handshake,
                version: ProtocolVersion::TLSv1_2,
                // Without the header of the record.
                payload: OutboundChunks::Single(&hello[5..]),
            };
            let record = encrypter.encrypt(message, sequence).unwrap().encode();
            if (&self.socket).write_all(&record).is_err() {
                break;
            }
        }
        self.socket
    }

    /// Sends `bytes` in one write, without reading.
    ///
    /// # Errors
    ///
    /// Fails if the server has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The session takes at most 64 KiB before they are sent.
        for part in bytes.chunks(16 * 1024) {
            self.session.writer().write_all(part)?;
            let records = self.records();
            self.socket.write_all(&records)?;
        }
        Ok(())
    }

    /// Sends `close_notify` without a FIN.
    ///
    /// # Errors
    ///
    /// Fails if the server has closed the connection.
    pub fn send_close_notify(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        let records = self.records();
        self.socket.write_all(&records)
    }

    /// Half-closes: sends `close_notify` and a FIN.
    ///
    /// # Errors
    ///
    /// Fails if the server has closed the connection.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.send_close_notify()?;
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends a FIN without `close_notify`.
    pub fn truncate(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads as many bytes as `expected` has, and compares.
    pub fn expect(&mut self, expected: &str) {
        let mut received = vec![0; expected.len()];
        self.read_exact(&mut received).unwrap();
        assert_eq!(String::from_utf8_lossy(&received), expected);
    }

    /// Reads to the end. An alert fails the test.
    pub fn read_rest(&mut self) -> (String, ConnectionEnd) {
        self.try_read_rest().unwrap()
    }

    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// Fails if the server sends an alert.
    pub fn try_read_rest(&mut self) -> io::Result<(String, ConnectionEnd)> {
        let mut received = Vec::new();
        let result = Read::read_to_end(self, &mut received);
        let end = match result.map_err(|error| (error.kind(), error)) {
            // `close_notify`; a FIN has to follow.
            Ok(_) => {
                assert_eq!(self.socket.read(&mut [0; 64]).unwrap(), 0, "a FIN follows close_notify");
                ConnectionEnd::CloseNotify
            }
            Err((ErrorKind::UnexpectedEof, _)) => ConnectionEnd::Truncation,
            Err((ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _)) => ConnectionEnd::Reset,
            Err((_, error)) => return Err(error),
        };
        Ok((String::from_utf8(received).unwrap(), end))
    }
}

impl Read for TlsClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Stream::new(&mut self.session, &mut self.socket).read(buffer)
    }
}

impl Write for TlsClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends `bytes`, half-closes, and reads to `close_notify` in the meantime. Fails the test if the server ends in another way.
pub fn exchange(address: SocketAddr, config: &Arc<ClientConfig>, bytes: &[u8]) -> String {
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(Ipv4Addr::LOCALHOST.into(), stream).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            write.write_all(bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut received = String::new();
        let ((), result) = tokio::join!(sending, read.read_to_string(&mut received));
        result.unwrap();
        received
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(TEST_TIMEOUT, exchange).await.unwrap() })
}
