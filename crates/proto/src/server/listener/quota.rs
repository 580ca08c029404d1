//! The limit on the requests of a client network: a handler that makes requests over the rate wait.
//!
//! It depends on `connection`, `limit_reached` and the token bucket of `admission`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::limit_reached::{LimitReached, LimitsReached};
use super::token_bucket::TokenBucket;
use crate::server::connection::handler::{Event, Handler, Progress, WaitFor};

/// A handler whose requests wait while its client network has used up its rate.
///
/// Requests that wait stay where they are, in the input of the connection and in the socket. A request that waits for longer
/// than the request timeout times out.
#[derive(Debug)]
pub(crate) struct RateLimited<H> {
    handler: H,
    /// `None` without a limit. Boxed, because most servers have none, and every idle connection holds its handler.
    quota: Option<Box<Quota>>,
}

/// Maximum bytes per read of a connection with a limit: more than the longest request.
const MAX_READ_BYTES: usize = 4096;

/// The requests that a connection may still send.
#[derive(Debug)]
pub(crate) struct Quota {
    /// The client network, for the log.
    client: IpAddr,
    /// Shared by the connections of a client network.
    bucket: Arc<Mutex<TokenBucket>>,
    /// Requests per second.
    rate: u32,
    /// Maximum time that a request waits.
    timeout: Duration,
    /// Counts the requests that have to wait.
    limits_reached: Arc<LimitsReached>,
    /// The end of the current wait, and when it comes.
    wait: Option<(Grant, Instant)>,
}

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// The request gets the token that was taken for it when the wait began. So each connection wakes once, in order.
    Token,
    /// The request times out, because the tokens up to then are taken by others.
    Timeout,
}

impl<H> RateLimited<H> {
    pub(crate) fn new(handler: H, quota: Option<Quota>) -> Self {
        Self { handler, quota: quota.map(Box::new) }
    }
}

impl Quota {
    /// Creates the quota of a connection from `client`: `rate` requests per second, shared through `bucket`.
    pub(crate) fn new(
        client: IpAddr,
        bucket: Arc<Mutex<TokenBucket>>,
        rate: u32,
        timeout: Duration,
        limits_reached: Arc<LimitsReached>,
    ) -> Self {
        Self { client, bucket, rate, timeout, limits_reached, wait: None }
    }

    fn bucket<T>(&self, use_bucket: impl FnOnce(&mut TokenBucket) -> T) -> T {
        // The lock is never poisoned: no code that can panic runs while it is held.
        use_bucket(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the next token that comes within the timeout, and waits for it.
    fn wait(&mut self, now: Instant) -> WaitFor {
        let limit = LimitReached::RequestRate;
        if let Some(suppressed) = self.limits_reached.add(limit) {
            tracing::warn!(client = %self.client, %limit, suppressed, "request waits: limit reached");
        }
        let times_out = now + self.timeout;
        let token_at = self.bucket(|bucket| bucket.reserve(self.rate, now, times_out));
        let (grant, deadline) = token_at.map_or((Grant::Timeout, times_out), |token_at| (Grant::Token, token_at));
        self.wait = Some((grant, deadline));
        WaitFor::Reply { deadline }
    }

    fn handle<H: Handler>(
        &mut self,
        handler: &mut H,
        event: Event,
        input: &mut BytesMut,
        output: &mut BytesMut,
        max_replies: usize,
    ) -> Progress {
        let now = Instant::now();
        if let (Some((_, deadline)), Event::ReplyReady) = (self.wait, event)
            && now < deadline
        {
            return Progress { replies: 0, wait_for: WaitFor::Reply { deadline } };
        }
        let available = self.bucket(|bucket| bucket.available(self.rate, now));
        // The event for the handler, the tokens that it may use, and those of them that are taken already.
        let (event, tokens, taken) = match (self.wait.take(), event) {
            (Some((Grant::Token, _)), Event::ReplyReady) => (Event::Data, available.saturating_add(1), 1),
            // An error at most, which is not a request.
            (Some((Grant::Timeout, _)), Event::ReplyReady) => {
                let Progress { replies, .. } = handler.handle(Event::RateTimeout, input, output, 0);
                return Progress { replies, wait_for: WaitFor::CloseTimedOut };
            }
            // A drain waits for no rate.
            (Some(_), Event::Shutdown) => (Event::Data, max_replies, 0),
            (_, Event::Data) => (Event::Data, available, 0),
            // The other events are about a request that has begun already.
            (_, event) => (event, available.max(1), 0),
        };
        if tokens == 0 {
            return Progress { replies: 0, wait_for: self.wait(now) };
        }
        let Progress { replies, wait_for } = handler.handle(event, input, output, tokens.min(max_replies));
        let available = self.bucket(|bucket| {
            bucket.take(replies.saturating_sub(taken), self.rate, now);
            bucket.available(self.rate, now)
        });
        let wait_for = match wait_for {
            WaitFor::Turn if available == 0 => self.wait(now),
            wait_for => wait_for,
        };
        Progress { replies, wait_for }
    }
}

impl<H: Handler> Handler for RateLimited<H> {
    const READ_BYTES: usize = H::READ_BYTES;
    const TURN_REPLIES: usize = H::TURN_REPLIES;

    fn read_bytes(&self) -> usize {
        // A connection holds what it has read for as long as it waits. The rest stays in the socket, whose buffer is fixed.
        if self.quota.is_some() { H::READ_BYTES.min(MAX_READ_BYTES) } else { H::READ_BYTES }
    }

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        match &mut self.quota {
            None => self.handler.handle(event, input, output, max_replies),
            Some(quota) => quota.handle(&mut self.handler, event, input, output, max_replies),
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.quota {
            // The deadline of the wait ends it.
            Some(quota) if quota.wait.is_some() => Poll::Pending,
            _ => self.handler.poll_reply(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::{Buf, BufMut};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Replies to each byte with the same byte, and to a timeout with `t`.
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
            if event == Event::RateTimeout {
                output.put_u8(b't');
            } else {
                let replies = input.len().min(max_replies);
                output.put_slice(&input[..replies]);
                input.advance(replies);
            }
            let wait_for = if input.is_empty() { WaitFor::Request } else { WaitFor::Turn };
            Progress { replies: output.len() as u64, wait_for }
        }
    }

    fn limited(bucket: &Arc<Mutex<TokenBucket>>) -> RateLimited<Echo> {
        let client = Ipv4Addr::LOCALHOST.into();
        RateLimited::new(Echo, Some(Quota::new(client, Arc::clone(bucket), 2, 5 * SECOND, Arc::default())))
    }

    /// Delivers an event and returns the replies.
    fn deliver(handler: &mut RateLimited<Echo>, event: Event, input: &mut BytesMut) -> (String, WaitFor) {
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
}
