//! The endpoints of a listener as a configuration value, and the conflicts between those of different keys.
//!
//! It depends on `builder` and on [`endpoint`](crate::endpoint).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::de::{Deserialize, Deserializer, Error, Expected, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::builder::Conflict;
use crate::endpoint::{Endpoint, InvalidEndpoint};

/// The endpoint of a server, whose TCP addresses are IP addresses.
pub type ServerEndpoint = Endpoint<SocketAddr>;

/// At least `MIN` endpoints: one, or a TOML list of them. A string with commas is a list too, for arguments and environment
/// variables. With `MIN` 0, `""` is the empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointList<const MIN: usize>(Vec<ServerEndpoint>);

/// Maximum endpoints of a list: each has an accept loop.
const MAX_ENDPOINTS: usize = 64;

impl<const MIN: usize> EndpointList<MIN> {
    /// Creates a list of one TCP endpoint on the loopback address.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self(vec![Endpoint::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))])
    }

    /// Returns the endpoints, all different.
    #[must_use]
    pub fn as_slice(&self) -> &[ServerEndpoint] {
        &self.0
    }

    /// Whether the listener is off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn new<E: Error>(texts: &[&str], expected: &dyn Expected) -> Result<Self, E> {
        // Checked before the pairs are compared, which takes quadratic time.
        if texts.len() > MAX_ENDPOINTS {
            return Err(E::custom(format_args!("{} endpoints; at most {MAX_ENDPOINTS} are allowed", texts.len())));
        }
        if texts.is_empty() {
            return Err(E::invalid_value(Unexpected::Other("an empty list"), expected));
        }
        let mut endpoints = Vec::<ServerEndpoint>::with_capacity(texts.len());
        for text in texts {
            let invalid = |reason: InvalidEndpoint| {
                E::invalid_value(Unexpected::Other(&format!("string {text:?} ({reason})")), expected)
            };
            let endpoint: ServerEndpoint = text.parse().map_err(invalid)?;
            match endpoints.iter().find(|other| endpoint.has_same_socket(other)) {
                None => endpoints.push(endpoint),
                Some(other) if *other == endpoint => {
                    return Err(E::custom(format_args!("{endpoint} is in the list twice")));
                }
                Some(other) => {
                    let same = if let Endpoint::Inherited { .. } = endpoint { "name" } else { "address and port" };
                    return Err(E::custom(format_args!("{other} and {endpoint} have the same {same}; remove one")));
                }
            }
        }
        Ok(Self(endpoints))
    }
}

impl<const MIN: usize> Serialize for EndpointList<MIN> {
    /// Serializes one endpoint as a string, unless that would parse as a list.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        match &texts[..] {
            [] => serializer.serialize_str(""),
            [one] if !one.contains(',') => serializer.serialize_str(one),
            list => serializer.collect_seq(list),
        }
    }
}

impl<'de, const MIN: usize> Deserialize<'de> for EndpointList<MIN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EndpointsVisitor<const MIN: usize>;
        impl<'de, const MIN: usize> Visitor<'de> for EndpointsVisitor<MIN> {
            type Value = EndpointList<MIN>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an IP address and a port, such as \"127.0.0.1:5000\" or \"tls://[::1]:5000\", or \"unix:PATH\", \
                     \"fd:NAME\" or \"tls+fd:NAME\", or a list of them",
                )?;
                if MIN == 0 { f.write_str(", or \"\" for off") } else { Ok(()) }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.is_empty() && MIN == 0 {
                    return Ok(EndpointList(Vec::new()));
                }
                let texts: Vec<_> = text.split(',').map(str::trim).collect();
                EndpointList::new(&texts, &self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::<String>::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                EndpointList::new(&texts.iter().map(String::as_str).collect::<Vec<_>>(), &self)
            }
        }
        deserializer.deserialize_any(EndpointsVisitor)
    }
}

/// Returns a conflict for each pair of keys that have an endpoint in common.
pub(crate) fn conflicts(listeners: &[(&'static str, &[ServerEndpoint])]) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (index, (key, endpoints)) in listeners.iter().enumerate() {
        for (other_key, others) in &listeners[..index] {
            let is_taken = |endpoint: &&ServerEndpoint| others.iter().any(|other| endpoint.has_same_socket(other));
            if let Some(endpoint) = endpoints.iter().find(is_taken) {
                conflicts.push(Conflict {
                    keys: [key, other_key],
                    problem: format!("both cannot listen on {endpoint}"),
                    remedy: "give each listener an endpoint of its own",
                });
            }
        }
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::*;

    fn parse<const MIN: usize>(value: impl Into<Value>) -> Result<EndpointList<MIN>, String> {
        value.into().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_list_has_one_or_more_endpoints_and_prints_as_it_parses() {
        let value = |endpoints: EndpointList<0>| Value::try_from(endpoints).unwrap();
        for text in ["127.0.0.1:0", "[::]:5000", "tls://0.0.0.0:5000", "unix:/run/power.sock", "fd:power", "fd:", ""] {
            assert_eq!(value(parse(text).unwrap()), Value::from(text));
        }
        let list = Value::from(vec!["127.0.0.1:1", "unix:a"]);
        assert_eq!(value(parse(list.clone()).unwrap()), list);
        assert_eq!(value(parse("127.0.0.1:1, unix:a").unwrap()), list);
        let comma = Value::from(vec!["unix:a,b"]);
        assert_eq!(value(parse(comma.clone()).unwrap()), comma, "a string with a comma is a list of two");
        assert_eq!(value(parse("tcp://127.0.0.1:1").unwrap()), Value::from("127.0.0.1:1"));
    }

    #[test]
    fn the_error_of_an_invalid_list_names_the_element_and_what_is_valid() {
        for (invalid, shown) in [
            (Value::from("localhost"), "string \"localhost\" (the port is missing or invalid)"),
            (Value::from("127.0.0.1"), "string \"127.0.0.1\" (the port is missing or invalid)"),
            (Value::from("localhost:5000"), "string \"localhost:5000\" (the host is not an IP address)"),
            (Value::from("tsl://[::1]:1"), "string \"tsl://[::1]:1\" (the scheme is unknown)"),
            (Value::from("127.0.0.1:1,"), "string \"\" (the host "),
            (Value::from(vec!["127.0.0.1:1", ""]), "string \"\" (the host "),
            (Value::from(vec![""]), "string \"\" (the host "),
            (Value::from(5000), "integer `5000`"),
            (Value::Array(Vec::new()), "invalid value: an empty list"),
        ] {
            let error = parse::<0>(invalid).unwrap_err();
            assert!(error.contains(shown) && error.contains("an IP address and a port, such as"), "{error}");
            assert!(error.ends_with("or \"\" for off"), "{error}");
        }
        assert!(parse::<1>("").unwrap_err().ends_with("or a list of them"));
        for (twice, error) in [
            ("127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1 is in the list twice"),
            (
                "127.0.0.1:1,tls://127.0.0.1:1",
                "127.0.0.1:1 and tls://127.0.0.1:1 have the same address and port; remove one",
            ),
            ("unix:a,unix:a", "unix:a is in the list twice"),
            ("fd:a,tls+fd:a", "fd:a and tls+fd:a have the same name; remove one"),
        ] {
            assert_eq!(parse::<1>(twice).unwrap_err(), error);
        }
        assert!(parse::<1>("127.0.0.1:0,127.0.0.1:0").is_ok(), "two free ports");
        let many = Value::from((0..65).map(|_| "unix:a".to_owned()).collect::<Vec<_>>());
        assert_eq!(parse::<1>(many).unwrap_err(), "65 endpoints; at most 64 are allowed");
    }

    #[test]
    fn keys_with_a_common_endpoint_are_a_conflict() {
        let list = |text: &str| parse::<0>(text).unwrap();
        let (solo, duel, admin) = (list("127.0.0.1:1,unix:a"), list("127.0.0.1:2,unix:a"), list("tls://127.0.0.1:2"));
        let listeners =
            [("solo.listen", solo.as_slice()), ("duel.listen", duel.as_slice()), ("admin.listen", admin.as_slice())];
        let found: Vec<_> =
            conflicts(&listeners).into_iter().map(|conflict| (conflict.keys, conflict.problem)).collect();
        let on = |endpoint: &str| format!("both cannot listen on {endpoint}");
        assert_eq!(
            found,
            [
                (["duel.listen", "solo.listen"], on("unix:a")),
                (["admin.listen", "duel.listen"], on("tls://127.0.0.1:2")),
            ]
        );
    }
}
