//! From a listening socket to a connection that is admitted or rejected.
//!
//! It depends on `connection`, `lifecycle`, `observe` and `config`.
//!
//! - `endpoint`: the listening socket of an endpoint; `socket` opens those of TCP, `unix` those of Unix sockets,
//!   and `inherited` finds those that the process inherits;
//! - `peer`: the address of a client;
//! - `handshake`: the steps of a connection between accept and its first request;
//! - `proxy`: reads the PROXY protocol header, in which a trusted proxy names its client;
//! - `web`: the HTTP request that gets a page or opens a WebSocket connection;
//! - `admission`: the limits on connections; `open_files` lowers them to fit `RLIMIT_NOFILE`;
//! - `limit_reached`: which limits there are, and how often each was reached;
//! - `quota`: the limit on the requests of a client network, which `token_bucket` counts;
//! - `extended`: the handler of a connection with its quota and its access record;
//! - `access_log`: the log line of each connection;
//! - `accept`: the accept loop, its backoff and its drain.

pub(crate) mod accept;
mod access_log;
pub(crate) mod admission;
pub(crate) mod endpoint;
mod extended;
pub(crate) mod handshake;
pub(crate) mod inherited;
pub(crate) mod limit_reached;
pub(crate) mod open_files;
pub(crate) mod peer;
pub(crate) mod proxy;
pub(crate) mod quota;
pub(crate) mod socket;
mod token_bucket;
pub(crate) mod unix;
pub(crate) mod web;

pub use accept::{Accepted, Listener, Service, serve};
pub use admission::{Admission, Permit};
pub use endpoint::{EndpointListener, bind};
pub use handshake::Handshake;
pub use limit_reached::LimitReached;
pub use peer::Peer;
pub use socket::{ListenOptions, SocketBuffers};
pub use web::{Page, Site};
