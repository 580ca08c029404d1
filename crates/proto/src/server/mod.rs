//! The plumbing under both servers: everything between a listening socket and a service's own conversation.
//!
//! It knows neither wire. What a service says, and when, it is told through two traits:
//! [`Service`](accept::Service) for a connection as a whole and [`Conversation`](conversation::Conversation) for what is
//! said on it.
//!
//! In the order in which a server uses them:
//!
//! 1. [`options`]: the arguments that both servers take.
//! 2. [`config`]: from file, environment and arguments to a checked configuration, or to errors that can be acted on.
//! 3. [`telemetry`]: the log, with a [`throttle`] for what clients can cause; [`runtime`]: the threads, the exit code.
//! 4. [`listen`]: the listening socket, whose options every connection inherits.
//! 5. [`shutdown`]: told once by a signal, heard everywhere.
//! 6. [`admission`]: how many connections there may be, in all and from one place; [`open_files`] bounds that too.
//! 7. [`accept`]: the loop that turns a listener into conversations, and its drain.
//! 8. [`stream`]: what a connection runs on.
//! 9. [`conversation`]: what a service says on one connection, at once or when an answer comes from elsewhere.
//! 10. [`connection`]: one connection, from its first byte to a close that loses nothing; [`deadline`] is its clock, and
//!     [`closed`] how it ended.
//! 11. [`metrics`]: what all of these count; [`admin`]: where that and the server's health are to be had.
//! 12. [`reload`]: a new configuration for a server that runs.

pub mod accept;
pub mod admin;
pub mod admission;
pub mod closed;
pub mod config;
pub mod connection;
pub mod conversation;
pub mod deadline;
pub mod listen;
pub mod metrics;
pub mod open_files;
pub mod options;
pub mod reload;
pub mod runtime;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod throttle;
