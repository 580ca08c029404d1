//! The timer of a connection: decides the driver's next step and when it is due.
//!
//! It depends on events, the configuration and the shutdown; it does no I/O and does not read the clock. All deadlines
//! are absolute, so a client that sends single bytes slowly does not extend them. Start reading at `step`.

use std::time::Duration;

use tokio::time::Instant;

use super::handler::{Event, WaitFor};
use super::io::Handled;
use super::stream::SendQueue;
use crate::server::config::sections;
use crate::server::config::types::TimeoutValue;
use crate::server::lifecycle::shutdown::Shutdown;

/// The timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimeouts {
    /// Maximum time for a complete request: for the first one from accept or from the end of the handshake, for a later one
    /// from its first byte. `None`: the idle timeout applies instead, to the first request and to an incomplete one.
    pub request: Option<Duration>,
    /// Maximum time from a reply to the first byte of the next request, or to its end if `request` is `None`.
    pub idle: Duration,
    /// Maximum time without an acknowledgement while there are replies for the peer: in the socket, or unsent because the
    /// socket has no room for them. It also applies at a close.
    pub write: Duration,
    /// Time from the last byte of a request that may be complete to [`Event::Settled`]. Zero for protocols in which the
    /// end of a request is visible.
    pub settle: Duration,
}

impl ConnectionTimeouts {
    /// Combines the timeouts that every server has with those of the service.
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
    /// Wait for data or a reply until this deadline.
    Wait(Instant),
    /// Deliver an event to the handler.
    Deliver(Event),
    /// The deadline has passed: read what has arrived before it. The next step follows if that is nothing.
    FinalRead,
    /// Close, because no request arrived within the idle timeout.
    CloseIdle,
    /// Close, because the connection is idle in a drain.
    CloseDrained,
    /// Check whether the peer takes its replies.
    CheckSendQueue,
    /// Abort the connection, because the drain deadline has passed.
    Abort,
}

/// In a drain, a connection counts as idle after this long without a request. The time is for requests that were sent
/// before the drain began and are in flight, in the network or between the kernel and this process. A reply that depends
/// on such a request of another connection is awaited for the same time.
pub(crate) const DRAIN_IDLE_GRACE: Duration = Duration::from_millis(50);

/// In a drain, the first bytes of a connection are awaited for this long after accept or the handshake: longer than a kernel
/// waits before it sends a lost request again (200 ms), and a round trip, after which a client of TLS 1.2 sends its first
/// request. The first bytes of a handshake are awaited for the same time.
pub(crate) const DRAIN_FIRST_BYTES_GRACE: Duration = Duration::from_millis(250);

/// After this long in a drain, a connection closes after its next reply, unless the next request has arrived by then: its
/// peer may send each request right after the last reply. Pending replies are awaited a [`DRAIN_IDLE_GRACE`] longer, so
/// that both players of a duel get the result of their last round. The rest of a request is awaited until then, so that a
/// peer that never sends it does not delay a restart.
const DRAIN_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of one connection from which its next step follows.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    /// When the handler last handled an event; before that, when the connection was accepted or its handshake ended.
    last_progress: Instant,
    /// When the connection closes if no part of a request arrives.
    idle_deadline: Instant,
    /// When a request that has arrived in part times out.
    request_deadline: Instant,
    wait_for: WaitFor,
    /// Whether any reply was written. Before that, `idle_deadline` is the deadline of the first request.
    replied: bool,
    /// Whether the handler still waits for the same reply after it has handled the shutdown.
    waits_past_shutdown: bool,
    /// Whether the last step was a final read.
    in_final_read: bool,
    /// When to check whether the peer takes replies; `None` if it has taken all.
    send_queue_check: Option<Instant>,
    /// The bytes that the peer had acknowledged at the last check.
    acknowledged: u64,
}

impl ConnectionTimer {
    pub(super) fn new(timeouts: &ConnectionTimeouts, accepted: Instant) -> Self {
        let first = accepted + timeouts.request.unwrap_or(timeouts.idle);
        Self {
            last_progress: accepted,
            idle_deadline: first,
            request_deadline: first,
            wait_for: WaitFor::Request,
            replied: false,
            waits_past_shutdown: false,
            in_final_read: false,
            send_queue_check: None,
            acknowledged: 0,
        }
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.last_progress
    }

    pub(super) fn idle_deadline(&self) -> Instant {
        self.idle_deadline
    }

    /// Whether the handler waits for a pending reply.
    pub(super) fn waits_for_reply(&self) -> bool {
        matches!(self.wait_for, WaitFor::Reply { .. })
    }

    /// Updates the deadlines after the handler has handled an event at `now`.
    pub(super) fn on_progress(&mut self, handled: &Handled, timeouts: &ConnectionTimeouts, now: Instant) {
        self.last_progress = now;
        self.in_final_read = false;
        if handled.wrote {
            self.replied = true;
            self.idle_deadline = now + timeouts.idle;
            self.send_queue_check.get_or_insert(now + timeouts.write);
        }
        // A partial request can also be in `Reply`, while it waits for the rate of its client network.
        let is_partial = matches!(self.wait_for, WaitFor::MoreData | WaitFor::Settle | WaitFor::Reply { .. });
        let same_request = is_partial && !handled.consumed && !handled.wrote;
        if !same_request {
            self.request_deadline = match timeouts.request {
                // Blank lines get no reply. They extend the deadline by at most one request timeout.
                Some(request) if self.replied => now.min(self.idle_deadline) + request,
                _ => self.idle_deadline,
            };
        }
        self.wait_for = handled.progress.wait_for;
        let same_reply = self.waits_for_reply() && !handled.wrote;
        self.waits_past_shutdown = same_reply && (self.waits_past_shutdown || handled.event == Event::Shutdown);
    }

    /// Updates the state after a check of the send queue at `now`. Returns whether the peer has taken nothing since the last
    /// check, which was at least a write timeout ago, although there are replies for it.
    pub(super) fn on_send_queue(&mut self, queue: SendQueue, timeouts: &ConnectionTimeouts, now: Instant) -> bool {
        let is_stuck = !queue.is_empty && queue.acknowledged == self.acknowledged;
        self.acknowledged = queue.acknowledged;
        self.send_queue_check = (!queue.is_empty).then(|| now + timeouts.write);
        is_stuck
    }

    /// Decides what the driver does at `now`.
    pub(super) fn step(&mut self, now: Instant, timeouts: &ConnectionTimeouts, shutdown: &Shutdown) -> Step {
        let (deadline, step) = self.next_deadline(timeouts, shutdown);
        let is_read = std::mem::take(&mut self.in_final_read);
        if deadline <= now {
            return if is_read { step } else { self.final_read(deadline, step, shutdown) };
        }
        match self.send_queue_check {
            Some(check) if check <= now => Step::CheckSendQueue,
            Some(check) => Step::Wait(deadline.min(check)),
            None => Step::Wait(deadline),
        }
    }

    /// Returns the step at a deadline that has passed: a final read, if data can change that step.
    ///
    /// After a pause of the process, unread data can be older than the deadline. If data was handled after the deadline,
    /// that was the final read: a peer that never stops sending must not extend the deadline again. In a drain, a peer can
    /// extend it up to the drain deadline.
    fn final_read(&mut self, deadline: Instant, step: Step, shutdown: &Shutdown) -> Step {
        if matches!(self.wait_for, WaitFor::Reply { .. } | WaitFor::Turn) {
            return step;
        }
        let is_drain = matches!(step, Step::CloseDrained | Step::Deliver(Event::Shutdown));
        let last_read = shutdown.deadline().filter(|_| is_drain).unwrap_or(deadline);
        if self.last_progress < last_read {
            self.in_final_read = true;
            Step::FinalRead
        } else if is_drain {
            Step::Abort
        } else {
            step
        }
    }

    /// Returns the next deadline and the step at that time.
    fn next_deadline(&self, timeouts: &ConnectionTimeouts, shutdown: &Shutdown) -> (Instant, Step) {
        let request_timeout = Step::Deliver(Event::RequestTimeout);
        let step = match self.wait_for {
            WaitFor::Request if self.replied || timeouts.request.is_none() => (self.idle_deadline, Step::CloseIdle),
            WaitFor::Request => (self.idle_deadline, request_timeout),
            WaitFor::MoreData => (self.request_deadline, request_timeout),
            WaitFor::Settle => {
                let settled = self.last_progress + timeouts.settle;
                (settled.min(self.request_deadline), Step::Deliver(Event::Settled))
            }
            WaitFor::Reply { deadline } => (deadline, Step::Deliver(Event::ReplyReady)),
            // The next turn is due at once. The driver closes a connection before it asks for a step.
            WaitFor::Close | WaitFor::CloseTimedOut | WaitFor::CloseUnknown | WaitFor::Turn => {
                (self.last_progress, Step::Deliver(Event::Data))
            }
        };
        let (Some(started_at), Some(deadline)) = (shutdown.started_at(), shutdown.deadline()) else { return step };
        let grace_end = started_at.max(self.last_progress) + DRAIN_IDLE_GRACE;
        let accepted = self.idle_deadline - timeouts.request.unwrap_or(timeouts.idle);
        // A connection whose handshake ends in the drain has the time from then on.
        let began = if self.replied { started_at } else { started_at.max(accepted) };
        let keep_alive_end = began + DRAIN_KEEP_ALIVE_TIMEOUT;
        let drain_step = match self.wait_for {
            WaitFor::Request if !self.replied && self.last_progress == accepted => {
                (grace_end.max(accepted + DRAIN_FIRST_BYTES_GRACE), Step::CloseDrained)
            }
            // After the first second, don't wait for requests in flight: the client had time to stop. The final read
            // still serves a client that pipelines.
            WaitFor::Request if self.last_progress >= keep_alive_end => (self.last_progress, Step::CloseDrained),
            WaitFor::Request => (grace_end, Step::CloseDrained),
            WaitFor::MoreData => (keep_alive_end, Step::Deliver(Event::Shutdown)),
            // The handler ends the wait by itself.
            WaitFor::Reply { .. } if self.waits_past_shutdown => (deadline, Step::Abort),
            WaitFor::Reply { .. } => (grace_end.min(keep_alive_end + DRAIN_IDLE_GRACE), Step::Deliver(Event::Shutdown)),
            // A complete request gets its reply.
            WaitFor::Settle | WaitFor::Turn | WaitFor::Close | WaitFor::CloseTimedOut | WaitFor::CloseUnknown => {
                (deadline, step.1)
            }
        };
        let drain_step = (drain_step.0.min(deadline), drain_step.1);
        if drain_step.0 <= step.0 { drain_step } else { step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::handler::Progress;

    const SECOND: Duration = Duration::from_secs(1);
    const REQUEST_TIMEOUT: Step = Step::Deliver(Event::RequestTimeout);
    const SETTLED: Step = Step::Deliver(Event::Settled);

    fn timeouts(settle: Duration) -> ConnectionTimeouts {
        ConnectionTimeouts { request: Some(5 * SECOND), idle: 60 * SECOND, write: 5 * SECOND, settle }
    }

    /// The result of handling `Event::Data`.
    fn handled(wrote: bool, consumed: bool, wait_for: WaitFor) -> Handled {
        let progress = Progress { replies: 0, wait_for };
        Handled {
            event: Event::Data,
            started: Instant::now(),
            wrote,
            consumed,
            progress,
            waited: true,
            read_turns: 1,
            blocked: Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_counts_from_accept_and_a_later_one_from_its_first_byte() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 5 * SECOND, REQUEST_TIMEOUT));
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 5 * SECOND, REQUEST_TIMEOUT),
            "the first byte does not change the deadline"
        );
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + 2 * SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 62 * SECOND, Step::CloseIdle));
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + 10 * SECOND);
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + 12 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 15 * SECOND, REQUEST_TIMEOUT),
            "further bytes do not extend the deadline"
        );
        timer.on_progress(&handled(true, true, WaitFor::MoreData), &timeouts, start + 14 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 19 * SECOND, REQUEST_TIMEOUT),
            "a new request has a new deadline"
        );
        timer.on_progress(&handled(false, true, WaitFor::Request), &timeouts, start + 15 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &running),
            (start + 74 * SECOND, Step::CloseIdle),
            "an empty line is not a request"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn blank_lines_do_not_extend_the_deadline_of_a_request_after_the_idle_timeout() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start);
        for (second, deadline) in [(59, 64), (63, 65), (64, 65)] {
            // A blank line, and the beginning of the next one.
            timer.on_progress(&handled(false, true, WaitFor::MoreData), &timeouts, start + second * SECOND);
            assert_eq!(timer.next_deadline(&timeouts, &running), (start + deadline * SECOND, REQUEST_TIMEOUT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_the_rate_does_not_extend_the_deadline_of_a_partial_request() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start);
        for second in [10, 12] {
            let now = start + second * SECOND;
            timer.on_progress(&handled(false, false, WaitFor::Reply { deadline: now + SECOND }), &timeouts, now);
            timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, now + SECOND);
            assert_eq!(timer.next_deadline(&timeouts, &running), (start + 15 * SECOND, REQUEST_TIMEOUT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_restarts_the_settle_time_up_to_the_request_deadline() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(2 * SECOND);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start);
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start + SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 3 * SECOND, SETTLED));
        timer.on_progress(&handled(false, false, WaitFor::Settle), &timeouts, start + 4 * SECOND);
        assert_eq!(timer.next_deadline(&timeouts, &running), (start + 5 * SECOND, SETTLED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_idle_connections_after_the_grace_and_aborts_others_at_its_deadline() {
        let (start, draining) = (Instant::now(), Shutdown::new(8 * SECOND));
        draining.trigger();
        let timeouts = ConnectionTimeouts { request: Some(20 * SECOND), ..timeouts(Duration::ZERO) };
        let before = ConnectionTimer::new(&timeouts, start - SECOND);
        assert_eq!(before.next_deadline(&timeouts, &draining), (start + DRAIN_IDLE_GRACE, Step::CloseDrained));
        let mut timer = ConnectionTimer::new(&timeouts, start);
        let first_bytes = timer.next_deadline(&timeouts, &draining);
        assert_eq!(first_bytes, (start + DRAIN_FIRST_BYTES_GRACE, Step::CloseDrained), "accepted just now");
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + SECOND / 2);
        assert_eq!(
            timer.next_deadline(&timeouts, &draining),
            (start + SECOND / 2 + DRAIN_IDLE_GRACE, Step::CloseDrained)
        );
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + 3 * SECOND);
        assert_eq!(
            timer.next_deadline(&timeouts, &draining),
            (start + 3 * SECOND, Step::CloseDrained),
            "right after the reply"
        );
        let drain_deadline = start + 8 * SECOND - SECOND / 10;
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + SECOND / 2);
        assert_eq!(
            timer.next_deadline(&timeouts, &draining),
            (start + SECOND, Step::Deliver(Event::Shutdown)),
            "the rest of a request"
        );
        let settling = ConnectionTimeouts { settle: 15 * SECOND, ..timeouts };
        timer.on_progress(&handled(false, false, WaitFor::Settle), &settling, start + 4 * SECOND);
        assert_eq!(
            timer.next_deadline(&settling, &draining),
            (drain_deadline, SETTLED),
            "a complete request gets its reply"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_drain_deadline_only_the_first_final_read_with_data_is_served() {
        let (start, draining) = (Instant::now(), Shutdown::new(SECOND / 2));
        draining.trigger();
        let deadline = start + SECOND / 2 - SECOND / 20;
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(timer.step(start, &timeouts, &draining), Step::Wait(start + DRAIN_FIRST_BYTES_GRACE));
        assert_eq!(timer.step(start + DRAIN_FIRST_BYTES_GRACE, &timeouts, &draining), Step::FinalRead);
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, deadline - SECOND / 50);
        assert_eq!(timer.step(deadline - SECOND / 50, &timeouts, &draining), Step::Wait(deadline));
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::FinalRead, "data that has arrived is still read");
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, deadline);
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::Abort, "but not for ever");

        let mut timer = ConnectionTimer::new(&timeouts, start);
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::FinalRead);
        assert_eq!(timer.step(deadline, &timeouts, &draining), Step::CloseDrained, "nothing has arrived");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_handshake_ends_late_in_a_drain_has_time_for_its_first_request() {
        let (start, draining) = (Instant::now(), Shutdown::new(8 * SECOND));
        draining.trigger();
        let timeouts = timeouts(Duration::ZERO);
        let (late, later) = (start + 3 * SECOND, start + 3 * SECOND + SECOND / 10);
        let mut timer = ConnectionTimer::new(&timeouts, late);
        assert_eq!(timer.next_deadline(&timeouts, &draining), (late + DRAIN_FIRST_BYTES_GRACE, Step::CloseDrained));
        timer.on_progress(&handled(false, true, WaitFor::Request), &timeouts, later);
        let after_blank_line = timer.next_deadline(&timeouts, &draining);
        assert_eq!(after_blank_line, (later + DRAIN_IDLE_GRACE, Step::CloseDrained));
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, later);
        let in_request = timer.next_deadline(&timeouts, &draining);
        assert_eq!(in_request, (late + DRAIN_KEEP_ALIVE_TIMEOUT, Step::Deliver(Event::Shutdown)));
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, later);
        let after_reply = timer.next_deadline(&timeouts, &draining);
        assert_eq!(after_reply, (later, Step::CloseDrained), "the time is for the first request");
    }

    #[tokio::test(start_paused = true)]
    async fn data_that_has_arrived_is_read_once_more_after_a_deadline() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        let late = start + 6 * SECOND;
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, start + SECOND);
        assert_eq!(timer.step(late, &timeouts, &running), Step::FinalRead);
        timer.on_progress(&handled(false, false, WaitFor::MoreData), &timeouts, late);
        assert_eq!(timer.step(late, &timeouts, &running), REQUEST_TIMEOUT, "a part does not extend the deadline");
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, late);
        let late = late + 61 * SECOND;
        assert_eq!(timer.step(late, &timeouts, &running), Step::FinalRead);
        assert_eq!(timer.step(late, &timeouts, &running), Step::CloseIdle, "nothing has arrived");
        assert_eq!(timer.step(late, &timeouts, &running), Step::FinalRead);
        timer.on_progress(&handled(false, true, WaitFor::Request), &timeouts, late);
        assert_eq!(timer.step(late, &timeouts, &running), Step::CloseIdle, "an empty line is not a request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_stuck_if_it_takes_nothing_for_a_write_timeout() {
        let (start, running) = (Instant::now(), Shutdown::new(8 * SECOND));
        let timeouts = timeouts(Duration::ZERO);
        let mut timer = ConnectionTimer::new(&timeouts, start);
        let queue = |acknowledged| SendQueue { is_empty: false, acknowledged, round_trip: Duration::ZERO };
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start);
        timer.on_progress(&handled(true, true, WaitFor::Request), &timeouts, start + 4 * SECOND);
        assert_eq!(timer.step(start + 4 * SECOND, &timeouts, &running), Step::Wait(start + 5 * SECOND));
        assert_eq!(timer.step(start + 5 * SECOND, &timeouts, &running), Step::CheckSendQueue);
        assert!(!timer.on_send_queue(queue(9), &timeouts, start + 5 * SECOND), "it has taken something");
        assert_eq!(timer.step(start + 5 * SECOND, &timeouts, &running), Step::Wait(start + 10 * SECOND));
        assert!(timer.on_send_queue(queue(9), &timeouts, start + 10 * SECOND), "it has taken nothing more");

        assert!(!timer.on_send_queue(SendQueue::EMPTY, &timeouts, start + 10 * SECOND));
        assert_eq!(
            timer.step(start + 10 * SECOND, &timeouts, &running),
            Step::Wait(start + 64 * SECOND),
            "nothing to check before the next reply"
        );
    }
}
