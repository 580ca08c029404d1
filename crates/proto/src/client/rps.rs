//! The rock-paper-scissors client: one long connection, one answer a move.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder};

use super::{Error, ErrorKind, Phase, Timeouts, connect, within};
use crate::wire::quoted::Quoted;
use crate::wire::rps::{Answer, ClientCodec, Move, Outcome};

/// A connection to a game against the house.
///
/// ```
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use proto::client::Timeouts;
/// use proto::client::rps::Connection;
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
/// let mut game = Connection::open(&address, Timeouts::default()).await?;
/// match game.throw(Move::Rock).await? {
///     Outcome::Win => println!("the house had scissors"),
///     Outcome::Lose => println!("the house had paper"),
///     Outcome::Draw => println!("the house had rock too"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    bytes: BytesMut,
    /// Whether there has been an answer.
    heard: bool,
    address: String,
    timeouts: Timeouts,
}

impl Connection {
    /// Connects to the server at `address`, a name or an IP address with a port.
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being made within the limits.
    pub async fn open(address: &str, timeouts: Timeouts) -> Result<Self, Error> {
        let stream = connect(address, &timeouts).await?;
        Ok(Self { stream, bytes: BytesMut::new(), heard: false, address: address.to_owned(), timeouts })
    }

    /// Shows a move and waits for how the round ended.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from coming within the limits; the connection is then of no more use.
    pub async fn throw(&mut self, shown: Move) -> Result<Outcome, Error> {
        self.bytes.clear();
        // What is there before the move cannot be its answer. This notices what has come, not what is on its way.
        match self.stream.try_read_buf(&mut self.bytes) {
            Ok(0) | Err(_) => {}
            Ok(_) => {
                let kind = match ClientCodec.decode(&mut self.bytes) {
                    Ok(Some(Ok(Answer::Full))) => ErrorKind::Full,
                    _ => protocol("it sent an answer before there was a move"),
                };
                return Err(Error::new(&self.address, Phase::Reply, kind));
            }
        }
        let sent = async {
            ClientCodec.encode(shown, &mut self.bytes)?;
            self.stream.write_all(&self.bytes).await
        };
        let sent = within(self.timeouts.send, sent).await;
        // A full server says so without reading, and sending may then fail: its answer says why.
        let answer = within(self.timeouts.reply, self.read_answer()).await;
        let (phase, kind) = match (answer, sent) {
            (Ok(Answer::Judged(outcome)), Ok(())) => {
                self.heard = true;
                return Ok(outcome);
            }
            (Ok(Answer::Full), _) => (Phase::Reply, ErrorKind::Full),
            (_, Err(kind)) => (Phase::Send, kind),
            (Ok(Answer::NoMove), Ok(())) => (Phase::Reply, protocol(format!("it takes {shown} for no move"))),
            (Ok(Answer::Void), Ok(())) => (Phase::Reply, protocol("it voids a round that the house always plays")),
            (Err(kind), Ok(())) => (Phase::Reply, kind),
        };
        Err(Error::new(&self.address, phase, kind))
    }

    async fn read_answer(&mut self) -> Result<Answer, ErrorKind> {
        self.bytes.clear();
        // One answer is one byte; what is more is shown in the message.
        self.bytes.reserve(64);
        loop {
            match ClientCodec.decode(&mut self.bytes)? {
                Some(Ok(answer)) if self.bytes.is_empty() => return Ok(answer),
                Some(Ok(answer)) => {
                    let more = Quoted(&self.bytes);
                    let first = char::from(answer.byte());
                    return Err(protocol(format!("it answered one move with '{first}' and more, {more}")));
                }
                Some(Err(unknown)) => return Err(protocol(format!("{unknown} is no answer of this wire"))),
                None if self.stream.read_buf(&mut self.bytes).await? == 0 => {
                    // One move is in flight at a time; after others were answered, it has crossed with the close.
                    let without = protocol("it closed the connection without an answer");
                    return Err(if self.heard { ErrorKind::Closed } else { without });
                }
                None => {}
            }
        }
    }
}

fn protocol(violation: impl Into<String>) -> ErrorKind {
    ErrorKind::Protocol(violation.into())
}
