//! Test support for the workspace (feature `testing`, enabled only by dev-dependencies).
//!
//! This module may use the rest of the crate, sockets and processes; only tests may use it. Its functions panic to fail
//! a test, and wait at most [`TEST_TIMEOUT`].
//!
//! - [`process`]: a child process with its output, signals and exit code;
//! - [`program`]: a server's binary as a child process, with its listeners and its admin endpoint;
//! - [`pages`]: the pages of its admin listener;
//! - [`service_manager`]: the service manager of such a process;
//! - `server` (with feature `server`): a server in this process;
//! - [`blocking`], [`nonblocking`]: clients that send and receive raw bytes;
//! - [`clients`]: clients that send without end, on a separate thread;
//! - [`memory`]: the memory of a server under clients that never read;
//! - [`unread`]: the timeouts of a server for clients that do not read, or read slowly;
//! - [`certificates`]: certificates for the tests of TLS;
//! - [`tls`]: TLS clients that control each end of a connection;
//! - [`websocket`]: a WebSocket client that controls each byte;
//! - `breakable` (with feature `server`): an in-memory stream that a test can break;
//! - [`transcript`]: replays the transcripts of PROTOCOL.md;
//! - [`front`]: TLS and Unix sockets in front of a plain server, with [`certificates`];
//! - [`proxy`]: the PROXY protocol of a server;
//! - [`haproxy`]: haproxy in front of a server;
//! - [`inherited`]: a server that inherits its listening sockets;
//! - [`restart_load`]: clients that go on while it is restarted;
//! - [`python`]: peers written in Python;
//! - [`properties`]: properties that hold for any input, for the fuzz targets and their corpus;
//! - [`generator`]: a random number generator with which the house always throws the same move.

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
pub mod certificates;
pub mod clients;
pub mod front;
pub mod generator;
pub mod haproxy;
pub mod inherited;
pub mod memory;
pub mod nonblocking;
pub mod pages;
pub mod process;
pub mod program;
pub mod properties;
pub mod proxy;
pub mod python;
pub mod restart_load;
#[cfg(feature = "server")]
pub mod server;
pub mod service_manager;
pub mod tls;
pub mod transcript;
pub mod unread;
pub mod websocket;

use std::thread;
use std::time::{Duration, Instant};

/// The timeout of every wait in a test. It is far longer than a slow machine needs, so only a hang reaches it.
pub const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns whether `condition` becomes true within `timeout`. Polls it every millisecond.
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() > timeout {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
