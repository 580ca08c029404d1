//! Lines that fit the terminal. Output that is not a terminal keeps one message per line.

use std::io::stdout;

use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width of a line of figures where standard output is not a terminal.
const DEFAULT_COLUMNS: usize = 80;

/// Minimum width of the values of a table. A narrower terminal wraps them by itself.
const MIN_VALUE: usize = 16;

/// The width of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// `None` if standard output is not a terminal.
    columns: Option<usize>,
}

/// A value of a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// Short parts that are not broken, with two blanks between them.
    Figures(Vec<String>),
    /// Text that may be broken between words.
    Prose(String),
}

impl Layout {
    /// Returns the layout for standard output.
    pub(super) fn of_stdout() -> Self {
        let columns = tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col));
        Self { columns: columns.filter(|&columns| columns > 0) }
    }

    /// Returns the width of figures.
    pub(super) fn columns(self) -> usize {
        self.columns.unwrap_or(DEFAULT_COLUMNS)
    }

    /// Breaks the lines of a paragraph.
    pub(super) fn paragraph(self, text: &str) -> String {
        let columns = self.columns.unwrap_or(usize::MAX);
        text.lines().flat_map(|line| wrap(line, columns)).collect::<Vec<_>>().join("\n")
    }

    /// Formats rows of a label, padded to the longest, and a value.
    pub(super) fn table(self, rows: &[(String, Cell)]) -> String {
        let label_width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
        let indent = 2 + label_width + 2;
        let value_width = |columns: usize| columns.saturating_sub(indent).max(MIN_VALUE);
        let mut lines = Vec::new();
        for (label, cell) in rows {
            let values = match cell {
                Cell::Figures(figures) => join(figures, value_width(self.columns())),
                Cell::Prose(text) => wrap(text, self.columns.map_or(usize::MAX, value_width)),
            };
            for (number, value) in values.iter().enumerate() {
                let label = if number == 0 { label } else { "" };
                let line = format!("  {label}{:1$}{value}", "", indent - 2 - label.width());
                lines.push(line.trim_end().to_owned());
            }
        }
        lines.join("\n")
    }
}

/// Joins figures with two blanks to lines of this width. Blanks in place of a figure keep the columns of one line, and
/// begin no line.
fn join(figures: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for figure in figures {
        match lines.last_mut() {
            Some(line) if line.width() + 2 + figure.width() <= columns => {
                line.push_str("  ");
                line.push_str(figure);
            }
            _ if figure.trim().is_empty() => {}
            _ => lines.push(figure.clone()),
        }
    }
    lines
}

/// Breaks a text after blanks and next to wide characters, or anywhere in a word that is longer than a line.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        if !line.is_empty() && line.width() + word.trim_end().width() > columns {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        for character in word.chars() {
            if line.width() + character.width().unwrap_or_default() > columns && character != ' ' {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Splits a text where a line may end: after a blank, and next to a wide character, but not before closing punctuation
/// and not after an opening parenthesis.
fn words(text: &str) -> Vec<&str> {
    let is_wide = |character: char| character.width() == Some(2);
    let (mut words, mut start, mut before) = (Vec::new(), 0, '（');
    for (at, after) in text.char_indices() {
        let may_end = before == ' ' || is_wide(before) || is_wide(after);
        if may_end && before != '（' && !"，。；：、） ".contains(after) {
            words.push(&text[start..at]);
            start = at;
        }
        before = after;
    }
    words.push(&text[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_in_words_that_are_too_long() {
        for (text, columns, lines) in [
            ("one two three", 7, vec!["one two", "three"]),
            ("one two three", 13, vec!["one two three"]),
            ("abcdefgh ij", 3, vec!["abc", "def", "gh", "ij"]),
            ("服务器：已满", 7, vec!["服务", "器：已", "满"]),
            ("", 8, vec![""]),
        ] {
            assert_eq!(wrap(text, columns), lines, "{text}");
        }
    }

    #[test]
    fn a_table_fits_the_terminal_and_a_pipe_keeps_its_lines() {
        let figures = ["p50 1.00 ms", "p90 2.00 ms", "p99 3.00 ms"].map(str::to_owned).to_vec();
        let rows = [
            ("latency".to_owned(), Cell::Figures(figures)),
            ("错误".to_owned(), Cell::Prose("a message of several words".to_owned())),
        ];
        let narrow = Layout { columns: Some(36) }.table(&rows);
        let expected = "  latency  p50 1.00 ms  p90 2.00 ms\n           p99 3.00 ms\n  \
                        错误     a message of several\n           words";
        assert_eq!(narrow, expected);
        let pipe = Layout { columns: None }.table(&rows);
        assert_eq!(pipe, "  latency  p50 1.00 ms  p90 2.00 ms  p99 3.00 ms\n  错误     a message of several words");
        let empty = [("errors".to_owned(), Cell::Figures(["0 -> 0", "        ", "equal"].map(str::to_owned).to_vec()))];
        for (columns, expected) in
            [(40, "  errors  0 -> 0            equal"), (26, "  errors  0 -> 0\n          equal")]
        {
            assert_eq!(Layout { columns: Some(columns) }.table(&empty), expected);
        }
        let wide =
            [("errors".to_owned(), Cell::Figures(["0 -> 0", "            ", "equal"].map(str::to_owned).to_vec()))];
        assert_eq!(Layout { columns: Some(26) }.table(&wide), "  errors  0 -> 0  equal");
    }
}
