//! The parameters of a run: which load, on which server, for how long.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::client::Endpoint;
use proto::wire::number::Number;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::power::{Operation, Request};
use proto::wire::rps::Move;
use rand::RngExt;
use tokio_util::codec::Encoder;

use crate::arguments::bench::LoadOptions;
use crate::language::texts;

/// How long a run takes by default.
const DURATION: Duration = Duration::from_secs(5);

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    /// Whether a connection is kept for many requests, each a line; otherwise each request has its own.
    pub(super) kept: bool,
    /// How a power request ends.
    pub(super) framing: Framing,
    /// The server, as the user names it.
    pub(super) address: String,
    /// The server, its name resolved once a first exchange has succeeded.
    pub(super) endpoint: Endpoint,
    pub(super) load: LoadOptions,
    /// How many requests are in flight on a connection.
    pub(super) in_flight: u64,
    /// How long the next reply may take.
    pub(super) reply_timeout: Duration,
}

impl Plan {
    /// The server, as people see it.
    pub(super) fn server(&self) -> String {
        match self.workload {
            Workload::Exchange { .. } => self.address.clone(),
            _ => texts::server_at(self.workload.name(), &self.address),
        }
    }

    /// How many requests go out together at the most.
    pub(super) fn batch(&self) -> usize {
        usize::try_from(self.in_flight.min(self.requests())).unwrap_or(usize::MAX)
    }

    /// How many requests the run has; a run without a count ends by its duration.
    pub(super) fn requests(&self) -> u64 {
        self.load.requests.unwrap_or(u64::MAX)
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.load.duration.or_else(|| self.load.requests.is_none().then_some(DURATION))
    }

    pub(super) fn threads(&self) -> u64 {
        self.load.threads.min(self.load.connections)
    }

    /// The bytes of `count` requests.
    pub(super) fn request_bytes(&self, count: usize) -> Bytes {
        let bytes = match &self.workload {
            Workload::Power { request, .. } => {
                let mut line = BytesMut::new();
                // Writing to a buffer that grows cannot fail.
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

    /// The right reply, byte for byte as our own servers write it. A game has more than one, of one byte each.
    pub(super) fn right_reply(&self) -> Bytes {
        match (&self.workload, self.framing) {
            (Workload::Power { right, .. }, Framing::Line) => format!("d{right}\n").into(),
            (Workload::Power { right, .. }, _) => format!("d{right}").into(),
            (Workload::Exchange { expect, .. }, _) => expect.clone(),
            (Workload::Rps | Workload::Duel, _) => Bytes::from_static(b"?"),
        }
    }
}

/// The kind of requests, with the right replies.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Workload {
    /// A power of a number.
    Power { request: Request, right: Number },
    /// RoundCounts against the house.
    Rps,
    /// RoundCounts of players against each other. A run ends with requests unanswered: a move waits for another player, who
    /// may be done.
    Duel,
    /// The same bytes each time, from a server of any kind.
    Exchange { send: Bytes, expect: Bytes },
}

impl Workload {
    /// Asks for a power; `None` if it is beyond all numbers.
    pub(super) fn power(operation: Operation, operand: Number) -> Option<Self> {
        let x = operand.value();
        // Not the service's own code, so that its replies are verified by something else. The parentheses are the
        // service's: each product is rounded (IEEE 754).
        let result = match operation {
            Operation::Square => x * x,
            Operation::Cube => x * x * x,
            Operation::Fourth => x * x * x * x,
            Operation::Echo => x,
        };
        Some(Self::Power { request: Request { operation, operand }, right: Number::new(result)? })
    }

    /// The name for programs.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Power { .. } => "power",
            Self::Rps => "rps",
            Self::Duel => "duel",
            Self::Exchange { .. } => "exchange",
        }
    }

    /// Whether it is a game, in which no two exchanges are alike.
    pub(super) fn is_game(&self) -> bool {
        matches!(self, Self::Rps | Self::Duel)
    }
}
