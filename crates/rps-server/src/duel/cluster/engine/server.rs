//! Connects to the server that has the key: directly, through Sentinel, or by the redirects of a cluster.
//!
//! It depends on `scripts` and `url`, on the client's [`Connector`] for the stream (TCP, TLS or Unix socket), and on
//! the `redis` crate for the protocol.
//!
//! The crate's own support for Sentinel and Cluster is not used: it keeps connections to all nodes and the map of all
//! slots. Here all state is in one key, so one connection is enough: Sentinel is asked for the server at each connect,
//! as its guidelines for clients require, and a cluster node that does not have the key's slot names the one that does.

use std::future::Future;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use proto::client::{self, Connector, Timeouts, Tls};
use proto::endpoint::{Endpoint, HostPort};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind,
};
use thiserror::Error;
use tokio::time::timeout;

use super::scripts::{CHECK, Program};
use super::url::{EngineUrl, Servers, endpoint};

/// Maximum time to connect to one server, with the TLS handshake, the authentication and the check.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum redirects of one connect. A cluster that is stable redirects once.
const MAX_REDIRECTS: usize = 5;

/// Why the engine is unavailable.
#[derive(Debug, Error)]
pub(super) enum EngineError {
    #[error("{0}")]
    Connect(#[from] client::Error),
    #[error("{0}: {text}", text = describe(.1))]
    Server(String, RedisError),
    #[error("{0}: not ready within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout(String),
    #[error("no reply within {0:?}")]
    ReplyTimeout(Duration),
    #[error("{text}", text = describe(.0))]
    Call(RedisError),
    #[error("the connection was closed")]
    Closed,
    #[error("{0}: Sentinel does not know the server '{1}'")]
    UnknownMaster(String, String),
    #[error("{0}: an invalid address in a redirect or from Sentinel: '{1}'")]
    InvalidAddress(String, String),
    #[error("{0}: more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects(String),
}

/// Returns the text of an error as the server sent it, or else that of the crate.
fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        // The crate drops the server's text.
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            "the server rejects the user or the password".to_owned()
        }
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Sends the commands and receives the replies of a connection, until the connection ends. Dropping it closes the
/// connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection to the server that has the key.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    /// Whether the server is a cluster node to which the key's slot is being moved.
    pub(super) asking: bool,
}

/// The server of the engine's URL.
#[derive(Debug)]
pub(super) struct Server {
    url: EngineUrl,
    tls: Arc<Tls>,
    key: String,
    check: Program,
    call_timeout: Duration,
}

impl Server {
    pub(super) fn new(url: EngineUrl, tls: Arc<Tls>, key: String, call_timeout: Duration) -> Self {
        Self { url, tls, key, check: Program::new(CHECK), call_timeout }
    }

    /// Connects, and checks that calls work. Of several servers, the first one that leads to a success is used;
    /// otherwise the error is that of the last one.
    pub(super) async fn connect(&self) -> Result<Opened, EngineError> {
        let seeds = match &self.url.servers {
            Servers::One(server) => slice::from_ref(server),
            Servers::Sentinel { sentinels, .. } => sentinels,
            Servers::Cluster(nodes) => nodes,
        };
        let mut opened = Err(EngineError::Closed);
        for seed in seeds {
            opened = self.connect_through(seed).await;
            if opened.is_ok() {
                break;
            }
        }
        opened
    }

    async fn connect_through(&self, seed: &Endpoint) -> Result<Opened, EngineError> {
        match &self.url.servers {
            Servers::Sentinel { master, .. } => self.follow(self.ask_sentinel(seed, master).await?).await,
            _ => self.follow(seed.clone()).await,
        }
    }

    /// Connects to a server, or to the one to which it redirects.
    async fn follow(&self, mut server: Endpoint) -> Result<Opened, EngineError> {
        let mut asking = false;
        for _ in 0..=MAX_REDIRECTS {
            let name = server.to_string();
            let ready = timeout(CONNECT_TIMEOUT, self.open_checked(&server, asking)).await;
            match ready.map_err(|_| EngineError::ConnectTimeout(name.clone()))? {
                Err(EngineError::Server(_, error)) if error.redirect_node().is_some() => {
                    let (address, _) = error.redirect_node().unwrap_or_default();
                    asking = error.kind() == ServerErrorKind::Ask.into();
                    server = self
                        .redirected(&server, address)
                        .ok_or_else(|| EngineError::InvalidAddress(name, address.to_owned()))?;
                }
                result => return result,
            }
        }
        Err(EngineError::TooManyRedirects(server.to_string()))
    }

    /// Returns the endpoint of a redirect: `HOST:PORT`, where an IPv6 address has no brackets, and an empty host is
    /// that of the server that redirects.
    fn redirected(&self, from: &Endpoint, address: &str) -> Option<Endpoint> {
        let (host, port) = address.rsplit_once(':')?;
        let host = match from {
            Endpoint::Tcp(address) | Endpoint::Tls(address) if host.is_empty() => address.host(),
            _ => host,
        };
        self.endpoint(host, port)
    }

    fn endpoint(&self, host: &str, port: &str) -> Option<Endpoint> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        address.parse::<HostPort>().ok().map(|address| endpoint(address, self.url.is_tls))
    }

    async fn open_checked(&self, server: &Endpoint, asking: bool) -> Result<Opened, EngineError> {
        let (mut connection, mut driver) = self.open(server, self.credentials().set_db(self.url.db.into())).await?;
        let checked = self.check.run::<()>(&mut connection, asking, &self.key, &[]);
        // The time of a call: an engine that is too slow for calls is not available.
        let checked = timeout(self.call_timeout, drive(&mut driver, checked)).await;
        let checked = checked.map_err(|_| EngineError::ReplyTimeout(self.call_timeout))?;
        checked?.map_err(|error| EngineError::Server(server.to_string(), error))?;
        Ok(Opened { connection, driver, asking })
    }

    /// Asks Sentinel for the address of a server.
    async fn ask_sentinel(&self, sentinel: &Endpoint, master: &str) -> Result<Endpoint, EngineError> {
        let name = sentinel.to_string();
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let asking = async {
            // Sentinel's password is separate and optional. Setups with one password for all servers are common, so it
            // is used where Sentinel requires one.
            match self.query(sentinel, without_credentials(), &command).await {
                Err(EngineError::Server(_, error)) if error.code() == Some("NOAUTH") => {
                    self.query(sentinel, self.credentials(), &command).await
                }
                result => result,
            }
        };
        let address: Option<(String, String)> =
            timeout(CONNECT_TIMEOUT, asking).await.map_err(|_| EngineError::ConnectTimeout(name.clone()))??;
        match address {
            None => Err(EngineError::UnknownMaster(name, master.to_owned())),
            Some((host, port)) => {
                self.endpoint(&host, &port).ok_or_else(|| EngineError::InvalidAddress(name, format!("{host}:{port}")))
            }
        }
    }

    /// Sends one command on a new connection.
    async fn query<T: FromRedisValue>(
        &self,
        server: &Endpoint,
        info: RedisConnectionInfo,
        command: &redis::Cmd,
    ) -> Result<T, EngineError> {
        let (mut connection, mut driver) = self.open(server, info).await?;
        let queried = drive(&mut driver, command.query_async(&mut connection)).await?;
        queried.map_err(|error| EngineError::Server(server.to_string(), error))
    }

    /// Connects and authenticates. The caller limits the time.
    async fn open(
        &self,
        server: &Endpoint,
        info: RedisConnectionInfo,
    ) -> Result<(MultiplexedConnection, Driver), EngineError> {
        let connector = Connector::new(server.clone()).with_timeouts(Timeouts::all(CONNECT_TIMEOUT));
        let stream = connector.with_tls(Arc::clone(&self.tls)).connect().await?;
        // The caller limits the time of each call.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = opened.map_err(|error| EngineError::Server(server.to_string(), error))?;
        Ok((connection, Box::pin(driver)))
    }

    fn credentials(&self) -> RedisConnectionInfo {
        let EngineUrl { user, password, .. } = &self.url;
        let mut info = without_credentials();
        if let Some(user) = user {
            info = info.set_username(user);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        info
    }
}

fn without_credentials() -> RedisConnectionInfo {
    // CLIENT SETINFO is newer than Redis 6.2, and a user may lack the permission.
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// Waits for the result of a command while the driver runs.
async fn drive<T>(
    driver: &mut Driver,
    command: impl Future<Output = RedisResult<T>>,
) -> Result<RedisResult<T>, EngineError> {
    tokio::select! {
        biased;
        result = command => Ok(result),
        () = driver => Err(EngineError::Closed),
    }
}
