//! `power`: asks for powers of numbers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;

use futures::FutureExt;
use proto::client::power::{Client, Pieces, Replies, Requests};
use proto::client::{ErrorKind, Phase};
use proto::wire::number::Number;
use proto::wire::power::{Operation, Reply};
use serde::Serialize;

use crate::arguments::values::number;
use crate::arguments::{Framing, PowerCommand};
use crate::error::{CliError, REFUSED};
use crate::input::Values;
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
    let mut client = Client::new(session.endpoint(&address)).with_framing(framing.into());
    let piece = arguments.split.and_then(|bytes| NonZeroUsize::new(usize::try_from(bytes).ok()?));
    if let Some(bytes) = piece {
        client = client.in_pieces(Pieces { bytes, pause: arguments.delay });
    }
    let mut numbers = Values::of(arguments.numbers, number);
    let mut printer = Printer { output: session.output, address, operation, refused: false };
    let asked = async {
        if arguments.keep_alive {
            return on_one_connection(&client, numbers, &mut printer).await;
        }
        while let Some(number) = numbers.next().await? {
            printer.print(number, client.ask(operation, number).await?)?;
        }
        Ok(())
    };
    asked.await.map_err(|failure| {
        failure.with_hint(|error| match (&error.kind, error.phase) {
            (ErrorKind::TimedOut(_), Phase::End) if !arguments.keep_alive => Some(texts::hint_framing()),
            (ErrorKind::Protocol(_), _) if piece.is_some() => Some(texts::hint_pieces()),
            _ => None,
        })
    })?;
    if printer.refused { Err(CliError::Reported(REFUSED)) } else { Ok(()) }
}

async fn on_one_connection(client: &Client, numbers: Values<Number>, printer: &mut Printer) -> Result<(), CliError> {
    let (requests, replies) = client.connect().await?;
    let operation = printer.operation;
    // Numbers without a reply. The connection bounds how many are in flight.
    let in_flight = RefCell::new(VecDeque::new());
    // Where the connection breaks, the reading side has the reason, and sending on is useless. After an error in sending,
    // what is in flight is still answered.
    let sending = async { Ok(send(requests, operation, numbers, &in_flight).await) };
    let ((), sent) = tokio::try_join!(receive(replies, printer, &in_flight), sending)?;
    sent
}

/// Sends a request for each number, and flushes whenever the next number is not there yet. Requests before an error are
/// still sent.
async fn send(
    mut requests: Requests,
    operation: Operation,
    mut numbers: Values<Number>,
    in_flight: &RefCell<VecDeque<Number>>,
) -> Result<(), CliError> {
    let sent = async {
        loop {
            let next = if let Some(next) = numbers.next().now_or_never() {
                next?
            } else {
                requests.flush().await?;
                numbers.next().await?
            };
            let Some(number) = next else { return Ok(()) };
            in_flight.borrow_mut().push_back(number);
            requests.send(operation, number).await?;
        }
    }
    .await;
    let finished = requests.finish().await;
    sent.and(finished.map_err(CliError::from))
}

async fn receive(
    mut replies: Replies,
    printer: &mut Printer,
    in_flight: &RefCell<VecDeque<Number>>,
) -> Result<(), CliError> {
    while let Some(reply) = replies.receive().await? {
        let last = matches!(&reply, Err(refusal) if refusal.code.is_last());
        // There is one: `receive` returns replies only to requests in flight.
        let Some(operand) = in_flight.borrow_mut().pop_front() else { return Ok(()) };
        printer.print(operand, reply)?;
        if last {
            return Err(CliError::Reported(REFUSED));
        }
    }
    Ok(())
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
    fn print(&mut self, operand: Number, reply: Reply) -> Result<(), CliError> {
        let request = Request { operation: self.operation, operand };
        match reply {
            Ok(result) => self.output.answer(result, &Answer { request, result }),
            Err(refusal) => {
                self.refused = true;
                self.output.report_error(&request, &CliError::refused(&self.address, &refusal));
                Ok(())
            }
        }
    }
}

#[derive(Serialize)]
struct Request {
    #[serde(rename = "op", serialize_with = "output::by_name")]
    operation: Operation,
    #[serde(serialize_with = "output::number")]
    operand: Number,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    request: Request,
    #[serde(serialize_with = "output::number")]
    result: Number,
}
