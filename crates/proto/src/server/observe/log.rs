//! The log of the process, written to standard output.
//!
//! It may use `config` and the rest of `observe`. [`start`] installs the `tracing` subscriber and the panic hook; the
//! `queue` decouples the threads that log from standard output.

mod queue;

use std::backtrace::Backtrace;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, registry, reload};

use self::queue::Queue;
use crate::server::config::sections::{self, LogFormat};
use crate::server::config::types::LogFilter;
use crate::server::observe::metrics::encode::counter;
use crate::server::observe::rate_limit::RateLimit;

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log {
    queue: Arc<Queue>,
    filter: reload::Handle<Targets, Registry>,
}

/// At exit, the process waits at most this long until the log is written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log of this process.
///
/// # Errors
///
/// Fails if the writer thread cannot be started.
pub fn start(log: &sections::LogConfig) -> io::Result<Log> {
    // Without the buffer of `io::stdout`, which keeps a part of a line that a full disk has torn.
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let queue = output
        .and_then(Queue::start)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start the log: {error}")))?;
    let with_colors = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, filter) = subscriber(log, &queue, with_colors);
    subscriber.init();
    // The default hook writes several lines to standard error, and not in the log's format.
    std::panic::set_hook(Box::new(|panic| {
        static RATE_LIMIT: RateLimit = RateLimit::new();
        if let Some(suppressed) = RATE_LIMIT.allow() {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            let reason = panic.payload_as_str().unwrap_or("no text");
            // Independent of RUST_BACKTRACE: a panic is a bug, and it may not be reproducible.
            let backtrace = Backtrace::force_capture();
            tracing::error!(location, reason, suppressed, %backtrace, "panic");
        }
    }));
    Ok(Log { queue, filter })
}

/// Returns the subscriber that filters and formats events, and a handle to replace the filter.
fn subscriber(
    log: &sections::LogConfig,
    queue: &Arc<Queue>,
    with_colors: bool,
) -> (impl Subscriber + Send + Sync + use<>, reload::Handle<Targets, Registry>) {
    let (filter, handle) = reload::Layer::new(log.level.targets().clone());
    let json = log.format == LogFormat::Json;
    let subscriber = registry()
        .with(filter)
        // Each event has its own fields; a list of spans would repeat them.
        .with(json.then(|| format_layer(queue).json().with_current_span(false).with_span_list(false)))
        .with((!json).then(|| format_layer(queue).with_ansi(with_colors)));
    (subscriber, handle)
}

fn format_layer<S>(queue: &Arc<Queue>) -> tracing_subscriber::fmt::Layer<S, DefaultFields, Format, Arc<Queue>> {
    tracing_subscriber::fmt::layer().with_writer(Arc::clone(queue)).log_internal_errors(false)
}

impl Log {
    /// Replaces the filter.
    pub fn set_filter(&self, filter: &LogFilter) {
        // It fails only after the subscriber is dropped, and the process keeps its subscriber until it exits.
        let _ = self.filter.reload(filter.targets().clone());
    }

    /// Waits until all lines so far are written or dropped, at most `FLUSH_TIMEOUT`.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }

    /// Encodes the log's metric for Prometheus.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Log lines dropped: the queue was full, or writing them failed";
        counter(encoder, "log_lines_dropped", help, [([], self.queue.dropped())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use tracing::level_filters::LevelFilter;

    struct ChannelWriter(Sender<Vec<u8>>);

    impl io::Write for ChannelWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn filter(text: &str) -> LogFilter {
        toml::Value::from(text).try_into().unwrap()
    }

    /// Calls `events` with a log that starts with the filter `level`, and returns its lines without their timestamps.
    fn logged(level: &str, events: impl FnOnce(&Log)) -> Vec<String> {
        let (sender, written) = channel();
        let queue = Queue::start(ChannelWriter(sender)).unwrap();
        let config = sections::LogConfig { level: filter(level), format: LogFormat::Text };
        let (subscriber, filter) = subscriber(&config, &queue, false);
        let log = Log { queue, filter };
        tracing::subscriber::with_default(subscriber, || events(&log));
        log.queue.flush(Duration::from_secs(30));
        let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.trim().to_owned()).collect()
    }

    fn three_events() {
        tracing::debug!(target: "proto::server::listener::accept", "1");
        tracing::debug!(target: "proto::server::connection", "2");
        tracing::info!(target: "power_server", "3");
    }

    #[test]
    fn a_directive_applies_to_its_target_and_the_level_to_all_others() {
        let [one, two, three] =
            ["DEBUG proto::server::listener::accept: 1", "DEBUG proto::server::connection: 2", "INFO power_server: 3"];
        let directives = "info,proto::server::listener=debug";
        for (level, lines) in [
            ("info", &[three][..]),
            ("debug", &[one, two, three]),
            (directives, &[one, three]),
            ("off,proto::server::listener=debug", &[one]),
        ] {
            assert_eq!(logged(level, |_| three_events()), lines, "{level}");
        }
        let reloaded = logged("info", |log| {
            three_events();
            log.set_filter(&filter(directives));
            three_events();
        });
        assert_eq!(reloaded, [three, one, three]);
    }

    #[test]
    fn a_filter_of_one_level_disables_events_below_it() {
        let queue = Queue::start(io::sink()).unwrap();
        let config = |level| sections::LogConfig { level: filter(level), format: LogFormat::Text };
        let (subscriber_at_info, handle) = subscriber(&config("info"), &queue, false);
        assert_eq!(subscriber_at_info.max_level_hint(), Some(LevelFilter::INFO));
        let log = Log { queue: Arc::clone(&queue), filter: handle };
        log.set_filter(&filter("warn"));
        assert_eq!(subscriber_at_info.max_level_hint(), Some(LevelFilter::WARN));
        log.set_filter(&filter("info"));
        tracing::subscriber::with_default(subscriber_at_info, || {
            assert!(!tracing::enabled!(tracing::Level::DEBUG));
            assert!(tracing::enabled!(tracing::Level::INFO));
        });
        let (directives, _) = subscriber(&config("info,proto=trace"), &queue, false);
        assert_eq!(directives.max_level_hint(), Some(LevelFilter::TRACE));
    }
}
