//! The PROXY protocol: parses the header with which a proxy names the client of a connection.
//!
//! It uses [`quoted`](super::quoted) only. The specification is `doc/proxy-protocol.txt` in the sources of haproxy. This
//! module implements both versions: a line of text (v1) and a binary header (v2).
//!
//! [`parse`] is called with all bytes received so far, after each read. It reports how many more bytes the header has at
//! least. A caller that reads at most that many bytes leaves everything behind the header in the socket.
//!
//! Read in this order: [`Parsed`], [`parse`], `v1`, `v2`.

mod v1;
mod v2;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::quoted::Quoted;

/// The maximum length of a header in bytes, including addresses and TLVs.
pub const MAX_BYTES: usize = 4096;

/// The v2 header of a connection that the proxy itself makes, such as a health check.
pub const LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The state of a header after some of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header is not complete yet.
    Incomplete {
        /// A lower bound, at least 1, of the bytes that must still follow.
        missing: usize,
    },
    /// The header is complete.
    Complete {
        /// The address of the client; an IPv4-mapped IPv6 address as IPv4. `None`: the header has none, so the peer of the
        /// socket counts as the client.
        source: Option<SocketAddr>,
        /// The length of the header in bytes. The bytes behind it were not looked at.
        length: usize,
    },
}

/// A form of the header. The first bytes identify it.
struct Form {
    start: &'static [u8],
    /// The length of the shortest header of this form.
    min_length: usize,
    parse: fn(&[u8]) -> Result<Parsed, InvalidHeader>,
}

/// All forms. No start is the start of another form too.
const FORMS: [Form; 4] = [
    Form { start: v1::UNKNOWN, min_length: "PROXY UNKNOWN\r\n".len(), parse: v1::parse_unknown },
    Form { start: v1::TCP4, min_length: "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len(), parse: v1::parse_tcp4 },
    Form { start: v1::TCP6, min_length: "PROXY TCP6 :: :: 0 0\r\n".len(), parse: v1::parse_tcp6 },
    Form { start: v2::SIGNATURE, min_length: v2::FIXED_BYTES, parse: v2::parse },
];

/// Parses the header at the start of `bytes`, which are all bytes that the connection has received.
///
/// # Errors
///
/// Returns an error as soon as no further bytes can complete the header. Bytes that are neither v1 nor v2 are an error at
/// the first wrong byte, which is one of the first 13.
pub fn parse(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    if let Some(form) = FORMS.iter().find(|form| bytes.starts_with(form.start)) {
        return (form.parse)(bytes);
    }
    let possible = FORMS.iter().filter(|form| form.start.starts_with(bytes));
    let min_length = possible.map(|form| form.min_length).min();
    min_length
        .map(|min_length| Parsed::Incomplete { missing: min_length - bytes.len() })
        .ok_or_else(|| InvalidHeader::UnknownStart(copy(bytes)))
}

/// Returns the address as the rest of the server shows and counts it.
fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Copies the bytes that an error shows, and one more, so that [`Quoted`] marks them as truncated.
fn copy(bytes: &[u8]) -> Box<[u8]> {
    bytes[..bytes.len().min(Quoted::MAX_BYTES + 1)].into()
}

/// The reason why bytes are not a PROXY header, and cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    /// Neither v1 nor v2. Has the first bytes.
    #[error("{} is not the start of a PROXY header", Quoted(.0))]
    UnknownStart(Box<[u8]>),
    /// A field of a v1 line is not valid, or not the start of a valid one. Has its first bytes.
    #[error("v1: {} is not {}", Quoted(.text), .field)]
    Field {
        /// The expected field.
        field: Field,
        /// The first bytes of the field.
        text: Box<[u8]>,
    },
    /// A v1 line does not end with CR LF where it has to.
    #[error("v1: the line does not end with CR LF after its last field")]
    LineEnd,
    /// A v1 line is too long.
    #[error("v1: no CR LF in the first {} bytes", v1::MAX_LINE)]
    LineTooLong,
    /// The version of a binary header is not 2.
    #[error("v2: the version is {0}, not 2")]
    Version(u8),
    /// The command of a v2 header is not assigned.
    #[error("v2: the command is {0:#x}, neither LOCAL nor PROXY")]
    Command(u8),
    /// The address family or the transport protocol of a v2 header is not assigned.
    #[error("v2: the address family and protocol {0:#04x} are not assigned")]
    Family(u8),
    /// A v2 header is longer than [`MAX_BYTES`].
    #[error("v2: the header has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// The addresses of a v2 header do not fit into its length.
    #[error("v2: {length} bytes are too few for the {expected} bytes of addresses of {family:#04x}")]
    AddressesTooShort {
        /// The address family and the transport protocol.
        family: u8,
        /// The bytes of addresses and TLVs.
        length: usize,
        /// The bytes of the addresses.
        expected: usize,
    },
    /// A TLV does not fit into the length of a v2 header.
    #[error("v2: the TLV at byte {0} goes beyond the end of the header")]
    Tlv(usize),
    /// The checksum TLV does not have four bytes.
    #[error("v2: the CRC32c has {0} bytes, not 4")]
    ChecksumLength(usize),
    /// A v2 header has more than one checksum.
    #[error("v2: the header has two CRC32c checksums")]
    SecondChecksum,
    /// The checksum is wrong.
    #[error("v2: the CRC32c is {received:#010x}, but {expected:#010x} is right")]
    Checksum {
        /// The checksum in the header.
        received: u32,
        /// The checksum of the header.
        expected: u32,
    },
}

/// A field of a v1 line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A source or destination address of `TCP4`.
    Ipv4Address,
    /// A source or destination address of `TCP6`.
    Ipv6Address,
    /// A source or destination port.
    Port,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Address => "an IPv4 address",
            Self::Ipv6Address => "an IPv6 address",
            Self::Port => "a port from 0 to 65535 without leading zeros",
        })
    }
}

#[cfg(test)]
mod tests;
