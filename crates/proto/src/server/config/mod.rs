//! Configuration: from defaults, a file, the environment and arguments to one checked value, or to errors that name
//! where a setting came from, its key, and what would be right.
//!
//! - [`value`]: the kinds of value, each a type that cannot hold a wrong one;
//! - [`tables`]: the tables that both servers have;
//! - [`layers`]: how the sources are laid over one another.

pub mod layers;
pub mod tables;
pub mod value;
