use proptest::prelude::*;

use super::*;

/// Returns a frame of a client: the first byte, and the payload with a mask.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0xFF);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0xA5, 0x01, 0xFF, 0x3C];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

const FINAL: u8 = 0x80;

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FINAL | opcode::BINARY, payload)
}

/// Decodes `bytes`, which arrive in pieces of these sizes. Returns the payload, the control frames and the violation.
fn decode(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<Control>, Option<Violation>) {
    let (mut decoder, mut data, mut controls) = (FrameDecoder::default(), BytesMut::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        let mut input = BytesMut::from(piece);
        rest = after;
        loop {
            match decoder.decode(&mut input, &mut data) {
                Ok(Some(control)) => controls.push(control),
                Ok(None) => break,
                Err(violation) => return (data.to_vec(), controls, Some(violation)),
            }
        }
        assert!(input.is_empty(), "without a control frame, all bytes are consumed");
    }
    (data.to_vec(), controls, None)
}

#[test]
fn each_violation_is_found_and_has_the_code_of_the_rfc() {
    let fragment = frame(opcode::BINARY, b"1");
    let big = |len: u64| [&[FINAL | opcode::BINARY, 0xFF][..], &len.to_be_bytes()].concat();
    let many = [fragment.clone(), frame(opcode::CONTINUATION, b"").repeat(1024)].concat();
    for (bytes, violation, code) in [
        (frame(0x40 | FINAL | opcode::BINARY, b""), Violation::ReservedBit, 1002),
        (frame(FINAL | 0x3, b""), Violation::UnknownOpcode, 1002),
        (frame(FINAL | 0xB, b""), Violation::UnknownOpcode, 1002),
        (vec![FINAL | opcode::BINARY, 1], Violation::Unmasked, 1002),
        (vec![FINAL | opcode::BINARY, 0xFE, 0, 125], Violation::InvalidLength, 1002),
        (big(0xFFFF), Violation::InvalidLength, 1002),
        (big(1 << 63), Violation::InvalidLength, 1002),
        (frame(FINAL | opcode::CONTINUATION, b"1"), Violation::NothingToContinue, 1002),
        ([fragment.clone(), binary(b"1")].concat(), Violation::UnfinishedMessage, 1002),
        (frame(opcode::PING, b""), Violation::InvalidControl, 1002),
        (frame(FINAL | opcode::PING, &[0; 126]), Violation::InvalidControl, 1002),
        (frame(FINAL | opcode::CLOSE, &[3]), Violation::InvalidCloseCode, 1002),
        (frame(FINAL | opcode::CLOSE, &1005_u16.to_be_bytes()), Violation::InvalidCloseCode, 1002),
        (frame(FINAL | opcode::CLOSE, b"\x03\xE8\xFF"), Violation::InvalidCloseText, 1007),
        (frame(FINAL | opcode::TEXT, b"2"), Violation::Text, 1003),
        (big(1 << 30), Violation::MessageTooBig, 1009),
        ([fragment, frame(opcode::CONTINUATION, &vec![b'1'; 65536])].concat(), Violation::MessageTooBig, 1009),
        (many, Violation::TooManyFragments, 1008),
        (binary(b"").repeat(1025), Violation::TooManyEmpty, 1008),
    ] {
        for size in [1, usize::MAX] {
            let (_, _, found) = decode(&[binary(b"1"), bytes.clone()].concat(), &[size]);
            assert_eq!(found, Some(violation), "{bytes:x?}");
        }
        assert_eq!(violation.close_code().0, code);
    }
}

#[test]
fn the_bytes_before_a_violation_are_decoded() {
    let bytes = [binary(b"12"), frame(FINAL | opcode::TEXT, b"3")].concat();
    assert_eq!(decode(&bytes, &[usize::MAX]), (b"12".to_vec(), Vec::new(), Some(Violation::Text)));
}

#[test]
fn the_largest_message_is_accepted() {
    let payload = vec![b'2'; 65536];
    assert_eq!(decode(&binary(&payload), &[4096]), (payload, Vec::new(), None));
}

#[test]
fn control_frames_can_come_between_the_fragments_of_a_message() {
    let close = frame(FINAL | opcode::CLOSE, b"\x03\xE9bye");
    let bytes = [
        frame(opcode::BINARY, b"1"),
        frame(FINAL | opcode::PING, b"hi"),
        frame(FINAL | opcode::PONG, b""),
        frame(FINAL | opcode::CONTINUATION, b"2"),
        frame(FINAL | opcode::CLOSE, b""),
        close,
    ]
    .concat();
    let controls = vec![
        Control::Ping(b"hi".to_vec()),
        Control::Pong,
        Control::Close(None),
        Control::Close(Some(CloseCode::GOING_AWAY)),
    ];
    assert_eq!(decode(&bytes, &[1]), (b"12".to_vec(), controls, None));
}

#[test]
fn control_frames_are_encoded_within_their_limit() {
    let mut output = BytesMut::new();
    encode_ping(&mut output);
    encode_pong(&[7; 130], &mut output);
    encode_close(CloseCode::NORMAL, "bye", &mut output);
    let expected = [&[0x89, 0][..], &[0x8A, 125], &[7; 125], &[0x88, 5, 0x03, 0xE8], b"bye"].concat();
    assert_eq!(output, expected);
}

#[test]
fn a_message_has_the_shortest_length_of_its_payload() {
    for (len, header) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65535, &[0x82, 126, 0xFF, 0xFF]),
        (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut output = BytesMut::new();
        encode_binary(&vec![b'x'; len], &mut output);
        assert_eq!((&output[..header.len()], output.len()), (header, header.len() + len));
    }
}

proptest! {
    #[test]
    fn the_payload_does_not_depend_on_frames_and_reads(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        fragments in prop::collection::vec(1..100_usize, 1..5),
        reads in prop::collection::vec(1..50_usize, 1..5),
    ) {
        let mut bytes = Vec::new();
        let mut sizes = fragments.iter().cycle();
        for message in &messages {
            let (mut rest, mut first) = (&message[..], opcode::BINARY);
            loop {
                let (part, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                bytes.extend(frame(first | if after.is_empty() { FINAL } else { 0 }, part));
                bytes.extend(frame(FINAL | opcode::PONG, b"x"));
                (rest, first) = (after, opcode::CONTINUATION);
                if rest.is_empty() { break; }
            }
        }
        let (data, _, violation) = decode(&bytes, &reads);
        prop_assert_eq!((data, violation), (messages.concat(), None));
    }

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        reads in prop::collection::vec(1..20_usize, 1..5),
    ) {
        let whole = decode(&bytes, &[usize::MAX]);
        prop_assert_eq!(decode(&bytes, &reads), whole);
    }
}
