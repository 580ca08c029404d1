//! Fuzzes the frames of a WebSocket client with arbitrary bytes, split into arbitrary pieces.
//!
//! - Payload, control frames and violation do not depend on the pieces.
//! - The decoder makes no more of the bytes than they contain, and keeps none.
//! - A violation is a valid text and code of a close frame.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/proto/fuzz websocket
//! ```

#![no_main]

use proto::testing::properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::websocket::check(data));
