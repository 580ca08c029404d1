//! The rock-paper-scissors wire.

use crate::wire::rps::{ClientCodec, Move, Reply, ServerCodec, UnknownByte};
use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

/// Takes the first bytes for where the others are cut, and those for what either side sends.
pub fn check(data: &[u8]) {
    let [first_cut, second_cut, sent @ ..] = data else { return };
    let cuts = [*first_cut, *second_cut];

    // One item for each byte but the line ends, in order, wherever the bytes were cut.
    let frames = decode(ServerCodec, sent, &cuts);
    let moves: Vec<_> = sent.iter().filter(|byte| !b"\r\n".contains(byte)).copied().collect();
    let heard: Vec<_> = frames.iter().map(|frame| frame.map_or_else(|UnknownByte(byte)| byte, Move::byte)).collect();
    assert_eq!(heard, moves);
    for UnknownByte(byte) in frames.iter().filter_map(|frame| frame.err()) {
        assert!(!b"123".contains(&byte));
    }
    // What a client sends of them is received as it was sent.
    let shown: Vec<_> = frames.into_iter().flatten().collect();
    let again = decode(ServerCodec, &encode(ClientCodec, &shown), &cuts);
    assert_eq!(again, shown.into_iter().map(Ok).collect::<Vec<_>>());

    // And one for each byte without exception on the other side.
    let answers = decode(ClientCodec, sent, &cuts);
    let heard: Vec<_> = answers.iter().map(|item| item.map_or_else(|UnknownByte(byte)| byte, Reply::byte)).collect();
    assert_eq!(heard, sent);
    for UnknownByte(byte) in answers.iter().filter_map(|answer| answer.err()) {
        assert!(!b"xyzvef".contains(&byte));
        // People are shown it, so it must not be able to do anything to their terminal.
        assert!(UnknownByte(byte).to_string().bytes().all(|shown| matches!(shown, b' '..=b'~')));
    }
    let said: Vec<_> = answers.into_iter().flatten().collect();
    let again = decode(ClientCodec, &encode(ServerCodec, &said), &cuts);
    assert_eq!(again, said.into_iter().map(Ok).collect::<Vec<_>>());
}

fn encode<T: Copy, E: Encoder<T, Error = std::io::Error>>(mut codec: E, items: &[T]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for &item in items {
        codec.encode(item, &mut bytes).unwrap();
    }
    // A frame is a byte.
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
        // Nothing is ever waited for.
        assert!(src.is_empty());
    }
    assert!(codec.decode_eof(&mut src).unwrap().is_none());
    items
}
