//! One connection, from its first byte to a close that loses no reply.
//!
//! - [`stream`]: the stream under a connection;
//! - [`handler`]: the interface between a connection and its protocol handler;
//! - [`timer`]: the timeouts of a connection and its next deadline;
//! - [`driver`]: the loop that carries bytes between the stream and the handler;
//! - [`close_reason`]: why a connection ended; [`metrics`] counts it.

pub mod close_reason;
pub mod driver;
pub mod handler;
pub mod metrics;
pub mod stream;
pub mod timer;
