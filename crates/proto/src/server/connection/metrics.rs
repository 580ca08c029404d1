//! The metrics of connections. They depend on `close_reason` and on the counters of `observe`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::server::connection::close_reason::CloseReason;
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::counter;
use crate::server::observe::metrics::latency::LatencyHistogram;
use crate::server::observe::status::ConnectionCounts;

/// The counters of accept loops and connections, shared by all of a process.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// The durations of replies.
    pub latency: LatencyHistogram,
    by_result: Counters<2>,
    closed: Counters<{ CloseReason::LABELS.len() }>,
    accept_errors: Counters<2>,
    /// The admitted connections of each endpoint.
    by_endpoint: Mutex<Vec<EndpointCounter>>,
}

/// The admitted connections of an endpoint.
#[derive(Debug)]
struct EndpointCounter {
    endpoint: String,
    transport: &'static str,
    accepted: Arc<Counters<1>>,
}

/// The totals of a server's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Admitted connections.
    pub accepted: u64,
    /// Connections rejected because of a limit.
    pub rejected: u64,
    /// Connections whose task panicked.
    pub panicked: u64,
    /// Connections that were not finished at the drain deadline.
    pub aborted: u64,
}

impl ConnectionMetrics {
    /// Returns the counter of the admitted connections of an endpoint. The configuration bounds the number of endpoints.
    pub(crate) fn of_endpoint(&self, endpoint: &str, transport: &'static str) -> Arc<Counters<1>> {
        let mut endpoints = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = endpoints.iter().find(|counter| counter.endpoint == endpoint) {
            return Arc::clone(&counter.accepted);
        }
        let accepted = Arc::<Counters<1>>::default();
        endpoints.push(EndpointCounter { endpoint: endpoint.to_owned(), transport, accepted: Arc::clone(&accepted) });
        accepted
    }

    /// Counts an admitted connection.
    pub fn accepted(&self) {
        self.by_result.add(0, 1);
    }

    /// Counts a rejected connection.
    pub fn rejected(&self) {
        self.by_result.add(1, 1);
    }

    /// Counts the end of an admitted connection.
    pub fn closed(&self, reason: &CloseReason) {
        self.closed_many(reason, 1);
    }

    /// Counts the end of several admitted connections.
    pub fn closed_many(&self, reason: &CloseReason, connections: usize) {
        self.closed.add(reason.index(), connections as u64);
    }

    /// Counts a connection that was aborted before it was accepted.
    pub fn accept_aborted(&self) {
        self.accept_errors.add(0, 1);
    }

    /// Counts an accept that failed for lack of a resource, such as file descriptors.
    pub fn accept_exhausted(&self) {
        self.accept_errors.add(1, 1);
    }

    /// Returns the numbers for the status page. Those of the limits are 0.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        let Summary { accepted, rejected, .. } = self.summary();
        let endpoints = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let by_endpoint = endpoints
            .iter()
            .map(|EndpointCounter { endpoint, accepted, .. }| (endpoint.clone(), accepted.read(0)))
            .collect();
        let closed = (0..).zip(CloseReason::LABELS).map(|(index, reason)| (reason, self.closed.read(index))).collect();
        ConnectionCounts { accepted, rejected, by_endpoint, closed, ..ConnectionCounts::default() }
    }

    /// Returns the totals so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            accepted: self.by_result.read(0),
            rejected: self.by_result.read(1),
            panicked: self.closed.read(CloseReason::Panic.index()),
            aborted: self.closed.read(CloseReason::Aborted.index()),
        }
    }
}

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let by_result = self.by_result.series("result", &["accepted", "rejected"]);
        counter(encoder, "connections", "Incoming connections, by result", by_result)?;
        let endpoints = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let by_endpoint = endpoints.iter().map(|EndpointCounter { endpoint, transport, accepted }| {
            ([("endpoint", endpoint.as_str()), ("transport", *transport)], accepted.read(0))
        });
        counter(encoder, "endpoint_connections", "Admitted connections, by endpoint and transport", by_endpoint)?;
        let closed = self.closed.series("reason", &CloseReason::LABELS);
        counter(encoder, "connections_closed", "Closed connections, by reason", closed)?;
        let errors = self.accept_errors.series("kind", &["aborted", "exhausted"]);
        counter(
            encoder,
            "accept_errors",
            "Errors of accept, by kind: of one connection, or a shortage of resources",
            errors,
        )?;
        let help = "Time from a complete request until its reply is in the socket";
        self.latency.encode(encoder, "request_duration_seconds", help)
    }
}
