//! Both wire formats as types and bytes.
//!
//! Nothing here knows of sockets, clocks or tasks: bytes go in, values come out, and the other way round. That is
//! what lets the same code serve the servers, the clients and the tests. What the bytes mean, without a line of Rust,
//! is in `PROTOCOL.md` beside this crate's `src`.
//!
//! Read in this order:
//!
//! 1. [`rps`]: the simplest framing there is, one byte a frame.
//! 2. [`number`]: the text of a number, in and out.
//! 3. [`power`]: requests and replies, and the three ways in which a request can end.
//!
//! [`quoted`] is how bytes of the other side are shown in messages of both.

pub mod number;
pub mod power;
pub mod quoted;
pub mod rps;
