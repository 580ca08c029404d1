//! A server in this process, and single connections of one in memory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;
use crate::server::config::{ConfigBuilder, Configuration, Source};
use crate::server::connection;
use crate::server::{self, CloseReason, ConnectionTimeouts, Handler, ListenOptions, Shutdown, Stream, Summary};

/// Returns the default configuration with these settings over it, each a key and a TOML value.
pub fn config<C: Configuration>(settings: &[(&str, &str)]) -> C {
    let mut builder = ConfigBuilder::from_defaults();
    for (key, value) in settings {
        builder.set(key, value, Source::Argument((*key).to_owned()));
    }
    builder.build().unwrap()
}

/// Listens on a free port, within a runtime.
pub fn listen() -> TcpListener {
    listen_at(([127, 0, 0, 1], 0).into()).unwrap()
}

/// Listens at `address`, within a runtime.
///
/// # Errors
///
/// If the machine has no such address, or the port is taken.
pub fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    server::bind(address, ListenOptions { backlog: 1024, defer_accept: false })
}

/// A server that runs as a task of the current runtime.
#[derive(Debug)]
pub struct ServerTask {
    /// What stops it.
    pub shutdown: Shutdown,
    task: JoinHandle<Summary>,
}

impl ServerTask {
    /// Runs a server, which ends after `shutdown` has begun.
    pub fn spawn(shutdown: Shutdown, serve: impl Future<Output = Summary> + Send + 'static) -> Self {
        Self { shutdown, task: tokio::spawn(serve) }
    }

    /// Begins the shutdown and waits for the end of the server.
    pub async fn stop(self) -> Summary {
        self.shutdown.trigger();
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

/// Serves one connection as a task of the current runtime, and returns how it ended.
pub fn serve(
    stream: impl Stream,
    handler: impl Handler,
    timeouts: ConnectionTimeouts,
    shutdown: Shutdown,
) -> JoinHandle<CloseReason> {
    tokio::spawn(connection::run(stream, handler, Arc::new(timeouts), Arc::default(), shutdown))
}
