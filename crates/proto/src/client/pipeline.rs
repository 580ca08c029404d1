//! A connection for any wire: sends requests while it reads replies, which a decoder finds.

use std::io;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::codec::Decoder;

use super::stream::ClientStream;
use super::{Endpoint, Error, ErrorKind, Phase, Violation, with_timeout};

/// A connection with any number of requests in flight.
///
/// Requests are sent while a reply is waited for: a server that waits for its replies to be read takes no more requests,
/// so that sending all of them first would block both sides. The caller's decoder finds the replies in the bytes that
/// come. An item of the decoder may be many replies, which costs less than one at a time.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::{Endpoint, Pipeline};
/// use proto::wire::power::client::{ClientCodec, Framing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?.to_string();
/// # tokio::spawn(async move {
/// #     let (mut stream, _) = listener.accept().await.unwrap();
/// #     stream.read_exact(&mut [0; 10]).await.unwrap();
/// #     stream.write_all(b"d4.0\nd9.0\n").await.unwrap();
/// # });
/// let mut codec = ClientCodec::new(Framing::Line);
/// let mut pipeline = Pipeline::open(Endpoint::new(address), ClientCodec::MAX_REPLY_LEN, Some(b'e')).await?;
/// pipeline.send(b"a2.0\na3.0\n"[..].into(), false);
/// for square in [4.0, 9.0] {
///     assert_eq!(pipeline.reply(&mut codec).await?.map(|number| number.value()), Ok(square));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline {
    duplex: Duplex,
    endpoint: Endpoint,
    /// Received bytes that are not decoded yet.
    bytes: BytesMut,
    room: usize,
    farewell: Option<u8>,
    /// Whether there has been a reply.
    replied: bool,
}

impl Pipeline {
    /// Connects to a server. At least `room` bytes are read at once, where so many have come. A server may send a reply
    /// that begins with `farewell` without a request, before it closes.
    ///
    /// # Errors
    ///
    /// If no connection is made within the limits.
    pub async fn open(endpoint: Endpoint, room: usize, farewell: Option<u8>) -> Result<Self, Error> {
        let stream = endpoint.connect().await?;
        let duplex = Duplex { stream, unsent: Bytes::new(), half_close: false, send_error: None };
        Ok(Self { duplex, endpoint, bytes: BytesMut::new(), room, farewell, replied: false })
    }

    /// The connection's stream.
    #[must_use]
    pub fn stream(&self) -> &ClientStream {
        &self.duplex.stream
    }

    /// Queues requests when all before have been answered; [`Pipeline::reply`] sends them. With `half_close` they are the
    /// last, and the sending direction is closed behind them.
    pub fn send(&mut self, requests: Bytes, half_close: bool) {
        (self.duplex.unsent, self.duplex.half_close) = (requests, half_close);
    }

    /// Checks, before requests on a kept connection, that no reply has arrived yet: it could not be the reply to these.
    /// A farewell may have, and [`Pipeline::reply`] returns it. A reply still in flight is not noticed.
    ///
    /// # Errors
    ///
    /// [`Violation::Unsolicited`].
    pub fn check_early(&mut self) -> Result<(), Error> {
        let mut early = [0];
        if let Ok(1..) = self.duplex.stream.try_read(&mut early) {
            self.bytes.extend_from_slice(&early);
        }
        if self.bytes.first().copied() == self.farewell { Ok(()) } else { self.check_unsolicited() }
    }

    /// Waits for the decoder's next item, and sends meanwhile. Where sending fails, a reply that has come is still
    /// returned: it says why.
    ///
    /// # Errors
    ///
    /// If no reply arrives within the limit. The connection is then unusable.
    pub async fn reply<D>(&mut self, decoder: &mut D) -> Result<D::Item, Error>
    where
        D: Decoder,
        ErrorKind: From<D::Error>,
    {
        let reply = read_reply(&mut self.duplex, decoder, &mut self.bytes, self.room);
        let kind = match with_timeout(self.endpoint.timeouts().reply, reply).await {
            Ok(Some(reply)) => {
                self.replied = true;
                return Ok(reply);
            }
            // A request crossed with the close of a server that had answered others.
            Ok(None) if self.replied => ErrorKind::Closed,
            Ok(None) => Violation::NoReply.into(),
            Err(kind) => kind,
        };
        // A violation is of the reply, not of its end.
        let is_protocol = matches!(kind, ErrorKind::Protocol(_) | ErrorKind::Closed);
        let phase = if is_protocol { Phase::Reply } else { phase_of(&self.bytes) };
        Err(self.endpoint.error(phase, kind))
    }

    /// Checks that no bytes have been read behind the last reply.
    ///
    /// # Errors
    ///
    /// [`Violation::Unsolicited`].
    pub fn check_unsolicited(&self) -> Result<(), Error> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.endpoint.error(Phase::Reply, Violation::Unsolicited.into()))
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The bytes behind the last reply.
    pub(super) fn extra_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why the last requests could not be sent, for a caller that reports this rather than the missing reply.
    pub(super) fn take_send_error(&mut self) -> Option<io::Error> {
        self.duplex.send_error.take()
    }
}

/// A stream that sends its queued bytes when it is read from.
#[derive(Debug)]
struct Duplex {
    stream: ClientStream,
    unsent: Bytes,
    half_close: bool,
    send_error: Option<io::Error>,
}

impl Duplex {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            self.unsent.advance(written);
        }
        if self.half_close {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.half_close = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            drop(take(&mut self.unsent));
            self.half_close = false;
            self.send_error = Some(error);
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// The phase in which a client is, when these bytes of a reply have arrived.
pub(super) fn phase_of(bytes: &[u8]) -> Phase {
    if bytes.is_empty() { Phase::Reply } else { Phase::End }
}

/// Reads until there is a reply; `None` if the stream ends without one.
pub(super) async fn read_reply<S, D>(
    stream: &mut S,
    decoder: &mut D,
    bytes: &mut BytesMut,
    room: usize,
) -> Result<Option<D::Item>, ErrorKind>
where
    S: AsyncRead + Unpin,
    D: Decoder,
    ErrorKind: From<D::Error>,
{
    loop {
        if let Some(reply) = decoder.decode(bytes)? {
            return Ok(Some(reply));
        }
        bytes.reserve(room);
        match stream.read_buf(bytes).await {
            Ok(0) => return Ok(decoder.decode_eof(bytes)?),
            Ok(_) => {}
            Err(error) => {
                // A server that closes on a request it has not read resets the connection. Only an error reply of the
                // power wire can be relied on before that.
                let last = if bytes.starts_with(b"e") { decoder.decode_eof(bytes).ok().flatten() } else { None };
                return last.map(Some).ok_or(ErrorKind::Io(error));
            }
        }
    }
}
