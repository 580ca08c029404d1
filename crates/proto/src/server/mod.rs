//! The plumbing under both servers: everything between a listening socket and a service's own conversation.
//!
//! It knows neither wire. What a service says, and when, it is told through two traits:
//! [`Service`](accept::Service) for a connection as a whole and [`Conversation`](conversation::Conversation) for what is
//! said on it.
//!
//! In the order in which a server uses them:
//!
//! 1. [`options`]: the arguments that both servers take.
//! 2. [`config`]: from file, environment and arguments to a checked configuration, or to errors that can be acted on.
//! 3. [`telemetry`]: the log, with a [`throttle`] for what clients can cause; [`runtime`]: the threads, the exit code.
//! 4. [`listen`]: the listening socket, whose options every connection inherits.
//! 5. [`shutdown`]: told once by a signal, heard everywhere.
//! 6. [`admission`]: how many connections there may be, in all and from one place; [`open_files`] bounds that too.
//! 7. [`accept`]: the loop that turns a listener into conversations, and its drain.
//! 8. [`stream`]: what a connection runs on.
//! 9. [`conversation`]: what a service says on one connection, at once or when an answer comes from elsewhere.
//! 10. [`connection`]: one connection, from its first byte to a close that loses nothing; [`deadline`] is its clock, and
//!     [`closed`] how it ended.
//! 11. [`metrics`]: what all of these count; [`admin`]: where that and the server's health are to be had.
//! 12. [`reload`]: a new configuration for a server that runs.
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
//! use proto::server::accept::{self, Service};
//! use proto::server::admission::Admission;
//! use proto::server::closed::Closed;
//! use proto::server::config::tables::ConnectionLimits;
//! use proto::server::connection;
//! use proto::server::conversation::{Arrival, Conversation, Next, Turn};
//! use proto::server::deadline::Deadlines;
//! use proto::server::listen::{self, Terms};
//! use proto::server::metrics::connections::Connections;
//! use proto::server::shutdown::Shutdown;
//! use proto::server::stream::Stream;
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
//!         connection::run(stream, Echo, Arc::clone(&self.deadlines), Arc::clone(&self.connections), shutdown)
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
//! let listener = listen::bind(([127, 0, 0, 1], 0).into(), Terms { backlog: 128, speak_first: false })?;
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

pub mod accept;
pub mod admin;
pub mod admission;
pub mod closed;
pub mod config;
pub mod connection;
pub mod conversation;
pub mod deadline;
pub mod listen;
pub mod metrics;
pub mod open_files;
pub mod options;
pub mod reload;
pub mod runtime;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod throttle;
