//! Replays the transcripts of PROTOCOL.md byte for byte, for the tests of both servers: over TCP, TLS and WebSocket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;

use super::blocking;
use super::tls::{ConnectionEnd, TlsClient};
use super::websocket::{WebSocketClient, WebSocketEnd};
use crate::transcript::{self, Action, Step};

/// The services that the page names in the first line of a transcript.
const SERVICES: [&str; 3] = ["power", "solo", "duel"];

/// Returns the transcripts of a `service` over TCP, in the order of the page.
pub fn transcripts(service: &str) -> Vec<Transcript> {
    all(service).into_iter().filter(|Transcript(transcript)| !transcript.is_tls).collect()
}

/// Returns the transcripts of a `service` over TLS: those of TLS only, and all others except those with a rejected
/// client, who gets no reply over TLS.
pub fn transcripts_over_tls(service: &str) -> Vec<Transcript> {
    all(service).into_iter().filter(|transcript| !transcript.is_rejecting()).collect()
}

/// Returns the transcripts of a `service` over WebSocket: those over TCP except those with a rejected client, who gets
/// an HTTP response.
pub fn transcripts_over_websocket(service: &str) -> Vec<Transcript> {
    transcripts(service).into_iter().filter(|transcript| !transcript.is_rejecting()).collect()
}

fn all(service: &str) -> Vec<Transcript> {
    let all = transcript::transcripts().unwrap();
    for transcript in &all {
        assert!(SERVICES.contains(&&*transcript.service), "line {}", transcript.line);
    }
    let found: Vec<_> = all.into_iter().filter(|transcript| transcript.service == service).map(Transcript).collect();
    assert!(!found.is_empty(), "the page has no transcript for {service}");
    found
}

/// One transcript of the page, which can be replayed.
#[derive(Debug)]
pub struct Transcript(transcript::Transcript);

impl Transcript {
    /// Returns the command-line arguments for the server.
    pub fn arguments(&self) -> Vec<&str> {
        self.0.settings.iter().flat_map(|setting| ["--set", setting]).collect()
    }

    fn is_rejecting(&self) -> bool {
        self.0.settings.iter().any(|setting| setting.starts_with("limits.max_connections"))
    }

    /// Performs the steps of all clients over TCP. See [`replay_over_tls`](Self::replay_over_tls).
    pub fn replay(&self, server: SocketAddr) {
        self.replay_with(|| TranscriptClient::Tcp(blocking::connect(server)));
    }

    /// Performs the steps of all clients over TLS and compares the received bytes with the page. A client connects at
    /// its first step. At the end, checks that no client receives further bytes.
    pub fn replay_over_tls(&self, server: SocketAddr, config: &Arc<ClientConfig>) {
        self.replay_with(|| TranscriptClient::Tls(Box::new(TlsClient::connect(server, config))));
    }

    /// Performs the steps of all clients over WebSocket connections to `path`.
    pub fn replay_over_websocket(&self, server: SocketAddr, path: &str) {
        self.replay_with(|| TranscriptClient::WebSocket(WebSocketClient::open(blocking::connect(server), path)));
    }

    fn replay_with(&self, connect: impl Fn() -> TranscriptClient) {
        let mut clients: BTreeMap<u32, TranscriptClient> = BTreeMap::new();
        for Step { line, client, action } in &self.0.steps {
            let client = clients.entry(*client).or_insert_with(&connect);
            match action {
                Action::Send(bytes) => client.stream().write_all(bytes).unwrap(),
                Action::HalfClose => client.half_close().unwrap(),
                Action::Truncate => client.truncate(),
                Action::Receive(expected) => {
                    let mut received = vec![0; expected.len()];
                    let result = client.stream().read_exact(&mut received);
                    let matches = expected.iter().zip(&received).all(|(allowed, byte)| allowed.contains(byte));
                    let text = String::from_utf8_lossy(&received);
                    assert!(result.is_ok() && matches, "line {line}: {result:?} {text:?}");
                }
                Action::ReceiveEnd => client.assert_eof(&format!("line {line}")),
            }
        }
        for (number, mut client) in clients {
            // This fails if the client has already half-closed or the server has closed the connection.
            let _ = client.half_close();
            client.assert_eof(&format!("line {}, the end of client {number}", self.0.line));
        }
    }
}

/// A client of a transcript.
enum TranscriptClient {
    Tcp(TcpStream),
    Tls(Box<TlsClient>),
    WebSocket(WebSocketClient<TcpStream>),
}

trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

impl TranscriptClient {
    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(client) => client,
            Self::WebSocket(client) => client,
        }
    }

    fn half_close(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(client) => client.half_close(),
            // A close frame would withdraw a move that waits.
            Self::WebSocket(client) => client.stream.shutdown(Shutdown::Write),
        }
    }

    fn truncate(&mut self) {
        match self {
            Self::Tcp(_) | Self::WebSocket(_) => panic!("a FIN is the end of the data"),
            Self::Tls(client) => client.truncate(),
        }
    }

    /// Checks that the server has ended its data, and not by a reset.
    fn assert_eof(&mut self, location: &str) {
        match self {
            Self::Tcp(stream) => {
                let mut received = Vec::new();
                let result = stream.read_to_end(&mut received);
                let text = String::from_utf8_lossy(&received);
                assert!(result.is_ok() && received.is_empty(), "{location}: {result:?} {text:?}");
            }
            Self::Tls(client) => {
                assert_eq!(client.read_rest(), (String::new(), ConnectionEnd::CloseNotify), "{location}");
            }
            Self::WebSocket(client) => {
                let (rest, end) = client.read_rest();
                let is_expected = matches!(end, WebSocketEnd::Close(1000 | 1008, _));
                assert!(rest.is_empty() && is_expected, "{location}: {rest:?} {end:?}");
            }
        }
    }
}
