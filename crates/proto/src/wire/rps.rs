//! The rock-paper-scissors wire: one byte is one frame, each way.
//!
//! There is nothing to delimit and nothing to escape, so a frame can neither be cut in two nor run into the next one.
//! CR and LF are no frames: they are passed over, so that a person can play with netcat.
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

/// What a player shows. In memory it is what it is on the wire, so that many are read at once.
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

    /// The move's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scissors => "scissors",
            Self::Rock => "rock",
            Self::Paper => "paper",
        }
    }

    /// The move's byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The move that a byte stands for.
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

/// How a judged round ended, as the player who is told sees it. In memory too it is the byte that tells so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// `x`, 平局: both showed the same.
    Draw = b'x',
    /// `y`, 胜利.
    Win = b'y',
    /// `z`, 失败.
    Lose = b'z',
}

impl Outcome {
    /// The outcome's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draw => "draw",
            Self::Win => "win",
            Self::Lose => "lose",
        }
    }

    /// Returns the opponent's move. The wire does not carry it, but this outcome for the player's own move implies it.
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

/// The server's frame: exactly one for every frame received, in order ([`Reply::Full`] apart, which comes unasked).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `x`, `y` or `z`: the round was judged.
    Judged(Outcome),
    /// `v`: no opponent moved in time (duel alone).
    Void,
    /// `e`: that byte is no move.
    NotAMove,
    /// `f`: the server is full; it closes.
    Full,
}

impl Reply {
    /// The answer's byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Judged(outcome) => outcome as u8,
            Self::Void => b'v',
            Self::NotAMove => b'e',
            Self::Full => b'f',
        }
    }

    /// The answer that a byte stands for.
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

/// A byte that the other side's format does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownByte(pub u8);

impl fmt::Display for UnknownByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

/// Whether a byte is skipped: CR and LF are not frames.
#[must_use]
pub const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The server's side of the wire: reads moves, writes answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerCodec;

impl Decoder for ServerCodec {
    /// A move, or the byte that is none and still wants its answer.
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

    fn encode(&mut self, answer: Reply, dst: &mut BytesMut) -> io::Result<()> {
        dst.put_u8(answer.byte());
        Ok(())
    }
}

/// The client's side of the wire: writes moves, reads answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCodec;

impl Decoder for ClientCodec {
    /// An answer, or a byte that no server of this wire sends.
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

    fn encode(&mut self, shown: Move, dst: &mut BytesMut) -> io::Result<()> {
        dst.put_u8(shown.byte());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opponents_move_is_the_one_that_gives_the_outcome() {
        // Rock beats scissors, scissors beat paper, paper beats rock.
        for (winner, loser) in [(Move::Rock, Move::Scissors), (Move::Scissors, Move::Paper), (Move::Paper, Move::Rock)]
        {
            assert_eq!(Outcome::Win.opponent_move(winner), loser);
            assert_eq!(Outcome::Lose.opponent_move(loser), winner);
            assert_eq!(Outcome::Draw.opponent_move(winner), winner);
        }
    }

    #[test]
    fn every_byte_of_either_side_stands_for_one_thing_and_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(Move::from_byte(byte).map(Move::byte), b"123".contains(&byte).then_some(byte));
            assert_eq!(Reply::from_byte(byte).map(Reply::byte), b"xyzvef".contains(&byte).then_some(byte));
        }
    }

    #[test]
    fn line_ends_are_passed_over_and_every_other_byte_is_a_frame() {
        let mut src = BytesMut::from(&b"1\r\n2\n\n9\x003\r"[..]);
        let mut codec = ServerCodec;
        let frames: Vec<_> = std::iter::from_fn(|| codec.decode(&mut src).unwrap()).collect();
        let (scissors, rock, paper) = (Ok(Move::Scissors), Ok(Move::Rock), Ok(Move::Paper));
        assert_eq!(frames, [scissors, rock, Err(UnknownByte(b'9')), Err(UnknownByte(0)), paper]);
        assert!(src.is_empty());
    }

    #[test]
    fn what_one_codec_writes_the_other_reads() {
        let mut bytes = BytesMut::new();
        for shown in Move::ALL {
            ClientCodec.encode(shown, &mut bytes).unwrap();
            assert_eq!(ServerCodec.decode(&mut bytes).unwrap(), Some(Ok(shown)));
        }
        for answer in [Reply::Judged(Outcome::Draw), Reply::Void, Reply::NotAMove, Reply::Full] {
            ServerCodec.encode(answer, &mut bytes).unwrap();
            assert_eq!(ClientCodec.decode(&mut bytes).unwrap(), Some(Ok(answer)));
        }
    }
}
