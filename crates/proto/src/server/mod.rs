//! The plumbing under both servers: everything between a listening socket and a service's own conversation.
//!
//! It knows neither wire. A service is plugged in through two traits: [`Service`](listener::accept::Service) for a
//! connection as a whole and [`Conversation`](connection::handler::Conversation) for what is said on it.
//!
//! In the order in which a server uses them:
//!
//! 1. [`config`]: from file, environment and arguments to a checked configuration, or to errors that can be acted on;
//! 2. [`observe`]: log, metrics, health;
//! 3. [`lifecycle`]: threads, shutdown, a new configuration at SIGHUP;
//! 4. [`listener`]: listening sockets, limits, the accept loop;
//! 5. [`connection`]: one connection, from its first byte to its close.
//!
//! # A service of one's own
//!
//! This is all that it takes: what is said on a connection, and what its connections share. Limits, deadlines, a drain
//! and the numbers come with it.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::BytesMut;
//! use proto::server::listener::accept::{self, Service};
//! use proto::server::listener::admission::Admission;
//! use proto::server::connection::close_reason::Closed;
//! use proto::server::config::sections::ConnectionLimits;
//! use proto::server::connection::driver;
//! use proto::server::connection::handler::{Arrival, Conversation, Next, Turn};
//! use proto::server::connection::timer::Deadlines;
//! use proto::server::listener::socket::{self, Terms};
//! use proto::server::connection::metrics::Connections;
//! use proto::server::lifecycle::shutdown::Shutdown;
//! use proto::server::connection::stream::Stream;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpStream;
//! use tokio::sync::watch;
//!
//! /// Says every byte again.
//! struct Echo;
//!
//! impl Conversation for Echo {
//!     const READ_BYTES: usize = 4096;
//!
//!     fn turn(&mut self, _: Arrival, input: &mut BytesMut, output: &mut BytesMut) -> Turn {
//!         let answered = input.len() as u64;
//!         output.unsplit(input.split());
//!         Turn { answered, next: Next::Request }
//!     }
//! }
//!
//! struct EchoService {
//!     deadlines: Arc<Deadlines>,
//!     connections: Arc<Connections>,
//! }
//!
//! impl<S: Stream> Service<S> for EchoService {
//!     fn serve(&self, stream: S, shutdown: Shutdown) -> impl Future<Output = Closed> + Send + use<S> {
//!         driver::run(stream, Echo, Arc::clone(&self.deadlines), Arc::clone(&self.connections), shutdown)
//!     }
//!
//!     fn refuse(&self) -> Arc<[u8]> {
//!         (*b"full").into()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let second = Duration::from_secs(1);
//! let deadlines = Deadlines { request: None, idle: 60 * second, write: 5 * second, settle: Duration::ZERO };
//! let connections = Arc::<Connections>::default();
//! let service = EchoService { deadlines: deadlines.into(), connections: Arc::clone(&connections) };
//! let services = watch::Sender::new(Arc::new(service));
//! let (admission, shutdown) = (Admission::new(&ConnectionLimits::default()), Shutdown::new(8 * second));
//!
//! let listener = socket::bind(([127, 0, 0, 1], 0).into(), Terms { backlog: 128, speak_first: false })?;
//! let address = listener.local_addr()?;
//! let served = tokio::spawn(accept::serve(listener, services.subscribe(), admission, connections, shutdown.clone()));
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"hello").await?;
//! let mut heard = [0; 5];
//! client.read_exact(&mut heard).await?;
//! assert_eq!(&heard, b"hello");
//!
//! shutdown.begin();
//! served.await?;
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod connection;
pub mod lifecycle;
pub mod listener;
pub mod observe;
