//! From a listening socket to a connection that is admitted or rejected.
//!
//! It depends on `connection`, `lifecycle`, `observe` and `config`.
//!
//! - `socket`: the listening socket, whose options every accepted connection inherits;
//! - `admission`: the limits on connections; `open_files` lowers them to fit `RLIMIT_NOFILE`;
//! - `limit_reached`: which limits there are, and how often each was reached;
//! - `quota`: the limit on the requests of a client network, which `token_bucket` counts;
//! - `accept`: the accept loop, its backoff and its drain.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod limit_reached;
pub(crate) mod open_files;
pub(crate) mod quota;
pub(crate) mod socket;
mod token_bucket;

pub use accept::{Listener, Service, serve};
pub use admission::{Admission, Permit};
pub use limit_reached::LimitReached;
pub use socket::{ListenOptions, SocketBuffers, bind, connect_addr};
