//! The rock-paper-scissors client, for the game against the house and for the duel: one long connection, one answer a
//! move.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use super::{Endpoint, Error, ErrorKind, Phase, Pipeline, Violation};
use crate::wire::quoted::Quoted;
use crate::wire::rps::{ClientCodec, Move, Outcome, Reply};

/// How a round ended for the player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Round {
    /// It was judged.
    Judged(Outcome),
    /// No opponent moved in time. The house always does.
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
/// In a duel the answer to a move takes as long as the opponent does, up to the server's window:
/// [`reply`](super::Timeouts::reply) has to be longer than that. Dropping the connection while an answer is awaited resets it,
/// which takes the move back: closed in order, it would still be played against somebody.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::Endpoint;
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
/// let mut game = Connection::open(Endpoint::new(address)).await?;
/// match game.throw(Move::Rock).await? {
///     Round::Judged(Outcome::Win) => println!("the house had scissors"),
///     Round::Judged(Outcome::Lose) => println!("the house had paper"),
///     Round::Judged(Outcome::Draw) => println!("the house had rock too"),
///     Round::Void => println!("nobody was there to play"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    pipeline: Pipeline,
    /// Whether an answer is awaited.
    awaiting: bool,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being made within the limits.
    pub async fn open(endpoint: Endpoint) -> Result<Self, Error> {
        // One answer is one byte; what is more is shown in the message.
        let pipeline = Pipeline::open(endpoint, 64, Some(Reply::Full.byte())).await?;
        Ok(Self { pipeline, awaiting: false })
    }

    /// The server's address, where the system still knows it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.pipeline.stream().peer_addr()
    }

    /// Shows a move and waits for how the round ended.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from coming within the limits; the connection is then of no more use. Nor is it when
    /// the future is dropped before.
    pub async fn throw(&mut self, shown: Move) -> Result<Round, Error> {
        let violation = match self.exchange(shown.byte()).await? {
            Reply::Judged(outcome) => return Ok(Round::Judged(outcome)),
            Reply::Void => return Ok(Round::Void),
            Reply::NotAMove => Violation::RejectedMove(shown).into(),
            Reply::Full => ErrorKind::Full,
        };
        Err(self.error(Phase::Reply, violation))
    }

    /// Asks whether the server is at work, with a byte that is no move: so no round is played, and no other player
    /// is concerned. A server takes this no more than so many times (`limits.max_bad_frames`) on one connection.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from coming within the limits, or that it was another one than it should be.
    pub async fn check(&mut self) -> Result<(), Error> {
        const NOT_A_MOVE: u8 = b'?';
        let violation = match self.exchange(NOT_A_MOVE).await? {
            Reply::NotAMove => return Ok(()),
            Reply::Full => ErrorKind::Full,
            Reply::Judged(_) | Reply::Void => Violation::AcceptedInvalidMove.into(),
        };
        Err(self.error(Phase::Reply, violation))
    }

    /// Sends a frame and waits for the answer to it.
    async fn exchange(&mut self, frame: u8) -> Result<Reply, Error> {
        if self.awaiting {
            // Its answer may still come, and would be taken for this one's.
            let given_up = io::Error::new(io::ErrorKind::NotConnected, "an earlier move was given up");
            return Err(self.error(Phase::Send, ErrorKind::Io(given_up)));
        }
        self.pipeline.check_early()?;
        if !self.pipeline.extra_bytes().is_empty() {
            return Ok(Reply::Full);
        }
        self.pipeline.send(Bytes::copy_from_slice(&[frame]), false);
        self.awaiting = true;
        // A full server replies without reading, and sending may then fail: its reply says why.
        let answer = match (self.pipeline.reply(&mut ClientCodec).await, self.pipeline.take_send_error()) {
            (Ok(Ok(Reply::Full)), _) => Ok(Reply::Full),
            (_, Some(error)) => return Err(self.error(Phase::Send, error.into())),
            (answer, None) => answer?,
        };
        let violation = match answer {
            Ok(answer) if self.pipeline.extra_bytes().is_empty() => {
                self.awaiting = answer == Reply::Full;
                return Ok(answer);
            }
            Ok(answer) => {
                let more = Quoted(self.pipeline.extra_bytes()).to_string();
                Violation::ExtraBytes { first: char::from(answer.byte()), more }
            }
            Err(unknown) => Violation::InvalidByte(unknown),
        };
        Err(self.error(Phase::Reply, violation.into()))
    }

    fn error(&self, phase: Phase, kind: ErrorKind) -> Error {
        self.pipeline.endpoint().error(phase, kind)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.awaiting {
            // A socket that cannot be set is one that is gone.
            let _ = self.pipeline.stream().set_zero_linger();
        }
    }
}
