//! The rock-paper-scissors protocol: one byte is one frame, in both directions.
//!
//! The wire has no delimiters and no escapes, and a frame cannot be split. A server skips CR and LF, so that a person
//! can play with netcat.
//!
//! ```
//! use bytes::BytesMut;
//! use proto::wire::rps::{Move, ServerCodec};
//! use tokio_util::codec::Decoder;
//!
//! let mut bytes = BytesMut::from("2\nq");
//! assert_eq!(ServerCodec.decode(&mut bytes)?, Some(Ok(Move::Rock)));
//! assert!(matches!(ServerCodec.decode(&mut bytes)?, Some(Err(_))));
//! assert_eq!(ServerCodec.decode(&mut bytes)?, None);
//! # std::io::Result::Ok(())
//! ```

use std::fmt;
use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// A player's move. Its discriminant is its byte on the wire, so that many moves can be decoded at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Move {
    /// `1`, 剪刀.
    Scissors = b'1',
    /// `2`, 石头.
    Rock = b'2',
    /// `3`, 布.
    Paper = b'3',
}

impl Move {
    /// All three, in the order of their bytes.
    pub const ALL: [Self; 3] = [Self::Scissors, Self::Rock, Self::Paper];

    /// Returns the move's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scissors => "scissors",
            Self::Rock => "rock",
            Self::Paper => "paper",
        }
    }

    /// Returns the move's byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Returns the move of a byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'1' => Some(Self::Scissors),
            b'2' => Some(Self::Rock),
            b'3' => Some(Self::Paper),
            _ => None,
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The outcome of a judged round for one player. Its discriminant is its byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// `x`, 平局: both players made the same move.
    Draw = b'x',
    /// `y`, 胜利.
    Win = b'y',
    /// `z`, 失败.
    Lose = b'z',
}

impl Outcome {
    /// Returns the outcome's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draw => "draw",
            Self::Win => "win",
            Self::Lose => "lose",
        }
    }

    /// Returns the outcome of a byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match Reply::from_byte(byte) {
            Some(Reply::Judged(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// Returns the opponent's move. The wire does not carry it, but the outcome and the player's own move determine it.
    #[must_use]
    pub const fn opponent_move(self, own: Move) -> Move {
        match (self, own) {
            (Self::Draw, own) => own,
            (Self::Win, Move::Rock) | (Self::Lose, Move::Paper) => Move::Scissors,
            (Self::Win, Move::Paper) | (Self::Lose, Move::Scissors) => Move::Rock,
            (Self::Win, Move::Scissors) | (Self::Lose, Move::Rock) => Move::Paper,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A server's frame. Each received frame gets exactly one reply, in order. Only [`Reply::Full`] is sent without a
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `x`, `y` or `z`: the outcome of the round.
    Judged(Outcome),
    /// `v`: no opponent moved in time (only in a duel).
    Void,
    /// `e`: the byte is not a move.
    NotAMove,
    /// `f`: the server is full. It then closes the connection.
    Full,
}

impl Reply {
    /// Returns the reply's byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Judged(outcome) => outcome as u8,
            Self::Void => b'v',
            Self::NotAMove => b'e',
            Self::Full => b'f',
        }
    }

    /// Returns the reply of a byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'x' => Self::Judged(Outcome::Draw),
            b'y' => Self::Judged(Outcome::Win),
            b'z' => Self::Judged(Outcome::Lose),
            b'v' => Self::Void,
            b'e' => Self::NotAMove,
            b'f' => Self::Full,
            _ => return None,
        })
    }
}

/// A byte that is not a frame of this wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownByte(pub u8);

impl fmt::Display for UnknownByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

/// Returns whether a byte is CR or LF, which a server skips.
#[must_use]
pub const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The server's codec: decodes moves, encodes replies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerCodec;

impl Decoder for ServerCodec {
    /// A move, or a byte that is not a move. Both get a reply.
    type Item = Result<Move, UnknownByte>;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        while src.has_remaining() {
            match src.get_u8() {
                byte if is_line_end(byte) => {}
                byte => return Ok(Some(Move::from_byte(byte).ok_or(UnknownByte(byte)))),
            }
        }
        Ok(None)
    }
}

impl Encoder<Reply> for ServerCodec {
    type Error = io::Error;

    fn encode(&mut self, reply: Reply, dst: &mut BytesMut) -> io::Result<()> {
        dst.put_u8(reply.byte());
        Ok(())
    }
}

/// The client's codec: encodes moves, decodes replies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCodec;

impl Decoder for ClientCodec {
    /// A reply, or a byte that is not a reply.
    type Item = Result<Reply, UnknownByte>;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        Ok(src.has_remaining().then(|| {
            let byte = src.get_u8();
            Reply::from_byte(byte).ok_or(UnknownByte(byte))
        }))
    }
}

impl Encoder<Move> for ClientCodec {
    type Error = io::Error;

    fn encode(&mut self, mv: Move, dst: &mut BytesMut) -> io::Result<()> {
        dst.put_u8(mv.byte());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opponents_move_follows_from_the_outcome() {
        // Rock beats scissors, scissors beat paper, paper beats rock.
        for (winner, loser) in [(Move::Rock, Move::Scissors), (Move::Scissors, Move::Paper), (Move::Paper, Move::Rock)]
        {
            assert_eq!(Outcome::Win.opponent_move(winner), loser);
            assert_eq!(Outcome::Lose.opponent_move(loser), winner);
            assert_eq!(Outcome::Draw.opponent_move(winner), winner);
        }
    }

    #[test]
    fn moves_and_replies_convert_to_bytes_and_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(Move::from_byte(byte).map(Move::byte), b"123".contains(&byte).then_some(byte));
            assert_eq!(Reply::from_byte(byte).map(Reply::byte), b"xyzvef".contains(&byte).then_some(byte));
        }
    }

    #[test]
    fn line_ends_are_skipped_and_every_other_byte_is_a_frame() {
        let mut src = BytesMut::from(&b"1\r\n2\n\n9\x003\r"[..]);
        let mut codec = ServerCodec;
        let frames: Vec<_> = std::iter::from_fn(|| codec.decode(&mut src).unwrap()).collect();
        let (scissors, rock, paper) = (Ok(Move::Scissors), Ok(Move::Rock), Ok(Move::Paper));
        assert_eq!(frames, [scissors, rock, Err(UnknownByte(b'9')), Err(UnknownByte(0)), paper]);
        assert!(src.is_empty());
    }

    #[test]
    fn each_codec_decodes_what_the_other_encodes() {
        let mut bytes = BytesMut::new();
        for mv in Move::ALL {
            ClientCodec.encode(mv, &mut bytes).unwrap();
            assert_eq!(ServerCodec.decode(&mut bytes).unwrap(), Some(Ok(mv)));
        }
        for reply in [Reply::Judged(Outcome::Draw), Reply::Void, Reply::NotAMove, Reply::Full] {
            ServerCodec.encode(reply, &mut bytes).unwrap();
            assert_eq!(ClientCodec.decode(&mut bytes).unwrap(), Some(Ok(reply)));
        }
    }
}
