//! The bytes that a server has to send: a pattern of bytes, in which the text of an error reply is free.

use std::fmt;

/// An expected piece of the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// One of these bytes.
    OneOf(Vec<u8>),
    /// The message of an error reply: one or more printable bytes, up to the line feed or the end.
    Message,
}

/// The bytes that have to arrive next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

/// How received bytes compare with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The first bytes match the whole pattern; this is their number.
    Complete(usize),
    /// All bytes match a part of the pattern.
    Partial,
    /// The bytes match the whole pattern. More bytes may belong to its message, which has no terminator.
    Open,
    /// The byte at this position does not match.
    Mismatch(usize),
}

impl Pattern {
    /// Creates a pattern of bytes, each with its allowed values. The message of an error reply of the power protocol
    /// may be any text: programs use only the code.
    pub(super) fn new(allowed: &[Vec<u8>]) -> Self {
        let mut pieces = Vec::new();
        let mut rest = allowed;
        while !rest.is_empty() {
            if is_start(&pieces)
                && let Some(head) = error_head(rest)
            {
                pieces.extend(rest[..head].iter().cloned().map(Piece::OneOf));
                pieces.push(Piece::Message);
                let message = rest[head..].iter().take_while(|allowed| **allowed != b"\n").count();
                rest = &rest[head + message..];
            } else {
                pieces.push(Piece::OneOf(rest[0].clone()));
                rest = &rest[1..];
            }
        }
        Self(pieces)
    }

    /// Compares the bytes received so far.
    pub(super) fn compare(&self, bytes: &[u8]) -> Match {
        let mut at = 0;
        for (number, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::OneOf(allowed) => match bytes.get(at) {
                    None => return Match::Partial,
                    Some(byte) if allowed.contains(byte) => at += 1,
                    Some(_) => return Match::Mismatch(at),
                },
                Piece::Message => {
                    let length = bytes[at..].iter().take_while(|byte| matches!(byte, b' '..=b'~')).count();
                    at += length;
                    if length > MAX_MESSAGE {
                        return Match::Mismatch(at);
                    }
                    let is_last = number + 1 == self.0.len();
                    return match bytes.get(at) {
                        None if length > 0 && is_last => Match::Open,
                        None => Match::Partial,
                        Some(_) if length == 0 || is_last => Match::Mismatch(at),
                        Some(_) => continue,
                    };
                }
            }
        }
        Match::Complete(at)
    }

    /// Returns the whole pattern as text; the first allowed value stands for each byte, and `…` for a message.
    pub(super) fn text(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Message => '…',
            Piece::OneOf(allowed) => char::from(allowed.first().copied().unwrap_or_default()),
        };
        self.0.iter().map(piece).collect()
    }

    /// Whether the bytes end with a line feed.
    pub(super) fn ends_line(&self) -> bool {
        matches!(self.0.last(), Some(Piece::OneOf(allowed)) if allowed == b"\n")
    }
}

/// Whether the next piece begins a reply.
fn is_start(pieces: &[Piece]) -> bool {
    pieces.last().is_none_or(|piece| matches!(piece, Piece::OneOf(allowed) if allowed == b"\n"))
}

/// Returns the length of `e`, a code and a space at the front.
fn error_head(allowed: &[Vec<u8>]) -> Option<usize> {
    let code = allowed.strip_prefix(&[b"e".to_vec()][..])?;
    let letters = code.iter().take_while(|allowed| matches!(allowed[..], [b'A'..=b'Z'])).count();
    (letters > 0 && code.get(letters).is_some_and(|allowed| allowed == b" ")).then_some(letters + 2)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        for run in self.0.chunk_by(|one, next| one == next) {
            if shown > MAX_SHOWN {
                return f.write_str("…");
            }
            if run.len() > MIN_RUN {
                write!(f, "{} × {} ", run[0], run.len())?;
                shown += MIN_RUN;
            } else {
                run.iter().try_for_each(|piece| write!(f, "{piece}"))?;
                shown += run.len();
            }
        }
        Ok(())
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => f.write_str("…"),
            Self::OneOf(allowed) => match allowed[..] {
                [byte] => f.write_str(&escaped(byte)),
                _ => write!(f, "[{}]", allowed.iter().map(|&byte| escaped(byte)).collect::<String>()),
            },
        }
    }
}

/// The longest message: a reply has at most 1,024 bytes (PROTOCOL.md, section 3).
const MAX_MESSAGE: usize = 1024 - "eTOOLONG \n".len();

/// More equal pieces than this are shown as one with their number. No number has so many equal digits.
const MIN_RUN: usize = 24;

/// The number of pieces that are shown of a pattern.
const MAX_SHOWN: usize = 96;

/// Formats a byte in the notation of PROTOCOL.md.
pub(super) fn escaped(byte: u8) -> String {
    match byte {
        b' '..=b'~' if byte != b'\\' => char::from(byte).to_string(),
        byte => byte.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(&text.bytes().map(|byte| vec![byte]).collect::<Vec<_>>())
    }

    #[test]
    fn bytes_are_compared_one_by_one() {
        let pattern = pattern("d4.0\n");
        assert_eq!(pattern.compare(b""), Match::Partial);
        assert_eq!(pattern.compare(b"d4."), Match::Partial);
        assert_eq!(pattern.compare(b"d4.0\nd"), Match::Complete(5));
        assert_eq!(pattern.compare(b"d4\n"), Match::Mismatch(2));
        assert_eq!(Pattern::new(&[b"xyz".to_vec()]).compare(b"y"), Match::Complete(1));
        assert_eq!(Pattern::new(&[b"xyz".to_vec()]).to_string(), "[xyz]");
    }

    #[test]
    fn the_message_of_an_error_reply_is_free() {
        let line = pattern("eBADNUM any text\nd1.0\n");
        assert_eq!(line.compare(b"eBADNUM other words\nd1.0\n"), Match::Complete(25));
        assert_eq!(line.compare(b"eBADNUM \n"), Match::Mismatch(8));
        assert_eq!(line.compare(b"eBADOP no\n"), Match::Mismatch(4));
        assert_eq!(line.to_string(), "eBADNUM …\\nd1.0\\n");
        let bare = pattern("eRANGE ?");
        assert_eq!(bare.compare(b"eRANGE "), Match::Partial);
        assert_eq!(bare.compare(b"eRANGE x"), Match::Open);
        assert_eq!(bare.compare(b"eRANGE x\n"), Match::Mismatch(8));
        let longest = |length| line.compare(&[b"eBADNUM ", &vec![b'x'; length][..], b"\nd1.0\n"].concat());
        assert_eq!(longest(MAX_MESSAGE), Match::Complete(MAX_MESSAGE + 14));
        assert_eq!(longest(MAX_MESSAGE + 1), Match::Mismatch(MAX_MESSAGE + 9));
        // In the game, e is a whole reply.
        assert_eq!(pattern("ex").compare(b"ex"), Match::Complete(2));
    }
}
