//! The log: set up once, written to standard output, and never more than a client may cause.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;

use super::accept::Summary;
use super::config::tables::{Format, Log};

/// Starts the log of this process.
///
/// A write that fails is dropped: service matters more than its log.
pub fn start(log: &Log) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(log.level))
        .with_writer(io::stdout)
        .log_internal_errors(false);
    match log.format {
        Format::Json => builder.json().init(),
        Format::Text => {
            let coloured =
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_ansi(coloured).init();
        }
    }
    // The default hook writes many lines to standard error, past the log's format.
    std::panic::set_hook(Box::new(|panic| {
        static KIND: Throttle = Throttle::new();
        if let Some(held_back) = KIND.pass() {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, reason = panic.payload_as_str().unwrap_or("no text"), held_back, "panic");
        }
    }));
}

/// Says that the server is up: which configuration it has and where it listens.
pub fn started(file: Option<&Path>, listeners: &[(&str, SocketAddr)]) {
    if let Some(file) = file {
        tracing::info!(file = %file.display(), "configured");
    } else {
        tracing::info!("configured by the built-in defaults: there is no file at the default path");
    }
    for (service, address) in listeners {
        tracing::info!(service, %address, "listening");
    }
}

/// Says that the server is done, and what became of its connections.
pub fn stopped(summary: &Summary) {
    let Summary { accepted, rejected, panicked, cut } = summary;
    tracing::info!(accepted, rejected, panicked, cut, "stopped");
}

/// Lets one line of its kind through in a second and counts the others.
///
/// Every warning that a client can cause goes through one, so that a flood of clients is no flood of lines.
#[derive(Debug, Default)]
pub struct Throttle {
    last: Mutex<Option<Instant>>,
    held_back: AtomicU64,
}

impl Throttle {
    const INTERVAL: Duration = Duration::from_secs(1);

    /// A throttle that lets the first line through.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Mutex::new(None), held_back: AtomicU64::new(0) }
    }

    /// Whether a line may be written now, and if so, how many were held back since the last one.
    pub fn pass(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now < last + Self::INTERVAL) {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_throttle_passes_one_line_a_second_and_counts_the_others() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!((throttle.pass(), throttle.pass()), (None, None));
        tokio::time::advance(Throttle::INTERVAL).await;
        assert_eq!(throttle.pass(), Some(2));
        assert_eq!(throttle.pass(), None);
    }
}
