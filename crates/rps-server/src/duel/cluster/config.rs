//! The table `[duel.cluster]`.

use std::fmt;

use proto::endpoint::Endpoint;
use proto::server::config::{Conflict, EndpointList, InvalidKey, TlsConfig};
use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize};

use super::engine::{EngineSetting, InvalidAddress, check_address};
use super::secret::{self, LinkSecret};

/// `[duel.cluster]`: duels between players of different replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// The engine; off if empty.
    pub engine: EngineSetting,
    /// The endpoints for other replicas.
    pub listen: EndpointList<1>,
    /// How other replicas reach the first of these endpoints.
    pub advertise: Advertise,
    /// A file with a secret that all replicas share. `""` for none.
    pub secret_file: String,
    /// The name of the lobby.
    pub name: LobbyName,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            engine: EngineSetting::default(),
            listen: EndpointList::loopback(5003),
            advertise: Advertise(String::new()),
            secret_file: String::new(),
            name: LobbyName("rps".to_owned()),
        }
    }
}

impl ClusterConfig {
    /// Whether players of other replicas are opponents too.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.engine.url().is_some()
    }

    /// Returns the keys that do not fit together.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        let first = self.listen.as_slice().first().filter(|_| self.is_on() && self.advertise.0.is_empty())?;
        let is_reachable = match first {
            Endpoint::Tcp(address) | Endpoint::Tls(address) => !address.ip().is_unspecified(),
            Endpoint::Unix(_) => true,
            Endpoint::Inherited { .. } => false,
        };
        (!is_reachable).then(|| Conflict {
            keys: ["duel.cluster.advertise", "duel.cluster.listen"],
            problem: format!("other replicas cannot connect to {first}"),
            remedy: "set duel.cluster.advertise to the address of this replica, such as \"10.0.0.7:5003\"",
        })
    }

    /// Reads the secret; an empty one without a file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or its secret is too short.
    pub fn secret(&self) -> Result<LinkSecret, InvalidKey> {
        let secret = if self.secret_file.is_empty() { Ok(String::new()) } else { secret::read(&self.secret_file) };
        let secret = secret.map_err(|problem| InvalidKey { key: "duel.cluster.secret_file", problem })?;
        Ok(LinkSecret::new(&secret, &self.name.0))
    }

    /// Whether a peer without a secret or a replica's certificate can act as a replica. If `clients_use_tls`, the clients of
    /// the games may have certificates of the same authority.
    #[must_use]
    pub fn is_unprotected(&self, tls: &TlsConfig, clients_use_tls: bool) -> bool {
        let has_certificates = !tls.client_ca.is_empty() && !clients_use_tls;
        let is_open = |endpoint: &Endpoint<std::net::SocketAddr>| match endpoint {
            Endpoint::Tcp(address) => !address.ip().is_loopback(),
            Endpoint::Tls(address) => !has_certificates && !address.ip().is_loopback(),
            Endpoint::Unix(_) => false,
            Endpoint::Inherited { tls: is_tls, .. } => !is_tls || !has_certificates,
        };
        self.is_on() && self.secret_file.is_empty() && self.listen.as_slice().iter().any(is_open)
    }
}

/// An endpoint, as other replicas reach it; empty for that of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advertise(String);

impl Advertise {
    /// Returns the endpoint, or `listening` if it is empty.
    #[must_use]
    pub fn or(&self, listening: String) -> String {
        if self.0.is_empty() { listening } else { self.0.clone() }
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a host and a port, such as \"10.0.0.7:5003\" or \"tls://rps-1.example:5003\", or \"unix:PATH\", \
                        or \"\" for the address of duel.cluster.listen";
        let problem = match text.parse::<Endpoint>() {
            _ if text.is_empty() => return Ok(Self(text)),
            Ok(Endpoint::Inherited { .. }) => "only a server can use an inherited socket".to_owned(),
            Ok(_) => match check_address(&text) {
                Ok(()) => return Ok(Self(text)),
                Err(InvalidAddress) => InvalidAddress.to_string(),
            },
            Err(reason) => reason.to_string(),
        };
        Err(D::Error::invalid_value(Unexpected::Other(&format!("string {text:?} ({problem})")), &expected))
    }
}

/// The name of a lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LobbyName(String);

impl fmt::Display for LobbyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LobbyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(is_in_name) {
            return Ok(Self(text));
        }
        let expected = "1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.' and ':'";
        Err(D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}
