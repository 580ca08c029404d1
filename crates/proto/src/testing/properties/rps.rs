//! Properties of the rock-paper-scissors protocol.

use crate::wire::rps::{ClientCodec, Move, Reply, ServerCodec, UnknownByte};
use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

/// Checks the codecs of both sides. The first two bytes of `data` determine the lengths of the pieces, the others are
/// the bytes sent.
pub fn check(data: &[u8]) {
    let [first_cut, second_cut, sent @ ..] = data else { return };
    let cuts = [*first_cut, *second_cut];

    // A server decodes one item for each byte except CR and LF, in order.
    let frames = decode(ServerCodec, sent, &cuts);
    let moves: Vec<_> = sent.iter().filter(|byte| !b"\r\n".contains(byte)).copied().collect();
    let bytes: Vec<_> = frames.iter().map(|frame| frame.map_or_else(|UnknownByte(byte)| byte, Move::byte)).collect();
    assert_eq!(bytes, moves);
    for UnknownByte(byte) in frames.iter().filter_map(|frame| frame.err()) {
        assert!(!b"123".contains(&byte));
    }
    // A server decodes moves as the client encoded them.
    let moves: Vec<_> = frames.into_iter().flatten().collect();
    let decoded = decode(ServerCodec, &encode(ClientCodec, &moves), &cuts);
    assert_eq!(decoded, moves.into_iter().map(Ok).collect::<Vec<_>>());

    // A client decodes one item for each byte, in order.
    let frames = decode(ClientCodec, sent, &cuts);
    let bytes: Vec<_> = frames.iter().map(|item| item.map_or_else(|UnknownByte(byte)| byte, Reply::byte)).collect();
    assert_eq!(bytes, sent);
    for UnknownByte(byte) in frames.iter().filter_map(|frame| frame.err()) {
        assert!(!b"xyzvef".contains(&byte));
        // Error messages show the byte, so it must not control the terminal.
        assert!(UnknownByte(byte).to_string().bytes().all(|shown| matches!(shown, b' '..=b'~')));
    }
    // A client decodes replies as the server encoded them.
    let replies: Vec<_> = frames.into_iter().flatten().collect();
    let decoded = decode(ClientCodec, &encode(ServerCodec, &replies), &cuts);
    assert_eq!(decoded, replies.into_iter().map(Ok).collect::<Vec<_>>());
}

fn encode<T: Copy, E: Encoder<T, Error = std::io::Error>>(mut codec: E, items: &[T]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for &item in items {
        codec.encode(item, &mut bytes).unwrap();
    }
    // One frame is one byte.
    assert_eq!(bytes.len(), items.len());
    bytes
}

fn decode<D: Decoder<Error = std::io::Error>>(mut codec: D, sent: &[u8], cuts: &[u8]) -> Vec<D::Item> {
    let (mut src, mut items) = (BytesMut::new(), Vec::new());
    for piece in super::pieces(sent, cuts) {
        src.extend_from_slice(piece);
        while let Some(item) = codec.decode(&mut src).unwrap() {
            items.push(item);
        }
        // A codec never waits for more bytes.
        assert!(src.is_empty());
    }
    assert!(codec.decode_eof(&mut src).unwrap().is_none());
    items
}
