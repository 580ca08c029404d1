//! The power wire.

use std::time::Duration;

use crate::wire::number::Number;
use crate::wire::power::client::{ClientCodec, Framing};
use crate::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use crate::wire::power::{ErrorCode, ErrorReply, Operation, Reply, Request, Terminator};
use bytes::{BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::pieces;

/// What kind of connection it is: the most bytes of a request, whether bare ones have to settle, and whether they are
/// given the time to between two reads.
#[derive(Clone, Copy, Debug)]
struct InputKind {
    limit: usize,
    settling: bool,
    silences: bool,
}

impl InputKind {
    fn from_byte(byte: u8) -> Self {
        Self { limit: usize::from(byte % 64) + 2, settling: byte & 64 > 0, silences: byte & 128 > 0 }
    }
}

/// Takes the first bytes for what kind of connection it is and where the others are cut, and those for what either side
/// sends.
pub fn check(data: &[u8]) {
    let [kind, first_cut, second_cut, sent @ ..] = data else { return };
    let (kind, cuts) = (InputKind::from_byte(*kind), [*first_cut, *second_cut]);
    let whole = converse(kind, [sent]);
    let cut = converse(kind, pieces(sent, &cuts));
    never_a_wrong_answer(sent, &whole, &cut);

    // On a connection that speaks lines, where the bytes were cut does not matter.
    let lines = converse(kind, [b"d0\n", sent]);
    let cut_lines = converse(kind, [&b"d0\n"[..]].into_iter().chain(pieces(sent, &cuts)));
    assert_eq!(lines, cut_lines, "{kind:?}, {cuts:?}");
    assert_eq!(lines, converse(kind, [&[b"d0\n", sent].concat()[..]]), "{kind:?}");
    assert_eq!(lines[1..], told_line_by_line(sent, kind.limit), "{kind:?}");
    // Nor does it for one request that is given the time to settle.
    if let [Received::Request { request: Ok(_), .. }] = &whole[..]
        && kind.settling
        && !kind.silences
    {
        assert_eq!(whole, cut, "{kind:?}, {cuts:?}");
    }

    for received in whole.iter().chain(&cut).chain(&lines) {
        round_trip(received);
    }
    pipelined(&lines, &cuts);
    replies(sent, &cuts);
}

/// What a connection that sends these pieces and then half-closes is found to have sent.
fn converse<'a>(kind: InputKind, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Received> {
    let mut decoder = RequestDecoder::new(kind.limit, kind.settling);
    let (mut src, mut seen) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        while let Some(received) = decoder.decode(&mut src).unwrap() {
            seen.push(received);
        }
        // A request without its end, and of that end the first byte.
        assert!(src.len() <= kind.limit + b"\r".len(), "{} bytes wait: {kind:?}", src.len());
        let pending = decoder.pending();
        assert_eq!(pending == Pending::Nothing, src.is_empty());
        assert!(pending != Pending::Whole || kind.settling, "a request waits that has nothing to wait for");
        assert!(src.is_empty() || !decoder.is_finished(), "bytes are kept that nobody will read");
        if kind.silences {
            let settled = decoder.decode_settled(&mut src);
            assert_eq!(settled.is_some(), pending == Pending::Whole);
            assert!(src.is_empty() || settled.is_none());
            seen.extend(settled);
        }
    }
    if !decoder.is_finished() {
        let mut late = decoder.clone();
        round_trip(&late.time_out(Duration::from_millis(1500)));
        assert!(late.is_finished());
    }
    while let Some(received) = decoder.decode_eof(&mut src).unwrap() {
        seen.push(received);
    }
    assert!(src.is_empty());
    seen
}

/// What lines are to be taken for, as the wire has it: each for a request, up to the first that is too long. What
/// stands behind the last line feed is a line too, whose CR is no end.
fn told_line_by_line(sent: &[u8], limit: usize) -> Vec<Received> {
    let mut told = Vec::new();
    for line in sent.split_inclusive(|&byte| byte == b'\n') {
        let (line, ended) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() > limit {
            told.push(Received::Request {
                operation: None,
                request: Err(ErrorReply::too_long(limit)),
                terminator: Terminator::Line,
            });
            break;
        }
        let text = if ended { text } else { line };
        if text.iter().any(|byte| !b" \t".contains(byte)) {
            let operation = Operation::from_letter(text[0]);
            told.push(Received::Request { operation, request: Request::parse(text), terminator: Terminator::Line });
        }
    }
    told
}

/// A client whose bytes were cut on the way reads what one reads whose bytes were not, or sees that it does not: no
/// number that it takes for an answer is another one than the right one.
fn never_a_wrong_answer(sent: &[u8], whole: &[Received], cut: &[Received]) {
    let framing = match sent {
        [.., b'\n'] => Framing::Line,
        _ if sent.contains(&b'\n') => return,
        _ => Framing::EndOfStream,
    };
    let (right, in_order) = hear(framing, [&answers(whole)[..]]);
    assert!(in_order, "a server that got it all at once is not understood: {whole:?}");
    // A server that has seen a part alone cannot know that the whole is too long.
    let too_long = right.last().is_some_and(|reply| matches!(reply, Err(ErrorReply { code: ErrorCode::TooLong, .. })));
    let known = if too_long { right.len() - 1 } else { usize::MAX };
    let (taken, _) = hear(framing, [&answers(cut)[..]]);
    for (place, reply) in taken.iter().enumerate().take(known) {
        assert!(reply.is_err() || same(Some(reply), right.get(place)), "{reply:?} at {place}, not {right:?}");
    }
}

fn same(one: Option<&Reply>, other: Option<&Reply>) -> bool {
    // Zeros of either sign are equal, and not the same answer.
    let exactly = |reply: &Reply| reply.clone().map(|number| number.value().to_bits());
    one.map(exactly) == other.map(exactly)
}

/// All the bytes that a server answers with.
fn answers(received: &[Received]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for received in received {
        match received {
            Received::Request { request, terminator, .. } => {
                ReplyEncoder.encode((&answer(request), *terminator), &mut bytes).unwrap();
            }
            Received::LateLineEnd => bytes.put_u8(b'\n'),
        }
    }
    bytes
}

/// An answer that depends on the operation and on the operand, and may be beyond the largest double.
fn answer(request: &Result<Request, ErrorReply>) -> Reply {
    let request = request.clone()?;
    let Request { operation, operand } = request;
    Number::new(operand.value() * f64::from(operation.letter() - b'`'))
        .ok_or_else(|| ErrorReply::result_out_of_range(operation, operand))
}

/// What a client of the server's replies makes of them until one is none, and whether all of them were some.
fn hear<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, bool) {
    let mut codec = ClientCodec::new(framing);
    let (mut src, mut heard) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(reply)) => heard.push(reply),
                Ok(None) => break,
                Err(error) => return broken(heard, &error),
            }
        }
        assert!(src.len() <= ClientCodec::MAX_REPLY_LEN, "{} bytes wait", src.len());
    }
    loop {
        match codec.decode_eof(&mut src) {
            Ok(Some(reply)) => heard.push(reply),
            Ok(None) => break,
            Err(error) => return broken(heard, &error),
        }
    }
    assert!(src.is_empty());
    (heard, true)
}

/// People are told why, in a line that their terminal can show.
fn broken(heard: Vec<Reply>, error: &impl ToString) -> (Vec<Reply>, bool) {
    let text = error.to_string();
    assert!(
        text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() <= ClientCodec::MAX_REPLY_LEN,
        "{text:?}"
    );
    (heard, false)
}

/// What is received can be sent again, and what is answered is read as it was meant.
fn round_trip(received: &Received) {
    let Received::Request { operation, request, terminator } = received else { return };
    if let Ok(request) = request {
        assert_eq!(*operation, Some(request.operation));
        assert_eq!(Request::parse(request.to_string().as_bytes()).unwrap(), *request);
    }
    let reply = answer(request);
    let mut bytes = BytesMut::new();
    ReplyEncoder.encode((&reply, *terminator), &mut bytes).unwrap();
    // What the client's limit is reasoned with.
    assert!(bytes.len() < ClientCodec::MAX_REPLY_LEN / 4, "{bytes:?}");
    let text = if *terminator == Terminator::Line { bytes.strip_suffix(b"\n").unwrap() } else { &bytes[..] };
    assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    let framing = if *terminator == Terminator::Line { Framing::Line } else { Framing::EndOfStream };
    let (heard, in_order) = hear(framing, [&bytes[..]]);
    assert!(in_order && same(heard.first(), Some(&reply)) && heard.len() == 1, "{heard:?}, not {reply:?}");
}

/// What a client pipelines is received as it was sent, and what a server pipelines heard as it was said.
fn pipelined(received: &[Received], cuts: &[u8]) {
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
    // The first one settles that the connection speaks lines; it has to come whole for that.
    let first = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let (first, others) = bytes.split_at(first);
    let kind = InputKind { limit: 64, settling: false, silences: false };
    let again = converse(kind, [first].into_iter().chain(pieces(others, cuts)));
    assert_eq!(again.len(), requests.len());
    for (again, request) in again.iter().zip(&requests) {
        let operation = Some(request.operation);
        assert_eq!(*again, Received::Request { operation, request: Ok(*request), terminator: Terminator::Line });
        // Zeros of either sign are equal.
        let Received::Request { request: again, .. } = again else { continue };
        assert!(same(Some(&again.clone().map(|again| again.operand)), Some(&Ok(request.operand))));
    }

    let said: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Request { request, .. } => Some(answer(request)),
            Received::LateLineEnd => None,
        })
        .collect();
    let (heard, in_order) = hear(Framing::Line, pieces(&answers(received), cuts));
    assert!(in_order && heard.len() == said.len(), "{heard:?}, not {said:?}");
    assert!(heard.iter().zip(&said).all(|(heard, said)| same(Some(heard), Some(said))), "{heard:?}, not {said:?}");
}

/// A client reads anything without losing its mind, holds no more than the longest reply, and goes by what it has got,
/// not by when.
fn replies(sent: &[u8], cuts: &[u8]) {
    for framing in [Framing::EndOfStream, Framing::Line] {
        assert_eq!(hear(framing, [sent]), hear(framing, pieces(sent, cuts)), "{framing:?}");
    }
    hear(Framing::Bare, pieces(sent, cuts));
}
