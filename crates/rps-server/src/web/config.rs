//! `[web]`: the endpoints for browsers.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Deref;

use proto::server::config::EndpointList;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// `[web]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WebConfig {
    /// The endpoints to listen on; off if empty.
    pub listen: EndpointList<0>,
    /// The origins of other pages that may open WebSocket connections.
    pub origins: Origins,
}

/// A list of origins (RFC 6454), such as `https://game.example`. Empty by default.
///
/// In TOML it is a list of strings, or one string with commas, as arguments and variables have it; `""` is the empty
/// list.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Origins(Vec<String>);

impl Origins {
    /// The maximum number of origins. Each request of a page is compared with all of them.
    const MAX_ORIGINS: usize = 64;

    fn push<E: Error>(&mut self, origin: &str) -> Result<(), E> {
        if self.0.len() >= Self::MAX_ORIGINS {
            return Err(E::custom(format_args!("more than {} origins", Self::MAX_ORIGINS)));
        }
        if !is_origin(origin) {
            return Err(E::invalid_value(Unexpected::Str(origin), &OriginsVisitor));
        }
        self.0.push(origin.to_ascii_lowercase());
        Ok(())
    }
}

impl Deref for Origins {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// Whether a browser can send this origin: scheme, host, and a port that is not the default of the scheme.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        let number = port.parse::<u16>().ok();
        number.is_some_and(|number| number != default_port && number != 0 && number.to_string() == port)
    };
    let is_in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_in_label);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_host && port.is_none_or(is_port)
}

struct OriginsVisitor;

impl<'de> Visitor<'de> for OriginsVisitor {
    type Value = Origins;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a list of origins such as [\"https://game.example\", \"http://10.0.0.7:8080\"], without a path or a default \
             port",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Origins, E> {
        let mut origins = Origins::default();
        if !text.is_empty() {
            for origin in text.split(',') {
                origins.push(origin.trim())?;
            }
        }
        Ok(origins)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Origins, A::Error> {
        let mut origins = Origins::default();
        while let Some(origin) = elements.next_element::<String>()? {
            origins.push(&origin)?;
        }
        Ok(origins)
    }
}

impl<'de> Deserialize<'de> for Origins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OriginsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: impl Into<toml::Value>) -> Result<Origins, String> {
        value.into().try_into().map_err(|error: toml::de::Error| error.to_string())
    }

    #[test]
    fn origins_are_a_list_or_a_text_with_commas() {
        let expected = Origins(vec!["https://game.example".to_owned(), "http://[::1]:8080".to_owned()]);
        assert_eq!(parse("https://Game.example, http://[::1]:8080").unwrap(), expected);
        assert_eq!(parse(vec!["https://game.example", "http://[::1]:8080"]).unwrap(), expected);
        assert_eq!(parse("").unwrap(), Origins::default());
    }

    #[test]
    fn a_text_that_no_browser_sends_is_an_error() {
        for text in [
            "*",
            "game.example",
            "https://",
            "https://:8443",
            "https://game.example/",
            "https://game.example:443",
            "http://game.example:080",
            "http://game.example:65536",
            "http://user@game.example",
            "ftp://game.example",
            "https://spiel.exämple",
            "http://[::1",
            "http://]",
            "http://[game.example]",
            "http://a:b:81",
            "https://...",
            "http://game.example:",
            "http://game.example:0",
            "https://a,",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("a list of origins such as"), "{text}: {error}");
        }
        let many = vec!["https://game.example"; Origins::MAX_ORIGINS + 1].join(",");
        assert!(parse(many).unwrap_err().contains("more than 64 origins"));
    }
}
