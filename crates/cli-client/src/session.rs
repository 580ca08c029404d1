//! What holds for a whole command: how it speaks, how long it waits, and what may end it.

use std::sync::Arc;

use proto::client::{Endpoint, Timeouts};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::trace::Trace;

/// What holds for a whole command.
#[derive(Clone, Debug)]
pub struct Session {
    /// How it speaks.
    pub output: Output,
    /// How long it waits in each phase.
    pub timeouts: Timeouts,
    /// What may end it.
    pub interrupt: Interrupt,
    /// Whether it says what a person who looks on would want to know.
    pub verbose: bool,
    trace: Option<Arc<Trace>>,
}

impl Session {
    /// A command that speaks, waits and ends so. Where it is `verbose` or to `trace`, each connection's way is shown, with
    /// its bytes for the latter.
    #[must_use]
    pub fn new(output: Output, timeouts: Timeouts, interrupt: Interrupt, verbose: bool, trace: bool) -> Self {
        let shown = (verbose || trace).then(|| Arc::new(Trace::new(trace)));
        Self { output, timeouts, interrupt, verbose, trace: shown }
    }

    /// Does what a command asks for. What it was at when it is asked to end is dropped; a move that is in play is taken back
    /// by that.
    ///
    /// # Errors
    ///
    /// The command's own, or [`Failure::Interrupted`].
    pub async fn until_asked_to_end<T>(&self, command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.interrupt.asked() => Err(self.interrupt.failure()),
            done = command => done,
        }
    }

    /// The server at an address. What happens on connections to it is shown where that was asked for.
    #[must_use]
    pub fn endpoint(&self, address: &str) -> Endpoint {
        let endpoint = Endpoint::new(address).with_timeouts(self.timeouts);
        match &self.trace {
            Some(trace) => endpoint.observed_by(trace.clone()),
            None => endpoint,
        }
    }
}
