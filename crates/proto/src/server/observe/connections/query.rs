//! The filters, the order and the limit of a request for `/connections`.
//!
//! It depends on `snapshot` and on [`quoted`](crate::wire::quoted).

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::snapshot::{Connection, Snapshot};
use crate::wire::quoted::Printable;

/// Which connections to list, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) client: Option<ClientFilter>,
    pub(crate) endpoint: Option<String>,
    pub(crate) min_age: Option<Duration>,
    pub(crate) min_idle: Option<Duration>,
    pub(crate) sort: Sort,
    pub(crate) limit: usize,
}

/// The clients to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFilter {
    /// Clients of Unix sockets.
    Unix,
    /// Clients with an address in this network.
    Network(IpNet),
}

/// The key of the order. Numbers are in descending order, unknown ones last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Age,
    Idle,
    Received,
    Sent,
    RoundTrip,
    /// In ascending order, clients of Unix sockets first.
    Client,
}

impl Sort {
    /// All keys.
    pub(crate) const ALL: [Self; 6] =
        [Self::Age, Self::Idle, Self::Received, Self::Sent, Self::RoundTrip, Self::Client];

    /// Returns the value of the parameter.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Idle => "idle",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::RoundTrip => "rtt",
            Self::Client => "client",
        }
    }
}

/// The parameters.
const PARAMETERS: &str = "client, endpoint, min_age, min_idle, sort and limit";

/// The number of connections in a response.
const DEFAULT_LIMIT: usize = 100;
pub(crate) const MAX_LIMIT: usize = 1000;

/// As in the configuration.
const MAX_DURATION: Duration = Duration::from_hours(365 * 24);

impl Default for Query {
    fn default() -> Self {
        let sort = Sort::default();
        Self { client: None, endpoint: None, min_age: None, min_idle: None, sort, limit: DEFAULT_LIMIT }
    }
}

impl Query {
    /// Parses the query of a URI. The empty value of a parameter counts as none, because a form sends its empty fields
    /// too.
    ///
    /// # Errors
    ///
    /// Returns a sentence about the first wrong parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let wrong = |expected: &str| {
                Err(format!(
                    "{name}={}: not valid; use {expected}",
                    Printable(&value.chars().take(64).collect::<String>())
                ))
            };
            if seen.contains(&name) {
                return Err(format!("{} is given twice; use each parameter once", Printable(&name)));
            }
            match &*name {
                "client" | "endpoint" | "min_age" | "min_idle" | "sort" | "limit" if value.is_empty() => {}
                "client" => match ClientFilter::parse(&value) {
                    None => return wrong("an IP address, a network such as 192.0.2.0/24, or unix"),
                    client => query.client = client,
                },
                "endpoint" => query.endpoint = Some(value.into_owned()),
                "min_age" | "min_idle" => {
                    let duration = humantime::parse_duration(&value).ok().filter(|duration| *duration <= MAX_DURATION);
                    let Some(duration) = duration else {
                        return wrong("a duration with its unit, such as 10s or 5m, up to 365days");
                    };
                    *(if name == "min_age" { &mut query.min_age } else { &mut query.min_idle }) = Some(duration);
                }
                "sort" => match Sort::ALL.into_iter().find(|sort| sort.name() == value) {
                    None => return wrong(&format!("one of {}", Sort::ALL.map(Sort::name).join(", "))),
                    Some(sort) => query.sort = sort,
                },
                "limit" => match value.parse() {
                    Ok(limit @ 1..=MAX_LIMIT) => query.limit = limit,
                    _ => return wrong(&format!("a whole number from 1 to {MAX_LIMIT}")),
                },
                _ => {
                    let name = name.chars().take(64).collect::<String>();
                    return Err(format!("unknown parameter {}; the parameters are {PARAMETERS}", Printable(&name)));
                }
            }
            seen.push(name);
        }
        Ok(query)
    }

    /// Returns the number of connections that match, and the first of them in order, at most as many as the limit.
    ///
    /// # Errors
    ///
    /// Fails if the server has no such endpoint.
    pub(crate) fn select<'a>(&self, snapshot: &'a Snapshot) -> Result<(usize, Vec<&'a Connection>), String> {
        if let Some(endpoint) = &self.endpoint
            && !snapshot.endpoints.iter().any(|known| **known == **endpoint)
        {
            let endpoint = endpoint.chars().take(64).collect::<String>();
            let known = snapshot.endpoints.join(", ");
            return Err(format!("endpoint={}: no such endpoint; the endpoints are {known}", Printable(&endpoint)));
        }
        let mut selected: Vec<_> = snapshot.connections.iter().filter(|connection| self.matches(connection)).collect();
        match self.sort {
            Sort::Age => selected.sort_by_key(|connection| Reverse(connection.age)),
            Sort::Idle => selected.sort_by_key(|connection| Reverse(connection.idle)),
            Sort::Received => selected.sort_by_key(|connection| Reverse(connection.received_bytes)),
            Sort::Sent => selected.sort_by_key(|connection| Reverse(connection.sent_bytes)),
            Sort::RoundTrip => selected.sort_by_key(|connection| Reverse(connection.round_trip)),
            Sort::Client => selected.sort_by_key(|connection| connection.client.map(sort_key)),
        }
        let matching = selected.len();
        selected.truncate(self.limit);
        Ok((matching, selected))
    }

    fn matches(&self, connection: &Connection) -> bool {
        let Self { client, endpoint, min_age, min_idle, .. } = self;
        client.is_none_or(|client| client.matches(connection.client))
            && endpoint.as_ref().is_none_or(|endpoint| **endpoint == *connection.endpoint)
            && min_age.is_none_or(|min| connection.age >= min)
            // A connection whose idle time is unknown does not match.
            && min_idle.is_none_or(|min| connection.idle.is_some_and(|idle| idle >= min))
    }
}

fn sort_key(client: SocketAddr) -> (IpAddr, u16) {
    (client.ip().to_canonical(), client.port())
}

impl fmt::Display for ClientFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl ClientFilter {
    fn parse(text: &str) -> Option<Self> {
        if text == "unix" {
            return Some(Self::Unix);
        }
        let address = |text: &str| Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
        Some(Self::Network(text.parse().ok().or_else(|| address(text))?))
    }

    fn matches(self, client: Option<SocketAddr>) -> bool {
        match (self, client) {
            (Self::Unix, client) => client.is_none(),
            (Self::Network(network), Some(client)) => network.contains(&client.ip().to_canonical()),
            (Self::Network(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parsed_and_its_defaults_apply() {
        let query = Query::parse(
            "client=192.0.2.0%2F24&endpoint=127.0.0.1:5000&min_age=1m+30s&min_idle=10s&sort=rtt&limit=1000",
        );
        assert_eq!(
            query,
            Ok(Query {
                client: Some(ClientFilter::Network("192.0.2.0/24".parse().unwrap())),
                endpoint: Some("127.0.0.1:5000".to_owned()),
                min_age: Some(Duration::from_secs(90)),
                min_idle: Some(Duration::from_secs(10)),
                sort: Sort::RoundTrip,
                limit: 1000,
            })
        );
        assert_eq!(Query::parse(""), Ok(Query::default()));
        assert_eq!(Query::parse("client=&endpoint=&min_age=&min_idle=&sort=&limit="), Ok(Query::default()));
        assert_eq!(Query::parse("client=unix").unwrap().client, Some(ClientFilter::Unix));
        for address in ["192.0.2.7", "%3A%3Affff%3A192.0.2.7", "192.0.2.7/32"] {
            let expected = Some(ClientFilter::Network("192.0.2.7/32".parse().unwrap()));
            let client = Query::parse(&format!("client={address}")).unwrap().client;
            assert_eq!(client, expected, "{address}");
            assert_eq!(
                Query::parse(&format!("client={}", client.unwrap())).unwrap().client,
                expected,
                "as in the form"
            );
        }
    }

    #[test]
    fn a_wrong_parameter_is_an_error_that_says_what_is_right() {
        for (query, error) in [
            (
                "clients=1",
                "unknown parameter clients; the parameters are client, endpoint, min_age, min_idle, sort and limit",
            ),
            ("x=", "unknown parameter x; the parameters are client, endpoint, min_age, min_idle, sort and limit"),
            ("client=&client=unix", "client is given twice; use each parameter once"),
            ("client=unix&client=unix", "client is given twice; use each parameter once"),
            (
                "client=example.com",
                "client=example.com: not valid; use an IP address, a network such as 192.0.2.0/24, or unix",
            ),
            ("min_age=5", "min_age=5: not valid; use a duration with its unit, such as 10s or 5m, up to 365days"),
            (
                "min_idle=9999years",
                "min_idle=9999years: not valid; use a duration with its unit, such as 10s or 5m, up to 365days",
            ),
            ("min_idle=-1s", "min_idle=-1s: not valid; use a duration with its unit, such as 10s or 5m, up to 365days"),
            ("sort=Age", "sort=Age: not valid; use one of age, idle, received, sent, rtt, client"),
            ("limit=0", "limit=0: not valid; use a whole number from 1 to 1000"),
            ("limit=1001", "limit=1001: not valid; use a whole number from 1 to 1000"),
            ("limit=18446744073709551616", "limit=18446744073709551616: not valid; use a whole number from 1 to 1000"),
            ("sort=%1b[31m%0a", "sort=\\u{1b}[31m\\n: not valid; use one of age, idle, received, sent, rtt, client"),
        ] {
            assert_eq!(Query::parse(query).unwrap_err(), error, "{query}");
        }
        let long = Query::parse(&format!("{0}={0}", "x".repeat(4000))).unwrap_err();
        assert!(long.len() < 200, "{long}");
        let long = Query::parse(&format!("limit={}", "9".repeat(4000))).unwrap_err();
        assert!(long.len() < 200, "{long}");
    }

    fn connection(client: Option<&str>, age: u64, idle: Option<u64>, endpoint: &str) -> Connection {
        let mut connection = Connection::for_tests(endpoint);
        connection.client = client.map(|client| client.parse().unwrap());
        connection.age = Duration::from_secs(age);
        connection.idle = idle.map(Duration::from_secs);
        connection.received_bytes = idle;
        connection.sent_bytes = idle.map(|idle| 100 - idle);
        connection.round_trip = idle.map(|idle| Duration::from_micros(idle * 7 % 10));
        connection
    }

    #[test]
    fn connections_are_filtered_and_sorted() {
        let snapshot = Snapshot::for_tests(
            vec![
                connection(Some("192.0.2.9:1"), 10, Some(3), "tcp"),
                connection(Some("[::ffff:192.0.2.10]:1"), 20, Some(2), "tcp"),
                connection(Some("[2001:db8::1]:1"), 30, Some(1), "tcp"),
                connection(None, 40, None, "unix:/a"),
                connection(Some("192.0.2.9:0"), 5, Some(4), "other"),
            ],
            &["tcp", "unix:/a", "other", "empty"],
        );
        let ages = |query: &str| {
            let query = Query::parse(query).unwrap();
            query.select(&snapshot).unwrap().1.iter().map(|connection| connection.age.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(ages(""), [40, 30, 20, 10, 5]);
        assert_eq!(ages("limit=2"), [40, 30]);
        assert_eq!(Query::parse("limit=2&min_age=10s").unwrap().select(&snapshot).unwrap().0, 4);
        assert_eq!(ages("sort=idle"), [5, 10, 20, 30, 40], "unknown ones last");
        assert_eq!(ages("sort=received"), [5, 10, 20, 30, 40]);
        assert_eq!(ages("sort=sent"), [30, 20, 10, 5, 40]);
        assert_eq!(ages("sort=rtt"), [5, 30, 20, 10, 40]);
        assert_eq!(ages("sort=client"), [40, 5, 10, 20, 30]);
        assert_eq!(ages("client=192.0.2.9"), [10, 5]);
        assert_eq!(ages("client=192.0.2.0/24"), [20, 10, 5]);
        assert_eq!(ages("client=192.0.2.0/31"), [0_u64; 0]);
        assert_eq!(ages("client=2001:db8::/32"), [30]);
        assert_eq!(ages("client=unix"), [40]);
        assert_eq!(ages("endpoint=tcp"), [30, 20, 10]);
        assert_eq!(ages("endpoint=empty"), [0_u64; 0]);
        assert_eq!(ages("min_age=20s"), [40, 30, 20]);
        assert_eq!(ages("min_idle=3s"), [10, 5]);
        assert_eq!(ages("min_age=10s&min_idle=2s&endpoint=tcp&sort=client"), [10, 20]);
        assert_eq!(
            Query::parse("endpoint=nowhere").unwrap().select(&snapshot).unwrap_err(),
            "endpoint=nowhere: no such endpoint; the endpoints are tcp, unix:/a, other, empty"
        );
    }
}
