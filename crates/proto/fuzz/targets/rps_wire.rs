//! Fuzzes the rock-paper-scissors protocol with arbitrary bytes, split into arbitrary pieces.
//!
//! - The server decodes one item per byte other than CR and LF, the client one item per byte, in order. Neither buffers
//!   a byte.
//! - Each side decodes the messages of the other side without loss.
//! - An invalid byte is displayed as printable ASCII.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz rps_wire
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::rps::check(data));
