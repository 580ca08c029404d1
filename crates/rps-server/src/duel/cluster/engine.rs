//! The client of the engine, Valkey or Redis, in which replicas find players of other replicas.
//!
//! It depends on the calls of [`replica`](crate::duel::replica) and on the `redis` crate. All state is in one key,
//! whose value is a ticket: `scripts` has the operations, `ticket` the text, `url` the configuration value, and
//! `server` finds the server that has the key.
//!
//! A task keeps one connection. Without a connection, all calls fail at once. After any failure of a call, the
//! connection is dropped: otherwise, a late reply could become the reply to a later call. The engine is
//! available only after a check that a script can write the key, so a server that rejects all calls does not change the
//! state at each of them.

mod scripts;
mod server;
mod ticket;
mod url;

use std::sync::Arc;
use std::time::Duration;

use proto::client::Tls;
use proto::wire::quoted::Printable;
use rand::RngExt;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::duel::replica::{EngineCall, EngineReply, Ticket};
use scripts::{ASK, Program, WITHDRAW};
pub use server::CONNECT_TIMEOUT;
use server::{EngineError, Opened, Server};
pub use ticket::{InvalidAddress, MAX_ADDRESS_BYTES, check_address};
pub use url::{EngineSetting, EngineUrl, InvalidUrl};

/// Maximum time of a call.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(50);

/// The delay before the first attempt to connect again; it doubles with each failure.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
/// Maximum delay before an attempt to connect again.
const MAX_BACKOFF: Duration = Duration::from_millis(100);
/// A connection that lasted this long resets the delay.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// Calls the engine. Dropping it closes the connection.
#[derive(Debug)]
pub struct Engine {
    key: String,
    process: u128,
    address: String,
    ask: Program,
    withdraw: Program,
    call_timeout: Duration,
    status: Arc<Status>,
    task: AbortHandle,
}

/// The options of an engine's client that only tests change.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The certificate authorities that TLS trusts; by default, those of the system.
    pub tls: Arc<Tls>,
    /// Maximum time of a call, by default [`CALL_TIMEOUT`].
    pub call_timeout: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { tls: Arc::default(), call_timeout: CALL_TIMEOUT }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    /// Starts to connect to the engine. Replicas with the same `name` form one lobby. `process` is a random number of
    /// this process, and `address` the endpoint that other replicas connect to.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be in a ticket.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn new(url: &EngineUrl, name: &str, process: u128, address: String) -> Result<Self, InvalidAddress> {
        Self::with_options(url, name, process, address, EngineOptions::default())
    }

    /// Like [`new`](Self::new), with other options, for tests.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn with_options(
        url: &EngineUrl,
        name: &str,
        process: u128,
        address: String,
        options: EngineOptions,
    ) -> Result<Self, InvalidAddress> {
        check_address(&address)?;
        let EngineOptions { tls, call_timeout } = options;
        let key = format!("{name}:duel:ticket");
        let status = Arc::new(Status { engine: url.clone(), state: watch::Sender::default() });
        let server = Server::new(url.clone(), tls, key.clone(), call_timeout);
        let task = tokio::spawn(keep_connected(server, Arc::clone(&status))).abort_handle();
        let (ask, withdraw) = (Program::new(ASK), Program::new(WITHDRAW));
        Ok(Self { key, process, address, ask, withdraw, call_timeout, status, task })
    }

    /// Makes a call. Returns the reply to [`EngineCall::Ask`], within [`CALL_TIMEOUT`], and `None` for
    /// [`EngineCall::Withdraw`]. The reply is [`EngineReply::Failed`] at once while the engine is unavailable.
    pub async fn call(&self, call: EngineCall) -> Option<EngineReply> {
        match call {
            EngineCall::Ask { nonce, expires_in } => Some(self.ask(nonce, expires_in).await),
            EngineCall::Withdraw { nonce } => {
                self.withdraw(nonce).await;
                None
            }
        }
    }

    async fn ask(&self, nonce: u128, expires_in: Duration) -> EngineReply {
        let process = format!("{:032x}", self.process);
        let ticket = ticket::format(self.process, nonce, &self.address);
        // The engine rejects 0.
        let expires_in = expires_in.as_millis().max(1).to_string();
        let taken: Option<Option<Vec<u8>>> = self.run(&self.ask, &[&process, &ticket, &expires_in]).await;
        match taken {
            None => EngineReply::Failed,
            Some(None) => EngineReply::Posted,
            Some(Some(text)) => match str::from_utf8(&text).ok().and_then(ticket::parse) {
                Some((nonce, address)) => EngineReply::Taken(Ticket { nonce, address: address.to_owned() }),
                // The script takes only tickets.
                None => EngineReply::Failed,
            },
        }
    }

    /// Makes a call that changes nothing, to find out whether the engine still replies.
    pub async fn check(&self) {
        // No ticket has this number, except by a chance of 1 in 2^128.
        self.withdraw(0).await;
    }

    async fn withdraw(&self, nonce: u128) {
        let ticket = ticket::format(self.process, nonce, &self.address);
        // The ticket expires if this fails.
        let _: Option<u64> = self.run(&self.withdraw, &[&ticket]).await;
    }

    /// Runs a script. If that fails, drops the connection and returns `None`.
    async fn run<T: FromRedisValue>(&self, program: &Program, arguments: &[&str]) -> Option<T> {
        let Up { mut connection, asking, id } = self.status.state.borrow().up.clone()?;
        let result = timeout(self.call_timeout, program.run(&mut connection, asking, &self.key, arguments)).await;
        let error = match result {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => EngineError::Call(error),
            Err(_) => EngineError::ReplyTimeout(self.call_timeout),
        };
        self.status.set_down(Some(id), &error);
        None
    }

    /// Whether calls can be made.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.status.state.borrow().up.is_some()
    }

    /// Returns a view of the state of the engine, for metrics and for the owner of the calls.
    #[must_use]
    pub fn health(&self) -> EngineHealth {
        EngineHealth { state: self.status.state.subscribe(), seen: 0 }
    }
}

/// A view of whether the engine is available.
#[derive(Clone, Debug)]
pub struct EngineHealth {
    state: watch::Receiver<State>,
    /// The last connection that [`came_up`](Self::came_up) has reported.
    seen: u64,
}

impl EngineHealth {
    /// Whether calls can be made.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.borrow().up.is_some()
    }

    /// Waits until the engine is available over another connection than at the last call; the first call waits for any
    /// connection. Cancel safe. Never returns once the [`Engine`] is dropped.
    pub async fn came_up(&mut self) {
        let seen = self.seen;
        let new = self.state.wait_for(|state| state.up.as_ref().is_some_and(|up| up.id != seen)).await;
        let id = new.ok().and_then(|state| Some(state.up.as_ref()?.id));
        match id {
            Some(id) => self.seen = id,
            None => std::future::pending().await,
        }
    }
}

/// The state of the engine, and the log of its changes.
#[derive(Debug)]
struct Status {
    engine: EngineUrl,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    up: Option<Up>,
    /// Whether the log says that the engine is unavailable.
    is_reported_down: bool,
    last_id: u64,
}

/// A connection that passed the check.
#[derive(Clone, Debug)]
struct Up {
    connection: MultiplexedConnection,
    asking: bool,
    /// Never used for another connection of this process.
    id: u64,
}

impl Status {
    /// Reports a connection, and returns its ID.
    fn set_up(&self, connection: MultiplexedConnection, asking: bool) -> u64 {
        tracing::info!(engine = %self.engine, "engine is available");
        let mut id = 0;
        self.state.send_modify(|state| {
            state.last_id += 1;
            id = state.last_id;
            state.is_reported_down = false;
            state.up = Some(Up { connection, asking, id });
        });
        id
    }

    /// Reports that the connection with this ID has failed, or, without an ID, an attempt to connect. A later
    /// connection stays.
    fn set_down(&self, id: Option<u64>, error: &EngineError) {
        self.state.send_if_modified(|state| {
            if id != state.up.as_ref().map(|up| up.id) || state.is_reported_down {
                return false;
            }
            // The server may quote the password in the text of an error.
            let error = error.to_string();
            let error = self.engine.hide_password(&error);
            tracing::warn!(engine = %self.engine, error = %Printable(&error), "engine is unavailable");
            state.up = None;
            state.is_reported_down = true;
            true
        });
    }
}

/// Connects again and again, for as long as it is polled.
async fn keep_connected(server: Server, status: Arc<Status>) {
    let mut state = status.state.subscribe();
    let mut backoff = MIN_BACKOFF;
    loop {
        match server.connect().await {
            Ok(Opened { connection, driver, asking }) => {
                let since = Instant::now();
                let id = status.set_up(connection, asking);
                tokio::select! {
                    () = driver => status.set_down(Some(id), &EngineError::Closed),
                    // A call has failed.
                    _ = state.wait_for(|state| state.up.is_none()) => {}
                }
                if since.elapsed() >= STABLE_AFTER {
                    backoff = MIN_BACKOFF;
                }
            }
            Err(error) => status.set_down(None, &error),
        }
        // The jitter keeps replicas that lost the engine together from connecting together.
        let jitter = rand::rng().random_range(0.5..=1.0);
        sleep(backoff.mul_f64(jitter)).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}
