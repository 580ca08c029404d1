//! The cases that are code: their names, and the exchanges that they share.
//!
//! - `requests`: many requests of honest clients, and statistics; `robust`: many connections, and broken clients.

mod requests;
mod robust;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, Difference, Ending, Expected, Failed};
use super::pattern::{Match, Pattern};
use super::server::Server;
use super::statistics::Question;
use crate::target::Target;

pub(super) use robust::CONNECTIONS;

/// A part of a case that is code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Numbers,
    Pipelining,
    House(Question),
    /// Two connections, on which the house has to play differently.
    Sequences,
    /// Rounds of two partners.
    Rounds,
    Connections,
    NeverReads,
    WriteTimeout,
    Resets,
    Garbage,
    ConnectAndClose,
    Players,
}

/// The names in the case files.
const PROGRAMS: [(&str, Program); 15] = [
    ("numbers", Program::Numbers),
    ("pipelining", Program::Pipelining),
    ("rule", Program::House(Question::Rule)),
    ("fair", Program::House(Question::Fair)),
    ("independent", Program::House(Question::Independent)),
    ("memory", Program::House(Question::Memory)),
    ("sequences", Program::Sequences),
    ("rounds", Program::Rounds),
    ("write-timeout", Program::WriteTimeout),
    ("connections", Program::Connections),
    ("never-reads", Program::NeverReads),
    ("resets", Program::Resets),
    ("garbage", Program::Garbage),
    ("connect-and-close", Program::ConnectAndClose),
    ("players", Program::Players),
];

/// The result of a program without a failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// The p-value of a statistical case.
    pub(super) p: Option<f64>,
    pub(super) note: Option<String>,
}

impl Passed {
    fn with_note(note: String) -> Self {
        Self { note: Some(note), ..Self::default() }
    }
}

/// Pauses before another attempt of a duel to be served.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(3)];

impl Program {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        PROGRAMS.into_iter().find(|program| program.0 == name).map(|program| program.1)
    }

    pub(super) async fn run(self, server: &Server) -> Result<Passed, Failed> {
        match self {
            Self::Numbers => server.numbers().await,
            Self::Pipelining => server.pipelining().await,
            Self::House(Question::Rule) => server.rule().await,
            Self::House(question) => server.house(question).await,
            Self::Sequences => server.sequences().await,
            Self::Rounds => server.partner_rounds().await,
            Self::WriteTimeout => server.write_timeout().await,
            Self::Connections => server.connections().await,
            Self::NeverReads => server.never_reads().await,
            Self::Resets => server.resets().await,
            Self::Garbage => server.garbage().await,
            Self::ConnectAndClose => server.connect_and_close().await,
            Self::Players => server.players().await,
        }
    }
}

impl Server {
    async fn client(&self) -> Result<Client, Failed> {
        Client::connect(&self.connector).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends requests, and compares the replies.
    async fn exchange(&self, client: &mut Client, requests: &[u8], pattern: &Pattern) -> Result<Vec<u8>, Failed> {
        client.send(requests, self.deadline()).await;
        client.receive(pattern, self.timeout).await.map_err(|ending| {
            different(requests, Expected::Bytes(pattern.clone()), std::mem::take(&mut client.received), ending)
        })
    }

    /// Sends lines in one write. A failure has only the first line whose reply differs.
    async fn exchange_lines(&self, client: &mut Client, requests: &[String], replies: &[String]) -> Result<(), Failed> {
        let all = pattern(replies.concat().as_bytes());
        let Err(failed) = self.exchange(client, requests.concat().as_bytes(), &all).await else { return Ok(()) };
        let Failed::Different(difference) = &failed else { return Err(failed) };
        let received: Vec<_> = difference.received.split_inclusive(|&byte| byte == b'\n').collect();
        for (number, (request, reply)) in requests.iter().zip(replies).enumerate() {
            let reply = pattern(reply.as_bytes());
            let line = received.get(number).copied().unwrap_or_default();
            if !matches!(reply.compare(line), Match::Complete(_)) {
                let expected = Expected::Bytes(reply);
                return Err(different(request.as_bytes(), expected, line.to_vec(), difference.ending));
            }
        }
        Err(failed)
    }

    /// Checks that a new client is served. In a duel, moves of clients that are gone may still be in play for a moment.
    async fn is_alive(&self) -> Result<(), Failed> {
        let mut result = self.exchange_once().await;
        for pause in RETRY_PAUSES {
            if result.is_ok() || self.target != Target::Duel {
                break;
            }
            sleep(pause).await;
            result = self.exchange_once().await;
        }
        result
    }

    async fn exchange_once(&self) -> Result<(), Failed> {
        let mut client = self.client().await?;
        match self.target {
            Target::Power => self.exchange(&mut client, b"a3\n", &pattern(b"d9.0\n")).await.map(drop),
            Target::Rps => self.exchange(&mut client, b"2", &outcomes(1)).await.map(drop),
            Target::Duel => {
                let mut other = self.client().await?;
                client.reset_on_close();
                other.reset_on_close();
                client.send(b"1", self.deadline()).await;
                self.exchange(&mut other, b"2", &pattern(b"y")).await?;
                self.exchange(&mut client, b"", &pattern(b"z")).await.map(drop)
            }
        }
    }
}

/// Adds the likely mistake.
fn with_mistake(mut failed: Failed, mistake: String) -> Failed {
    if let Failed::Different(difference) = &mut failed {
        difference.mistake = Some(mistake);
    }
    failed
}

pub(super) fn different(sent: &[u8], expected: Expected, received: Vec<u8>, ending: Ending) -> Failed {
    let difference = Difference {
        dialogue: Vec::new(),
        sent: sent.to_vec(),
        half_closed: false,
        expected,
        received,
        ending,
        p: None,
        mistake: None,
    };
    Failed::Different(Box::new(difference))
}

fn pattern(bytes: &[u8]) -> Pattern {
    Pattern::new(&bytes.iter().map(|&byte| vec![byte]).collect::<Vec<_>>())
}

/// The replies to moves against the house.
fn outcomes(count: usize) -> Pattern {
    Pattern::new(&vec![b"xyz".to_vec(); count])
}
