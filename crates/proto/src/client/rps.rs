//! The rock-paper-scissors client, for the game against the house and for the duel. One connection carries all moves,
//! and each move gets one reply.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use super::{Connector, Error, ErrorKind, Phase, Pipeline, Violation};
use crate::wire::quoted::Quoted;
use crate::wire::rps::{ClientCodec, Move, Outcome, Reply};

/// The result of a round for the player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Round {
    /// The round was judged.
    Judged(Outcome),
    /// No opponent moved in time. This happens only in a duel.
    Void,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged(outcome) => outcome.fmt(f),
            Self::Void => f.pad("void"),
        }
    }
}

/// A connection to a game.
///
/// In a duel the reply to a move waits for the opponent's move, up to the server's window, so the [reply
/// timeout](super::Timeouts::reply) must be longer than the window. Dropping the connection before the reply resets it,
/// which withdraws the move. After an ordinary close the server would still play the move.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::Connector;
/// use proto::client::rps::{Connection, Round};
/// use proto::wire::rps::{Move, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?.to_string();
/// # tokio::spawn(async move {
/// #     let (mut stream, _) = listener.accept().await.unwrap();
/// #     assert_eq!(stream.read_u8().await.unwrap(), b'2');
/// #     stream.write_all(b"y").await.unwrap();
/// # });
/// // `address` is that of a running server, such as "localhost:5001".
/// let mut game = Connection::open(Connector::new(address.parse()?)).await?;
/// match game.throw(Move::Rock).await? {
///     Round::Judged(Outcome::Win) => println!("the house had scissors"),
///     Round::Judged(Outcome::Lose) => println!("the house had paper"),
///     Round::Judged(Outcome::Draw) => println!("the house had rock too"),
///     Round::Void => println!("no opponent moved in time"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    pipeline: Pipeline,
    /// Whether a move has no reply yet.
    awaiting: bool,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// Fails if the connection cannot be made within the timeouts.
    pub async fn open(connector: Connector) -> Result<Self, Error> {
        // A reply is one byte. The buffer is longer to show extra bytes in the error.
        let pipeline = Pipeline::open(connector, 64, Some(Reply::Full.byte())).await?;
        Ok(Self { pipeline, awaiting: false })
    }

    /// Returns the server's IP address; see [`ClientStream::peer_addr`](super::stream::ClientStream::peer_addr).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.pipeline.stream().peer_addr()
    }

    /// Returns whether the server has closed the connection since the last round. A server does so after its idle
    /// timeout and during shutdown. A move needs a new connection then.
    pub fn is_closed(&mut self) -> bool {
        !self.awaiting && self.pipeline.extra_bytes().is_empty() && self.pipeline.has_ended()
    }

    /// Sends a move and waits for the result of the round.
    ///
    /// # Errors
    ///
    /// Fails if no valid reply arrives within the timeouts. The connection is then unusable. It is also unusable if the
    /// future is dropped before it completes. [`ErrorKind::OutcomeUnknown`] if the server closes the connection instead
    /// of a reply.
    pub async fn throw(&mut self, mv: Move) -> Result<Round, Error> {
        let reply = self.exchange(mv.byte()).await.map_err(|error| match error.kind {
            ErrorKind::Closed | ErrorKind::Protocol(Violation::NoReply) => {
                Error { kind: ErrorKind::OutcomeUnknown, ..error }
            }
            _ => error,
        })?;
        let kind = match reply {
            Reply::Judged(outcome) => return Ok(Round::Judged(outcome)),
            Reply::Void => return Ok(Round::Void),
            Reply::NotAMove => Violation::RejectedMove(mv).into(),
            Reply::Full => ErrorKind::Full,
        };
        Err(self.error(Phase::Reply, kind))
    }

    /// Checks that the server replies. Sends a byte that is not a move, so no round is played and no other player is
    /// affected. A server replies to `limits.max_bad_frames` such bytes on one connection, then closes it.
    ///
    /// # Errors
    ///
    /// Fails if the reply does not arrive within the timeouts, or is not the error for an invalid move.
    pub async fn check(&mut self) -> Result<(), Error> {
        const NOT_A_MOVE: u8 = b'?';
        let kind = match self.exchange(NOT_A_MOVE).await? {
            Reply::NotAMove => return Ok(()),
            Reply::Full => ErrorKind::Full,
            Reply::Judged(_) | Reply::Void => Violation::AcceptedInvalidMove.into(),
        };
        Err(self.error(Phase::Reply, kind))
    }

    /// Sends a frame and waits for its reply.
    async fn exchange(&mut self, frame: u8) -> Result<Reply, Error> {
        if self.awaiting {
            // The reply to the earlier move may still arrive and would be mistaken for the reply to this one.
            let unusable =
                io::Error::new(io::ErrorKind::NotConnected, "an earlier move on this connection has no reply");
            return Err(self.error(Phase::Send, ErrorKind::Io(unusable)));
        }
        self.pipeline.check_early()?;
        if !self.pipeline.extra_bytes().is_empty() {
            return Ok(Reply::Full);
        }
        self.pipeline.send(Bytes::copy_from_slice(&[frame]), false);
        self.awaiting = true;
        // A full server replies and closes without reading, so sending may fail. Its reply is the better error.
        let reply = match (self.pipeline.reply(&mut ClientCodec).await, self.pipeline.take_send_error()) {
            (Ok(Ok(Reply::Full)), _) => Ok(Reply::Full),
            // The server's alert is the reason why sending failed.
            (Err(error @ Error { kind: ErrorKind::Handshake(_) | ErrorKind::Protocol(Violation::Tls(_)), .. }), _) => {
                return Err(error);
            }
            (_, Some(error)) => return Err(self.error(Phase::Send, error.into())),
            (reply, None) => reply?,
        };
        let violation = match reply {
            Ok(reply) if self.pipeline.extra_bytes().is_empty() => {
                self.awaiting = reply == Reply::Full;
                return Ok(reply);
            }
            Ok(reply) => {
                let more = Quoted(self.pipeline.extra_bytes()).to_string();
                Violation::ExtraBytes { first: char::from(reply.byte()), more }
            }
            Err(unknown) => Violation::InvalidByte(unknown),
        };
        Err(self.error(Phase::Reply, violation.into()))
    }

    fn error(&self, phase: Phase, kind: ErrorKind) -> Error {
        self.pipeline.connector().error(phase, kind)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.awaiting {
            // This fails only if the socket is already closed.
            let _ = self.pipeline.stream().set_zero_linger();
        }
    }
}
