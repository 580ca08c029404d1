//! `--verbose` and `--trace`: prints connection events on standard error, with `--trace` also every byte.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use proto::client::stream::{Observer, StreamEvent};
use proto::client::tls;
use proto::wire::quoted::Printable;

use crate::language::{explain, texts};
use crate::output::write_stderr;

/// Bytes per line, in hex and as text. A line then fits 80 columns.
const BYTES_PER_LINE: usize = 12;

/// Prints the events of connections, one connection at a time.
#[derive(Debug)]
pub(crate) struct Trace {
    with_bytes: bool,
    connection: Mutex<TracedConnection>,
}

#[derive(Debug)]
struct TracedConnection {
    /// Time 0 of the printed times.
    started: Instant,
    name: String,
    is_tls: bool,
    sent: u64,
    received: u64,
}

impl TracedConnection {
    fn start(name: &str) -> Self {
        Self { started: Instant::now(), name: name.to_owned(), is_tls: false, sent: 0, received: 0 }
    }
}

impl Trace {
    pub(crate) fn new(with_bytes: bool) -> Self {
        Self { with_bytes, connection: Mutex::new(TracedConnection::start("")) }
    }

    /// Returns the lines for an event.
    fn lines(&self, event: &StreamEvent<'_>, connection: &mut TracedConnection) -> Vec<String> {
        let dump = |direction, bytes| if self.with_bytes { dump(direction, bytes) } else { Vec::new() };
        let line = match event {
            StreamEvent::Resolve(name) => {
                *connection = TracedConnection::start(name);
                return Vec::new();
            }
            StreamEvent::Resolved(addresses) => {
                let all: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                texts::trace_resolved(&connection.name, all.join(" "), millis(connection.started))
            }
            StreamEvent::Connect(address) => {
                *connection = TracedConnection::start("");
                texts::trace_connect(address)
            }
            StreamEvent::Connected(Some(local)) => texts::trace_connected(local),
            StreamEvent::Connected(None) => texts::trace_connected_unnamed(),
            StreamEvent::Handshaken(tls::Session { version, cipher_suite, subject }) => {
                connection.is_tls = true;
                texts::trace_handshake(version, cipher_suite, Printable(subject))
            }
            StreamEvent::Failed(error) => texts::trace_failed(explain::error(error)),
            StreamEvent::Sent(bytes) => {
                connection.sent += bytes.len() as u64;
                return dump('>', bytes);
            }
            StreamEvent::Received(bytes) => {
                let first = (connection.received == 0).then(texts::trace_first);
                connection.received += bytes.len() as u64;
                return first.into_iter().chain(dump('<', bytes)).collect();
            }
            StreamEvent::HalfClosed if connection.is_tls => texts::trace_half_closed_tls(),
            StreamEvent::HalfClosed => texts::trace_half_closed(),
            StreamEvent::Ended => texts::trace_ended(),
            StreamEvent::Broken(error) => texts::trace_broken(explain::system(error)),
            StreamEvent::Closed => texts::trace_closed(connection.sent, connection.received),
        };
        vec![line]
    }
}

impl Observer for Trace {
    fn observe(&self, event: &StreamEvent<'_>) {
        // The value stays consistent if another thread panics.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.lines(event, &mut connection);
        // Times are relative to the connection, which starts after this event.
        let at = if let StreamEvent::Resolved(_) = event { String::new() } else { millis(connection.started) + " ms" };
        let lines: Vec<_> = lines.into_iter().map(|line| format!("{at:>12}  {line}\n")).collect();
        write_stderr(&lines.concat());
    }
}

fn millis(since: Instant) -> String {
    format!("{:.3}", since.elapsed().as_secs_f64() * 1e3)
}

/// Formats bytes in hex and as text, with their direction.
pub(crate) fn dump(direction: char, bytes: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{direction}  {:<width$} {}", hex.join(" "), text(line), width = 3 * BYTES_PER_LINE)
    };
    bytes.chunks(BYTES_PER_LINE).map(line).collect()
}

/// Formats bytes as text; bytes that are not printable become escapes.
fn text(bytes: &[u8]) -> String {
    let printable = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_hex_and_text_on_each_line() {
        assert_eq!(dump('>', b"a2\n"), [format!("{:<39} a2\\n", ">  61 32 0a")]);
        assert_eq!(dump('<', &[b'7'; 30]).len(), 3);
    }
}
