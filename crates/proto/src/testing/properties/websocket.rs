//! Properties of WebSocket frames.

use bytes::BytesMut;

use crate::wire::websocket::{Control, FrameDecoder, Violation};

/// Checks the decoder. The first two bytes of `data` determine the lengths of the pieces, the others are the bytes sent.
pub fn check(data: &[u8]) {
    let [first_cut, second_cut, sent @ ..] = data else { return };
    let whole = decode([sent].into_iter());
    let in_pieces = decode(super::pieces(sent, &[*first_cut, *second_cut]));
    assert_eq!(in_pieces, whole, "the result does not depend on how the bytes are split");
    let (payload, controls, violation) = whole;
    // A frame has six bytes besides its payload, so the decoder never makes more of the bytes.
    assert!(payload.len() + 6 * controls.len() <= sent.len());
    for control in controls {
        if let Control::Ping(payload) = control {
            assert!(payload.len() <= 125);
        }
    }
    if let Some(violation) = violation {
        // The text of a close frame.
        assert!(violation.to_string().len() <= 123 && violation.to_string().is_ascii());
        assert!((1002..=1009).contains(&violation.close_code().0));
    }
}

/// Returns the payload, the control frames and the violation.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Control>, Option<Violation>) {
    let (mut decoder, mut payload, mut controls) = (FrameDecoder::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        let mut input = BytesMut::from(piece);
        loop {
            match decoder.decode(&mut input, &mut payload) {
                Ok(Some(control)) => controls.push(control),
                Ok(None) => break,
                Err(violation) => return (payload.to_vec(), controls, Some(violation)),
            }
        }
        assert!(input.is_empty(), "without a control frame, the decoder consumes all");
    }
    (payload.to_vec(), controls, None)
}
