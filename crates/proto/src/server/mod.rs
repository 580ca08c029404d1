//! The server framework: everything between a listening socket and the protocol handler of a connection.
//!
//! It knows no wire format of a service: of [`wire`](crate::wire), it uses only [`quoted`](crate::wire::quoted), for error
//! messages, and [`proxy_header`](crate::wire::proxy_header), for the header that a proxy sends. A service implements two
//! traits: a [`Service`] makes a [`Handler`] for each connection, and the handler maps events to reply bytes.
//!
//! Each folder uses only the folders below it in this list:
//!
//! 1. [`listener`]: listening sockets, limits, the accept loop;
//! 2. [`connection`]: one connection, from its first byte to its close;
//! 3. [`lifecycle`]: threads, shutdown, the configuration reload at SIGHUP;
//! 4. [`observe`]: log, metrics, health;
//! 5. [`config`]: merges defaults, file, environment and arguments into a valid configuration.
//!
//! [`program`] is above all of them: it has the steps of every server's `main`. [`healthcheck`] asks a running server, with
//! the [`client`](crate::client). Start reading in [`connection`], at `handler` and then `driver`.
//!
//! # Writing a service
//!
//! A service is a handler type and the state that its connections share. Limits, timeouts, the drain and metrics are
//! provided.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use bytes::{Bytes, BytesMut};
//! use proto::server::config::ConnectionLimits;
//! use proto::server::{self, Admission, ConnectionTimeouts, Event, Handler, LimitReached, Progress, Service};
//! use proto::server::{Shutdown, SocketBuffers, WaitFor};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::{net::TcpStream, sync::watch};
//!
//! /// Replies to every byte with itself.
//! struct Echo;
//!
//! impl Handler for Echo {
//!     const READ_BYTES: usize = 4096;
//!     const TURN_REPLIES: usize = 4096;
//!
//!     fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut, _: usize) -> Progress {
//!         let replies = input.len() as u64;
//!         output.unsplit(input.split());
//!         Progress { replies, wait_for: WaitFor::Request }
//!     }
//! }
//!
//! struct EchoService(ConnectionTimeouts);
//!
//! impl Service for EchoService {
//!     type Handler = Echo;
//!
//!     fn handler(&self) -> Echo {
//!         Echo
//!     }
//!
//!     fn timeouts(&self) -> ConnectionTimeouts {
//!         self.0
//!     }
//!
//!     fn rejection(&self, _: LimitReached) -> Bytes {
//!         Bytes::from_static(b"full")
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let second = Duration::from_secs(1);
//! let timeouts = ConnectionTimeouts { request: None, idle: 60 * second, write: 5 * second, settle: Duration::ZERO };
//! let services = watch::Sender::new(Arc::new(EchoService(timeouts)));
//! let (admission, shutdown) = (Admission::new(&ConnectionLimits::default()), Shutdown::new(8 * second));
//!
//! let options = server::ListenOptions { backlog: 128, defer_accept: false, buffers: SocketBuffers::default() };
//! let listener = server::bind(([127, 0, 0, 1], 0).into(), options)?;
//! let address = listener.local_addr()?;
//! let serving = server::serve(listener, services.subscribe(), admission, Arc::default(), shutdown.clone());
//! let serving = tokio::spawn(serving);
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"hello").await?;
//! let mut reply = [0; 5];
//! client.read_exact(&mut reply).await?;
//! assert_eq!(&reply, b"hello");
//!
//! shutdown.trigger();
//! serving.await?;
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod connection;
pub mod healthcheck;
pub mod lifecycle;
pub mod listener;
pub mod observe;
pub mod program;

pub use connection::{
    Activity, CloseReason, ConnectionMetrics, ConnectionTimeouts, Event, Handler, MAX_OUTPUT_BYTES, Progress,
    SendQueue, SocketStream, Stream, Summary, WaitFor,
};
pub use lifecycle::{ReloadSignal, Shutdown};
pub use listener::{
    Accepted, Admission, EndpointListener, LimitReached, ListenOptions, Listener, Page, Peer, Service, Site,
    SocketBuffers, bind, serve,
};
