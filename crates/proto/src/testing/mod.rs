//! What the tests of this workspace share (feature `testing`, which dev-dependencies alone enable).
//!
//! It may use everything else in this crate, sockets and processes; nothing outside tests may use it. Its functions panic
//! where a test has to fail, and wait no longer than [`PATIENCE`].
//!
//! - [`process`]: a child process: its output, signals, its exit code;
//! - [`program`]: a server's binary as such a process, with its listeners and its admin endpoint;
//! - `server` (with feature `server`): a server in this process;
//! - [`blocking`], [`nonblocking`]: TCP clients that send and receive raw bytes;
//! - `breakable` (with feature `server`): an in-memory stream that a test can break;
//! - [`transcript`]: the transcripts of PROTOCOL.md, replayed;
//! - [`python`]: peers written in Python;
//! - [`properties`]: what holds for any bytes, for the fuzz targets and for their corpus;
//! - [`generator`]: a random number generator whose bytes do not depend on how they are drawn.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the code of tests: a failure is a panic"
)]

pub mod blocking;
#[cfg(feature = "server")]
pub mod breakable;
pub mod generator;
pub mod nonblocking;
pub mod process;
pub mod program;
pub mod properties;
pub mod python;
#[cfg(feature = "server")]
pub mod server;
pub mod transcript;

use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a test waits for anything. Far longer than a slow machine takes, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Whether `is_so` returns true within this time. Polls it, for conditions that nothing notifies of.
pub fn eventually(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if began.elapsed() > time {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
