//! The operations of the power protocol and their letters.

use std::fmt;

/// An operation on one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `a`: x·x.
    Square,
    /// `b`: (x·x)·x.
    Cube,
    /// `c`: ((x·x)·x)·x.
    Fourth,
    /// `d`: the number itself. It serves as a ping.
    Echo,
}

impl Operation {
    /// All operations, in the order of their letters.
    pub const ALL: [Self; 4] = [Self::Square, Self::Cube, Self::Fourth, Self::Echo];

    /// Returns the operation's letter on the wire.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Square => b'a',
            Self::Cube => b'b',
            Self::Fourth => b'c',
            Self::Echo => b'd',
        }
    }

    /// Returns the operation's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Square => "square",
            Self::Cube => "cube",
            Self::Fourth => "fourth",
            Self::Echo => "echo",
        }
    }

    /// Returns the operation of a letter.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'a' => Self::Square,
            b'b' => Self::Cube,
            b'c' => Self::Fourth,
            b'd' => Self::Echo,
            _ => return None,
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
