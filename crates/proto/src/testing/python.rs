//! Peers written in Python: programs that use a wire as PROTOCOL.md specifies, or as existing programs do.
//!
//! A test that runs a peer is ignored by default, because python3 is optional, and has `python` in its name:
//! `cargo test --workspace -- --ignored python` runs all of them.

use std::process::{Command, Stdio};

use super::process::ChildProcess;

/// The beginning of a program whose connections of asyncio use TLS. It takes the last argument of the program, the file with
/// the authority.
pub const OVER_TLS: &str = "
import asyncio, functools, ssl, sys
context = ssl.create_default_context(cafile=sys.argv.pop())
asyncio.open_connection = functools.partial(asyncio.open_connection, ssl=context)
";

/// Runs a peer, which prints `all right` if all its checks pass.
///
/// `program` has the first arguments of python3: a file, or `-c` and the source.
pub fn run(program: &[&str], arguments: &[&str]) {
    let mut command = Command::new("python3");
    let mut peer =
        ChildProcess::start(command.args(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (stdout, code) = (peer.stdout.wait_for_end(), peer.wait());
    assert_eq!((stdout.as_str(), code), ("all right\n", Some(0)), "{}", peer.stderr.wait_for_end());
}
