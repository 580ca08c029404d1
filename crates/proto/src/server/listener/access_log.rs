//! The access log: a line at level debug for each connection, at its end.
//!
//! It depends on `peer`, `connection` and the rate limit. A connection that begins while the level is off has no
//! [`AccessRecord`] and counts nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::Level;
use tracing::field::display;

use super::peer::Peer;
use crate::server::connection::close_reason::CloseReason;
use crate::server::connection::handler::{Handler, Progress};
use crate::server::observe::rate_limit::RateLimit;

/// The values of a connection's line, except those that its end adds.
#[derive(Debug)]
pub(super) struct AccessRecord {
    endpoint: Arc<str>,
    accepted_at: Instant,
    counts: Mutex<AccessCounts>,
}

/// The counts of a connection.
#[derive(Debug, Default)]
struct AccessCounts {
    requests: u64,
    /// The error replies by code.
    errors: BTreeMap<&'static str, u64>,
    received_bytes: u64,
    sent_bytes: u64,
    /// The bytes that the handler left in its input for the next call.
    unconsumed: usize,
}

impl AccessRecord {
    /// Returns the record of a new connection, or `None` if the level is off.
    pub(super) fn new(endpoint: &Arc<str>) -> Option<Arc<Self>> {
        let new = || Self { endpoint: Arc::clone(endpoint), accepted_at: Instant::now(), counts: Mutex::default() };
        tracing::enabled!(Level::DEBUG).then(|| Arc::new(new()))
    }

    /// Counts what a handler has done in one call: with this input and this output, which had no bytes before the call.
    pub(super) fn count<H: Handler>(&self, progress: Progress, len_before: usize, input: &[u8], output: &[u8]) {
        let counts = &mut *self.counts();
        counts.requests += progress.replies;
        counts.received_bytes += len_before.saturating_sub(counts.unconsumed) as u64;
        counts.sent_bytes += output.len() as u64;
        counts.unconsumed = input.len();
        H::error_codes(output, &mut |code| *counts.errors.entry(code).or_default() += 1);
    }

    fn counts(&self) -> MutexGuard<'_, AccessCounts> {
        // A panic of the handler ends the connection. The counts so far are right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs the end of a connection. Without a record, as for a connection that is older than the level, the line has no
/// counts.
pub(super) fn log_close(peer: Peer, record: Option<&AccessRecord>, reason: &CloseReason) {
    static HANDSHAKES: RateLimit = RateLimit::new();
    let endpoint = record.map(|record| display(&record.endpoint));
    let is_handshake = matches!(reason, CloseReason::TlsFailed(_));
    let (reason, error) = (reason.label(), reason.error().map(display));
    if is_handshake {
        // Clients need no complete handshake for this line, so it is limited like those at higher levels.
        if let Some(suppressed) = HANDSHAKES.allow() {
            tracing::debug!(%peer, endpoint, %reason, error, suppressed, "handshake failed");
        }
        return;
    }
    let Some(record) = record else {
        return tracing::debug!(%peer, %reason, error, "connection closed");
    };
    let duration_ms = (record.accepted_at.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let AccessCounts { requests, errors, received_bytes, sent_bytes, .. } = &*record.counts();
    let errors: Vec<_> = errors.iter().map(|(code, count)| format!("{code}={count}")).collect();
    let errors = (!errors.is_empty()).then(|| errors.join(","));
    tracing::debug!(
        %peer, endpoint, requests, errors, received_bytes, sent_bytes, duration_ms, %reason, error, "connection closed"
    );
}
