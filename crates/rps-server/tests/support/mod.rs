//! A real server in process, on a port of its own, and clients that send and hear raw bytes.

#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on fails, and not every file uses all of it")]

use std::net::SocketAddr;
use std::time::Duration;

use proto::server::accept::Summary;
use proto::server::config::layers::{Layers, Origin};
use proto::server::listen;
use proto::server::shutdown::Shutdown;
use rps_server::config::Config;
use rps_server::house::House;
use rps_server::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for anything; only a broken server lets one wait so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    served: JoinHandle<Summary>,
}

/// Starts a server with these settings over the defaults, and for each connection a house with such a generator.
pub(crate) fn start<G, R>(settings: &[(&str, &str)], generator: G) -> Server
where
    G: Fn() -> R + Send + Sync + 'static,
    R: rand::CryptoRng + Send + 'static,
{
    let mut layers = Layers::<Config>::of_defaults();
    for (key, value) in settings {
        layers.lay_text(key, value, Origin::Argument((*key).to_owned()));
    }
    let config = layers.finish().unwrap();
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), config.limits.connections.backlog.get()).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new(config.timeouts.drain.get());
    let served = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { serve(listener, &config, move || House::new(generator()), shutdown).await }
    });
    Server { address, shutdown, served }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` in one write, closes the sending half, and hears to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = self.connect().await.into_split();
        let sending = async {
            write.write_all(bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let hearing = timeout(PATIENCE, read.read_to_end(&mut heard));
        let ((), result) = tokio::join!(sending, hearing);
        result.unwrap().unwrap();
        heard
    }

    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.begin();
        timeout(PATIENCE, self.served).await.unwrap().unwrap()
    }
}

/// Hears until the server closes; a reset is an error, and fails the test.
pub(crate) async fn hear_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    heard
}

/// Hears one answer.
pub(crate) async fn hear(stream: &mut TcpStream) -> u8 {
    timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap()
}
