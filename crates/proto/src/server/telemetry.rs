//! The log: set up once, and written to standard output.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;

use tracing_subscriber::filter::LevelFilter;

use super::accept::Summary;
use super::config::tables::{Format, Log};
use super::throttle::Throttle;

/// Starts the log of this process.
///
/// A line that cannot be written is dropped: service matters more than its log. One that blocks is waited for, so
/// standard output has to be something that is read.
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
