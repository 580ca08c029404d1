//! The limit on the requests of a client network: a handler that makes requests over the rate wait.
//!
//! It depends on `connection` and on the token bucket of `admission`.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::token_bucket::TokenBucket;
use crate::server::connection::handler::{Event, Handler, Progress, WaitFor};

/// A handler whose requests wait while its client network has used up its rate.
///
/// Requests that wait stay where they are, in the input of the connection and in the socket. A request that waits for longer
/// than the request timeout times out, like one that is incomplete.
#[derive(Debug)]
pub(crate) struct RateLimited<H> {
    handler: H,
    /// `None` without a limit. Boxed, because most servers have none, and every idle connection holds its handler.
    quota: Option<Box<Quota>>,
}

/// The requests that a connection may still send.
#[derive(Debug)]
pub(crate) struct Quota {
    /// Shared by the connections of a client network.
    bucket: Arc<Mutex<TokenBucket>>,
    /// Requests per second.
    rate: u32,
    /// Maximum time that a request waits.
    timeout: Duration,
    /// When the request that waits times out.
    waits_until: Option<Instant>,
}

impl<H> RateLimited<H> {
    pub(crate) fn new(handler: H, quota: Option<Quota>) -> Self {
        Self { handler, quota: quota.map(Box::new) }
    }
}

impl Quota {
    /// Creates the quota of a connection: `rate` requests per second, shared through `bucket`.
    pub(crate) fn new(bucket: Arc<Mutex<TokenBucket>>, rate: u32, timeout: Duration) -> Self {
        Self { bucket, rate, timeout, waits_until: None }
    }

    fn bucket<T>(&self, use_bucket: impl FnOnce(&mut TokenBucket) -> T) -> T {
        // The lock is never poisoned: no code that can panic runs while it is held.
        use_bucket(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the next token. Returns when to look again.
    fn wait(&mut self, now: Instant) -> WaitFor {
        let next = self.bucket(|bucket| bucket.next(self.rate, now));
        let times_out = *self.waits_until.get_or_insert(now + self.timeout);
        WaitFor::Reply { deadline: next.min(times_out) }
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
        let available = self.bucket(|bucket| bucket.available(self.rate, now));
        let (event, allowed) = match (event, self.waits_until) {
            (Event::ReplyReady, Some(times_out)) if available == 0 && times_out <= now => (Event::RequestTimeout, 1),
            // A drain waits for no rate.
            (Event::Shutdown, Some(_)) => (Event::Data, max_replies),
            (Event::ReplyReady, Some(_)) | (Event::Data, _) => (Event::Data, available),
            // The other events are about a request that has begun already.
            (event, _) => (event, available.max(1)),
        };
        if allowed == 0 {
            return Progress { replies: 0, wait_for: self.wait(now) };
        }
        self.waits_until = None;
        let Progress { replies, wait_for } = handler.handle(event, input, output, allowed.min(max_replies));
        let available = self.bucket(|bucket| {
            bucket.take(replies, self.rate, now);
            bucket.available(self.rate, now)
        });
        let wait_for = match wait_for {
            _ if event == Event::RequestTimeout => WaitFor::Close,
            WaitFor::Turn if available == 0 => self.wait(now),
            wait_for => wait_for,
        };
        Progress { replies, wait_for }
    }
}

impl<H: Handler> Handler for RateLimited<H> {
    const READ_BYTES: usize = H::READ_BYTES;
    const TURN_REPLIES: usize = H::TURN_REPLIES;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        match &mut self.quota {
            None => self.handler.handle(event, input, output, max_replies),
            Some(quota) => quota.handle(&mut self.handler, event, input, output, max_replies),
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.quota {
            // The deadline of the wait ends it.
            Some(quota) if quota.waits_until.is_some() => Poll::Pending,
            _ => self.handler.poll_reply(cx),
        }
    }
}

#[cfg(test)]
mod tests {
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
            if event == Event::RequestTimeout {
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
        RateLimited::new(Echo, Some(Quota::new(Arc::clone(bucket), 2, 5 * SECOND)))
    }

    /// Delivers an event and returns the replies.
    fn deliver(handler: &mut RateLimited<Echo>, event: Event, input: &mut BytesMut) -> (String, WaitFor) {
        let mut output = BytesMut::new();
        let wait_for = handler.handle(event, input, &mut output, usize::MAX).wait_for;
        (String::from_utf8(output.to_vec()).unwrap(), wait_for)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_over_the_rate_wait_and_are_not_lost() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        let (mut one, mut other) = (limited(&bucket), limited(&bucket));
        let (mut input, mut other_input) = (BytesMut::from(&b"abcd"[..]), BytesMut::from(&b"x"[..]));
        let start = Instant::now();
        let half = start + SECOND / 2;
        assert_eq!(
            deliver(&mut one, Event::Data, &mut input),
            ("ab".into(), WaitFor::Reply { deadline: half }),
            "the requests of one second at once"
        );
        assert_eq!(
            deliver(&mut other, Event::Data, &mut other_input),
            (String::new(), WaitFor::Reply { deadline: half }),
            "the connections of a client network share the rate"
        );
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(deliver(&mut one, Event::ReplyReady, &mut input).0, "c");
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(deliver(&mut other, Event::ReplyReady, &mut other_input), ("x".into(), WaitFor::Request));
        assert_eq!(deliver(&mut one, Event::ReplyReady, &mut input).0, "");
        assert_eq!(
            deliver(&mut one, Event::Shutdown, &mut input),
            ("d".into(), WaitFor::Request),
            "a drain does not wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_too_long_times_out() {
        let bucket = Arc::new(Mutex::new(TokenBucket::default()));
        let mut handler = limited(&bucket);
        let mut input = BytesMut::from(&b"abc"[..]);
        assert_eq!(deliver(&mut handler, Event::Data, &mut input).0, "ab");
        for _ in 0..9 {
            tokio::time::advance(SECOND / 2).await;
            // Another connection of the client network is faster each time.
            bucket.lock().unwrap().take(1, 2, Instant::now());
            let (replies, wait_for) = deliver(&mut handler, Event::ReplyReady, &mut input);
            assert!(replies.is_empty() && matches!(wait_for, WaitFor::Reply { .. }), "{replies} {wait_for:?}");
        }
        tokio::time::advance(SECOND / 2).await;
        bucket.lock().unwrap().take(1, 2, Instant::now());
        assert_eq!(deliver(&mut handler, Event::ReplyReady, &mut input), ("t".into(), WaitFor::Close));
    }
}
