//! Configuration: from defaults, a file, the environment and arguments to one checked value, or to errors that name
//! where a setting came from, its key, and what would be right.
//!
//! - `types`: the kinds of value, each a type that cannot hold a wrong one;
//! - `sections`: the tables that both servers have;
//! - `builder`: how the sources are laid over one another;
//! - `command_line`: the arguments that both servers take.

pub(crate) mod builder;
pub(crate) mod command_line;
pub(crate) mod sections;
pub(crate) mod types;

pub use builder::{ConfigBuilder, ConfigErrors, Configuration, Conflict, Source};
pub use command_line::{CommandLine, Loaded, Options, Override};
pub use sections::{AdminConfig, ConnectionLimits, LogConfig, LogFormat, ServerConfig, TimeoutsConfig};
pub use types::{Address, Count, LogFilter, OptionalAddress, TimeoutValue};
