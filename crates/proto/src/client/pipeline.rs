//! A connection that sends requests while it reads replies, for any wire.

use std::io;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::codec::Decoder;

use super::stream::ClientStream;
use super::{Connector, Error, ErrorKind, Phase, Violation};

/// A connection with any number of requests in flight.
///
/// Requests are sent while [`Pipeline::reply`] waits. A server that cannot write its replies stops reading requests, so
/// a client that first sent all requests and then read the replies could deadlock. The caller's decoder finds the
/// replies in the received bytes. One decoder item may hold many replies, which costs less than one item per reply.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::{Connector, Pipeline};
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
/// let mut pipeline = Pipeline::open(Connector::new(address.parse()?), ClientCodec::MAX_REPLY_LEN, Some(ClientCodec::ERROR_BYTE)).await?;
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
    connector: Connector,
    /// Received bytes that are not decoded yet.
    bytes: BytesMut,
    min_read_bytes: usize,
    final_error: Option<u8>,
    /// Whether a reply has been received.
    replied: bool,
}

impl Pipeline {
    /// Connects to a server.
    ///
    /// Each read has a buffer of at least `min_read_bytes`. A server may send one unsolicited reply that begins with
    /// `final_error` before it closes.
    ///
    /// # Errors
    ///
    /// Fails if the connection cannot be made within the timeouts.
    pub async fn open(connector: Connector, min_read_bytes: usize, final_error: Option<u8>) -> Result<Self, Error> {
        let stream = connector.connect().await?;
        let duplex = Duplex { stream, unsent: Bytes::new(), half_close: false, send_error: None };
        Ok(Self { duplex, connector, bytes: BytesMut::new(), min_read_bytes, final_error, replied: false })
    }

    /// Returns the connection's stream.
    #[must_use]
    pub fn stream(&self) -> &ClientStream {
        &self.duplex.stream
    }

    /// Queues requests; [`Pipeline::reply`] sends them. Call this only after the replies to all earlier requests. With
    /// `half_close`, these are the last requests, and the sending direction is closed after them.
    pub fn send(&mut self, requests: Bytes, half_close: bool) {
        (self.duplex.unsent, self.duplex.half_close) = (requests, half_close);
    }

    /// Returns whether the server has closed the connection, or has reset it. A byte that has arrived before is kept.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut early = [0];
        match self.duplex.stream.try_read(&mut early) {
            Ok(0) => true,
            Ok(_) => {
                self.bytes.extend_from_slice(&early);
                false
            }
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Checks that no reply has arrived before the next requests are sent, because it could not belong to them. A final
    /// error is allowed; [`Pipeline::reply`] returns it. A reply still in flight is not detected.
    ///
    /// # Errors
    ///
    /// [`Violation::Unsolicited`].
    pub fn check_early(&mut self) -> Result<(), Error> {
        // An end concerns the next reply, not this check.
        self.has_ended();
        if self.bytes.first().copied() == self.final_error { Ok(()) } else { self.check_unsolicited() }
    }

    /// Waits for the decoder's next item, and sends queued requests meanwhile. If sending fails, a received reply is
    /// still returned, because it may contain the reason.
    ///
    /// # Errors
    ///
    /// Fails if no valid reply arrives within the timeout. The connection is then unusable.
    pub async fn reply<D>(&mut self, decoder: &mut D) -> Result<D::Item, Error>
    where
        D: Decoder,
        ErrorKind: From<D::Error>,
    {
        let reset_error = self.connector.reset_error(self.final_error);
        let reply = read_reply(&mut self.duplex, decoder, &mut self.bytes, self.min_read_bytes, reset_error);
        let kind = match self.connector.with_timeout(self.connector.timeouts().reply, reply).await {
            Ok(Some(reply)) => {
                self.replied = true;
                return Ok(reply);
            }
            // The server closed an idle connection while the request was in flight.
            Ok(None) if self.replied => ErrorKind::Closed,
            Ok(None) => Violation::NoReply.into(),
            Err(kind) => kind,
        };
        // A violation concerns the reply as a whole, not its rest.
        let is_protocol = matches!(kind, ErrorKind::Protocol(_) | ErrorKind::Closed);
        let phase = if is_protocol { Phase::Reply } else { phase_of(&self.bytes) };
        Err(self.connector.error(phase, kind))
    }

    /// Checks that no bytes have been read after the last reply.
    ///
    /// # Errors
    ///
    /// [`Violation::Unsolicited`].
    pub fn check_unsolicited(&self) -> Result<(), Error> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.connector.error(Phase::Reply, Violation::Unsolicited.into()))
        }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns the bytes after the last reply.
    pub(super) fn extra_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the error of sending the last requests, for a caller that reports it instead of the missing reply.
    pub(super) fn take_send_error(&mut self) -> Option<io::Error> {
        self.duplex.send_error.take()
    }
}

/// A stream that sends its queued bytes while it is read.
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
        // TLS buffers what the socket has no room for.
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
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

/// Returns the phase of a client that has received these bytes of a reply.
pub(super) fn phase_of(bytes: &[u8]) -> Phase {
    if bytes.is_empty() { Phase::Reply } else { Phase::End }
}

/// Reads until the decoder has a reply. Returns `None` if the stream ends without one. A reply that begins with
/// `reset_error` may end with a RST.
pub(super) async fn read_reply<S, D>(
    stream: &mut S,
    decoder: &mut D,
    bytes: &mut BytesMut,
    min_read_bytes: usize,
    reset_error: Option<u8>,
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
        // One byte more: a read that does not fill its buffer has emptied the socket, so the runtime makes no read call for
        // the next check of an early reply.
        bytes.reserve(min_read_bytes + 1);
        match stream.read_buf(bytes).await {
            Ok(0) => return Ok(decoder.decode_eof(bytes)?),
            Ok(_) => {}
            Err(error) => {
                // A close with unread requests in the server's receive buffer resets the connection. Of the bytes
                // before the reset, accept only this error: another reply may be incomplete.
                let is_error = reset_error.is_some() && bytes.first().copied() == reset_error;
                let is_reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
                let last = if is_error && is_reset { decoder.decode_eof(bytes).ok().flatten() } else { None };
                return last.map(Some).ok_or_else(|| error.into());
            }
        }
    }
}
