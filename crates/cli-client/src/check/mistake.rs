//! Names the likely mistake behind a difference, where the bytes give it away.
//!
//! Each rule compares the first wrong reply with the expected one, or looks at how the connection ended. The rules are
//! ordered from the special to the general; the first that applies is reported. None of them decides whether a case
//! failed.

use super::dialogue::{Difference, End, Ending, Expected};
use crate::language::check as texts;
use crate::target::Target;

/// Returns a sentence on the likely mistake.
pub(super) fn likely(target: Target, difference: &Difference) -> Option<String> {
    let Difference { sent, expected, received, ending, .. } = difference;
    let text = match expected {
        Expected::Bytes(pattern) => pattern.to_string(),
        Expected::End | Expected::Quiet(_) | Expected::Text(_) => String::new(),
    };
    let expected = Comparison { target, sent, expected, text, received, ending: *ending };
    match target {
        Target::Power => expected.power(),
        Target::Rps => expected.house(),
        Target::Duel => expected.duel(),
    }
}

struct Comparison<'a> {
    target: Target,
    sent: &'a [u8],
    expected: &'a Expected,
    /// The expected bytes in the notation of PROTOCOL.md, or nothing.
    text: String,
    received: &'a [u8],
    ending: Ending,
}

impl Comparison<'_> {
    fn power(&self) -> Option<String> {
        self.line_end().or_else(|| self.first_reply()).or_else(|| self.ending())
    }

    /// Finds replies that are right but for their line ends.
    fn line_end(&self) -> Option<String> {
        if self.text.is_empty() || self.received.is_empty() {
            return None;
        }
        let received = escape(self.received);
        if received == self.text.replace("\\n", "\\r\\n") && received != self.text {
            return Some(texts::mistake_crlf());
        }
        if received == self.text.replace("\\n", "") && received != self.text {
            return Some(texts::mistake_no_line_feed());
        }
        let is_bare = !self.text.ends_with("\\n");
        if is_bare && (received == format!("{}\\n", self.text) || received == format!("{}\\r\\n", self.text)) {
            return Some(texts::mistake_line_feed());
        }
        if is_bare && received == format!("{}\\x00", self.text) {
            return Some(texts::mistake_terminator());
        }
        None
    }

    /// Compares the first replies that differ.
    fn first_reply(&self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        let received = escape(self.received);
        let (expected, replies): (Vec<_>, Vec<_>) = (lines(&self.text), lines(&received));
        let requests = lines(&escape(self.sent)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let requests: Vec<_> = requests.iter().map(|line| line.strip_suffix("\\r").unwrap_or(line)).collect();
        let requests: Vec<_> = requests.into_iter().filter(|request| !is_blank(request)).collect();
        let same = |(expected, reply): &(&&str, &&str)| expected == reply || is_same_error(expected, reply);
        let first = expected.iter().zip(&replies).take_while(same).count();
        let wanted = expected.get(first)?;
        let Some(reply) = replies.get(first) else { return self.missing(first) };
        let request = requests.get(first).copied().unwrap_or_default();
        let others = || replies.iter().any(|other| other == wanted) || expected.contains(reply);
        match (wanted.strip_prefix('d'), reply.strip_prefix('d')) {
            (Some(wanted), Some(reply)) if !reply.contains('e') || !reply.contains("eB") => {
                number(request, wanted, reply).or_else(|| others().then(texts::mistake_order))
            }
            (Some(_), _) if reply.starts_with('e') => Some(self.refused(request)),
            (None, Some(_)) if request.contains("\\r") || self.sent.ends_with(b"\r") => {
                Some(texts::mistake_inner_carriage_return())
            }
            (None, Some(_)) => Some(accepted(request, wanted)),
            (None, None) if reply.to_uppercase() == wanted.to_uppercase() => Some(texts::mistake_lower_case()),
            (None, None) if reply.starts_with('e') && wanted.starts_with('e') => Some(other_code(wanted, reply)),
            _ => others().then(texts::mistake_order),
        }
    }

    /// Explains an error reply to a valid request.
    fn refused(&self, request: &str) -> String {
        let lines = self.sent.iter().filter(|&&byte| byte == b'\n').count();
        if self.sent.contains(&b'\r') {
            texts::mistake_carriage_return()
        } else if request.ends_with([' ', '\t'])
            || request.contains("\\t")
            || request.get(1..).unwrap_or_default().starts_with(' ')
        {
            texts::mistake_blanks()
        } else if self.sent.iter().all(u8::is_ascii_whitespace) || self.sent.starts_with(b"\n") {
            texts::mistake_blank_line()
        } else if lines > 1 || !self.sent.ends_with(b"\n") {
            texts::mistake_one_read()
        } else if request.starts_with('d') {
            texts::mistake_echo()
        } else if request.contains("e-") || request.contains("e+") || request.contains('E') {
            texts::mistake_underflow()
        } else {
            texts::mistake_one_read()
        }
    }

    /// Explains replies that are missing after the first `count`.
    fn missing(&self, count: usize) -> Option<String> {
        let lines = self.sent.iter().filter(|&&byte| byte == b'\n').count();
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(_) if count > 0 => Some(texts::mistake_closes()),
            Ending::Closed(_) if self.text.starts_with("eRANGE") => Some(texts::mistake_overflow()),
            Ending::Closed(_) if self.text.starts_with('e') => Some(texts::mistake_no_error()),
            Ending::Closed(_) => Some(texts::mistake_half_close()),
            Ending::Silent(_) if count > 0 && lines > count => Some(texts::mistake_one_read()),
            Ending::Silent(_) if self.text == "\\n" => Some(texts::mistake_late_line_feed()),
            Ending::Silent(_) if self.text.starts_with("eTIMEOUT") => Some(texts::mistake_no_deadline()),
            Ending::Silent(_) if self.text.starts_with("eTOOLONG") => Some(texts::mistake_no_limit()),
            Ending::Silent(_) if lines == 0 => Some(texts::mistake_waits_for_line_feed()),
            Ending::Silent(_) if lines > 1 => Some(texts::mistake_one_read()),
            Ending::Silent(_) | Ending::Open | Ending::Early(_) => None,
        }
    }

    /// Explains the end of a connection, or bytes that nobody asked for.
    fn ending(&self) -> Option<String> {
        let is_end = matches!(self.expected, Expected::End);
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(End::Truncated) => Some(texts::mistake_close_notify()),
            Ending::Silent(_) if is_end => Some(texts::mistake_stays_open()),
            Ending::Closed(_) if matches!(self.expected, Expected::Quiet(_)) && self.received.is_empty() => {
                Some(texts::mistake_closes())
            }
            _ if matches!(self.expected, Expected::Quiet(_)) && !self.received.is_empty() => Some(self.unasked()),
            _ if is_end && !self.received.is_empty() && self.sent.iter().all(u8::is_ascii_whitespace) => {
                Some(texts::mistake_blanks_reply())
            }
            _ if is_end && !self.received.is_empty() => Some(texts::mistake_extra_bytes()),
            _ => None,
        }
    }

    fn unasked(&self) -> String {
        if self.target == Target::Power && !self.sent.is_empty() && !self.sent.iter().all(u8::is_ascii_whitespace) {
            texts::mistake_incomplete()
        } else if self.sent.is_empty() {
            texts::mistake_speaks_first()
        } else if self.sent.iter().all(u8::is_ascii_whitespace) {
            texts::mistake_line_end_reply()
        } else {
            texts::mistake_extra_bytes()
        }
    }

    fn house(&self) -> Option<String> {
        self.frames().or_else(|| self.ending())
    }

    /// The mistakes of both games.
    fn frames(&self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        let has = |byte| self.received.contains(&byte);
        let is_silent = matches!(self.ending, Ending::Silent(_));
        if self.received.iter().any(u8::is_ascii_uppercase) {
            return Some(texts::mistake_lower_case());
        }
        if has(b'\n') || has(b'\r') {
            return Some(texts::mistake_line_in_game());
        }
        if self.sent.iter().any(|byte| matches!(byte, b'\r' | b'\n')) && has(b'e') && !self.text.contains('e') {
            return Some(texts::mistake_line_end_reply());
        }
        if self.text.contains('e') && self.received.windows(2).any(|pair| pair == b"ee") && !self.text.contains("ee") {
            return Some(texts::mistake_two_bytes());
        }
        if self.text.contains('e') && has(b'e') && !is_silent {
            return Some(texts::mistake_order());
        }
        if self.text.contains('e') && !has(b'e') {
            return Some(if let Ending::Closed(_) = self.ending {
                texts::mistake_closes_on_invalid()
            } else {
                texts::mistake_invalid_ignored()
            });
        }
        if self.sent.len() > 1 && !self.received.is_empty() && is_silent {
            return Some(texts::mistake_one_read());
        }
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(_) if self.sent.is_empty() => Some(texts::mistake_closes()),
            Ending::Closed(_) => Some(texts::mistake_half_close()),
            _ => None,
        }
    }

    fn duel(&self) -> Option<String> {
        if let Expected::Bytes(_) = self.expected {
            let first = self.received.first().copied();
            match (&*self.text, first, self.ending) {
                ("v", Some(b'v'), Ending::Early(_)) => return Some(texts::mistake_void_early()),
                ("v", None, Ending::Silent(_)) => return Some(texts::mistake_no_void()),
                ("v", Some(b'x'), _) => return Some(texts::mistake_void_is_draw()),
                ("v", Some(b'y' | b'z'), _) => return Some(texts::mistake_other_judge()),
                ("y", Some(b'z'), _) | ("z", Some(b'y'), _) => return Some(texts::mistake_swapped()),
                ("x" | "y" | "z", Some(b'v'), _) => return Some(texts::mistake_void_unexpected()),
                ("x" | "y" | "z", Some(b'x' | b'y' | b'z'), _) => return Some(texts::mistake_other_judge()),
                ("x" | "y" | "z", None, Ending::Silent(_)) => return Some(texts::mistake_no_judgement()),
                _ => {}
            }
        }
        if let (Expected::Quiet(_), Some(b'x' | b'y' | b'z')) = (self.expected, self.received.first()) {
            return Some(texts::mistake_judged_without());
        }
        self.frames().or_else(|| self.ending())
    }
}

/// Splits text in the notation of PROTOCOL.md into lines.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.split("\\n").collect();
    if lines.len() > 1 && lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| super::pattern::escaped(byte)).collect()
}

fn is_blank(request: &str) -> bool {
    request.replace("\\t", "").trim().is_empty()
}

/// Whether both are error replies with the same code.
fn is_same_error(expected: &str, reply: &str) -> bool {
    let code = |text: &str| text.split_once(' ').map(|(code, _)| code.to_owned()).filter(|code| code.starts_with('e'));
    code(expected).is_some() && code(expected) == code(reply)
}

/// Explains a number that is written or computed in another way.
fn number(request: &str, expected: &str, reply: &str) -> Option<String> {
    if matches!(reply.to_lowercase().as_str(), "inf" | "nan" | "infinity" | "-inf" | "-infinity") {
        return Some(texts::mistake_infinity());
    }
    let (wanted, got): (f64, f64) = (expected.parse().ok()?, reply.parse().ok()?);
    if wanted.to_bits() == got.to_bits() {
        return layout(expected, reply);
    }
    #[allow(clippy::float_cmp, reason = "the zeros differ in their sign")]
    if wanted == got {
        return Some(texts::mistake_negative_zero());
    }
    let distance = ((got - wanted) / wanted).abs();
    let digits = reply.bytes().filter(u8::is_ascii_digit).count();
    if wanted == 0.0 || got == 0.0 {
        return Some(texts::mistake_underflow());
    }
    if distance < 1e-5 && digits <= 8 && distance > 1e-15 {
        return Some(texts::mistake_percent_g());
    }
    // A float has 24 bits, a double 53.
    if (1e-10..1e-5).contains(&distance) {
        return Some(texts::mistake_float32());
    }
    if distance < 1e-14 {
        return Some(if request.starts_with(['b', 'c']) {
            texts::mistake_product_order()
        } else {
            texts::mistake_rounding()
        });
    }
    let operand: f64 = request.get(1..)?.trim().parse().ok()?;
    [operand, operand * operand, operand * operand * operand, operand.powi(4)]
        .into_iter()
        .any(|power| (power - got).abs() <= power.abs() * 1e-9)
        .then(texts::mistake_other_operation)
}

/// Explains a number that has the right value and another text.
fn layout(expected: &str, reply: &str) -> Option<String> {
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').to_owned()
    };
    let (wanted, got) = (digits(expected), digits(reply));
    if wanted.len() == got.len() && wanted != got {
        return Some(texts::mistake_tie());
    }
    if got.len() > wanted.len() {
        return Some(texts::mistake_digits());
    }
    if expected.contains('e') && !reply.contains(['e', 'E']) {
        return Some(texts::mistake_positional());
    }
    if !expected.contains('e') && reply.contains(['e', 'E']) {
        return Some(texts::mistake_exponent());
    }
    if expected.contains('e') {
        return Some(texts::mistake_exponent_layout());
    }
    (!reply.contains('.')).then(texts::mistake_no_point)
}

/// Explains a result for an invalid request.
fn accepted(request: &str, expected: &str) -> String {
    if expected.starts_with("eRANGE") {
        return texts::mistake_infinity();
    }
    if expected.starts_with("eTOOLONG") {
        return texts::mistake_no_limit();
    }
    match request.chars().next() {
        Some(first) if first.is_ascii_uppercase() => texts::mistake_upper_case_op(),
        Some(' ' | '\\') => texts::mistake_leading_blank(),
        _ => texts::mistake_float_syntax(),
    }
}

const KNOWN_CODES: [&str; 6] = ["BADOP", "BADNUM", "RANGE", "TOOLONG", "TIMEOUT", "BUSY"];

/// Explains another error code than the expected one.
fn other_code(expected: &str, reply: &str) -> String {
    let code = |text: &str| text.split(' ').next().unwrap_or_default().trim_start_matches('e').to_owned();
    let (expected, reply_code) = (code(expected), code(reply));
    if expected == reply_code {
        texts::mistake_message()
    } else if expected == "TIMEOUT" && reply_code == "BADNUM" {
        texts::mistake_incomplete()
    } else if expected == "TOOLONG" && KNOWN_CODES.contains(&&*reply_code) {
        texts::mistake_no_limit()
    } else if reply_code.is_empty() || !KNOWN_CODES.contains(&&*reply_code) {
        texts::mistake_unknown_code()
    } else {
        texts::mistake_other_code(reply_code, expected)
    }
}
