//! The tokio runtime of a server, and the exit codes.
//!
//! It depends on `shutdown`, `service_manager`, `workers` and the log.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::panic;
use std::process::{self, ExitCode};

use tokio::runtime::{Builder, Runtime};

use crate::server::lifecycle::service_manager::ServiceManager;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::lifecycle::workers::TASKS_ADVICE;
use crate::server::observe::log::Log;

/// Runs `server` on `workers` threads and returns the exit code: 0 if it finishes, 1 if it fails.
///
/// A first signal notifies `manager` and triggers `shutdown`; a second one aborts, with the exit code of that signal.
///
/// All threads share one multi-threaded runtime, whose idle threads take work from busy ones. One single-threaded
/// runtime per core, each with its own listening socket, was measured: it used as much CPU, and its slowest replies
/// took longer.
pub(crate) fn run<S>(
    program: &'static str,
    workers: usize,
    log: &Log,
    shutdown: &Shutdown,
    manager: ServiceManager,
    server: S,
) -> ExitCode
where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let result = start(program, workers, log).and_then(|runtime| {
        let result = runtime.block_on(async {
            let second_signal = shutdown.handle_signals(manager)?;
            tokio::select! {
                biased;
                code = tokio::spawn(second_signal) => Ok(code.map_or(ExitCode::FAILURE, ExitCode::from)),
                // Spawned, so that the accept loop runs on the worker threads like the connections. On this thread,
                // each accept would first have to wake the thread.
                result = tokio::spawn(server) => {
                    result.unwrap_or_else(|error| Err(error.into())).map(|()| ExitCode::SUCCESS)
                }
            }
        });
        // Do not wait again for tasks that did not end within the drain timeout.
        runtime.shutdown_background();
        result
    });
    let code = result.unwrap_or_else(|error| fail_with_log(program, log, error));
    log.flush();
    code
}

/// Runs a health check. Returns exit code 0, or prints the reason to standard error and returns 1.
pub(crate) fn healthcheck<E: Display>(program: &str, check: impl Future<Output = Result<(), E>>) -> ExitCode {
    // On this thread alone: a container at its limit on tasks has none left, and may still be healthy.
    let reason = match Builder::new_current_thread().enable_all().build().map(|runtime| runtime.block_on(check)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error.to_string(),
        Err(error) => format!("cannot start the runtime: {error}"),
    };
    fail(program, format_args!("not healthy: {reason}"))
}

/// Prints the reason of a failure to standard error, and returns exit code 1.
pub(crate) fn fail(program: &str, reason: impl Display) -> ExitCode {
    // If standard error is closed, only the exit code remains.
    let _ = writeln!(io::stderr(), "{program}: {reason}");
    ExitCode::FAILURE
}

/// Like [`fail`], with the reason in the log too: some operators read only the log, and others only standard error.
pub(crate) fn fail_with_log(program: &str, log: &Log, reason: impl Display) -> ExitCode {
    tracing::error!(%reason, "cannot serve");
    log.flush();
    fail(program, reason)
}

/// Starts the runtime.
///
/// If tokio (1.54) cannot start a worker thread, it panics, and its unwinding waits forever for the workers that it has
/// started. So a panic in here ends the process before any unwinding, with its reason in the log.
fn start(program: &'static str, workers: usize, log: &Log) -> io::Result<Runtime> {
    let hook = panic::take_hook();
    let log = log.clone();
    panic::set_hook(Box::new(move |panic| {
        let reason = panic.payload_as_str().unwrap_or("no text");
        let reason = format!("cannot start {workers} worker threads: {reason}; {TASKS_ADVICE} or lower `workers`");
        fail_with_log(program, &log, reason);
        process::exit(1);
    }));
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        // Half of tokio's default. Two players who pipeline wake each other, so their worker always has a task. New
        // data of other connections then waits until the worker has run this many tasks. Measured beside such a pair:
        // 66 % of the throughput of others, and 56 % by default.
        .event_interval(31)
        .enable_all()
        .build();
    panic::set_hook(hook);
    runtime.map_err(|error| io::Error::new(error.kind(), format!("cannot start the runtime: {error}")))
}
