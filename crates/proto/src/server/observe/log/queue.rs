//! The queue between the log and standard output, which may block for a while or fail for good.
//!
//! `tracing_appender::non_blocking` (0.2.5) would be the crate for it. Its worker discards the error of a write, so that
//! lines dropped to a full disk are not counted. Its guard prints to standard output when the queue is full at exit, and so
//! blocks for ever on a pipe that is not read. Its bound counts lines, not bytes.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::server::observe::rate_limit::RateLimit;

/// Takes lines and never waits; a thread of its own writes them.
///
/// A line that cannot be written is dropped and counted, and so is one for which there is no room: service matters more
/// than its log. How many were dropped is itself a line, once there is somebody to read it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
    being_written: bool,
}

/// Room for some ten thousand lines that wait: seconds of a log that is written at full speed.
const CAPACITY_BYTES: usize = 1 << 20;

impl Queue {
    /// A queue whose lines go to `output`.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_to(output))?;
        Ok(queue)
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far have been written or dropped, and no longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |lines: &mut Lines| lines.being_written || !lines.waiting.is_empty();
        // How it ends does not matter: what has not been written by then never will be.
        let _ = self.changed.wait_timeout_while(self.lines(), patience, busy);
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // No code that can panic runs under this lock.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.waiting.len() + line.len() > CAPACITY_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            lines.waiting.extend_from_slice(line);
            self.changed.notify_all();
        }
    }

    fn write_to(&self, mut output: impl Write) {
        static LIMIT: RateLimit = RateLimit::new();
        let (mut lines, mut told) = (Vec::new(), 0);
        loop {
            self.take(&mut lines);
            if output.write_all(&lines).and_then(|()| output.flush()).is_err() {
                let count = lines.split(|&byte| byte == b'\n').count() - 1;
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped();
            if dropped > told && LIMIT.allow().is_some() {
                tracing::warn!(
                    dropped = dropped - told,
                    "lines of the log were dropped: it was not read, or could not be written"
                );
                told = dropped;
            }
        }
    }

    /// Waits for lines, and puts them in the place of those that have been written.
    fn take(&self, written: &mut Vec<u8>) {
        written.clear();
        // What a flood has left of room is not kept.
        written.shrink_to(CAPACITY_BYTES / 64);
        let mut lines = self.lines();
        lines.being_written = false;
        self.changed.notify_all();
        while lines.waiting.is_empty() {
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut lines.waiting, written);
        lines.being_written = true;
    }
}

/// A line a write, as the formatter does it.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Fails to write what a test says, and otherwise hands it over, which waits until the test takes it.
    struct Gate(SyncSender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.starts_with(b"bad") {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Arc<Queue>, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (Queue::start(Gate(sender)).unwrap(), receiver)
    }

    #[test]
    fn lines_come_out_in_order() {
        let (queue, written) = start();
        let sent: Vec<u8> = (0..1000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        for line in sent.split_inclusive(|&byte| byte == b'\n') {
            (&*queue).write_all(line).unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < sent.len() {
            heard.extend(written.recv_timeout(PATIENCE).unwrap());
        }
        assert_eq!(heard, sent);
        queue.flush(PATIENCE);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn what_nobody_reads_holds_up_nobody_and_takes_no_more_than_its_room() {
        let (queue, written) = start();
        let line = vec![b'x'; CAPACITY_BYTES / 4];
        // One is being written; four wait; there is no room for the others.
        (&*queue).write_all(b"first\n").unwrap();
        let busy = |lines: &mut Lines| !lines.being_written;
        drop(queue.changed.wait_timeout_while(queue.lines(), PATIENCE, busy).unwrap());
        for _ in 0..10 {
            (&*queue).write_all(&line).unwrap();
        }
        assert_eq!((queue.dropped(), queue.lines().waiting.len()), (6, CAPACITY_BYTES));
        queue.flush(Duration::from_millis(1));
        assert_eq!(written.recv_timeout(PATIENCE).unwrap(), b"first\n");
        assert_eq!(written.recv_timeout(PATIENCE).unwrap().len(), CAPACITY_BYTES);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_those_behind_them_come_out() {
        let (queue, written) = start();
        (&*queue).write_all(b"bad\nbad\n").unwrap();
        queue.flush(PATIENCE);
        assert_eq!(queue.dropped(), 2);
        (&*queue).write_all(b"good\n").unwrap();
        assert_eq!(written.recv_timeout(PATIENCE).unwrap(), b"good\n");
    }
}
