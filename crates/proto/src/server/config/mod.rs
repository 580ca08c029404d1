//! Configuration: from defaults, a file, the environment and arguments to one checked value, or to errors that name
//! where a setting came from, its key, and what would be right.
//!
//! - [`types`]: the kinds of value, each a type that cannot hold a wrong one;
//! - [`sections`]: the tables that both servers have;
//! - [`builder`]: how the sources are laid over one another;
//! - [`command_line`]: the arguments that both servers take.

pub mod builder;
pub mod command_line;
pub mod sections;
pub mod types;

pub use sections::ConnectionLimits;
