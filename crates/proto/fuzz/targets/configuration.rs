//! Fuzzes the configuration reader of both servers with arbitrary text in the file, in arguments and in environment
//! variables.
//!
//! - An accepted configuration has no conflicts. Printed as TOML, it reads back as the same configuration. It has the
//!   values that another TOML reader finds in the file; the same values in arguments give the same configuration.
//! - A rejected configuration gives an error of one or more lines. Each line starts with the place of the error and
//!   contains no control characters.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz configuration
//! ```

#![no_main]

use proto::testing::properties::configuration::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    check::<power_server::config::Config>(data);
    check::<rps_server::config::Config>(data);
});
