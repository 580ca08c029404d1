//! The server's codec of the power protocol: finds the end of each request and encodes replies.
//!
//! A TCP stream has no frames, and the programs that use this wire end a request in one of three ways:
//!
//! 1. **Line**: LF or CR LF. From a connection's first LF on, every request is a line, and so is every reply.
//! 2. **End of stream**: the client's half-close. The reply is bare.
//! 3. **Bare**: no terminator. The received bytes are a request as soon as they parse as one; the reply is bare. This
//!    is a guess, and it is wrong if the network has split the request. If more digits follow, they do not begin with
//!    an op letter, so an error reply follows the first reply, and a client that reads to LF or to EOF sees both. If
//!    only the line end follows, the first reply was right, and its line feed is sent late.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{ErrorReply, Operation, Reply, Request, RequestText, Terminator};
use crate::wire::number::{Literal, is_blank};

/// An item of the [`RequestDecoder`].
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

/// The state of the bytes that remain in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// The buffer is empty.
    Nothing,
    /// The buffer holds part of a request.
    Partial,
    /// The buffer holds a complete bare request, unless more bytes arrive within the settle time.
    Complete,
}

/// Finds the requests in a connection's bytes.
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    /// The maximum length of a request in bytes, the terminator not counted.
    limit: usize,
    /// Whether the decoder returns a bare request only from [`Self::decode_settled`].
    settle: bool,
    state: DecoderState,
    pending: Pending,
    /// Whether the last request was costly.
    is_costly: bool,
    /// The operation of the last request. It fits into the padding.
    operation: Option<Operation>,
}

/// The framing that a connection has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DecoderState {
    /// No complete request yet.
    Start,
    /// The last request was bare.
    Bare,
    /// A line feed has arrived: requests are lines from here on.
    Lines,
    /// The last reply has been determined; further bytes are discarded.
    Finished,
}

impl RequestDecoder {
    /// Creates a decoder for one connection.
    ///
    /// `limit` is the maximum length of a request in bytes, the terminator not counted. With `settle`, only
    /// [`decode_settled`](Self::decode_settled) and EOF complete a bare request.
    #[must_use]
    pub fn new(limit: usize, settle: bool) -> Self {
        Self { limit, settle, state: DecoderState::Start, pending: Pending::Nothing, is_costly: false, operation: None }
    }

    /// Returns whether the connection gets no further replies. After some errors the start of the next request is
    /// unknown, so further bytes cannot be decoded.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == DecoderState::Finished
    }

    /// Returns the state of the bytes that the last call left in the buffer.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// Returns whether the number of the last request had more than 19 significant digits. Decoding it can then take 8 to
    /// 39 µs instead of 0.1 µs, so such a request has to count as many in a limit on the work of a connection.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.is_costly
    }

    /// Returns the operation of the last request; `None` if its first byte was not an op letter.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.operation
    }

    /// Returns the bare request in the buffer, if it is complete. Call this when no more bytes have arrived for the
    /// settle time.
    pub fn decode_settled(&mut self, src: &mut BytesMut) -> Option<Received> {
        let text = RequestText::classify(src);
        if !matches!(self.state, DecoderState::Start | DecoderState::Bare) || BareClass::of(text) != BareClass::Complete
        {
            return None;
        }
        let received = self.receive(text, Terminator::Bare);
        self.consume_bare(src);
        Some(received)
    }

    /// Finishes the connection with the error for a request that has not arrived within `timeout`.
    pub fn time_out(&mut self, timeout: Duration) -> Received {
        self.finish(ErrorReply::timed_out(timeout))
    }

    /// Finishes the connection with the error for a request that waited `timeout` for the rate of its client network.
    pub fn time_out_over_rate(&mut self, timeout: Duration) -> Received {
        self.finish(ErrorReply::timed_out_over_rate(timeout))
    }

    /// Finishes the connection with the error for a request that is incomplete when the server stops.
    pub fn shut_down(&mut self) -> Received {
        self.finish(ErrorReply::shut_down())
    }

    fn receive(&mut self, text: RequestText<'_>, terminator: Terminator) -> Received {
        self.is_costly = text.is_costly();
        self.operation = text.operation.map(|(operation, _)| operation);
        Received::from_text(text, terminator)
    }

    fn terminator(&self) -> Terminator {
        if self.state == DecoderState::Lines { Terminator::Line } else { Terminator::Bare }
    }

    fn finish(&mut self, error_reply: ErrorReply) -> Received {
        let terminator = self.terminator();
        self.state = DecoderState::Finished;
        self.is_costly = false;
        Received::Request { operation: None, request: Err(error_reply), terminator }
    }

    fn consume_bare(&mut self, src: &mut BytesMut) {
        self.state = DecoderState::Bare;
        self.pending = Pending::Nothing;
        src.clear();
    }

    /// Returns the position of the first line feed within the longest line.
    ///
    /// A longer line is an error before its line feed arrives. So a search beyond this length would make the result
    /// depend on how the bytes were split.
    fn line_feed(&self, src: &[u8]) -> Option<usize> {
        let max_line = self.limit + b"\r\n".len();
        src[..src.len().min(max_line)].iter().position(|&byte| byte == b'\n')
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
                let after_bare = self.state == DecoderState::Bare;
                self.state = DecoderState::Lines;
                let received =
                    (!is_blank_line(line)).then(|| self.receive(RequestText::classify(line), Terminator::Line));
                src.advance(end + 1);
                match received {
                    Some(received) => return Ok(Some(received)),
                    None if after_bare => return Ok(Some(Received::LateLineEnd)),
                    None => {}
                }
            } else if self.state == DecoderState::Lines {
                self.pending = Pending::Partial;
                return Ok(None);
            } else {
                let text = RequestText::classify(src);
                let class = BareClass::of(text);
                match class {
                    BareClass::Complete if self.settle => self.pending = Pending::Complete,
                    BareClass::Incomplete => self.pending = Pending::Partial,
                    BareClass::Complete | BareClass::Invalid => {
                        let received = self.receive(text, Terminator::Bare);
                        self.consume_bare(src);
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

    /// Decodes the remaining bytes as one request: EOF ends a request, complete or not.
    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Received>> {
        if let Some(received) = self.decode(src)? {
            return Ok(Some(received));
        }
        let terminator = self.terminator();
        let received = (!is_blank_line(src)).then(|| self.receive(RequestText::classify(src), terminator));
        self.pending = Pending::Nothing;
        src.clear();
        Ok(received)
    }
}

/// The class of bytes without a line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BareClass {
    /// A request. More bytes could make a different request.
    Complete,
    /// The beginning of a request, or a blank line without its line feed.
    Incomplete,
    /// Neither a request nor the beginning of one.
    Invalid,
}

impl BareClass {
    fn of(RequestText { text, operation }: RequestText<'_>) -> Self {
        match operation {
            // The beginning of CR LF: wait for the LF.
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

/// Encodes replies, each with its terminator.
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
            Err(ErrorReply { code, message }) => {
                dst.put_u8(b'e');
                dst.put_slice(code.as_str().as_bytes());
                dst.put_u8(b' ');
                dst.put_slice(message.as_bytes());
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

    /// Decodes the bytes of a connection that half-closes after them. Each of `pieces` arrives in a separate read.
    ///
    /// Returns the items as text, and whether the connection is finished.
    fn decode_all(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut decoder = RequestDecoder::new(LIMIT, false);
        let mut src = BytesMut::new();
        let mut items = Vec::new();
        for piece in pieces {
            src.extend_from_slice(piece);
            while let Some(received) = decoder.decode(&mut src).unwrap() {
                items.push(text_of(&received));
            }
        }
        while let Some(received) = decoder.decode_eof(&mut src).unwrap() {
            items.push(text_of(&received));
        }
        assert!(src.is_empty(), "bytes are left: {src:?}");
        (items, decoder.is_finished())
    }

    fn text_of(received: &Received) -> String {
        let (text, terminator) = match received {
            Received::Request { request: Ok(request), terminator, .. } => (request.to_string(), *terminator),
            Received::Request { request: Err(error), terminator, .. } => (error.code.to_string(), *terminator),
            Received::LateLineEnd => (String::new(), Terminator::Line),
        };
        text + if terminator == Terminator::Line { "\\n" } else { "" }
    }

    fn assert_decodes(pieces: &[&[u8]], expected: &[&str], finished: bool) {
        let (items, is_finished) = decode_all(pieces);
        assert_eq!(items, expected, "{pieces:?}");
        assert_eq!(is_finished, finished, "{pieces:?}");
    }

    #[test]
    fn a_line_feed_ends_a_request_and_a_bad_line_does_not_finish_the_connection() {
        assert_decodes(&[b"a2\nb3\r\nc4\n"], &["a2.0\\n", "b3.0\\n", "c4.0\\n"], false);
        assert_decodes(&[b"a2\nx\na\nd5\n"], &["a2.0\\n", "BADOP\\n", "BADNUM\\n", "d5.0\\n"], false);
        assert_decodes(&[b"\n\r\n \t\na2\n\n"], &["a2.0\\n"], false);
        assert_decodes(&[b"a2\nb3"], &["a2.0\\n", "b3.0\\n"], false);
    }

    #[test]
    fn eof_ends_a_request() {
        assert_decodes(&[b"a"], &["BADNUM"], false);
        assert_decodes(&[b"a-", b"1"], &["a-1.0"], false);
        assert_decodes(&[b"a", b"1", b"e"], &["a1.0", "BADOP"], true);
        assert_decodes(&[b""], &[], false);
        assert_decodes(&[b" \t"], &[], false);
        assert_decodes(&[b"a2\r"], &["BADNUM"], false);
    }

    #[test]
    fn a_bare_request_is_decoded_as_soon_as_it_is_complete() {
        assert_decodes(&[b"a2", b"b3"], &["a2.0", "b3.0"], false);
        assert_decodes(&[b"a1e999", b"a2"], &["RANGE", "a2.0"], false);
        assert_decodes(&[b"a2b3"], &["BADNUM"], true);
        assert_decodes(&[b"x5", b"a2"], &["BADOP"], true);
        assert_decodes(&[b" a2"], &["BADOP"], true);
        assert_decodes(&[b"a2", b"b3\nc4\n"], &["a2.0", "b3.0\\n", "c4.0\\n"], false);
    }

    #[test]
    fn the_second_part_of_a_split_bare_request_is_an_error() {
        for cut in 2..5 {
            let request = b"a1234";
            let (items, finished) = decode_all(&[&request[..cut], &request[cut..]]);
            assert_eq!(items.len(), 2, "{items:?}");
            assert_eq!(items[1], "BADOP");
            assert!(finished);
        }
    }

    #[test]
    fn a_late_line_end_is_decoded_once() {
        assert_decodes(&[b"a2", b"\n"], &["a2.0", "\\n"], false);
        assert_decodes(&[b"a2", b" \r", b"\nb3\n"], &["a2.0", "\\n", "b3.0\\n"], false);
        assert_decodes(&[b"a", b"2", b"\nb", b"3\n"], &["a2.0", "\\n", "b3.0\\n"], false);
        assert_decodes(&[b"a2", b"\n\n\n"], &["a2.0", "\\n"], false);
        assert_decodes(&[b"a2", b"b3\n\n"], &["a2.0", "b3.0\\n"], false);
    }

    #[test]
    fn the_limit_does_not_count_the_terminator() {
        let longest = format!("a{}", "1".repeat(LIMIT - 1));
        let too_long = format!("{longest}1");
        for end in ["\n", "\r\n"] {
            let (items, finished) = decode_all(&[(longest.clone() + end).as_bytes()]);
            assert!(items.len() == 1 && items[0].ends_with("\\n") && !finished, "{items:?}");
            assert_decodes(&[(too_long.clone() + end).as_bytes()], &["TOOLONG"], true);
            let after_a_line = format!("a2\n{too_long}{end}b3\n");
            assert_decodes(&[after_a_line.as_bytes()], &["a2.0\\n", "TOOLONG\\n"], true);
        }
        assert_decodes(&[too_long.as_bytes()], &["TOOLONG"], true);
        assert_decodes(&[&[b'x'; 1000]], &["TOOLONG"], true);
    }

    #[test]
    fn with_settle_only_decode_settled_completes_a_bare_request() {
        let mut decoder = RequestDecoder::new(LIMIT, true);
        let mut src = BytesMut::from(&b"a1"[..]);
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
        assert_eq!(decoder.pending(), Pending::Complete);
        src.extend_from_slice(b"2e");
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
        assert_eq!(decoder.pending(), Pending::Partial);
        assert_eq!(decoder.decode_settled(&mut src), None);
        src.extend_from_slice(b"1");
        assert_eq!(text_of(&decoder.decode_settled(&mut src).unwrap()), "a120.0");
        assert_eq!(decoder.pending(), Pending::Nothing);
        src.extend_from_slice(b"x");
        assert_eq!(text_of(&decoder.decode(&mut src).unwrap().unwrap()), "BADOP");
    }

    #[test]
    fn a_timeout_finishes_the_connection_in_its_framing() {
        let timeout = Duration::from_secs(5);
        let mut decoder = RequestDecoder::new(LIMIT, false);
        assert_eq!(text_of(&decoder.time_out(timeout)), "TIMEOUT");
        let mut decoder = RequestDecoder::new(LIMIT, false);
        decoder.decode(&mut BytesMut::from(&b"a2\n"[..])).unwrap();
        assert_eq!(text_of(&decoder.time_out(timeout)), "TIMEOUT\\n");
        assert!(decoder.is_finished());
        assert_eq!(ErrorReply::timed_out(timeout).code, ErrorCode::Timeout);
    }

    /// Generates bytes that are mostly close to the format, so that the tests reach every branch.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::sample::select(b"aabcd0123456789.-+eE \t\r\n\n\n\nx\0\xff".to_vec());
        prop::collection::vec(bytes, 0..120)
    }

    proptest! {
        /// A split line decodes to the same items as the whole line, or the last item is an error.
        #[test]
        fn a_split_line_decodes_like_the_whole_line_or_ends_in_an_error(
            number in "[-+]?[0-9]{1,5}(\\.[0-9]{1,5})?", end in "[ \t]{0,2}\r?\n", cut in 0..16_usize,
        ) {
            let line = format!("a{number}{end}");
            let (first, second) = line.as_bytes().split_at(cut.min(line.len()));
            let whole = decode_all(&[line.as_bytes()]).0.concat();
            let split = decode_all(&[first, second]).0.concat();
            prop_assert!(split == whole || split.ends_with("BADOP\\n") || split.ends_with("BADOP"), "{}", split);
        }

        /// After the first line feed, the result does not depend on how the bytes are split.
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
            prop_assert_eq!(decode_all(&pieces), decode_all(&[&whole]));
        }

        /// With settle and without a pause, the result does not depend on how a bare request is split.
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
        fn any_bytes_decode_without_a_panic_or_a_remainder(pieces in prop::collection::vec(stream(), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            decode_all(&pieces);
        }
    }
}
