//! Extends a connection's handler with an optional limit on requests and an optional record for the access log.
//!
//! It depends on `access_log`, `quota` and `connection`.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::access_log::AccessRecord;
use super::quota::{MAX_READ_BYTES, Quota};
use crate::server::connection::handler::{Event, Handler, Progress};

/// A handler with its extensions.
#[derive(Debug)]
pub(crate) struct Extended<H> {
    handler: H,
    /// Boxed together, because most connections have none, and every idle connection holds its handler.
    extensions: Option<Box<Extensions>>,
}

#[derive(Debug)]
struct Extensions {
    /// `None` without any limit per client network.
    quota: Option<Quota>,
    /// `None` if the access log was off at the accept.
    record: Option<Arc<AccessRecord>>,
}

impl<H> Extended<H> {
    pub(crate) fn new(handler: H, quota: Option<Quota>, record: Option<Arc<AccessRecord>>) -> Self {
        let is_any = quota.is_some() || record.is_some();
        Self { handler, extensions: is_any.then(|| Box::new(Extensions { quota, record })) }
    }

    fn quota(&self) -> Option<&Quota> {
        self.extensions.as_ref()?.quota.as_ref()
    }
}

impl Extensions {
    fn handle<H: Handler>(
        &mut self,
        handler: &mut H,
        event: Event,
        input: &mut BytesMut,
        output: &mut BytesMut,
        max_replies: usize,
    ) -> Progress {
        let len_before = input.len();
        let progress = match &mut self.quota {
            None => handler.handle(event, input, output, max_replies),
            Some(quota) => quota.handle(handler, event, input, output, max_replies),
        };
        if let Some(record) = &self.record {
            record.count::<H>(progress, len_before, input, output);
        }
        progress
    }
}

impl<H: Handler> Handler for Extended<H> {
    const READ_BYTES: usize = H::READ_BYTES;
    const TURN_REPLIES: usize = H::TURN_REPLIES;

    fn read_bytes(&self) -> usize {
        let has_rate = self.quota().is_some_and(|quota| quota.rate() > 0);
        let bytes = self.handler.read_bytes();
        if has_rate { bytes.min(MAX_READ_BYTES) } else { bytes }
    }

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        match &mut self.extensions {
            None => self.handler.handle(event, input, output, max_replies),
            Some(extensions) => extensions.handle(&mut self.handler, event, input, output, max_replies),
        }
    }

    fn operation(&self) -> Option<&'static str> {
        self.handler.operation()
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The deadline of the wait ends it.
        if self.quota().is_some_and(Quota::is_waiting) { Poll::Pending } else { self.handler.poll_reply(cx) }
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.handler.poll_push(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::handler::WaitFor;

    struct Reader;

    impl Handler for Reader {
        const READ_BYTES: usize = 4096;
        const TURN_REPLIES: usize = 1;

        fn read_bytes(&self) -> usize {
            16
        }

        fn handle(&mut self, _: Event, _: &mut BytesMut, _: &mut BytesMut, _: usize) -> Progress {
            Progress { replies: 0, wait_for: WaitFor::Request }
        }
    }

    #[test]
    fn the_handler_decides_how_much_is_read() {
        assert_eq!(Extended::new(Reader, None, None).read_bytes(), 16);
    }
}
