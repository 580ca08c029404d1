//! The client's codec of the power protocol: encodes requests and finds the end of each reply.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use super::{ErrorCode, ErrorReply, Reply, Request};
use crate::wire::number::{Literal, Number, NumberText, classify};
use crate::wire::quoted::Quoted;

/// How a client ends its requests, which determines how it finds the end of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The half-close ends the only request of the connection, and EOF ends its reply.
    #[default]
    EndOfStream,
    /// A line feed ends each request and each reply.
    Line,
    /// Requests and replies have no terminator. The client takes the received bytes as the reply as soon as they form
    /// one; it cannot know whether more bytes follow.
    Bare,
}

impl Framing {
    /// All framings.
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

/// Why a reply is invalid or missing.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// The bytes, quoted here, are neither `d` and the shortest text of a number nor `e` and a known code.
    #[error("{0} is not a valid reply of the power protocol")]
    Malformed(String),
    /// The stream ended within a reply, after the bytes quoted here.
    #[error("the stream ended within a reply, after {0}")]
    UnexpectedEof(String),
    /// The reply is longer than [`ClientCodec::MAX_REPLY_LEN`].
    #[error("a reply has more than {} bytes", ClientCodec::MAX_REPLY_LEN)]
    TooLong,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Encodes requests and decodes replies in one framing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCodec {
    framing: Framing,
}

impl ClientCodec {
    /// The longest accepted reply in bytes. The replies of our servers are shorter than a quarter of this; other
    /// servers may send longer error messages.
    pub const MAX_REPLY_LEN: usize = 1024;

    /// The first byte of an error reply.
    pub const ERROR_BYTE: u8 = b'e';

    /// Creates a codec for one connection.
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
            // No further bytes can make this a reply.
            return Err(ReplyError::Malformed(Quoted(&src.split()).to_string()));
        }
        let reply = match self.framing {
            Framing::Line => {
                // Search only the bytes that a reply may have, so that the result does not depend on how the bytes were
                // split.
                let search_len = src.len().min(Self::MAX_REPLY_LEN + b"\n".len());
                let Some(end) = src[..search_len].iter().position(|&byte| byte == b'\n') else {
                    return too_long_or_none(src);
                };
                let reply = parse(&src[..end]);
                src.advance(end + 1);
                reply
            }
            Framing::EndOfStream => return too_long_or_none(src),
            Framing::Bare => {
                let is_partial = match &src[..] {
                    [b'd', number @ ..] => may_become_shortest(number),
                    other => other.is_empty(),
                };
                if is_partial || &src[..] == b"e" || src.len() > Self::MAX_REPLY_LEN {
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
            // Before a server has received a line, it sends the last error of a connection bare.
            Framing::Line | Framing::Bare if rest.starts_with(b"e") => parse(&rest).map(Some),
            Framing::Line | Framing::Bare => Err(ReplyError::UnexpectedEof(Quoted(&rest).to_string())),
        }
    }
}

fn too_long_or_none(src: &BytesMut) -> Result<Option<Reply>, ReplyError> {
    if src.len() > ClientCodec::MAX_REPLY_LEN { Err(ReplyError::TooLong) } else { Ok(None) }
}

/// Returns whether the bytes after `d` are not the number of a reply yet, but may become one. Of some texts, such as `+4`,
/// this is not true, but their length limits them too.
fn may_become_shortest(number: &[u8]) -> bool {
    match classify(number) {
        Literal::Incomplete => true,
        Literal::Complete(_) => number.len() < NumberText::LONGEST && Number::parse_shortest(number).is_err(),
        Literal::Invalid => false,
    }
}

/// Parses one reply. It may have a line end: some servers always send one.
fn parse(text: &[u8]) -> Result<Reply, ReplyError> {
    let malformed = || ReplyError::Malformed(Quoted(text).to_string());
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [b'd', number @ ..] => Number::parse_shortest(number).map(Ok).map_err(|_| malformed()),
        [b'e', error @ ..] => {
            // This wire is ASCII only. Other characters could change how a terminal shows the message.
            let error = str::from_utf8(error).ok().filter(|error| error.is_ascii()).ok_or_else(malformed)?;
            let (name, message) = error.split_once(' ').unwrap_or((error, ""));
            let code = ErrorCode::from_name(name).ok_or_else(malformed)?;
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

    fn decode(framing: Framing, bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        ClientCodec::new(framing).decode_eof(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_reply_is_decoded_in_each_framing() {
        for (framing, bytes) in [
            (Framing::EndOfStream, &b"d4.0"[..]),
            (Framing::EndOfStream, b"d4.0\r\n"),
            (Framing::Line, b"d4.0\n"),
            (Framing::Bare, b"d4.0"),
        ] {
            assert_eq!(decode(framing, bytes).unwrap(), Some(Ok(Number::new(4.0).unwrap())), "{framing:?}");
        }
        let busy = ErrorReply { code: ErrorCode::Busy, message: "later".to_owned() };
        assert_eq!(decode(Framing::EndOfStream, b"eBUSY later").unwrap(), Some(Err(busy)));
    }

    #[test]
    fn a_number_that_is_not_the_shortest_text_is_malformed_or_incomplete() {
        for number in ["4", "4.", "4.00", "+4.0", " 4.0", "4.0 ", "4e0", "1e+2", "1e16", "-0", "0.10000000000000001"] {
            let reply = format!("d{number}");
            for framing in [Framing::EndOfStream, Framing::Line] {
                let line = reply.clone() + "\n";
                assert!(matches!(decode(framing, line.as_bytes()), Err(ReplyError::Malformed(_))), "{reply}");
            }
            let ended = decode(Framing::EndOfStream, reply.as_bytes());
            assert!(matches!(ended, Err(ReplyError::Malformed(_))), "{reply}");
            assert!(matches!(decode(Framing::Bare, reply.as_bytes()), Err(ReplyError::UnexpectedEof(_))), "{reply}");
        }
    }

    #[test]
    fn a_bare_reply_in_pieces_is_decoded_when_it_is_whole() {
        let mut codec = ClientCodec::new(Framing::Bare);
        let mut src = BytesMut::new();
        for piece in ["d", "1", "00", "."] {
            src.extend_from_slice(piece.as_bytes());
            assert!(matches!(codec.decode(&mut src), Ok(None)), "{src:?}");
        }
        src.extend_from_slice(b"25");
        assert_eq!(codec.decode(&mut src).unwrap(), Some(Ok("100.25".parse().unwrap())));
        // No more bytes can make this the shortest text of a number.
        let digits = [b"d".as_slice(), &[b'1'; NumberText::LONGEST]].concat();
        assert!(matches!(codec.decode(&mut BytesMut::from(&digits[..])), Err(ReplyError::Malformed(_))));
    }

    #[test]
    fn a_number_with_an_error_after_it_is_malformed() {
        for bytes in [&b"d1.0eBADOP '2' is no operation"[..], b"d1.0eBADOP x\n", b"d1.0\neBADOP x", b"d1.0d2.0"] {
            assert!(matches!(decode(Framing::EndOfStream, bytes), Err(ReplyError::Malformed(_))), "{bytes:?}");
        }
        assert!(matches!(decode(Framing::Line, b"d1.0eBADOP x\n"), Err(ReplyError::Malformed(_))));
    }

    #[test]
    fn invalid_bytes_are_an_error() {
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
            assert!(matches!(decode(Framing::EndOfStream, bytes), Err(ReplyError::Malformed(_))), "{bytes:?}");
        }
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            let result = ClientCodec::new(framing).decode(&mut BytesMut::from(&b"220 hello"[..]));
            assert!(matches!(result, Err(ReplyError::Malformed(_))), "at once, in {framing:?}");
        }
        assert!(matches!(decode(Framing::Line, b"d4."), Err(ReplyError::UnexpectedEof(_))));
        assert!(matches!(decode(Framing::Line, b"eBUSY later"), Ok(Some(Err(_)))), "a last error needs no line end");
        assert!(matches!(decode(Framing::EndOfStream, &[b'd'; 2000]), Err(ReplyError::TooLong)));
        let blanks = [b"d".as_slice(), &[b' '; 2000]].concat();
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            let result = ClientCodec::new(framing).decode(&mut BytesMut::from(&blanks[..]));
            assert!(matches!(result, Err(ReplyError::TooLong)), "{framing:?}");
        }
    }

    #[test]
    fn the_longest_reply_is_accepted_and_a_longer_one_is_too_long() {
        let prefix = "eBUSY ".len();
        let longest = [b"eBUSY ".as_slice(), &[b'x'; ClientCodec::MAX_REPLY_LEN][prefix..]].concat();
        for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
            assert!(matches!(decode(framing, &longest), Ok(Some(Err(_)))), "{framing:?}");
            let longer = [&longest[..], b"x\n"].concat();
            assert!(matches!(decode(framing, &longer), Err(ReplyError::TooLong)), "{framing:?}");
        }
        assert!(matches!(decode(Framing::Line, &[&longest[..], b"\n"].concat()), Ok(Some(Err(_)))));
    }

    proptest! {
        #[test]
        fn each_codec_decodes_what_the_other_encodes(
            bits: u64, operation in prop::sample::select(Operation::ALL.to_vec()),
        ) {
            let Some(operand) = Number::new(f64::from_bits(bits)) else { return Ok(()); };
            let request = Request { operation, operand };
            for framing in Framing::ALL {
                let terminator = if framing == Framing::Line { Terminator::Line } else { Terminator::Bare };
                let mut codec = ClientCodec::new(framing);
                let mut bytes = BytesMut::new();
                codec.encode(request, &mut bytes).unwrap();
                let received = RequestDecoder::new(512, false).decode_eof(&mut bytes).unwrap().unwrap();
                let expected = Received::Request { operation: Some(operation), request: Ok(request), terminator };
                prop_assert_eq!(received, expected);
                ReplyEncoder.encode((&Ok(operand), terminator), &mut bytes).unwrap();
                prop_assert_eq!(codec.decode_eof(&mut bytes).unwrap(), Some(Ok(operand)));
            }
        }
    }
}
