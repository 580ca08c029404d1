//! Ends the client on SIGINT, SIGTERM and SIGHUP.
//!
//! A command first stops in order: it withdraws a move in play, or prints the report of a load. Then the process dies
//! by the signal and does not just exit with a code, because a shell ends a loop only if the signal killed the command.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use std::{fs, io, process, thread};

use signal_hook::low_level::emulate_default_handler;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::CliError;
use crate::terminal;

/// How long a command may take to end after a signal. Only a command with blocked output takes longer.
const GRACE: Duration = Duration::from_secs(1);

/// What shells add to the number of a signal for the exit code of a process that it killed.
const SIGNALLED: u8 = 128;

/// The signals that end the client, with their exit codes.
const SIGNALS: [(SignalKind, u8); 3] = [
    (SignalKind::interrupt(), CTRL_C),
    (SignalKind::terminate(), SIGNALLED + 15),
    (SignalKind::hangup(), SIGNALLED + 1),
];

/// The exit code for SIGINT.
pub(crate) const CTRL_C: u8 = SIGNALLED + 2;

/// Ends the process by the signal of this exit code. Process 1 of a container exits with the code instead, because the
/// kernel discards the fatal signals of its own PID namespace (`pid_namespaces(7)`).
pub(crate) fn die(code: u8) -> ! {
    terminal::restore();
    if process::id() != 1 {
        // Fails only for the number of a signal that does not exist.
        let _ = emulate_default_handler(i32::from(code.saturating_sub(SIGNALLED)));
    }
    process::exit(i32::from(code));
}

/// The first signal that arrived, as its exit code.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// Handles signals from now on, except signals ignored at the start: nohup(1) and background jobs of a shell rely
    /// on that. The process ends [`GRACE`] after the first signal, and at once on the second. Runs on its own thread,
    /// because blocked output blocks the command's thread.
    ///
    /// # Errors
    ///
    /// Fails if the runtime or a signal handler cannot be created.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, receiver) = watch::channel(None);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _entered = runtime.enter();
            let handled = SIGNALS.into_iter().filter(|(kind, _)| !is_ignored(*kind));
            handled.map(|(kind, code)| Ok((signal(kind)?, code))).collect::<io::Result<Vec<_>>>()?
        };
        thread::spawn(move || {
            let code = runtime.block_on(next(&mut signals));
            sender.send_replace(Some(code));
            let _ = runtime.block_on(async { timeout(GRACE, next(&mut signals)).await });
            die(code);
        });
        Ok(Self(receiver))
    }

    /// Waits for a signal.
    pub(crate) async fn cancelled(&self) {
        // Cannot fail: the sender lives as long as the process.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns the error of a command that was interrupted.
    pub(crate) fn error(&self) -> CliError {
        CliError::Interrupted(self.0.borrow().unwrap_or(CTRL_C))
    }
}

async fn next(signals: &mut [(Signal, u8)]) -> u8 {
    poll_fn(|context| {
        let received =
            signals.iter_mut().find_map(|(signal, code)| signal.poll_recv(context).is_ready().then_some(*code));
        received.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Whether this process ignores a signal, from `SigIgn` in procfs: bit n - 1 stands for signal n (proc(5)).
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
