//! Names the likely mistake behind a difference, where the bytes give it away.
//!
//! Each rule compares the first wrong reply with the expected one, or looks at how the connection ended. The rules are
//! ordered from the special to the general; the first that applies is reported. None of them decides whether a case
//! failed.

mod number;

use super::client::{Difference, End, Ending, Expected};
use crate::language::check as texts;
use crate::target::Target;

/// The longest reply (PROTOCOL.md, section 3).
const MAX_REPLY: usize = 1024;

/// More bytes than this, where one reply is expected, are a text and not replies.
const MAX_REPLIES: usize = 8;

/// Returns a sentence on the likely mistake.
pub(super) fn likely(target: Target, difference: &Difference) -> Option<String> {
    let Difference { dialogue, sent, half_closed, expected, received, ending, .. } = difference;
    let text = match expected {
        Expected::Bytes(pattern) => pattern.text(),
        Expected::End | Expected::Quiet(_) => String::new(),
        // The case knows its mistake, if any.
        Expected::Text(_) => return None,
    };
    // Only in a duel may a client wait for another one.
    let is_second = dialogue.last().is_some_and(|exchanged| exchanged.client > 1);
    let is_late = received.is_empty() || received.starts_with(b"eTIMEOUT ");
    if target != Target::Duel && is_second && is_late {
        return Some(texts::mistake_one_at_a_time());
    }
    let writes = dialogue.iter().rev().take_while(|exchanged| exchanged.direction == '>').count();
    let last_reply = dialogue.iter().rev().find(|exchanged| exchanged.direction == '<').map(|reply| &reply.bytes[..]);
    let comparison =
        Comparison { sent, half_closed: *half_closed, expected, text, received, ending: *ending, writes, last_reply };
    match target {
        Target::Power => comparison.power(),
        Target::Rps => comparison.house(),
        Target::Duel => comparison.duel(),
    }
}

struct Comparison<'a> {
    sent: &'a [u8],
    half_closed: bool,
    expected: &'a Expected,
    /// The expected bytes as text, or nothing.
    text: String,
    received: &'a [u8],
    ending: Ending,
    /// The number of writes since the last reply.
    writes: usize,
    /// The last reply that was right.
    last_reply: Option<&'a [u8]>,
}

impl Comparison<'_> {
    fn power(&self) -> Option<String> {
        if !self.received.is_empty()
            && self.received.iter().all(|byte| b"exyzf".contains(byte))
            && self.received != b"e"
        {
            return Some(texts::mistake_is_rps());
        }
        let longest = self.received.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
        if longest > Some(MAX_REPLY) {
            return Some(texts::mistake_long_message());
        }
        if let Ending::Early(_) = self.ending {
            return Some(texts::mistake_early());
        }
        self.line_end().or_else(|| self.first_reply()).or_else(|| self.ending()).or_else(|| self.unasked())
    }

    /// Finds replies that differ only in their line ends.
    fn line_end(&self) -> Option<String> {
        if self.text == "\n" {
            return self.received.is_empty().then(texts::mistake_late_line_feed);
        }
        if self.text.is_empty() || self.received.is_empty() {
            // The reply was right, and its LF was too much.
            let is_extra =
                matches!(self.expected, Expected::End) && self.received == b"\n" && self.last_reply.is_some();
            return is_extra.then(texts::mistake_line_feed);
        }
        let received = String::from_utf8_lossy(self.received);
        if received == self.text.replace('\n', "\r\n") && received != self.text {
            return Some(texts::mistake_crlf());
        }
        if received == self.text.replace('\n', "") && received != self.text {
            return Some(texts::mistake_no_line_feed());
        }
        let is_bare = !self.text.ends_with('\n');
        let has_line_end = received.ends_with('\n') && lines(&received).len() == 1;
        let is_same = received.starts_with(&self.text) || is_same_error(&self.text, received.trim_end_matches('\n'));
        if is_bare && has_line_end && is_same {
            return Some(texts::mistake_line_feed());
        }
        if is_bare && received == format!("{}\0", self.text) {
            return Some(texts::mistake_terminator());
        }
        None
    }

    /// Compares the first replies that differ.
    fn first_reply(&self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        let (received, sent) = (String::from_utf8_lossy(self.received), String::from_utf8_lossy(self.sent));
        let (expected, replies) = (lines(&self.text), lines(&received));
        let requests = lines(&sent).into_iter().map(|line| line.strip_suffix('\r').unwrap_or(line));
        let requests: Vec<_> = requests.filter(|request| !is_blank(request)).collect();
        let lines_sent = self.sent.split(|&byte| byte == b'\n').count() - 1;
        let same = |(expected, reply): &(&&str, &&str)| expected == reply || is_same_error(expected, reply);
        let first = expected.iter().zip(&replies).take_while(same).count();
        let wanted = expected.get(first)?;
        let Some(reply) = replies.get(first) else { return self.missing(first, wanted) };
        let request = requests.get(first).copied().unwrap_or_default();
        let others = || replies.iter().any(|other| other == wanted) || expected.contains(reply);
        match (wanted.strip_prefix('d'), reply.strip_prefix('d')) {
            (Some(_), Some(_)) if self.writes > 1 => Some(texts::mistake_one_read()),
            (Some(_), Some(_)) if replies.len() > requests.len() && requests.len() < lines_sent => {
                Some(texts::mistake_blank_line())
            }
            (Some(wanted), Some(reply)) => {
                let order = || others().then(texts::mistake_order);
                let is_permutation = replies.len() > 1 && sorted(&replies) == sorted(&expected);
                if is_permutation { order() } else { number::explain(request, wanted, reply).or_else(order) }
            }
            (Some(_), None) if reply.starts_with('e') => {
                Some(self.rejected(request, reply, replies.len(), requests.len()))
            }
            (None, Some(_)) if request.contains('\r') || self.sent.ends_with(b"\r") => {
                Some(texts::mistake_inner_carriage_return())
            }
            (None, Some(_)) => Some(accepted(request, wanted)),
            (None, None) if reply.starts_with('e') && wanted.starts_with('e') => {
                Some(other_code(wanted, reply, self.sent.contains(&b'\n')))
            }
            (None, _) if !reply.starts_with(['d', 'e']) => Some(texts::mistake_message()),
            _ if !reply.starts_with(['d', 'e']) => Some(texts::mistake_reply_form()),
            _ => others().then(texts::mistake_order),
        }
    }

    /// Explains an error reply to a valid request.
    fn rejected(&self, request: &str, reply: &str, replies: usize, requests: usize) -> String {
        let blanks = |text: &str| text.contains('\t') || text.contains(' ');
        if reply.starts_with("eTIMEOUT") {
            return if self.sent.contains(&b'\n') {
                texts::mistake_one_read()
            } else {
                texts::mistake_waits_for_line_feed()
            };
        }
        if reply.starts_with("eTOOLONG") {
            return texts::mistake_limit_off();
        }
        if reply.starts_with("eRANGE") {
            return texts::mistake_underflow();
        }
        if replies > requests && self.writes <= 1 {
            return texts::mistake_blank_line();
        }
        if self.sent.contains(&b'\r') {
            return texts::mistake_carriage_return();
        }
        if replies < requests || self.writes > 1 {
            return texts::mistake_one_read();
        }
        match request.strip_prefix('d') {
            Some(_) if reply.starts_with("eBADOP") => texts::mistake_echo(),
            _ if blanks(request) => texts::mistake_blanks(),
            _ if self.last_reply.is_some() && !self.sent.contains(&b'\n') => texts::mistake_one_read(),
            _ => texts::mistake_rejects(request),
        }
    }

    /// Explains replies that are missing after the first `count`.
    fn missing(&self, count: usize, wanted: &str) -> Option<String> {
        let lines = self.sent.split(|&byte| byte == b'\n').count() - 1;
        let wants = |code| wanted.starts_with(code);
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(_) if self.writes > 1 && wants("d") => Some(texts::mistake_one_read()),
            Ending::Closed(_) if count > 0 && self.half_closed && !self.sent.ends_with(b"\n") => {
                Some(texts::mistake_last_line())
            }
            Ending::Closed(_) if wants("eRANGE") => Some(texts::mistake_overflow()),
            Ending::Closed(_) if wants("eTIMEOUT") => Some(texts::mistake_timeout_without_reply()),
            Ending::Closed(_) if wants("e") && self.half_closed => Some(texts::mistake_incomplete_at_end()),
            Ending::Closed(_) if self.has_error() => Some(texts::mistake_error_closes()),
            Ending::Closed(_) if wants("e") => Some(texts::mistake_no_error()),
            Ending::Closed(_) if !self.half_closed => Some(texts::mistake_closes()),
            Ending::Closed(_) => Some(texts::mistake_half_close()),
            Ending::Silent(_) if wants("eTIMEOUT") => Some(texts::mistake_no_deadline()),
            Ending::Silent(_) if wants("eTOOLONG") => Some(texts::mistake_no_limit()),
            Ending::Silent(_) if self.writes > 1 || count > 0 || lines > 1 => Some(texts::mistake_one_read()),
            Ending::Silent(_) if lines == 0 => Some(texts::mistake_waits_for_line_feed()),
            Ending::Silent(_) | Ending::Open | Ending::Early(_) => None,
        }
    }

    /// Whether the last received line is an error reply.
    fn has_error(&self) -> bool {
        let is_end = |byte: &u8| *byte == b'\n';
        let last = |bytes: &[u8]| bytes.strip_suffix(b"\n").unwrap_or(bytes).rsplit(is_end).next().map(<[u8]>::to_vec);
        let received = if self.received.is_empty() { self.last_reply.unwrap_or_default() } else { self.received };
        last(received).is_some_and(|line| line.starts_with(b"e"))
    }

    /// Explains the end of a connection.
    fn ending(&self) -> Option<String> {
        let is_end = matches!(self.expected, Expected::End);
        let is_quiet = matches!(self.expected, Expected::Quiet(_));
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(End::Truncated) => Some(texts::mistake_close_notify()),
            Ending::Silent(_) if is_end => Some(texts::mistake_stays_open()),
            Ending::Closed(_) if is_quiet && self.received.is_empty() && self.half_closed => {
                Some(texts::mistake_half_close())
            }
            Ending::Closed(_) if is_quiet && self.received.is_empty() => Some(texts::mistake_closes()),
            _ => None,
        }
    }

    /// Explains bytes that belong to no request.
    fn unasked(&self) -> Option<String> {
        if self.received.is_empty() || !self.text.is_empty() {
            return None;
        }
        let is_blank = self.sent.iter().all(u8::is_ascii_whitespace);
        Some(match self.expected {
            Expected::End if self.received.starts_with(b"eTIMEOUT") => texts::mistake_idle_reply(),
            Expected::Quiet(_) if self.received.starts_with(b"eTOOLONG") => texts::mistake_limit_off(),
            Expected::Quiet(_) if !is_blank => texts::mistake_incomplete(),
            Expected::Quiet(_) if self.sent.is_empty() => texts::mistake_speaks_first(),
            _ if is_blank && !self.sent.is_empty() => texts::mistake_blanks_reply(),
            _ => texts::mistake_extra_bytes(),
        })
    }

    /// Explains bytes of a game that belong to no request.
    fn unasked_frame(&self) -> Option<String> {
        let has_line_end = self.sent.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        match (self.expected, self.received.first()) {
            (Expected::Quiet(_), Some(b'e')) if has_line_end => Some(texts::mistake_line_end_reply()),
            (Expected::Quiet(_), Some(b'e')) => Some(texts::mistake_order()),
            (Expected::Quiet(_), Some(_)) if self.sent.is_empty() => Some(texts::mistake_speaks_first()),
            (_, Some(_)) => Some(texts::mistake_extra_bytes()),
            (_, None) => None,
        }
    }

    fn house(&self) -> Option<String> {
        self.frames().or_else(|| self.ending()).or_else(|| self.unasked_frame())
    }

    /// The mistakes of both games.
    fn frames(&self) -> Option<String> {
        let has = |byte| self.received.contains(&byte);
        let count = |bytes: &[u8]| bytes.split(|&byte| byte == b'e').count() - 1;
        let follows_invalid = self.last_reply.is_some_and(|reply| reply.ends_with(b"e"));
        if self.text.is_empty() {
            // After the last invalid byte that is allowed.
            let is_limit = matches!(self.expected, Expected::End) && follows_invalid;
            return (is_limit && self.ending != Ending::Closed(End::Reset)).then(texts::mistake_bad_frames);
        }
        if let Ending::Early(_) = self.ending {
            return Some(texts::mistake_early());
        }
        let (wanted, got) = (count(self.text.as_bytes()), count(self.received));
        let is_closed = matches!(self.ending, Ending::Closed(End::Eof));
        if self.received.starts_with(b"eBAD") || self.received.starts_with(b"d") {
            return Some(texts::mistake_is_power());
        }
        if self.received.iter().any(u8::is_ascii_uppercase) {
            return Some(texts::mistake_lower_case());
        }
        if self.text.len() == 1 && self.received.len() > MAX_REPLIES {
            return Some(texts::mistake_speaks_first());
        }
        if has(b'\n') || has(b'\r') {
            return Some(texts::mistake_line_in_game());
        }
        if got > wanted && self.sent.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Some(texts::mistake_line_end_reply());
        }
        if is_closed && wanted > 1 && got < wanted && !self.received.iter().any(|byte| b"xyz".contains(byte)) {
            return Some(texts::mistake_bad_frames());
        }
        if is_closed && self.received.is_empty() && self.half_closed {
            return Some(texts::mistake_half_close());
        }
        if is_closed && (wanted > 0 || self.received.is_empty() && follows_invalid) {
            return Some(texts::mistake_closes_on_invalid());
        }
        if got > wanted {
            return Some(if wanted > 0 { texts::mistake_two_bytes() } else { texts::mistake_move_rejected() });
        }
        if got == wanted && wanted > 0 {
            return Some(texts::mistake_order());
        }
        if got < wanted && matches!(self.ending, Ending::Silent(_)) && self.received.len() < 2 && self.sent.len() > 2 {
            return Some(texts::mistake_one_read());
        }
        if got < wanted {
            let accepted = self.sent.len() == 1 && self.received.iter().any(|byte| b"xyzv".contains(byte));
            return Some(if accepted { texts::mistake_accepts_byte() } else { texts::mistake_invalid_ignored() });
        }
        match self.ending {
            Ending::Closed(End::Reset) => Some(texts::mistake_reset()),
            Ending::Closed(_) if !self.half_closed => Some(texts::mistake_closes()),
            Ending::Closed(_) => Some(texts::mistake_half_close()),
            Ending::Silent(_) if self.sent.len() > 1 => Some(texts::mistake_one_read()),
            _ if has(b'v') => Some(texts::mistake_house_void()),
            _ => None,
        }
    }

    fn duel(&self) -> Option<String> {
        if self.received.len() <= MAX_REPLIES && self.received.iter().any(|byte| matches!(byte, b'1'..=b'3')) {
            return Some(texts::mistake_reveals());
        }
        if self.text == "v" && self.received.len() > 1 && self.received.iter().all(|&byte| byte == b'v') {
            return Some(texts::mistake_void_early());
        }
        if let (Expected::Bytes(_), 0..=1) = (self.expected, self.received.len()) {
            let first = self.received.first().copied();
            match (&*self.text, first, self.ending) {
                ("v", Some(b'v'), Ending::Early(_)) => return Some(texts::mistake_void_early()),
                ("x" | "y" | "z", Some(_), Ending::Early(_)) => return Some(texts::mistake_patience()),
                ("v", None, Ending::Silent(_)) => return Some(texts::mistake_no_void()),
                ("v", Some(b'x'), _) => return Some(texts::mistake_void_is_draw()),
                ("y", Some(b'z'), _) | ("z", Some(b'y'), _) => return Some(texts::mistake_swapped()),
                ("x" | "y" | "z", Some(b'v'), _) => return Some(texts::mistake_void_unexpected()),
                ("x" | "y" | "z", None, Ending::Silent(_)) => return Some(texts::mistake_no_judgement()),
                ("v", Some(b'y' | b'z'), _) => return Some(texts::mistake_judged_without()),
                ("x" | "y" | "z", Some(b'x' | b'y' | b'z'), _) => return Some(texts::mistake_other_judge()),
                _ => {}
            }
        }
        if let (Expected::Quiet(_), Some(b'v'), true) = (self.expected, self.received.first(), self.sent.is_empty()) {
            return Some(texts::mistake_void_to_partner());
        }
        if let (Expected::Quiet(_), Some(b'v')) = (self.expected, self.received.first()) {
            return Some(texts::mistake_void_unexpected());
        }
        if let (Expected::Quiet(_), Some(b'x' | b'y' | b'z')) = (self.expected, self.received.first()) {
            return Some(texts::mistake_judged_without());
        }
        self.house()
    }
}

/// Splits text into lines, without empty ones.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.split('\n').collect();
    if lines.len() > 1 && lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn is_blank(request: &str) -> bool {
    request.trim().is_empty()
}

fn sorted<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    let mut sorted = texts.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Whether both are error replies with the same code, and the message is one of printable bytes.
fn is_same_error(expected: &str, reply: &str) -> bool {
    if !reply.chars().all(|character| matches!(character, ' '..='~')) {
        return false;
    }
    let code = |text: &str| text.split_once(' ').map(|(code, _)| code.to_owned()).filter(|code| code.starts_with('e'));
    code(expected).is_some() && code(expected) == code(reply)
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
        Some(' ' | '\t') => texts::mistake_leading_blank(),
        _ => texts::mistake_float_syntax(),
    }
}

const KNOWN_CODES: [&str; 6] = ["BADOP", "BADNUM", "RANGE", "TOOLONG", "TIMEOUT", "BUSY"];

/// Explains another error code than the expected one.
fn other_code(expected: &str, reply: &str, is_line: bool) -> String {
    let code = |text: &str| text.split(' ').next().unwrap_or_default().trim_start_matches('e').to_owned();
    let (expected, reply_code) = (code(expected), code(reply));
    if expected == reply_code {
        texts::mistake_message()
    } else if reply_code == "TIMEOUT" && expected != "TOOLONG" {
        if is_line { texts::mistake_one_read() } else { texts::mistake_rejects_late() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::client::Exchanged;
    use crate::check::pattern::Pattern;

    /// Returns the likely mistake of a server that sends `received` instead of `expected`.
    fn mistake(target: Target, sent: &str, expected: &str, received: &str, ending: Ending) -> Option<String> {
        let pattern = Pattern::new(&expected.bytes().map(|byte| vec![byte]).collect::<Vec<_>>());
        let dialogue = vec![Exchanged { client: 1, direction: '>', bytes: sent.into() }];
        let difference = Difference {
            dialogue,
            sent: sent.into(),
            half_closed: false,
            expected: Expected::Bytes(pattern),
            received: received.into(),
            ending,
            p: None,
            mistake: None,
        };
        likely(target, &difference)
    }

    #[test]
    fn the_texts_of_numbers_give_mistakes_away() {
        for (sent, expected, received, text) in [
            ("a2\n", "d4.0\n", "d4\n", texts::mistake_no_point()),
            ("a2\n", "d4.0\n", "d4.00\n", texts::mistake_zeros()),
            ("d1e16\n", "d1e+16\n", "d1e16\n", texts::mistake_exponent_layout()),
            ("d1e16\n", "d1e+16\n", "d10000000000000000.0\n", texts::mistake_positional()),
            ("d0.1\n", "d0.1\n", "d0.10000000000000001\n", texts::mistake_digits()),
            ("d-0\n", "d-0.0\n", "d0.0\n", texts::mistake_negative_zero()),
            ("d3.14159265\n", "d3.14159265\n", "d3.14159\n", texts::mistake_percent_g()),
            ("b9.39\n", "d827.9360190000002\n", "d827.9360190000001\n", texts::mistake_product_order()),
            ("a1e200\n", "eRANGE ?\n", "dinf\n", texts::mistake_infinity()),
            ("b2\n", "d8.0\n", "d4.0\n", texts::mistake_other_operation()),
            ("a2\n", "d4.0\n", "d4.0\r\n", texts::mistake_crlf()),
            ("a2\nb2\n", "d4.0\nd8.0\n", "d8.0\nd4.0\n", texts::mistake_order()),
            ("a2\nb2\n", "d4.0\nd8.0\n", "eBADNUM '2\\nb2'\n", texts::mistake_one_read()),
            ("a1_0\n", "eBADNUM ?\n", "d100.0\n", texts::mistake_float_syntax()),
        ] {
            assert_eq!(mistake(Target::Power, sent, expected, received, Ending::Open), Some(text), "{received}");
        }
    }

    #[test]
    fn ends_and_silence_give_mistakes_away() {
        let silent = Ending::Silent(std::time::Duration::from_secs(1));
        let closed = Ending::Closed(End::Eof);
        for (target, sent, expected, received, ending, text) in [
            (Target::Power, "a2\na2\n", "d4.0\nd4.0\n", "d4.0\n", silent, texts::mistake_one_read()),
            (Target::Power, "a2", "d4.0", "", silent, texts::mistake_waits_for_line_feed()),
            (Target::Power, "a1e200\n", "eRANGE ?\n", "", closed, texts::mistake_overflow()),
            (Target::Power, "a2\n", "d4.0\n", "", Ending::Closed(End::Reset), texts::mistake_reset()),
            (Target::Rps, "1\n", "x", "x\n", Ending::Open, texts::mistake_line_in_game()),
            (Target::Rps, "q", "e", "ee", Ending::Open, texts::mistake_two_bytes()),
            (Target::Rps, "q", "e", "", silent, texts::mistake_invalid_ignored()),
            (Target::Duel, "1", "v", "", silent, texts::mistake_no_void()),
            (Target::Duel, "1", "z", "y", Ending::Open, texts::mistake_swapped()),
        ] {
            assert_eq!(mistake(target, sent, expected, received, ending), Some(text), "{sent:?} {received:?}");
        }
    }
}
