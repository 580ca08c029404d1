//! What both servers share: everything between a listening socket and the handler of a connection.
//!
//! It knows neither wire. A service is plugged in with two traits: a [`Service`] makes a [`Handler`] for each connection,
//! and the handler maps events to reply bytes.
//!
//! Five folders, each of which names only those below it:
//!
//! 1. [`listener`]: listening sockets, limits, the accept loop;
//! 2. [`connection`]: one connection, from its first byte to its close;
//! 3. [`lifecycle`]: threads, shutdown, a new configuration at SIGHUP;
//! 4. [`observe`]: log, metrics, health;
//! 5. [`config`]: from file, environment and arguments to a checked configuration, or to errors that can be acted on.
//!
//! [`program`] is above them all: the steps that the `main` of every server has.
//!
//! # A service of your own
//!
//! A handler and what its connections share are all it takes. Limits, timeouts, a drain and metrics come with it.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use bytes::{Bytes, BytesMut};
//! use proto::server::config::ConnectionLimits;
//! use proto::server::{self, Admission, ConnectionTimeouts, Event, Handler, Progress, Service, Shutdown, WaitFor};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::{net::TcpStream, sync::watch};
//!
//! /// Replies to every byte with itself.
//! struct Echo;
//!
//! impl Handler for Echo {
//!     const READ_BYTES: usize = 4096;
//!
//!     fn handle(&mut self, _: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
//!         let replies = input.len() as u64;
//!         output.unsplit(input.split());
//!         Progress { replies, wait_for: WaitFor::Request }
//!     }
//! }
//!
//! struct EchoService(Arc<ConnectionTimeouts>);
//!
//! impl Service for EchoService {
//!     type Handler = Echo;
//!
//!     fn handler(&self) -> Echo {
//!         Echo
//!     }
//!
//!     fn timeouts(&self) -> Arc<ConnectionTimeouts> {
//!         Arc::clone(&self.0)
//!     }
//!
//!     fn rejection(&self) -> Bytes {
//!         Bytes::from_static(b"full")
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let second = Duration::from_secs(1);
//! let timeouts = ConnectionTimeouts { request: None, idle: 60 * second, write: 5 * second, settle: Duration::ZERO };
//! let services = watch::Sender::new(Arc::new(EchoService(timeouts.into())));
//! let (admission, shutdown) = (Admission::new(&ConnectionLimits::default()), Shutdown::new(8 * second));
//!
//! let options = server::ListenOptions { backlog: 128, defer_accept: false };
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
pub mod lifecycle;
pub mod listener;
pub mod observe;
pub mod program;

pub use connection::{
    CloseReason, ConnectionMetrics, ConnectionTimeouts, Event, Handler, Progress, Stream, Summary, WaitFor,
};
pub use lifecycle::Shutdown;
pub use listener::{Admission, ListenOptions, Listener, Service, bind, serve};
