//! One connection under load: sends requests, and holds every answer against what is right.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use proto::client::stream::Stream;
use proto::client::{Endpoint, Error, ErrorKind, Phase, Violation};
use proto::wire::power::Reply;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::rps::{Answer, Move, UnknownByte};
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

/// After so many requests a connection's come again. Moves are random, and so are those of two players to each other.
const CIRCLE: usize = 256;

/// The bytes of one connection's requests and answers. Connections come and go on it.
#[derive(Debug)]
pub(super) struct Link {
    work: Work,
    /// The requests of a connection, from the first of which on those of the next exchange are taken in a circle.
    requests: Vec<u8>,
    request_length: usize,
    next: usize,
    /// The right answer, byte for byte as our own servers write it; what is written otherwise is read.
    right: Vec<u8>,
    bytes: BytesMut,
    limit: Duration,
}

impl Link {
    pub(super) fn new(plan: &Plan) -> Self {
        let right = match plan.work {
            Work::Power { right, style: Style::Short(Framing::EndOfStream | Framing::Bare), .. } => format!("d{right}"),
            Work::Power { right, .. } => format!("d{right}\n"),
            Work::Rps | Work::Duel => "?".to_owned(),
        };
        let room = (plan.in_flight * right.len()).clamp(64, READ);
        Self {
            work: plan.work,
            requests: plan.work.requests(plan.in_flight + CIRCLE - 1),
            request_length: plan.work.requests(1).len(),
            next: 0,
            right: right.into_bytes(),
            bytes: BytesMut::with_capacity(room),
            limit: plan.limit,
        }
    }

    /// A connection for this work.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Stream, Failure> {
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
        // A server that refuses does so without reading, and sending may then fail: its reply says why.
        loop {
            self.bytes.reserve(ClientCodec::LONGEST_REPLY);
            let read = stream.read_buf(&mut self.bytes).await;
            let ended = match read {
                Ok(length) => length == 0,
                Err(_) if self.bytes.starts_with(b"e") => true,
                Err(error) => return Err(trouble(endpoint, Phase::Reply, sent.err().unwrap_or(error).into())),
            };
            // The end of the stream is the reply's; one that never comes is given up for its length.
            if !ended && framing == Framing::EndOfStream && self.bytes.len() <= ClientCodec::LONGEST_REPLY {
                continue;
            }
            if self.bytes[..] == self.right[..] {
                return Ok(());
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

    /// Asks so many times on a kept connection, and tells of each lot of answers as it comes, and of how the rounds in it
    /// ended.
    pub(super) async fn ask(
        &mut self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        count: usize,
        told: impl FnMut(usize, Outcomes),
    ) -> Result<(), Failure> {
        let exchanged = timeout(self.limit, self.exchange(stream, endpoint, count, told)).await;
        exchanged.unwrap_or_else(|_| Err(trouble(endpoint, Phase::Reply, ErrorKind::TimedOut(self.limit))))
    }

    async fn exchange(
        &mut self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        count: usize,
        mut told: impl FnMut(usize, Outcomes),
    ) -> Result<(), Failure> {
        self.bytes.clear();
        let mut sent = self.request_length * self.next;
        let end = sent + self.request_length * count;
        self.next = (self.next + count) % CIRCLE;
        let mut answered = 0;
        while answered < count {
            let read = poll_fn(|context| self.poll_both_ways(context, stream, &mut sent, end)).await;
            let mut outcomes = Outcomes::default();
            let right = self.take_answers(endpoint, count - answered, &mut outcomes);
            if let Ok(right @ 1..) = right {
                answered += right;
                told(right, outcomes);
            }
            right?;
            match read {
                Ok(0) if answered < count => return Err(trouble(endpoint, Phase::Reply, ErrorKind::Closed)),
                Ok(_) => {}
                Err(error) => return Err(trouble(endpoint, Phase::Reply, error.into())),
            }
        }
        if self.bytes.is_empty() { Ok(()) } else { Err(trouble(endpoint, Phase::Reply, Violation::Unasked.into())) }
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

    /// Takes as many right answers as there are, up to so many.
    fn take_answers(&mut self, endpoint: &Endpoint, most: usize, outcomes: &mut Outcomes) -> Result<usize, Failure> {
        match self.work {
            Work::Power { .. } => self.take_lines(endpoint, most),
            Work::Rps | Work::Duel => self.take_frames(endpoint, most, outcomes),
        }
    }

    fn take_lines(&mut self, endpoint: &Endpoint, most: usize) -> Result<usize, Failure> {
        let mut taken = 0;
        while taken < most {
            let right = self.bytes.chunks_exact(self.right.len()).take(most - taken);
            let alike = right.take_while(|line| *line == self.right).count();
            if alike > 0 {
                self.bytes.advance(alike * self.right.len());
                taken += alike;
                continue;
            }
            match ClientCodec::new(Framing::Line).decode(&mut self.bytes) {
                Ok(Some(reply)) => self.judge(endpoint, reply)?,
                Ok(None) => break,
                Err(error) => return Err(trouble(endpoint, Phase::Reply, error.into())),
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn take_frames(&mut self, endpoint: &Endpoint, most: usize, outcomes: &mut Outcomes) -> Result<usize, Failure> {
        let count = self.bytes.len().min(most);
        let frames = self.bytes.split_to(count);
        let strange = frames.iter().find(|&&frame| !outcomes.count(frame));
        if let Some(&strange) = strange {
            let kind = match Answer::from_byte(strange) {
                Some(Answer::Full) => ErrorKind::Full,
                Some(_) => Violation::NoMove(Move::Scissors).into(),
                None => Violation::Answer(UnknownByte(strange)).into(),
            };
            return Err(trouble(endpoint, Phase::Reply, kind));
        }
        if outcomes.void > 0 && self.work == Work::Rps {
            return Err(Failure::WrongAnswer(texts::house_voids(endpoint.address())));
        }
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
