//! The servers and their addresses: from `--addr`, the environment, or the default.

use std::env;

use clap::Arg;
use proto::client::Connector;

use crate::error::CliError;
use crate::language::texts;

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

    /// Returns the address from `--addr`, the environment, or the default, in this order. An empty variable counts as
    /// unset.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] if the environment variable is not an address.
    pub(crate) fn address(self, given: Option<String>) -> Result<String, CliError> {
        let (_, variable, default) = self.parts();
        match (given, env::var(variable)) {
            (Some(given), _) => Ok(given),
            (None, Ok(value)) if !value.is_empty() => {
                address(&value).map_err(|expected| CliError::Usage(texts::in_variable(variable, &value, expected)))
            }
            (None, Err(env::VarError::NotUnicode(_))) => Err(CliError::Usage(texts::variable_not_text(variable))),
            (None, _) => Ok(default.to_owned()),
        }
    }
}

/// Parses an address.
pub(crate) fn address(text: &str) -> Result<String, String> {
    text.parse::<Connector>().map(|_| text.to_owned()).map_err(|_| texts::not_an_address())
}
