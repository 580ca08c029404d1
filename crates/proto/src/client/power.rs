//! The power client: a short connection a request, or one kept alive with requests in flight.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use futures::{FutureExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio::try_join;
use tokio_util::codec::Encoder;

use super::pipeline::{phase_of, read_reply};
use super::stream::ClientStream;
use super::{Endpoint, Error, ErrorKind, Phase, Violation, with_timeout};
use crate::wire::number::Number;
use crate::wire::power::client::{ClientCodec, Framing};
use crate::wire::power::{Operation, Reply, Request};

/// Asks a power server, each request on a connection of its own.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::Endpoint;
/// use proto::client::power::Client;
/// use proto::wire::power::Operation;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?.to_string();
/// # tokio::spawn(async move {
/// #     let (mut stream, _) = listener.accept().await.unwrap();
/// #     stream.read_to_end(&mut Vec::new()).await.unwrap();
/// #     stream.write_all(b"d4.0").await.unwrap();
/// # });
/// let client = Client::new(Endpoint::new(address)); // of a running server, such as "localhost:5000"
/// let reply = client.request(Operation::Square, "2".parse()?).await?;
/// match reply {
///     Ok(number) => assert_eq!(number.to_string(), "4.0"),
///     Err(refusal) => eprintln!("the server says {refusal}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    framing: Framing,
    pieces: Option<Chunking>,
}

impl Client {
    /// A client of this server. Nothing is sent yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, framing: Framing::default(), pieces: None }
    }

    /// The same client with another way to end its requests on short connections.
    #[must_use]
    pub fn with_framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// The same client, which sends each request in pieces: as a network may, so that it can be seen what comes of it.
    #[must_use]
    pub fn with_chunking(self, pieces: Chunking) -> Self {
        Self { pieces: Some(pieces), ..self }
    }

    /// Connects, asks, reads the answer and closes. A refusal is an answer too.
    ///
    /// # Errors
    ///
    /// Whatever keeps an answer from coming within the limits.
    pub async fn request(&self, operation: Operation, operand: Number) -> Result<Reply, Error> {
        let (mut reading, mut writing) = self.endpoint.connect().await?.into_split();
        let timeouts = self.endpoint.timeouts();
        let mut codec = ClientCodec::new(self.framing);
        let (mut request, mut bytes) = (BytesMut::new(), BytesMut::new());
        let encoded = codec.encode(Request { operation, operand }, &mut request);
        let sending = async {
            encoded?;
            send(&mut writing, &request, self.pieces, timeouts.send).await?;
            if self.framing == Framing::EndOfStream {
                with_timeout(timeouts.send, writing.shutdown()).await?;
            }
            Ok::<_, ErrorKind>(())
        };
        let (reply, sent) = {
            let reply = read_reply(&mut reading, &mut codec, &mut bytes, ROOM);
            let (mut reply, mut sending) = (pin!(reply), pin!(sending));
            tokio::select! {
                biased;
                // A server that refuses a connection does so without reading, and sending may then fail: its reply says
                // why.
                sent = &mut sending => (with_timeout(timeouts.reply, reply).await, sent),
                // It may also answer before it has all, which is to be seen when it does.
                early = &mut reply => (early, Ok(())),
            }
        };
        let kind = match reply {
            Ok(Some(reply)) if bytes.is_empty() => return Ok(reply),
            Ok(Some(_)) => Violation::Unsolicited.into(),
            Ok(None) => Violation::NoReply.into(),
            Err(kind) => kind,
        };
        Err(match sent {
            Ok(()) => self.endpoint.error(phase_of(&bytes), kind),
            Err(kind) => self.endpoint.error(Phase::Send, kind),
        })
    }

    /// Connects once, sends a request for each operand without waiting for replies, and passes each reply to `on_reply`
    /// with its operand. Sends the buffered requests whenever the next operand is not there yet.
    ///
    /// # Errors
    ///
    /// If the connection fails, if `on_reply` does, or if an operand is an error, after the replies to those before it.
    pub async fn request_all<E: From<Error>>(
        &self,
        operation: Operation,
        operands: impl futures::Stream<Item = Result<Number, E>>,
        mut on_reply: impl FnMut(Number, Reply) -> Result<(), E>,
    ) -> Result<(), E> {
        let (requests, mut replies) = self.connect().await?;
        // Operands without a reply. The connection bounds how many are in flight.
        let in_flight = RefCell::new(VecDeque::new());
        let receiving = async {
            while let Some(reply) = replies.receive().await? {
                // There is one: `receive` returns replies only to requests in flight.
                let Some(operand) = in_flight.borrow_mut().pop_front() else { break };
                on_reply(operand, reply)?;
            }
            Ok::<_, E>(())
        };
        // Where the connection breaks, the reading side has the reason, and sending on is useless. After an error in
        // sending, what is in flight is still answered.
        let sending = async { Ok(requests.send_all(operation, operands, &in_flight).await) };
        let ((), sent) = try_join!(receiving, sending)?;
        sent
    }

    /// Connects once, for many requests, each a line; the replies come in order. The two directions are for two tasks
    /// that keep many requests in flight.
    ///
    /// ```
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use proto::client::Endpoint;
    /// use proto::client::power::Client;
    /// use proto::wire::power::Operation;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?.to_string();
    /// # tokio::spawn(async move {
    /// #     let (mut stream, _) = listener.accept().await.unwrap();
    /// #     stream.read_to_end(&mut Vec::new()).await.unwrap();
    /// #     stream.write_all(b"d4.0\nd9.0\n").await.unwrap();
    /// # });
    /// let (mut requests, mut replies) = Client::new(Endpoint::new(address)).connect().await?;
    /// let asking = async {
    ///     for number in ["2", "3"] {
    ///         requests.send(Operation::Square, number.parse()?).await?;
    ///     }
    ///     requests.finish().await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(())
    /// };
    /// let hearing = async {
    ///     let mut squares = Vec::new();
    ///     while let Some(reply) = replies.receive().await? {
    ///         squares.push(reply.map_err(|refusal| refusal.to_string())?.value());
    ///     }
    ///     Ok::<_, Box<dyn std::error::Error>>(squares)
    /// };
    /// let (asked, squares) = tokio::join!(asking, hearing);
    /// asked?;
    /// assert_eq!(squares?, [4.0, 9.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being made within the limits.
    pub async fn connect(&self) -> Result<(Requests, Replies), Error> {
        let (read, write) = self.endpoint.connect().await?.into_split();
        // The queue holds what is in flight, so it bounds it too.
        let (asked, in_flight) = mpsc::channel(IN_FLIGHT);
        let endpoint = self.endpoint.clone();
        let codec = ClientCodec::new(Framing::Line);
        let stream = BufWriter::new(write);
        let requests = Requests { stream, codec, pieces: self.pieces, asked, endpoint: endpoint.clone() };
        let bytes = BytesMut::new();
        Ok((requests, Replies { stream: read, codec, in_flight, bytes, heard: false, unasked: false, endpoint }))
    }
}

/// How a request is sent in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// How many bytes a piece has; the last one may have fewer.
    pub bytes: NonZeroUsize,
    /// How long to wait between two.
    pub pause: Duration,
}

/// Sends bytes at once, or in pieces, each of which has the whole limit.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    pieces: Option<Chunking>,
    limit: Duration,
) -> Result<(), ErrorKind> {
    let Some(Chunking { bytes: length, pause }) = pieces else {
        return with_timeout(limit, stream.write_all(bytes)).await;
    };
    for (number, piece) in bytes.chunks(length.get()).enumerate() {
        if number > 0 {
            sleep(pause).await;
        }
        with_timeout(limit, async {
            stream.write_all(piece).await?;
            stream.flush().await
        })
        .await?;
    }
    Ok(())
}

/// So many requests are in flight on one connection at the most: enough that neither side waits for the other on any
/// path, and few enough that neither holds much for it.
const IN_FLIGHT: usize = 1024;

/// A bare reply is what one read delivers, so there has to be room for all of it.
const ROOM: usize = ClientCodec::MAX_REPLY_LEN;

/// The direction to the server.
#[derive(Debug)]
pub struct Requests {
    stream: BufWriter<ClientStream<OwnedWriteHalf>>,
    codec: ClientCodec,
    pieces: Option<Chunking>,
    asked: mpsc::Sender<()>,
    endpoint: Endpoint,
}

impl Requests {
    /// Sends a request, or keeps it to send it together with others: [`Requests::flush`] sends what is kept.
    ///
    /// While as many are in flight as may be, this flushes and waits for [`Replies::receive`] to make room.
    ///
    /// # Errors
    ///
    /// If the network does not take it within the limit, or the [`Replies`] have been dropped.
    pub async fn send(&mut self, operation: Operation, operand: Number) -> Result<(), Error> {
        if self.asked.try_send(()).is_err() {
            self.flush().await?;
            let gone = |_| ErrorKind::Io(io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for the reply"));
            self.asked.send(()).await.map_err(|error| self.failed(gone(error)))?;
        }
        let mut line = BytesMut::new();
        let written = async {
            self.codec.encode(Request { operation, operand }, &mut line)?;
            send(&mut self.stream, &line, self.pieces, self.endpoint.timeouts().send).await
        };
        written.await.map_err(|kind| self.failed(kind))
    }

    /// Sends what has been kept.
    ///
    /// # Errors
    ///
    /// If the network does not take it within the limit.
    pub async fn flush(&mut self) -> Result<(), Error> {
        with_timeout(self.endpoint.timeouts().send, self.stream.flush()).await.map_err(|kind| self.failed(kind))
    }

    async fn send_all<E: From<Error>>(
        mut self,
        operation: Operation,
        operands: impl futures::Stream<Item = Result<Number, E>>,
        in_flight: &RefCell<VecDeque<Number>>,
    ) -> Result<(), E> {
        let mut operands = pin!(operands);
        let sent = async {
            loop {
                let next = if let Some(next) = operands.try_next().now_or_never() {
                    next?
                } else {
                    self.flush().await?;
                    operands.try_next().await?
                };
                let Some(operand) = next else { return Ok(()) };
                in_flight.borrow_mut().push_back(operand);
                self.send(operation, operand).await?;
            }
        }
        .await;
        let finished = self.finish().await;
        sent.and(finished.map_err(E::from))
    }

    /// Sends what has been kept and closes this direction: there will be no more requests.
    ///
    /// # Errors
    ///
    /// If the network does not take it within the limit.
    pub async fn finish(mut self) -> Result<(), Error> {
        with_timeout(self.endpoint.timeouts().send, self.stream.shutdown()).await.map_err(|kind| self.failed(kind))
    }

    fn failed(&self, kind: ErrorKind) -> Error {
        self.endpoint.error(Phase::Send, kind)
    }
}

/// The direction from the server.
#[derive(Debug)]
pub struct Replies {
    stream: ClientStream<OwnedReadHalf>,
    codec: ClientCodec,
    in_flight: mpsc::Receiver<()>,
    bytes: BytesMut,
    /// Whether there has been a reply.
    heard: bool,
    /// Whether there has been more than was asked for.
    unasked: bool,
    endpoint: Endpoint,
}

impl Replies {
    /// Waits for the next request to be sent, and then for its reply: `None` once there are no more requests.
    ///
    /// # Errors
    ///
    /// Whatever keeps a reply from coming within the limit.
    pub async fn receive(&mut self) -> Result<Option<Reply>, Error> {
        // What comes while nothing is in flight: the last words of a server that closes. A number would be the answer to
        // nothing.
        let mut broken = None;
        let asked = tokio::select! {
            biased;
            asked = self.in_flight.recv() => asked,
            read = self.stream.read_buf(&mut self.bytes), if self.bytes.is_empty() => {
                broken = read.err();
                self.check_unsolicited();
                self.in_flight.recv().await
            }
        };
        let kind = if self.unasked {
            Violation::Unsolicited.into()
        } else if asked.is_none() {
            return Ok(None);
        } else if let Some(error) = broken {
            ErrorKind::Io(error)
        } else {
            let reply = read_reply(&mut self.stream, &mut self.codec, &mut self.bytes, ROOM);
            match with_timeout(self.endpoint.timeouts().reply, reply).await {
                Ok(Some(reply)) => {
                    self.heard = true;
                    if self.in_flight.is_empty() {
                        self.check_unsolicited();
                    }
                    return Ok(Some(reply));
                }
                // One request alone, after others were answered: it has crossed with the server's close.
                Ok(None) if self.heard && self.in_flight.is_empty() => ErrorKind::Closed,
                Ok(None) => Violation::NoReply.into(),
                Err(kind) => kind,
            }
        };
        Err(self.endpoint.error(phase_of(&self.bytes), kind))
    }

    /// With nothing in flight, whatever is there now was there before the next request.
    fn check_unsolicited(&mut self) {
        self.unasked = !matches!(self.bytes.first(), None | Some(b'e'));
    }
}
