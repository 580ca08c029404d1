//! `check`: tests whether a server implements its protocol correctly.
//!
//! - `case`: the cases, as data in `cases/*.txt` and in the transcripts of PROTOCOL.md; `pattern`: expected bytes;
//! - `server`: the server under test; `client`: raw bytes of one connection;
//! - `dialogue`: performs the steps of a case; `program`, `statistics`: the cases that are code;
//! - `mistake`: names the likely mistake behind a difference; `report`: prints results.
//!
//! It depends on the raw stream of [`proto::client`], not on its typed clients: those report a reply that breaks the
//! protocol, but here such a reply is a result.

pub(crate) mod case;
mod client;
mod dialogue;
mod mistake;
mod pattern;
mod program;
mod report;
mod server;
mod statistics;

use std::time::Duration;

use futures::future::join_all;
use proto::client::Timeouts;
use proto::endpoint::Endpoint;
use proto::transcript;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::arguments::check::{CheckCommand, CheckOptions, DuelCheck, PowerCheck, RpsCheck};
use crate::error::{CliError, EXIT_FAILURE};
use crate::language::{check as texts, texts as common};
use crate::open_files::raise_open_files;
use crate::output::write_stderr;
use crate::session::Session;
use crate::target::Target;
use case::{Case, Level, Settings};
use report::{CaseReport, Outcome, Summary};
use server::{MAX_WINDOW, Server};

const POWER_CASES: &str = include_str!("cases/power.txt");
const RPS_CASES: &str = include_str!("cases/rps.txt");
const DUEL_CASES: &str = include_str!("cases/duel.txt");

/// The case that measures the window.
const WINDOW_CASE: &str = include_str!("cases/window.txt");

const WINDOW_ID: &str = "window";

/// The default of `duel.window`.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// Pause before the second attempt to reach a server that could not be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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
        if self.measures_window {
            cases.extend(case::parse(WINDOW_CASE, settings).map_err(invalid)?);
        }
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
        most_connections: program::CONNECTIONS.min(files / 2),
        house: OnceCell::new(),
    };
    server.answers().await?;
    announce(&selection, &server, cases.len(), session);
    let level = selection.options.level.name();
    let mut run =
        Run { session, summary: Summary::new(server.target, server.connector.address(), level), is_gone: false };
    let mut cases = cases;
    if selection.measures_window && cases.iter().any(|case| case.uses_window || case.id == WINDOW_ID) {
        if !session.output.quiet && !session.output.json {
            write_stderr(&format!("{}\n", texts::announce_window(MAX_WINDOW.as_secs())));
        }
        let (outcome, window) = server.measure_window().await;
        let measured = case::parse(WINDOW_CASE, &server.settings).map_err(CliError::System)?;
        if let Some(case) = measured.first() {
            run.report(&server, case, outcome).await?;
        }
        server.settings.window = window.unwrap_or(DEFAULT_WINDOW);
        server.is_window_known = window.is_some();
        cases = selection.cases(&server.settings)?;
        cases.retain(|case| case.id != WINDOW_ID);
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
