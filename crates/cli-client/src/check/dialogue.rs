//! Performs the steps of a case with the server under test.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use proto::client::Connector;
use tokio::time::{Instant, sleep};

use super::case::{Case, CaseAction, Level};
use super::client::{Client, Difference, Drip, EXTRA_BYTES_WAIT, Ending, Exchanged, Expected, Failed};
use super::pattern::Pattern;

/// How long the pauses of one attempt are.
struct Pauses {
    factor: u32,
    max: Duration,
}

/// The clients of one attempt at a case, and the bytes exchanged so far.
struct Dialogue<'a> {
    connector: &'a Connector,
    timeout: Duration,
    pauses: Pauses,
    clients: BTreeMap<u32, Client>,
    history: Vec<Exchanged>,
    clock: Instant,
    /// When the next step has to be done.
    within: Option<(Duration, Duration)>,
}

/// How many times longer the pauses of a case are at each attempt. A busy server may need more time to notice, for
/// instance, that a player has left; a wrong one fails at each attempt.
const PAUSE_FACTORS: [u32; 3] = [1, 5, 20];

/// Performs the steps of a case. Each step may take `timeout`. A case with pauses is repeated with longer ones before
/// it counts as failed, but none is longer than `max_pause`.
///
/// # Errors
///
/// The first difference of the last attempt.
pub(super) async fn perform(
    case: &Case,
    connector: &Connector,
    timeout: Duration,
    max_pause: Duration,
) -> Result<(), Failed> {
    let has_pause = case.steps.iter().any(|step| matches!(step.action, CaseAction::Pause(_)));
    let attempts = if has_pause { PAUSE_FACTORS.len() } else { 1 };
    let mut result = Ok(());
    for pause_factor in PAUSE_FACTORS.into_iter().take(attempts) {
        let clock = Instant::now();
        let (clients, history) = (BTreeMap::new(), Vec::new());
        let pauses = Pauses { factor: pause_factor, max: max_pause };
        result = Dialogue { connector, timeout, pauses, clients, history, clock, within: None }.run(case).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

impl Dialogue<'_> {
    async fn run(&mut self, case: &Case) -> Result<(), Failed> {
        let mut result = self.perform(case).await;
        if result.is_ok() && case.level > Level::Core {
            result = self.finish().await;
        }
        if result.is_err() {
            // Moves in play must not meet those of the next case.
            self.clients.values().for_each(Client::reset_on_close);
        }
        result
    }

    async fn perform(&mut self, case: &Case) -> Result<(), Failed> {
        for (number, step) in case.steps.iter().enumerate() {
            let next = case.steps.get(number + 1).map(|step| &step.action);
            let is_last = next == Some(&CaseAction::ReceiveEnd);
            self.step(step.client, &step.action, is_last).await?;
        }
        Ok(())
    }

    async fn step(&mut self, number: u32, action: &CaseAction, is_last_reply: bool) -> Result<(), Failed> {
        let deadline = Instant::now() + self.timeout;
        match action {
            CaseAction::Pause(duration) => sleep((*duration * self.pauses.factor).min(self.pauses.max)).await,
            CaseAction::Clock => self.clock = Instant::now(),
            CaseAction::Within(least, most) => self.within = Some((*least, *most)),
            CaseAction::Close => drop(self.clients.remove(&number)),
            CaseAction::Reset => {
                if let Some(client) = self.clients.remove(&number) {
                    client.reset_on_close();
                }
            }
            CaseAction::Send(bytes) => {
                self.record(number, '>', bytes.clone());
                self.client(number).await?.send(bytes, deadline).await;
            }
            CaseAction::Drip(pause, bytes) => {
                let next = Instant::now() + *pause;
                self.record(number, '>', bytes.clone());
                let drip = Drip { pause: *pause, next, bytes: bytes.clone().into_iter() };
                self.client(number).await?.drip = Some(drip);
            }
            CaseAction::HalfClose => self.client(number).await?.half_close(deadline).await,
            CaseAction::Truncate => {
                let client = self.client(number).await?;
                client.sends = false;
                // A failure shows when the client reads.
                let _ = client.stream.shutdown_socket();
            }
            CaseAction::Quiet(duration) => {
                let result = self.client(number).await?.quiet(*duration).await;
                result.map_err(|ending| self.difference(number, Expected::Quiet(*duration), ending))?;
            }
            CaseAction::Receive(pattern) => self.receive(number, pattern, is_last_reply).await?,
            CaseAction::ReceiveEnd => {
                let timeout = self.time_left();
                let result = self.client(number).await?.receive_end(timeout).await;
                let result = result.and_then(|()| self.check_time());
                result.map_err(|ending| self.difference(number, Expected::End, ending))?;
            }
            // The caller runs it.
            CaseAction::Program(_) => {}
        }
        Ok(())
    }

    async fn receive(&mut self, number: u32, pattern: &Pattern, is_last_reply: bool) -> Result<(), Failed> {
        let timeout = self.time_left();
        let client = self.client(number).await?;
        let result = client.receive(pattern, timeout).await;
        client.drip = None;
        let (bytes, in_time) = match result {
            Ok(bytes) => (bytes, self.check_time()),
            Err(ending) => return Err(self.difference(number, Expected::Bytes(pattern.clone()), ending)),
        };
        let client = self.client(number).await?;
        if let Err(ending) = in_time {
            client.received.splice(..0, bytes);
            return Err(self.difference(number, Expected::Bytes(pattern.clone()), ending));
        }
        // A bare reply has no terminator, so a wrong one, such as a line feed, arrives now.
        if !pattern.ends_line() && !is_last_reply {
            let ending = client.quiet(EXTRA_BYTES_WAIT).await.err().unwrap_or(Ending::Open);
            if !client.received.is_empty() {
                client.received.splice(..0, bytes);
                return Err(self.difference(number, Expected::Bytes(pattern.clone()), ending));
            }
        }
        client.sent.clear();
        self.record(number, '<', bytes);
        Ok(())
    }

    /// Half-closes all clients, and checks that the server sends nothing more and ends its streams.
    async fn finish(&mut self) -> Result<(), Failed> {
        let numbers: Vec<_> = self.clients.keys().copied().collect();
        for number in numbers {
            if self.client(number).await?.end.is_some() {
                continue;
            }
            if self.client(number).await?.sends {
                self.step(number, &CaseAction::HalfClose, false).await?;
            }
            self.step(number, &CaseAction::ReceiveEnd, false).await?;
        }
        Ok(())
    }

    /// Returns the client with this number, which connects at its first step.
    async fn client(&mut self, number: u32) -> Result<&mut Client, Failed> {
        match self.clients.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Client::connect(self.connector).await?)),
        }
    }

    fn record(&mut self, client: u32, direction: char, bytes: Vec<u8>) {
        self.history.push(Exchanged { client, direction, bytes });
    }

    /// Returns how long the next step may take.
    fn time_left(&self) -> Duration {
        match self.within {
            Some((_, most)) => (self.clock + most).saturating_duration_since(Instant::now()),
            None => self.timeout,
        }
    }

    /// Checks that a step was not done too early, and forgets its times.
    fn check_time(&mut self) -> Result<(), Ending> {
        let elapsed = self.clock.elapsed();
        match self.within.take() {
            Some((least, _)) if elapsed < least => Err(Ending::Early(elapsed)),
            _ => Ok(()),
        }
    }

    fn difference(&mut self, number: u32, expected: Expected, ending: Ending) -> Failed {
        let (received, sent, half_closed) = match self.clients.get_mut(&number) {
            Some(client) => (std::mem::take(&mut client.received), std::mem::take(&mut client.sent), !client.sends),
            None => Default::default(),
        };
        let dialogue = std::mem::take(&mut self.history);
        Failed::Different(Box::new(Difference {
            dialogue,
            sent,
            half_closed,
            expected,
            received,
            ending,
            p: None,
            mistake: None,
        }))
    }
}
