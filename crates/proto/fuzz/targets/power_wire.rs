//! The power wire, for any bytes in any pieces, in each framing.
//!
//! - Of lines, and of a request that is given the time to settle, the same is received however they were cut. Of
//!   anything else, no number is ever answered that a client could take for the right one and that is not.
//! - A server keeps no more than the longest request and a CR, a client no more than the longest reply, and a server
//!   that has given its last answer keeps nothing.
//! - Every reply is printable ASCII, and shorter than a quarter of the longest that a client takes.
//! - What either side writes, the other reads as the same, down to the bits of its number.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz power_wire
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::power::check(data));
