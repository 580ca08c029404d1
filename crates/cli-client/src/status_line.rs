//! A line on a terminal that is drawn over itself: how far a run is, how much time is left.

use std::env;
use std::io::{IsTerminal, stderr};
use std::pin::pin;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::interval;
use unicode_width::UnicodeWidthStr;

use crate::output::tell;

/// Returns to the start of the line and erases it (ECMA-48: CR, EL).
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

    pub(crate) fn is_shown(self) -> bool {
        self.shown
    }

    /// Runs `work`, draws a line each second until it ends, and then clears the line. `line` returns the line, and a
    /// shorter one for a terminal that is too narrow: a line that wraps could not be cleared.
    pub(crate) async fn run<T>(self, work: impl Future<Output = T>, mut line: impl FnMut() -> (String, String)) -> T {
        let mut seconds = interval(Duration::from_secs(1));
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.tell("");
                    return done;
                }
                _ = seconds.tick() => {
                    let (line, shorter) = line();
                    self.tell(if line.width() < columns() { &line } else { &shorter });
                }
            }
        }
    }

    fn tell(self, line: &str) {
        if self.shown {
            tell(&format!("{CLEAR}{line}"));
        }
    }
}

/// The width of the terminal, or 80 where it is unknown.
pub(crate) fn columns() -> usize {
    tcgetwinsize(stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}
