//! The code that the two services and their client share.
//!
//! - [`wire`]: both wire formats as types and bytes. It uses no sockets, clocks or tasks.
//! - [`endpoint`]: the notation for the places where servers listen and to which clients connect.
//! - [`pem`]: reads the files of TLS, for servers and clients.
//! - [`transcript`]: the dialogues in PROTOCOL.md, which tests and `cli-client check` replay.
//! - [`client`]: typed async clients over the wire, with a timeout for each phase.
//! - `server` (feature `server`): a server framework under both services. It depends on neither wire.
//! - `testing` (feature `testing`): the test support of this workspace.
//!
//! Start reading in [`wire`], which defines the services; the rest of the crate runs them.

pub mod client;
pub mod endpoint;
pub mod pem;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transcript;
pub mod wire;
