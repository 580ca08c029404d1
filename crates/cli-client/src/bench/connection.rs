//! One connection under load: sends requests and verifies every reply.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use proto::client::{Connector, Error, ErrorKind, Phase, Pipeline, Violation};
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::quoted::Quoted;
use proto::wire::rps::{Move, Reply, UnknownByte};
use rand::RngExt;
use tokio::sync::Semaphore;
use tokio_util::codec::Decoder;

use super::plan::{Plan, Workload};
use super::stats::Outcomes;
use crate::error::CliError;
use crate::language::texts;

/// Maximum size of the reply buffer in bytes. More replies in flight take several reads.
const MAX_READ: usize = 65_536;

/// Number of random moves in the ring that all connections share. Each connection starts at a random position.
const MOVE_RING: usize = 4096;

/// The start of a TLS record with an alert (RFC 8446, section 5.1).
const TLS_ALERT: &[u8] = b"\x15\x03";

/// Maximum concurrent connects per thread. A server's accept queue is bounded; when it is full, a connect is retried
/// only after a second (listen(2)).
const MAX_CONCURRENT_CONNECTS: usize = 128;

/// A connection that opens on demand, and reopens after a failure.
#[derive(Debug)]
pub(super) struct LoadConnection {
    open: Option<Pipeline>,
    connecting: Arc<Semaphore>,
    verifier: Verifier,
}

/// The result of verifying one or more replies.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Number of requests that the replies belong to. A reply that closes the connection belongs to all requests in
    /// flight.
    pub(super) count: usize,
    /// The outcomes of the rounds if the replies are correct, or the error of one wrong reply.
    pub(super) result: Result<Outcomes, CliError>,
}

impl LoadConnection {
    /// Creates a connection to the first server of this plan; [`LoadConnection::sibling`] creates more.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let ring = if plan.workload.is_game() { MOVE_RING } else { 1 };
        let requests = plan.request_bytes(plan.batch() + ring - 1);
        let request_length = plan.request_bytes(1).len();
        let expected = plan.expected_reply();
        let verifier = Verifier { plan, server: 0, requests, request_length, expected, ring, next: 0, pending: 0 };
        Self { open: None, connecting: Arc::new(Semaphore::new(MAX_CONCURRENT_CONNECTS)), verifier }
    }

    /// Creates the connection with this number, from 0, which shares the request bytes with this one. Connections use
    /// the servers in turn.
    pub(super) fn sibling(&self, number: u64) -> Self {
        let servers = self.verifier.plan.connectors.len() as u64;
        let server = usize::try_from(number % servers).unwrap_or_default();
        let next = rand::rng().random_range(0..self.verifier.ring);
        Self {
            open: None,
            connecting: Arc::clone(&self.connecting),
            verifier: Verifier { server, next, ..self.verifier.clone() },
        }
    }

    /// Connects unless the connection is open.
    pub(super) async fn connect(&mut self) -> Result<(), CliError> {
        self.open = Some(self.pipeline().await?);
        Ok(())
    }

    async fn pipeline(&mut self) -> Result<Pipeline, CliError> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let plan = &self.verifier.plan;
        let replies = (plan.batch() * self.verifier.expected.len()).clamp(64, MAX_READ);
        let min_read_bytes = if plan.keep_alive { replies } else { ClientCodec::MAX_REPLY_LEN };
        let final_error = match plan.workload {
            Workload::Power { .. } => Some(ClientCodec::ERROR_BYTE),
            Workload::Rps | Workload::Duel => Some(Reply::Full.byte()),
            Workload::Exchange { .. } => None,
        };
        // The semaphore is never closed.
        let _turn = self.connecting.acquire().await;
        let pipeline = Pipeline::open(self.verifier.connector().clone(), min_read_bytes, final_error).await?;
        if plan.workload == Workload::Duel {
            // A reset withdraws a move in play. After a FIN the server would still play it against another player.
            let _ = pipeline.stream().set_zero_linger();
        }
        Ok(pipeline)
    }

    /// Returns the server's IP address if the connection is open, and if it has one.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.open.as_ref()?.stream().peer_addr()
    }

    /// Adds to an error of an exchange what may help.
    pub(super) fn explained(&self, error: CliError) -> CliError {
        let is_exchange = matches!(self.verifier.plan.workload, Workload::Exchange { .. });
        error.with_hint(|kind, _| {
            let is_longer = is_exchange && matches!(kind, ErrorKind::Protocol(Violation::Unsolicited));
            is_longer.then(texts::hint_expect)
        })
    }

    /// Sends `count` requests, and calls `on_verdict` as replies arrive. An error covers all requests without a
    /// verdict. Keeps the connection open only in a keep-alive plan and if all replies were correct.
    pub(super) async fn request(&mut self, count: usize, mut on_verdict: impl FnMut(Verdict)) -> Result<(), CliError> {
        let mut pipeline = self.pipeline().await?;
        let verifier = &mut self.verifier;
        if verifier.plan.keep_alive {
            pipeline.check_early()?;
        }
        pipeline.send(verifier.expect(count), verifier.plan.framing == Framing::EndOfStream);
        let mut keep = verifier.plan.keep_alive;
        while verifier.pending > 0 {
            let verdict = pipeline.reply(verifier).await?;
            keep &= verdict.result.is_ok();
            verifier.pending -= verdict.count;
            verifier.next += verdict.count;
            on_verdict(verdict);
        }
        pipeline.check_unsolicited()?;
        self.open = keep.then_some(pipeline);
        Ok(())
    }
}

/// Decodes replies, and compares each with the expected one.
#[derive(Clone, Debug)]
struct Verifier {
    plan: Arc<Plan>,
    /// Index of the server among the connectors of the plan.
    server: usize,
    /// The requests of all connections. A game reads its moves from this ring; the next batch starts where the last one
    /// ended.
    requests: Bytes,
    request_length: usize,
    expected: Bytes,
    ring: usize,
    /// Number of the request that the next reply belongs to.
    next: usize,
    /// Number of requests without a reply.
    pending: usize,
}

impl Verifier {
    /// Returns the bytes of the next `count` requests, and expects their replies.
    fn expect(&mut self, count: usize) -> Bytes {
        self.pending = count;
        self.next %= self.ring;
        let first = self.next * self.request_length;
        self.requests.slice(first..first + count * self.request_length)
    }

    fn verify(&self, bytes: &mut BytesMut, ended: bool) -> Result<Option<Verdict>, ErrorKind> {
        let Plan { keep_alive, framing, .. } = *self.plan;
        if framing == Framing::EndOfStream && !ended && bytes.len() <= ClientCodec::MAX_REPLY_LEN {
            return Ok(None);
        }
        let (request, expected) = match &self.plan.workload {
            Workload::Power { request, expected } => (request, expected),
            Workload::Exchange { .. } => return self.verify_bytes(bytes),
            Workload::Rps | Workload::Duel => return Ok(self.verify_rounds(bytes)),
        };
        if let Some(verdict) = self.take_expected(bytes) {
            return Ok(Some(verdict));
        }
        // The reply may be correct but have another line end.
        let mut codec = ClientCodec::new(framing);
        let reply = if ended { codec.decode_eof(bytes)? } else { codec.decode(bytes)? };
        let Some(reply) = reply else { return Ok(None) };
        if !keep_alive && !bytes.is_empty() {
            return Err(Violation::Unsolicited.into());
        }
        let mut count = 1;
        let result = match reply {
            Ok(number) if number.value().to_bits() == expected.value().to_bits() => Ok(Outcomes::default()),
            Ok(number) => Err(self.wrong_reply(&request.to_string(), &number.to_string(), &expected.to_string())),
            Err(reply) => {
                if ended || reply.code.closes_connection() {
                    count = self.pending;
                    bytes.clear();
                }
                Err(CliError::from_reply(self.address(), &reply))
            }
        };
        Ok(Some(Verdict { count, result }))
    }

    /// Takes leading replies that equal the expected bytes and need no decoding. On a short connection the reply must
    /// be all of the bytes.
    fn take_expected(&self, bytes: &mut BytesMut) -> Option<Verdict> {
        if !self.plan.keep_alive && *bytes != self.expected {
            return None;
        }
        let replies = bytes.chunks_exact(self.expected.len()).take(self.pending);
        let count = replies.take_while(|reply| *reply == self.expected).count();
        bytes.advance(count * self.expected.len());
        (count > 0).then(|| Verdict { count, result: Ok(Outcomes::default()) })
    }

    /// Verifies replies that are always the same. After a wrong reply the start of the next one is unknown.
    fn verify_bytes(&self, bytes: &mut BytesMut) -> Result<Option<Verdict>, ErrorKind> {
        let length = bytes.len().min(self.expected.len());
        if !self.expected.starts_with(&bytes[..length]) {
            return Ok(Some(self.wrong_bytes(&bytes.split())));
        }
        // Bytes after the last reply. Of a short connection all bytes belong to it.
        let replies = if self.plan.keep_alive { self.pending } else { 1 };
        let extra = bytes.get(replies * self.expected.len()..).filter(|extra| !extra.is_empty());
        match extra {
            Some(extra) if extra.starts_with(&self.expected) => Err(Violation::Unsolicited.into()),
            Some(extra) if bytes[..bytes.len() - extra.len()] == self.expected.repeat(replies) => {
                let request = Quoted(&self.requests[..self.request_length]);
                let (expected, extra) = (Quoted(&self.expected), Quoted(extra));
                let message = texts::longer_reply(self.address(), request, expected, extra);
                Ok(Some(Verdict { count: self.pending, result: Err(CliError::WrongReply(message)) }))
            }
            _ => Ok(self.take_expected(bytes)),
        }
    }

    /// Returns the error of a reply with other bytes than expected.
    fn wrong_bytes(&self, reply: &[u8]) -> Verdict {
        let request = &self.requests[..self.request_length];
        let [request, quoted, expected] = [request, reply, &self.expected].map(|bytes| Quoted(bytes).to_string());
        let mut message = texts::wrong_reply(self.address(), &request, &quoted, &expected);
        if reply.starts_with(TLS_ALERT) {
            message += &texts::hint_tls();
        }
        Verdict { count: self.pending, result: Err(CliError::WrongReply(message)) }
    }

    /// Verifies the replies to moves: takes the correct ones at the front, or else the first reply.
    fn verify_rounds(&self, bytes: &mut BytesMut) -> Option<Verdict> {
        let is_duel = self.plan.workload == Workload::Duel;
        // The budget of a duel may count only some of the replies, so each has its own verdict.
        let max = if is_duel { 1 } else { self.pending };
        let mut outcomes = Outcomes::default();
        let rounds = bytes.iter().zip(&self.requests[self.next..]).take(max);
        let expected = rounds.take_while(|&(&byte, &mv)| {
            (is_duel || byte != Reply::Void.byte()) && outcomes.count(Move::from_byte(mv), byte)
        });
        let count = expected.count();
        if count > 0 {
            bytes.advance(count);
            return Some(Verdict { count, result: Ok(outcomes) });
        }
        let byte = bytes.try_get_u8().ok()?;
        let (count, error) = match (Reply::from_byte(byte), Move::from_byte(self.requests[self.next])) {
            (Some(Reply::Void), _) => (1, CliError::WrongReply(texts::house_void(self.address()))),
            (Some(Reply::Full), _) => {
                bytes.clear();
                (self.pending, self.error(ErrorKind::Full))
            }
            (Some(Reply::NotAMove), Some(mv)) => {
                let error = self.error(Violation::RejectedMove(mv).into());
                // The error replies of the power server begin with the same byte.
                (1, error.with_hint(|_, _| (!is_duel).then(texts::hint_probe_rps)))
            }
            _ => (1, self.error(Violation::InvalidByte(UnknownByte(byte)).into())),
        };
        Some(Verdict { count, result: Err(error) })
    }

    fn error(&self, kind: ErrorKind) -> CliError {
        Error { address: self.address().to_owned(), phase: Phase::Reply, kind }.into()
    }

    fn connector(&self) -> &Connector {
        &self.plan.connectors[self.server]
    }

    fn address(&self) -> &str {
        self.connector().address()
    }

    fn wrong_reply(&self, request: &str, reply: &str, expected: &str) -> CliError {
        CliError::WrongReply(texts::wrong_reply(self.address(), request, reply, expected))
    }
}

impl Decoder for Verifier {
    type Item = Verdict;
    type Error = ErrorKind;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Verdict>, ErrorKind> {
        self.verify(bytes, false)
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<Verdict>, ErrorKind> {
        self.verify(bytes, true)
    }
}
