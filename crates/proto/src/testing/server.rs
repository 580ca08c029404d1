//! Servers in this process, and single connections over any stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::TEST_TIMEOUT;
use crate::server::config::{ConfigBuilder, Configuration, Source};
use crate::server::connection::{self, ConnectionContext};
use crate::server::{
    self, CloseReason, ConnectionTimeouts, EndpointListener, Handler, ListenOptions, Shutdown, SocketBuffers, Stream,
    Summary,
};

/// Returns the default configuration with these settings, each a key and a TOML value.
pub fn config<C: Configuration>(settings: &[(&str, &str)]) -> C {
    let mut builder = ConfigBuilder::from_defaults();
    for (key, value) in settings {
        builder.set(key, value, Source::Argument((*key).to_owned()));
    }
    builder.build().unwrap()
}

/// Listens on a free port. Call this within a runtime.
pub fn listen() -> EndpointListener {
    listen_at(([127, 0, 0, 1], 0).into()).unwrap()
}

/// Listens at `address`. Call this within a runtime.
///
/// # Errors
///
/// Fails if the address is not local or the port is in use.
pub fn listen_at(address: SocketAddr) -> io::Result<EndpointListener> {
    server::bind(address, ListenOptions { backlog: 1024, defer_accept: false, buffers: SocketBuffers::default() })
}

/// A server that runs as a task of the current runtime.
#[derive(Debug)]
pub struct ServerTask {
    /// Stops the server.
    pub shutdown: Shutdown,
    task: JoinHandle<Summary>,
}

impl ServerTask {
    /// Runs a server that returns after `shutdown` is triggered.
    pub fn spawn(shutdown: Shutdown, serve: impl Future<Output = Summary> + Send + 'static) -> Self {
        Self { shutdown, task: tokio::spawn(serve) }
    }

    /// Triggers the shutdown and waits until the server returns.
    pub async fn stop(self) -> Summary {
        self.shutdown.trigger();
        timeout(TEST_TIMEOUT, self.task).await.unwrap().unwrap()
    }
}

/// Serves one connection as a task of the current runtime. The task returns the close reason.
pub fn serve(
    stream: impl Stream,
    handler: impl Handler,
    timeouts: ConnectionTimeouts,
    shutdown: Shutdown,
) -> JoinHandle<CloseReason> {
    let context = ConnectionContext::new(timeouts, Arc::default(), shutdown);
    tokio::spawn(connection::run(stream, handler, Arc::new(context)))
}
