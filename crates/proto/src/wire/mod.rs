//! Codecs for both wire formats: they turn bytes into values and values into bytes.
//!
//! This module uses no sockets, clocks or tasks, so the servers, the clients and the tests share it. `PROTOCOL.md`,
//! next to this crate's `src`, specifies the bytes without Rust.
//!
//! Read in this order:
//!
//! 1. [`rps`]: the simplest framing, one byte per frame.
//! 2. [`number`]: parses and formats numbers.
//! 3. [`power`]: requests and replies, and the three ways in which a request can end.
//!
//! [`link`] is the protocol between two replicas of the game's server. [`proxy_header`] parses what a proxy sends
//! before either protocol. [`websocket`] has the frames in which a browser sends the game's bytes. [`quoted`] shows
//! text from outside in error messages.

pub mod link;
pub mod number;
pub mod power;
pub mod proxy_header;
pub mod quoted;
pub mod rps;
pub mod websocket;
