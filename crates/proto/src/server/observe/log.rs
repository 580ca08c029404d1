//! The log: set up once, and written to standard output.

mod queue;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::DefaultFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as format, registry, reload};

use self::queue::Queue;
use crate::server::config::sections::{self, Format, Level};
use crate::server::observe::metrics::encode::counter;
use crate::server::observe::rate_limit::Throttle;

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log {
    queue: Arc<Queue>,
    level: reload::Handle<LevelFilter, Registry>,
}

/// At its end a process waits so long for whoever reads its log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts the log of this process.
///
/// # Errors
///
/// If there is no thread to be had to write it.
pub fn start(log: &sections::Log) -> io::Result<Log> {
    let queue = Queue::start(io::stdout())?;
    let (filter, level) = reload::Layer::new(LevelFilter::from(log.level));
    let json = log.format == Format::Json;
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    registry()
        .with(filter)
        .with(json.then(|| lines(&queue).json()))
        .with((!json).then(|| lines(&queue).with_ansi(coloured)))
        .init();
    // The default hook writes many lines to standard error, past the log's format.
    std::panic::set_hook(Box::new(|panic| {
        static KIND: Throttle = Throttle::new();
        if let Some(held_back) = KIND.pass() {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, reason = panic.payload_as_str().unwrap_or("no text"), held_back, "panic");
        }
    }));
    Ok(Log { queue, level })
}

fn lines<S>(queue: &Arc<Queue>) -> format::Layer<S, DefaultFields, format::format::Format, Arc<Queue>> {
    format::layer().with_writer(Arc::clone(queue)).log_internal_errors(false)
}

impl Log {
    /// Writes lines of this level and of those above it from now on.
    pub fn set_level(&self, level: Level) {
        // It fails only for a log that is no more, and this one lasts as long as the process.
        let _ = self.level.reload(LevelFilter::from(level));
    }

    /// Waits until what has been said is written, or nobody reads it.
    pub fn flush(&self) {
        self.queue.flush(LAST_LINES);
    }

    /// Encodes the log's metric for Prometheus.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Lines of the log that were not written, or not read in time";
        counter(encoder, "log_lines_dropped", help, [([], self.queue.lost())])
    }
}
