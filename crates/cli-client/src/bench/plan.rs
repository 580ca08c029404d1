//! What a run is to do: which load, on whom, for how long.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::client::Endpoint;
use proto::wire::number::Number;
use proto::wire::power::client::{ClientCodec, Framing};
use proto::wire::power::{Operation, Request};
use proto::wire::rps::Move;
use rand::RngExt;
use tokio_util::codec::Encoder;

use crate::arguments::bench::Load;

/// How long a run takes where nothing says it.
const DURATION: Duration = Duration::from_secs(5);

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) work: Work,
    /// The server, once for each address to connect from.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) load: Load,
    /// How many requests are in flight on a connection.
    pub(super) in_flight: usize,
    /// How long the next reply may take.
    pub(super) limit: Duration,
}

impl Plan {
    /// A plan without the server's addresses.
    pub(super) fn new(work: Work, mut load: Load, in_flight: u64, limit: Duration) -> Self {
        if load.requests.is_none() {
            load.duration.get_or_insert(DURATION);
        }
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        Self { work, endpoints: Vec::new(), load, in_flight, limit }
    }

    /// How many requests go out together at the most.
    pub(super) fn batch(&self) -> usize {
        let requests =
            self.load.requests.map_or(usize::MAX, |requests| usize::try_from(requests).unwrap_or(usize::MAX));
        self.in_flight.min(requests)
    }
}

/// What is asked and answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// Powers, each on a connection of its own, or in lines on kept ones.
    Power { request: Request, right: Number, style: Style },
    /// Rounds against the house.
    Rps,
    /// Rounds of players against each other.
    Duel,
    /// Bytes that a server of whatever kind answers with these.
    Exchange { send: Bytes, expect: Bytes, style: Style },
}

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A request each, ended in this way.
    Short(Framing),
    /// Many requests each.
    Kept,
}

impl Work {
    /// Asks for a power, if it has one.
    pub(super) fn power(operation: Operation, operand: Number, style: Style) -> Option<Self> {
        let x = operand.value();
        // Not the service's own code, so that its answers are held against something else. The parentheses are the
        // service's: each product is rounded (IEEE 754).
        let result = match operation {
            Operation::Square => x * x,
            Operation::Cube => x * x * x,
            Operation::Fourth => x * x * x * x,
            Operation::Echo => x,
        };
        Some(Self::Power { request: Request { operation, operand }, right: Number::new(result)?, style })
    }

    /// How connections are used for it.
    pub(super) fn style(&self) -> Style {
        match self {
            Self::Power { style, .. } | Self::Exchange { style, .. } => *style,
            Self::Rps | Self::Duel => Style::Kept,
        }
    }

    /// Whether it is a game, in which no two exchanges are alike.
    pub(super) fn is_game(&self) -> bool {
        matches!(self, Self::Rps | Self::Duel)
    }

    /// So many requests, as they go out in one write.
    pub(super) fn requests(&self, count: usize) -> Vec<u8> {
        match self {
            Self::Power { request, style, .. } => {
                let framing = match style {
                    Style::Short(framing) => *framing,
                    Style::Kept => Framing::Line,
                };
                let mut line = BytesMut::new();
                // Writing to a buffer that grows cannot fail.
                let _ = ClientCodec::new(framing).encode(*request, &mut line);
                line.repeat(count)
            }
            Self::Exchange { send, .. } => send.repeat(count),
            Self::Rps | Self::Duel => {
                let mut random = rand::rng();
                (0..count).map(|_| Move::ALL[random.random_range(0..Move::ALL.len())].byte()).collect()
            }
        }
    }

    /// Whether a run ends with requests unanswered: a move waits for another player, who may be done.
    pub(super) fn leaves_unanswered(&self) -> bool {
        matches!(self, Self::Duel)
    }
}

/// What the command line calls a framing.
pub(super) fn framing_name(framing: Framing) -> &'static str {
    match framing {
        Framing::EndOfStream => "eof",
        Framing::Line => "line",
        Framing::Bare => "bare",
    }
}
