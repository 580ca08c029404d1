//! One connection under load: sends requests, and holds every answer against what is right.

use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use proto::client::stream::Stream;
use proto::client::{Endpoint, Error, ErrorKind, Phase, Violation};
use proto::wire::power::Reply;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::quoted::Quoted;
use proto::wire::rps::{Answer, Move, UnknownByte};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use super::plan::{Plan, Style, Work};
use super::tally::Outcomes;
use crate::failure::Failure;
use crate::language::texts;

/// What is read at once at the most; more in flight is read in turn.
const READ: usize = 65_536;

/// After so many moves a connection's come again. They are random, and connections begin at different places.
const CIRCLE: usize = 4096;

/// The bytes of one connection's requests and answers. Connections come and go on it.
#[derive(Debug)]
pub(super) struct Link {
    work: Work,
    /// The requests of all connections. Games begin each exchange where the one before ended, in a circle.
    requests: Arc<[u8]>,
    request_length: usize,
    circle: usize,
    next: usize,
    /// Whether the connection has answered before.
    heard: bool,
    /// The right answer, byte for byte as our own servers write it; what is written otherwise is read.
    right: Bytes,
    bytes: BytesMut,
    limit: Duration,
}

/// What came of one or more requests.
#[derive(Debug)]
pub(super) enum Told {
    /// So many were answered right, and the rounds in them ended so.
    Right(usize, Outcomes),
    /// One was answered, and not right.
    NotRight(Failure),
}

impl Link {
    /// The bytes of one connection, of which there may be many more for the same plan: see [`Link::another`].
    pub(super) fn new(plan: &Plan) -> Self {
        let right = match &plan.work {
            Work::Power { right, style: Style::Short(Framing::EndOfStream | Framing::Bare), .. } => {
                format!("d{right}").into()
            }
            Work::Power { right, .. } => format!("d{right}\n").into(),
            Work::Rps | Work::Duel => Bytes::from_static(b"?"),
            Work::Exchange { expect, .. } => expect.clone(),
        };
        let room = (plan.batch() * right.len()).clamp(64, READ);
        let circle = if plan.work.is_game() { CIRCLE } else { 1 };
        Self {
            work: plan.work.clone(),
            requests: plan.work.requests(plan.batch() + circle - 1).into(),
            request_length: plan.work.requests(1).len(),
            circle,
            next: 0,
            heard: false,
            right,
            bytes: BytesMut::with_capacity(room),
            limit: plan.limit,
        }
    }

    /// The bytes of another connection, which has its requests in common with this one.
    pub(super) fn another(&self) -> Self {
        Self {
            work: self.work.clone(),
            requests: Arc::clone(&self.requests),
            right: self.right.clone(),
            bytes: BytesMut::with_capacity(self.bytes.capacity()),
            next: rand::rng().random_range(0..self.circle),
            ..*self
        }
    }

    /// A connection for this work.
    pub(super) async fn connect(&mut self, endpoint: &Endpoint) -> Result<Stream, Failure> {
        self.heard = false;
        let stream = endpoint.connect().await?;
        if self.work.leaves_unanswered() {
            // Closed in order, a move would still be played against somebody.
            let _ = stream.set_zero_linger();
        }
        Ok(stream)
    }

    /// Asks once on a connection of its own, and hears the answer to its end.
    pub(super) async fn ask_once(
        &mut self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        framing: Framing,
    ) -> Result<(), Failure> {
        self.bytes.clear();
        let exchanged = timeout(self.limit, self.exchange_once(stream, endpoint, framing)).await;
        exchanged.unwrap_or_else(|_| {
            let phase = if self.bytes.is_empty() { Phase::Reply } else { Phase::End };
            Err(trouble(endpoint, phase, ErrorKind::TimedOut(self.limit)))
        })
    }

    async fn exchange_once(
        &mut self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        framing: Framing,
    ) -> Result<(), Failure> {
        let sent = async {
            stream.write_all(&self.requests[..self.request_length]).await?;
            if framing == Framing::EndOfStream { stream.shutdown().await } else { Ok(()) }
        }
        .await;
        // A power server that refuses does so without reading, and sending may then fail: its reply says why.
        let is_power = matches!(self.work, Work::Power { .. });
        loop {
            self.bytes.reserve(ClientCodec::LONGEST_REPLY);
            let read = stream.read_buf(&mut self.bytes).await;
            let ended = match read {
                Ok(length) => length == 0,
                Err(_) if is_power && self.bytes.starts_with(b"e") => true,
                Err(error) => return Err(trouble(endpoint, Phase::Reply, sent.err().unwrap_or(error).into())),
            };
            // The end of the stream is the reply's; one that never comes is given up for its length.
            if !ended && framing == Framing::EndOfStream && self.bytes.len() <= ClientCodec::LONGEST_REPLY {
                continue;
            }
            if self.bytes[..] == self.right[..] {
                return Ok(());
            }
            if !is_power {
                if self.bytes.starts_with(&self.right) {
                    return Err(trouble(endpoint, Phase::Reply, Violation::Unasked.into()));
                }
                if !self.right.starts_with(&self.bytes) {
                    return Err(self.other_bytes(endpoint));
                }
                if ended {
                    return Err(trouble(endpoint, Phase::Reply, Violation::NoReply.into()));
                }
                continue;
            }
            let mut codec = ClientCodec::new(framing);
            let decoded = if ended { codec.decode_eof(&mut self.bytes) } else { codec.decode(&mut self.bytes) };
            match decoded {
                Ok(Some(reply)) if self.bytes.is_empty() => return self.judge(endpoint, reply),
                Ok(Some(_)) => return Err(trouble(endpoint, Phase::Reply, Violation::Unasked.into())),
                Ok(None) if ended => return Err(trouble(endpoint, Phase::Reply, Violation::NoReply.into())),
                Ok(None) => {}
                Err(error) => return Err(trouble(endpoint, Phase::Reply, error.into())),
            }
        }
    }

    /// Asks so many times on a kept connection, and tells of the answers as they come. An error is of all that have not
    /// been told of; the connection is then of no more use.
    pub(super) async fn ask(
        &mut self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        count: usize,
        mut told: impl FnMut(Told),
    ) -> Result<(), Failure> {
        self.bytes.clear();
        // What is there before it has been asked for is the answer to nothing.
        let mut early = [0];
        if let Ok(1..) = stream.try_read(&mut early) {
            self.bytes.extend_from_slice(&early);
            return Err(self.last_words(endpoint, Violation::Unasked.into()));
        }
        let first = self.next;
        self.next = (self.next + count) % self.circle;
        let mut sent = self.request_length * first;
        let end = sent + self.request_length * count;
        let mut answered = 0;
        while answered < count {
            let limit = self.limit;
            let reading = poll_fn(|context| self.poll_both_ways(context, stream, &mut sent, end));
            let Ok(read) = timeout(limit, reading).await else {
                let phase = if self.bytes.is_empty() { Phase::Reply } else { Phase::End };
                return Err(trouble(endpoint, phase, ErrorKind::TimedOut(limit)));
            };
            let left = count - answered;
            let taken = match self.work {
                Work::Power { .. } => self.take_lines(endpoint, left, &mut told)?,
                Work::Rps | Work::Duel => self.take_frames(endpoint, first + answered, left, &mut told)?,
                Work::Exchange { .. } => self.take_alike(endpoint, left, &mut told)?,
            };
            answered += taken;
            self.heard |= taken > 0;
            match read {
                Ok(0) if answered < count => {
                    let ended = if self.heard { ErrorKind::Closed } else { Violation::NoReply.into() };
                    return Err(self.last_words(endpoint, ended));
                }
                Ok(_) => {}
                Err(error) => return Err(self.last_words(endpoint, error.into())),
            }
        }
        if self.bytes.is_empty() { Ok(()) } else { Err(trouble(endpoint, Phase::Reply, Violation::Unasked.into())) }
    }

    /// Why a connection has ended: what the server said last, without an end of its own, or else this.
    fn last_words(&mut self, endpoint: &Endpoint, otherwise: ErrorKind) -> Failure {
        if let Work::Power { .. } = self.work {
            return match ClientCodec::new(Framing::Line).decode_eof(&mut self.bytes) {
                Ok(Some(Err(refusal))) => Failure::refused(endpoint.address(), &refusal),
                Ok(_) => trouble(endpoint, Phase::Reply, otherwise),
                Err(error) if matches!(otherwise, ErrorKind::Closed | ErrorKind::Protocol(_)) => {
                    trouble(endpoint, Phase::End, error.into())
                }
                Err(_) => trouble(endpoint, Phase::End, otherwise),
            };
        }
        let full = self.work.is_game() && self.bytes.first().copied().and_then(Answer::from_byte) == Some(Answer::Full);
        trouble(endpoint, Phase::Reply, if full { ErrorKind::Full } else { otherwise })
    }

    /// Sends what can be sent, and waits for something to read: a server that waits for its answers to be read takes no
    /// more requests. Where sending fails, what the server has said still comes first.
    fn poll_both_ways(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        sent: &mut usize,
        end: usize,
    ) -> Poll<io::Result<usize>> {
        while *sent < end {
            match Pin::new(&mut *stream).poll_write(context, &self.requests[*sent..end]) {
                Poll::Ready(Ok(written)) => *sent += written,
                Poll::Ready(Err(_)) => *sent = end,
                Poll::Pending => break,
            }
        }
        self.bytes.reserve(1);
        poll_read_buf(Pin::new(stream), context, &mut self.bytes)
    }

    /// Takes the answers that have come, up to so many.
    fn take_lines(&mut self, endpoint: &Endpoint, most: usize, told: &mut impl FnMut(Told)) -> Result<usize, Failure> {
        let mut taken = 0;
        while taken < most {
            let alike = self.take_whole(most - taken, told);
            taken += alike;
            if alike > 0 {
                continue;
            }
            match ClientCodec::new(Framing::Line).decode(&mut self.bytes) {
                // A server closes the connection with it, so it is the answer to all that are still to come.
                Ok(Some(Err(refusal))) if refusal.code.is_last() => {
                    return Err(Failure::refused(endpoint.address(), &refusal));
                }
                Ok(Some(reply)) => match self.judge(endpoint, reply) {
                    Ok(()) => told(Told::Right(1, Outcomes::default())),
                    Err(failure) => told(Told::NotRight(failure)),
                },
                Ok(None) => break,
                Err(error) => return Err(trouble(endpoint, Phase::Reply, error.into())),
            }
            taken += 1;
        }
        Ok(taken)
    }

    /// Takes the answers that are right byte for byte, up to the first that is not.
    fn take_whole(&mut self, most: usize, told: &mut impl FnMut(Told)) -> usize {
        let answers = self.bytes.chunks_exact(self.right.len()).take(most);
        let alike = answers.take_while(|answer| *answer == self.right).count();
        if alike > 0 {
            self.bytes.advance(alike * self.right.len());
            told(Told::Right(alike, Outcomes::default()));
        }
        alike
    }

    /// The same where there is one right answer, and where another one begins nobody knows after a wrong one.
    fn take_alike(&mut self, endpoint: &Endpoint, most: usize, told: &mut impl FnMut(Told)) -> Result<usize, Failure> {
        let taken = self.take_whole(most, told);
        let next = &self.bytes[..self.bytes.len().min(self.right.len())];
        if taken < most && !self.right.starts_with(next) {
            return Err(self.other_bytes(endpoint));
        }
        Ok(taken)
    }

    /// The server has said something else than what is right.
    fn other_bytes(&self, endpoint: &Endpoint) -> Failure {
        let [asked, answer, right] =
            [&self.requests[..self.request_length], &self.bytes, &self.right].map(|bytes| Quoted(bytes).to_string());
        Failure::WrongAnswer(texts::wrong_answer(endpoint.address(), &asked, &answer, &right))
    }

    /// The same for frames, of which the first answers the move of this number.
    fn take_frames(
        &mut self,
        endpoint: &Endpoint,
        first: usize,
        most: usize,
        told: &mut impl FnMut(Told),
    ) -> Result<usize, Failure> {
        let count = self.bytes.len().min(most);
        let frames = self.bytes.split_to(count);
        let (mut right, mut outcomes) = (0, Outcomes::default());
        for (&frame, &shown) in frames.iter().zip(&self.requests[first..]) {
            let shown = Move::from_byte(shown);
            let failure = match (Answer::from_byte(frame), shown) {
                (Some(Answer::Void), _) if self.work == Work::Rps => {
                    Failure::WrongAnswer(texts::house_voids(endpoint.address()))
                }
                (Some(Answer::Judged(_) | Answer::Void), _) => {
                    outcomes.count(shown, frame);
                    right += 1;
                    // The last player of a duel may have no use for all of them, so they are told of one by one.
                    if self.work == Work::Duel {
                        told(Told::Right(take(&mut right), take(&mut outcomes)));
                    }
                    continue;
                }
                (Some(Answer::Full), _) => {
                    told(Told::Right(right, outcomes));
                    return Err(trouble(endpoint, Phase::Reply, ErrorKind::Full));
                }
                (Some(Answer::NoMove), Some(shown)) => trouble(endpoint, Phase::Reply, Violation::NoMove(shown).into()),
                _ => trouble(endpoint, Phase::Reply, Violation::Answer(UnknownByte(frame)).into()),
            };
            told(Told::Right(take(&mut right), take(&mut outcomes)));
            told(Told::NotRight(failure));
        }
        told(Told::Right(right, outcomes));
        Ok(count)
    }

    /// Whether a reply that is written otherwise than ours is right all the same.
    fn judge(&self, endpoint: &Endpoint, reply: Reply) -> Result<(), Failure> {
        let Work::Power { request, right, .. } = self.work else { return Ok(()) };
        match reply {
            Ok(number) if number.value().to_bits() == right.value().to_bits() => Ok(()),
            Ok(number) => {
                let (asked, answer, right) = (request.to_string(), number.to_string(), right.to_string());
                Err(Failure::WrongAnswer(texts::wrong_answer(endpoint.address(), &asked, &answer, &right)))
            }
            Err(refusal) => Err(Failure::refused(endpoint.address(), &refusal)),
        }
    }
}

fn trouble(endpoint: &Endpoint, phase: Phase, kind: ErrorKind) -> Failure {
    Error { address: endpoint.address().to_owned(), phase, kind }.into()
}
