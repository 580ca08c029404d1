//! Fuzzes the power protocol with arbitrary bytes, split into arbitrary pieces, in each framing.
//!
//! - The split does not change the requests that are decoded from lines, or from a request that has time to settle. In
//!   all other cases, a client never takes a wrong number for the correct reply.
//! - The server buffers at most the longest request and a CR. The client buffers at most the longest reply. After its
//!   last reply, the server buffers nothing.
//! - Every reply is printable ASCII, and shorter than a quarter of the longest reply that a client accepts.
//! - Each side decodes the messages of the other side without loss, down to the bits of each number.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz power_wire
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::power::check(data));
