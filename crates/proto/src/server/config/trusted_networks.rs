//! `[proxy_protocol]`: the networks whose connections begin with a PROXY header.
//!
//! It depends on no other module of this crate. Each type serializes to the text that it is parsed from; an address is
//! printed in its usual form, an IPv4-mapped one as IPv4.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// `[proxy_protocol]`.
///
/// Off by default: otherwise a client without a proxy could forge its address, and one that sends no header would be closed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ProxyProtocolConfig {
    /// Connections from these networks begin with a PROXY v1 or v2 header.
    pub trusted: TrustedNetworks,
}

/// A set of IP networks, IP addresses and `"unix"`, the peers of Unix sockets. Empty by default.
///
/// In TOML it is a list of strings, or one string with commas, as flags and variables have it; `""` is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedNetworks(Vec<Entry>);

impl TrustedNetworks {
    /// The maximum number of entries. Each new connection is compared with all of them.
    const MAX_ENTRIES: usize = 256;

    /// Returns whether connections from this peer begin with a header. `None` is a peer of a Unix socket.
    ///
    /// An IPv4-mapped IPv6 address counts as IPv4, so `::/0` does not contain it. Takes O(entries).
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let peer = peer.map(|ip| ip.to_canonical());
        self.0.iter().any(|entry| match (entry, peer) {
            (Entry::Unix, None) => true,
            (Entry::Address(address), Some(ip)) => *address == ip,
            (Entry::Network(network), Some(ip)) => network.contains(&ip),
            _ => false,
        })
    }

    fn push<E: Error>(&mut self, entry: Entry) -> Result<(), E> {
        if self.0.len() >= Self::MAX_ENTRIES {
            return Err(E::custom(format_args!(
                "more than {} networks; write a wider network instead of its parts",
                Self::MAX_ENTRIES
            )));
        }
        self.0.push(entry);
        Ok(())
    }
}

impl Serialize for TrustedNetworks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrustedNetworks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrustedNetworksVisitor;
        impl<'de> Visitor<'de> for TrustedNetworksVisitor {
            type Value = TrustedNetworks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list such as [\"10.0.0.0/8\", \"127.0.0.1\", \"unix\"]")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let mut networks = TrustedNetworks::default();
                if !text.is_empty() {
                    for entry in text.split(',') {
                        networks.push(Entry::parse(entry.trim())?)?;
                    }
                }
                Ok(networks)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut networks = TrustedNetworks::default();
                while let Some(entry) = entries.next_element()? {
                    networks.push(entry)?;
                }
                Ok(networks)
            }
        }
        deserializer.deserialize_any(TrustedNetworksVisitor)
    }
}

/// An element of the set. Addresses are canonical: an IPv4-mapped IPv6 address is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Unix,
    Address(IpAddr),
    Network(IpNet),
}

impl Entry {
    fn parse<E: Error>(text: &str) -> Result<Self, E> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let invalid = || E::invalid_value(Unexpected::Str(text), &EntryVisitor);
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(|ip: IpAddr| Self::Address(ip.to_canonical())).map_err(|_| invalid());
        };
        // `parse` also accepts leading zeros and a plus.
        let prefix = prefix.parse().ok().filter(|number: &u8| number.to_string() == prefix).ok_or_else(invalid)?;
        let address = address.parse().map_err(|_| invalid())?;
        let network = IpNet::new(address, prefix).map_err(|_| invalid())?;
        if network != network.trunc() {
            return Err(E::custom(format_args!("{text}: host bits are set; write {}", network.trunc())));
        }
        Ok(Self::Network(canonical(network)))
    }
}

/// Returns the IPv4 network of the IPv4-mapped addresses, if the network has only those.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    v6.addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96))
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unix => serializer.serialize_str("unix"),
            Self::Address(address) => serializer.collect_str(address),
            Self::Network(network) => serializer.collect_str(network),
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl Visitor<'_> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP network such as \"10.0.0.0/8\", an IP address such as \"127.0.0.1\", or \"unix\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Entry::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::{Table, Value};

    fn parse(value: impl Into<Value>) -> Result<TrustedNetworks, String> {
        value.into().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    fn list(entries: &[&str]) -> Value {
        entries.iter().copied().map(Value::from).collect::<Vec<_>>().into()
    }

    #[test]
    fn networks_are_printed_as_written() {
        let texts = [
            "10.0.0.0/8",
            "127.0.0.1",
            "192.0.2.1/32",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::1",
            "::1/128",
            "::/0",
            "fc00::/7",
            "unix",
        ];
        let networks = parse(list(&texts)).unwrap();
        assert_eq!(Value::try_from(&networks), Ok(list(&texts)));
        assert_eq!(parse(texts.join(",")), Ok(networks.clone()));
        assert_eq!(parse(texts.join(" , ")), Ok(networks));
        for (text, printed) in [
            ("2001:0DB8::0/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:7f00:1", "127.0.0.1"),
        ] {
            assert_eq!(Value::try_from(parse(text).unwrap()), Ok(list(&[printed])));
        }
    }

    #[test]
    fn nothing_is_trusted_by_default() {
        let config: ProxyProtocolConfig = toml::from_str("trusted = []").unwrap();
        assert_eq!(config, ProxyProtocolConfig::default());
        assert_eq!(Table::try_from(&config).unwrap().to_string(), "trusted = []\n");
        for empty in [Value::from(""), list(&[])] {
            let networks = parse(empty).unwrap();
            assert!(networks.0.is_empty());
            for peer in [None, Some("127.0.0.1"), Some("::1"), Some("0.0.0.0")] {
                assert!(!networks.trusts(peer.map(|peer| peer.parse().unwrap())));
            }
        }
    }

    #[test]
    fn a_peer_is_trusted_if_a_network_contains_it() {
        for (entry, peer, expected) in [
            ("10.0.0.0/8", Some("10.255.0.1"), true),
            ("10.0.0.0/8", Some("11.0.0.0"), false),
            ("10.0.0.0/8", Some("::ffff:10.255.0.1"), true),
            ("10.0.0.0/8", Some("::10.255.0.1"), false),
            ("10.0.0.0/8", None, false),
            ("127.0.0.1", Some("127.0.0.1"), true),
            ("127.0.0.1", Some("127.0.0.2"), false),
            ("127.0.0.1", Some("::ffff:127.0.0.1"), true),
            ("::ffff:127.0.0.1", Some("127.0.0.1"), true),
            ("::ffff:10.0.0.0/104", Some("10.255.0.1"), true),
            ("::ffff:10.0.0.0/104", Some("11.0.0.1"), false),
            ("::ffff:0:0/96", Some("192.0.2.1"), true),
            ("0.0.0.0/0", Some("::ffff:1.2.3.4"), true),
            ("0.0.0.0/0", Some("::1"), false),
            ("::/0", Some("2001:db8::1"), true),
            ("::/0", Some("::ffff:1.2.3.4"), false),
            ("::/0", Some("1.2.3.4"), false),
            ("::/0", None, false),
            ("2001:db8::/33", Some("2001:db8:7fff::1"), true),
            ("2001:db8::/33", Some("2001:db8:8000::1"), false),
            ("unix", None, true),
            ("unix", Some("127.0.0.1"), false),
        ] {
            let networks = parse(list(&["192.0.2.77", entry])).unwrap();
            assert_eq!(networks.trusts(peer.map(|peer| peer.parse().unwrap())), expected, "{entry}, {peer:?}");
        }
    }

    #[test]
    fn the_error_of_a_network_with_host_bits_names_the_right_network() {
        for (text, right) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("192.0.2.1/31", "192.0.2.0/31"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.0.0.1/104", "::ffff:10.0.0.0/104"),
        ] {
            let expected = format!("{text}: host bits are set; write {right}");
            assert_eq!(parse(text), Err(expected.clone()));
            assert_eq!(parse(list(&[right, text])).unwrap_err().lines().next(), Some(&*expected));
            assert!(parse(right).is_ok());
        }
    }

    #[test]
    fn the_error_of_an_entry_names_what_is_valid() {
        let expected =
            "expected an IP network such as \"10.0.0.0/8\", an IP address such as \"127.0.0.1\", or \"unix\"";
        for text in [
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0.0/255.0.0.0",
            "10/8",
            "::/129",
            "[::1]",
            "fe80::1%lo",
            "127.0.0.1:80",
            "010.0.0.0/8",
            "UNIX",
            "unix:/run/a",
            " ",
            "/8",
        ] {
            let shown = format!("invalid value: string \"{}\", {expected}", text.trim());
            assert_eq!(parse(text), Err(shown));
            assert!(parse(list(&["10.0.0.0/8", text])).unwrap_err().contains(expected), "{text}");
        }
        for text in ["10.0.0.0/8,", ",", "unix,,127.0.0.1"] {
            assert_eq!(parse(text), Err(format!("invalid value: string \"\", {expected}")));
        }
        assert!(parse(list(&[""])).unwrap_err().contains(expected));
        assert!(parse(vec![Value::from(7)]).unwrap_err().contains("integer `7`, expected an IP network"));
        assert!(parse(7).unwrap_err().contains("integer `7`, expected a list such as"));
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let addresses = |count: u8| (0..=count).map(|last| format!("10.0.0.{last}")).collect::<Vec<_>>();
        let most = addresses(255);
        assert!(parse(most.clone()).is_ok());
        assert!(parse(most.join(",")).is_ok());
        let more = [most, addresses(0)].concat();
        let error = "more than 256 networks; write a wider network instead of its parts";
        assert_eq!(parse(more.join(",")).unwrap_err(), error);
        assert_eq!(parse(more).unwrap_err().lines().next(), Some(error));
    }
}
