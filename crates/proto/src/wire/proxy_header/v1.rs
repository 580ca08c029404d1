//! Version 1 of the PROXY header: a line of text.
//!
//! It uses the types of its parent only.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Field, InvalidHeader, Parsed, canonical, copy};

/// The starts of a line. A space or the CR LF follows `UNKNOWN`.
pub(super) const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
pub(super) const TCP4: &[u8] = b"PROXY TCP4 ";
pub(super) const TCP6: &[u8] = b"PROXY TCP6 ";

/// The maximum length of a line with its CR LF, from section 2.1 of the specification.
pub(super) const MAX_LINE: usize = 107;

/// Parses a line whose protocol is `UNKNOWN`. The rest of the line is ignored, also a CR or an LF alone.
pub(super) fn parse_unknown(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let rest = &line[UNKNOWN.len()..];
    if !matches!(rest, [] | [b' ', ..] | [b'\r'] | [b'\r', b'\n', ..]) {
        return Err(InvalidHeader::LineEnd);
    }
    match rest.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Ok(Parsed::Complete { source: None, length: UNKNOWN.len() + end + 2 }),
        None => incomplete(line, if rest.ends_with(b"\r") { 1 } else { 2 }),
    }
}

/// Parses a line whose protocol is `TCP4`.
pub(super) fn parse_tcp4(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    parse_tcp(bytes, Field::Ipv4Address)
}

/// Parses a line whose protocol is `TCP6`.
pub(super) fn parse_tcp6(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    parse_tcp(bytes, Field::Ipv6Address)
}

fn parse_tcp(bytes: &[u8], address: Field) -> Result<Parsed, InvalidHeader> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    // Both starts have the same length.
    let rest = &line[TCP4.len()..];
    let end = rest.iter().position(|&byte| byte == b'\r');
    let (text, line_end) = rest.split_at(end.unwrap_or(rest.len()));

    // Each field ends at a space, the last one at the CR. The last field received may still grow.
    let received: Vec<_> = text.splitn(4, |&byte| byte == b' ').collect();
    let mut missing = 0;
    for (index, field) in [address, address, Field::Port, Field::Port].into_iter().enumerate() {
        let may_grow = end.is_none() && index + 1 >= received.len();
        let text = received.get(index).copied().unwrap_or_default();
        missing += field.missing(text, may_grow).ok_or_else(|| InvalidHeader::Field { field, text: copy(text) })?;
        // The space or the CR behind the field.
        missing += usize::from(may_grow);
    }
    match line_end {
        // The LF.
        [] | [b'\r'] => incomplete(line, missing + 1),
        [b'\r', b'\n', ..] => {
            // All fields are valid here. Without a source, the real peer would count as the client.
            let source = source(text).ok_or_else(|| InvalidHeader::Field { field: address, text: copy(text) })?;
            Ok(Parsed::Complete { source: Some(source), length: TCP4.len() + text.len() + 2 })
        }
        _ => Err(InvalidHeader::LineEnd),
    }
}

/// Returns the source of a line: the first and the third field.
fn source(text: &[u8]) -> Option<SocketAddr> {
    let mut fields = str::from_utf8(text).ok()?.split(' ');
    Some(canonical(fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
}

fn incomplete(line: &[u8], missing: usize) -> Result<Parsed, InvalidHeader> {
    if line.len() + missing > MAX_LINE { Err(InvalidHeader::LineTooLong) } else { Ok(Parsed::Incomplete { missing }) }
}

impl Field {
    /// Returns how many bytes must still follow for `text` to be this field. `None`: none can complete it.
    fn missing(self, text: &[u8], may_grow: bool) -> Option<usize> {
        let text = str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LINE)?;
        let endings = if may_grow { self.endings() } else { &[""] };
        endings.iter().find(|ending| self.is_valid(&format!("{text}{ending}"))).map(|ending| ending.len())
    }

    fn is_valid(self, text: &str) -> bool {
        match self {
            Self::Ipv4Address => text.parse::<Ipv4Addr>().is_ok(),
            // Also accepts an IPv4 address in the last 32 bits, which `inet_ntop` prints for IPv4-mapped addresses.
            Self::Ipv6Address => text.parse::<Ipv6Addr>().is_ok(),
            Self::Port => {
                let has_leading_zero = text.len() > 1 && text.starts_with('0');
                text.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero && text.parse::<u16>().is_ok()
            }
        }
    }

    /// Returns endings, sorted by length, that complete every start of a valid field. The first one that does is a
    /// shortest one. A test compares them with all strings.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Ipv4Address => &["", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"],
            // Behind an IPv4 address that has begun, the rest of it must follow. `1:2:3:4:5:6:7` needs `:8`.
            Self::Ipv6Address => &["", "0", ":", "::", ":0", ".0", "0.0", ".0.0", "0.0.0"],
            Self::Port => &["", "0"],
        }
    }
}
