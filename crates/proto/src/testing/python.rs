//! Peers written in Python: programs that speak a wire as PROTOCOL.md has it, or as existing programs do.
//!
//! A test that runs one is ignored by default, since python3 is optional, and has `python` in its name:
//! `cargo test --workspace -- --ignored python` runs all of them.

use std::process::{Command, Stdio};

use super::process::ChildProcess;

/// Runs a peer, which prints `all right` if it finds nothing wrong.
///
/// `program` is what python3 gets first: a file, or `-c` and the source.
pub fn run(program: &[&str], arguments: &[&str]) {
    let mut command = Command::new("python3");
    let mut peer =
        ChildProcess::start(command.args(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (stdout, code) = (peer.stdout.wait_for_end(), peer.wait());
    assert_eq!((stdout.as_str(), code), ("all right\n", Some(0)), "{}", peer.stderr.wait_for_end());
}
