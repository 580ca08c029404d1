//! The short connection: a client connects, asks for a power of a number, gets the answer, and closes.
//!
//! - [`arithmetic`]: what is answered, and nothing else;
//! - [`conversation`]: one connection, from bytes to bytes;
//! - [`config`]: the server's configuration;
//! - [`serve`]: the service on a listener, until it is told to stop.

pub mod arithmetic;
pub mod config;
pub mod conversation;

use std::sync::Arc;

use bytes::BytesMut;
use proto::client::power::Client;
use proto::client::{Endpoint, Timeouts};
use proto::server::accept::{self, Listener, Service, Summary};
use proto::server::admission::Admission;
use proto::server::connection::{self, Closed};
use proto::server::deadline::Deadlines;
use proto::server::listen::reachable;
use proto::server::shutdown::Shutdown;
use proto::server::stream::Stream;
use proto::wire::number::Number;
use proto::wire::power::server::ReplyEncoder;
use proto::wire::power::{Code, Ending, Operation, Refusal};
use tokio_util::codec::Encoder;

use config::Config;
use conversation::Conversation;

/// Serves the connections of `listener` until `shutdown` begins, and then drains. The caller owns both.
pub async fn serve<L: Listener>(listener: L, config: &Config, shutdown: Shutdown) -> Summary {
    let limits = &config.limits.connections;
    let admission = Admission::new(limits.max_connections.size(), limits.max_connections_per_ip.size());
    accept::serve(listener, PowerService::new(config), admission, shutdown).await
}

/// What every connection of this service shares.
struct PowerService {
    deadlines: Deadlines,
    most_bytes: usize,
    busy: Arc<[u8]>,
}

impl PowerService {
    fn new(config: &Config) -> Self {
        let mut busy = BytesMut::new();
        // Encoding into memory cannot fail.
        let _ = ReplyEncoder.encode((&Err(Refusal::busy()), Ending::Bare), &mut busy);
        let timeouts = &config.timeouts;
        Self {
            deadlines: timeouts.shared.deadlines(Some(timeouts.request), config.framing.settle),
            most_bytes: config.limits.max_request_bytes.size(),
            busy: busy[..].into(),
        }
    }
}

impl<S> Service<S> for PowerService
where
    S: Stream,
{
    async fn serve(&self, stream: S, shutdown: &Shutdown) -> Closed {
        let conversation = Conversation::new(self.most_bytes, &self.deadlines);
        connection::run(stream, conversation, &self.deadlines, shutdown).await
    }

    fn refusal(&self) -> Arc<[u8]> {
        Arc::clone(&self.busy)
    }
}

/// Asks the server that runs with `config` a real question. One that is full and says so is as it should be: to start
/// it anew would throw out everybody whom it serves.
///
/// # Errors
///
/// What kept it from answering right, in a sentence.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    let limit = config.timeouts.request.get();
    let address = reachable(config.listen.0).to_string();
    let client = Client::new(Endpoint::new(address).with_timeouts(Timeouts::all(limit)));
    let one = Number::from(1);
    match client.ask(Operation::Echo, one).await {
        Ok(Ok(answer)) if answer == one => Ok(()),
        Ok(Ok(answer)) => Err(format!("asked for the echo of {one}, it answered {answer}")),
        Ok(Err(refusal)) if refusal.code == Code::Busy => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
