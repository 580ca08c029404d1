//! `--verbose` and `--trace`: a connection's way on standard error, and every byte of it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use proto::client::stream::{Event, Observer};

use crate::language::{explain, texts};
use crate::output::tell;

/// So many bytes stand on a line, in hex and as text: what 80 columns have room for.
const BYTES_A_LINE: usize = 12;

/// Shows a connection's way, one connection after the other.
#[derive(Debug)]
pub(crate) struct Trace {
    with_bytes: bool,
    connection: Mutex<Connection>,
}

/// What has crossed so far.
#[derive(Debug)]
struct Connection {
    /// When its making began: what all its times count from.
    began: Instant,
    name: String,
    sent: u64,
    received: u64,
}

impl Trace {
    pub(crate) fn new(with_bytes: bool) -> Self {
        Self { with_bytes, connection: Mutex::new(Connection::new()) }
    }
}

impl Connection {
    fn new() -> Self {
        Self { began: Instant::now(), name: String::new(), sent: 0, received: 0 }
    }

    /// The lines that tell of an event.
    fn lines(&mut self, event: &Event<'_>, with_bytes: bool) -> Vec<String> {
        let line = match event {
            Event::Resolve(name) => {
                *self = Self::new();
                (*name).clone_into(&mut self.name);
                return Vec::new();
            }
            Event::Resolved(addresses) => {
                let took = millis(self.began);
                let all: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                return vec![format!("{:>12}  {}", "", texts::trace_resolved(&self.name, &all.join(" "), &took))];
            }
            Event::Connect(address) => {
                *self = Self::new();
                texts::trace_connect(&address.to_string())
            }
            Event::Connected(local) => {
                texts::trace_connected(&local.map(|local| local.to_string()).unwrap_or_default())
            }
            Event::Failed(error) => texts::trace_failed(&explain::error(error)),
            Event::Sent(bytes) => {
                self.sent += bytes.len() as u64;
                return if with_bytes { self.stamped(dump('>', bytes)) } else { Vec::new() };
            }
            Event::Received(bytes) => {
                let first = self.received == 0;
                self.received += bytes.len() as u64;
                let mut lines = if with_bytes { dump('<', bytes) } else { Vec::new() };
                if first {
                    lines.insert(0, texts::trace_first());
                }
                return self.stamped(lines);
            }
            Event::HalfClosed => texts::trace_half_closed(),
            Event::Ended => texts::trace_ended(),
            Event::Broken(error) => texts::trace_broken(&explain::system(error)),
            Event::Closed => texts::trace_closed(self.sent, self.received),
        };
        self.stamped(vec![line])
    }

    fn stamped(&self, lines: Vec<String>) -> Vec<String> {
        let at = millis(self.began);
        lines.into_iter().map(|line| format!("{at:>9} ms  {line}")).collect()
    }
}

impl Observer for Trace {
    fn observe(&self, event: &Event<'_>) {
        // Whoever held it before has not left it half done: there is nothing to be half done.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = connection.lines(event, self.with_bytes).join("\n");
        if !text.is_empty() {
            text.push('\n');
            tell(&text);
        }
    }
}

fn millis(since: Instant) -> String {
    format!("{:.3}", since.elapsed().as_secs_f64() * 1e3)
}

/// Bytes in hex and as text, with the direction in which they cross.
fn dump(direction: char, bytes: &[u8]) -> Vec<String> {
    let lines = bytes.chunks(BYTES_A_LINE);
    lines
        .map(|line| {
            let hex = line.iter().fold(String::new(), |mut hex, byte| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{byte:02x} ");
                hex
            });
            format!("{direction}  {hex:<width$} {}", text(line), width = 3 * BYTES_A_LINE)
        })
        .collect()
}

/// Bytes as text: what is not printed stands as its escape.
fn text(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_hex_and_as_text_line_by_line() {
        assert_eq!(dump('>', b"a2\n"), [format!("{:<39} a2\\n", ">  61 32 0a")]);
        assert_eq!(dump('<', &[b'7'; 30]).len(), 3);
    }
}
