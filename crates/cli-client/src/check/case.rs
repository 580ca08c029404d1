//! The cases: data in the notation of PROTOCOL.md, with a few more steps.
//!
//! A case file lists cases, each of them a head, a reason in both languages, and steps:
//!
//! ```text
//! square  1.1  core
//!   en  A request is an op letter and a number.
//!   zh  …
//!   > a2
//!   < d4.0
//! ```
//!
//! The head is the id, the section of PROTOCOL.md and the level. `together` marks a case that mostly waits, and runs
//! beside the others of this kind; `takes=TIME`, `window>=TIME` and `idle>=TIME` say when it is skipped. The further
//! steps:
//!
//! | step | meaning |
//! |---|---|
//! | `pause TIME` | the bytes before and after arrive in separate reads; a failed case is repeated with pauses 5 and 20 times as long |
//! | `quiet TIME` | nothing arrives for this long |
//! | `drip TIME BYTES` | sends a byte each time, until the next step is done |
//! | `clock` | the times of `within` count from here; at first from the start of the case |
//! | `within TIME TIME` | the next step is done between these times |
//! | `close`, `reset` | the client closes with a FIN, or with an RST |
//! | `program NAME` | runs a part that is code |
//!
//! A time is a duration, or `request`, `idle`, `window`, or a part of it (`window/2`, `window/10`, `window/20`), to which a duration may be added.
//! In bytes,
//! `{511*1}` is 511 times the byte `1`; `max` and `bad` stand for the limits of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::transcript::{Action, Step, Transcript, allowed_bytes};

use super::pattern::Pattern;
use super::program::Program;

/// How much a case asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The behaviour of the simplest programs: one write, one read.
    Core,
    /// The promises of PROTOCOL.md.
    Full,
    /// Broken and hostile clients.
    Robust,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Core, Self::Full, Self::Robust];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Full => "full",
            Self::Robust => "robust",
        }
    }
}

/// The settings of the server under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// `timeouts.request`.
    pub(crate) request: Duration,
    /// `timeouts.idle`.
    pub(crate) idle: Duration,
    /// `duel.window`; not yet known before it is measured.
    pub(crate) window: Duration,
    /// `limits.max_request_bytes`.
    pub(crate) max_request_bytes: u64,
    /// `limits.max_bad_frames`.
    pub(crate) max_bad_frames: u64,
}

/// One thing that a server has to do right.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "five independent properties")]
pub(super) struct Case {
    pub(super) id: String,
    /// The section of PROTOCOL.md.
    pub(super) section: String,
    pub(super) level: Level,
    /// Why it matters, in English and Chinese.
    pub(super) why: [String; 2],
    /// Whether the case mostly waits, and can run beside others.
    pub(super) is_together: bool,
    /// How long it takes, if it is long.
    pub(super) takes: Duration,
    /// Whether it depends on the window of a duel.
    pub(super) uses_window: bool,
    /// Whether the length of its requests depends on the server's limit.
    pub(super) uses_max: bool,
    /// Whether its invalid bytes are as many as the limit of the server allows.
    pub(super) uses_bad: bool,
    /// The shortest timeouts of the server that are longer than the pauses of the case.
    pub(super) min_timeout: Duration,
    /// The shortest idle timeout, if the case needs a longer one.
    pub(super) min_idle: Duration,
    /// The shortest window in which the times of the case differ enough to measure.
    pub(super) min_window: Duration,
    /// Settings of the server that it needs, as `key=value`.
    pub(super) settings: Vec<String>,
    pub(super) is_tls: bool,
    pub(super) steps: Vec<CaseStep>,
}

/// A step of a case, by the client with this number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CaseStep {
    pub(super) client: u32,
    pub(super) action: CaseAction,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum CaseAction {
    Send(Vec<u8>),
    /// Sends a byte after each pause until the next step is done.
    Drip(Duration, Vec<u8>),
    HalfClose,
    /// Sends a FIN without `close_notify`.
    Truncate,
    Close,
    Reset,
    Receive(Pattern),
    ReceiveEnd,
    Pause(Duration),
    /// Nothing arrives for this long.
    Quiet(Duration),
    /// Restarts the clock of the case.
    Clock,
    /// The next step is done between these times of the clock.
    Within(Duration, Duration),
    Program(Program),
}

/// The shortest timeouts and window of a server that are clearly longer than a round trip.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest request with a number of the shortest text: an op letter, a sign, 17 digits, a point and `e-308`.
const LONGEST_REQUEST: usize = 25;

/// Parses a file of cases.
///
/// # Errors
///
/// The number and text of the first invalid line.
pub(super) fn parse(text: &str, settings: &Settings) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let invalid = || format!("line {number}: {line}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(step) = line.strip_prefix("  ") else {
            cases.push(head(line, settings).ok_or_else(invalid)?);
            continue;
        };
        let case = cases.last_mut().ok_or_else(invalid)?;
        match step.split_once("  ") {
            Some(("en", why)) => why.clone_into(&mut case.why[0]),
            Some(("zh", why)) => why.clone_into(&mut case.why[1]),
            _ => {
                case.uses_window |= step.contains("window");
                case.uses_bad |= step.contains("{bad");
                case.uses_max |= step.contains("{max") || step.contains("TOOLONG");
                case.steps.push(CaseStep::parse(step, settings).ok_or_else(invalid)?);
            }
        }
    }
    Ok(cases)
}

fn head(line: &str, settings: &Settings) -> Option<Case> {
    let mut words = line.split_whitespace();
    let (id, section, level) = (words.next()?, words.next()?, words.next()?);
    let mut case = Case {
        id: id.to_owned(),
        section: section.to_owned(),
        level: Level::ALL.into_iter().find(|known| known.name() == level)?,
        why: Default::default(),
        is_together: false,
        takes: Duration::ZERO,
        uses_window: line.contains("window"),
        uses_max: false,
        uses_bad: false,
        min_timeout: MIN_TIMEOUT,
        min_idle: MIN_TIMEOUT,
        min_window: MIN_TIMEOUT,
        settings: Vec::new(),
        is_tls: false,
        steps: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("takes", text)) => case.takes = time(text, settings)?,
            Some(("window>", text)) => case.min_window = time(text, settings)?,
            Some(("idle>", text)) => case.min_idle = time(text, settings)?,
            None if word == "together" => case.is_together = true,
            _ => return None,
        }
    }
    Some(case)
}

impl Case {
    /// Creates the case of a transcript of PROTOCOL.md; `number` counts those of its section.
    pub(super) fn from_transcript(transcript: Transcript, number: usize, why: [String; 2]) -> Self {
        let Transcript { section, settings, is_tls, steps, .. } = transcript;
        // The transcripts that need short times say so.
        let least = if settings.is_empty() { MIN_TIMEOUT } else { Duration::ZERO };
        let has = |key| settings.iter().any(|setting| setting.starts_with(key));
        let (uses_max, uses_bad) = (has("limits.max_request_bytes="), has("limits.max_bad_frames="));
        let step = |Step { client, action, .. }| CaseStep { client, action: action.into() };
        Self {
            id: format!("transcript-{section}-{number}"),
            section,
            level: Level::Full,
            why,
            is_together: false,
            takes: Duration::ZERO,
            uses_window: false,
            uses_max,
            uses_bad,
            min_timeout: least,
            min_idle: least,
            min_window: least,
            settings,
            is_tls,
            steps: steps.into_iter().map(step).collect(),
        }
    }

    /// Returns the part that is code, if the case has one.
    pub(super) fn program(&self) -> Option<Program> {
        self.steps.iter().find_map(|step| match step.action {
            CaseAction::Program(program) => Some(program),
            _ => None,
        })
    }

    /// Returns the length of the longest request that a server has to take, if that does not depend on its limit.
    pub(super) fn request_length(&self) -> usize {
        let lines = self.steps.iter().flat_map(|step| match &step.action {
            CaseAction::Send(bytes) | CaseAction::Drip(_, bytes) if !self.uses_max => {
                bytes.split(|&byte| byte == b'\n').collect()
            }
            _ => Vec::new(),
        });
        let longest = lines.map(<[u8]>::len).max().unwrap_or_default();
        if self.program() == Some(Program::Numbers) { longest.max(LONGEST_REQUEST) } else { longest }
    }

    /// Returns the number of invalid bytes that a connection of a game has to survive, if the case does not use the
    /// limit.
    pub(super) fn bad_frames(&self) -> u64 {
        if self.uses_bad {
            return 0;
        }
        let mut replies = BTreeMap::new();
        for step in &self.steps {
            if let CaseAction::Receive(pattern) = &step.action {
                *replies.entry(step.client).or_insert(0) += pattern.text().matches('e').count() as u64;
            }
        }
        replies.into_values().max().unwrap_or_default()
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.steps.iter().any(|step| step.action == CaseAction::Reset)
    }
}

impl CaseStep {
    fn parse(text: &str, settings: &Settings) -> Option<Self> {
        let (client, text) = match text.split_once(' ') {
            Some((number, rest)) if number.parse::<u32>().is_ok() => (number.parse().ok()?, rest),
            _ => (1, text),
        };
        let bytes = |text: &str| allowed_bytes(&repeated(text, settings)?);
        let single =
            |text: &str| bytes(text)?.into_iter().map(|allowed| allowed.first().copied()).collect::<Option<Vec<_>>>();
        let time = |text: &str| time(text, settings);
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let action = match word {
            ">" => CaseAction::Send(single(rest)?),
            "<" => CaseAction::Receive(Pattern::new(&bytes(rest)?)),
            "pause" => CaseAction::Pause(time(rest)?),
            "quiet" => CaseAction::Quiet(time(rest)?),
            "clock" => CaseAction::Clock,
            "close" => CaseAction::Close,
            "reset" => CaseAction::Reset,
            "drip" => {
                let (pause, text) = rest.split_once(' ')?;
                CaseAction::Drip(time(pause)?, single(text)?)
            }
            "within" => {
                let (least, most) = rest.split_once(' ')?;
                CaseAction::Within(time(least)?, time(most)?)
            }
            "program" => CaseAction::Program(Program::from_name(rest)?),
            _ => Step::parse(text, 0).ok()?.action.into(),
        };
        Some(Self { client, action })
    }
}

impl From<Action> for CaseAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Send(bytes) => Self::Send(bytes),
            Action::HalfClose => Self::HalfClose,
            Action::Truncate => Self::Truncate,
            Action::Receive(allowed) => Self::Receive(Pattern::new(&allowed)),
            Action::ReceiveEnd => Self::ReceiveEnd,
        }
    }
}

/// Parses a time: a duration, or the name of a setting and perhaps `+` and a duration.
fn time(text: &str, settings: &Settings) -> Option<Duration> {
    let (base, more) = text.split_once('+').unwrap_or((text, "0s"));
    let base = match base {
        "request" => settings.request,
        "idle" => settings.idle,
        "window" => settings.window,
        "window/2" => settings.window / 2,
        "window/10" => settings.window / 10,
        "window/20" => settings.window / 20,
        duration => humantime::parse_duration(duration).ok()?,
    };
    Some(base + humantime::parse_duration(more).ok()?)
}

/// Replaces `{511*x}` by 511 times `x`.
fn repeated(text: &str, settings: &Settings) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (count, after) = after.split_once('*')?;
        let (unit, after) = after.split_once('}')?;
        result.push_str(before);
        result.push_str(&unit.repeat(usize::try_from(self::count(count, settings)?).ok()?));
        rest = after;
    }
    result.push_str(rest);
    Some(result)
}

fn count(text: &str, settings: &Settings) -> Option<u64> {
    let (base, add, subtract) = match (text.split_once('+'), text.split_once('-')) {
        (Some((base, more)), _) => (base, more.parse().ok()?, 0),
        (None, Some((base, less))) => (base, 0, less.parse().ok()?),
        (None, None) => (text, 0, 0),
    };
    let base: u64 = match base {
        "max" => settings.max_request_bytes,
        "bad" => settings.max_bad_frames,
        number => number.parse().ok()?,
    };
    base.checked_add(add)?.checked_sub(subtract)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        request: Duration::from_secs(5),
        idle: Duration::from_mins(1),
        window: Duration::from_secs(30),
        max_request_bytes: 8,
        max_bad_frames: 3,
    };

    #[test]
    fn a_case_is_a_head_and_steps() {
        let text = "# comment\n\nid  1.2  full  together  takes=idle+2s\n  en  Why.\n  zh  为何。\n  2 > a{max-1*1}\\n\n  \
                    within window/10 request+1s\n  <|\n";
        let cases = parse(text, &SETTINGS).unwrap();
        let [case] = &cases[..] else { panic!("{cases:?}") };
        assert_eq!((&*case.id, &*case.section, case.level, case.is_together), ("id", "1.2", Level::Full, true));
        assert_eq!((case.takes, case.uses_window, case.uses_max), (Duration::from_secs(62), true, true));
        assert_eq!(case.why, ["Why.", "为何。"]);
        let within = CaseAction::Within(Duration::from_secs(3), Duration::from_secs(6));
        let steps: Vec<_> = case.steps.iter().map(|step| (step.client, &step.action)).collect();
        assert_eq!(steps[0], (2, &CaseAction::Send(b"a1111111\n".to_vec())));
        assert_eq!(steps[1..], [(1, &within), (1, &CaseAction::ReceiveEnd)]);
    }

    #[test]
    fn an_invalid_line_is_named() {
        for wrong in [
            "id  1.2  most",
            "id  1.2",
            "id  1.2  full  takes=soon",
            "  > a2",
            "id  1.2  full\n  > {x*1}",
            "id  1.2  full\n  program nothing",
            "id  1.2  full\n  > {bad-4*1}",
            "id  1.2  full\n  wait 1s",
        ] {
            assert!(parse(wrong, &SETTINGS).is_err(), "{wrong}");
        }
    }
}
