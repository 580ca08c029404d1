//! `power`: numbers in, powers out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::ready;
use std::pin::pin;

use proto::client::power::{Client, Replies, Requests};
use proto::client::{Error, ErrorKind, Phase};
use proto::wire::number::Number;
use proto::wire::power::{Operation, Reply};
use serde::{Serialize, Serializer};

use crate::arguments::PowerCommand;
use crate::arguments::power::Framing;
use crate::failure::{Failure, REFUSED};
use crate::input::{Operand, Values};
use crate::language::texts;
use crate::output::{self, Output};
use crate::session::Session;

/// Asks for each number and prints each answer. A refusal is reported and does not keep the others from being asked.
///
/// # Errors
///
/// The first thing that keeps answers from coming, or else that one was a refusal.
pub async fn run(command: PowerCommand, session: &Session) -> Result<(), Failure> {
    let (operation, arguments) = command.operation.parts();
    let pieces = arguments.pieces();
    let address = arguments.address.resolve()?;
    if arguments.keep_alive && !matches!(arguments.framing, None | Some(Framing::Line)) {
        return Err(Failure::Usage(texts::keep_alive_needs_lines()));
    }
    let framing = arguments.framing.unwrap_or_default();
    let mut client = Client::new(session.endpoint(&address)).with_framing(framing.into());
    if let Some(pieces) = pieces {
        client = client.in_pieces(pieces);
    }
    let numbers = Values::of(arguments.numbers);
    let mut teller = Teller { output: session.output, address, operation, refused: false };
    if arguments.keep_alive {
        let asked = on_one_connection(&client, numbers, &mut teller).await;
        asked.map_err(|broken| match broken {
            Failure::NoAnswer(error, _) => failure(error, pieces.is_some(), true),
            broken => broken,
        })?;
    } else {
        on_a_connection_each(&client, pieces.is_some(), numbers, &mut teller).await?;
    }
    if teller.refused { Err(Failure::Reported(REFUSED)) } else { Ok(()) }
}

async fn on_a_connection_each(
    client: &Client,
    in_pieces: bool,
    mut numbers: Values<Operand>,
    teller: &mut Teller,
) -> Result<(), Failure> {
    while let Some(Operand(number)) = numbers.next().await? {
        let reply = client.ask(teller.operation, number).await.map_err(|error| failure(error, in_pieces, false))?;
        teller.tell(number, reply)?;
    }
    Ok(())
}

/// Why there is no answer, and what to try where it may be the framing.
fn failure(error: Error, in_pieces: bool, kept: bool) -> Failure {
    match (&error.kind, error.phase) {
        (ErrorKind::TimedOut(_), Phase::End) if !kept => Failure::NoAnswer(error, texts::hint_framing()),
        (ErrorKind::Protocol(_), _) if in_pieces => Failure::NoAnswer(error, texts::hint_pieces()),
        _ => Failure::from(error),
    }
}

async fn on_one_connection(client: &Client, numbers: Values<Operand>, teller: &mut Teller) -> Result<(), Failure> {
    let (requests, replies) = client.connect().await?.split();
    // What has been asked and not answered yet: as many as the connection lets be in flight.
    let asked = RefCell::new(VecDeque::new());
    let mut asking = pin!(ask(requests, teller.operation, numbers, &asked));
    let mut hearing = pin!(hear(replies, teller, &asked));
    tokio::select! {
        // What is heard last is the reason where the connection breaks; then asking on would be to no one.
        heard = &mut hearing => {
            heard?;
            asking.await
        }
        asked = &mut asking => {
            hearing.await?;
            asked
        }
    }
}

/// Asks for every number, and sends what it has whenever the next one is not there yet. What was asked before an error
/// is still sent, so that it is answered.
async fn ask(
    mut requests: Requests,
    operation: Operation,
    mut numbers: Values<Operand>,
    in_flight: &RefCell<VecDeque<Number>>,
) -> Result<(), Failure> {
    let asked = async {
        loop {
            let at_once = tokio::select! {
                biased;
                next = numbers.next() => Some(next?),
                () = ready(()) => None,
            };
            let next = if let Some(next) = at_once {
                next
            } else {
                requests.flush().await?;
                numbers.next().await?
            };
            match next {
                Some(Operand(number)) => {
                    in_flight.borrow_mut().push_back(number);
                    requests.send(operation, number).await?;
                }
                None => return Ok(()),
            }
        }
    }
    .await;
    let finished = requests.finish().await;
    asked.and(finished.map_err(Failure::from))
}

async fn hear(mut replies: Replies, teller: &mut Teller, in_flight: &RefCell<VecDeque<Number>>) -> Result<(), Failure> {
    while let Some(reply) = replies.receive().await? {
        let last = matches!(&reply, Err(refusal) if refusal.code.is_last());
        // A reply is heard for what is in flight alone, so that there is one.
        let Some(asked) = in_flight.borrow_mut().pop_front() else { return Ok(()) };
        teller.tell(asked, reply)?;
        if last {
            return Err(Failure::Reported(REFUSED));
        }
    }
    Ok(())
}

/// Prints answers and reports refusals.
struct Teller {
    output: Output,
    address: String,
    operation: Operation,
    refused: bool,
}

impl Teller {
    fn tell(&mut self, operand: Number, reply: Reply) -> Result<(), Failure> {
        let asked = Asked { operation: self.operation, operand };
        match reply {
            Ok(result) => self.output.answer(&Answered { asked, result }),
            Err(refusal) => {
                self.refused = true;
                self.output.complain_about(&asked, &Failure::refused(&self.address, &refusal));
                Ok(())
            }
        }
    }
}

#[derive(Serialize)]
struct Asked {
    #[serde(rename = "op", serialize_with = "by_name")]
    operation: Operation,
    #[serde(serialize_with = "output::number")]
    operand: Number,
}

#[derive(Serialize)]
struct Answered {
    #[serde(flatten)]
    asked: Asked,
    #[serde(serialize_with = "output::number")]
    result: Number,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.result.fmt(f)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it serializes by reference")]
fn by_name<S: Serializer>(operation: &Operation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(operation)
}
