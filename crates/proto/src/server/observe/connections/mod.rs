//! The open connections, for the page `/connections`.
//!
//! It depends on no other module of this crate except [`quoted`](crate::wire::quoted).
//!
//! A connection costs one store, at its accept. One of TLS, through a proxy or of a player also costs an entry of a
//! map, under a lock. All else is read from the kernel at a request:
//!
//! - `table`: the accept time and the endpoint of each descriptor, and the details of those connections that have any;
//! - `socket_diagnostics`: the kernel's data about the TCP sockets of the network namespace;
//! - `snapshot`: joins the two by the inodes in `/proc/self/fd`, on a separate thread;
//! - `query`: the filters, the order and the limit of a request.

pub(crate) mod query;
pub(crate) mod snapshot;
mod socket_diagnostics;
pub(crate) mod table;
