//! `check`: tests whether a server implements its protocol correctly.
//!
//! - `case`: the cases, as data in `cases/*.txt` and in the transcripts of PROTOCOL.md; `pattern`: expected bytes;
//! - `dialogue`: performs the steps of a case; `load`, `statistics`: the cases that are code;
//! - `mistake`: names the likely mistake behind a difference; `report`: prints results.
//!
//! It depends on the raw stream of [`proto::client`], not on its typed clients: those report a reply that breaks the
//! protocol, but here such a reply is a result.

pub(crate) mod case;
mod dialogue;
mod load;
mod mistake;
mod pattern;
mod report;
mod statistics;

use std::time::Duration;

use futures::future::join_all;
use proto::client::{Connector, Error, ErrorKind, Phase, Timeouts};
use proto::endpoint::Endpoint;
use proto::transcript;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::arguments::check::{CheckCommand, CheckOptions, DuelCheck, PowerCheck, RpsCheck};
use crate::error::{CliError, EXIT_FAILURE, EXIT_TIMEOUT};
use crate::language::{check as texts, texts as common};
use crate::open_files::raise_open_files;
use crate::output::write_stderr;
use crate::session::Session;
use crate::target::Target;
use case::{Case, Level, Settings};
use dialogue::{Client, Ending, Expected, Failed, Wait};
use pattern::Pattern;
use report::{CaseReport, Outcome, Summary};
use statistics::House;

const POWER_CASES: &str = include_str!("cases/power.txt");
const RPS_CASES: &str = include_str!("cases/rps.txt");
const DUEL_CASES: &str = include_str!("cases/duel.txt");

/// A case that takes longer is skipped without `--slow`.
const MAX_TIME: Duration = Duration::from_secs(10);

/// A case that is code ends after this time.
const MAX_PROGRAM: Duration = Duration::from_mins(2);

/// The default of `duel.window`.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// How long a single move may wait while the window is measured.
const MAX_WINDOW: Duration = Duration::from_secs(65);

/// At most this much of the time until the void reply, or a tenth of it, is not the window: the reply took some time, too.
const REPLY_TIME: Duration = Duration::from_secs(1);

/// Pause before the second attempt to reach a server that could not be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The server under test.
struct Server {
    target: Target,
    endpoint: Endpoint,
    connector: Connector,
    /// Timeout of each step.
    timeout: Duration,
    settings: Settings,
    /// Whether the window is given, or has been measured.
    is_window_known: bool,
    /// Rounds of the statistical cases.
    rounds: u64,
    most_connections: usize,
    /// The rounds that were played, once for all statistical cases.
    house: OnceCell<House>,
}

/// What to check.
struct Selection {
    target: Target,
    endpoint: Endpoint,
    options: CheckOptions,
    settings: Settings,
    /// Whether the window of the duel has to be measured.
    measures_window: bool,
    rounds: u64,
}

impl Selection {
    fn new(command: CheckCommand) -> Result<Self, CliError> {
        let defaults = Settings {
            request: Duration::from_secs(5),
            idle: Duration::from_mins(1),
            window: DEFAULT_WINDOW,
            max_request_bytes: 512,
            max_bad_frames: 16,
        };
        Ok(match command {
            CheckCommand::Power(PowerCheck { options, request_timeout, idle, max_request_bytes }) => {
                let endpoint = Target::Power.endpoint(options.addr.clone())?;
                let settings = Settings { request: request_timeout, idle, max_request_bytes, ..defaults };
                Self { target: Target::Power, endpoint, options, settings, measures_window: false, rounds: 0 }
            }
            CheckCommand::Rps(RpsCheck { options, idle, max_bad_frames, rounds }) => {
                let endpoint = Target::Rps.endpoint(options.addr.clone())?;
                let settings = Settings { idle, max_bad_frames, ..defaults };
                Self { target: Target::Rps, endpoint, options, settings, measures_window: false, rounds }
            }
            CheckCommand::Duel(DuelCheck { options, window, idle, max_bad_frames }) => {
                let endpoint = Target::Duel.endpoint(options.addr.clone())?;
                let measures_window = window.is_none();
                let settings = Settings { window: window.unwrap_or(DEFAULT_WINDOW), idle, max_bad_frames, ..defaults };
                Self { target: Target::Duel, endpoint, options, settings, measures_window, rounds: 0 }
            }
        })
    }

    /// Returns the selected cases, in the order of their sections.
    fn cases(&self, settings: &Settings) -> Result<Vec<Case>, CliError> {
        let (text, service) = match self.target {
            Target::Power => (POWER_CASES, "power"),
            Target::Rps => (RPS_CASES, "solo"),
            Target::Duel => (DUEL_CASES, "duel"),
        };
        // Tests parse all cases and the page.
        let invalid = |error: String| CliError::System(error);
        let mut cases = case::parse(text, settings).map_err(invalid)?;
        let page = transcript::transcripts().map_err(|error| invalid(error.to_string()))?;
        let mut number = 0;
        let mut section = String::new();
        for transcript in page.into_iter().filter(|transcript| transcript.service == service) {
            number = if section == transcript.section { number + 1 } else { 1 };
            section.clone_from(&transcript.section);
            let why = texts::why_transcript(transcript.line);
            cases.push(Case::from_transcript(transcript, number, why));
        }
        cases.retain(|case| case.level <= self.options.level);
        if !self.options.only.is_empty() {
            let matches = |case: &Case, text: &str| case.id.contains(text) || case.section.contains(text);
            cases.retain(|case| self.options.only.iter().any(|text| matches(case, text)));
        }
        cases.sort_by_key(|case| (case.level, section_key(&case.section)));
        Ok(cases)
    }
}

/// Returns the numbers of a section, to sort by them.
fn section_key(section: &str) -> Vec<u32> {
    section.split('.').filter_map(|number| number.parse().ok()).collect()
}

/// Runs the selected cases, and prints their results.
///
/// # Errors
///
/// Exit code 1 if a case failed, 2 if none was selected, 3 if the connection is refused, 4 if no request got a reply.
pub(crate) async fn run(command: CheckCommand, session: &Session) -> Result<(), CliError> {
    let selection = Selection::new(command)?;
    let cases = selection.cases(&selection.settings)?;
    if cases.is_empty() {
        return Err(CliError::Usage(texts::no_case(selection.options.only.join(","))));
    }
    if selection.options.list {
        return list(&cases, session);
    }
    let timeouts = Timeouts::all(session.timeouts.reply);
    let connector = session.connector(&selection.endpoint).with_timeouts(timeouts);
    // A server on the same machine needs as many.
    let files = raise_open_files().map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let mut server = Server {
        target: selection.target,
        endpoint: selection.endpoint.clone(),
        connector,
        timeout: session.timeouts.reply,
        settings: selection.settings,
        is_window_known: true,
        rounds: selection.rounds,
        most_connections: load::CONNECTIONS.min(files / 2),
        house: OnceCell::new(),
    };
    server.answers().await?;
    announce(&selection, &server, cases.len(), session);
    let level = selection.options.level.name();
    let mut run =
        Run { session, summary: Summary::new(server.target, server.connector.address(), level), is_gone: false };
    let mut cases = cases;
    if selection.measures_window && cases.iter().any(|case| case.uses_window) {
        let window = server.measure_window(&mut run).await?;
        server.settings.window = window.unwrap_or(DEFAULT_WINDOW);
        server.is_window_known = window.is_some();
        cases = selection.cases(&server.settings)?;
    }
    run.all(&server, &cases, selection.options.slow).await?;
    session.output.print(&run.summary, &run.summary)?;
    if run.summary.has_failure() { Err(CliError::Reported(EXIT_FAILURE)) } else { Ok(()) }
}

/// Prints the cases without running them.
fn list(cases: &[Case], session: &Session) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct ListedCase<'a> {
        case: &'a str,
        section: &'a str,
        level: &'a str,
        why: &'a str,
    }
    let width = cases.iter().map(|case| case.id.len()).max().unwrap_or_default();
    for case in cases {
        let (section, level, why) = (&case.section, case.level.name(), report::why(case));
        let line = format!("{section}  {level:<6}  {:<width$}  {why}", case.id);
        session.output.print(line, &ListedCase { case: &case.id, section, level, why })?;
    }
    Ok(())
}

/// Says what will happen, on standard error.
fn announce(selection: &Selection, server: &Server, count: usize, session: &Session) {
    if session.output.quiet || session.output.json {
        return;
    }
    let at = common::server_at(server.target.name(), server.connector.address());
    write_stderr(&format!("{}\n", texts::announce(at, count, selection.options.level.name())));
    if selection.options.level == Level::Robust {
        write_stderr(&format!("{}\n", texts::announce_robust(server.most_connections)));
    }
    if server.target == Target::Duel {
        write_stderr(&format!("{}\n", texts::announce_lobby()));
    }
}

/// A run of cases.
struct Run<'a> {
    session: &'a Session,
    summary: Summary,
    /// Whether the server can no longer be reached.
    is_gone: bool,
}

impl Run<'_> {
    /// Runs all cases in order. Cases that mostly wait run beside each other.
    async fn all(&mut self, server: &Server, cases: &[Case], slow: bool) -> Result<(), CliError> {
        let mut rest = cases;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|case| first.is_together && case.is_together).count().max(1);
            let (group, others) = rest.split_at(count);
            let is_gone = self.is_gone;
            let outcomes = join_all(group.iter().map(|case| server.outcome(case, slow, is_gone))).await;
            for (case, outcome) in group.iter().zip(outcomes) {
                self.report(server, case, outcome).await?;
            }
            rest = others;
        }
        Ok(())
    }

    async fn report(&mut self, server: &Server, case: &Case, mut outcome: Outcome) -> Result<(), CliError> {
        if let Outcome::Unreachable(_, is_gone) = &mut outcome {
            // Perhaps only this connection failed.
            sleep(RETRY_PAUSE).await;
            *is_gone = server.connector.connect().await.is_err();
            self.is_gone |= *is_gone;
        }
        let report = CaseReport { target: server.target, case, outcome };
        self.summary.count(&report);
        if !self.session.output.quiet || report.is_failure() {
            self.session.output.print(&report, &report)?;
        }
        Ok(())
    }
}

impl Server {
    /// Checks that the server answers anything at all.
    ///
    /// # Errors
    ///
    /// The error of the connection, or a timeout.
    async fn answers(&self) -> Result<(), CliError> {
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

    async fn outcome(&self, case: &Case, slow: bool, is_gone: bool) -> Outcome {
        if is_gone {
            return Outcome::Skip(texts::skip_gone());
        }
        if let Some(reason) = self.reason_to_skip(case, slow) {
            return Outcome::Skip(reason);
        }
        let result = if let Some(program) = case.program() {
            let failed = || {
                load::different(b"", Expected::Text(texts::expect_in_time()), Vec::new(), Ending::Silent(MAX_PROGRAM))
            };
            timeout(MAX_PROGRAM, program.run(self)).await.unwrap_or_else(|_| Err(failed()))
        } else {
            // A longer pause would be a part of the window that counts.
            let max_pause = self.settings.window / 4;
            let performed = dialogue::perform(case, &self.connector, self.timeout, max_pause).await;
            performed.map(|()| load::Passed::default())
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
        if let Some(setting) = case.settings.iter().find(|setting| !self.has_setting(setting)) {
            return Some(texts::skip_setting(setting));
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

    /// Lets one move go void, and returns the window, or nothing if the move was not void in time.
    async fn measure_window(&self, run: &mut Run<'_>) -> Result<Option<Duration>, CliError> {
        let mut case = case::parse(WINDOW_CASE, &self.settings).map_err(CliError::System)?;
        let Some(case) = case.pop() else { return Ok(None) };
        if !run.session.output.quiet && !run.session.output.json {
            write_stderr(&format!("{}\n", texts::announce_window(MAX_WINDOW.as_secs())));
        }
        let (outcome, window) = match self.time_until_void().await {
            Ok(elapsed) => {
                let note = texts::note_window(format!("{:.2}", elapsed.as_secs_f64()));
                (
                    Outcome::Ok(load::Passed { p: None, note: Some(note) }),
                    Some(elapsed.saturating_sub(REPLY_TIME.min(elapsed / 10))),
                )
            }
            Err(Failed::NoConnection(error)) => (Outcome::Unreachable(error, false), None),
            Err(Failed::Different(difference)) => (Outcome::Fail(difference), None),
        };
        run.report(self, &case, outcome).await?;
        Ok(window)
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
            load::different(b"1", Expected::Bytes(pattern), std::mem::take(&mut client.received), ending)
        })
    }
}

/// The case that measures the window.
const WINDOW_CASE: &str = "\
window  2.3  full
  en  A move that no other move meets is void at the end of the window: a player never waits forever.
  zh  窗口结束时仍没有遇到另一拳的出拳作废：玩家不会永远等待。
  > 1
  < v
";

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        request: Duration::from_secs(5),
        idle: Duration::from_mins(1),
        window: DEFAULT_WINDOW,
        max_request_bytes: 512,
        max_bad_frames: 16,
    };

    #[test]
    fn every_case_is_valid_and_has_its_reason_in_both_languages() {
        let numbers: Vec<_> = transcript::sections().map(|(number, _)| number).collect();
        for text in [POWER_CASES, RPS_CASES, DUEL_CASES, WINDOW_CASE] {
            let cases = case::parse(text, &SETTINGS).unwrap();
            for case in &cases {
                let id = &case.id;
                assert!(case.why.iter().all(|why| !why.is_empty()), "{id}: no reason");
                assert!(numbers.contains(&&*case.section), "{id}: section {}", case.section);
                assert!(!case.steps.is_empty(), "{id}: no steps");
                assert_eq!(cases.iter().filter(|other| other.id == *id).count(), 1, "{id} is there twice");
            }
        }
    }

    #[test]
    fn sections_are_sorted_by_number() {
        assert!(section_key("1.2") < section_key("1.10"));
        assert!(section_key("2") < section_key("2.1"));
    }
}
