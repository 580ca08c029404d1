//! One connection under load: sends requests, and verifies every reply.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use proto::client::{Error, ErrorKind, Phase, Pipeline, Violation};
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

/// The longest read; more in flight is read in turn.
const MAX_READ: usize = 65_536;

/// The moves of a connection repeat after this many. They are random, and connections begin at different places.
const MOVE_RING: usize = 4096;

/// Maximum concurrent connects per thread. A server's accept queue is bounded, and a client that finds no room in it
/// waits for a second (listen(2)).
const MAX_CONCURRENT_CONNECTS: usize = 128;

/// A connection that is made when it is needed, and made anew after a failure.
#[derive(Debug)]
pub(super) struct LoadConnection {
    open: Option<Pipeline>,
    connecting: Arc<Semaphore>,
    verifier: Verifier,
}

/// The result of verifying one reply or more.
#[derive(Debug)]
pub(super) struct Verdict {
    /// How many requests the replies are for. A server that closes with its reply gives it to all in flight.
    pub(super) count: usize,
    /// How the rounds in right replies ended, or the failure of the one wrong reply.
    pub(super) result: Result<Outcomes, CliError>,
}

impl LoadConnection {
    /// A connection for this plan; [`LoadConnection::another`] makes more.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let ring = if plan.workload.is_game() { MOVE_RING } else { 1 };
        let requests = plan.request_bytes(plan.batch() + ring - 1);
        let request_length = plan.request_bytes(1).len();
        let right = plan.right_reply();
        let verifier = Verifier { plan, requests, request_length, right, ring, next: 0, awaited: 0 };
        Self { open: None, connecting: Arc::new(Semaphore::new(MAX_CONCURRENT_CONNECTS)), verifier }
    }

    /// Another connection, which shares its requests with this one.
    pub(super) fn another(&self) -> Self {
        let next = rand::rng().random_range(0..self.verifier.ring);
        Self {
            open: None,
            connecting: Arc::clone(&self.connecting),
            verifier: Verifier { next, ..self.verifier.clone() },
        }
    }

    /// Connects, unless there is a connection already.
    pub(super) async fn connect(&mut self) -> Result<(), CliError> {
        self.open = Some(self.pipeline().await?);
        Ok(())
    }

    async fn pipeline(&mut self) -> Result<Pipeline, CliError> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let plan = &self.verifier.plan;
        let replies = (plan.batch() * self.verifier.right.len()).clamp(64, MAX_READ);
        let room = if plan.kept { replies } else { ClientCodec::MAX_REPLY_LEN };
        let farewell = match plan.workload {
            Workload::Power { .. } => Some(b'e'),
            Workload::Rps | Workload::Duel => Some(Reply::Full.byte()),
            Workload::Exchange { .. } => None,
        };
        // It is never closed.
        let _turn = self.connecting.acquire().await;
        let pipeline = Pipeline::open(plan.endpoint.clone(), room, farewell).await?;
        if plan.workload == Workload::Duel {
            // Closed in order, a move would still be played against another player.
            let _ = pipeline.stream().set_zero_linger();
        }
        Ok(pipeline)
    }

    /// The server's address, where there is a connection and the system still knows it.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.open.as_ref()?.stream().peer_addr().ok()
    }

    /// Sends `count` requests, and passes on the verdicts as replies come. An error is of all requests without a verdict.
    /// The connection is kept only where the plan keeps it and all was right.
    pub(super) async fn ask(&mut self, count: usize, mut passed: impl FnMut(Verdict)) -> Result<(), CliError> {
        let mut pipeline = self.pipeline().await?;
        let verifier = &mut self.verifier;
        if verifier.plan.kept {
            pipeline.check_early()?;
        }
        pipeline.send(verifier.expect(count), verifier.plan.framing == Framing::EndOfStream);
        let mut keep = verifier.plan.kept;
        while verifier.awaited > 0 {
            let verdict = pipeline.reply(verifier).await?;
            keep &= verdict.result.is_ok();
            verifier.awaited -= verdict.count;
            verifier.next += verdict.count;
            passed(verdict);
        }
        pipeline.check_unsolicited()?;
        self.open = keep.then_some(pipeline);
        Ok(())
    }
}

/// Decodes replies, and compares each with the right one.
#[derive(Clone, Debug)]
struct Verifier {
    plan: Arc<Plan>,
    /// The requests of all connections. The moves of a game begin where those before ended, in a ring.
    requests: Bytes,
    request_length: usize,
    right: Bytes,
    ring: usize,
    /// The number of the request that the next reply is for.
    next: usize,
    /// How many replies are still to come.
    awaited: usize,
}

impl Verifier {
    /// Expects the replies to the next `count` requests, which it returns.
    fn expect(&mut self, count: usize) -> Bytes {
        self.awaited = count;
        self.next %= self.ring;
        let first = self.next * self.request_length;
        self.requests.slice(first..first + count * self.request_length)
    }

    fn verify(&self, bytes: &mut BytesMut, ended: bool) -> Result<Option<Verdict>, ErrorKind> {
        let Plan { kept, framing, .. } = *self.plan;
        if framing == Framing::EndOfStream && !ended && bytes.len() <= ClientCodec::MAX_REPLY_LEN {
            return Ok(None);
        }
        let (request, right) = match &self.plan.workload {
            Workload::Power { request, right } => (request, right),
            Workload::Exchange { .. } => return self.verify_bytes(bytes),
            Workload::Rps | Workload::Duel => return Ok(self.verify_rounds(bytes)),
        };
        if let Some(verdict) = self.take_right(bytes) {
            return Ok(Some(verdict));
        }
        // It may be right, and written otherwise than ours.
        let mut codec = ClientCodec::new(framing);
        let reply = if ended { codec.decode_eof(bytes)? } else { codec.decode(bytes)? };
        let Some(reply) = reply else { return Ok(None) };
        if !kept && !bytes.is_empty() {
            return Err(Violation::Unsolicited.into());
        }
        let mut count = 1;
        let result = match reply {
            Ok(number) if number.value().to_bits() == right.value().to_bits() => Ok(Outcomes::default()),
            Ok(number) => Err(self.wrong_reply(&request.to_string(), &number.to_string(), &right.to_string())),
            Err(refusal) => {
                if ended || refusal.code.closes_connection() {
                    count = self.awaited;
                    bytes.clear();
                }
                Err(CliError::refused(self.address(), &refusal))
            }
        };
        Ok(Some(Verdict { count, result }))
    }

    /// Takes the first replies that are right byte for byte, and need no decoding. A reply on a short connection is all
    /// that comes.
    fn take_right(&self, bytes: &mut BytesMut) -> Option<Verdict> {
        if !self.plan.kept && *bytes != self.right {
            return None;
        }
        let replies = bytes.chunks_exact(self.right.len()).take(self.awaited);
        let count = replies.take_while(|reply| *reply == self.right).count();
        bytes.advance(count * self.right.len());
        (count > 0).then(|| Verdict { count, result: Ok(Outcomes::default()) })
    }

    /// Verifies replies that are always the same. Where the next one begins after a wrong one is unknown.
    fn verify_bytes(&self, bytes: &mut BytesMut) -> Result<Option<Verdict>, ErrorKind> {
        let verdict = self.take_right(bytes);
        if verdict.is_none() && !self.right.starts_with(&bytes[..bytes.len().min(self.right.len())]) {
            let request = &self.requests[..self.request_length];
            let [request, reply, right] = [request, &bytes.split(), &self.right].map(|bytes| Quoted(bytes).to_string());
            let result = Err(self.wrong_reply(&request, &reply, &right));
            return Ok(Some(Verdict { count: self.awaited, result }));
        }
        let is_surplus = !self.plan.kept && bytes.len() > self.right.len();
        if is_surplus { Err(Violation::Unsolicited.into()) } else { Ok(verdict) }
    }

    /// Verifies the replies to moves: those at the front that are right, or else the first.
    fn verify_rounds(&self, bytes: &mut BytesMut) -> Option<Verdict> {
        let is_duel = self.plan.workload == Workload::Duel;
        // The last player of a duel may need fewer of them, so each has a separate verdict.
        let most = if is_duel { 1 } else { self.awaited };
        let mut outcomes = Outcomes::default();
        let rounds = bytes.iter().zip(&self.requests[self.next..]).take(most);
        let right = rounds.take_while(|&(&frame, &shown)| {
            (is_duel || frame != Reply::Void.byte()) && outcomes.count(Move::from_byte(shown), frame)
        });
        let count = right.count();
        if count > 0 {
            bytes.advance(count);
            return Some(Verdict { count, result: Ok(outcomes) });
        }
        let frame = bytes.try_get_u8().ok()?;
        let (count, error) = match (Reply::from_byte(frame), Move::from_byte(self.requests[self.next])) {
            (Some(Reply::Void), _) => (1, CliError::WrongAnswer(texts::house_voids(self.address()))),
            (Some(Reply::Full), _) => {
                bytes.clear();
                (self.awaited, self.error(ErrorKind::Full))
            }
            (Some(Reply::NotAMove), Some(shown)) => (1, self.error(Violation::RejectedMove(shown).into())),
            _ => (1, self.error(Violation::InvalidByte(UnknownByte(frame)).into())),
        };
        Some(Verdict { count, result: Err(error) })
    }

    fn error(&self, kind: ErrorKind) -> CliError {
        Error { address: self.address().to_owned(), phase: Phase::Reply, kind }.into()
    }

    fn address(&self) -> &str {
        self.plan.endpoint.address()
    }

    fn wrong_reply(&self, request: &str, reply: &str, right: &str) -> CliError {
        CliError::WrongAnswer(texts::wrong_answer(self.address(), request, reply, right))
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
