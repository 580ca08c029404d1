//! The power server under test: in this process, as a program, or one in-memory connection.

#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on fails, and not every test uses all of it")]

pub(crate) mod program;

use std::net::SocketAddr;
use std::sync::Arc;

use power_server::Server as PowerServer;
use power_server::config::Config;
use power_server::handler::{PowerHandler, PowerSettings};
use proto::server::{Shutdown, Summary};
use proto::testing::server::{ServerTask, config, listen, serve};
use proto::testing::{TEST_TIMEOUT, nonblocking};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server on a free port.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    task: ServerTask,
}

/// Starts a server with these settings over the defaults.
pub(crate) fn start(settings: &[(&str, &str)]) -> TestServer {
    let config: Config = config(settings);
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new(config.timeouts.shared.drain.get());
    let power = PowerServer::new(&config, shutdown.clone());
    let task = ServerTask::spawn(shutdown.clone(), async move { power.serve([listener]).await });
    TestServer { address, shutdown, task }
}

/// Serves an in-memory connection that buffers `room` bytes each way, and returns the client's end.
pub(crate) fn connect_in_memory(room: usize, settings: &[(&str, &str)]) -> DuplexStream {
    let (ours, theirs) = duplex(room);
    let config: Config = config(settings);
    let timeouts = config.connection_timeouts();
    let handler = PowerHandler::new(Arc::new(PowerSettings::new(&config, Arc::default())));
    drop(serve(theirs, handler, timeouts, Shutdown::new(config.timeouts.shared.drain.get())));
    ours
}

impl TestServer {
    pub(crate) async fn connect(&self) -> TcpStream {
        nonblocking::connect(self.address).await
    }

    /// Sends `bytes`, half-closes, and reads to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        String::from_utf8(nonblocking::exchange(self.address, bytes).await).unwrap()
    }

    /// Sends `bytes` in one write, and reads to the end without half-closing.
    pub(crate) async fn send_and_wait(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Whether a well-behaved client is served. A rejected one may be closed before it has sent its request.
    pub(crate) async fn serves(&self) -> bool {
        let mut received = String::new();
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(b"a2").await?;
            stream.shutdown().await?;
            stream.read_to_string(&mut received).await
        };
        timeout(TEST_TIMEOUT, exchange).await.unwrap().is_ok() && received == "d4.0"
    }

    pub(crate) async fn stop(self) -> Summary {
        self.task.stop().await
    }
}

/// Reads until the server closes; a reset fails the test.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    String::from_utf8(nonblocking::read_to_end(stream).await).unwrap()
}
