//! The open connections, for the page `/connections`.
//!
//! It depends on no other module of this crate except [`quoted`](crate::wire::quoted).
//!
//! A connection costs one store, at its accept. All else is read from the kernel at a request:
//!
//! - `table`: the accept time and the endpoint of each descriptor, and the details of those connections that have any;
//! - `socket_diagnostics`: the kernel's data about the TCP sockets of the network namespace;
//! - `snapshot`: joins the two by the inodes in `/proc/self/fd`;
//! - `query`: the filters, the order and the limit of a request.

pub(crate) mod query;
pub(crate) mod snapshot;
mod socket_diagnostics;
pub(crate) mod table;
