//! The power client: one connection per request, or one connection for many requests in flight.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio::try_join;
use tokio_util::codec::Encoder;

use super::pipeline::{phase_of, read_reply};
use super::stream::ClientStream;
use super::{Connector, Error, ErrorKind, Phase, Violation};
use crate::wire::number::Number;
use crate::wire::power::client::{ClientCodec, Framing};
use crate::wire::power::{Operation, Reply, Request};

/// A client of a power server. [`request`](Self::request) uses one connection per request,
/// [`request_all`](Self::request_all) and [`connect`](Self::connect) use one connection for many requests.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::Connector;
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
/// // `address` is that of a running server, such as "localhost:5000".
/// let client = Client::new(Connector::new(address.parse()?));
/// let reply = client.request(Operation::Square, "2".parse()?).await?;
/// match reply {
///     Ok(number) => assert_eq!(number.to_string(), "4.0"),
///     Err(error_reply) => eprintln!("error reply: {error_reply}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connector: Connector,
    framing: Framing,
    chunking: Option<Chunking>,
}

impl Client {
    /// Creates a client. Does not connect yet.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self { connector, framing: Framing::default(), chunking: None }
    }

    /// Sets the framing of [`request`](Self::request).
    #[must_use]
    pub fn with_framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// Sends each request in chunks with a pause between them, to test a server with requests that the network splits.
    #[must_use]
    pub fn with_chunking(self, chunking: Chunking) -> Self {
        Self { chunking: Some(chunking), ..self }
    }

    /// Connects, sends one request, reads the reply and closes the connection. An error reply is a [`Reply`], too.
    ///
    /// # Errors
    ///
    /// Fails if no valid reply arrives within the timeouts.
    pub async fn request(&self, operation: Operation, operand: Number) -> Result<Reply, Error> {
        let (mut reading, mut writing) = split(self.connector.connect().await?);
        let timeouts = self.connector.timeouts();
        let mut codec = ClientCodec::new(self.framing);
        let (mut request, mut bytes) = (BytesMut::new(), BytesMut::new());
        let encoded = codec.encode(Request { operation, operand }, &mut request);
        let sending = async {
            encoded?;
            send(&mut writing, &request, self.chunking, &self.connector).await?;
            if self.framing == Framing::EndOfStream {
                self.connector.with_timeout(timeouts.send, writing.shutdown()).await
            } else {
                self.connector.with_timeout(timeouts.send, writing.flush()).await
            }
        };
        let (reply, sent) = {
            let reset_error = self.connector.reset_error(Some(ClientCodec::ERROR_BYTE));
            let reply = read_reply(&mut reading, &mut codec, &mut bytes, MIN_READ_BYTES, reset_error);
            let (mut reply, mut sending) = (pin!(reply), pin!(sending));
            tokio::select! {
                biased;
                // A server that rejects a connection replies and closes without reading, so sending may fail. Its reply
                // is the better error.
                sent = &mut sending => (self.connector.with_timeout(timeouts.reply, reply).await, sent),
                // A server may reply before it has received the whole request. Return that reply at once.
                early = &mut reply => (early, Ok(())),
            }
        };
        let kind = match reply {
            Ok(Some(reply)) if bytes.is_empty() => return Ok(reply),
            Ok(Some(_)) => Violation::Unsolicited.into(),
            Ok(None) => Violation::NoReply.into(),
            Err(kind) => kind,
        };
        Err(match (sent, kind) {
            // The server's alert is the reason why sending failed.
            (Ok(()), kind) | (Err(_), kind @ (ErrorKind::Handshake(_) | ErrorKind::Protocol(Violation::Tls(_)))) => {
                self.connector.error(phase_of(&bytes), kind)
            }
            (Err(kind), _) => self.connector.error(Phase::Send, kind),
        })
    }

    /// Sends a request for each operand without waiting for replies, on one connection, and passes each reply to
    /// `on_reply` with its operand. Connects when the first operand is ready. Flushes the buffered requests when the
    /// next operand is not ready.
    ///
    /// A server may close an idle connection. The next operand then gets a new connection. Requests that were sent
    /// while the server closed are sent again, which is harmless: a request changes nothing on the server.
    ///
    /// # Errors
    ///
    /// Fails if the connection or `on_reply` fails. If an operand is an error, returns it after the replies to the
    /// operands before it.
    pub async fn request_all<E: From<Error>>(
        &self,
        operation: Operation,
        operands: impl futures::Stream<Item = Result<Number, E>>,
        mut on_reply: impl FnMut(Number, Reply) -> Result<(), E>,
    ) -> Result<(), E> {
        // The error ends the operands. It is kept here, because the server may close the idle connection at the same
        // time, and the next connection must not lose it.
        let operand_error = Cell::new(None);
        let valid = |operand: Result<_, E>| operand.map_err(|error| operand_error.set(Some(error))).ok();
        let mut operands = pin!(operands.scan((), |(), operand| ready(valid(operand))).fuse());
        // Operands without a reply. `connect` limits their number.
        let in_flight = RefCell::new(VecDeque::new());
        loop {
            if in_flight.borrow().is_empty() {
                let Some(operand) = operands.next().await else { return operand_error.take().map_or(Ok(()), Err) };
                in_flight.borrow_mut().push_back(operand);
            }
            let (requests, mut replies) = self.connect().await?;
            let receiving = async {
                loop {
                    match replies.receive_event().await.map_err(|error| Stop::Failed(error.into()))? {
                        Received::Reply(reply) => {
                            // Never empty here: there are replies only to requests in flight.
                            let Some(operand) = in_flight.borrow_mut().pop_front() else { return Ok(()) };
                            on_reply(operand, reply).map_err(Stop::Failed)?;
                        }
                        Received::End => return Ok(()),
                        Received::IdleClose { .. } => return Err(Stop::IdleClose),
                    }
                }
            };
            // A receive error stops sending at once: it has the reason why the connection failed. After a send error,
            // replies to the requests in flight are still received.
            let sending = async { Ok(requests.send_all(operation, operands.as_mut(), &in_flight).await) };
            match try_join!(receiving, sending) {
                Ok(((), sent)) => return operand_error.take().map_or(sent.map_err(E::from), Err),
                Err(Stop::Failed(error)) => return Err(error),
                // There was a reply, so this ends if the operands do.
                Err(Stop::IdleClose) => {}
            }
        }
    }

    /// Connects once for many requests. Each request is a line, and the replies arrive in order. With one task per
    /// direction, many requests can be in flight.
    ///
    /// ```
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use proto::client::Connector;
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
    /// let (mut requests, mut replies) = Client::new(Connector::new(address.parse()?)).connect().await?;
    /// let sending = async {
    ///     for number in ["2", "3"] {
    ///         requests.send(Operation::Square, number.parse()?).await?;
    ///     }
    ///     requests.finish().await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(())
    /// };
    /// let receiving = async {
    ///     let mut squares = Vec::new();
    ///     while let Some(reply) = replies.receive().await? {
    ///         squares.push(reply.map_err(|error_reply| error_reply.to_string())?.value());
    ///     }
    ///     Ok::<_, Box<dyn std::error::Error>>(squares)
    /// };
    /// let (sent, squares) = tokio::join!(sending, receiving);
    /// sent?;
    /// assert_eq!(squares?, [4.0, 9.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the connection cannot be made within the timeouts.
    pub async fn connect(&self) -> Result<(Requests, Replies), Error> {
        let (read, write) = split(self.connector.connect().await?);
        // One item per request in flight: the channel's capacity limits their number.
        let (sent, in_flight) = mpsc::channel(MAX_IN_FLIGHT);
        let connector = self.connector.clone();
        let codec = ClientCodec::new(Framing::Line);
        let stream = BufWriter::new(write);
        let requests =
            Requests { stream, codec, chunking: self.chunking, in_flight: sent, connector: connector.clone() };
        let replies = Replies {
            stream: read,
            codec,
            in_flight,
            bytes: BytesMut::new(),
            was_idle: false,
            is_unsolicited: false,
            connector,
        };
        Ok((requests, replies))
    }
}

/// How a request is split into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// The size of a chunk in bytes. The last chunk may be shorter.
    pub bytes: NonZeroUsize,
    /// The pause between two chunks.
    pub pause: Duration,
}

/// Sends bytes at once or in chunks. Each chunk may take up to the send timeout.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    chunking: Option<Chunking>,
    connector: &Connector,
) -> Result<(), ErrorKind> {
    let timeout = connector.timeouts().send;
    let Some(Chunking { bytes: size, pause }) = chunking else {
        return connector.with_timeout(timeout, stream.write_all(bytes)).await;
    };
    for (number, chunk) in bytes.chunks(size.get()).enumerate() {
        if number > 0 {
            sleep(pause).await;
        }
        let written = async {
            stream.write_all(chunk).await?;
            stream.flush().await
        };
        connector.with_timeout(timeout, written).await?;
    }
    Ok(())
}

/// The maximum number of requests in flight on one connection: enough to keep both sides busy on any network path, and
/// few enough that neither side buffers much.
const MAX_IN_FLIGHT: usize = 1024;

/// The minimum read buffer in bytes. One read must deliver a whole bare reply, so the longest reply must fit.
const MIN_READ_BYTES: usize = ClientCodec::MAX_REPLY_LEN;

/// The sending direction of a connection. Only [`finish`](Self::finish) half-closes. The connection is closed when this
/// and the [`Replies`] are dropped.
#[derive(Debug)]
pub struct Requests {
    stream: BufWriter<WriteHalf<ClientStream>>,
    codec: ClientCodec,
    chunking: Option<Chunking>,
    in_flight: mpsc::Sender<()>,
    connector: Connector,
}

impl Requests {
    /// Buffers a request. A full buffer and [`Requests::flush`] send the buffered requests.
    ///
    /// If 1,024 requests are in flight, flushes and waits until [`Replies::receive`] has received a reply.
    ///
    /// # Errors
    ///
    /// Fails if the requests cannot be written within the send timeout, or the [`Replies`] have been dropped.
    pub async fn send(&mut self, operation: Operation, operand: Number) -> Result<(), Error> {
        if self.in_flight.try_send(()).is_err() {
            self.flush().await?;
            let dropped = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver of the replies was dropped");
            self.in_flight.send(()).await.map_err(|error| self.failed(dropped(error).into()))?;
        }
        let mut line = BytesMut::new();
        let written = async {
            self.codec.encode(Request { operation, operand }, &mut line)?;
            send(&mut self.stream, &line, self.chunking, &self.connector).await
        };
        written.await.map_err(|kind| self.failed(kind))
    }

    /// Sends the buffered requests.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written within the send timeout.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.connector
            .with_timeout(self.connector.timeouts().send, self.stream.flush())
            .await
            .map_err(|kind| self.failed(kind))
    }

    /// Sends the operands in flight again, and then the others.
    async fn send_all(
        mut self,
        operation: Operation,
        mut operands: impl futures::Stream<Item = Number> + Unpin,
        in_flight: &RefCell<VecDeque<Number>>,
    ) -> Result<(), Error> {
        let again: Vec<_> = in_flight.borrow().iter().copied().collect();
        let sent = async {
            for operand in again {
                self.send(operation, operand).await?;
            }
            loop {
                let next = if let Some(next) = operands.next().now_or_never() {
                    next
                } else {
                    self.flush().await?;
                    operands.next().await
                };
                let Some(operand) = next else { return Ok(()) };
                in_flight.borrow_mut().push_back(operand);
                self.send(operation, operand).await?;
            }
        }
        .await;
        let finished = self.finish().await;
        sent.and(finished)
    }

    /// Sends the buffered requests and half-closes the connection.
    ///
    /// # Errors
    ///
    /// Fails if the requests cannot be written within the send timeout.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.connector
            .with_timeout(self.connector.timeouts().send, self.stream.shutdown())
            .await
            .map_err(|kind| self.failed(kind))
    }

    fn failed(&self, kind: ErrorKind) -> Error {
        self.connector.error(Phase::Send, kind)
    }
}

/// Why [`Client::request_all`] stops using a connection before its end.
enum Stop<E> {
    Failed(E),
    IdleClose,
}

/// What [`Replies`] has received.
enum Received {
    Reply(Reply),
    /// The [`Requests`] are finished or dropped, and every request has a reply.
    End,
    /// After a reply, the server has closed the connection while no request was in flight. `crossed` is set if requests
    /// were sent meanwhile.
    IdleClose {
        crossed: bool,
    },
}

/// The receiving direction of a connection.
#[derive(Debug)]
pub struct Replies {
    stream: ReadHalf<ClientStream>,
    codec: ClientCodec,
    in_flight: mpsc::Receiver<()>,
    bytes: BytesMut,
    /// Whether the last reply left no request in flight, so that the server may have closed the idle connection since
    /// then.
    was_idle: bool,
    /// Whether the server has sent a reply without a request.
    is_unsolicited: bool,
    connector: Connector,
}

impl Replies {
    /// Waits until a request is in flight, and then for its reply. Returns `None` after the reply to the last request,
    /// if the [`Requests`] are finished or dropped.
    ///
    /// # Errors
    ///
    /// Fails if no valid reply arrives within the reply timeout.
    pub async fn receive(&mut self) -> Result<Option<Reply>, Error> {
        let crossed = match self.receive_event().await? {
            Received::Reply(reply) => return Ok(Some(reply)),
            Received::End => return Ok(None),
            Received::IdleClose { crossed } => crossed,
        };
        // The close matters only if there is another request.
        if crossed || self.in_flight.recv().await.is_some() {
            Err(self.connector.error(Phase::Reply, ErrorKind::Closed))
        } else {
            Ok(None)
        }
    }

    async fn receive_event(&mut self) -> Result<Received, Error> {
        // While no request is in flight, a server may send an error reply before it closes. A number would be a reply
        // without a request.
        let mut read_error = None;
        let in_flight = tokio::select! {
            biased;
            in_flight = self.in_flight.recv() => in_flight,
            read = self.stream.read_buf(&mut self.bytes), if self.bytes.is_empty() => {
                if self.was_idle && is_close(&read) {
                    return Ok(Received::IdleClose { crossed: false });
                }
                read_error = read.err();
                self.check_unsolicited();
                self.in_flight.recv().await
            }
        };
        let kind = if self.is_unsolicited {
            Violation::Unsolicited.into()
        } else if in_flight.is_none() {
            return Ok(Received::End);
        } else if let Some(error) = read_error {
            error.into()
        } else {
            let reset_error = self.connector.reset_error(Some(ClientCodec::ERROR_BYTE));
            let reply = read_reply(&mut self.stream, &mut self.codec, &mut self.bytes, MIN_READ_BYTES, reset_error);
            match self.connector.with_timeout(self.connector.timeouts().reply, reply).await {
                Ok(Some(reply)) => {
                    self.was_idle = self.in_flight.is_empty();
                    if self.was_idle {
                        self.check_unsolicited();
                    }
                    return Ok(Received::Reply(reply));
                }
                Ok(None) if self.was_idle => return Ok(Received::IdleClose { crossed: true }),
                Err(ErrorKind::Io(error)) if self.was_idle && self.bytes.is_empty() && is_reset(&error) => {
                    return Ok(Received::IdleClose { crossed: true });
                }
                Ok(None) => Violation::NoReply.into(),
                Err(kind) => kind,
            }
        };
        Err(self.connector.error(phase_of(&self.bytes), kind))
    }

    /// Checks, while no request is in flight, that the received bytes are not a number: it would have no request.
    fn check_unsolicited(&mut self) {
        self.is_unsolicited = !matches!(self.bytes.first(), None | Some(&ClientCodec::ERROR_BYTE));
    }
}

/// Whether a read has ended the stream.
fn is_close(read: &io::Result<usize>) -> bool {
    match read {
        Ok(bytes) => *bytes == 0,
        // Without a request in flight, an EOF of TLS without `close_notify` truncates nothing.
        Err(error) => is_reset(error) || error.kind() == io::ErrorKind::UnexpectedEof,
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
