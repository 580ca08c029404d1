//! One connection, from its first byte to a close that loses no reply.
//!
//! - [`handler`]: the interface between a connection and its protocol handler;
//! - [`driver`]: the loop that carries bytes between a stream and a handler;
//! - [`timer`]: the timeouts, and the driver's next step;
//! - `io`: reading, handling and writing within one poll; `close`: the close from this side;
//! - [`stream`]: the stream under a connection;
//! - [`close_reason`]: why a connection ended; [`metrics`] counts it.

pub(super) mod close;
pub mod close_reason;
pub mod driver;
pub mod handler;
mod io;
pub mod metrics;
pub mod stream;
pub mod timer;
