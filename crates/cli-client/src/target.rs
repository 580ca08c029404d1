//! The servers and their endpoints: from `--addr`, the environment, or the default.

use std::env;

use clap::Arg;
use proto::endpoint::Endpoint;

use crate::error::CliError;
use crate::language::{explain, texts};

#[derive(Clone, Copy, Debug)]
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
        let (_, variable, default) = self.parts();
        let value = match (given, env::var(variable)) {
            (Some(given), _) => return Ok(given),
            (None, Err(env::VarError::NotUnicode(_))) => {
                return Err(CliError::Usage(texts::variable_not_text(variable)));
            }
            (None, value) => value.ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()),
        };
        endpoint(&value).map_err(|expected| CliError::Usage(texts::in_variable(variable, &value, expected)))
    }
}

/// Parses an endpoint to which a client can connect.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    match text.parse() {
        Ok(Endpoint::Inherited { .. }) => Err(texts::not_for_clients()),
        Ok(endpoint) => Ok(endpoint),
        Err(error) => Err(explain::endpoint(error)),
    }
}
