//! The metrics of the power service: replies by operation and result.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::connection::ConnectionMetrics;
use proto::server::observe::language::Text;
use proto::server::observe::metrics::counters::Counters;
use proto::server::observe::metrics::encode::counter;
use proto::server::observe::status::{Entry, Group, ServiceStatus, Value};
use proto::wire::power::{ErrorCode, Operation};

/// The metrics of a power server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The counters of connections.
    pub connections: Arc<ConnectionMetrics>,
    /// A row for each of the [`OPERATIONS`], with a column for each of the [`RESULTS`]. The column of `busy` stays 0:
    /// every rejected connection gets that reply, so `encode` takes the number from `connections`.
    requests: Counters<{ OPERATIONS.len() * RESULTS.len() }>,
}

/// The values of the label `op`. The last one is for replies without an operation: an invalid op letter, a timeout.
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

/// Returns the value of the label `result`.
pub(crate) const fn label(result: Result<(), ErrorCode>) -> &'static str {
    RESULTS[column(result)]
}

impl Metrics {
    /// Counts a reply. `operation` is `None` if the bytes did not begin with an op letter.
    pub fn count_reply(&self, operation: Option<Operation>, result: Result<(), ErrorCode>) {
        debug_assert_ne!(result, Err(ErrorCode::Busy), "`connections` counts rejected connections");
        self.requests.add(row(operation) * RESULTS.len() + column(result), 1);
    }
}

impl Metrics {
    /// Returns the number of replies of a row and a column.
    fn count(&self, row: usize, column: usize) -> u64 {
        let busy = (row, column) == (self::row(None), self::column(Err(ErrorCode::Busy)));
        if busy { self.connections.summary().rejected } else { self.requests.read(row * RESULTS.len() + column) }
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = OPERATIONS.iter().enumerate().flat_map(|(row, op)| {
            RESULTS
                .iter()
                .enumerate()
                .map(move |(column, result)| ([("op", *op), ("result", *result)], self.count(row, column)))
        });
        counter(&mut encoder, "requests", "Replies by operation and result", series)
    }
}

impl ServiceStatus for Metrics {
    fn groups(&self) -> Vec<Group> {
        let result = |(column, name): (usize, &&'static str)| {
            let total = (0..OPERATIONS.len()).map(|row| self.count(row, column)).sum();
            Entry::new(name, Value::Counter(total))
        };
        let operation = |(row, name): (usize, &&'static str)| {
            let total = (0..RESULTS.len()).map(|column| self.count(row, column)).sum();
            Entry::new(name, Value::Counter(total))
        };
        vec![
            Group {
                name: "results",
                title: Text::new("Replies by result", "应答（按结果）"),
                entries: RESULTS.iter().enumerate().map(result).collect(),
            },
            Group {
                name: "operations",
                title: Text::new("Replies by operation", "应答（按运算）"),
                entries: OPERATIONS.iter().enumerate().map(operation).collect(),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_the_status_add_up_the_rows_and_the_columns() {
        let metrics = Metrics::default();
        metrics.count_reply(Some(Operation::Square), Ok(()));
        metrics.count_reply(Some(Operation::Cube), Ok(()));
        metrics.count_reply(Some(Operation::Cube), Err(ErrorCode::Range));
        metrics.connections.rejected();
        let totals: Vec<Vec<_>> = metrics
            .groups()
            .into_iter()
            .map(|Group { entries, .. }| entries.into_iter().map(|Entry { name, value, .. }| (name, value)).collect())
            .collect();
        let [results, operations] = &totals[..] else { panic!("{totals:?}") };
        for (group, name, total) in [
            (results, "ok", 2),
            (results, "range", 1),
            (results, "busy", 1),
            (results, "badop", 0),
            (operations, "square", 1),
            (operations, "cube", 2),
            (operations, "echo", 0),
            (operations, "none", 1),
        ] {
            assert!(group.contains(&(name, Value::Counter(total))), "{name}: {group:?}");
        }
    }

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
