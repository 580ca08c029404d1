//! `power`: computes powers of numbers on the power server.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use proto::client::power::{Chunking, Client};
use proto::client::{ErrorKind, Phase};
use proto::wire::number::Number;
use proto::wire::power::client::Framing;
use proto::wire::power::{Operation, Reply};
use serde::Serialize;
use tokio::sync::Notify;

use crate::arguments::PowerCommand;
use crate::arguments::values::number;
use crate::error::{CliError, EXIT_FAILURE, EXIT_USAGE};
use crate::input::values;
use crate::language::texts;
use crate::output::{self, Output};
use crate::session::Session;
use crate::target::Target;

/// Prints the result for each number. After an error reply and after an invalid line of standard input it continues
/// with the next number.
///
/// # Errors
///
/// The first error that prevents further replies, or else that there was an invalid line or an error reply. An invalid
/// line decides the exit code, because the same input fails again; an error reply may depend on the server.
pub(crate) async fn run(command: PowerCommand, session: &Session) -> Result<(), CliError> {
    let (operation, arguments) = match command {
        PowerCommand::Square(arguments) => (Operation::Square, arguments),
        PowerCommand::Cube(arguments) => (Operation::Cube, arguments),
        PowerCommand::Fourth(arguments) => (Operation::Fourth, arguments),
        PowerCommand::Echo(arguments) => (Operation::Echo, arguments),
    };
    let endpoint = Target::Power.endpoint(arguments.addr)?;
    if arguments.keep_alive && !matches!(arguments.framing, None | Some(Framing::Line)) {
        return Err(CliError::Usage(texts::keep_alive_needs_lines()));
    }
    let framing = arguments.framing.unwrap_or_default();
    let mut client = Client::new(session.connector(&endpoint)).with_framing(framing);
    let piece_len = arguments.split.and_then(|bytes| NonZeroUsize::new(usize::try_from(bytes).ok()?));
    if let Some(bytes) = piece_len {
        client = client.with_chunking(Chunking { bytes, pause: arguments.delay });
    }
    let printer = Printer::new(session.output, endpoint.to_string(), operation);
    let numbers = values(arguments.numbers, number);
    let mut numbers = pin!(numbers.filter_map(|number| printer.valid(number)));
    let done = async {
        if arguments.keep_alive {
            return client.request_all(operation, numbers, |number, reply| printer.print_or_stop(number, reply)).await;
        }
        while let Some(number) = numbers.try_next().await? {
            printer.print(number, client.request(operation, number).await?)?;
        }
        Ok(())
    };
    match done.await {
        Ok(()) | Err(CliError::Reported(_)) => printer.result(),
        Err(error) => Err(error.with_hint(|kind, phase| match (kind, phase) {
            (ErrorKind::TimedOut(_), Phase::End) if !arguments.keep_alive => Some(texts::hint_framing()),
            (ErrorKind::Protocol(_), _) if piece_len.is_some() => Some(texts::hint_split()),
            _ => None,
        })),
    }
}

/// Prints results, and reports error replies and invalid lines.
struct Printer {
    output: Output,
    address: String,
    operation: Operation,
    /// Numbers read that have no reply yet.
    unanswered: Cell<u64>,
    /// Notified of every reply.
    replied: Notify,
    /// Whether there was an error reply.
    had_error_reply: Cell<bool>,
    /// Whether there was an invalid line.
    had_invalid_line: Cell<bool>,
}

impl Printer {
    fn new(output: Output, address: String, operation: Operation) -> Self {
        Self {
            output,
            address,
            operation,
            unanswered: Cell::default(),
            replied: Notify::new(),
            had_error_reply: Cell::default(),
            had_invalid_line: Cell::default(),
        }
    }

    /// Returns a number that was read, or reports an invalid line. The report waits for the replies to the numbers
    /// before the line, so that the output has the order of the input.
    async fn valid(&self, read: Result<Number, CliError>) -> Option<Result<Number, CliError>> {
        match read {
            Ok(number) => {
                self.unanswered.set(self.unanswered.get() + 1);
                Some(Ok(number))
            }
            Err(error @ CliError::Usage(_)) => {
                while self.unanswered.get() > 0 {
                    self.replied.notified().await;
                }
                self.had_invalid_line.set(true);
                self.output.report_error(&(), &error);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Prints a reply on a keep-alive connection. Fails after an error reply that closes the connection.
    fn print_or_stop(&self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let closes = matches!(&reply, Err(error) if error.code.closes_connection());
        self.print(operand, reply)?;
        if closes { Err(CliError::Reported(EXIT_FAILURE)) } else { Ok(()) }
    }

    fn print(&self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let request = RequestObject { operation: self.operation, operand };
        match reply {
            Ok(result) => self.output.print(result, &ResultObject { request, result })?,
            Err(error) => {
                self.had_error_reply.set(true);
                self.output.report_error(&request, &CliError::from_reply_to(&self.address, operand, &error));
            }
        }
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
        self.replied.notify_one();
        Ok(())
    }

    /// Returns the result of the command after everything has been reported.
    fn result(&self) -> Result<(), CliError> {
        match (self.had_invalid_line.get(), self.had_error_reply.get()) {
            (true, _) => Err(CliError::Reported(EXIT_USAGE)),
            (false, true) => Err(CliError::Reported(EXIT_FAILURE)),
            (false, false) => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct RequestObject {
    #[serde(rename = "op", serialize_with = "output::by_name")]
    operation: Operation,
    #[serde(serialize_with = "output::number")]
    operand: Number,
}

#[derive(Serialize)]
struct ResultObject {
    #[serde(flatten)]
    request: RequestObject,
    #[serde(serialize_with = "output::number")]
    result: Number,
}
