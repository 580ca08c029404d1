//! `--healthcheck`: asks the server that runs with a configuration.
//!
//! It depends on the configuration and on the [`client`](crate::client).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::tls::Tls;
use crate::client::{Connector, Timeouts};
use crate::endpoint::Endpoint;
use crate::server::config::endpoints::ServerEndpoint;
use crate::server::config::sections::ServerConfig;
use crate::server::config::trusted_networks::TrustedNetworks;

/// Calls `ask` with the key of each listener and a connector to one of its endpoints: a plain one, or else one with
/// TLS.
///
/// A health check has no client certificate and no inherited socket. If a listener has only endpoints that need one, it
/// asks `/readyz` of the admin listener instead.
///
/// # Errors
///
/// Returns the first error. Fails if a listener has no endpoint that can be asked.
pub async fn healthcheck<C: ServerConfig>(
    config: &C,
    timeouts: Timeouts,
    mut ask: impl AsyncFnMut(&'static str, Connector) -> Result<(), String>,
) -> Result<(), String> {
    let trusted = &config.proxy_protocol().trusted;
    let mut unreachable = None;
    for (key, endpoints) in config.listeners() {
        if endpoints.is_empty() {
            continue;
        }
        match connector(endpoints, !config.tls().client_ca.is_empty(), trusted) {
            Some(connector) => ask(key, connector.with_timeouts(timeouts)).await?,
            None => unreachable = Some(key),
        }
    }
    let Some(key) = unreachable else { return Ok(()) };
    let admin = config.admin();
    match connector(admin.listen.as_slice(), !admin.client_ca.is_empty(), &TrustedNetworks::default()) {
        Some(connector) => ask_http(&connector.with_timeouts(timeouts), "/readyz", &["200"]).await,
        None => Err(format!(
            "{key}: cannot ask: its endpoints need a client certificate or are inherited, and admin.listen has no endpoint \
             that can be asked instead; add one, such as \"127.0.0.1:9500\""
        )),
    }
}

/// Returns a connector to the first endpoint that can be asked: plain ones come first. With `needs_certificate`,
/// clients of TLS endpoints need a certificate.
fn connector(endpoints: &[ServerEndpoint], needs_certificate: bool, trusted: &TrustedNetworks) -> Option<Connector> {
    let plain = endpoints.iter().find_map(|endpoint| match endpoint {
        Endpoint::Tcp(address) => Some(Endpoint::Tcp(connect_addr(*address))),
        Endpoint::Unix(path) => Some(Endpoint::Unix(path.clone())),
        _ => None,
    });
    let tls = endpoints.iter().find_map(|endpoint| match endpoint {
        Endpoint::Tls(address) if !needs_certificate => Some(Endpoint::Tls(connect_addr(*address))),
        _ => None,
    });
    let endpoint = plain.or(tls)?;
    let (endpoint, source) = match endpoint {
        Endpoint::Tcp(address) => (Endpoint::Tcp(address.into()), source(address)),
        Endpoint::Tls(address) => (Endpoint::Tls(address.into()), source(address)),
        Endpoint::Unix(path) => (Endpoint::Unix(path), None),
        Endpoint::Inherited { name, tls } => (Endpoint::Inherited { name, tls }, None),
    };
    // The certificate is for the names that clients use, not for this address.
    let connector = Connector::new(endpoint).with_tls(Arc::new(Tls::default().without_verification()));
    Some(if trusted.trusts(source) { connector.with_local_header() } else { connector })
}

/// Returns the address at which a client on this machine reaches a listener on `address`. A wildcard becomes the
/// loopback address.
fn connect_addr(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

/// Returns the source address of a connection to `address`. Connecting a UDP socket makes the kernel choose it, and
/// sends nothing.
fn source(address: SocketAddr) -> Option<IpAddr> {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Sends an HTTP request for `path`, and checks whether the response has one of these statuses.
///
/// # Errors
///
/// Returns a sentence with the reply of the server, or with the reason of a missing one.
pub async fn ask_http(connector: &Connector, path: &str, statuses: &[&str]) -> Result<(), String> {
    /// The status is in the first line of a response.
    const MAX_RESPONSE: u64 = 1024;
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut stream = connector.connect().await.map_err(|error| error.to_string())?;
    let mut response = String::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        stream.take(MAX_RESPONSE).read_to_string(&mut response).await
    };
    let address = connector.address();
    match tokio::time::timeout(connector.timeouts().reply, exchange).await {
        Ok(Ok(_)) if response.split(' ').nth(1).is_some_and(|status| statuses.contains(&status)) => Ok(()),
        Ok(Ok(_)) => {
            let status = response.lines().next().unwrap_or("no response").escape_debug();
            Err(format!("{address}: {path} replied {status}"))
        }
        Ok(Err(error)) => Err(format!("{address}: {path}: {error}")),
        Err(_) => Err(format!("{address}: {path}: no response within {:?}", connector.timeouts().reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(endpoints: &[&str], needs_certificate: bool) -> Option<String> {
        let endpoints: Vec<_> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        let connector = connector(&endpoints, needs_certificate, &TrustedNetworks::default());
        connector.map(|connector| connector.address().to_owned())
    }

    #[test]
    fn a_plain_endpoint_is_asked_before_one_with_tls() {
        let endpoints = ["fd:", "tls://0.0.0.0:1", "[::]:2", "unix:a"];
        assert_eq!(choose(&endpoints, false).as_deref(), Some("[::1]:2"));
        assert_eq!(choose(&endpoints[..2], false).as_deref(), Some("tls://127.0.0.1:1"));
        assert_eq!(choose(&endpoints[..2], true), None);
        assert_eq!(choose(&["tls+fd:", "unix:a"], true).as_deref(), Some("unix:a"));
    }

    #[test]
    fn the_connect_address_of_a_wildcard_is_the_loopback_address() {
        for (listen, connect) in
            [("0.0.0.0:5000", "127.0.0.1:5000"), ("[::]:5000", "[::1]:5000"), ("192.0.2.1:7", "192.0.2.1:7")]
        {
            assert_eq!(connect_addr(listen.parse().unwrap()), connect.parse().unwrap());
        }
    }

    #[test]
    fn the_source_of_a_loopback_connection_is_a_loopback_address() {
        assert_eq!(source(([127, 0, 0, 1], 1).into()), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
