//! One connection's clock: what it waits for, and until when.
//!
//! All deadlines are absolute. A client that sends a byte now and then moves none of them.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::connection::handler::Next;
use crate::server::lifecycle::shutdown::Shutdown;

/// How long a connection may take over what.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// For a whole request: the first from accept on, a later one from its first byte on. `None`: requests have no
    /// parts, and the first may be as long in coming as any other.
    pub request: Option<Duration>,
    /// From an answer to the next request.
    pub idle: Duration,
    /// For the peer to take an answer that its socket has no room for.
    pub write: Duration,
    /// From the last byte of what reads as a whole request to taking it for one.
    pub settle: Duration,
}

/// What a connection does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It has been asked nothing for long: close without a word.
    Idle,
    /// The rest of a request did not come in time.
    Request,
    /// What has come has settled.
    Settled,
    /// The answer that comes from elsewhere is due.
    Due,
    /// The drain has waited long enough for the answer that comes from elsewhere: do without it.
    GivenUp,
    /// It has not been asked for a while since the drain began: close without a word, unless there is more after all.
    Drained,
    /// The drain is over: let go of it as it is.
    Cut,
}

/// A drain waits so long for a request that was sent before it began and is still on its way, be it through the
/// network or from the kernel to this process; then the connection counts as idle. An answer that such a request of
/// another connection may bring is waited for as long.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_millis(50);

/// A peer that asks anew whenever it has been answered is closed right after an answer once a drain has gone on for so
/// long. Answers that come from elsewhere are waited for a [`DRAIN_GRACE`] longer, so that partners who play to the end
/// both hear of their last round.
const DRAIN_PLAY: Duration = Duration::from_secs(1);

/// Follows one connection and knows its next deadline.
#[derive(Debug)]
pub(super) struct Watch {
    /// When the last turn was, or else when the connection began.
    last: Instant,
    /// When a connection that has sent no part of a request is given up.
    quiet_until: Instant,
    /// Whether a request has been answered yet; before that, the quiet counts as the first request's time.
    answered: bool,
    awaited: Awaited,
}

/// What a connection waits for.
#[derive(Debug)]
enum Awaited {
    /// A request.
    Request,
    /// The rest of one, until it is given up.
    Rest { until: Instant },
    /// Silence after what reads as a whole one: until `at`, and never past `until`, when the request is given up.
    Settle { at: Instant, until: Instant },
    /// An answer that comes from elsewhere.
    Answer { until: Instant },
}

impl Watch {
    /// A watch that starts with the connection.
    pub(super) fn new(deadlines: &Deadlines, accepted: Instant) -> Self {
        let quiet = deadlines.request.unwrap_or(deadlines.idle);
        Self { last: accepted, quiet_until: accepted + quiet, answered: false, awaited: Awaited::Request }
    }

    /// When the last turn was, or else when the connection began.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// Whether an answer is awaited that comes from elsewhere.
    pub(super) fn awaits_answer(&self) -> bool {
        matches!(self.awaited, Awaited::Answer { .. })
    }

    /// Takes note of a turn: whether it answered anything, whether it used up bytes that it had been given (what is
    /// left then belongs to a request that has just begun), and what is to come next.
    pub(super) fn note(&mut self, answered: bool, used: bool, next: Next, deadlines: &Deadlines, now: Instant) {
        self.last = now;
        if answered {
            self.answered = true;
            self.quiet_until = now + deadlines.idle;
        }
        let begun = match self.awaited {
            Awaited::Rest { until } | Awaited::Settle { until, .. } if !used => Some(until),
            _ => None,
        };
        // A request has its time from its first byte on; the first one of a connection has it from accept on.
        let until = begun.unwrap_or_else(|| match deadlines.request {
            Some(request) if self.answered => now + request,
            _ => self.quiet_until,
        });
        self.awaited = match next {
            Next::Request | Next::Close => Awaited::Request,
            Next::Rest => Awaited::Rest { until },
            Next::Settle => Awaited::Settle { at: now + deadlines.settle, until },
            Next::Answer(until) => Awaited::Answer { until },
        };
    }

    /// The next deadline, and what it means.
    pub(super) fn next(&self, deadlines: &Deadlines, shutdown: &Shutdown) -> (Instant, Expiry) {
        let own = match self.awaited {
            Awaited::Request if self.answered || deadlines.request.is_none() => (self.quiet_until, Expiry::Idle),
            Awaited::Request => (self.quiet_until, Expiry::Request),
            Awaited::Rest { until } => (until, Expiry::Request),
            Awaited::Settle { at, until } => (at.min(until), Expiry::Settled),
            Awaited::Answer { until } => (until, Expiry::Due),
        };
        let (Some(begun_at), Some(deadline)) = (shutdown.begun_at(), shutdown.deadline()) else { return own };
        let (grace, over) = (begun_at.max(self.last) + DRAIN_GRACE, begun_at + DRAIN_PLAY);
        // Right after an answer nothing is on its way yet; amid the time that the peer takes to ask again it may be.
        let quiet = if self.last >= over { self.last } else { grace }.min(deadline);
        let given_up = grace.min(over + DRAIN_GRACE).min(deadline);
        let drain = match self.awaited {
            Awaited::Settle { .. } => (deadline, Expiry::Settled),
            Awaited::Rest { .. } => (deadline, Expiry::Cut),
            Awaited::Request => (quiet, Expiry::Drained),
            Awaited::Answer { .. } => (given_up, Expiry::GivenUp),
        };
        if drain.0 <= own.0 { drain } else { own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadlines(settle: Duration) -> Deadlines {
        Deadlines { request: Some(5 * SECOND), idle: 60 * SECOND, write: 5 * SECOND, settle }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_counts_from_accept_and_a_later_one_from_its_first_byte() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let deadlines = deadlines(Duration::ZERO);
        let mut watch = Watch::new(&deadlines, start);
        assert_eq!(watch.next(&deadlines, &running), (start + 5 * SECOND, Expiry::Request));
        watch.note(false, false, Next::Rest, &deadlines, start + SECOND);
        assert_eq!(
            watch.next(&deadlines, &running),
            (start + 5 * SECOND, Expiry::Request),
            "a first byte moves nothing"
        );
        watch.note(true, true, Next::Request, &deadlines, start + 2 * SECOND);
        assert_eq!(watch.next(&deadlines, &running), (start + 62 * SECOND, Expiry::Idle));
        watch.note(false, false, Next::Rest, &deadlines, start + 10 * SECOND);
        watch.note(false, false, Next::Rest, &deadlines, start + 12 * SECOND);
        assert_eq!(
            watch.next(&deadlines, &running),
            (start + 15 * SECOND, Expiry::Request),
            "dribbling stretches nothing"
        );
        watch.note(true, true, Next::Rest, &deadlines, start + 14 * SECOND);
        assert_eq!(watch.next(&deadlines, &running), (start + 19 * SECOND, Expiry::Request), "a new request has begun");
        watch.note(false, true, Next::Request, &deadlines, start + 15 * SECOND);
        assert_eq!(watch.next(&deadlines, &running), (start + 74 * SECOND, Expiry::Idle), "blank lines are no request");
    }

    #[tokio::test(start_paused = true)]
    async fn settling_starts_anew_with_each_byte_but_ends_with_the_request() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let deadlines = deadlines(2 * SECOND);
        let mut watch = Watch::new(&deadlines, start);
        watch.note(false, false, Next::Settle, &deadlines, start);
        watch.note(false, false, Next::Settle, &deadlines, start + SECOND);
        assert_eq!(watch.next(&deadlines, &running), (start + 3 * SECOND, Expiry::Settled));
        watch.note(false, false, Next::Settle, &deadlines, start + 4 * SECOND);
        assert_eq!(watch.next(&deadlines, &running), (start + 5 * SECOND, Expiry::Settled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_the_idle_soon_and_the_others_at_its_deadline() {
        let (start, draining) = (Instant::now(), Shutdown::new(8 * SECOND));
        draining.begin();
        let deadlines = Deadlines { request: Some(20 * SECOND), ..deadlines(Duration::ZERO) };
        let mut watch = Watch::new(&deadlines, start);
        assert_eq!(watch.next(&deadlines, &draining), (start + DRAIN_GRACE, Expiry::Drained));
        watch.note(true, true, Next::Request, &deadlines, start + SECOND / 2);
        assert_eq!(watch.next(&deadlines, &draining), (start + SECOND / 2 + DRAIN_GRACE, Expiry::Drained));
        watch.note(true, true, Next::Request, &deadlines, start + 3 * SECOND);
        assert_eq!(watch.next(&deadlines, &draining), (start + 3 * SECOND, Expiry::Drained), "right after the answer");
        watch.note(false, false, Next::Rest, &deadlines, start + 3 * SECOND);
        let cut = start + 8 * SECOND - SECOND / 10;
        assert_eq!(watch.next(&deadlines, &draining), (cut, Expiry::Cut));
        let settling = Deadlines { settle: 15 * SECOND, ..deadlines };
        watch.note(false, false, Next::Settle, &settling, start + 4 * SECOND);
        assert_eq!(watch.next(&settling, &draining), (cut, Expiry::Settled), "what is whole is answered, not cut");
    }
}
