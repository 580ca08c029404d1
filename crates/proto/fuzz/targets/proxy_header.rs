//! Fuzzes the parser and the reader of the PROXY header with arbitrary bytes, split into arbitrary pieces.
//!
//! - The split does not change the result. The number of missing bytes is a lower bound, so no byte behind the header is
//!   read. An error stays an error with more bytes, and comes within 16 bytes of another protocol.
//! - The source that is parsed is the same after printing it in both versions.
//! - A valid header with arbitrary TLVs and the right checksum has its source; with a wrong checksum it is an error.
//! - An error is a short line of printable ASCII.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz proxy_header
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::proxy_header::check(data));
