//! The server under test: whether it answers at all, which cases fit it, and their outcomes.

use std::time::Duration;

use proto::client::{Connector, Error, ErrorKind, Phase};
use proto::endpoint::Endpoint;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::case::{Case, Settings};
use super::client::{Client, Ending, Expected, Failed, Wait};
use super::dialogue;
use super::pattern::Pattern;
use super::program::{self, Passed};
use super::report::Outcome;
use super::statistics::House;
use crate::error::{CliError, EXIT_TIMEOUT};
use crate::language::check as texts;
use crate::target::Target;

/// A case that takes longer is skipped without `--slow`.
const MAX_TIME: Duration = Duration::from_secs(10);

/// A case that is code ends after this time, and the time for its rounds.
const MAX_PROGRAM: Duration = Duration::from_mins(2);

/// Time for a round against the house. 500 of them are in flight, so a batch may take 50 ms.
const TIME_PER_ROUND: Duration = Duration::from_micros(100);

/// How long a single move may wait while the window is measured.
pub(super) const MAX_WINDOW: Duration = Duration::from_secs(65);

/// At most this much of the time until the void reply, or a tenth of it, is not the window: the reply took some time,
/// too.
const REPLY_TIME: Duration = Duration::from_secs(1);

/// The server under test.
pub(super) struct Server {
    pub(super) target: Target,
    pub(super) endpoint: Endpoint,
    pub(super) connector: Connector,
    /// Timeout of each step.
    pub(super) timeout: Duration,
    pub(super) settings: Settings,
    /// Whether the window is given, or has been measured.
    pub(super) is_window_known: bool,
    /// Rounds of the statistical cases.
    pub(super) rounds: u64,
    pub(super) most_connections: usize,
    /// The rounds that were played, once for all statistical cases.
    pub(super) house: OnceCell<House>,
}

impl Server {
    /// Checks that the server answers anything at all.
    ///
    /// # Errors
    ///
    /// The error of the connection, or a timeout.
    pub(super) async fn answers(&self) -> Result<(), CliError> {
        let unreachable = |failed| match failed {
            Failed::NoConnection(error) => CliError::from(error),
            Failed::Different(_) => CliError::Reported(EXIT_TIMEOUT),
        };
        let mut client = Client::connect(&self.connector).await.map_err(unreachable)?;
        let request: &[u8] = if self.target == Target::Power { b"a2\n" } else { b"1" };
        client.send(request, Instant::now() + self.timeout).await;
        if self.target == Target::Duel {
            // A server of the duel replies when two players have moved.
            let mut other = Client::connect(&self.connector).await.map_err(unreachable)?;
            other.send(request, Instant::now() + self.timeout).await;
            let other_answered = other.wait(Instant::now() + self.timeout).await == Wait::Data;
            let answered = client.wait(Instant::now() + self.timeout).await == Wait::Data;
            if !(answered && other_answered) {
                // Withdraws a move that has no reply.
                other.reset_on_close();
                client.reset_on_close();
            }
            if answered || other_answered {
                return Ok(());
            }
        }
        if client.wait(Instant::now() + self.timeout).await == Wait::Data {
            return Ok(());
        }
        // A server that reads to the end of the stream replies now.
        client.half_close(Instant::now() + self.timeout).await;
        if client.wait(Instant::now() + self.timeout).await == Wait::Data {
            return Ok(());
        }
        let error = Error {
            address: self.connector.address().to_owned(),
            phase: Phase::Reply,
            kind: ErrorKind::TimedOut(self.timeout),
        };
        Err(CliError::NoReply(error, texts::hint_nothing_answered(self.target.name())))
    }

    pub(super) async fn outcome(&self, case: &Case, slow: bool, is_gone: bool) -> Outcome {
        if is_gone {
            return Outcome::Skip(texts::skip_gone());
        }
        if let Some(reason) = self.reason_to_skip(case, slow) {
            return Outcome::Skip(reason);
        }
        let result = if let Some(program) = case.program() {
            let most = MAX_PROGRAM + TIME_PER_ROUND * u32::try_from(self.rounds).unwrap_or(u32::MAX);
            let expected = Expected::Text(texts::expect_in_time());
            let failed = || program::different(b"", expected, Vec::new(), Ending::Silent(most));
            timeout(most, program.run(self)).await.unwrap_or_else(|_| Err(failed()))
        } else {
            // A longer pause would be a part of the window that counts.
            let max_pause = self.settings.window / 4;
            let performed = dialogue::perform(case, &self.connector, self.timeout, max_pause).await;
            performed.map(|()| Passed::default())
        };
        match result {
            Ok(passed) => Outcome::Ok(passed),
            Err(Failed::NoConnection(error)) => Outcome::Unreachable(error, false),
            Err(Failed::Different(difference)) => Outcome::Fail(difference),
        }
    }

    fn reason_to_skip(&self, case: &Case, slow: bool) -> Option<String> {
        let is_tls = matches!(self.endpoint, Endpoint::Tls(_));
        let is_unix = matches!(self.endpoint, Endpoint::Unix(_));
        let others: Vec<_> = case.settings.iter().filter(|setting| !self.has_setting(setting)).cloned().collect();
        if !others.is_empty() {
            return Some(texts::skip_setting(others.join(" ")));
        }
        let length = case.request_length();
        if self.target == Target::Power && length as u64 > self.settings.max_request_bytes {
            return Some(texts::skip_setting(format!("limits.max_request_bytes >= {length}")));
        }
        if case.is_tls && !is_tls {
            return Some(texts::skip_tls());
        }
        if is_unix && case.needs_reset() {
            return Some(texts::skip_unix());
        }
        if case.uses_window && !self.is_window_known {
            return Some(texts::skip_unknown_window());
        }
        let Settings { request, idle, window, max_bad_frames, .. } = self.settings;
        for (key, timeout, least) in
            [("timeouts.request", request, case.min_timeout), ("timeouts.idle", idle, case.min_idle)]
        {
            if timeout < least {
                return Some(texts::skip_setting(format!("{key} >= {}", humantime::format_duration(least))));
            }
        }
        let bad_frames = case.bad_frames();
        if self.target != Target::Power && bad_frames >= max_bad_frames {
            return Some(texts::skip_setting(format!("limits.max_bad_frames > {bad_frames}")));
        }
        if window < case.min_window {
            return Some(texts::skip_window(humantime::format_duration(case.min_window)));
        }
        if case.takes > MAX_TIME && !slow {
            return Some(texts::skip_slow(humantime::format_duration(Duration::from_secs(case.takes.as_secs()))));
        }
        None
    }

    /// Whether the server was said to have this setting of a transcript.
    fn has_setting(&self, setting: &str) -> bool {
        let Settings { request, idle, window, max_request_bytes, max_bad_frames } = self.settings;
        let duration = |value: &str, time| humantime::parse_duration(value).is_ok_and(|value| value == time);
        let count = |value: &str, number| value.parse::<u64>().is_ok_and(|value| value == number);
        match setting.split_once('=') {
            Some(("timeouts.request", value)) => duration(value, request),
            Some(("timeouts.idle", value)) => duration(value, idle),
            Some(("duel.window", value)) => duration(value, window),
            Some(("limits.max_request_bytes", value)) => count(value, max_request_bytes),
            Some(("limits.max_bad_frames", value)) => count(value, max_bad_frames),
            _ => false,
        }
    }

    /// Lets one move go void. Returns the outcome of this case, and the window, or nothing if the move was not void in
    /// time.
    pub(super) async fn measure_window(&self) -> (Outcome, Option<Duration>) {
        match self.time_until_void().await {
            Ok(elapsed) => {
                let note = texts::note_window(format!("{:.2}", elapsed.as_secs_f64()));
                let window = elapsed.saturating_sub(REPLY_TIME.min(elapsed / 10));
                (Outcome::Ok(Passed { p: None, note: Some(note) }), Some(window))
            }
            Err(Failed::NoConnection(error)) => (Outcome::Unreachable(error, false), None),
            Err(Failed::Different(difference)) => (Outcome::Fail(difference), None),
        }
    }

    async fn time_until_void(&self) -> Result<Duration, Failed> {
        let mut client = Client::connect(&self.connector).await?;
        let pattern = Pattern::new(&[b"v".to_vec()]);
        let started = Instant::now();
        client.send(b"1", started + self.timeout).await;
        let result = client.receive(&pattern, MAX_WINDOW).await;
        let elapsed = started.elapsed();
        if result.is_err() {
            client.reset_on_close();
        }
        result.map(|_| elapsed).map_err(|ending| {
            program::different(b"1", Expected::Bytes(pattern), std::mem::take(&mut client.received), ending)
        })
    }
}
