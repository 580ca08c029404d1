//! The state shared by all commands: output, timeouts, signals and trace.

use std::sync::{Arc, Once};

use proto::client::{Connector, Timeouts, Tls};
use proto::endpoint::Endpoint;

use crate::arguments::Common;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::language::texts;
use crate::output::{Output, write_message};
use crate::trace::Trace;

pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) timeouts: Timeouts,
    pub(crate) interrupt: Interrupt,
    pub(crate) verbose: bool,
    trace: Option<Arc<Trace>>,
    tls: Arc<Tls>,
    /// The name that the server's certificate must have instead of the host.
    pub(crate) server_name: Option<String>,
    /// The warning of `--insecure`, if it is given.
    insecure_warning: Option<Once>,
}

impl Session {
    /// # Errors
    ///
    /// Fails if signal handlers cannot be installed or an option of TLS is invalid.
    pub(crate) fn new(common: &Common) -> Result<Self, CliError> {
        let tls = Arc::new(common.tls.load()?);
        Ok(Self {
            output: common.output,
            timeouts: Timeouts::all(common.timeout),
            interrupt: Interrupt::listen()?,
            verbose: common.verbose,
            trace: (common.verbose || common.trace).then(|| Arc::new(Trace::new(common.trace))),
            tls,
            server_name: common.tls.server_name.clone(),
            insecure_warning: common.tls.insecure.then(Once::new),
        })
    }

    /// Runs a command until it ends or a signal arrives. Dropping the command withdraws a move in play.
    ///
    /// # Errors
    ///
    /// The command's error, or [`CliError::Interrupted`].
    pub(crate) async fn run_until_cancelled<T>(
        &self,
        command: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            biased;
            () = self.interrupt.cancelled() => Err(self.interrupt.error()),
            done = command => done,
        }
    }

    /// Whether servers' certificates are not verified.
    pub(crate) fn is_insecure(&self) -> bool {
        self.insecure_warning.is_some()
    }

    /// Prints a note on standard error, except with `--quiet` and `--json`.
    pub(crate) fn note(&self, text: &str) {
        if !self.output.quiet && !self.output.json {
            write_message(text);
        }
    }

    /// Returns a connector for the endpoint; `--verbose` and `--trace` attach the trace. For TLS, warns once of
    /// `--insecure`.
    pub(crate) fn connector(&self, endpoint: &Endpoint) -> Connector {
        if let Some(warning) = &self.insecure_warning
            && endpoint.is_tls()
        {
            warning.call_once(|| write_message(&texts::insecure_warning()));
        }
        let connector = Connector::new(endpoint.clone()).with_timeouts(self.timeouts).with_tls(Arc::clone(&self.tls));
        match &self.trace {
            Some(trace) => connector.with_observer(trace.clone()),
            None => connector,
        }
    }
}
