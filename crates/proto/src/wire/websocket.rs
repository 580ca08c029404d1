//! The frames of a WebSocket connection (RFC 6455), as a server reads and writes them.
//!
//! The payload of binary messages is a byte stream: [`FrameDecoder`] appends it to a buffer as it arrives, so a message
//! takes no memory until its end. Where one message ends and the next begins has no meaning for the bytes.
//!
//! ```
//! use bytes::BytesMut;
//! use proto::wire::websocket::{FrameDecoder, encode_binary};
//!
//! // A binary frame with the mask 01 02 03 04 and the payload `2`.
//! let mut frames = BytesMut::from(&b"\x82\x81\x01\x02\x03\x04\x33"[..]);
//! let mut data = BytesMut::new();
//! assert_eq!(FrameDecoder::default().decode(&mut frames, &mut data)?, None);
//! assert_eq!(&data[..], b"2");
//!
//! let mut reply = BytesMut::new();
//! encode_binary(b"y", &mut reply);
//! assert_eq!(&reply[..], b"\x82\x01y");
//! # Ok::<(), proto::wire::websocket::Violation>(())
//! ```

use std::io;
use std::str;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

/// Maximum bytes of a message. Moves that are sent in one message are as many as a TCP client sends in one write, so
/// this is twice as many as the servers read at once.
pub const MAX_MESSAGE_BYTES: u64 = 64 * 1024;

/// Maximum frames of a message, and maximum frames without payload in a row: these cost time, and are bounded by no
/// number of bytes.
pub const MAX_FRAGMENTS: u32 = 1024;

/// Maximum bytes of the payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// The longest frame header: two bytes, a length of eight bytes and a mask of four (RFC 6455, section 5.2).
const MAX_HEADER_BYTES: usize = 14;

/// The opcodes of RFC 6455, section 11.8.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0x0;
    pub(super) const TEXT: u8 = 0x1;
    pub(super) const BINARY: u8 = 0x2;
    pub(super) const CLOSE: u8 = 0x8;
    pub(super) const PING: u8 = 0x9;
    pub(super) const PONG: u8 = 0xA;
}

/// The status code of a close frame (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The connection has done its work.
    pub const NORMAL: Self = Self(1000);
    /// The server stops.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer does not follow RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer has sent text; the protocols here are binary.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// The text of a close frame is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer does not follow the rules of this server.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is too long.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// Whether a close frame may have this code (RFC 6455, section 7.4, and the registry that it founds).
    fn is_valid(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// A control frame from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A ping. The pong has the same payload.
    Ping(Vec<u8>),
    /// A pong, which needs no reply.
    Pong,
    /// The peer sends nothing more. `None` if its close frame has no code.
    Close(Option<CloseCode>),
}

/// Why the bytes of a peer are not acceptable frames. The message is a reason for the close frame: at most 123 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A reserved bit is set, though no extension was negotiated.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// The opcode has no meaning.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// The frames of a client have a mask.
    #[error("a frame without a mask")]
    Unmasked,
    /// The length of a payload is not in its shortest form, or has more than 63 bits.
    #[error("invalid length of a payload")]
    InvalidLength,
    /// A continuation frame that continues no message.
    #[error("a continuation without a message")]
    NothingToContinue,
    /// A message begins before the end of the last one.
    #[error("a message within another one")]
    UnfinishedMessage,
    /// A control frame is divided, or has more than 125 bytes.
    #[error("a control frame that is divided or too long")]
    InvalidControl,
    /// The payload of a close frame is one byte, or its code must not be sent.
    #[error("invalid close code")]
    InvalidCloseCode,
    /// The text of a close frame is not UTF-8.
    #[error("the text of a close frame is not UTF-8")]
    InvalidCloseText,
    /// A text message.
    #[error("text: send binary messages")]
    Text,
    /// A message has more than [`MAX_MESSAGE_BYTES`].
    #[error("a message of more than 65536 bytes")]
    MessageTooBig,
    /// A message has more than [`MAX_FRAGMENTS`].
    #[error("a message of more than 1024 frames")]
    TooManyFragments,
    /// The peer sends more than [`MAX_FRAGMENTS`] frames without payload in a row.
    #[error("more than 1024 frames without data")]
    TooManyEmpty,
    /// The peer sends control frames faster than the server has to answer them.
    #[error("too many control frames")]
    TooManyControls,
}

impl Violation {
    /// Returns the violation in an error.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|error| error.downcast_ref()).copied()
    }

    /// Returns the code of the close frame that reports it.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::UNSUPPORTED_DATA,
            Self::InvalidCloseText => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments | Self::TooManyEmpty | Self::TooManyControls => CloseCode::POLICY_VIOLATION,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// Decodes the frames of a client.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// The beginning of a frame's header.
    header: [u8; MAX_HEADER_BYTES],
    header_len: usize,
    /// The frame whose payload is read.
    frame: Option<Frame>,
    /// The payload of a control frame so far.
    control: Vec<u8>,
    /// The frames of the current message so far; 0 between messages.
    fragments: u32,
    /// The frames without payload since the last payload.
    empty_frames: u32,
    /// The bytes of the current message so far, including those of the current frame that have not arrived.
    message_bytes: u64,
}

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    is_final: bool,
    /// The bytes of the payload that have not been read.
    remaining: u64,
    /// The mask of the next byte comes first.
    mask: [u8; 4],
}

impl Frame {
    fn is_control(self) -> bool {
        self.opcode & 0x8 != 0
    }
}

impl FrameDecoder {
    /// Consumes frames from `input` and appends the payload of binary messages to `data`, until a control frame is
    /// complete or `input` is empty. Returns the control frame.
    ///
    /// # Errors
    ///
    /// Returns the violation in the next bytes, as soon as it is known. The bytes before them are in `data`. The
    /// decoder must not be used again.
    pub fn decode(&mut self, input: &mut BytesMut, data: &mut BytesMut) -> Result<Option<Control>, Violation> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.decode_header(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let len = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(input.len());
            unmask(&mut input[..len], &mut frame.mask);
            if frame.is_control() {
                self.control.extend_from_slice(&input[..len]);
            } else {
                data.extend_from_slice(&input[..len]);
            }
            input.advance(len);
            frame.remaining -= len as u64;
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if frame.is_control() {
                let payload = std::mem::take(&mut self.control);
                return control(frame.opcode, payload).map(Some);
            }
            if frame.is_final {
                (self.fragments, self.message_bytes) = (0, 0);
            }
        }
    }

    /// Returns the next frame once its header is complete.
    fn decode_header(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        while let Some(&byte) = input.first() {
            self.header[self.header_len] = byte;
            self.header_len += 1;
            input.advance(1);
            if let Some(frame) = parse_header(&self.header[..self.header_len])? {
                self.header_len = 0;
                self.admit(frame)?;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Checks whether the frame can follow the frames before it.
    fn admit(&mut self, frame: Frame) -> Result<(), Violation> {
        match frame.opcode {
            opcode::CLOSE | opcode::PING | opcode::PONG => return Ok(()),
            opcode::BINARY if self.fragments > 0 => return Err(Violation::UnfinishedMessage),
            opcode::CONTINUATION if self.fragments == 0 => return Err(Violation::NothingToContinue),
            _ => {}
        }
        self.fragments += 1;
        self.empty_frames = if frame.remaining == 0 { self.empty_frames + 1 } else { 0 };
        // Neither addition overflows: both sums are limited here, and a length has 63 bits.
        self.message_bytes += frame.remaining;
        if self.message_bytes > MAX_MESSAGE_BYTES {
            Err(Violation::MessageTooBig)
        } else if self.fragments > MAX_FRAGMENTS {
            Err(Violation::TooManyFragments)
        } else if self.empty_frames > MAX_FRAGMENTS {
            Err(Violation::TooManyEmpty)
        } else {
            Ok(())
        }
    }
}

/// Parses the beginning of a frame. Returns `None` if the header is not complete. Checks each part when it is complete.
fn parse_header(header: &[u8]) -> Result<Option<Frame>, Violation> {
    let [first, rest @ ..] = header else { return Ok(None) };
    let (is_final, opcode) = (first & 0x80 != 0, first & 0x0F);
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let is_control = match opcode {
        opcode::CONTINUATION | opcode::BINARY => false,
        opcode::CLOSE | opcode::PING | opcode::PONG => true,
        opcode::TEXT => return Err(Violation::Text),
        _ => return Err(Violation::UnknownOpcode),
    };
    let [second, rest @ ..] = rest else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    let short = u64::from(second & 0x7F);
    if is_control && (!is_final || short > MAX_CONTROL_BYTES) {
        return Err(Violation::InvalidControl);
    }
    let (remaining, mask) = match short {
        126 => match rest.split_first_chunk() {
            Some((length, mask)) => (u64::from(u16::from_be_bytes(*length)), mask),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, mask)) => (u64::from_be_bytes(*length), mask),
            None => return Ok(None),
        },
        _ => (short, rest),
    };
    let is_shortest = match short {
        126 => remaining > MAX_CONTROL_BYTES,
        127 => remaining > u64::from(u16::MAX) && remaining >> 63 == 0,
        _ => true,
    };
    if !is_shortest {
        return Err(Violation::InvalidLength);
    }
    if !is_control && remaining > MAX_MESSAGE_BYTES {
        return Err(Violation::MessageTooBig);
    }
    let Ok(mask) = mask.try_into() else { return Ok(None) };
    Ok(Some(Frame { opcode, is_final, remaining, mask }))
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Control, Violation> {
    match (opcode, &payload[..]) {
        (opcode::PING, _) => Ok(Control::Ping(payload)),
        (opcode::PONG, _) => Ok(Control::Pong),
        (_, []) => Ok(Control::Close(None)),
        (_, [high, low, text @ ..]) => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.is_valid() {
                Err(Violation::InvalidCloseCode)
            } else if str::from_utf8(text).is_err() {
                Err(Violation::InvalidCloseText)
            } else {
                Ok(Control::Close(Some(code)))
            }
        }
        (_, [_]) => Err(Violation::InvalidCloseCode),
    }
}

/// Applies the mask to `bytes`, and rotates it to the byte that follows them.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let (words, rest) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(*mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(*mask) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len());
}

/// Appends a binary message of one frame.
pub fn encode_binary(payload: &[u8], output: &mut BytesMut) {
    let len = payload.len();
    output.reserve(MAX_HEADER_BYTES + len);
    output.put_u8(0x80 | opcode::BINARY);
    match u16::try_from(len) {
        Ok(short @ 0..=125) => output.put_slice(&short.to_be_bytes()[1..]),
        Ok(medium) => {
            output.put_u8(126);
            output.put_u16(medium);
        }
        Err(_) => {
            output.put_u8(127);
            output.put_u64(len as u64);
        }
    }
    output.put_slice(payload);
}

/// Appends a ping without payload.
pub fn encode_ping(output: &mut BytesMut) {
    encode_control(opcode::PING, &[], output);
}

/// Appends the pong to a ping with this payload. Bytes after the first 125 are left out.
pub fn encode_pong(payload: &[u8], output: &mut BytesMut) {
    encode_control(opcode::PONG, payload, output);
}

/// Appends a close frame. Bytes of `text` after the first 123 are left out; give it ASCII.
pub fn encode_close(code: CloseCode, text: &str, output: &mut BytesMut) {
    encode_control(opcode::CLOSE, &[&code.0.to_be_bytes(), text.as_bytes()].concat(), output);
}

#[expect(clippy::cast_possible_truncation, reason = "at most 125")]
fn encode_control(opcode: u8, payload: &[u8], output: &mut BytesMut) {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES as usize)];
    output.put_slice(&[0x80 | opcode, payload.len() as u8]);
    output.put_slice(payload);
}

#[cfg(test)]
pub(crate) mod tests;
