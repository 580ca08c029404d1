//! What the two services and their client share.
//!
//! - [`wire`]: both wire formats as types and bytes; it knows of no sockets, clocks or tasks;
//! - [`client`]: typed async clients over the wire, with a deadline for each phase;
//! - `server` (feature `server`): the plumbing under both servers, which knows neither wire;
//! - `testing` (feature `testing`): what the tests of this workspace share.
//!
//! Start reading in [`wire`]: it says what the services are, and all else is about how they are run.

pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;
