//! A real server in process, on a port of its own, and clients that send and hear raw bytes.

#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on fails, and not every file uses all of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use power_server::Server as PowerServer;
use power_server::config::Config;
use proto::server::config::builder::{Layers, Origin};
use proto::server::connection::metrics::Summary;
use proto::server::lifecycle::shutdown::Shutdown;
use proto::server::listener::socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for anything; only a broken server lets one wait so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The defaults with these settings over them.
pub(crate) fn config(settings: &[(&str, &str)]) -> Config {
    let mut layers = Layers::of_defaults();
    for (key, value) in settings {
        layers.lay_text(key, value, Origin::Argument((*key).to_owned()));
    }
    layers.finish().unwrap()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) power: Arc<PowerServer>,
    served: JoinHandle<Summary>,
}

/// Starts a server with these settings over the defaults.
pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
    let config = config(settings);
    let terms = socket::ListenOptions { backlog: config.limits.connections.backlog.get(), defer_accept: false };
    let listener = socket::bind("127.0.0.1:0".parse().unwrap(), terms).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new(config.timeouts.shared.drain.get());
    let power = Arc::new(PowerServer::new(&config, shutdown.clone()));
    let served = tokio::spawn({
        let power = Arc::clone(&power);
        async move { power.serve(listener).await }
    });
    Server { address, shutdown, power, served }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` in one write, closes the sending half, and hears to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        hear_to_the_end(&mut stream).await
    }

    /// Sends `bytes` in one write, and hears to the end without closing.
    pub(crate) async fn send_and_wait(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        hear_to_the_end(&mut stream).await
    }

    /// Whether a client that does nothing wrong is served. One that is turned away may be gone before it has asked.
    pub(crate) async fn serves(&self) -> bool {
        let mut heard = String::new();
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(b"a2").await?;
            stream.shutdown().await?;
            stream.read_to_string(&mut heard).await
        };
        timeout(PATIENCE, asked).await.unwrap().is_ok() && heard == "d4.0"
    }

    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.begin();
        timeout(PATIENCE, self.served).await.unwrap().unwrap()
    }
}

/// Hears until the server closes; a reset is an error, and fails the test.
pub(crate) async fn hear_to_the_end(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    String::from_utf8(heard).unwrap()
}

/// Hears as many bytes as `expected` has, and compares.
pub(crate) async fn expect(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}
