//! The services and where they listen: `--addr`, the environment, or the default.

use std::env;
use std::net::Ipv6Addr;

use crate::error::CliError;
use crate::language::texts;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Power,
    Rps,
    Duel,
}

impl Service {
    /// The name, the environment variable for the address, and the default address.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Power => ("power", "POWER_ADDR", "127.0.0.1:5000"),
            Self::Rps => ("rps", "RPS_ADDR", "127.0.0.1:5001"),
            Self::Duel => ("duel", "DUEL_ADDR", "127.0.0.1:5002"),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.parts().0
    }

    /// The help of `--addr`.
    pub(crate) fn addr_help(self) -> String {
        let (_, variable, default) = self.parts();
        texts::addr(variable, default)
    }

    /// Returns the address given with `--addr`, or that of the environment, or the default. An empty variable counts as
    /// unset.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`], if the environment has something else than an address.
    pub(crate) fn address(self, given: Option<String>) -> Result<String, CliError> {
        let (_, variable, default) = self.parts();
        match (given, env::var(variable)) {
            (Some(given), _) => Ok(given),
            (None, Ok(value)) if !value.is_empty() => {
                address(&value).map_err(|right| CliError::Usage(texts::in_variable(variable, &value, &right)))
            }
            (None, Err(env::VarError::NotUnicode(_))) => Err(CliError::Usage(texts::variable_is_no_text(variable))),
            (None, _) => Ok(default.to_owned()),
        }
    }
}

/// Parses an address: a host name, an IPv4 address or an IPv6 address in brackets, and a port.
pub(crate) fn address(text: &str) -> Result<String, String> {
    // Without brackets, the last group of an IPv6 address would be taken for the port. A URL is not an address.
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
