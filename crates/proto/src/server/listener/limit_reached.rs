//! The limits that clients can reach, with a counter of each and a rate limit of its log lines.
//!
//! It depends on `observe`.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::counter;
use crate::server::observe::rate_limit::RateLimit;

/// The limit for which a connection is rejected, or for which a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The server's limit.
    Server,
    /// The limit on open connections per client network, an IPv4 address or IPv6 /64.
    ClientNetwork,
    /// The limit on new connections per client network and second.
    ConnectionRate,
    /// The limit on requests per client network and second. No connection is rejected for it.
    RequestRate,
}

impl LimitReached {
    /// The keys in `[limits]`, in the order of the variants.
    const KEYS: [&str; 4] = ["max_connections", "max_connections_per_ip", "new_connections_per_ip", "requests_per_ip"];

    fn key(self) -> &'static str {
        Self::KEYS[self as usize]
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limits.{}", self.key())
    }
}

/// Counts how often each limit was reached.
#[derive(Debug, Default)]
pub(crate) struct LimitsReached {
    counts: Counters<{ LimitReached::KEYS.len() }>,
    /// One for each limit, so that the lines of one attack do not suppress those of another.
    log: [RateLimit; LimitReached::KEYS.len()],
}

impl LimitsReached {
    /// Counts a rejected connection or a request that has to wait. Like [`RateLimit::allow`], returns whether to log it.
    pub(crate) fn add(&self, limit: LimitReached) -> Option<u64> {
        self.counts.add(limit as usize, 1);
        self.log[limit as usize].allow()
    }

    /// Returns the counts, each with the key of its limit.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        (0..).zip(LimitReached::KEYS).map(|(index, key)| (key, self.counts.read(index))).collect()
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.counts.series("limit", &LimitReached::KEYS);
        counter(encoder, "limits_reached", "Rejected connections and requests that had to wait, by limit", series)
    }
}
