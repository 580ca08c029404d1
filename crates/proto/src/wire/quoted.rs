//! Bytes from the other side, as they are shown in messages.

use std::fmt;

/// Bytes from the other side, fit to be shown: quoted, escaped and cut short.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Quoted<'_> {
    /// So many bytes are shown, each of four characters at the most: enough to recognise one's own mistake by.
    const SHOWN: usize = 24;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(Self::SHOWN)];
        let more = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "'{}{more}'", shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_escaped_and_cut_short() {
        assert_eq!(Quoted(b"\x00'\n\xff").to_string(), r"'\x00\'\n\xff'");
        assert_eq!(Quoted(&[b'7'; 100]).to_string(), format!("'{}...'", "7".repeat(24)));
    }
}
