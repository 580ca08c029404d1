//! The rock-paper-scissors wire.

use bytes::BytesMut;
use proto::wire::rps::{Answer, ClientCodec, Move, ServerCodec, UnknownByte};
use tokio_util::codec::{Decoder, Encoder};

/// Takes the first bytes for where the others are cut.
pub(crate) fn check(data: &[u8]) {
    let [first_cut, second_cut, sent @ ..] = data else { return };
    let cuts = [*first_cut, *second_cut];
    // One item for each byte but the line ends, in order, wherever the bytes were cut.
    let moves: Vec<_> = sent.iter().filter(|byte| !b"\r\n".contains(byte)).copied().collect();
    let heard: Vec<_> = decode(ServerCodec, sent, &cuts)
        .into_iter()
        .map(|item| item.map_or_else(|UnknownByte(byte)| byte, Move::byte))
        .collect();
    assert_eq!(heard, moves);
    // And one for each byte without exception on the other side.
    let answers = decode(ClientCodec, sent, &cuts);
    let heard: Vec<_> = answers.iter().map(|item| item.map_or_else(|UnknownByte(byte)| byte, Answer::byte)).collect();
    assert_eq!(heard, sent);
    for answer in answers.into_iter().flatten() {
        let mut bytes = BytesMut::new();
        ServerCodec.encode(answer, &mut bytes).unwrap();
        assert_eq!(ClientCodec.decode(&mut bytes).unwrap(), Some(Ok(answer)));
    }
}

fn decode<D: Decoder<Error = std::io::Error>>(mut codec: D, sent: &[u8], cuts: &[u8]) -> Vec<D::Item> {
    let (mut src, mut items) = (BytesMut::new(), Vec::new());
    for piece in super::pieces(sent, cuts) {
        src.extend_from_slice(piece);
        while let Some(item) = codec.decode(&mut src).unwrap() {
            items.push(item);
        }
        assert!(src.is_empty());
    }
    items
}
