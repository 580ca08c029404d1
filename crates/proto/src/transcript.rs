//! The transcripts of PROTOCOL.md: dialogues that a server of either wire has to hold.
//!
//! The page is the single source of these dialogues. The tests of both servers replay them, and `cli-client check` uses
//! them to test other servers. This module only parses; it has no I/O.

use thiserror::Error;

/// The specification of both wires.
pub const PAGE: &str = include_str!("../PROTOCOL.md");

/// One transcript of the page.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The line number of its first line on the page.
    pub line: usize,
    /// The number of its section, such as `1.2`.
    pub section: String,
    /// `power`, `solo` or `duel`.
    pub service: String,
    /// Settings of the server that differ from the default, as `key=value`.
    pub settings: Vec<String>,
    /// Whether it holds only over TLS.
    pub is_tls: bool,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The number of the client, from 1. It connects at its first step.
    pub client: u32,
    /// The client's action, or the expected bytes.
    pub action: Action,
    /// The line number on the page.
    pub line: usize,
}

/// An action of a client, or an expectation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends these bytes in one write.
    Send(Vec<u8>),
    /// Half-closes the connection.
    HalfClose,
    /// Only with TLS: sends a FIN without `close_notify`.
    Truncate,
    /// Receives this many bytes, each of them one of those listed at its place.
    Receive(Vec<Vec<u8>>),
    /// Receives the end of the stream.
    ReceiveEnd,
}

/// A line that is not part of the notation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {text:?} is not a step of a transcript")]
pub struct InvalidStep {
    line: usize,
    text: String,
}

/// Returns the transcripts of the page, in its order.
///
/// # Errors
///
/// Fails at the first line that is not part of the notation.
pub fn transcripts() -> Result<Vec<Transcript>, InvalidStep> {
    let mut found = Vec::new();
    // The first transcript explains the notation, before the first section.
    let mut section = "1".to_owned();
    let mut lines = PAGE.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        if let Some((number, _)) = heading(text) {
            number.clone_into(&mut section);
        }
        if text.trim() != "```transcript" {
            continue;
        }
        let head = lines.next().and_then(|(text, _)| text.trim().strip_prefix("# ")).unwrap_or_default();
        let mut words = head.split(' ').map(str::to_owned);
        let service = words.next().unwrap_or_default();
        let (tls, settings): (Vec<_>, Vec<_>) = words.partition(|word| word == "tls");
        let block = lines.by_ref().map(|(text, line)| (text.trim(), line)).take_while(|&(text, _)| text != "```");
        let steps = block.map(|(text, line)| Step::parse(text, line)).collect::<Result<_, _>>()?;
        found.push(Transcript { line, section: section.clone(), service, settings, is_tls: !tls.is_empty(), steps });
    }
    Ok(found)
}

/// Returns the numbers and titles of the page's sections, such as `1.2` and `Where a request ends`.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.lines().filter_map(heading)
}

fn heading(line: &str) -> Option<(&str, &str)> {
    let (number, title) = line.strip_prefix("##")?.trim_start_matches('#').trim_start().split_once(' ')?;
    number.starts_with(|first: char| first.is_ascii_digit()).then_some((number.trim_end_matches('.'), title))
}

impl Step {
    /// Parses a line of a transcript; `line` is its number.
    ///
    /// # Errors
    ///
    /// Fails if the line is not part of the notation.
    pub fn parse(text: &str, line: usize) -> Result<Self, InvalidStep> {
        let invalid = || InvalidStep { line, text: text.to_owned() };
        let (client, action) = match text.split_once(' ') {
            Some((number, action)) if number.parse::<u32>().is_ok() => (number.parse().unwrap_or(1), action),
            _ => (1, text),
        };
        let action = match action.split_once(' ').unwrap_or((action, "")) {
            (">", bytes) => {
                let first = |allowed: Vec<u8>| allowed.first().copied().ok_or_else(invalid);
                Action::Send(
                    allowed_bytes(bytes).ok_or_else(invalid)?.into_iter().map(first).collect::<Result<_, _>>()?,
                )
            }
            ("<", bytes) => Action::Receive(allowed_bytes(bytes).ok_or_else(invalid)?),
            (">|", "") => Action::HalfClose,
            (">!", "") => Action::Truncate,
            ("<|", "") => Action::ReceiveEnd,
            _ => return Err(invalid()),
        };
        Ok(Self { client, action, line })
    }
}

/// Parses the bytes of a step. Returns the allowed values of each byte: one, or all bytes in a pair of brackets. `None`
/// if an escape is unknown.
#[must_use]
pub fn allowed_bytes(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => vec![match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'\\' => b'\\',
                b'x' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2)?
                }
                _ => return None,
            }],
            b'[' => rest.by_ref().take_while(|&byte| byte != b']').collect(),
            byte => vec![byte],
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_transcripts_of_each_service_in_numbered_sections() {
        let all = transcripts().unwrap();
        for service in ["power", "solo", "duel"] {
            assert!(all.iter().any(|transcript| transcript.service == service), "{service}");
        }
        let numbers: Vec<_> = sections().map(|(number, _)| number).collect();
        assert!(all.iter().all(|transcript| numbers.contains(&&*transcript.section)), "{numbers:?}");
        assert!(sections().any(|section| section == ("1.2", "Where a request ends")));
    }

    #[test]
    fn a_step_is_a_client_a_direction_and_bytes() {
        let parse = |text: &str| Step::parse(text, 7).map(|step| (step.client, step.action));
        assert_eq!(parse(r"> a2\n\x7f\\"), Ok((1, Action::Send(b"a2\n\x7f\\".to_vec()))));
        assert_eq!(parse("2 < x[yz]"), Ok((2, Action::Receive(vec![b"x".to_vec(), b"yz".to_vec()]))));
        assert_eq!(parse("3 >|"), Ok((3, Action::HalfClose)));
        assert_eq!(parse("<|"), Ok((1, Action::ReceiveEnd)));
        for wrong in ["", "a2", "> \\q", "> []", ">| a", "> \\x1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
