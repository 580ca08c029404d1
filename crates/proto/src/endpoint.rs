//! The notation for the places where servers listen and to which clients connect.
//!
//! It does no I/O. Of [`wire`](crate::wire), it uses only [`quoted`](crate::wire::quoted). Servers and the client parse
//! the same notation; only the type of a TCP address differs, because a server needs an IP address and a client
//! resolves names.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::wire::quoted::is_printable;

/// A place where a server listens or to which a client connects. `A` is the type of a TCP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint<A = HostPort> {
    /// TCP: `HOST:PORT` or `tcp://HOST:PORT`.
    Tcp(A),
    /// TLS over TCP: `tls://HOST:PORT`.
    Tls(A),
    /// A Unix stream socket: `unix:PATH`.
    Unix(SocketPath),
    /// The listening sockets of a name that the process inherits: `fd:NAME`. For servers only.
    Inherited {
        /// The name; `None` (`fd:`) where the process inherits exactly one socket.
        name: Option<SocketName>,
        /// Whether the connections use TLS: `tls+fd:NAME`.
        tls: bool,
    },
}

impl<A> Endpoint<A> {
    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Inherited { tls: true, .. })
    }
}

impl Endpoint<SocketAddr> {
    /// Whether a server cannot listen on both: the address, path or name is the same, with or without TLS. Port 0
    /// stands for any free port, so two endpoints with it differ.
    #[must_use]
    pub fn has_same_socket(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one) | Self::Tls(one), Self::Tcp(other) | Self::Tls(other)) => one == other && one.port() != 0,
            (Self::Inherited { name: one, .. }, Self::Inherited { name: other, .. }) => one == other,
            _ => self == other,
        }
    }
}

impl<A: fmt::Display> fmt::Display for Endpoint<A> {
    /// Prints the shortest text that parses to the same endpoint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Inherited { name, tls } => {
                let name = name.as_ref().map(SocketName::as_str).unwrap_or_default();
                write!(f, "{}fd:{name}", if *tls { "tls+" } else { "" })
            }
        }
    }
}

impl<A: FromStr> FromStr for Endpoint<A> {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let address = |text: &str| text.parse().map_err(|_| reason_of(text));
        let inherited = |name: &str, tls| {
            let name = (!name.is_empty()).then(|| name.parse()).transpose()?;
            Ok(Self::Inherited { name, tls })
        };
        if let Some(path) = text.strip_prefix("unix:") {
            Ok(Self::Unix(path.parse()?))
        } else if let Some(name) = text.strip_prefix("tls+fd:") {
            inherited(name, true)
        } else if let Some(name) = text.strip_prefix("fd:") {
            inherited(name, false)
        } else if let Some(rest) = text.strip_prefix("tls://") {
            Ok(Self::Tls(address(rest)?))
        } else {
            Ok(Self::Tcp(address(text.strip_prefix("tcp://").unwrap_or(text))?))
        }
    }
}

/// Why a text is not an endpoint. The caller knows which endpoints are valid, and names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidEndpoint {
    /// The port is missing, or is not a number from 1 to 65535.
    #[error("the port is missing or invalid")]
    Port,
    /// The host is neither a name nor an IP address.
    #[error("the host is not a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The address of a server has a name.
    #[error("the host is not an IP address")]
    NotIpAddress,
    /// The text begins with another scheme than `tcp://`, `tls://`, `unix:`, `fd:` and `tls+fd:`.
    #[error("the scheme is unknown")]
    Scheme,
    /// The text is a path without `unix:`.
    #[error("the path of a socket needs 'unix:' before it")]
    BarePath,
    /// The path of a Unix socket is empty or too long. The value is its length in bytes.
    #[error("the path of a socket has 1 to {MAX_PATH_BYTES} bytes, and this one has {0}")]
    PathLength(usize),
    /// The name of inherited sockets is too long, or has a colon or another invalid character.
    #[error("the name of inherited sockets has at most 255 characters of printable ASCII, without colons")]
    SocketName,
    /// A character is not printable.
    #[error("a character is not printable")]
    NotPrintable,
}

/// Returns why a text is not the address of a server or of a client.
fn reason_of(address: &str) -> InvalidEndpoint {
    address.parse::<HostPort>().err().unwrap_or(InvalidEndpoint::NotIpAddress)
}

/// A host name, an IPv4 address or an IPv6 address in brackets, perhaps with a zone, and a port from 1. The name is not
/// resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort(Box<str>);

impl HostPort {
    /// Returns the text, such as `localhost:5000`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host: a name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        // `from_str` has checked the port, so the default is never used.
        self.0.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl FromStr for HostPort {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if !text.chars().all(is_printable) {
            return Err(InvalidEndpoint::NotPrintable);
        }
        if text.starts_with(['/', '.']) {
            return Err(InvalidEndpoint::BarePath);
        }
        // A URL is not an address.
        if text.contains(":/") {
            return Err(InvalidEndpoint::Scheme);
        }
        // An IPv6 address needs brackets: without them its last group would parse as the port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let is_in_name = |character: char| !character.is_whitespace() && !":/[]".contains(character);
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            // The zone of a link-local address names an interface (RFC 4007, section 11).
            Some(address) => match address.split_once('%') {
                Some((address, zone)) => {
                    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(is_in_name)
                }
                None => address.parse::<Ipv6Addr>().is_ok(),
            },
            None => !host.is_empty() && host.chars().all(is_in_name),
        };
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        match (is_host, is_port) {
            (true, true) => Ok(Self(text.into())),
            (false, _) => Err(InvalidEndpoint::Host),
            (true, false) => Err(InvalidEndpoint::Port),
        }
    }
}

/// The path of a Unix socket: printable, and short enough for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketPath(PathBuf);

/// Maximum length of a path in bytes: `sun_path` has 108, with a zero at the end (unix(7)).
const MAX_PATH_BYTES: usize = 107;

impl SocketPath {
    /// Returns the path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl FromStr for SocketPath {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if !(1..=MAX_PATH_BYTES).contains(&text.len()) {
            Err(InvalidEndpoint::PathLength(text.len()))
        } else if text.chars().all(is_printable) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidEndpoint::NotPrintable)
        }
    }
}

/// The name of inherited sockets: printable ASCII without a colon, at most 255 bytes (`sd_listen_fds(3)`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketName(Box<str>);

impl SocketName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SocketName {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let is_in_name = |byte| matches!(byte, b' '..=b'~') && byte != b':';
        let is_valid = (1..=255).contains(&text.len()) && text.bytes().all(is_in_name);
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidEndpoint::SocketName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_has_a_host_and_a_port() {
        for (valid, host) in [
            ("localhost:5000", "localhost"),
            ("石头.example:80", "石头.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:65535", "::1"),
            ("[fe80::1%lo]:5000", "fe80::1%lo"),
            ("example.com:80", "example.com"),
        ] {
            let parsed: HostPort = valid.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.host()), (valid, host));
        }
        for (invalid, reason) in [
            ("", InvalidEndpoint::Host),
            ("localhost", InvalidEndpoint::Port),
            (":5000", InvalidEndpoint::Host),
            ("localhost:", InvalidEndpoint::Port),
            ("localhost:x", InvalidEndpoint::Port),
            ("localhost:65536", InvalidEndpoint::Port),
            ("localhost:0", InvalidEndpoint::Port),
            ("::1", InvalidEndpoint::Host),
            ("::1:5000", InvalidEndpoint::Host),
            ("[::1]", InvalidEndpoint::Port),
            ("[x]:1", InvalidEndpoint::Host),
            ("[fe80::1%]:1", InvalidEndpoint::Host),
            ("[fe80::1%lo[]:1", InvalidEndpoint::Host),
            ("[x%lo]:1", InvalidEndpoint::Host),
            ("h:+80", InvalidEndpoint::Port),
            ("h h:80", InvalidEndpoint::Host),
            ("h\n:80", InvalidEndpoint::NotPrintable),
            ("\u{1b}[2J:80", InvalidEndpoint::NotPrintable),
            ("h\u{202e}:80", InvalidEndpoint::NotPrintable),
            ("http://h:80", InvalidEndpoint::Scheme),
            ("/run/power.sock", InvalidEndpoint::BarePath),
            ("./power.sock", InvalidEndpoint::BarePath),
        ] {
            assert_eq!(invalid.parse::<HostPort>(), Err(reason), "{invalid}");
            assert_eq!(invalid.parse::<Endpoint>(), Err(reason), "{invalid}");
        }
    }

    #[test]
    fn an_endpoint_parses_and_prints_each_kind() {
        let host_port = |text: &str| text.parse::<HostPort>().unwrap();
        let name = |text: &str| Some(text.parse().unwrap());
        for (text, endpoint) in [
            ("localhost:5000", Endpoint::Tcp(host_port("localhost:5000"))),
            ("tls://[::1]:5000", Endpoint::Tls(host_port("[::1]:5000"))),
            ("unix:/run/power.sock", Endpoint::Unix("/run/power.sock".parse().unwrap())),
            ("unix:a,b", Endpoint::Unix("a,b".parse().unwrap())),
            ("fd:", Endpoint::Inherited { name: None, tls: false }),
            ("fd:power", Endpoint::Inherited { name: name("power"), tls: false }),
            ("tls+fd:", Endpoint::Inherited { name: None, tls: true }),
            ("tls+fd:power", Endpoint::Inherited { name: name("power"), tls: true }),
        ] {
            assert_eq!(text.parse().as_ref(), Ok(&endpoint), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
        assert_eq!("tcp://h:1".parse::<Endpoint>(), "h:1".parse());
        let long = |length| format!("unix:{}", "x".repeat(length));
        assert!(long(107).parse::<Endpoint>().is_ok());
        for (invalid, reason) in [
            ("unix:", InvalidEndpoint::PathLength(0)),
            (&*long(108), InvalidEndpoint::PathLength(108)),
            ("unix:a\nb", InvalidEndpoint::NotPrintable),
            ("tls:/h:1", InvalidEndpoint::Scheme),
            ("tls://", InvalidEndpoint::Host),
            ("tls://h", InvalidEndpoint::Port),
            ("TLS://h:1", InvalidEndpoint::Scheme),
            ("tsl://h:1", InvalidEndpoint::Scheme),
            ("tls:h:1", InvalidEndpoint::Host),
            ("fd:a:b", InvalidEndpoint::SocketName),
            ("fd:é", InvalidEndpoint::SocketName),
        ] {
            assert_eq!(invalid.parse::<Endpoint>(), Err(reason), "{invalid}");
        }
    }

    #[test]
    fn a_server_listens_on_ip_addresses() {
        for valid in ["127.0.0.1:0", "tcp://[::]:5000", "tls://0.0.0.0:5000"] {
            assert!(valid.parse::<Endpoint<SocketAddr>>().is_ok(), "{valid}");
        }
        for (invalid, reason) in [
            ("localhost:5000", InvalidEndpoint::NotIpAddress),
            ("tls://300.0.0.1:5000", InvalidEndpoint::NotIpAddress),
            ("127.0.0.1", InvalidEndpoint::Port),
            ("::1:5000", InvalidEndpoint::Host),
            ("tsl://127.0.0.1:5000", InvalidEndpoint::Scheme),
        ] {
            assert_eq!(invalid.parse::<Endpoint<SocketAddr>>(), Err(reason), "{invalid}");
        }
    }

    #[test]
    fn endpoints_with_the_same_socket_are_found() {
        let has_same_socket = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| text.parse::<Endpoint<SocketAddr>>().unwrap());
            one.has_same_socket(&other)
        };
        for (one, other) in [
            ("127.0.0.1:1", "tcp://127.0.0.1:1"),
            ("127.0.0.1:1", "tls://127.0.0.1:1"),
            ("unix:a", "unix:a"),
            ("fd:a", "tls+fd:a"),
        ] {
            assert!(has_same_socket(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:1", "unix:127.0.0.1:1"),
            ("unix:a", "unix:b"),
            ("fd:", "fd:a"),
        ] {
            assert!(!has_same_socket(one, other), "{one} {other}");
        }
    }
}
