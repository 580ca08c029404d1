//! What is counted of the service: its requests, by what was asked and what came of it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::connection::ConnectionMetrics;
use proto::server::observe::metrics::counters::Counters;
use proto::server::observe::metrics::encode::counter;
use proto::wire::power::{ErrorCode, Operation};

/// Everything that a power server counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Its connections.
    pub connections: Arc<ConnectionMetrics>,
    /// A row for each of the [`OPERATIONS`], in it a column for each of the [`RESULTS`]. The column of `busy` stays 0:
    /// every rejected connection gets that reply, and `connections` counts them.
    requests: Counters<{ OPERATIONS.len() * RESULTS.len() }>,
}

/// The last is for what was no request for any of them.
const OPERATIONS: [&str; 5] = ["square", "cube", "fourth", "echo", "none"];
const RESULTS: [&str; 7] = ["ok", "badop", "badnum", "range", "toolong", "timeout", "busy"];

const fn row(operation: Option<Operation>) -> usize {
    match operation {
        Some(Operation::Square) => 0,
        Some(Operation::Cube) => 1,
        Some(Operation::Fourth) => 2,
        Some(Operation::Echo) => 3,
        None => 4,
    }
}

const fn column(result: Result<(), ErrorCode>) -> usize {
    match result {
        Ok(()) => 0,
        Err(ErrorCode::BadOp) => 1,
        Err(ErrorCode::BadNum) => 2,
        Err(ErrorCode::Range) => 3,
        Err(ErrorCode::TooLong) => 4,
        Err(ErrorCode::Timeout) => 5,
        Err(ErrorCode::Busy) => 6,
    }
}

impl Metrics {
    /// A request was answered; it was for an operation, or for none that could be told.
    pub fn answered(&self, operation: Option<Operation>, result: Result<(), ErrorCode>) {
        debug_assert_ne!(result, Err(ErrorCode::Busy), "rejected connections are counted as such");
        self.requests.add(row(operation) * RESULTS.len() + column(result), 1);
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = OPERATIONS.iter().enumerate().flat_map(|(row, op)| {
            RESULTS.iter().enumerate().map(move |(column, result)| {
                let counted = self.requests.read(row * RESULTS.len() + column);
                let busy = (row, column) == (self::row(None), self::column(Err(ErrorCode::Busy)));
                ([("op", *op), ("result", *result)], if busy { self.connections.summary().rejected } else { counted })
            })
        });
        counter(&mut encoder, "requests", "Answers, by what was asked and what came of it", series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_code_has_the_label_of_its_name() {
        for operation in Operation::ALL {
            assert_eq!(OPERATIONS[row(Some(operation))], operation.to_string());
        }
        for code in ErrorCode::ALL {
            assert_eq!(RESULTS[column(Err(code))], code.as_str().to_lowercase());
        }
    }
}
