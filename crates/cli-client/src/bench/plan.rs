//! The parameters of a run: workload, server, length.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::client::Connector;
use proto::wire::number::Number;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::power::{Operation, Request};
use proto::wire::rps::Move;
use rand::RngExt;
use tokio_util::codec::Encoder;

use crate::arguments::bench::LoadOptions;
use crate::language::texts;

/// Default duration of a run.
const DURATION: Duration = Duration::from_secs(5);

/// The parameters of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    /// Whether a connection carries many requests, each a line; otherwise each request has its own connection.
    pub(super) keep_alive: bool,
    /// How a power request ends.
    pub(super) framing: Framing,
    /// The servers, at least one; connections use them in turn. After the first exchange their names are resolved.
    pub(super) connectors: Vec<Connector>,
    pub(super) load: LoadOptions,
    /// Number of requests in flight on a connection.
    pub(super) in_flight: u64,
    /// Timeout of each phase.
    pub(super) timeout: Duration,
    /// How long a move of a duel waits for another player's move.
    pub(super) window: Option<Duration>,
    /// Whether the certificates of the servers are not verified.
    pub(super) insecure: bool,
    /// The name that the certificates must have instead of the host.
    pub(super) server_name: Option<String>,
}

impl Plan {
    /// Returns the name of the servers for text output.
    pub(super) fn server(&self) -> String {
        let addresses = self.addresses(&texts::list_separator());
        match self.workload {
            Workload::Exchange { .. } => addresses,
            _ => texts::server_at(self.workload.name(), addresses),
        }
    }

    /// Returns the addresses of the servers.
    pub(super) fn addresses(&self, separator: &str) -> String {
        self.connectors.iter().map(Connector::address).collect::<Vec<_>>().join(separator)
    }

    /// Returns the maximum number of requests that are sent together.
    pub(super) fn batch(&self) -> usize {
        usize::try_from(self.in_flight.min(self.requests())).unwrap_or(usize::MAX)
    }

    /// Returns the number of requests of the run. A run without a count ends by its duration.
    pub(super) fn requests(&self) -> u64 {
        self.load.requests.unwrap_or(u64::MAX)
    }

    /// Returns the timeout of the next reply.
    pub(super) fn reply_timeout(&self) -> Duration {
        self.timeout + self.window.unwrap_or_default()
    }

    /// Returns the duration of the run; `None` for a run that only a count limits.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.load.duration.or_else(|| self.load.requests.is_none().then_some(DURATION))
    }

    pub(super) fn threads(&self) -> u64 {
        self.load.threads.min(self.load.connections)
    }

    /// Returns the bytes of `count` requests.
    pub(super) fn request_bytes(&self, count: usize) -> Bytes {
        let bytes = match &self.workload {
            Workload::Power { request, .. } => {
                let mut line = BytesMut::new();
                // Writing to a growing buffer cannot fail.
                let _ = ClientCodec::new(self.framing).encode(*request, &mut line);
                line.repeat(count)
            }
            Workload::Exchange { send, .. } => send.repeat(count),
            Workload::Rps | Workload::Duel => {
                let mut random = rand::rng();
                (0..count).map(|_| Move::ALL[random.random_range(0..Move::ALL.len())].byte()).collect()
            }
        };
        bytes.into()
    }

    /// Returns the expected reply, with the exact bytes that our servers send. A game has several possible replies of
    /// one byte each.
    pub(super) fn expected_reply(&self) -> Bytes {
        match (&self.workload, self.framing) {
            (Workload::Power { expected, .. }, Framing::Line) => format!("d{expected}\n").into(),
            (Workload::Power { expected, .. }, _) => format!("d{expected}").into(),
            (Workload::Exchange { expect, .. }, _) => expect.clone(),
            (Workload::Rps | Workload::Duel, _) => Bytes::from_static(b"?"),
        }
    }
}

/// The kind of requests, with their expected replies.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Workload {
    /// A power of a number.
    Power { request: Request, expected: Number },
    /// Rounds against the house.
    Rps,
    /// Rounds of players against each other. A run may end with moves in play, because a move waits for another player,
    /// who may have finished.
    Duel,
    /// The same bytes each time, for any kind of server.
    Exchange { send: Bytes, expect: Bytes },
}

impl Workload {
    /// Creates requests for a power; returns `None` if the result is out of range.
    pub(super) fn power(operation: Operation, operand: Number) -> Option<Self> {
        let x = operand.value();
        // Does not use the server's code, so that the verification is independent. The order of the products equals the
        // server's, because each product is rounded (IEEE 754).
        let result = match operation {
            Operation::Square => x * x,
            Operation::Cube => x * x * x,
            Operation::Fourth => x * x * x * x,
            Operation::Echo => x,
        };
        Some(Self::Power { request: Request { operation, operand }, expected: Number::new(result)? })
    }

    /// Returns the name in `--json`.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Power { .. } => "power",
            Self::Rps => "rps",
            Self::Duel => "duel",
            Self::Exchange { .. } => "exchange",
        }
    }

    /// Whether this is a game, where replies differ from request to request.
    pub(super) fn is_game(&self) -> bool {
        matches!(self, Self::Rps | Self::Duel)
    }
}
