//! The runtime under a server's program, and the exit codes that come of it.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::observe::log::Log;

/// Runs a server on so many threads (0: one a core) until it is done, which a first signal asks it to be: 0, or 1 where
/// it could not do its work. A second signal ends it at once, with the signal's own code.
///
/// One runtime for all threads: where one of them has too much to do, another one helps. A runtime for each, with a
/// listening socket of its own, took as much of the processors, and its slowest answers took longer.
pub(crate) fn run<S>(workers: usize, log: &Log, shutdown: &Shutdown, server: S) -> ExitCode
where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let done = start(workers).and_then(|runtime| {
        let done = runtime.block_on(async {
            let second_signal = shutdown.handle_signals()?;
            tokio::select! {
                biased;
                code = tokio::spawn(second_signal) => Ok(code.map_or(ExitCode::FAILURE, ExitCode::from)),
                // On the runtime's own threads, as its connections are: this thread would have to be woken for each.
                done = tokio::spawn(server) => done.unwrap_or_else(|ended| Err(ended.into())).map(|()| ExitCode::SUCCESS),
            }
        });
        // What the drain had to leave behind is not waited for a second time.
        runtime.shutdown_background();
        done
    });
    let code = done.unwrap_or_else(|error| {
        tracing::error!("{error}");
        ExitCode::FAILURE
    });
    log.flush();
    code
}

/// Asks for the health of a running server: 0, or 1 and the reason on standard error.
pub(crate) fn healthcheck<E: Display>(program: &str, asked: impl Future<Output = Result<(), E>>) -> ExitCode {
    let reason = match start(1).map(|runtime| runtime.block_on(asked)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    fail(program, format_args!("not healthy: {reason}"))
}

/// Says on standard error why `program` cannot do what it was called for, and gives the exit code for it, 1.
#[expect(clippy::print_stderr, reason = "there is no log for it")]
pub(crate) fn fail(program: &str, reason: impl Display) -> ExitCode {
    eprintln!("{program}: {reason}");
    ExitCode::FAILURE
}

fn start(workers: usize) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}
