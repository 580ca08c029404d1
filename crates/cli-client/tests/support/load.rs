//! What the tests of `bench` share: how a run is made and read, and servers that answer it.

use std::io::{self, Write};
use std::mem::take;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::fake::{Fake, Then, hear, hear_all};
use super::run;

/// What `--json` tells of a run that ends with this code. It says nothing else, nor anything on standard error.
#[track_caller]
pub(crate) fn told(code: i32, arguments: &str) -> Value {
    let finished = run(&format!("bench {arguments} --json"));
    let lines = finished.stdout.lines().count();
    assert_eq!((finished.code, finished.stderr.as_str(), lines), (Some(code), "", 1), "{finished:?}");
    let told: Value = serde_json::from_str(&finished.stdout).expect("it is an object");
    assert_eq!(told["schema"], json!(1), "{told}");
    told
}

/// The same where all that was asked was answered right.
#[track_caller]
pub(crate) fn measured(requests: u64, arguments: &str) -> Value {
    let told = told(0, arguments);
    assert_eq!((&told["requests"], &told["right"]), (&json!(requests), &json!(requests)), "{arguments}: {told}");
    assert_eq!(told["errors"], json!({}), "{arguments}: {told}");
    told
}

/// A power server that is there for the first exchange, as the client makes one to see that, and then does as it is told.
pub(crate) fn afterwards(mut script: impl FnMut(&mut TcpStream) -> io::Result<Then> + Send + 'static) -> Fake {
    let mut first = true;
    Fake::new(move |stream| if take(&mut first) { answer(stream, b"d4.0\n") } else { script(stream) })
}

/// Hears one request, whichever way it ends, says this, and closes once the client has.
pub(crate) fn answer(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Then> {
    hear(stream)?;
    stream.write_all(bytes)?;
    hear_all(stream)?;
    Ok(Then::Close)
}

/// Does this at each request, answers it right, and closes once the client has.
pub(crate) fn answer_each(stream: &mut TcpStream, mut at_each: impl FnMut()) -> io::Result<Then> {
    while !hear(stream)?.is_empty() {
        at_each();
        stream.write_all(b"d4.0\n")?;
    }
    Ok(Then::Close)
}
