//! Text from outside in error messages: received bytes, arguments, variables, file names.

use std::fmt::{self, Write};

/// Displays received bytes in quotes, escaped as ASCII and truncated.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Quoted<'_> {
    /// Maximum bytes shown: enough to recognise the mistake. An escaped byte has up to four characters.
    pub(super) const MAX_BYTES: usize = 24;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(Self::MAX_BYTES)];
        let more = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "'{}{more}'", shown.escape_ascii())
    }
}

/// Displays text with every character escaped that is not printable. Letters of all scripts stay as they are.
///
/// The text can then not end its line, send a control sequence to a terminal, or, with the invisible characters of
/// Unicode's bidirectional algorithm, change the order in which other text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if is_printable(character) { f.write_char(character) } else { write!(f, "{}", character.escape_debug()) }
        })
    }
}

/// Returns whether a character is a space or visible.
pub(crate) fn is_printable(character: char) -> bool {
    // Asks about the character after a letter, because `escape_debug` escapes a combining mark without one. It also
    // escapes quotes and backslashes, which are visible.
    let escaped = String::from_iter(['a', character]).escape_debug().count() > 2;
    !escaped || matches!(character, '\'' | '"' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_are_not_printable_are_escaped() {
        for printable in ["a 'b' \"c\" \\d", "石头", "é ü ñ", "e\u{301}", "शक्ति", "עברית", "∞ “x” 🎉", ""]
        {
            assert_eq!(Printable(printable).to_string(), printable);
        }
        for (text, escaped) in [
            ("\x1b[2J", r"\u{1b}[2J"),
            ("a\r\n\tb\0", r"a\r\n\tb\0"),
            ("\x7f\u{9b}", r"\u{7f}\u{9b}"),
            ("\u{202e}石\u{2066}\u{200f}\u{61c}", r"\u{202e}石\u{2066}\u{200f}\u{61c}"),
            ("\u{2028}\u{2029}\u{feff}\u{200b}\u{e0041}", r"\u{2028}\u{2029}\u{feff}\u{200b}\u{e0041}"),
            ("a\u{a0}b\u{3000}", r"a\u{a0}b\u{3000}"),
        ] {
            assert_eq!(Printable(text).to_string(), escaped);
        }
    }

    #[test]
    fn quoted_bytes_are_escaped_and_truncated() {
        assert_eq!(Quoted(b"\x00'\n\xff").to_string(), r"'\x00\'\n\xff'");
        assert_eq!(Quoted(&[b'7'; 100]).to_string(), format!("'{}...'", "7".repeat(24)));
    }
}
