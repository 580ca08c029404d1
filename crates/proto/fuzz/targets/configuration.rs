//! The configuration reader, for any text of a file, of arguments and of variables, for both servers.
//!
//! - What is accepted contradicts nothing, prints as TOML that reads as the same again, and is what another reader of
//!   TOML finds in the file; arguments that say the same come to the same.
//! - What is refused is told in lines that each begin with where the problem is, and hold nothing that a terminal would
//!   take for anything but text.
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
