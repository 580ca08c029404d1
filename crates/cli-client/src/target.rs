//! The servers and their endpoints: from `--addr`, the environment, or the default.

use std::env;

use clap::Arg;
use proto::endpoint::Endpoint;

use crate::error::CliError;
use crate::language::{explain, texts};

/// Maximum endpoints of a command, as in the configuration of the servers.
const MAX_ENDPOINTS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Power,
    Rps,
    Duel,
}

impl Target {
    /// Returns the name, the environment variable for the address, and the default address.
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

    /// Returns the help of `--addr`.
    pub(crate) fn addr_help(self) -> String {
        let (_, variable, default) = self.parts();
        texts::addr(variable, default)
    }

    /// Returns the help of an `--addr` that takes several endpoints.
    pub(crate) fn addrs_help(self) -> String {
        let (_, variable, default) = self.parts();
        texts::addrs(variable, default)
    }

    /// Sets the help of the argument `--addr`.
    pub(crate) fn describe_addr(self, argument: Arg) -> Arg {
        if argument.get_id() == "addr" { argument.help(self.addr_help()) } else { argument }
    }

    /// Returns the endpoint from `--addr`, the environment, or the default, in this order. An empty variable counts as
    /// unset.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] if the environment variable is not an endpoint.
    pub(crate) fn endpoint(self, given: Option<Endpoint>) -> Result<Endpoint, CliError> {
        given.map_or_else(|| self.parse(&self.variable()?), Ok)
    }

    /// Returns the endpoints from all `--addr`, the environment, or the default, in this order. A variable has them
    /// separated by commas.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] if the environment variable is not a list of endpoints, if an endpoint occurs twice, or if
    /// there are more than [`MAX_ENDPOINTS`].
    pub(crate) fn endpoints(self, given: Vec<Endpoint>) -> Result<Vec<Endpoint>, CliError> {
        let (_, variable, _) = self.parts();
        let (source, endpoints) = if given.is_empty() {
            let parsed: Result<_, _> = self.variable()?.split(',').map(|element| self.parse(element)).collect();
            (variable, parsed?)
        } else {
            ("--addr", given)
        };
        // Checked before the pairs are compared, which takes quadratic time.
        if endpoints.len() > MAX_ENDPOINTS {
            return Err(CliError::Usage(texts::too_many_endpoints(source, endpoints.len(), MAX_ENDPOINTS)));
        }
        let is_repeated = |&(number, endpoint): &(usize, &Endpoint)| endpoints[..number].contains(endpoint);
        match endpoints.iter().enumerate().find(is_repeated) {
            Some((_, endpoint)) => Err(CliError::Usage(texts::repeated_endpoint(source, endpoint))),
            None => Ok(endpoints),
        }
    }

    /// Returns the value of the environment variable, or the default.
    fn variable(self) -> Result<String, CliError> {
        let (_, variable, default) = self.parts();
        match env::var(variable) {
            Err(env::VarError::NotUnicode(_)) => Err(CliError::Usage(texts::variable_not_text(variable))),
            value => Ok(value.ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())),
        }
    }

    /// Parses an endpoint of the environment variable.
    fn parse(self, text: &str) -> Result<Endpoint, CliError> {
        let (_, variable, _) = self.parts();
        endpoint(text).map_err(|expected| CliError::Usage(texts::in_variable(variable, text, expected)))
    }
}

/// Parses an endpoint to which a client can connect. Ignores blanks around it, which a list may have.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(texts::not_an_endpoint(texts::no_address()));
    }
    // A single comma may belong to the path of a Unix socket.
    if text.contains(',') && text.split(',').all(|element| element.trim().parse::<Endpoint>().is_ok()) {
        return Err(texts::one_endpoint());
    }
    match text.parse() {
        Ok(Endpoint::Inherited { .. }) => Err(texts::not_for_clients()),
        Ok(endpoint) => Ok(endpoint),
        Err(error) => Err(explain::endpoint(error)),
    }
}
