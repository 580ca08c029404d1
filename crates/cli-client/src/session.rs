//! What holds for a whole command: how it speaks, how long it waits, and what may end it.

use std::sync::Arc;

use proto::client::{Endpoint, Timeouts};

use crate::arguments::Common;
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
    /// As the command line says.
    #[must_use]
    pub fn new(common: &Common, interrupt: Interrupt) -> Self {
        Self {
            output: Output::new(common.json, common.quiet),
            timeouts: Timeouts::all(common.timeout),
            interrupt,
            verbose: common.verbose,
            trace: (common.verbose || common.trace).then(|| Arc::new(Trace::new(common.trace))),
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
