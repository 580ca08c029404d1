//! Prints the results of cases: a line for each, the difference of a failed one, and a summary by section.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use proto::transcript;
use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::case::Case;
use super::client::{Difference, End, Ending, Exchanged, Expected};
use super::mistake;
use super::pattern::escaped;
use super::program::Passed;
use crate::arguments::help;
use crate::language::{Language, check as texts, explain};
use crate::status_line::columns;
use crate::target::Target;
use crate::trace::dump;

/// The number of earlier writes and reads that are shown of a failed case.
const MAX_EARLIER: usize = 6;

/// The number of bytes that are shown of one write or read: a few lines.
const MAX_DUMPED: usize = 48;

/// The number of bytes that are shown of a wrong reply.
const MAX_RECEIVED: usize = 120;

/// The number of bytes of a string in JSON.
const MAX_TEXT: usize = 240;

/// The result of one case.
#[derive(Debug)]
pub(super) enum Outcome {
    Ok(Passed),
    Fail(Box<Difference>),
    /// No connection could be made, and whether the server is gone: a second attempt failed too.
    Unreachable(proto::client::Error, bool),
    /// The case was not run, for this reason.
    Skip(String),
}

/// A case with its result.
pub(super) struct CaseReport<'a> {
    pub(super) target: Target,
    pub(super) case: &'a Case,
    pub(super) outcome: Outcome,
}

impl CaseReport<'_> {
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Fail(_) | Outcome::Unreachable(..))
    }

    pub(super) fn why(&self) -> &str {
        why(self.case)
    }

    fn mistake(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Fail(difference) => {
                difference.mistake.clone().or_else(|| mistake::likely(self.target, difference))
            }
            Outcome::Unreachable(_, true) => Some(texts::mistake_gone()),
            Outcome::Unreachable(_, false) => Some(texts::mistake_unreachable()),
            Outcome::Ok(_) | Outcome::Skip(_) => None,
        }
    }
}

/// Returns the reason of a case in the language of the process.
pub(super) fn why(case: &Case) -> &str {
    let [english, chinese] = &case.why;
    if Language::current() == Language::Chinese { chinese } else { english }
}

impl fmt::Display for CaseReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, outcome, .. } = self;
        let (section, id) = (&case.section, &case.id);
        match outcome {
            Outcome::Ok(Passed { note: Some(note), .. }) => write!(f, "ok    {section}  {id}: {note}"),
            Outcome::Ok(_) => write!(f, "ok    {section}  {id}"),
            Outcome::Skip(reason) => write!(f, "skip  {section}  {id}: {reason}"),
            Outcome::Unreachable(error, _) => {
                write!(f, "FAIL  {section}  {id}")?;
                detail(f, &texts::label_received(), &wrapped(&explain::error(error)))?;
                self.reason(f)
            }
            Outcome::Fail(difference) => {
                write!(f, "FAIL  {section}  {id}")?;
                self.difference(f, difference)
            }
        }
    }
}

impl CaseReport<'_> {
    fn difference(&self, f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
        let Difference { dialogue, sent, expected, received, ending, .. } = difference;
        let has_clients = dialogue.iter().any(|exchanged| exchanged.client > 1);
        let earlier = dialogue.len().saturating_sub(MAX_EARLIER);
        let mut lines = Vec::new();
        if earlier > 0 {
            lines.push(texts::earlier(earlier));
        }
        for Exchanged { client, direction, bytes } in &dialogue[earlier..] {
            let number = if has_clients { format!("{client} ") } else { String::new() };
            lines.extend(dumped(*direction, bytes, MAX_DUMPED).into_iter().map(|line| number.clone() + &line));
        }
        if dialogue.is_empty() && !sent.is_empty() {
            lines = dumped('>', sent, MAX_DUMPED);
        }
        detail(f, &texts::label_sent(), &lines)?;
        detail(f, &texts::label_expected(), &[expected_text(expected)])?;
        let mut lines = match expected {
            Expected::Text(_) => vec![String::from_utf8_lossy(received).into_owned()],
            _ => dumped('<', received, MAX_RECEIVED),
        };
        lines.extend(ending_text(*ending, received.is_empty()));
        detail(f, &texts::label_received(), &lines)?;
        self.reason(f)
    }
}

impl CaseReport<'_> {
    /// Writes why the case matters, and the likely mistake.
    fn reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        detail(f, &texts::label_why(), &wrapped(self.why()))?;
        detail(f, &texts::label_likely(), &self.mistake().map(|mistake| wrapped(&mistake)).unwrap_or_default())
    }
}

/// Breaks a sentence at blanks to fit the terminal behind a label. Text for a pipe or a file stays on one line.
fn wrapped(sentence: &str) -> Vec<String> {
    if !io::stdout().is_terminal() {
        return vec![sentence.to_owned()];
    }
    lines_of(sentence, columns().saturating_sub(INDENT).max(MIN_WIDTH))
}

/// Breaks a sentence into lines of at most this width, without blanks at their ends.
fn lines_of(sentence: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in help::words(sentence) {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() || line.width() + word.trim_end().width() <= width {
                line.push_str(word);
            } else {
                line.truncate(line.trim_end().len());
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

/// Columns before the text behind a label.
const INDENT: usize = 16;

/// Minimum width of wrapped text.
const MIN_WIDTH: usize = 20;

/// Writes lines behind a label.
fn detail(f: &mut fmt::Formatter<'_>, label: &str, lines: &[String]) -> fmt::Result {
    for (number, line) in lines.iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        write!(f, "\n      {label}{:1$}{line}", "", 10_usize.saturating_sub(label.width()))?;
    }
    Ok(())
}

fn dumped(direction: char, bytes: &[u8], most: usize) -> Vec<String> {
    let mut lines = dump(direction, &bytes[..bytes.len().min(most)]);
    if bytes.len() > most {
        lines.push(texts::more_bytes(bytes.len() - most));
    }
    lines
}

fn expected_text(expected: &Expected) -> String {
    match expected {
        Expected::Bytes(pattern) => pattern.to_string(),
        Expected::End => texts::the_end(),
        Expected::Quiet(duration) => texts::nothing(seconds(*duration)),
        Expected::Text(text) => text.clone(),
    }
}

/// Describes the end of the wait, after received bytes or alone.
fn ending_text(ending: Ending, is_alone: bool) -> Option<String> {
    match ending {
        Ending::Open => None,
        Ending::Silent(duration) if is_alone => Some(texts::nothing(seconds(duration))),
        Ending::Closed(End::Eof) if is_alone => Some(texts::the_end()),
        Ending::Closed(End::Reset) if is_alone => Some(texts::reset()),
        Ending::Closed(End::Truncated) if is_alone => Some(texts::truncated()),
        Ending::Closed(End::Other) if is_alone => Some(texts::error()),
        Ending::Silent(duration) => Some(texts::then_nothing(seconds(duration))),
        Ending::Early(elapsed) => Some(texts::too_early(seconds(elapsed))),
        Ending::Closed(End::Eof) => Some(texts::then_end()),
        Ending::Closed(End::Reset) => Some(texts::then_reset()),
        Ending::Closed(End::Truncated) => Some(texts::then_truncated()),
        Ending::Closed(End::Other) => Some(texts::then_error()),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// Formats the sent bytes for JSON: those since the last correct reply, or, with several clients, all with their
/// numbers.
fn sent_text(dialogue: &[Exchanged], sent: &[u8]) -> String {
    if dialogue.iter().all(|exchanged| exchanged.client == 1) {
        return text(sent);
    }
    let sent = dialogue.iter().filter(|exchanged| exchanged.direction == '>');
    let sent: Vec<_> = sent.map(|Exchanged { client, bytes, .. }| format!("{client} > {}", text(bytes))).collect();
    sent.join("; ")
}

/// Formats bytes as text for JSON.
fn text(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(MAX_TEXT).map(|&byte| escaped(byte)).collect();
    if bytes.len() > MAX_TEXT { shown + "…" } else { shown }
}

#[derive(Serialize)]
struct CaseObject<'a> {
    case: &'a str,
    section: &'a str,
    level: &'a str,
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<String>,
    why: &'a str,
    /// The likely mistake of a failed case.
    #[serde(skip_serializing_if = "Option::is_none")]
    likely: Option<String>,
    /// Why a case was skipped, or what one found.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
}

impl Serialize for CaseReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = CaseObject {
            case: &self.case.id,
            section: &self.case.section,
            level: self.case.level.name(),
            result: "fail",
            sent: None,
            expected: None,
            received: None,
            why: self.why(),
            likely: self.mistake(),
            note: None,
            p: None,
        };
        match &self.outcome {
            Outcome::Ok(passed) => {
                object.result = "ok";
                object.note = passed.note.as_deref();
                object.p = passed.p;
            }
            Outcome::Skip(reason) => {
                object.result = "skip";
                object.note = Some(reason);
            }
            Outcome::Unreachable(error, _) => object.received = Some(explain::error(error)),
            Outcome::Fail(difference) => {
                let Difference { dialogue, sent, expected, received, ending, p, .. } = &**difference;
                let received = match expected {
                    Expected::Text(_) => String::from_utf8_lossy(received).into_owned(),
                    _ => text(received),
                };
                let ending = match ending_text(*ending, received.is_empty()) {
                    Some(ending) if received.is_empty() => ending,
                    Some(ending) => format!(" ({ending})"),
                    None => String::new(),
                };
                object.sent = Some(sent_text(dialogue, sent));
                object.expected = Some(expected_text(expected));
                object.received = Some(received + &ending);
                object.p = *p;
            }
        }
        object.serialize(serializer)
    }
}

/// How many cases had each result.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    ok: u64,
    fail: u64,
    skip: u64,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Ok(_) => &mut self.ok,
            Outcome::Skip(_) => &mut self.skip,
            Outcome::Fail(_) | Outcome::Unreachable(..) => &mut self.fail,
        } += 1;
    }
}

/// The results of a run.
#[derive(Debug)]
pub(super) struct Summary {
    target: Target,
    address: String,
    level: &'static str,
    all: Counts,
    /// By section, in the order of PROTOCOL.md.
    sections: Vec<(&'static str, &'static str, Counts)>,
}

impl Summary {
    pub(super) fn new(target: Target, address: &str, level: &'static str) -> Self {
        let sections = transcript::sections().map(|(number, title)| (number, title, Counts::default())).collect();
        Self { target, address: address.to_owned(), level, all: Counts::default(), sections }
    }

    pub(super) fn count(&mut self, report: &CaseReport<'_>) {
        self.all.add(&report.outcome);
        if let Some((_, _, counts)) = self.sections.iter_mut().find(|(number, ..)| *number == report.case.section) {
            counts.add(&report.outcome);
        }
    }

    pub(super) fn has_failure(&self) -> bool {
        self.all.fail > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, title, Counts { ok, fail, skip }) in &self.sections {
            if ok + fail + skip > 0 {
                writeln!(f, "{}", texts::section_counts(number, title, ok, fail, skip))?;
            }
        }
        let Counts { ok, fail, skip } = self.all;
        let server = crate::language::texts::server_at(self.target.name(), &self.address);
        let verdict = match (ok, fail) {
            (0, 0) => texts::verdict_none(),
            (_, 0) => texts::verdict_ok(self.level),
            _ => texts::verdict_fail(self.level),
        };
        write!(f, "{}", texts::summary(server, ok, fail, skip, verdict))
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SummaryObject<'a> {
            check: &'a str,
            address: &'a str,
            level: &'a str,
            #[serde(flatten)]
            counts: Counts,
        }
        let Self { target, address, level, all, .. } = self;
        SummaryObject { check: target.name(), address, level, counts: *all }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_blank_at_its_end_and_is_not_too_wide() {
        assert_eq!(lines_of("and a number; the reply is d", 16), ["and a number;", "the reply is d"]);
        assert_eq!(lines_of("aaaa bbbb cccc", 9), ["aaaa bbbb", "cccc"]);
        assert_eq!(lines_of("", 9), [""]);
    }
}
