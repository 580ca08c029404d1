//! Where the servers are: by argument, by environment, or where they listen by default.

use std::env;
use std::net::Ipv6Addr;

use clap::Args;

use crate::failure::Failure;
use crate::language::texts;

/// The power server's address.
#[derive(Args, Debug)]
pub struct PowerAddress {
    #[arg(
        long = "addr",
        value_name = "HOST:PORT",
        value_parser = address,
        help = texts::power_addr()
    )]
    given: Option<String>,
}

impl PowerAddress {
    /// The address to use.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the environment names one that is none.
    pub fn resolve(self) -> Result<String, Failure> {
        resolve(self.given, "POWER_ADDR", "127.0.0.1:5000")
    }
}

/// The address of the rock-paper-scissors server, where players meet the house.
#[derive(Args, Debug)]
pub struct RpsAddress {
    #[arg(
        long = "addr",
        value_name = "HOST:PORT",
        value_parser = address,
        help = texts::rps_addr()
    )]
    given: Option<String>,
}

impl RpsAddress {
    /// The address to use.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the environment names one that is none.
    pub fn resolve(self) -> Result<String, Failure> {
        solo(self.given)
    }
}

/// The address of the rock-paper-scissors server, where players meet each other.
#[derive(Args, Debug)]
pub struct DuelAddress {
    #[arg(
        long = "addr",
        value_name = "HOST:PORT",
        value_parser = address,
        help = texts::duel_addr()
    )]
    given: Option<String>,
}

impl DuelAddress {
    /// The address to use.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], if the environment names one that is none.
    pub fn resolve(self) -> Result<String, Failure> {
        duel(self.given)
    }
}

/// The given address, or else that of the game against the house.
pub(crate) fn solo(given: Option<String>) -> Result<String, Failure> {
    resolve(given, "RPS_ADDR", "127.0.0.1:5001")
}

/// The given address, or else that of the duel.
pub(crate) fn duel(given: Option<String>) -> Result<String, Failure> {
    resolve(given, "DUEL_ADDR", "127.0.0.1:5002")
}

/// An empty variable is as good as none.
fn resolve(given: Option<String>, variable: &str, default: &str) -> Result<String, Failure> {
    match (given, env::var(variable)) {
        (Some(given), _) => Ok(given),
        (None, Ok(named)) if !named.is_empty() => {
            address(&named).map_err(|right| Failure::Usage(texts::in_variable(variable, &named, &right)))
        }
        (None, Err(env::VarError::NotUnicode(_))) => Err(Failure::Usage(texts::variable_is_no_text(variable))),
        (None, _) => Ok(default.to_owned()),
    }
}

/// An address as a person writes it.
pub(crate) fn address(text: &str) -> Result<String, String> {
    // An IPv6 address stands in brackets, so that its colons are not taken for the port's; and a URL is no address.
    let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '[', ']']),
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err(texts::not_an_address()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for right in ["localhost:5000", "127.0.0.1:1", "[::1]:65535", "example.com:80"] {
            assert_eq!(address(right), Ok(right.to_owned()));
        }
        for wrong in [
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
            "http://h:80",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
