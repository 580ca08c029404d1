//! Performs the steps of a case with the server under test.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use proto::client::stream::ClientStream;
use proto::client::{Connector, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::case::{Case, CaseAction, Level};
use super::pattern::{Match, Pattern};

/// How long to look for more bytes after a bare reply, and after one that does not match. On one machine they arrive at
/// once; a server far away may send them later, and they are then seen at the next step.
const EXTRA_BYTES_WAIT: Duration = Duration::from_millis(20);

/// How long the message of a bare error reply may pause before it counts as complete.
const MESSAGE_PAUSE: Duration = Duration::from_millis(200);

/// How many bytes are read of a reply that does not match.
const MAX_WRONG: usize = 2048;

/// Number of bytes per read.
const READ_BYTES: usize = 4096;

/// Why a case failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// No connection could be made.
    NoConnection(Error),
    /// The server did something else than expected.
    Different(Box<Difference>),
}

/// The expected and the actual behaviour of a server.
#[derive(Debug)]
pub(super) struct Difference {
    /// The bytes sent and received before, oldest first.
    pub(super) dialogue: Vec<Exchanged>,
    /// The bytes that the client sent since the last correct reply.
    pub(super) sent: Vec<u8>,
    /// Whether the client has closed its sending half.
    pub(super) half_closed: bool,
    pub(super) expected: Expected,
    pub(super) received: Vec<u8>,
    pub(super) ending: Ending,
    /// The p-value of a statistical case.
    pub(super) p: Option<f64>,
    /// The likely mistake, if the case knows it better than the bytes.
    pub(super) mistake: Option<String>,
}

/// Bytes that a client sent or received.
#[derive(Clone, Debug)]
pub(super) struct Exchanged {
    pub(super) client: u32,
    /// `>` or `<`.
    pub(super) direction: char,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Expected {
    Bytes(Pattern),
    End,
    /// Nothing for this long.
    Quiet(Duration),
    /// A sentence.
    Text(String),
}

/// Why the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The bytes are wrong; the connection is still open.
    Open,
    /// Nothing more arrived for this long.
    Silent(Duration),
    /// The expected bytes arrived after this time, which is too early.
    Early(Duration),
    Closed(End),
}

/// How a server ended its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Eof,
    Reset,
    /// TLS: a FIN without `close_notify`.
    Truncated,
    Other,
}

impl End {
    fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Other,
        }
    }
}

/// A client of the server under test.
pub(super) struct Client {
    stream: ClientStream,
    pub(super) received: Vec<u8>,
    end: Option<End>,
    /// Bytes that are still to be sent, one after each pause.
    drip: Option<Drip>,
    /// The bytes that it has sent since the last correct reply.
    sent: Vec<u8>,
    /// Whether it has not closed its sending half.
    sends: bool,
}

struct Drip {
    pause: Duration,
    next: Instant,
    bytes: std::vec::IntoIter<u8>,
}

/// The result of waiting for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Data,
    Ended(End),
    TimedOut,
}

impl Client {
    pub(super) async fn connect(connector: &Connector) -> Result<Self, Failed> {
        let stream = connector.connect().await.map_err(Failed::NoConnection)?;
        Ok(Self { stream, received: Vec::new(), end: None, drip: None, sent: Vec::new(), sends: true })
    }

    /// Sends bytes within the time. A failure shows when the client reads.
    pub(super) async fn send(&mut self, bytes: &[u8], deadline: Instant) {
        self.sent.extend_from_slice(bytes);
        let _ = timeout_at(deadline, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await;
    }

    pub(super) async fn half_close(&mut self, deadline: Instant) {
        self.sends = false;
        let _ = timeout_at(deadline, self.stream.shutdown()).await;
    }

    pub(super) fn into_stream(self) -> ClientStream {
        self.stream
    }

    /// Makes the close of this client a reset, which withdraws a move in play.
    pub(super) fn reset_on_close(&self) {
        // Without this option, the close sends a FIN.
        let _ = self.stream.set_zero_linger();
    }

    /// Waits for bytes.
    pub(super) async fn wait(&mut self, deadline: Instant) -> Wait {
        if let Some(end) = self.end {
            return Wait::Ended(end);
        }
        let mut buffer = [0; READ_BYTES];
        loop {
            let next = self.drip.as_ref().map_or(deadline, |drip| drip.next.min(deadline));
            let read = tokio::select! {
                biased;
                read = self.stream.read(&mut buffer) => read,
                () = sleep_until(next) => {
                    if Instant::now() >= deadline {
                        return Wait::TimedOut;
                    }
                    self.send_drip(deadline).await;
                    continue;
                }
            };
            let end = match read {
                Ok(0) => End::Eof,
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    return Wait::Data;
                }
                Err(error) => End::from_error(&error),
            };
            self.end = Some(end);
            return Wait::Ended(end);
        }
    }

    async fn send_drip(&mut self, deadline: Instant) {
        let Some(drip) = &mut self.drip else { return };
        drip.next += drip.pause;
        match drip.bytes.next() {
            Some(byte) => self.send(&[byte], deadline).await,
            None => self.drip = None,
        }
    }

    /// Reads until the pattern is complete, and removes its bytes. Returns the difference otherwise.
    pub(super) async fn receive(&mut self, pattern: &Pattern, timeout: Duration) -> Result<Vec<u8>, Ending> {
        let deadline = Instant::now() + timeout;
        loop {
            let is_open = match pattern.compare(&self.received) {
                Match::Complete(length) => return Ok(self.received.drain(..length).collect()),
                Match::Mismatch(_) => return Err(self.rest().await),
                Match::Partial => false,
                Match::Open => true,
            };
            let until = if is_open { deadline.min(Instant::now() + MESSAGE_PAUSE) } else { deadline };
            match self.wait(until).await {
                Wait::Data => {}
                Wait::TimedOut | Wait::Ended(End::Eof) if is_open => return Ok(std::mem::take(&mut self.received)),
                Wait::TimedOut => return Err(Ending::Silent(timeout)),
                Wait::Ended(end) => return Err(Ending::Closed(end)),
            }
        }
    }

    /// Reads the end of the stream, before which nothing may arrive.
    pub(super) async fn receive_end(&mut self, timeout: Duration) -> Result<(), Ending> {
        let deadline = Instant::now() + timeout;
        loop {
            if !self.received.is_empty() {
                return Err(self.rest().await);
            }
            match self.wait(deadline).await {
                Wait::Data => {}
                Wait::Ended(End::Eof) => return Ok(()),
                Wait::Ended(end) => return Err(Ending::Closed(end)),
                Wait::TimedOut => return Err(Ending::Silent(timeout)),
            }
        }
    }

    /// Checks that nothing arrives for this long.
    pub(super) async fn quiet(&mut self, duration: Duration) -> Result<(), Ending> {
        let deadline = Instant::now() + duration;
        match if self.received.is_empty() { self.wait(deadline).await } else { Wait::Data } {
            Wait::TimedOut => Ok(()),
            Wait::Data => Err(self.rest().await),
            Wait::Ended(end) => Err(Ending::Closed(end)),
        }
    }

    /// Reads the rest of a reply that is wrong.
    async fn rest(&mut self) -> Ending {
        while self.received.len() < MAX_WRONG {
            match self.wait(Instant::now() + 5 * EXTRA_BYTES_WAIT).await {
                Wait::Data => {}
                Wait::TimedOut => break,
                Wait::Ended(end) => return Ending::Closed(end),
            }
        }
        Ending::Open
    }
}

/// How long the pauses of one attempt are.
struct Pauses {
    factor: u32,
    max: Duration,
}

/// The clients of one attempt at a case, and the bytes exchanged so far.
struct Dialogue<'a> {
    connector: &'a Connector,
    timeout: Duration,
    pauses: Pauses,
    clients: BTreeMap<u32, Client>,
    history: Vec<Exchanged>,
    clock: Instant,
    /// When the next step has to be done.
    within: Option<(Duration, Duration)>,
}

/// How many times longer the pauses of a case are at each attempt. A busy server may need more time to notice, for
/// instance, that a player has left; a wrong one fails at each attempt.
const PAUSE_FACTORS: [u32; 3] = [1, 5, 20];

/// Performs the steps of a case. Each step may take `timeout`. A case with pauses is repeated with longer ones before it
/// counts as failed, but none is longer than `max_pause`.
///
/// # Errors
///
/// The first difference of the last attempt.
pub(super) async fn perform(
    case: &Case,
    connector: &Connector,
    timeout: Duration,
    max_pause: Duration,
) -> Result<(), Failed> {
    let has_pause = case.steps.iter().any(|step| matches!(step.action, CaseAction::Pause(_)));
    let attempts = if has_pause { PAUSE_FACTORS.len() } else { 1 };
    let mut result = Ok(());
    for pause_factor in PAUSE_FACTORS.into_iter().take(attempts) {
        let clock = Instant::now();
        let (clients, history) = (BTreeMap::new(), Vec::new());
        let pauses = Pauses { factor: pause_factor, max: max_pause };
        result = Dialogue { connector, timeout, pauses, clients, history, clock, within: None }.run(case).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

impl Dialogue<'_> {
    async fn run(&mut self, case: &Case) -> Result<(), Failed> {
        let mut result = self.perform(case).await;
        if result.is_ok() && case.level > Level::Core {
            result = self.finish().await;
        }
        if result.is_err() {
            // Moves in play must not meet those of the next case.
            self.clients.values().for_each(Client::reset_on_close);
        }
        result
    }

    async fn perform(&mut self, case: &Case) -> Result<(), Failed> {
        for (number, step) in case.steps.iter().enumerate() {
            let next = case.steps.get(number + 1).map(|step| &step.action);
            let is_last = next == Some(&CaseAction::ReceiveEnd);
            self.step(step.client, &step.action, is_last).await?;
        }
        Ok(())
    }

    async fn step(&mut self, number: u32, action: &CaseAction, is_last_reply: bool) -> Result<(), Failed> {
        let deadline = Instant::now() + self.timeout;
        match action {
            CaseAction::Pause(duration) => sleep((*duration * self.pauses.factor).min(self.pauses.max)).await,
            CaseAction::Clock => self.clock = Instant::now(),
            CaseAction::Within(least, most) => self.within = Some((*least, *most)),
            CaseAction::Close => drop(self.clients.remove(&number)),
            CaseAction::Reset => {
                if let Some(client) = self.clients.remove(&number) {
                    client.reset_on_close();
                }
            }
            CaseAction::Send(bytes) => {
                self.record(number, '>', bytes.clone());
                self.client(number).await?.send(bytes, deadline).await;
            }
            CaseAction::Drip(pause, bytes) => {
                let next = Instant::now() + *pause;
                self.record(number, '>', bytes.clone());
                let drip = Drip { pause: *pause, next, bytes: bytes.clone().into_iter() };
                self.client(number).await?.drip = Some(drip);
            }
            CaseAction::HalfClose => self.client(number).await?.half_close(deadline).await,
            CaseAction::Truncate => {
                let client = self.client(number).await?;
                client.sends = false;
                // A failure shows when the client reads.
                let _ = client.stream.shutdown_socket();
            }
            CaseAction::Quiet(duration) => {
                let result = self.client(number).await?.quiet(*duration).await;
                result.map_err(|ending| self.difference(number, Expected::Quiet(*duration), ending))?;
            }
            CaseAction::Receive(pattern) => self.receive(number, pattern, is_last_reply).await?,
            CaseAction::ReceiveEnd => {
                let timeout = self.time_left();
                let result = self.client(number).await?.receive_end(timeout).await;
                let result = result.and_then(|()| self.check_time());
                result.map_err(|ending| self.difference(number, Expected::End, ending))?;
            }
            // The caller runs it.
            CaseAction::Program(_) => {}
        }
        Ok(())
    }

    async fn receive(&mut self, number: u32, pattern: &Pattern, is_last_reply: bool) -> Result<(), Failed> {
        let timeout = self.time_left();
        let client = self.client(number).await?;
        let result = client.receive(pattern, timeout).await;
        client.drip = None;
        let (bytes, in_time) = match result {
            Ok(bytes) => (bytes, self.check_time()),
            Err(ending) => return Err(self.difference(number, Expected::Bytes(pattern.clone()), ending)),
        };
        let client = self.client(number).await?;
        if let Err(ending) = in_time {
            client.received.splice(..0, bytes);
            return Err(self.difference(number, Expected::Bytes(pattern.clone()), ending));
        }
        // A bare reply has no terminator, so a wrong one, such as a line feed, arrives now.
        if !pattern.ends_line() && !is_last_reply && client.quiet(EXTRA_BYTES_WAIT).await == Err(Ending::Open) {
            client.received.splice(..0, bytes);
            return Err(self.difference(number, Expected::Bytes(pattern.clone()), Ending::Open));
        }
        client.sent.clear();
        self.record(number, '<', bytes);
        Ok(())
    }

    /// Half-closes all clients, and checks that the server sends nothing more and ends its streams.
    async fn finish(&mut self) -> Result<(), Failed> {
        let numbers: Vec<_> = self.clients.keys().copied().collect();
        for number in numbers {
            if self.client(number).await?.end.is_some() {
                continue;
            }
            if self.client(number).await?.sends {
                self.step(number, &CaseAction::HalfClose, false).await?;
            }
            self.step(number, &CaseAction::ReceiveEnd, false).await?;
        }
        Ok(())
    }

    /// Returns the client with this number, which connects at its first step.
    async fn client(&mut self, number: u32) -> Result<&mut Client, Failed> {
        match self.clients.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                Ok(entry.insert(Client::connect(self.connector).await?))
            }
        }
    }

    fn record(&mut self, client: u32, direction: char, bytes: Vec<u8>) {
        self.history.push(Exchanged { client, direction, bytes });
    }

    /// Returns how long the next step may take.
    fn time_left(&self) -> Duration {
        match self.within {
            Some((_, most)) => (self.clock + most).saturating_duration_since(Instant::now()),
            None => self.timeout,
        }
    }

    /// Checks that a step was not done too early, and forgets its times.
    fn check_time(&mut self) -> Result<(), Ending> {
        let elapsed = self.clock.elapsed();
        match self.within.take() {
            Some((least, _)) if elapsed < least => Err(Ending::Early(elapsed)),
            _ => Ok(()),
        }
    }

    fn difference(&mut self, number: u32, expected: Expected, ending: Ending) -> Failed {
        let (received, sent, half_closed) = match self.clients.get_mut(&number) {
            Some(client) => (std::mem::take(&mut client.received), std::mem::take(&mut client.sent), !client.sends),
            None => Default::default(),
        };
        let dialogue = std::mem::take(&mut self.history);
        Failed::Different(Box::new(Difference {
            dialogue,
            sent,
            half_closed,
            expected,
            received,
            ending,
            p: None,
            mistake: None,
        }))
    }
}
