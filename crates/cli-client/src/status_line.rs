//! A terminal line that is redrawn in place, for progress or remaining time.

use std::env;
use std::io::{IsTerminal, stderr};
use std::pin::pin;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::interval;
use unicode_width::UnicodeWidthStr;

use crate::output::write_stderr;

/// Moves the cursor to the start of the line and erases the line (ECMA-48: CR, EL).
const CLEAR: &str = "\r\x1b[K";

/// A line on standard error. Draws nothing if the terminal cannot redraw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    shown: bool,
}

impl StatusLine {
    /// Creates a status line. It is shown if `wanted` and if standard error is a terminal that can move its cursor;
    /// `dumb` cannot (terminfo(5)).
    pub(crate) fn new(wanted: bool) -> Self {
        let moves_cursor = env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb");
        Self { shown: wanted && moves_cursor && stderr().is_terminal() }
    }

    pub(crate) fn is_shown(self) -> bool {
        self.shown
    }

    /// Runs `work`, redraws the line every second, and clears it at the end. `line` returns a long and a short version;
    /// the short one is for narrow terminals, because a wrapped line cannot be cleared.
    pub(crate) async fn run<T>(self, work: impl Future<Output = T>, mut line: impl FnMut() -> (String, String)) -> T {
        let mut seconds = interval(Duration::from_secs(1));
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.draw("");
                    return done;
                }
                _ = seconds.tick() => {
                    let (line, shorter) = line();
                    self.draw(if line.width() < columns() { &line } else { &shorter });
                }
            }
        }
    }

    fn draw(self, line: &str) {
        if self.shown {
            write_stderr(&format!("{CLEAR}{line}"));
        }
    }
}

/// Returns the width of the terminal, or 80 if it is unknown.
pub(crate) fn columns() -> usize {
    tcgetwinsize(stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}
