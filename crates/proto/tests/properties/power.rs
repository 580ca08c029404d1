//! The power wire.

use bytes::BytesMut;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::power::server::{Pending, Received, ReplyEncoder, RequestDecoder};
use proto::wire::power::{Ending, Reply, Request};
use tokio_util::codec::{Decoder, Encoder};

/// The longest error sentence of ours, with room to spare.
const LONGEST_REPLY: usize = 256;

/// Takes the first bytes for what kind of connection it is, and the others for what a client sends.
pub(crate) fn check(data: &[u8]) {
    let [kind, first_cut, second_cut, sent @ ..] = data else { return };
    let (limit, settling) = (usize::from(kind % 64) + 2, kind & 64 > 0);
    let cuts = [*first_cut, *second_cut];
    let cut = converse(limit, settling, super::pieces(sent, &cuts));

    // On a connection that speaks lines, where the bytes were cut does not matter.
    let lines = [b"d0\n", sent].concat();
    let whole = converse(limit, settling, [&lines[..]]);
    assert_eq!(whole, converse(limit, settling, [&b"d0\n"[..]].into_iter().chain(super::pieces(sent, &cuts))));

    for received in cut.iter().chain(&whole) {
        round_trip(received);
    }
    replies(sent, &cuts);
}

/// What a connection that sends these pieces and then half-closes is found to have sent.
fn converse<'a>(limit: usize, settling: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Received> {
    let mut decoder = RequestDecoder::new(limit, settling);
    let (mut src, mut seen) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        while let Some(received) = decoder.decode(&mut src).unwrap() {
            seen.push(received);
        }
        assert!(src.len() <= limit + b"\r\n".len(), "{} bytes wait with a limit of {limit}", src.len());
        assert_eq!(decoder.pending(&src) == Pending::Nothing, src.is_empty());
    }
    while let Some(received) = decoder.decode_eof(&mut src).unwrap() {
        seen.push(received);
    }
    assert!(src.is_empty());
    seen
}

/// What is received can be sent again, and what is answered is read as it was meant.
fn round_trip(received: &Received) {
    let Received::Request(operation, request, ending) = received else { return };
    if let Ok(request) = request {
        assert_eq!(*operation, Some(request.operation));
        assert_eq!(Request::parse(request.to_string().as_bytes()).unwrap(), *request);
    }
    let reply: Reply = request.clone().map(|request| request.operand);
    let mut bytes = BytesMut::new();
    ReplyEncoder.encode((&reply, *ending), &mut bytes).unwrap();
    assert!(bytes.len() <= LONGEST_REPLY && bytes.is_ascii(), "{bytes:?}");
    let framing = if *ending == Ending::Line { Framing::Line } else { Framing::EndOfStream };
    assert_eq!(ClientCodec::new(framing).decode_eof(&mut bytes).unwrap(), Some(reply));
    assert!(bytes.is_empty());
}

/// A client reads anything without losing its mind, and holds no more than the longest reply.
fn replies(sent: &[u8], cuts: &[u8]) {
    for framing in [Framing::EndOfStream, Framing::Line, Framing::Bare] {
        let mut codec = ClientCodec::new(framing);
        let mut src = BytesMut::new();
        let mut broken = false;
        for piece in super::pieces(sent, cuts) {
            src.extend_from_slice(piece);
            while !broken {
                match codec.decode(&mut src) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => broken = true,
                }
            }
            assert!(broken || src.len() <= ClientCodec::LONGEST_REPLY);
        }
        if !broken {
            let _ = codec.decode_eof(&mut src);
        }
    }
}
