//! The runtime under a server's program, and the exit codes that come of it.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

/// Runs a server on so many threads (0: one a core) until it is done: 0, or 1 where it could not do its work.
pub fn run(workers: usize, server: impl Future<Output = io::Result<()>>) -> ExitCode {
    let done = start(workers).and_then(|runtime| {
        let done = runtime.block_on(server);
        // What the drain had to leave behind is not waited for a second time.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks for the health of a running server: 0, or 1 and the reason on standard error.
#[expect(clippy::print_stderr, reason = "the reason is this program's whole output, for whoever asked")]
pub fn healthcheck<E: Display>(program: &str, asked: impl Future<Output = Result<(), E>>) -> ExitCode {
    let reason = match start(1).map(|runtime| runtime.block_on(asked)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    eprintln!("{program}: not healthy: {reason}");
    ExitCode::FAILURE
}

fn start(workers: usize) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}
