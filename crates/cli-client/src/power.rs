//! `power`: computes powers of numbers on the power server.

use std::num::NonZeroUsize;

use futures::TryStreamExt;
use proto::client::power::{Chunking, Client};
use proto::client::{ErrorKind, Phase};
use proto::wire::number::Number;
use proto::wire::power::client::Framing;
use proto::wire::power::{Operation, Reply};
use serde::Serialize;

use crate::arguments::PowerCommand;
use crate::arguments::values::number;
use crate::error::{CliError, EXIT_FAILURE};
use crate::input::values;
use crate::language::texts;
use crate::output::{self, Output};
use crate::session::Session;
use crate::target::Target;

/// Prints the result for each number. After an error reply it continues with the next number.
///
/// # Errors
///
/// The first error that prevents further replies, or else that there was an error reply.
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
    let mut numbers = values(arguments.numbers, number);
    let mut printer =
        Printer { output: session.output, address: endpoint.to_string(), operation, had_error_reply: false };
    let done = async {
        if arguments.keep_alive {
            return client.request_all(operation, numbers, |number, reply| printer.print_or_stop(number, reply)).await;
        }
        while let Some(number) = numbers.try_next().await? {
            printer.print(number, client.request(operation, number).await?)?;
        }
        Ok(())
    };
    done.await.map_err(|error| {
        error.with_hint(|kind, phase| match (kind, phase) {
            (ErrorKind::TimedOut(_), Phase::End) if !arguments.keep_alive => Some(texts::hint_framing()),
            (ErrorKind::Protocol(_), _) if piece_len.is_some() => Some(texts::hint_split()),
            _ => None,
        })
    })?;
    if printer.had_error_reply { Err(CliError::Reported(EXIT_FAILURE)) } else { Ok(()) }
}

/// Prints results and reports error replies.
struct Printer {
    output: Output,
    address: String,
    operation: Operation,
    /// Whether there was an error reply.
    had_error_reply: bool,
}

impl Printer {
    /// Prints a reply on a keep-alive connection. Fails after an error reply that closes the connection.
    fn print_or_stop(&mut self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let closes = matches!(&reply, Err(error) if error.code.closes_connection());
        self.print(operand, reply)?;
        if closes { Err(CliError::Reported(EXIT_FAILURE)) } else { Ok(()) }
    }

    fn print(&mut self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let request = RequestObject { operation: self.operation, operand };
        match reply {
            Ok(result) => self.output.print(result, &ResultObject { request, result }),
            Err(error) => {
                self.had_error_reply = true;
                self.output.report_error(&request, &CliError::from_reply(&self.address, &error));
                Ok(())
            }
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
