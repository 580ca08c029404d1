//! The limit on the requests of a client network: a handler that makes requests over the rate wait.
//!
//! It depends on `connection`, `limit_reached` and `token_bucket`.

use std::mem;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::limit_reached::{LimitReached, LimitsReached};
use super::token_bucket::TokenBucket;
use crate::server::connection::handler::{Event, Handler, Progress, WaitFor};

/// Maximum bytes per read of a connection with a limit: more than the longest request. A connection holds what it has
/// read for as long as it waits. The rest stays in the socket, whose buffer is fixed.
pub(super) const MAX_READ_BYTES: usize = 4096;

/// The requests that a connection may still send.
///
/// Requests that wait stay where they are, in the input of the connection and in the socket. A request that waits for
/// longer than the request timeout times out.
#[derive(Debug)]
pub(crate) struct Quota {
    /// The client network, for the log.
    client: IpAddr,
    /// Shared by the connections of the client network.
    bucket: Arc<Mutex<TokenBucket>>,
    /// Requests per second, 0 without a limit. Shared with the limits, so that a reload applies to open connections.
    rate: Arc<AtomicU32>,
    /// Maximum time that a request waits.
    timeout: Duration,
    /// Counts the requests that have to wait.
    limits_reached: Arc<LimitsReached>,
    reserved: Reserved,
}

/// The reservation of a connection for its next request. The token is taken when the wait begins, so that connections
/// wake in order, and each wakes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserved {
    Nothing,
    /// The request gets a token at this time.
    Token(Instant),
    /// The request times out at this time, because other requests have reserved the tokens up to then.
    Timeout(Instant),
    /// A token is there, for a request that is incomplete or whose reply is pending.
    Unused,
}

impl Quota {
    /// Creates the quota of a connection from `client`: `rate` requests per second, shared through `bucket`.
    pub(crate) fn new(
        client: IpAddr,
        bucket: Arc<Mutex<TokenBucket>>,
        rate: Arc<AtomicU32>,
        timeout: Duration,
        limits_reached: Arc<LimitsReached>,
    ) -> Self {
        Self { client, bucket, rate, timeout, limits_reached, reserved: Reserved::Nothing }
    }

    /// Returns the requests per second, 0 without a limit.
    pub(super) fn rate(&self) -> u32 {
        self.rate.load(Ordering::Acquire)
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        // The lock is never poisoned: no code that can panic runs while it is held.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the next token, if it comes within the timeout. Returns the wait for it, or for the timeout.
    fn wait(&mut self, rate: u32, now: Instant) -> WaitFor {
        let limit = LimitReached::RequestRate;
        if let Some(suppressed) = self.limits_reached.add(limit) {
            tracing::warn!(client = %self.client, %limit, suppressed, "request waits: limit reached");
        }
        let times_out = now + self.timeout;
        let token_at = self.bucket().reserve(rate, now, times_out);
        self.reserved = token_at.map_or(Reserved::Timeout(times_out), Reserved::Token);
        WaitFor::Reply { deadline: token_at.unwrap_or(times_out) }
    }

    /// Delivers an event to the handler while the client network has not used up its rate. Otherwise it makes the
    /// requests wait.
    pub(super) fn handle<H: Handler>(
        &mut self,
        handler: &mut H,
        event: Event,
        input: &mut BytesMut,
        output: &mut BytesMut,
        max_replies: usize,
    ) -> Progress {
        let (now, rate) = (Instant::now(), self.rate());
        if let (Reserved::Token(at) | Reserved::Timeout(at), Event::ReplyReady) = (self.reserved, event)
            && now < at
        {
            return Progress { replies: 0, wait_for: WaitFor::Reply { deadline: at } };
        }
        let has_waited = self.is_waiting();
        let has_token = match mem::replace(&mut self.reserved, Reserved::Nothing) {
            // The handler writes at most an error reply, which takes no token.
            Reserved::Timeout(_) if event == Event::ReplyReady => {
                let Progress { replies, .. } = handler.handle(Event::RateTimeout, input, output, 0);
                return Progress { replies, wait_for: WaitFor::CloseTimedOut };
            }
            Reserved::Token(_) | Reserved::Unused => true,
            Reserved::Timeout(_) | Reserved::Nothing => false,
        };
        // `ReplyReady` and `Shutdown` end the wait for the rate. The input is delivered as data.
        let (is_shutdown, event) = (event == Event::Shutdown, if has_waited { Event::Data } else { event });
        let tokens = match event {
            // A drain ignores the rate.
            _ if rate == 0 || is_shutdown => max_replies,
            Event::Data => self.bucket().available(rate, now).saturating_add(has_token.into()),
            // The other events are about a request in progress, so at least one reply is allowed.
            _ => self.bucket().available(rate, now).saturating_add(has_token.into()).max(1),
        };
        if tokens == 0 {
            return Progress { replies: 0, wait_for: self.wait(rate, now) };
        }
        let Progress { replies, wait_for } = handler.handle(event, input, output, tokens.min(max_replies));
        if rate == 0 {
            return Progress { replies, wait_for };
        }
        // A pending reply takes its token now.
        let is_pending = matches!(wait_for, WaitFor::Reply { .. });
        let available = {
            let mut bucket = self.bucket();
            bucket.take((replies + u64::from(is_pending)).saturating_sub(has_token.into()), rate, now);
            bucket.available(rate, now)
        };
        if is_pending || (has_token && replies == 0) {
            self.reserved = Reserved::Unused;
        } else if wait_for == WaitFor::Turn && available == 0 {
            return Progress { replies, wait_for: self.wait(rate, now) };
        }
        Progress { replies, wait_for }
    }

    /// Whether a request waits for the rate.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.reserved, Reserved::Token(_) | Reserved::Timeout(_))
    }
}

impl Drop for Quota {
    /// Gives a reserved token back, for the other connections of the client network.
    fn drop(&mut self) {
        if matches!(self.reserved, Reserved::Token(_) | Reserved::Unused) {
            self.bucket().give_back(self.rate());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::{Buf, BufMut};

    use super::*;
    use crate::server::listener::extended::Extended;

    const SECOND: Duration = Duration::from_secs(1);

    /// Replies to each byte with the same byte, and to a timeout with `t`. A space is the beginning of a request, and
    /// to a dot the reply is pending.
    struct Echo;

    impl Handler for Echo {
        const READ_BYTES: usize = 16;
        const TURN_REPLIES: usize = 16;

        fn handle(
            &mut self,
            event: Event,
            input: &mut BytesMut,
            output: &mut BytesMut,
            max_replies: usize,
        ) -> Progress {
            let wait_for = match (event, &input[..]) {
                (Event::RateTimeout, _) => {
                    output.put_u8(b't');
                    WaitFor::Close
                }
                (Event::Data, b" ") => WaitFor::MoreData,
                (Event::Data, b".") => WaitFor::Reply { deadline: Instant::now() + 60 * SECOND },
                _ => {
                    let replies = input.len().min(max_replies);
                    output.put_slice(&input[..replies]);
                    input.advance(replies);
                    if input.is_empty() { WaitFor::Request } else { WaitFor::Turn }
                }
            };
            Progress { replies: output.len() as u64, wait_for }
        }
    }

    fn limited(bucket: &Arc<Mutex<TokenBucket>>) -> Extended<Echo> {
        let client = Ipv4Addr::LOCALHOST.into();
        let rate = Arc::new(AtomicU32::new(2));
        Extended::new(Echo, Some(Quota::new(client, Arc::clone(bucket), rate, 5 * SECOND, Arc::default())), None)
    }

    /// Delivers an event and returns the replies.
    fn deliver(handler: &mut Extended<Echo>, event: Event, input: &mut BytesMut) -> (String, WaitFor) {
        let mut output = BytesMut::new();
        let wait_for = handler.handle(event, input, &mut output, usize::MAX).wait_for;
        (String::from_utf8(output.to_vec()).unwrap(), wait_for)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_over_the_rate_wait_in_order_and_are_not_lost() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        let (mut one, mut other) = (limited(&bucket), limited(&bucket));
        let (mut input, mut other_input) = (BytesMut::from(&b"abcd"[..]), BytesMut::from(&b"x"[..]));
        let half = |halves: u32| WaitFor::Reply { deadline: Instant::now() + SECOND / 2 * halves };
        assert_eq!(
            deliver(&mut one, Event::Data, &mut input),
            ("ab".into(), half(1)),
            "the requests of one second at once"
        );
        assert_eq!(
            deliver(&mut other, Event::Data, &mut other_input),
            (String::new(), half(2)),
            "the connections of a client network share the rate"
        );
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(deliver(&mut other, Event::ReplyReady, &mut other_input).0, "", "not its turn");
        assert_eq!(deliver(&mut one, Event::ReplyReady, &mut input), ("c".into(), half(2)), "behind the other one");
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(deliver(&mut other, Event::ReplyReady, &mut other_input), ("x".into(), WaitFor::Request));
        assert_eq!(
            deliver(&mut one, Event::Shutdown, &mut input),
            ("d".into(), WaitFor::Request),
            "a drain does not wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_would_wait_too_long_times_out_and_uses_no_token() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        let mut handlers: Vec<_> = (0..20).map(|_| limited(&bucket)).collect();
        let mut inputs = vec![BytesMut::from(&b"a"[..]); handlers.len()];
        let mut deliver_to_all = |event| -> Vec<String> {
            handlers.iter_mut().zip(&mut inputs).map(|(handler, input)| deliver(handler, event, input).0).collect()
        };
        // Two tokens at once, and ten within the timeout of five seconds.
        assert_eq!(deliver_to_all(Event::Data).concat(), "aa");
        let mut replies = String::new();
        for _ in 0..10 {
            tokio::time::advance(SECOND / 2).await;
            replies += &deliver_to_all(Event::ReplyReady).concat();
        }
        assert_eq!(replies.matches('a').count(), 10, "{replies}");
        assert_eq!(replies.matches('t').count(), 8, "{replies}");
        tokio::time::advance(SECOND).await;
        let available = bucket.lock().unwrap().available(2, Instant::now());
        assert_eq!(available, 2, "the timeouts have used none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_gives_its_token_back() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        bucket.lock().unwrap().take(2, 2, Instant::now());
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let mut handler = limited(&bucket);
                assert_eq!(deliver(&mut handler, Event::Data, &mut BytesMut::from(&b"a"[..])).0, "");
                handler
            })
            .collect();
        let next = |bucket: &Mutex<TokenBucket>| {
            let now = Instant::now();
            { *bucket.lock().unwrap() }.reserve(2, now, now + 60 * SECOND).unwrap() - now
        };
        assert_eq!(next(&bucket), 9 * SECOND / 2);
        drop(waiting);
        assert_eq!(next(&bucket), SECOND / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_pieces_takes_one_token() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        bucket.lock().unwrap().take(2, 2, Instant::now());
        let mut handler = limited(&bucket);
        let mut input = BytesMut::from(&b" "[..]);
        let deadline = Instant::now() + SECOND / 2;
        assert_eq!(deliver(&mut handler, Event::Data, &mut input), (String::new(), WaitFor::Reply { deadline }));
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(deliver(&mut handler, Event::ReplyReady, &mut input), (String::new(), WaitFor::MoreData));
        let mut input = BytesMut::from(&b"a"[..]);
        assert_eq!(deliver(&mut handler, Event::Data, &mut input), ("a".into(), WaitFor::Request));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_reply_has_its_token_before_it_is_ready() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        let mut handlers: Vec<_> = (0..3).map(|_| limited(&bucket)).collect();
        let mut inputs = vec![BytesMut::from(&b"."[..]); handlers.len()];
        let deadlines: Vec<_> = (handlers.iter_mut().zip(&mut inputs))
            .map(|(handler, input)| match deliver(handler, Event::Data, input) {
                (replies, WaitFor::Reply { deadline }) if replies.is_empty() => deadline - Instant::now(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(deadlines, [60 * SECOND, 60 * SECOND, SECOND / 2], "the third move waits for the rate");
        assert_eq!(deliver(&mut handlers[0], Event::ReplyReady, &mut inputs[0]), (".".into(), WaitFor::Request));
        assert_eq!(bucket.lock().unwrap().available(2, Instant::now()), 0);
        drop(handlers);
        assert_eq!(bucket.lock().unwrap().available(2, Instant::now()), 1, "the other two were not used");
    }
}
