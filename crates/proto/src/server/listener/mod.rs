//! From a listening socket to a connection that is admitted or rejected.
//!
//! - [`socket`]: the listening socket, whose options every accepted connection inherits;
//! - [`admission`]: the limits on open connections; [`open_files`] bounds them by `RLIMIT_NOFILE`;
//! - [`accept`]: the accept loop, its backoff and its drain.

pub mod accept;
pub mod admission;
pub mod open_files;
pub mod socket;

pub use socket::connect_addr;
