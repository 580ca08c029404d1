//! A line on a terminal that is drawn over itself: how far a run is, how much time is left.

use std::env;
use std::io::{IsTerminal, stderr};

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

use crate::output::tell;

/// Back to the beginning of the line, and nothing on it (ECMA-48: CR, EL).
const CLEAR: &str = "\r\x1b[K";

/// A line on standard error. Where it cannot be drawn over, nothing is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    shown: bool,
}

impl StatusLine {
    /// A status line, if it is `wanted` and standard error is a terminal that moves its cursor (terminfo(5), the entry
    /// `dumb`).
    pub(crate) fn new(wanted: bool) -> Self {
        let moves_cursor = env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb");
        Self { shown: wanted && moves_cursor && stderr().is_terminal() }
    }

    /// Whether it is drawn at all.
    pub(crate) fn is_shown(self) -> bool {
        self.shown
    }

    /// Draws `line` over the one before, or `shorter` where the terminal is too narrow: a line that wraps could not be
    /// cleared.
    pub(crate) fn draw(self, line: &str, shorter: &str) {
        if self.is_shown() {
            tell(&format!("{CLEAR}{}", if line.width() < columns() { line } else { shorter }));
        }
    }

    /// Clears the line, for other output.
    pub(crate) fn clear(self) {
        if self.is_shown() {
            tell(CLEAR);
        }
    }
}

/// How many columns the terminal has: 80, as they all had once, where it does not say.
pub(crate) fn columns() -> usize {
    tcgetwinsize(stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}
