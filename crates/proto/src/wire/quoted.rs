//! Received bytes in error messages.

use std::fmt;

/// Displays received bytes in quotes, escaped as ASCII and truncated.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Quoted<'_> {
    /// Maximum bytes shown: enough to recognise the mistake. An escaped byte has up to four characters.
    const MAX_BYTES: usize = 24;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(Self::MAX_BYTES)];
        let more = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "'{}{more}'", shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_bytes_are_escaped_and_truncated() {
        assert_eq!(Quoted(b"\x00'\n\xff").to_string(), r"'\x00\'\n\xff'");
        assert_eq!(Quoted(&[b'7'; 100]).to_string(), format!("'{}...'", "7".repeat(24)));
    }
}
