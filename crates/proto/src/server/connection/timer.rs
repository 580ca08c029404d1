//! The timer of a connection: the driver's next step, and its time.
//!
//! All deadlines are absolute: a client that sends a byte now and then extends none of them.

use std::time::Duration;

use tokio::time::Instant;

use super::handler::{Event, WaitFor};
use super::io::Handled;
use crate::server::config::sections;
use crate::server::config::types::TimeoutValue;
use crate::server::lifecycle::shutdown::Shutdown;

/// The timeouts of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionTimeouts {
    /// For a whole request: the first counts from accept, a later one from its first byte. `None`: a request has no
    /// parts, and the first one may take as long as any other.
    pub request: Option<Duration>,
    /// From a reply to the next request.
    pub idle: Duration,
    /// For the peer to take a reply that its socket has no room for.
    pub write: Duration,
    /// From the last byte of what reads as a whole request to taking it for one.
    pub settle: Duration,
}

impl ConnectionTimeouts {
    /// The configured timeouts, and those that are the service's own.
    #[must_use]
    pub fn new(
        configured: &sections::TimeoutsConfig,
        request: Option<TimeoutValue<1>>,
        settle: TimeoutValue<0>,
    ) -> Self {
        Self {
            request: request.map(TimeoutValue::get),
            idle: configured.idle.get(),
            write: configured.write.get(),
            settle: settle.get(),
        }
    }
}

/// The driver's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Waits for data or a reply, until this deadline.
    Wait(Instant),
    /// Delivers an event to the handler.
    Deliver(Event),
    /// Reads what has arrived already; closes if there is nothing.
    FinalRead,
    /// Closes: no request arrived for the idle timeout.
    CloseIdle,
    /// Drops the connection as it is: the drain is over.
    Abort,
}

/// A drain waits this long for a request that was sent before it began and is still in flight, in the network or from
/// the kernel to this process; then the connection counts as idle. A reply that depends on such a request of another
/// connection is waited for as long.
pub(crate) const DRAIN_IDLE_GRACE: Duration = Duration::from_millis(50);

/// After this long in a drain, a peer that sends its next request as soon as it has a reply is closed right behind a
/// reply. Replies that come from elsewhere are waited for a [`DRAIN_IDLE_GRACE`] longer, so that partners who play to
/// the end both get the result of their last round.
const DRAIN_KEEPALIVE_LIMIT: Duration = Duration::from_secs(1);

/// Follows one connection and decides what happens next.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    /// When the handler last handled an event; at first, when the connection was accepted.
    last_progress: Instant,
    /// When a connection is closed that has sent no part of a request.
    idle_deadline: Instant,
    /// When a request that has arrived in part times out.
    request_deadline: Instant,
    wait_for: WaitFor,
    /// Whether anything was replied. Before that, `idle_deadline` is the deadline of the first request.
    replied: bool,
    /// Whether the last step was a final read.
    in_final_read: bool,
    /// Whether the last event came from a final read.
    final_read_had_data: bool,
}

impl ConnectionTimer {
    /// Starts with the connection.
    pub(super) fn new(timeouts: &ConnectionTimeouts, accepted: Instant) -> Self {
        let first = accepted + timeouts.request.unwrap_or(timeouts.idle);
        Self {
            last_progress: accepted,
            idle_deadline: first,
            request_deadline: first,
            wait_for: WaitFor::Request,
            replied: false,
            in_final_read: false,
            final_read_had_data: false,
        }
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.last_progress
    }

    pub(super) fn idle_deadline(&self) -> Instant {
        self.idle_deadline
    }

    /// Whether a reply is awaited that comes from elsewhere.
    pub(super) fn waits_for_reply(&self) -> bool {
        matches!(self.wait_for, WaitFor::Reply { .. })
    }

    /// Updates the deadlines after the handler has handled an event.
    pub(super) fn on_progress(&mut self, handled: &Handled, timeouts: &ConnectionTimeouts, now: Instant) {
        self.last_progress = now;
        self.final_read_had_data = self.in_final_read;
        if handled.wrote {
            self.replied = true;
            self.idle_deadline = now + timeouts.idle;
        }
        let same_request = matches!(self.wait_for, WaitFor::MoreData | WaitFor::Settle) && !handled.consumed;
        if !same_request {
            self.request_deadline = match timeouts.request {
                Some(request) if self.replied => now + request,
                _ => self.idle_deadline,
            };
        }
        self.wait_for = handled.progress.wait_for;
    }

    /// Decides what the driver does at `now`.
    pub(super) fn step(&mut self, now: Instant, timeouts: &ConnectionTimeouts, shutdown: &Shutdown) -> Step {
        let (deadline, at_deadline) = self.next_deadline(timeouts, shutdown);
        let is_drain_over = || shutdown.deadline().is_some_and(|deadline| deadline <= now);
        let step = match at_deadline {
            _ if now < deadline => Step::Wait(deadline),
            // A peer that always has another request in flight does not extend the drain.
            Step::FinalRead | Step::Deliver(Event::Shutdown) if self.final_read_had_data && is_drain_over() => {
                Step::Abort
            }
            step => step,
        };
        self.in_final_read = step == Step::FinalRead;
        step
    }

    /// The next deadline, and the step at it.
    fn next_deadline(&self, timeouts: &ConnectionTimeouts, shutdown: &Shutdown) -> (Instant, Step) {
        let own = match self.wait_for {
            WaitFor::Request | WaitFor::Close if self.replied || timeouts.request.is_none() => {
                (self.idle_deadline, Step::CloseIdle)
            }
            WaitFor::Request | WaitFor::Close => (self.idle_deadline, Step::Deliver(Event::RequestTimeout)),
            WaitFor::MoreData => (self.request_deadline, Step::Deliver(Event::RequestTimeout)),
            WaitFor::Settle => {
                let settled = self.last_progress + timeouts.settle;
                (settled.min(self.request_deadline), Step::Deliver(Event::Settled))
            }
            WaitFor::Reply { deadline } => (deadline, Step::Deliver(Event::ReplyReady)),
        };
        let (Some(started_at), Some(deadline)) = (shutdown.started_at(), shutdown.deadline()) else { return own };
        let grace = started_at.max(self.last_progress) + DRAIN_IDLE_GRACE;
        let limit = started_at + DRAIN_KEEPALIVE_LIMIT;
        let drain = match self.wait_for {
            // Right after a reply no request can be in flight, so close at once. Later, one may be.
            WaitFor::Request | WaitFor::Close if self.last_progress >= limit => (self.last_progress, Step::FinalRead),
            WaitFor::Request | WaitFor::Close => (grace, Step::FinalRead),
            WaitFor::MoreData => (deadline, Step::Abort),
            WaitFor::Settle => (deadline, Step::Deliver(Event::Settled)),
            WaitFor::Reply { .. } => (grace.min(limit + DRAIN_IDLE_GRACE), Step::Deliver(Event::Shutdown)),
        };
        let drain = (drain.0.min(deadline), drain.1);
        if drain.0 <= own.0 { drain } else { own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::handler::Progress;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts(settle: Duration) -> ConnectionTimeouts {
        ConnectionTimeouts { request: Some(5 * SECOND), idle: 60 * SECOND, write: 5 * SECOND, settle }
    }

    /// A handler that handled an event, and what it waits for now.
    fn handled(wrote: bool, consumed: bool, wait_for: WaitFor) -> Handled {
        let progress = Progress { replies: 0, wait_for };
        Handled { event: Event::Data, started: Instant::now(), wrote, consumed, progress }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_counts_from_accept_and_a_later_one_from_its_first_byte() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 5 * SECOND, Step::Deliver(Event::RequestTimeout))
        );
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 5 * SECOND, Step::Deliver(Event::RequestTimeout)),
            "a first byte moves nothing"
        );
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + 2 * SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 62 * SECOND, Step::CloseIdle));
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + 10 * SECOND);
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + 12 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 15 * SECOND, Step::Deliver(Event::RequestTimeout)),
            "dribbling stretches nothing"
        );
        timer.on_progress(&handled(true, true, WaitFor::MoreData), &timeouts, start + 14 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 19 * SECOND, Step::Deliver(Event::RequestTimeout)),
            "a new request has begun"
        );
        timer.on_progress(&handled(false, true, WaitFor::Request), &timeouts, start + 15 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 74 * SECOND, Step::CloseIdle),
            "blank lines are no request"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn settling_starts_anew_with_each_byte_but_ends_with_the_request() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(2 * SECOND);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start);
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start + SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 3 * SECOND, Step::Deliver(Event::Settled)));
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start + 4 * SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 5 * SECOND, Step::Deliver(Event::Settled)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_the_idle_soon_and_the_others_at_its_deadline() {
        let (start, draining) = (Instant::now(), Shutdown::new(8 * SECOND));
        draining.trigger();
        let timeouts = ConnectionTimeouts { request: Some(20 * SECOND), ..timeouts(Duration::ZERO) };
        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(timer.next_deadline(&timeouts, &draining), (start + DRAIN_IDLE_GRACE, Step::FinalRead));
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + SECOND / 2);
        assert_eq!(timer.next_deadline(&timeouts, &draining), (start + SECOND / 2 + DRAIN_IDLE_GRACE, Step::FinalRead));
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + 3 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &draining),
            (start + 3 * SECOND, Step::FinalRead),
            "right after the answer"
        );
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + 3 * SECOND);
        let cut = start + 8 * SECOND - SECOND / 10;
        assert_eq!(timer.next_deadline(&timeouts, &draining), (cut, Step::Abort));
        let settling = ConnectionTimeouts { settle: 15 * SECOND, ..timeouts };
        timer.on_progress(&handled(false, false, WaitFor::Settle), &settling, start + 4 * SECOND);
        assert_eq!(
            timer.next_deadline(&settling, &draining),
            (cut, Step::Deliver(Event::Settled)),
            "what is whole is answered, not cut"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_read_that_finds_data_is_the_last_one_at_the_deadline_of_a_drain() {
        let (start, draining) = (Instant::now(), Shutdown::new(SECOND / 2));
        draining.trigger();
        let deadline = start + SECOND / 2 - SECOND / 20;
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(timer.step(start, &timeouts, &draining), Step::Wait(start + DRAIN_IDLE_GRACE));
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::FinalRead, "data that is there is in time");
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, deadline);
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::Abort);

        let mut timer = ConnectionTimer::new(&timeouts, start);
        let soon = start + DRAIN_IDLE_GRACE;
        assert_eq!(timer.step(soon, &timeouts, &draining), Step::FinalRead);
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, deadline - SECOND / 50);
        assert_eq!(timer.step(deadline - SECOND / 50, &timeouts, &draining), Step::Wait(deadline));
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::Abort, "a wait does not change that");
    }
}
