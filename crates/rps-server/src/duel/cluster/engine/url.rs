//! The URL of the engine as a configuration value.
//!
//! It depends on `serde` and on the [endpoints](proto::endpoint) of servers. The notation is that of other clients of
//! Redis where they agree. No error, log line or debug output contains the password.
//!
//! | URL                                                          | engine                                         |
//! |--------------------------------------------------------------|------------------------------------------------|
//! | `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`                   | a server, or a node of a cluster; port 6379    |
//! | `redis+unix://PATH[?db=DB&user=USER&pass=PASSWORD]`          | a server, through a Unix socket                |
//! | `redis-sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DB]` | the server that Sentinel names; its port 26379 |
//! | `redis-cluster://[USER:PASSWORD@]HOST[:PORT],…`              | a cluster, by some of its nodes; port 6379     |
//!
//! `rediss://`, `rediss-sentinel://` and `rediss-cluster://` use TLS for all connections. `valkey` is another name for
//! `redis` in all of them. In user, password and path, a percent sign and two hexadecimal digits are a byte. A password
//! without a user is `:PASSWORD@`.

use std::fmt::{self, Write};
use std::str::FromStr;

use proto::endpoint::{Endpoint, HostPort, InvalidEndpoint};
use serde::de::{Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;

/// Maximum servers in a URL: with more of them, a connection attempt would take long when all are down.
const MAX_SERVERS: usize = 16;

/// Where the engine is, and the credentials for it. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl {
    /// `redis` or `valkey`.
    brand: &'static str,
    pub(super) servers: Servers,
    pub(super) is_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: u32,
}

/// How to find the server that has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    /// It is this server.
    One(Endpoint),
    /// One of these instances of Sentinel names the server with this name.
    Sentinel { sentinels: Vec<Endpoint>, master: String },
    /// One of these nodes redirects to the node that has the key.
    Cluster(Vec<Endpoint>),
}

/// Why a text is not the URL of an engine. The text is not part of it, because a part of a mistyped URL can be the
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidUrl {
    /// The scheme is unknown.
    #[error("the scheme is unknown")]
    Scheme,
    /// A server is not a host and a port.
    #[error("in a server's address, {0}")]
    Server(InvalidEndpoint),
    /// The path of a Unix socket is not absolute.
    #[error("the path of the socket does not begin with '/'")]
    RelativePath,
    /// There are too many servers.
    #[error("there are more than {MAX_SERVERS} servers")]
    TooManyServers,
    /// A single server is expected.
    #[error("there is more than one server; list several only with redis-sentinel or redis-cluster")]
    OneServer,
    /// The name of the monitored server is missing.
    #[error("the name of the server that Sentinel monitors is missing after the addresses, as in /mymaster")]
    NoMaster,
    /// The database is not a number.
    #[error("the database is not a whole number")]
    Database,
    /// A cluster has one database.
    #[error("a cluster has only database 0")]
    ClusterDatabase,
    /// There is a user and no password.
    #[error("the user has no password")]
    NoPassword,
    /// The query of the URL of a socket has another key.
    #[error("the query has another key than db, user and pass, or one of them twice")]
    Query,
    /// A percent sign is not followed by two digits, or the bytes are not valid UTF-8.
    #[error("a percent sign is not followed by two hexadecimal digits of valid UTF-8; write %25 for it")]
    Escape,
}

/// The valid URLs, for errors.
const EXPECTED: &str = "a URL such as \"redis://HOST:PORT/DB\" or \"rediss://HOST:PORT\" (TLS), with USER:PASSWORD@ \
                        before the host if the server requires them, \
                        \"redis+unix:///PATH\", \"redis-sentinel://HOST:PORT,HOST:PORT/MASTER\" or \
                        \"redis-cluster://HOST:PORT,HOST:PORT\"";

impl FromStr for EngineUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let (brand, kind) = ["redis", "valkey"]
            .into_iter()
            .find_map(|brand| Some((brand, scheme.strip_prefix(brand)?)))
            .ok_or(InvalidUrl::Scheme)?;
        if kind == "+unix" {
            return Self::parse_unix(brand, rest);
        }
        let is_tls = kind.starts_with('s');
        let kind = kind.strip_prefix('s').unwrap_or(kind);
        // The last '@' ends the credentials, because errors and logs show hosts, and a password can have an '@' or '/'
        // that is not escaped.
        let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(before, after)| (Some(before), after));
        let (user, password) = credentials.map_or(Ok((None, None)), parse_credentials)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let parse_hosts = |port| parse_hosts(hosts, is_tls, port);
        let (servers, db) = match kind {
            "" => (Servers::One(single(parse_hosts("6379")?)?), path),
            "-cluster" => (Servers::Cluster(parse_hosts("6379")?), path),
            "-sentinel" => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                let master = decode(master)?;
                if master.is_empty() {
                    return Err(InvalidUrl::NoMaster);
                }
                (Servers::Sentinel { sentinels: parse_hosts("26379")?, master }, db)
            }
            _ => return Err(InvalidUrl::Scheme),
        };
        let db = parse_db(db)?;
        if db != 0 && matches!(servers, Servers::Cluster(_)) {
            return Err(InvalidUrl::ClusterDatabase);
        }
        Ok(Self { brand, servers, is_tls, user, password, db })
    }
}

impl EngineUrl {
    fn parse_unix(brand: &'static str, rest: &str) -> Result<Self, InvalidUrl> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.starts_with('/') {
            return Err(InvalidUrl::RelativePath);
        }
        let [mut db, mut user, mut password] = [None, None, None];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match key {
                "db" => &mut db,
                "user" => &mut user,
                "pass" => &mut password,
                _ => return Err(InvalidUrl::Query),
            };
            // In a query, other clients take a plus sign for a space.
            if field.replace(decode(&value.replace('+', " "))?).is_some() {
                return Err(InvalidUrl::Query);
            }
        }
        let path = decode(path)?.parse().map_err(InvalidUrl::Server)?;
        let (user, password) = check_credentials(user, password)?;
        let db = parse_db(db.as_deref().unwrap_or_default())?;
        Ok(Self { brand, servers: Servers::One(Endpoint::Unix(path)), is_tls: false, user, password, db })
    }

    /// Replaces the password in a text from outside.
    pub(super) fn hide_password(&self, text: &str) -> String {
        self.password.as_ref().map_or_else(|| text.to_owned(), |password| text.replace(password, HIDDEN))
    }
}

type Credentials = (Option<String>, Option<String>);

fn parse_credentials(text: &str) -> Result<Credentials, InvalidUrl> {
    let (user, password) = text.split_once(':').ok_or(InvalidUrl::NoPassword)?;
    check_credentials(Some(decode(user)?), Some(decode(password)?))
}

/// An empty text counts as missing.
fn check_credentials(user: Option<String>, password: Option<String>) -> Result<Credentials, InvalidUrl> {
    let [user, password] = [user, password].map(|text| text.filter(|text| !text.is_empty()));
    if user.is_some() && password.is_none() { Err(InvalidUrl::NoPassword) } else { Ok((user, password)) }
}

fn parse_hosts(text: &str, is_tls: bool, default_port: &str) -> Result<Vec<Endpoint>, InvalidUrl> {
    let hosts: Vec<_> = text.split(',').collect();
    if hosts.len() > MAX_SERVERS {
        return Err(InvalidUrl::TooManyServers);
    }
    let parse = |host: &&str| -> Result<Endpoint, InvalidEndpoint> {
        // The colons of an IPv6 address are in brackets.
        let has_port = host.rsplit_once(']').map_or(*host, |(_, after)| after).contains(':');
        let address = if has_port { host.parse() } else { format!("{host}:{default_port}").parse() }?;
        Ok(endpoint(address, is_tls))
    };
    hosts.iter().map(parse).collect::<Result<_, _>>().map_err(InvalidUrl::Server)
}

pub(super) fn endpoint(address: HostPort, is_tls: bool) -> Endpoint {
    if is_tls { Endpoint::Tls(address) } else { Endpoint::Tcp(address) }
}

fn single(servers: Vec<Endpoint>) -> Result<Endpoint, InvalidUrl> {
    <[Endpoint; 1]>::try_from(servers).map(|[server]| server).map_err(|_| InvalidUrl::OneServer)
}

fn parse_db(text: &str) -> Result<u32, InvalidUrl> {
    match text {
        "" => Ok(0),
        // `u32::from_str` accepts a sign.
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(InvalidUrl::Database),
        _ => text.parse().map_err(|_| InvalidUrl::Database),
    }
}

/// Decodes percent signs (RFC 3986, section 2.1).
fn decode(text: &str) -> Result<String, InvalidUrl> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(InvalidUrl::Escape)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(InvalidUrl::Escape)?;
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| InvalidUrl::Escape)
}

/// Displays text with all bytes escaped that are not unreserved (RFC 3986, section 2.3), except `/`.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => f.write_char(byte.into()),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

/// Replaces the password in output.
const HIDDEN: &str = "***";

impl fmt::Display for EngineUrl {
    /// Prints the URL with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brand, servers, is_tls, user, password, db } = self;
        let user = user.as_deref().unwrap_or_default();
        if let Servers::One(Endpoint::Unix(path)) = servers {
            write!(f, "{brand}+unix://{}", Encoded(&path.to_string()))?;
            let db = (*db != 0).then(|| format!("db={db}"));
            let user = (!user.is_empty()).then(|| format!("user={}", Encoded(user)));
            let password = password.as_ref().map(|_| format!("pass={HIDDEN}"));
            let query: Vec<_> = [db, user, password].into_iter().flatten().collect();
            return if query.is_empty() { Ok(()) } else { write!(f, "?{}", query.join("&")) };
        }
        let (kind, addresses) = match servers {
            Servers::One(server) => ("", std::slice::from_ref(server)),
            Servers::Sentinel { sentinels, .. } => ("-sentinel", &sentinels[..]),
            Servers::Cluster(nodes) => ("-cluster", &nodes[..]),
        };
        write!(f, "{brand}{}{kind}://", if *is_tls { "s" } else { "" })?;
        if password.is_some() {
            write!(f, "{}:{HIDDEN}@", Encoded(user))?;
        }
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        f.write_str(&addresses.join(",").replace("tls://", ""))?;
        if let Servers::Sentinel { master, .. } = servers {
            write!(f, "/{}", Encoded(master))?;
        }
        if *db == 0 { Ok(()) } else { write!(f, "/{db}") }
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineUrl({self})")
    }
}

/// The configuration value: the URL of an engine, or `""` for off.
///
/// Serializes without the password, for the effective configuration and for the log of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineSetting(Option<EngineUrl>);

impl EngineSetting {
    /// Returns the URL; `None` if the engine is off.
    #[must_use]
    pub fn url(&self) -> Option<&EngineUrl> {
        self.0.as_ref()
    }
}

impl Serialize for EngineSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(url) => serializer.collect_str(url),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for EngineSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EngineVisitor;
        impl Visitor<'_> for EngineVisitor {
            type Value = EngineSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{EXPECTED}, or \"\" for off")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.is_empty() {
                    return Ok(EngineSetting(None));
                }
                let invalid = |reason: InvalidUrl| {
                    E::invalid_value(Unexpected::Other(&format!("URL of an engine ({reason})")), &self)
                };
                text.parse().map(|url| EngineSetting(Some(url))).map_err(invalid)
            }
        }
        deserializer.deserialize_any(EngineVisitor)
    }
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::*;

    fn parse(text: &str) -> EngineUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn urls_print_as_they_parse_without_the_password() {
        for (text, printed) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost/", "redis://localhost:6379"),
            ("redis://127.0.0.1:6380/0", "redis://127.0.0.1:6380"),
            ("redis://[::1]/7", "redis://[::1]:6379/7"),
            ("redis://[::1]:1/7", "redis://[::1]:1/7"),
            ("valkey://a:1", "valkey://a:1"),
            ("valkeys://a:1", "valkeys://a:1"),
            ("rediss://:secret@a:1/2", "rediss://:***@a:1/2"),
            ("redis://user:secret@a:1", "redis://user:***@a:1"),
            ("redis://u%40x:secret@a:1", "redis://u%40x:***@a:1"),
            ("redis://user:a@b/c:secret@a:1", "redis://user:***@a:1"),
            ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
            ("valkey+unix:///a%20b?user=u&db=3&pass=secret", "valkey+unix:///a%20b?db=3&user=u&pass=***"),
            ("redis-sentinel://a,b:1/mymaster", "redis-sentinel://a:26379,b:1/mymaster"),
            ("rediss-sentinel://u:secret@a:1,[::1]/m/4", "rediss-sentinel://u:***@a:1,[::1]:26379/m/4"),
            ("redis-cluster://a,b:1", "redis-cluster://a:6379,b:1"),
            ("valkeys-cluster://:secret@a,b:1/", "valkeys-cluster://:***@a:6379,b:1"),
        ] {
            let url = parse(text);
            assert_eq!(url.to_string(), printed);
            assert_eq!(format!("{url:?}"), format!("EngineUrl({printed})"));
            assert_eq!(parse(printed).to_string(), printed, "the printed URL is valid too");
        }
    }

    #[test]
    fn the_parts_of_a_url_are_decoded() {
        let url = parse("rediss-sentinel://us%3Aer:p%40ss%25%C3%A9@a:1,b/my%2Fmaster/4");
        assert_eq!(url.user.as_deref(), Some("us:er"));
        assert_eq!(url.password.as_deref(), Some("p@ss%é"));
        assert_eq!((url.db, url.is_tls), (4, true));
        let sentinels = ["tls://a:1", "tls://b:26379"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(url.servers, Servers::Sentinel { sentinels, master: "my/master".to_owned() });
        let url = parse("redis+unix:///run/a%2bb?pass=1+2%2B");
        assert_eq!(url.servers, Servers::One("unix:/run/a+b".parse().unwrap()));
        assert_eq!((url.user, url.password.as_deref()), (None, Some("1 2+")));
        let url = parse("redis://:@a");
        assert_eq!((url.user, url.password), (None, None));
    }

    #[test]
    fn other_texts_are_rejected_with_the_reason() {
        use InvalidEndpoint::{Host, PathLength, Port};
        for (text, reason) in [
            ("127.0.0.1:6379", InvalidUrl::Scheme),
            ("http://a:1", InvalidUrl::Scheme),
            ("redis", InvalidUrl::Scheme),
            ("redis:a:1", InvalidUrl::Scheme),
            ("redisss://a:1", InvalidUrl::Scheme),
            ("rediss+unix:///a", InvalidUrl::Scheme),
            ("redis-proxy://a:1", InvalidUrl::Scheme),
            ("redis://", InvalidUrl::Server(Host)),
            ("redis://a:", InvalidUrl::Server(Port)),
            ("redis://a:0", InvalidUrl::Server(Port)),
            ("redis://a:65536", InvalidUrl::Server(Port)),
            ("redis://user:secret", InvalidUrl::Server(Port)),
            ("redis://::1:6379", InvalidUrl::Server(Host)),
            ("redis-cluster://a:1,", InvalidUrl::Server(Host)),
            ("redis://a:1,b:2", InvalidUrl::OneServer),
            ("redis://a:1/x", InvalidUrl::Database),
            ("redis://a:1/+1", InvalidUrl::Database),
            ("redis://a:1/1/2", InvalidUrl::Database),
            ("redis://a:1/4294967296", InvalidUrl::Database),
            ("redis-cluster://a:1/1", InvalidUrl::ClusterDatabase),
            ("redis-sentinel://a:1", InvalidUrl::NoMaster),
            ("redis-sentinel://a:1//2", InvalidUrl::NoMaster),
            ("redis://secret@a:1", InvalidUrl::NoPassword),
            ("redis://user:@a:1", InvalidUrl::NoPassword),
            ("redis://:se%cret@a:1", InvalidUrl::Escape),
            ("redis://:secret%ff@a:1", InvalidUrl::Escape),
            ("redis://:secret%4@a:1", InvalidUrl::Escape),
            ("redis://:secret%+4@a:1", InvalidUrl::Escape),
            ("redis+unix://run/redis.sock", InvalidUrl::RelativePath),
            ("redis+unix:///a?user=u", InvalidUrl::NoPassword),
            ("redis+unix:///a?password=secret", InvalidUrl::Query),
            ("redis+unix:///a?db=1&db=2", InvalidUrl::Query),
        ] {
            assert_eq!(text.parse::<EngineUrl>(), Err(reason), "{text}");
        }
        let path = format!("redis+unix:///{}", "a".repeat(107));
        assert_eq!(path.parse::<EngineUrl>(), Err(InvalidUrl::Server(PathLength(108))));
        let many = format!("redis-cluster://{}", ["a"; MAX_SERVERS + 1].join(","));
        assert_eq!(many.parse::<EngineUrl>(), Err(InvalidUrl::TooManyServers));
    }

    #[test]
    fn the_configuration_value_hides_the_password_in_output_and_errors() {
        let setting = |text: &str| -> Result<EngineSetting, String> {
            Value::from(text).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
        };
        assert_eq!(setting(""), Ok(EngineSetting::default()));
        assert_eq!(Value::try_from(EngineSetting::default()).unwrap(), Value::from(""));
        let valid = setting("redis://user:secret@a:1/2").unwrap();
        assert_eq!(Value::try_from(&valid).unwrap(), Value::from("redis://user:***@a:1/2"));
        assert!(!format!("{valid:?}").contains("secret"));
        for invalid in ["redis://user:secret@a:x", "redis://user:secret", "secret", "redis+unix:///a?x=secret"] {
            let error = setting(invalid).unwrap_err();
            assert!(!error.contains("secret") && error.ends_with("or \"\" for off"), "{error}");
        }
        assert_eq!(
            setting("redis://a:x").unwrap_err(),
            format!(
                "invalid value: URL of an engine (in a server's address, the port is missing or invalid), expected \
                 {EXPECTED}, or \"\" for off"
            )
        );
    }

    #[test]
    fn the_password_is_hidden_in_texts_of_the_server() {
        assert_eq!(parse("redis://:secret@a").hide_password("AUTH 'secret'"), "AUTH '***'");
        assert_eq!(parse("redis://a").hide_password("AUTH"), "AUTH");
    }
}
