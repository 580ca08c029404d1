//! The series of a run: one JSON object per second, written while the load runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep_until, timeout};

use super::figures::per_second;
use super::load::ThreadLoad;
use super::report::Latency;
use super::stats::Interval;
use crate::error::{CliError, FailureKind};
use crate::language::{explain, texts};
use crate::output::SCHEMA;

/// Length of an interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the last writes may take. A pipe may never be read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that gets one line per second. Its memory use does not depend on the length of the run.
#[derive(Debug)]
pub(super) struct Series {
    path: PathBuf,
    file: Arc<File>,
    /// The write in progress. At most one, so that the lines stay in order.
    writing: Option<JoinHandle<io::Result<()>>>,
    /// The first error. After it, nothing more is written.
    error: Option<io::Error>,
}

/// The current interval of a run.
#[derive(Debug)]
struct Clock {
    /// When the load began, and when counting starts.
    begin: Instant,
    counted_from: Instant,
    until: Option<Instant>,
    /// Number of the interval, from 1.
    number: u64,
    /// When the interval started: the end of the one before it.
    start: Instant,
    /// When it should end; `None` for the last one, which ends with the run.
    end: Option<Instant>,
}

/// One object of the file.
#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'static str>,
    second: u64,
    start_s: f64,
    seconds: f64,
    warmup: bool,
    requests: u64,
    right: u64,
    throughput: f64,
    errors: &'a BTreeMap<FailureKind, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
    latency_us: Latency<'a>,
}

impl Series {
    /// Creates the file, or empties it. Opening a named pipe waits for a reader.
    ///
    /// # Errors
    ///
    /// [`CliError::System`] if the file cannot be written.
    pub(super) async fn create(path: PathBuf) -> Result<Self, CliError> {
        let opened = path.clone();
        let file = spawn_blocking(move || File::create(opened)).await.map_err(io::Error::other)?;
        match file {
            Ok(file) => Ok(Self { path, file: Arc::new(file), writing: None, error: None }),
            Err(error) => Err(CliError::System(texts::series_failed(path.display(), explain::system(&error)))),
        }
    }

    /// Writes an object per second until `load` is done, and then the last one.
    pub(super) async fn record<T>(
        &mut self,
        run: Option<&'static str>,
        loads: &[Arc<ThreadLoad>],
        load: impl Future<Output = T>,
    ) -> T {
        let Some(mut clock) = loads.first().map(|load| Clock::new(load)) else { return load.await };
        let mut load = pin!(load);
        loop {
            tokio::select! {
                biased;
                done = &mut load => {
                    if timeout(WRITE_TIMEOUT, self.finish(&mut clock, run, loads)).await.is_err() {
                        self.error.get_or_insert(io::ErrorKind::TimedOut.into());
                    }
                    return done;
                }
                () = self.ready(&clock) => self.write(&mut clock, run, loads),
            }
        }
    }

    /// Returns the first error of writing.
    pub(super) fn result(&mut self) -> Result<(), CliError> {
        let error = self.error.take();
        error.map_or(Ok(()), |error| {
            Err(CliError::System(texts::series_failed(self.path.display(), explain::system(&error))))
        })
    }

    /// Waits for the end of the current interval and of the write in progress; after an error, forever. May be
    /// cancelled.
    async fn ready(&mut self, clock: &Clock) {
        match clock.end {
            Some(end) if self.error.is_none() => sleep_until(end.into()).await,
            _ => pending().await,
        }
        self.flush().await;
    }

    /// Waits for the write in progress.
    async fn flush(&mut self) {
        if let Some(writing) = &mut self.writing {
            let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            self.writing = None;
            if let Err(error) = written {
                self.error.get_or_insert(error);
            }
        }
    }

    /// Writes the last interval.
    async fn finish(&mut self, clock: &mut Clock, run: Option<&'static str>, loads: &[Arc<ThreadLoad>]) {
        self.flush().await;
        if clock.is_warmup() && Instant::now() >= clock.counted_from {
            // This task had no time to end the warm-up.
            self.write(clock, run, loads);
            self.flush().await;
        }
        self.write(clock, run, loads);
        self.flush().await;
    }

    /// Starts to write the current interval, and begins the next one.
    fn write(&mut self, clock: &mut Clock, run: Option<&'static str>, loads: &[Arc<ThreadLoad>]) {
        match line(clock, run, loads) {
            Ok(line) if self.error.is_none() => {
                let file = Arc::clone(&self.file);
                self.writing = Some(spawn_blocking(move || (&*file).write_all(&line)));
            }
            Ok(_) => {}
            Err(error) => _ = self.error.get_or_insert(error),
        }
    }
}

/// Returns the object of the current interval, and begins the next one.
fn line(clock: &mut Clock, run: Option<&'static str>, loads: &[Arc<ThreadLoad>]) -> io::Result<Vec<u8>> {
    let now = Instant::now();
    let is_warmup = clock.is_warmup();
    let mut interval = Interval::new()?;
    for load in loads {
        interval.add(&load.take_interval(is_warmup)?);
    }
    let elapsed = now.saturating_duration_since(clock.start);
    let object = Object {
        schema: SCHEMA,
        run,
        second: clock.number,
        start_s: clock.start.saturating_duration_since(clock.begin).as_secs_f64(),
        seconds: elapsed.as_secs_f64(),
        warmup: is_warmup,
        requests: interval.correct + interval.errors.values().sum::<u64>(),
        right: interval.correct,
        throughput: per_second(interval.correct, elapsed),
        errors: &interval.errors,
        backlog: loads.iter().map(|load| load.backlog(now)).sum(),
        latency_us: Latency(&interval.latency),
    };
    let mut line = serde_json::to_vec(&object)?;
    line.push(b'\n');
    clock.advance(now);
    Ok(line)
}

impl Clock {
    fn new(load: &ThreadLoad) -> Self {
        let (begin, counted_from, until) = load.times();
        let mut clock = Self { begin, counted_from, until, number: 1, start: begin, end: None };
        clock.end = clock.end_after(begin);
        clock
    }

    /// Whether the interval is part of the warm-up. No interval has both warm-up and counted requests.
    fn is_warmup(&self) -> bool {
        self.start < self.counted_from
    }

    /// Begins the next interval. Skips those that are over already.
    fn advance(&mut self, now: Instant) {
        self.number += 1;
        self.start = now;
        while let Some(end) = self.end.filter(|&end| end <= now) {
            self.end = self.end_after(end);
        }
    }

    /// Returns the end of the interval that should start at `start`. The replies in flight at the end of the run belong
    /// to its last interval.
    fn end_after(&self, start: Instant) -> Option<Instant> {
        let end = start + INTERVAL;
        let end = if start < self.counted_from { end.min(self.counted_from) } else { end };
        Some(end).filter(|&end| self.until.is_none_or(|until| end < until))
    }
}
