//! A client of the server under test: raw bytes in, raw bytes out, and how the stream ended.

use std::io;
use std::time::Duration;

use proto::client::stream::ClientStream;
use proto::client::{Connector, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::pattern::{Match, Pattern};

/// How long to look for more bytes after a bare reply, and after one that does not match. On one machine they arrive at
/// once; a server far away may send them later, and they are then seen at the next step.
pub(super) const EXTRA_BYTES_WAIT: Duration = Duration::from_millis(20);

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
    pub(super) stream: ClientStream,
    pub(super) received: Vec<u8>,
    pub(super) end: Option<End>,
    /// Bytes that are still to be sent, one after each pause.
    pub(super) drip: Option<Drip>,
    /// The bytes that it has sent since the last correct reply.
    pub(super) sent: Vec<u8>,
    /// Whether it has not closed its sending half.
    pub(super) sends: bool,
}

pub(super) struct Drip {
    pub(super) pause: Duration,
    pub(super) next: Instant,
    pub(super) bytes: std::vec::IntoIter<u8>,
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
