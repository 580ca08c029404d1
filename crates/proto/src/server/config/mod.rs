//! The configuration: merges the defaults, a file, the environment and the arguments into one valid value, or reports
//! the errors, each with its source, its key and how to correct it.
//!
//! It depends on no other folder of `server`.
//!
//! - `types`: the types of values; each holds only valid values;
//! - `endpoints`: where a server listens;
//! - `sections`: the tables that every server has;
//! - `tls`: reads the files of `[tls]`;
//! - `trusted_networks`: the table of the PROXY protocol, and its networks;
//! - `builder`: merges the sources;
//! - `file`: reads a file;
//! - `environment`: the environment variables, one for each key;
//! - `command_line`: the arguments that every server takes;
//! - `usage`: usage errors, help and version;
//! - `suggestion`: the names that mistyped names stand for.

pub(crate) mod builder;
pub(crate) mod command_line;
pub(crate) mod endpoints;
mod environment;
mod file;
pub(crate) mod sections;
mod suggestion;
pub(crate) mod tls;
pub(crate) mod trusted_networks;
pub(crate) mod types;
mod usage;

pub use builder::{ConfigBuilder, ConfigErrors, Configuration, Conflict, InvalidKey, Source, Sources};
pub use command_line::{CommandLine, Loaded, Options, Override};
pub use endpoints::{EndpointList, ServerEndpoint};
pub use file::read_text;
pub use sections::{AdminConfig, ConnectionLimits, LogConfig, LogFormat, ServerConfig, TimeoutsConfig, TlsConfig};
pub use trusted_networks::{ProxyProtocolConfig, TrustedNetworks};
pub use types::{Count, LogFilter, TimeoutValue};
pub use usage::parse_arguments;
