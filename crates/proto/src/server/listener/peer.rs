//! The address of a client. It depends on no other module.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of a client: that of its socket, or the one in its PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket. All such clients look the same.
    Unix,
}

impl Peer {
    /// Returns the IP address, which a client of a Unix socket does not have.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.pad("unix"),
        }
    }
}
