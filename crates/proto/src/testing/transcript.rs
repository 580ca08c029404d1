//! The transcripts of PROTOCOL.md, replayed byte for byte. They serve the tests of both servers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::blocking;

const PAGE: &str = include_str!("../../PROTOCOL.md");

/// The page's words for what a transcript is with.
const SERVICES: [&str; 3] = ["power", "solo", "duel"];

/// One block of the page.
#[derive(Debug)]
pub struct Transcript {
    /// What the server has to be told, as `key=value`.
    settings: Vec<String>,
    steps: Vec<TranscriptStep>,
}

#[derive(Debug)]
struct TranscriptStep {
    /// Where it stands on the page.
    line: usize,
    client: u32,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Send(Vec<u8>),
    HalfClose,
    /// For each byte those that are right.
    Hear(Vec<Vec<u8>>),
    HearTheEnd,
}

/// The transcripts with a `service`, as they stand on the page.
pub fn transcripts(service: &str) -> Vec<Transcript> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim() != "```transcript" {
            continue;
        }
        let head = lines.next().and_then(|(line, _)| line.trim().strip_prefix("# ")).unwrap_or_default();
        let mut words = head.split(' ').map(str::to_owned);
        let name = words.next().unwrap();
        assert!(SERVICES.contains(&&*name), "line {number}: {name:?} is no service");
        let block = lines.by_ref().map(|(line, number)| (line.trim(), number)).take_while(|&(line, _)| line != "```");
        let steps = block.map(|(line, number)| step(line, number)).collect();
        if name == service {
            found.push(Transcript { settings: words.collect(), steps });
        }
    }
    assert!(!found.is_empty(), "there is none with {service}");
    found
}

fn step(text: &str, line: usize) -> TranscriptStep {
    let (client, act) = match text.split_once(' ') {
        Some((number, act)) if number.parse::<u32>().is_ok() => (number.parse().unwrap(), act),
        _ => (1, text),
    };
    let act = match act.split_once(' ').unwrap_or((act, "")) {
        (">", bytes) => Act::Send(each_byte(bytes, line).into_iter().map(|only| only[0]).collect()),
        ("<", bytes) => Act::Hear(each_byte(bytes, line)),
        (">|", "") => Act::HalfClose,
        ("<|", "") => Act::HearTheEnd,
        _ => panic!("line {line}: {text:?} is no step"),
    };
    TranscriptStep { line, client, act }
}

/// For each byte that is written those that it may be: itself, or what stands in brackets.
fn each_byte(text: &str, line: usize) -> Vec<Vec<u8>> {
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
    /// What the server has to be told.
    pub fn arguments(&self) -> Vec<&str> {
        self.settings.iter().flat_map(|setting| ["--set", setting]).collect()
    }

    /// Does what the clients do, and holds what they hear against the page. A client connects when it first does or hears
    /// something. In the end nobody hears more than stands there.
    pub fn replay(&self, server: SocketAddr) {
        let mut clients: BTreeMap<u32, TcpStream> = BTreeMap::new();
        for TranscriptStep { line, client, act } in &self.steps {
            let stream = clients.entry(*client).or_insert_with(|| blocking::connect(server));
            match act {
                Act::Send(bytes) => stream.write_all(bytes).unwrap(),
                Act::HalfClose => stream.shutdown(Shutdown::Write).unwrap(),
                Act::Hear(expected) => {
                    let mut heard = vec![0; expected.len()];
                    let read = stream.read_exact(&mut heard);
                    let right = expected.iter().zip(&heard).all(|(right, byte)| right.contains(byte));
                    assert!(read.is_ok() && right, "line {line}: {read:?} {:?}", String::from_utf8_lossy(&heard));
                }
                Act::HearTheEnd => hear_nothing_more(stream, &format!("line {line}")),
            }
        }
        for (client, mut stream) in clients {
            // It may have done so, or be closed already.
            let _ = stream.shutdown(Shutdown::Write);
            hear_nothing_more(&mut stream, &format!("line {}, the end of client {client}", self.steps[0].line));
        }
    }
}

fn hear_nothing_more(stream: &mut TcpStream, place: &str) {
    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    assert!(read.is_ok() && heard.is_empty(), "{place}: {read:?} {:?}", String::from_utf8_lossy(&heard));
}
