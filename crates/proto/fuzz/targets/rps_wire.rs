//! The rock-paper-scissors wire, for any bytes in any pieces.
//!
//! - A server finds one item for each byte but CR and LF, a client one for each byte, in order; neither waits for more.
//! - What either side writes, the other reads as the same.
//! - A byte that is none of the wire's is shown as printable ASCII.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz rps_wire
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::rps::check(data));
