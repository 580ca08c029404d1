//! The server's side of the power wire: where does a request end?
//!
//! A TCP stream has no frames, and the programs that speak this wire end a request in three ways:
//!
//! 1. **Line**: LF or CR LF. From a connection's first LF on, every request is a line, and so is every reply.
//! 2. **End of stream**: the client's half-close. The reply is bare.
//! 3. **Bare**: by neither. What has been delivered is the request as soon as it reads as a whole one; the reply is
//!    bare. That is a guess, and where a client's bytes were cut in two it can be a wrong one. If digits follow, they
//!    begin with no op letter, so an error follows the answer, and a reader to LF or to the end sees both. If but the
//!    line's end follows, the answer was right, and gets its own line end late.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{ErrorReply, Operation, Reply, Request, RequestText, Terminator};
use crate::wire::number::{Literal, is_blank};

/// What a request decoder made of the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A request. It gets one reply.
    Request {
        /// The operation, if the first byte is an op letter. An invalid request can have one, too.
        operation: Option<Operation>,
        /// The request, or the error reply to an invalid one.
        request: Result<Request, ErrorReply>,
        /// How the reply has to end.
        terminator: Terminator,
    },
    /// The line end of a request that has already got a bare reply. The reply now needs its line feed.
    LateLineEnd,
}

impl Received {
    fn from_text(text: RequestText<'_>, terminator: Terminator) -> Self {
        let operation = text.operation.map(|(operation, _)| operation);
        Self::Request { operation, request: text.parse(), terminator }
    }
}

/// What bytes that are not yet a request wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// There are none.
    Nothing,
    /// They are part of a request.
    Partial,
    /// They read as a whole one, and are one unless more comes before they have settled.
    Whole,
}

/// Finds the requests in a connection's bytes.
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    /// The most bytes that a request may have, its terminator not counted.
    limit: usize,
    /// Whether bare bytes have to settle before they are taken for a request.
    settle: bool,
    state: DecoderState,
    /// What the bytes that were left wait for.
    pending: Pending,
}

/// What a connection has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DecoderState {
    /// No whole request yet.
    Start,
    /// Its last request was answered bare.
    Bare,
    /// A line feed has been seen: it speaks lines.
    Lines,
    /// It has had its last answer.
    Finished,
}

impl RequestDecoder {
    /// A decoder for one connection. With `settle`, bare bytes are taken for a request by
    /// [`decode_settled`](Self::decode_settled) alone.
    #[must_use]
    pub fn new(limit: usize, settle: bool) -> Self {
        Self { limit, settle, state: DecoderState::Start, pending: Pending::Nothing }
    }

    /// Whether the connection has had its last answer: what follows an error that leaves it unclear where the next
    /// request would begin cannot be understood.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == DecoderState::Finished
    }

    /// What the bytes that the last call left wait for.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// Takes bare bytes for the request that they read as: no more came while they settled.
    pub fn decode_settled(&mut self, src: &mut BytesMut) -> Option<Received> {
        let text = RequestText::classify(src);
        if !matches!(self.state, DecoderState::Start | DecoderState::Bare) || BareClass::of(text) != BareClass::Complete
        {
            return None;
        }
        let received = Received::from_text(text, Terminator::Bare);
        self.bare_request_taken(src);
        Some(received)
    }

    /// Gives up on what is missing: the error of a connection whose request did not come within `limit`.
    pub fn time_out(&mut self, limit: Duration) -> Received {
        self.finish(ErrorReply::timed_out(limit))
    }

    fn terminator(&self) -> Terminator {
        if self.state == DecoderState::Lines { Terminator::Line } else { Terminator::Bare }
    }

    fn finish(&mut self, refusal: ErrorReply) -> Received {
        let terminator = self.terminator();
        self.state = DecoderState::Finished;
        Received::Request { operation: None, request: Err(refusal), terminator }
    }

    fn bare_request_taken(&mut self, src: &mut BytesMut) {
        self.state = DecoderState::Bare;
        self.pending = Pending::Nothing;
        src.clear();
    }

    /// Where the first line feed is, no further off than the longest line's. Looking no further keeps the result the
    /// same however the bytes were cut: a longer line is an error before its end is seen.
    fn line_feed(&self, src: &[u8]) -> Option<usize> {
        let longest = self.limit + b"\r\n".len();
        src[..src.len().min(longest)].iter().position(|&byte| byte == b'\n')
    }
}

impl Decoder for RequestDecoder {
    type Item = Received;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Received>> {
        while !self.is_finished() && !src.is_empty() {
            let end = self.line_feed(src);
            let line = without_carriage_return(&src[..end.unwrap_or(src.len())]);
            if line.len() > self.limit {
                return Ok(Some(self.finish(ErrorReply::too_long(self.limit))));
            }
            if let Some(end) = end {
                let late = self.state == DecoderState::Bare;
                self.state = DecoderState::Lines;
                let received =
                    (!is_blank_line(line)).then(|| Received::from_text(RequestText::classify(line), Terminator::Line));
                src.advance(end + 1);
                match received {
                    Some(received) => return Ok(Some(received)),
                    None if late => return Ok(Some(Received::LateLineEnd)),
                    None => {}
                }
            } else if self.state == DecoderState::Lines {
                self.pending = Pending::Partial;
                return Ok(None);
            } else {
                let text = RequestText::classify(src);
                let class = BareClass::of(text);
                match class {
                    BareClass::Complete if self.settle => self.pending = Pending::Whole,
                    BareClass::Incomplete => self.pending = Pending::Partial,
                    BareClass::Complete | BareClass::Invalid => {
                        let received = Received::from_text(text, Terminator::Bare);
                        self.bare_request_taken(src);
                        if class == BareClass::Invalid {
                            self.state = DecoderState::Finished;
                        }
                        return Ok(Some(received));
                    }
                }
                return Ok(None);
            }
        }
        self.pending = Pending::Nothing;
        if self.is_finished() {
            src.clear();
        }
        Ok(None)
    }

    /// The end of the stream ends a request too: what is left is one, whole or not.
    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Received>> {
        if let Some(received) = self.decode(src)? {
            return Ok(Some(received));
        }
        let terminator = self.terminator();
        let received = (!is_blank_line(src)).then(|| Received::from_text(RequestText::classify(src), terminator));
        self.pending = Pending::Nothing;
        src.clear();
        Ok(received)
    }
}

/// Bare bytes as the beginning of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BareClass {
    /// They are a request; more bytes can make them another one.
    Complete,
    /// More bytes can make them a request, or the line feed of an empty line follows.
    Incomplete,
    /// No bytes that follow can make them a request.
    Invalid,
}

impl BareClass {
    fn of(RequestText { text, operation }: RequestText<'_>) -> Self {
        match operation {
            // A line's end in the making: the LF decides.
            _ if text.ends_with(b"\r") => Self::Incomplete,
            Some((_, Literal::Complete(_))) => Self::Complete,
            Some((_, Literal::Incomplete)) => Self::Incomplete,
            None if is_blank_line(text) => Self::Incomplete,
            Some((_, Literal::Invalid)) | None => Self::Invalid,
        }
    }
}

fn is_blank_line(text: &[u8]) -> bool {
    text.iter().all(|&byte| is_blank(byte))
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Writes replies, each with its terminator.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyEncoder;

impl Encoder<(&Reply, Terminator)> for ReplyEncoder {
    type Error = io::Error;

    fn encode(&mut self, (reply, terminator): (&Reply, Terminator), dst: &mut BytesMut) -> io::Result<()> {
        match reply {
            Ok(number) => {
                dst.put_u8(b'd');
                dst.put_slice(number.text().as_bytes());
            }
            Err(refusal) => {
                dst.put_u8(b'e');
                dst.put_slice(refusal.code.as_str().as_bytes());
                dst.put_u8(b' ');
                dst.put_slice(refusal.message.as_bytes());
            }
        }
        if terminator == Terminator::Line {
            dst.put_u8(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ErrorCode;
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 16;

    /// A connection that sends `pieces`, each delivered by a read of its own, and then half-closes.
    fn converse(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut decoder = RequestDecoder::new(LIMIT, false);
        let mut src = BytesMut::new();
        let mut seen = Vec::new();
        for piece in pieces {
            src.extend_from_slice(piece);
            while let Some(received) = decoder.decode(&mut src).unwrap() {
                seen.push(show(&received));
            }
        }
        while let Some(received) = decoder.decode_eof(&mut src).unwrap() {
            seen.push(show(&received));
        }
        assert!(src.is_empty(), "left at the end: {src:?}");
        (seen, decoder.is_finished())
    }

    fn show(received: &Received) -> String {
        let (text, terminator) = match received {
            Received::Request { request: Ok(request), terminator, .. } => (request.to_string(), *terminator),
            Received::Request { request: Err(refusal), terminator, .. } => (refusal.code.to_string(), *terminator),
            Received::LateLineEnd => (String::new(), Terminator::Line),
        };
        text + if terminator == Terminator::Line { "\\n" } else { "" }
    }

    fn assert_seen(pieces: &[&[u8]], expected: &[&str], finished: bool) {
        let (seen, is_finished) = converse(pieces);
        assert_eq!(seen, expected, "{pieces:?}");
        assert_eq!(is_finished, finished, "{pieces:?}");
    }

    #[test]
    fn a_line_ends_a_request_and_a_bad_one_ends_nothing_else() {
        assert_seen(&[b"a2\nb3\r\nc4\n"], &["a2.0\\n", "b3.0\\n", "c4.0\\n"], false);
        assert_seen(&[b"a2\nx\na\nd5\n"], &["a2.0\\n", "BADOP\\n", "BADNUM\\n", "d5.0\\n"], false);
        assert_seen(&[b"\n\r\n \t\na2\n\n"], &["a2.0\\n"], false);
        assert_seen(&[b"a2\nb3"], &["a2.0\\n", "b3.0\\n"], false);
    }

    #[test]
    fn the_end_of_the_stream_ends_a_request() {
        assert_seen(&[b"a"], &["BADNUM"], false);
        assert_seen(&[b"a-", b"1"], &["a-1.0"], false);
        assert_seen(&[b"a", b"1", b"e"], &["a1.0", "BADOP"], true);
        assert_seen(&[b""], &[], false);
        assert_seen(&[b" \t"], &[], false);
        assert_seen(&[b"a2\r"], &["BADNUM"], false);
    }

    #[test]
    fn a_bare_request_is_answered_as_soon_as_it_is_whole() {
        assert_seen(&[b"a2", b"b3"], &["a2.0", "b3.0"], false);
        assert_seen(&[b"a1e999", b"a2"], &["RANGE", "a2.0"], false);
        assert_seen(&[b"a2b3"], &["BADNUM"], true);
        assert_seen(&[b"x5", b"a2"], &["BADOP"], true);
        assert_seen(&[b" a2"], &["BADOP"], true);
        assert_seen(&[b"a2", b"b3\nc4\n"], &["a2.0", "b3.0\\n", "c4.0\\n"], false);
    }

    #[test]
    fn an_answer_given_too_early_is_followed_by_an_error() {
        for cut in 2..5 {
            let request = b"a1234";
            let (seen, finished) = converse(&[&request[..cut], &request[cut..]]);
            assert_eq!(seen.len(), 2, "{seen:?}");
            assert_eq!(seen[1], "BADOP");
            assert!(finished);
        }
    }

    #[test]
    fn a_line_end_that_comes_late_ends_the_line_of_its_reply() {
        assert_seen(&[b"a2", b"\n"], &["a2.0", "\\n"], false);
        assert_seen(&[b"a2", b" \r", b"\nb3\n"], &["a2.0", "\\n", "b3.0\\n"], false);
        assert_seen(&[b"a", b"2", b"\nb", b"3\n"], &["a2.0", "\\n", "b3.0\\n"], false);
        assert_seen(&[b"a2", b"\n\n\n"], &["a2.0", "\\n"], false);
        assert_seen(&[b"a2", b"b3\n\n"], &["a2.0", "b3.0\\n"], false);
    }

    #[test]
    fn the_limit_counts_the_request_without_its_end() {
        let longest = format!("a{}", "1".repeat(LIMIT - 1));
        let too_long = format!("{longest}1");
        for end in ["\n", "\r\n"] {
            let (seen, finished) = converse(&[(longest.clone() + end).as_bytes()]);
            assert!(seen.len() == 1 && seen[0].ends_with("\\n") && !finished, "{seen:?}");
            assert_seen(&[(too_long.clone() + end).as_bytes()], &["TOOLONG"], true);
            let after_a_line = format!("a2\n{too_long}{end}b3\n");
            assert_seen(&[after_a_line.as_bytes()], &["a2.0\\n", "TOOLONG\\n"], true);
        }
        assert_seen(&[too_long.as_bytes()], &["TOOLONG"], true);
        assert_seen(&[&[b'x'; 1000]], &["TOOLONG"], true);
    }

    #[test]
    fn bytes_that_settle_are_a_request_only_when_told() {
        let mut decoder = RequestDecoder::new(LIMIT, true);
        let mut src = BytesMut::from(&b"a1"[..]);
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
        assert_eq!(decoder.pending(), Pending::Whole);
        src.extend_from_slice(b"2e");
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
        assert_eq!(decoder.pending(), Pending::Partial);
        assert_eq!(decoder.decode_settled(&mut src), None);
        src.extend_from_slice(b"1");
        assert_eq!(show(&decoder.decode_settled(&mut src).unwrap()), "a120.0");
        assert_eq!(decoder.pending(), Pending::Nothing);
        src.extend_from_slice(b"x");
        assert_eq!(show(&decoder.decode(&mut src).unwrap().unwrap()), "BADOP");
    }

    #[test]
    fn giving_up_ends_the_connection_as_it_speaks() {
        let limit = Duration::from_secs(5);
        let mut decoder = RequestDecoder::new(LIMIT, false);
        assert_eq!(show(&decoder.time_out(limit)), "TIMEOUT");
        let mut decoder = RequestDecoder::new(LIMIT, false);
        decoder.decode(&mut BytesMut::from(&b"a2\n"[..])).unwrap();
        assert_eq!(show(&decoder.time_out(limit)), "TIMEOUT\\n");
        assert!(decoder.is_finished());
        assert_eq!(ErrorReply::timed_out(limit).code, ErrorCode::Timeout);
    }

    /// Bytes that are mostly near the format, so that every branch is reached.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let near = prop::sample::select(b"aabcd0123456789.-+eE \t\r\n\n\n\nx\0\xff".to_vec());
        prop::collection::vec(near, 0..120)
    }

    proptest! {
        /// A line that is cut before its end, or before anything that belongs to its number, gets the same bytes.
        #[test]
        fn a_line_cut_in_two_is_answered_alike_or_followed_by_an_error(
            number in "[-+]?[0-9]{1,5}(\\.[0-9]{1,5})?", end in "[ \t]{0,2}\r?\n", cut in 0..16_usize,
        ) {
            let line = format!("a{number}{end}");
            let (first, second) = line.as_bytes().split_at(cut.min(line.len()));
            let whole = converse(&[line.as_bytes()]).0.concat();
            let in_two = converse(&[first, second]).0.concat();
            prop_assert!(in_two == whole || in_two.ends_with("BADOP\\n") || in_two.ends_with("BADOP"), "{}", in_two);
        }

        /// Once a connection speaks lines, the cuts in its bytes do not matter.
        #[test]
        fn any_chunking_of_the_same_lines_gives_the_same_result(
            bytes in stream(), cuts in prop::collection::vec(1..9_usize, 1..120),
        ) {
            let whole = [&b"\n"[..], &bytes].concat();
            let mut pieces = vec![&whole[..1]];
            let mut rest = &whole[1..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(converse(&pieces), converse(&[&whole]));
        }

        /// With settle and no silence, the cuts in bare bytes do not matter either, until they cannot be a request.
        #[test]
        fn any_chunking_of_one_settling_request_gives_the_same_result(
            request in "[abcd][ \t]?[-+]?[0-9]{1,4}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{1,2})?", cut in 0..16_usize,
        ) {
            let mut decoder = RequestDecoder::new(64, true);
            let mut src = BytesMut::new();
            let (first, second) = request.as_bytes().split_at(cut.min(request.len()));
            for piece in [first, second] {
                src.extend_from_slice(piece);
                prop_assert_eq!(decoder.decode(&mut src).unwrap(), None);
            }
            let received = decoder.decode_eof(&mut src).unwrap().unwrap();
            prop_assert_eq!(received, Received::from_text(RequestText::classify(request.as_bytes()), Terminator::Bare));
        }

        #[test]
        fn no_bytes_panic_and_none_are_left(pieces in prop::collection::vec(stream(), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            converse(&pieces);
        }
    }
}
