//! The notation for the places where servers listen and to which clients connect.
//!
//! It does no I/O. Of [`wire`](crate::wire), it uses only [`quoted`](crate::wire::quoted). Servers and the client parse the
//! same notation; only the type of a TCP address differs, because a server needs an IP address and a client resolves names.

use std::error;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

    /// Whether a server cannot listen on both: the address, path or name is the same, with or without TLS.
    pub fn has_same_socket(&self, other: &Self) -> bool
    where
        A: PartialEq,
    {
        match (self, other) {
            (Self::Tcp(one) | Self::Tls(one), Self::Tcp(other) | Self::Tls(other)) => one == other,
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
        let address = |text: &str| text.parse().map_err(|_| InvalidEndpoint);
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

/// The error for a text that is not an endpoint. The caller knows which endpoints are valid, and names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint;

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an endpoint: HOST:PORT, tls://HOST:PORT or unix:PATH")
    }
}

impl error::Error for InvalidEndpoint {}

/// A host name, an IPv4 address or an IPv6 address in brackets, and a port from 1. The name is not resolved.
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
        // An IPv6 address needs brackets: without them its last group would parse as the port. A URL is not an address.
        let is_in_name =
            |character: char| is_printable(character) && !character.is_whitespace() && !":/[]".contains(character);
        let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(is_in_name),
        };
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && is_port(port) => Ok(Self(text.into())),
            _ => Err(InvalidEndpoint),
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
        let is_valid = (1..=MAX_PATH_BYTES).contains(&text.len()) && text.chars().all(is_printable);
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidEndpoint) }
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
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidEndpoint) }
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
            ("example.com:80", "example.com"),
        ] {
            let parsed: HostPort = valid.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.host()), (valid, host));
        }
        for invalid in [
            "",
            "localhost",
            ":5000",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "localhost:0",
            "::1",
            "::1:5000",
            "[::1]",
            "[x]:1",
            "h:+80",
            "h h:80",
            "h\n:80",
            "\u{1b}[2J:80",
            "h\u{202e}:80",
            "http://h:80",
        ] {
            assert!(invalid.parse::<HostPort>().is_err(), "{invalid}");
            assert!(invalid.parse::<Endpoint>().is_err(), "{invalid}");
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
        for invalid in
            ["unix:", "unix:a\nb", "tls:h:1", "tls://", "tls://h", "TLS://h:1", "fd:a:b", "fd:é", "udp://h:1"]
        {
            assert!(invalid.parse::<Endpoint>().is_err(), "{invalid}");
        }
        assert!(format!("unix:{}", "x".repeat(107)).parse::<Endpoint>().is_ok());
        assert!(format!("unix:{}", "x".repeat(108)).parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_server_listens_on_ip_addresses() {
        for valid in ["127.0.0.1:0", "tcp://[::]:5000", "tls://0.0.0.0:5000"] {
            assert!(valid.parse::<Endpoint<SocketAddr>>().is_ok(), "{valid}");
        }
        assert!("localhost:5000".parse::<Endpoint<SocketAddr>>().is_err());
    }

    #[test]
    fn endpoints_with_the_same_socket_are_found() {
        let has_same_socket = |one: &str, other: &str| {
            let (one, other): (Endpoint, Endpoint) = (one.parse().unwrap(), other.parse().unwrap());
            one.has_same_socket(&other)
        };
        for (one, other) in [("h:1", "tcp://h:1"), ("h:1", "tls://h:1"), ("unix:a", "unix:a"), ("fd:a", "tls+fd:a")] {
            assert!(has_same_socket(one, other), "{one} {other}");
        }
        for (one, other) in [("h:1", "h:2"), ("h:1", "unix:h:1"), ("unix:a", "unix:b"), ("fd:", "fd:a")] {
            assert!(!has_same_socket(one, other), "{one} {other}");
        }
    }
}
