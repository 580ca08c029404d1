//! The client's side of the power wire: writes requests and finds out where a reply ends.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use super::{ErrorCode, ErrorReply, Reply, Request};
use crate::wire::number::{Literal, Number, classify};
use crate::wire::quoted::Quoted;

/// How a client ends its requests, and so how it learns where the reply ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The half-close ends the one request, the end of the stream its reply: the close is the frame.
    #[default]
    EndOfStream,
    /// A line feed ends each.
    Line,
    /// Nothing ends either: what one read delivers is the reply as soon as it reads as one. Whether more would have
    /// come, such a reader cannot know.
    Bare,
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 3] = [Self::EndOfStream, Self::Line, Self::Bare];

    /// Returns the framing's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndOfStream => "eof",
            Self::Line => "line",
            Self::Bare => "bare",
        }
    }
}

/// Why bytes are no reply.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// They are neither `d` and a number nor `e` and a known code; quoted.
    #[error("{0} is no reply of this wire")]
    Malformed(String),
    /// The stream ended before the reply did; what had come of it, quoted.
    #[error("the stream ended within a reply, after {0}")]
    UnexpectedEof(String),
    /// They go on for longer than any reply.
    #[error("a reply went on for more than {} bytes", ClientCodec::MAX_REPLY_LEN)]
    TooLong,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes requests and reads replies in one framing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCodec {
    framing: Framing,
}

impl ClientCodec {
    /// No reply of our servers is a quarter as long; other servers' error sentences may be.
    pub const MAX_REPLY_LEN: usize = 1024;

    /// A codec for one connection.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }
}

impl Encoder<Request> for ClientCodec {
    type Error = ReplyError;

    fn encode(&mut self, request: Request, dst: &mut BytesMut) -> Result<(), ReplyError> {
        dst.put_u8(request.operation.letter());
        dst.put_slice(request.operand.text().as_bytes());
        if self.framing == Framing::Line {
            dst.put_u8(b'\n');
        }
        Ok(())
    }
}

impl Decoder for ClientCodec {
    type Item = Reply;
    type Error = ReplyError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        if !matches!(src.first(), None | Some(b'd' | b'e')) {
            // Whatever else may come, this will be no reply.
            return Err(ReplyError::Malformed(Quoted(&src.split()).to_string()));
        }
        let reply = match self.framing {
            Framing::Line => {
                // Looking no further than the longest reply keeps the result the same however the bytes were cut.
                let reach = src.len().min(Self::MAX_REPLY_LEN + b"\n".len());
                let Some(end) = src[..reach].iter().position(|&byte| byte == b'\n') else {
                    return too_long_or_none(src);
                };
                let reply = parse(&src[..end]);
                src.advance(end + 1);
                reply
            }
            Framing::EndOfStream => return too_long_or_none(src),
            Framing::Bare => {
                let part = src.is_empty()
                    || matches!(&src[..], [b'd', number @ ..] if classify(number) == Literal::Incomplete);
                if part || &src[..] == b"e" || src.len() > Self::MAX_REPLY_LEN {
                    return too_long_or_none(src);
                }
                let reply = parse(src);
                src.clear();
                reply
            }
        };
        reply.map(Some)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        if let Some(reply) = self.decode(src)? {
            return Ok(Some(reply));
        }
        if src.is_empty() {
            return Ok(None);
        }
        let rest = src.split();
        match self.framing {
            Framing::EndOfStream => parse(&rest).map(Some),
            // A server that has not heard a line yet ends the connection with a bare error.
            Framing::Line | Framing::Bare if rest.starts_with(b"e") => parse(&rest).map(Some),
            Framing::Line | Framing::Bare => Err(ReplyError::UnexpectedEof(Quoted(&rest).to_string())),
        }
    }
}

fn too_long_or_none(src: &BytesMut) -> Result<Option<Reply>, ReplyError> {
    if src.len() > ClientCodec::MAX_REPLY_LEN { Err(ReplyError::TooLong) } else { Ok(None) }
}

/// Reads one reply; a line end behind it is taken off, since some servers send one unasked.
fn parse(text: &[u8]) -> Result<Reply, ReplyError> {
    let malformed = || ReplyError::Malformed(Quoted(text).to_string());
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [b'd', number @ ..] => Number::parse(number).map(Ok).map_err(|_| malformed()),
        [b'e', error @ ..] => {
            // All of this wire is ASCII: other scripts' letters could be shown as something else than they are.
            let error = str::from_utf8(error).ok().filter(|error| error.is_ascii()).ok_or_else(malformed)?;
            let (word, message) = error.split_once(' ').unwrap_or((error, ""));
            let code = ErrorCode::from_name(word).ok_or_else(malformed)?;
            if message.contains(char::is_control) {
                return Err(malformed());
            }
            Ok(Err(ErrorReply { code, message: message.to_owned() }))
        }
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Received, ReplyEncoder, RequestDecoder};
    use super::super::{Operation, Terminator};
    use super::*;
    use proptest::prelude::*;

    fn read(framing: Framing, bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        ClientCodec::new(framing).decode_eof(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_reply_is_read_in_each_framing() {
        for (framing, bytes) in [
            (Framing::EndOfStream, &b"d4.0"[..]),
            (Framing::EndOfStream, b"d4.0\r\n"),
            (Framing::Line, b"d4.0\n"),
            (Framing::Bare, b"d4.0"),
        ] {
            assert_eq!(read(framing, bytes).unwrap(), Some(Ok(Number::new(4.0).unwrap())), "{framing:?}");
        }
        let refusal = ErrorReply { code: ErrorCode::Busy, message: "later".to_owned() };
        assert_eq!(read(Framing::EndOfStream, b"eBUSY later").unwrap(), Some(Err(refusal)));
    }

    #[test]
    fn an_answer_with_an_error_behind_it_is_never_taken_for_an_answer() {
        for bytes in [&b"d1.0eBADOP '2' is no operation"[..], b"d1.0eBADOP x\n", b"d1.0\neBADOP x", b"d1.0d2.0"] {
            assert!(matches!(read(Framing::EndOfStream, bytes), Err(ReplyError::Malformed(_))), "{bytes:?}");
        }
        assert!(matches!(read(Framing::Line, b"d1.0eBADOP x\n"), Err(ReplyError::Malformed(_))));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bytes in [
            &b"dinf"[..],
            b"dnan",
            b"d",
            b"4.0",
            b"eWHAT now",
            b"e",
            b"HTTP/1.1 400 Bad Request",
            b"\xff",
            b"eBUSY \x1b[2J",
            "eBUSY \u{202e}txet".as_bytes(),
        ] {
            assert!(matches!(read(Framing::EndOfStream, bytes), Err(ReplyError::Malformed(_))), "{bytes:?}");
        }
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            let greeting = ClientCodec::new(framing).decode(&mut BytesMut::from(&b"220 hello"[..]));
            assert!(matches!(greeting, Err(ReplyError::Malformed(_))), "at once, in {framing:?}");
        }
        assert!(matches!(read(Framing::Line, b"d4."), Err(ReplyError::UnexpectedEof(_))));
        assert!(matches!(read(Framing::Line, b"eBUSY later"), Ok(Some(Err(_)))), "last words need no line end");
        assert!(matches!(read(Framing::EndOfStream, &[b'd'; 2000]), Err(ReplyError::TooLong)));
        let blanks = [b"d".as_slice(), &[b' '; 2000]].concat();
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            let endless = ClientCodec::new(framing).decode(&mut BytesMut::from(&blanks[..]));
            assert!(matches!(endless, Err(ReplyError::TooLong)), "{framing:?}");
        }
    }

    #[test]
    fn a_reply_is_too_long_whether_it_comes_at_once_or_in_pieces() {
        let words = "eBUSY ".len();
        let longest = [b"eBUSY ".as_slice(), &[b'x'; ClientCodec::MAX_REPLY_LEN][words..]].concat();
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            assert!(matches!(read(framing, &longest), Ok(Some(Err(_)))), "{framing:?}");
            let longer = [&longest[..], b"x\n"].concat();
            assert!(matches!(read(framing, &longer), Err(ReplyError::TooLong)), "{framing:?}");
        }
        assert!(matches!(read(Framing::Line, &[&longest[..], b"\n"].concat()), Ok(Some(Err(_)))));
    }

    proptest! {
        #[test]
        fn what_one_side_writes_the_other_reads(bits: u64, letter in prop::sample::select(Operation::ALL.to_vec())) {
            let Some(operand) = Number::new(f64::from_bits(bits)) else { return Ok(()); };
            let request = Request { operation: letter, operand };
            for (framing, terminator) in [(Framing::EndOfStream, Terminator::Bare), (Framing::Line, Terminator::Line), (Framing::Bare, Terminator::Bare)] {
                let mut codec = ClientCodec::new(framing);
                let mut bytes = BytesMut::new();
                codec.encode(request, &mut bytes).unwrap();
                let received = RequestDecoder::new(512, false).decode_eof(&mut bytes).unwrap().unwrap();
                let operation = Some(request.operation);
                prop_assert_eq!(received, Received::Request { operation, request: Ok(request), terminator });
                ReplyEncoder.encode((&Ok(operand), terminator), &mut bytes).unwrap();
                prop_assert_eq!(codec.decode_eof(&mut bytes).unwrap(), Some(Ok(operand)));
            }
        }
    }
}
