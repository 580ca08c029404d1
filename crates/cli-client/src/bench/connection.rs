//! One connection under load: sends requests, and verifies every reply.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use proto::client::{Error, ErrorKind, Phase, Pipeline, Violation};
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::quoted::Quoted;
use proto::wire::rps::{Answer, Move, UnknownByte};
use rand::RngExt;
use tokio::sync::Semaphore;
use tokio_util::codec::Decoder;

use super::plan::{ConnMode, Plan, Workload};
use super::stats::Outcomes;
use crate::failure::Failure;
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
    /// Which of the plan's endpoints is next.
    endpoint: usize,
    verifier: Verifier,
}

/// What a reply, or several at once, is.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This many are right, and the rounds in them ended so.
    Right(usize, Outcomes),
    /// One is not right.
    Wrong(Failure),
    /// It is the reply to all requests in flight: the server closes with it, or the next one cannot be found.
    Last(Failure),
}

impl LoadConnection {
    /// A connection for this plan; [`LoadConnection::another`] makes more.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let ring = if plan.workload.is_game() { MOVE_RING } else { 1 };
        let requests = plan.request_bytes(plan.batch() + ring - 1);
        let request_length = plan.request_bytes(1).len();
        let right = plan.right_reply();
        let verifier = Verifier { plan, requests, request_length, right, ring, next: 0, awaited: 0 };
        Self { open: None, connecting: Arc::new(Semaphore::new(MAX_CONCURRENT_CONNECTS)), endpoint: 0, verifier }
    }

    /// The connection of this number, which shares its requests with this one. It begins with an address of its own.
    pub(super) fn another(&self, number: usize) -> Self {
        let next = rand::rng().random_range(0..self.verifier.ring);
        Self {
            open: None,
            connecting: Arc::clone(&self.connecting),
            endpoint: number % self.verifier.plan.endpoints.len(),
            verifier: Verifier { next, ..self.verifier.clone() },
        }
    }

    /// Connects, unless there is a connection already.
    pub(super) async fn connect(&mut self) -> Result<(), Failure> {
        self.open = Some(self.pipeline().await?);
        Ok(())
    }

    async fn pipeline(&mut self) -> Result<Pipeline, Failure> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let plan = &self.verifier.plan;
        let endpoint = plan.endpoints[self.endpoint].clone();
        let mut room = (plan.batch() * self.verifier.right.len()).clamp(64, MAX_READ);
        if self.verifier.is_short() {
            room = ClientCodec::LONGEST_REPLY;
            self.endpoint = (self.endpoint + 1) % plan.endpoints.len();
        }
        let farewell = match plan.workload {
            Workload::Power { .. } => Some(b'e'),
            Workload::Rps | Workload::Duel => Some(Answer::Full.byte()),
            Workload::Exchange { .. } => None,
        };
        // It is never closed.
        let _turn = self.connecting.acquire().await;
        let pipeline = Pipeline::open(endpoint, room, farewell).await?;
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

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Sends `count` requests, and passes on the verdicts as replies come. An error is of all requests without a verdict.
    pub(super) async fn ask(&mut self, count: usize, mut passed: impl FnMut(Verdict)) -> Result<(), Failure> {
        let mut pipeline = self.pipeline().await?;
        let verifier = &mut self.verifier;
        let half_close = verifier.plan.mode == ConnMode::Short(Framing::EndOfStream);
        pipeline.send(verifier.expect(count), half_close)?;
        while verifier.awaited > 0 {
            match pipeline.reply(verifier).await? {
                Verdict::Last(failure) => return Err(failure),
                verdict => passed(verdict),
            }
        }
        pipeline.check_unasked()?;
        if !verifier.is_short() {
            self.open = Some(pipeline);
        }
        Ok(())
    }
}

/// Decodes replies, and holds each against what is right.
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
    fn is_short(&self) -> bool {
        self.plan.mode != ConnMode::Kept
    }

    /// Expects the replies to the next `count` requests, which it returns.
    fn expect(&mut self, count: usize) -> Bytes {
        self.awaited = count;
        self.next %= self.ring;
        let first = self.next * self.request_length;
        self.requests.slice(first..first + count * self.request_length)
    }

    fn took(&mut self, count: usize) {
        self.awaited -= count;
        self.next += count;
    }

    fn right(&mut self, count: usize, outcomes: Outcomes) -> Verdict {
        self.took(count);
        Verdict::Right(count, outcomes)
    }

    fn wrong(&mut self, failure: Failure) -> Verdict {
        self.took(1);
        Verdict::Wrong(failure)
    }

    /// How many of the first replies are right byte for byte, and need no decoding.
    fn count_right(&self, bytes: &[u8]) -> usize {
        if self.is_short() {
            return usize::from(*bytes == self.right);
        }
        bytes.chunks_exact(self.right.len()).take(self.awaited).take_while(|reply| *reply == self.right).count()
    }

    fn verify(&mut self, bytes: &mut BytesMut, ended: bool) -> Result<Option<Verdict>, ErrorKind> {
        if self.plan.workload.is_game() {
            return Ok(self.verify_round(bytes));
        }
        let framing = self.plan.framing();
        if framing == Framing::EndOfStream && !ended && bytes.len() <= ClientCodec::LONGEST_REPLY {
            return Ok(None);
        }
        let right = self.count_right(bytes);
        if right > 0 {
            bytes.advance(right * self.right.len());
            return Ok(Some(self.right(right, Outcomes::default())));
        }
        let Workload::Power { request, right } = self.plan.workload else { return self.verify_bytes(bytes) };
        let mut codec = ClientCodec::new(framing);
        let reply = if ended { codec.decode_eof(bytes)? } else { codec.decode(bytes)? };
        match reply {
            None => Ok(None),
            Some(_) if self.is_short() && !bytes.is_empty() => Err(Violation::Unasked.into()),
            // It may be written otherwise than ours.
            Some(Ok(number)) if number.value().to_bits() == right.value().to_bits() => {
                Ok(Some(self.right(1, Outcomes::default())))
            }
            Some(Ok(number)) => {
                Ok(Some(self.wrong(self.wrong_reply(&request.to_string(), &number.to_string(), &right.to_string()))))
            }
            Some(Err(refusal)) => {
                let failure = Failure::refused(self.address(), &refusal);
                let last = ended || refusal.code.is_last();
                Ok(Some(if last { Verdict::Last(failure) } else { self.wrong(failure) }))
            }
        }
    }

    /// Verifies the beginning of a reply that is not right as a whole. Where the next reply begins after a wrong one is
    /// unknown.
    fn verify_bytes(&self, bytes: &[u8]) -> Result<Option<Verdict>, ErrorKind> {
        if !self.right.starts_with(&bytes[..bytes.len().min(self.right.len())]) {
            let request = &self.requests[..self.request_length];
            let [request, reply, right] = [request, bytes, &self.right].map(|bytes| Quoted(bytes).to_string());
            return Ok(Some(Verdict::Last(self.wrong_reply(&request, &reply, &right))));
        }
        if bytes.len() > self.right.len() { Err(Violation::Unasked.into()) } else { Ok(None) }
    }

    /// Verifies the replies to moves: those at the front that are right, or else the first.
    fn verify_round(&mut self, bytes: &mut BytesMut) -> Option<Verdict> {
        let is_duel = self.plan.workload == Workload::Duel;
        // The last player of a duel may have no use for all of them, so each is passed on alone.
        let most = if is_duel { 1 } else { self.awaited };
        let (mut right, mut outcomes) = (0, Outcomes::default());
        for (&frame, &shown) in bytes.iter().zip(&self.requests[self.next..]).take(most) {
            if (frame == Answer::Void.byte() && !is_duel) || !outcomes.count(Move::from_byte(shown), frame) {
                break;
            }
            right += 1;
        }
        if right > 0 {
            bytes.advance(right);
            return Some(self.right(right, outcomes));
        }
        let frame = *bytes.first()?;
        bytes.advance(1);
        let violation = match (Answer::from_byte(frame), Move::from_byte(self.requests[self.next])) {
            (Some(Answer::Full), _) => return Some(Verdict::Last(self.failure(ErrorKind::Full))),
            (Some(Answer::Void), _) => {
                return Some(self.wrong(Failure::WrongAnswer(texts::house_voids(self.address()))));
            }
            (Some(Answer::NoMove), Some(shown)) => Violation::NoMove(shown),
            _ => Violation::Answer(UnknownByte(frame)),
        };
        Some(self.wrong(self.failure(violation.into())))
    }

    fn address(&self) -> &str {
        self.plan.endpoints[0].address()
    }

    fn wrong_reply(&self, request: &str, reply: &str, right: &str) -> Failure {
        Failure::WrongAnswer(texts::wrong_answer(self.address(), request, reply, right))
    }

    fn failure(&self, kind: ErrorKind) -> Failure {
        Error { address: self.address().to_owned(), phase: Phase::Reply, kind }.into()
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
