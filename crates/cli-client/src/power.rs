//! `power`: asks for powers of numbers.

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
use crate::error::{CliError, REFUSED};
use crate::input::values;
use crate::language::texts;
use crate::output::{self, Output};
use crate::service::Service;
use crate::session::Session;

/// Prints the result for each number. An error reply is reported, and the next number asked for.
///
/// # Errors
///
/// The first error that keeps replies from coming, or else that there was an error reply.
pub(crate) async fn run(command: PowerCommand, session: &Session) -> Result<(), CliError> {
    let (operation, arguments) = match command {
        PowerCommand::Square(arguments) => (Operation::Square, arguments),
        PowerCommand::Cube(arguments) => (Operation::Cube, arguments),
        PowerCommand::Fourth(arguments) => (Operation::Fourth, arguments),
        PowerCommand::Echo(arguments) => (Operation::Echo, arguments),
    };
    let address = Service::Power.address(arguments.addr)?;
    if arguments.keep_alive && !matches!(arguments.framing, None | Some(Framing::Line)) {
        return Err(CliError::Usage(texts::keep_alive_needs_lines()));
    }
    let framing = arguments.framing.unwrap_or_default();
    let mut client = Client::new(session.endpoint(&address)).with_framing(framing);
    let piece = arguments.split.and_then(|bytes| NonZeroUsize::new(usize::try_from(bytes).ok()?));
    if let Some(bytes) = piece {
        client = client.with_chunking(Chunking { bytes, pause: arguments.delay });
    }
    let mut numbers = values(arguments.numbers, number);
    let mut printer = Printer { output: session.output, address, operation, refused: false };
    let asked = async {
        if arguments.keep_alive {
            return client.request_all(operation, numbers, |number, reply| printer.print_or_stop(number, reply)).await;
        }
        while let Some(number) = numbers.try_next().await? {
            printer.print(number, client.request(operation, number).await?)?;
        }
        Ok(())
    };
    asked.await.map_err(|failure| {
        failure.with_hint(|kind, phase| match (kind, phase) {
            (ErrorKind::TimedOut(_), Phase::End) if !arguments.keep_alive => Some(texts::hint_framing()),
            (ErrorKind::Protocol(_), _) if piece.is_some() => Some(texts::hint_pieces()),
            _ => None,
        })
    })?;
    if printer.refused { Err(CliError::Reported(REFUSED)) } else { Ok(()) }
}

/// Prints results and reports error replies.
struct Printer {
    output: Output,
    address: String,
    operation: Operation,
    /// Whether there was an error reply.
    refused: bool,
}

impl Printer {
    /// Prints a reply on a kept connection, and fails after an error reply with which the server closes it.
    fn print_or_stop(&mut self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let closes = matches!(&reply, Err(refusal) if refusal.code.closes_connection());
        self.print(operand, reply)?;
        if closes { Err(CliError::Reported(REFUSED)) } else { Ok(()) }
    }

    fn print(&mut self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let request = RequestObject { operation: self.operation, operand };
        match reply {
            Ok(result) => self.output.answer(result, &AnswerObject { request, result }),
            Err(refusal) => {
                self.refused = true;
                self.output.report_error(&request, &CliError::refused(&self.address, &refusal));
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
struct AnswerObject {
    #[serde(flatten)]
    request: RequestObject,
    #[serde(serialize_with = "output::number")]
    result: Number,
}
