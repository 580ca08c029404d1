//! One connection, from its first byte to a close that loses no reply.
//!
//! It depends on `lifecycle`, `observe` and `config`.
//!
//! - `handler`: the interface between a connection and its protocol handler;
//! - `driver`: the loop that carries bytes between a stream and a handler;
//! - `timer`: the timeouts, and the driver's next step;
//! - `io`: reading, handling and writing within one poll; `close`: the close from this side;
//! - `stream`: the stream under a connection; `socket`: that of an accepted socket; `websocket`: one that carries its
//!   bytes in WebSocket messages;
//! - `close_reason`: why a connection ended; `metrics` counts it;
//! - `arrivals`: whether connections arrive fast.

pub(crate) mod arrivals;
pub(crate) mod close;
pub(crate) mod close_reason;
pub(crate) mod driver;
pub(crate) mod handler;
mod io;
pub(crate) mod metrics;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod timer;
pub(crate) mod websocket;

pub use close_reason::CloseReason;
pub use driver::{ConnectionContext, run};
pub use handler::{Activity, Event, Handler, MAX_OUTPUT_BYTES, Progress, WaitFor};
pub use metrics::{ConnectionMetrics, Summary};
pub use socket::SocketStream;
pub use stream::{SendQueue, Stream};
pub use timer::ConnectionTimeouts;
