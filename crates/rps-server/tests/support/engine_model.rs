//! A model of the matchmaking engine: one key, its expiry, and the two operations of the client.
//!
//! It does no I/O. The caller gives the time on the engine's clock with each operation; it must not decrease, but may
//! run at another speed than the clocks of the replicas. `tests/engine.rs` compares the model with a real server.

use std::time::Duration;

use rps_server::duel::replica::{EngineReply, Ticket};

/// The engine. A clone is a snapshot, which can later replace it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineModel {
    stored: Option<Stored>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    value: Value,
    /// When the engine removes it; `None` for never.
    expires_at: Option<Duration>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Vec<u8>),
    /// A list, a set or another type.
    OtherType,
}

/// The replica that makes a call.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) process: u128,
    pub(crate) address: String,
}

impl Caller {
    /// Returns the text of a ticket of this replica.
    pub(crate) fn ticket(&self, nonce: u128) -> String {
        format!("1 {:032x} {nonce:032x} {}", self.process, self.address)
    }
}

impl EngineModel {
    /// Carries out [`EngineCall::Ask`](rps_server::duel::replica::EngineCall::Ask).
    pub(crate) fn ask(&mut self, caller: &Caller, nonce: u128, expires_in: Duration, now: Duration) -> EngineReply {
        if let Some(Value::Text(text)) = self.value(now)
            && let Some((process, ticket)) = parse(text)
            && process != caller.process
        {
            self.stored = None;
            return EngineReply::Taken(ticket);
        }
        let expires_in = Duration::from_millis(u64::try_from(expires_in.as_millis().max(1)).unwrap());
        self.set(Value::Text(caller.ticket(nonce).into_bytes()), Some(now + expires_in));
        EngineReply::Posted
    }

    /// Carries out [`EngineCall::Withdraw`](rps_server::duel::replica::EngineCall::Withdraw).
    pub(crate) fn withdraw(&mut self, caller: &Caller, nonce: u128, now: Duration) {
        let ticket = Value::Text(caller.ticket(nonce).into_bytes());
        if self.value(now) == Some(&ticket) {
            self.stored = None;
        }
    }

    /// Returns the value of the key.
    pub(crate) fn value(&self, now: Duration) -> Option<&Value> {
        let stored = self.stored.as_ref()?;
        stored.expires_at.is_none_or(|expires_at| now < expires_at).then_some(&stored.value)
    }

    /// Stores a value, as another client of the engine could.
    pub(crate) fn set(&mut self, value: Value, expires_at: Option<Duration>) {
        self.stored = Some(Stored { value, expires_at });
    }

    /// Loses everything, as a server that restarts without persistence. To restore old data, replace the model by a
    /// clone.
    pub(crate) fn restart_empty(&mut self) {
        *self = Self::default();
    }
}

/// Returns the process and the ticket of a text; `None` if it is not exactly a ticket.
fn parse(text: &[u8]) -> Option<(u128, Ticket)> {
    let [version, process, nonce, address] =
        <[&[u8]; 4]>::try_from(text.split(|byte| *byte == b' ').collect::<Vec<_>>()).ok()?;
    let is_address = (1..=300).contains(&address.len()) && address.iter().all(|byte| (0x21..=0x7e).contains(byte));
    if version != b"1" || !is_address {
        return None;
    }
    let number = |text: &[u8]| {
        let is_number = text.len() == 32 && text.iter().all(|byte| b"0123456789abcdef".contains(byte));
        is_number.then(|| u128::from_str_radix(str::from_utf8(text).unwrap(), 16).unwrap())
    };
    let address = String::from_utf8(address.to_vec()).unwrap();
    Some((number(process)?, Ticket { nonce: number(nonce)?, address }))
}
