//! `power`: numbers in, powers out.

use std::future::ready;
use std::pin::pin;

use proto::client::power::{Client, Replies, Requests};
use proto::client::{Endpoint, ErrorKind, Phase, Timeouts};
use proto::wire::power::{Code, Operation, Refusal, Reply};

use crate::arguments::{Framing, PowerCommand, PowerOperation};
use crate::failure::Failure;
use crate::input::{Operand, Values};
use crate::output::{answer, complain};

/// Asks for each number and prints each answer. A refusal is reported and does not keep the others from being asked.
///
/// # Errors
///
/// The first thing that keeps answers from coming, or else that one was a refusal.
pub async fn run(command: PowerCommand, timeouts: Timeouts) -> Result<(), Failure> {
    let (operation, arguments) = match command.operation {
        PowerOperation::Square(arguments) => (Operation::Square, arguments),
        PowerOperation::Cube(arguments) => (Operation::Cube, arguments),
        PowerOperation::Fourth(arguments) => (Operation::Fourth, arguments),
        PowerOperation::Echo(arguments) => (Operation::Echo, arguments),
    };
    let address = arguments.address.resolve()?;
    if arguments.keep_alive && !matches!(arguments.framing, None | Some(Framing::Line)) {
        return Err(Failure::Usage("--keep-alive needs lines: leave --framing out, or make it line".to_owned()));
    }
    let framing = arguments.framing.unwrap_or(Framing::Eof);
    let client = Client::new(Endpoint::new(&*address).with_timeouts(timeouts)).with_framing(framing.into());
    let numbers = Values::of(arguments.numbers);
    let mut teller = Teller { address, refused: false };
    if arguments.keep_alive {
        on_one_connection(&client, operation, numbers, &mut teller).await?;
    } else {
        on_a_connection_each(&client, operation, numbers, &mut teller).await?;
    }
    if teller.refused { Err(Failure::Refused) } else { Ok(()) }
}

async fn on_a_connection_each(
    client: &Client,
    operation: Operation,
    mut numbers: Values<Operand>,
    teller: &mut Teller,
) -> Result<(), Failure> {
    while let Some(Operand(number)) = numbers.next().await? {
        let reply = client.ask(operation, number).await.map_err(|error| match (&error.kind, error.phase) {
            (ErrorKind::TimedOut(_), Phase::End) => Failure::NoAnswer(error, OTHER_FRAMING),
            _ => Failure::from(error),
        })?;
        teller.tell(reply)?;
    }
    Ok(())
}

const OTHER_FRAMING: &str = "; a server that ends its replies otherwise may need another --framing, such as bare";

async fn on_one_connection(
    client: &Client,
    operation: Operation,
    numbers: Values<Operand>,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let (requests, replies) = client.connect().await?.split();
    let mut asking = pin!(ask(requests, operation, numbers));
    let mut hearing = pin!(hear(replies, teller));
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
async fn ask(mut requests: Requests, operation: Operation, mut numbers: Values<Operand>) -> Result<(), Failure> {
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
                Some(Operand(number)) => requests.send(operation, number).await?,
                None => return Ok(()),
            }
        }
    }
    .await;
    let finished = requests.finish().await;
    asked.and(finished.map_err(Failure::from))
}

async fn hear(mut replies: Replies, teller: &mut Teller) -> Result<(), Failure> {
    while let Some(reply) = replies.receive().await? {
        let last = matches!(&reply, Err(refusal) if is_last(refusal));
        teller.tell(reply)?;
        if last {
            return Err(Failure::Refused);
        }
    }
    Ok(())
}

/// Whether a server closes the connection with this refusal.
fn is_last(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::Busy | Code::Timeout | Code::TooLong)
}

/// Prints answers and reports refusals.
struct Teller {
    address: String,
    refused: bool,
}

impl Teller {
    fn tell(&mut self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Ok(number) => answer(number),
            Err(refusal) => {
                self.refused = true;
                complain(&format!("{}: the server refused: {refusal}", self.address));
                Ok(())
            }
        }
    }
}
