//! Properties of the power protocol.

use std::time::Duration;

use crate::wire::number::Number;
use crate::wire::power::client::{ClientCodec, Framing};
use crate::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use crate::wire::power::{ErrorCode, ErrorReply, Operation, Reply, Request, Terminator};
use bytes::{BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::pieces;

/// The options of a connection.
#[derive(Clone, Copy, Debug)]
struct ConnectionOptions {
    /// The maximum length of a request in bytes.
    limit: usize,
    /// Whether bare requests must settle.
    settle: bool,
    /// Whether the settle time passes between two reads.
    pauses: bool,
}

impl ConnectionOptions {
    fn from_byte(byte: u8) -> Self {
        Self { limit: usize::from(byte % 64) + 2, settle: byte & 64 > 0, pauses: byte & 128 > 0 }
    }
}

/// Checks the codecs of both sides. The first byte of `data` has the options of the connection, the next two bytes
/// determine the lengths of the pieces, and the others are the bytes sent.
pub fn check(data: &[u8]) {
    let [options, first_cut, second_cut, sent @ ..] = data else { return };
    let (options, cuts) = (ConnectionOptions::from_byte(*options), [*first_cut, *second_cut]);
    let whole = decode_requests(options, [sent]);
    let split = decode_requests(options, pieces(sent, &cuts));
    check_no_wrong_number(sent, &whole, &split);

    // After the first line feed, the result does not depend on how the bytes are split.
    let lines = decode_requests(options, [b"d0\n", sent]);
    let split_lines = decode_requests(options, [&b"d0\n"[..]].into_iter().chain(pieces(sent, &cuts)));
    assert_eq!(lines, split_lines, "{options:?}, {cuts:?}");
    assert_eq!(lines, decode_requests(options, [&[b"d0\n", sent].concat()[..]]), "{options:?}");
    assert_eq!(lines[1..], decode_lines(sent, options.limit), "{options:?}");
    // The same holds for one bare request with a settle time, if no pause occurs within it.
    if let [Received::Request { request: Ok(_), .. }] = &whole[..]
        && options.settle
        && !options.pauses
    {
        assert_eq!(whole, split, "{options:?}, {cuts:?}");
    }

    for received in whole.iter().chain(&split).chain(&lines) {
        check_round_trip(received);
    }
    check_pipelining(&lines, &cuts);
    check_reply_decoder(sent, &cuts);
}

/// Decodes the requests of a connection that sends these pieces and then half-closes.
fn decode_requests<'a>(options: ConnectionOptions, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Received> {
    let mut decoder = RequestDecoder::new(options.limit, options.settle);
    let (mut src, mut items) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        while let Some(received) = decoder.decode(&mut src).unwrap() {
            items.push(received);
        }
        // At most a request without its terminator, and the CR of a CR LF.
        assert!(src.len() <= options.limit + b"\r".len(), "{} bytes wait: {options:?}", src.len());
        let pending = decoder.pending();
        assert_eq!(pending == Pending::Nothing, src.is_empty());
        assert!(pending != Pending::Complete || options.settle, "a complete request waits without a settle time");
        assert!(src.is_empty() || !decoder.is_finished(), "bytes remain after the last reply");
        if options.pauses {
            let settled = decoder.decode_settled(&mut src);
            assert_eq!(settled.is_some(), pending == Pending::Complete);
            assert!(src.is_empty() || settled.is_none());
            items.extend(settled);
        }
    }
    if !decoder.is_finished() {
        let mut timed_out = decoder.clone();
        check_round_trip(&timed_out.time_out(Duration::from_millis(1500)));
        assert!(timed_out.is_finished());
    }
    while let Some(received) = decoder.decode_eof(&mut src).unwrap() {
        items.push(received);
    }
    assert!(src.is_empty());
    items
}

/// Decodes lines by the rules of PROTOCOL.md: each line is a request, up to the first one that is too long. The bytes
/// after the last line feed are a request, too, but a CR at their end is part of the request.
fn decode_lines(sent: &[u8], limit: usize) -> Vec<Received> {
    let mut items = Vec::new();
    for line in sent.split_inclusive(|&byte| byte == b'\n') {
        let (line, is_terminated) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() > limit {
            items.push(Received::Request {
                operation: None,
                request: Err(ErrorReply::too_long(limit)),
                terminator: Terminator::Line,
            });
            break;
        }
        let text = if is_terminated { text } else { line };
        if text.iter().any(|byte| !b" \t".contains(byte)) {
            let operation = Operation::from_letter(text[0]);
            items.push(Received::Request { operation, request: Request::parse(text), terminator: Terminator::Line });
        }
    }
    items
}

/// Checks that a client whose requests were split gets the replies to the whole requests, or an error. It never accepts
/// a wrong number.
fn check_no_wrong_number(sent: &[u8], whole: &[Received], split: &[Received]) {
    let framing = match sent {
        [.., b'\n'] => Framing::Line,
        _ if sent.contains(&b'\n') => return,
        _ => Framing::EndOfStream,
    };
    let (expected, is_valid) = decode_replies(framing, [&encode_replies(whole)[..]]);
    assert!(is_valid, "invalid replies to whole requests: {whole:?}");
    // A server that has received only a part cannot know that the whole request is too long.
    let too_long =
        expected.last().is_some_and(|reply| matches!(reply, Err(ErrorReply { code: ErrorCode::TooLong, .. })));
    let comparable = if too_long { expected.len() - 1 } else { usize::MAX };
    let (replies, _) = decode_replies(framing, [&encode_replies(split)[..]]);
    for (index, reply) in replies.iter().enumerate().take(comparable) {
        assert!(reply.is_err() || is_same(Some(reply), expected.get(index)), "{reply:?} at {index}, not {expected:?}");
    }
}

/// Compares replies by the bits of their numbers: 0.0 and -0.0 are equal, but different replies.
fn is_same(one: Option<&Reply>, other: Option<&Reply>) -> bool {
    let bits = |reply: &Reply| reply.clone().map(|number| number.value().to_bits());
    one.map(bits) == other.map(bits)
}

/// Encodes the replies of a server to these requests.
fn encode_replies(received: &[Received]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for received in received {
        match received {
            Received::Request { request, terminator, .. } => {
                ReplyEncoder.encode((&reply_to(request), *terminator), &mut bytes).unwrap();
            }
            Received::LateLineEnd => bytes.put_u8(b'\n'),
        }
    }
    bytes
}

/// Returns a reply that depends on the operation and the operand. The result may be beyond the largest double.
fn reply_to(request: &Result<Request, ErrorReply>) -> Reply {
    let request = request.clone()?;
    let Request { operation, operand } = request;
    Number::new(operand.value() * f64::from(operation.letter() - b'`'))
        .ok_or_else(|| ErrorReply::result_out_of_range(operation, operand))
}

/// Decodes the replies that a client receives, up to the first invalid one. Returns them and whether all replies were
/// valid.
fn decode_replies<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, bool) {
    let mut codec = ClientCodec::new(framing);
    let (mut src, mut replies) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => {
                    check_message(&error);
                    return (replies, false);
                }
            }
        }
        assert!(src.len() <= ClientCodec::MAX_REPLY_LEN, "{} bytes wait", src.len());
    }
    loop {
        match codec.decode_eof(&mut src) {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => break,
            Err(error) => {
                check_message(&error);
                return (replies, false);
            }
        }
    }
    assert!(src.is_empty());
    (replies, true)
}

/// Checks that an error message is a line of printable ASCII.
fn check_message(error: &impl ToString) {
    let text = error.to_string();
    assert!(
        text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() <= ClientCodec::MAX_REPLY_LEN,
        "{text:?}"
    );
}

/// Checks that a decoded request and the reply to it are the same after encoding and decoding.
fn check_round_trip(received: &Received) {
    let Received::Request { operation, request, terminator } = received else { return };
    if let Ok(request) = request {
        assert_eq!(*operation, Some(request.operation));
        assert_eq!(Request::parse(request.to_string().as_bytes()).unwrap(), *request);
    }
    let reply = reply_to(request);
    let mut bytes = BytesMut::new();
    ReplyEncoder.encode((&reply, *terminator), &mut bytes).unwrap();
    // The doc comment of `MAX_REPLY_LEN` claims this.
    assert!(bytes.len() < ClientCodec::MAX_REPLY_LEN / 4, "{bytes:?}");
    let text = if *terminator == Terminator::Line { bytes.strip_suffix(b"\n").unwrap() } else { &bytes[..] };
    assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    let framing = if *terminator == Terminator::Line { Framing::Line } else { Framing::EndOfStream };
    let (replies, is_valid) = decode_replies(framing, [&bytes[..]]);
    assert!(is_valid && is_same(replies.first(), Some(&reply)) && replies.len() == 1, "{replies:?}, not {reply:?}");
}

/// Checks that pipelined requests and pipelined replies are the same after encoding and decoding.
fn check_pipelining(received: &[Received], cuts: &[u8]) {
    let requests: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Request { request: Ok(request), .. } => Some(*request),
            _ => None,
        })
        .collect();
    let mut bytes = BytesMut::new();
    for request in &requests {
        ClientCodec::new(Framing::Line).encode(*request, &mut bytes).unwrap();
    }
    // Deliver the first request whole: only after its line feed may the bytes be split anywhere.
    let first = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let (first, others) = bytes.split_at(first);
    let options = ConnectionOptions { limit: 64, settle: false, pauses: false };
    let decoded = decode_requests(options, [first].into_iter().chain(pieces(others, cuts)));
    assert_eq!(decoded.len(), requests.len());
    for (item, request) in decoded.iter().zip(&requests) {
        let operation = Some(request.operation);
        assert_eq!(*item, Received::Request { operation, request: Ok(*request), terminator: Terminator::Line });
        // `assert_eq` does not distinguish 0.0 and -0.0.
        let Received::Request { request: decoded, .. } = item else { continue };
        assert!(is_same(Some(&decoded.clone().map(|decoded| decoded.operand)), Some(&Ok(request.operand))));
    }

    let sent: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Request { request, .. } => Some(reply_to(request)),
            Received::LateLineEnd => None,
        })
        .collect();
    let (replies, is_valid) = decode_replies(Framing::Line, pieces(&encode_replies(received), cuts));
    assert!(is_valid && replies.len() == sent.len(), "{replies:?}, not {sent:?}");
    let is_equal = replies.iter().zip(&sent).all(|(reply, sent)| is_same(Some(reply), Some(sent)));
    assert!(is_equal, "{replies:?}, not {sent:?}");
}

/// Checks that a client decodes any bytes without a panic, buffers at most the longest reply, and gets the same result
/// for split bytes. The last property does not hold for bare replies.
fn check_reply_decoder(sent: &[u8], cuts: &[u8]) {
    for framing in [Framing::EndOfStream, Framing::Line] {
        assert_eq!(decode_replies(framing, [sent]), decode_replies(framing, pieces(sent, cuts)), "{framing:?}");
    }
    decode_replies(Framing::Bare, pieces(sent, cuts));
}
