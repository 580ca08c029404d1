//! Replays the transcripts of PROTOCOL.md byte for byte, for the tests of both servers: over TCP, and over TLS.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;

use super::blocking;
use super::tls::{ConnectionEnd, TlsClient};

const PAGE: &str = include_str!("../../PROTOCOL.md");

/// The services that the page names in the first line of a transcript.
const SERVICES: [&str; 3] = ["power", "solo", "duel"];

/// One transcript of the page.
#[derive(Debug)]
pub struct Transcript {
    /// Settings of the server that differ from the default, as `key=value`.
    settings: Vec<String>,
    /// Whether the transcript is one of TLS only.
    is_tls: bool,
    steps: Vec<TranscriptStep>,
}

#[derive(Debug)]
struct TranscriptStep {
    /// The line number on the page.
    line: usize,
    client: u32,
    action: StepAction,
}

#[derive(Debug)]
enum StepAction {
    Send(Vec<u8>),
    HalfClose,
    /// Sends a FIN without `close_notify`.
    Truncate,
    /// Receives these bytes. Each byte has a list of allowed values.
    Receive(Vec<Vec<u8>>),
    ReceiveEof,
}

/// Returns the transcripts of a `service` over TCP, in the order of the page.
pub fn transcripts(service: &str) -> Vec<Transcript> {
    read_page(service).into_iter().filter(|transcript| !transcript.is_tls).collect()
}

/// Returns the transcripts of a `service` over TLS: those of TLS only, and all others except those with a rejected client,
/// who gets no reply over TLS.
pub fn transcripts_over_tls(service: &str) -> Vec<Transcript> {
    let is_rejecting = |setting: &String| setting.starts_with("limits.max_connections");
    read_page(service).into_iter().filter(|transcript| !transcript.settings.iter().any(is_rejecting)).collect()
}

fn read_page(service: &str) -> Vec<Transcript> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim() != "```transcript" {
            continue;
        }
        let head = lines.next().and_then(|(line, _)| line.trim().strip_prefix("# ")).unwrap_or_default();
        let mut words = head.split(' ').map(str::to_owned);
        let name = words.next().unwrap();
        assert!(SERVICES.contains(&&*name), "line {number}: {name:?} is not a service");
        let block = lines.by_ref().map(|(line, number)| (line.trim(), number)).take_while(|&(line, _)| line != "```");
        let steps = block.map(|(line, number)| step(line, number)).collect();
        if name == service {
            let (tls, settings): (Vec<_>, Vec<_>) = words.partition(|word| word == "tls");
            found.push(Transcript { settings, is_tls: !tls.is_empty(), steps });
        }
    }
    assert!(!found.is_empty(), "the page has no transcript for {service}");
    found
}

fn step(text: &str, line: usize) -> TranscriptStep {
    let (client, action) = match text.split_once(' ') {
        Some((number, action)) if number.parse::<u32>().is_ok() => (number.parse().unwrap(), action),
        _ => (1, text),
    };
    let action = match action.split_once(' ').unwrap_or((action, "")) {
        (">", bytes) => StepAction::Send(allowed_bytes(bytes, line).into_iter().map(|allowed| allowed[0]).collect()),
        ("<", bytes) => StepAction::Receive(allowed_bytes(bytes, line)),
        (">|", "") => StepAction::HalfClose,
        (">!", "") => StepAction::Truncate,
        ("<|", "") => StepAction::ReceiveEof,
        _ => panic!("line {line}: {text:?} is not a step"),
    };
    TranscriptStep { line, client, action }
}

/// Parses the bytes of a step. Returns the allowed values of each byte: one, or all bytes in a pair of brackets.
fn allowed_bytes(text: &str, line: usize) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => vec![match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("line {line}: \\x{digits}"))
                }
                other => panic!("line {line}: \\ and {other:?}"),
            }],
            b'[' => rest.by_ref().take_while(|&byte| byte != b']').collect(),
            byte => vec![byte],
        });
    }
    bytes
}

impl Transcript {
    /// Returns the command-line arguments for the server.
    pub fn arguments(&self) -> Vec<&str> {
        self.settings.iter().flat_map(|setting| ["--set", setting]).collect()
    }

    /// Performs the steps of all clients over TCP. See [`replay_over_tls`](Self::replay_over_tls).
    pub fn replay(&self, server: SocketAddr) {
        self.replay_with(|| TranscriptClient::Tcp(blocking::connect(server)));
    }

    /// Performs the steps of all clients over TLS and compares the received bytes with the page. A client connects at its
    /// first step. At the end, checks that no client receives further bytes.
    pub fn replay_over_tls(&self, server: SocketAddr, config: &Arc<ClientConfig>) {
        self.replay_with(|| TranscriptClient::Tls(Box::new(TlsClient::connect(server, config))));
    }

    fn replay_with(&self, connect: impl Fn() -> TranscriptClient) {
        let mut clients: BTreeMap<u32, TranscriptClient> = BTreeMap::new();
        for TranscriptStep { line, client, action } in &self.steps {
            let client = clients.entry(*client).or_insert_with(&connect);
            match action {
                StepAction::Send(bytes) => client.stream().write_all(bytes).unwrap(),
                StepAction::HalfClose => client.half_close().unwrap(),
                StepAction::Truncate => client.truncate(),
                StepAction::Receive(expected) => {
                    let mut received = vec![0; expected.len()];
                    let result = client.stream().read_exact(&mut received);
                    let matches = expected.iter().zip(&received).all(|(allowed, byte)| allowed.contains(byte));
                    let text = String::from_utf8_lossy(&received);
                    assert!(result.is_ok() && matches, "line {line}: {result:?} {text:?}");
                }
                StepAction::ReceiveEof => client.assert_eof(&format!("line {line}")),
            }
        }
        for (number, mut client) in clients {
            // This fails if the client has already half-closed or the server has closed the connection.
            let _ = client.half_close();
            client.assert_eof(&format!("line {}, the end of client {number}", self.steps[0].line));
        }
    }
}

/// A client of a transcript.
enum TranscriptClient {
    Tcp(TcpStream),
    Tls(Box<TlsClient>),
}

trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

impl TranscriptClient {
    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(client) => client,
        }
    }

    fn half_close(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(client) => client.half_close(),
        }
    }

    fn truncate(&mut self) {
        match self {
            Self::Tcp(_) => panic!("a FIN is the end of the data"),
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
        }
    }
}
