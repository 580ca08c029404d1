//! What the tests of this workspace share (feature `testing`, which dev-dependencies alone enable).
//!
//! - [`program`]: a server's binary as a child process, and blocking clients for it;
//! - [`python`]: peers written in Python;
//! - [`transcript`]: the transcripts of PROTOCOL.md, replayed;
//! - [`properties`]: what holds for any bytes, for the fuzz targets and for their corpus;
//! - [`generator`]: a random number generator whose bytes do not depend on how they are drawn;
//! - `fragile` (with feature `server`): an in-memory stream that a test can break.
//!
//! It may use everything else in this crate, sockets and processes; nothing outside tests may use it. Its functions panic
//! where a test has to fail.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the code of tests: a failure is a panic"
)]

#[cfg(feature = "server")]
pub mod fragile;
pub mod generator;
pub mod program;
pub mod properties;
pub mod python;
pub mod transcript;
