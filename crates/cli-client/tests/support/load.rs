//! Shared by the tests of `bench`: runs with their reports, and servers that reply to them.

use std::io::{self, Write};
use std::mem::take;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::fake::{Fake, Then, read_some, read_to_eof};
use super::run;

/// Runs `bench` with `--json`, checks the exit code, and returns the only object. Standard error must be empty.
#[track_caller]
pub(crate) fn run_bench(code: i32, arguments: &str) -> Value {
    let finished = run(&format!("bench {arguments} --json"));
    let lines = finished.stdout.lines().count();
    assert_eq!((finished.code, finished.stderr.as_str(), lines), (Some(code), "", 1), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).expect("a JSON object");
    assert_eq!(report["schema"], json!(1), "{report}");
    report
}

/// Runs `bench`, and checks that all requests have a correct reply.
#[track_caller]
pub(crate) fn run_bench_ok(requests: u64, arguments: &str) -> Value {
    let report = run_bench(0, arguments);
    assert_eq!((&report["requests"], &report["right"]), (&json!(requests), &json!(requests)), "{arguments}: {report}");
    assert_eq!(report["errors"], json!({}), "{arguments}: {report}");
    report
}

/// A power server that replies to the first exchange, which the client makes before the load, and then runs the script.
pub(crate) fn after_first_exchange(
    mut script: impl FnMut(&mut TcpStream) -> io::Result<Then> + Send + 'static,
) -> Fake {
    let mut first = true;
    Fake::new(move |stream| if take(&mut first) { reply(stream, b"d4.0\n") } else { script(stream) })
}

/// Reads one request, sends these bytes, and closes after the client.
pub(crate) fn reply(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Then> {
    read_some(stream)?;
    stream.write_all(bytes)?;
    read_to_eof(stream)?;
    Ok(Then::Close)
}

/// Calls `at_each` for each request, sends the correct reply, and closes after the client.
pub(crate) fn reply_to_each(stream: &mut TcpStream, mut at_each: impl FnMut()) -> io::Result<Then> {
    while !read_some(stream)?.is_empty() {
        at_each();
        stream.write_all(b"d4.0\n")?;
    }
    Ok(Then::Close)
}
