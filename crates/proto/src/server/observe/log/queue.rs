//! The queue between the log and standard output, which may block or fail.
//!
//! It depends on the rate limit only. The threads that log append to a buffer, and a writer thread writes the buffer.
//!
//! `tracing_appender::non_blocking` (0.2.5) is the usual crate for this. Its worker ignores write errors, so lines lost
//! to a full disk are not counted. Its guard prints to standard output when the queue is full at exit, which blocks
//! forever if standard output is a pipe that is not read. Its capacity is in lines, not bytes.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::server::observe::rate_limit::RateLimit;

/// Accepts lines without waiting. A writer thread writes them.
///
/// A line is dropped and counted if the queue is full or the write fails: the service has priority over its log. When
/// writing works again, a warning reports the number of dropped lines.
#[derive(Debug, Default)]
pub(super) struct Queue {
    buffer: Mutex<Buffer>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Buffer {
    pending: Vec<u8>,
    is_writing: bool,
}

/// Room for about ten thousand pending lines, which is seconds of log at full speed.
const CAPACITY_BYTES: usize = 1 << 20;

impl Queue {
    /// Starts the writer thread, which writes to `output`. The output must not buffer: a buffer hides how much of a line
    /// was written.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_to(output))?;
        Ok(queue)
    }

    /// Returns the number of lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written or dropped, at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |buffer: &mut Buffer| buffer.is_writing || !buffer.pending.is_empty();
        // The result does not matter: lines that are not written by then are lost when the process exits.
        let _ = self.changed.wait_timeout_while(self.lock(), timeout, busy);
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // The lock is never poisoned: no code that can panic runs while it is held.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut buffer = self.lock();
        if buffer.pending.len() + line.len() > CAPACITY_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            buffer.pending.extend_from_slice(line);
            self.changed.notify_all();
        }
    }

    fn write_to(&self, mut output: impl Write) {
        static RATE_LIMIT: RateLimit = RateLimit::new();
        let (mut lines, mut reported, mut is_torn) = (Vec::new(), 0, false);
        loop {
            self.replace_with_pending(&mut lines);
            // A full disk can tear a line: it takes only the first part. The LF separates that part from the next line.
            if is_torn {
                is_torn = write(&mut output, b"\n") == 0;
            }
            let written = if is_torn { 0 } else { write(&mut output, &lines) };
            if let Some(last) = lines[..written].last() {
                is_torn = *last != b'\n';
            }
            if written < lines.len() {
                let dropped = lines[written..].split(|&byte| byte == b'\n').count() - 1;
                self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped();
            if dropped > reported && RATE_LIMIT.allow().is_some() {
                tracing::warn!(
                    dropped = dropped - reported,
                    "log lines dropped: the log is not read or cannot be written"
                );
                reported = dropped;
            }
        }
    }

    /// Marks `written` as written, waits for lines, and replaces it with them.
    fn replace_with_pending(&self, written: &mut Vec<u8>) {
        written.clear();
        // Release the memory that a burst of lines has allocated.
        written.shrink_to(CAPACITY_BYTES / 64);
        let mut buffer = self.lock();
        buffer.is_writing = false;
        self.changed.notify_all();
        while buffer.pending.is_empty() {
            buffer = self.changed.wait(buffer).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut buffer.pending, written);
        buffer.is_writing = true;
    }
}

/// Writes `bytes` up to the first error, and returns the number of bytes written.
fn write(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// Each write is one line, because the formatter of `tracing_subscriber` writes whole lines.
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

    const TEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// Fails for lines that begin with `bad`. Sends other lines to the test, and blocks until it receives them.
    struct BlockingWriter(SyncSender<Vec<u8>>);

    impl Write for BlockingWriter {
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
        (Queue::start(BlockingWriter(sender)).unwrap(), receiver)
    }

    #[test]
    fn lines_are_written_in_order() {
        let (queue, written) = start();
        let sent: Vec<u8> = (0..1000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        for line in sent.split_inclusive(|&byte| byte == b'\n') {
            (&*queue).write_all(line).unwrap();
        }
        let mut received = Vec::new();
        while received.len() < sent.len() {
            received.extend(written.recv_timeout(TEST_TIMEOUT).unwrap());
        }
        assert_eq!(received, sent);
        queue.flush(TEST_TIMEOUT);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_blocked_output_does_not_block_the_log_and_the_queue_is_bounded() {
        let (queue, written) = start();
        let line = vec![b'x'; CAPACITY_BYTES / 4];
        // The writer blocks on the first line, four of the next ten fill the queue, and six are dropped.
        (&*queue).write_all(b"first\n").unwrap();
        let is_idle = |buffer: &mut Buffer| !buffer.is_writing;
        drop(queue.changed.wait_timeout_while(queue.lock(), TEST_TIMEOUT, is_idle).unwrap());
        for _ in 0..10 {
            (&*queue).write_all(&line).unwrap();
        }
        assert_eq!((queue.dropped(), queue.lock().pending.len()), (6, CAPACITY_BYTES));
        queue.flush(Duration::from_millis(1));
        assert_eq!(written.recv_timeout(TEST_TIMEOUT).unwrap(), b"first\n");
        assert_eq!(written.recv_timeout(TEST_TIMEOUT).unwrap().len(), CAPACITY_BYTES);
    }

    #[test]
    fn lines_whose_write_fails_are_counted_and_later_lines_are_written() {
        let (queue, written) = start();
        (&*queue).write_all(b"bad\nbad\n").unwrap();
        queue.flush(TEST_TIMEOUT);
        assert_eq!(queue.dropped(), 2);
        (&*queue).write_all(b"good\n").unwrap();
        assert_eq!(written.recv_timeout(TEST_TIMEOUT).unwrap(), b"good\n");
    }

    /// A file on a disk with room for some bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn add_room(&self, bytes: usize) {
            self.0.lock().unwrap().1 += bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (file, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= count;
            file.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_line_after_a_torn_line_begins_on_its_own_line() {
        let disk = Disk::default();
        let queue = Queue::start(disk.clone()).unwrap();
        for (room, lines, text, dropped) in [
            (8, "one\ntwo\n", "one\ntwo\n", 0),
            // A write that ends between two lines tears none.
            (6, "whole\ntorn\nlost\n", "whole\n", 2),
            (3, "torn\nlost\n", "tor", 2),
            (0, "lost\n", "", 1),
            // Room for the LF only.
            (1, "lost\n", "\n", 1),
            (2, "torn\n", "to", 1),
            (100, "good\n", "\ngood\n", 0),
            (0, "next\n", "next\n", 0),
        ] {
            let (before, dropped_before) = (disk.text(), queue.dropped());
            disk.add_room(room);
            (&*queue).write_all(lines.as_bytes()).unwrap();
            queue.flush(TEST_TIMEOUT);
            assert_eq!(disk.text(), format!("{before}{text}"), "{lines:?}");
            assert_eq!(queue.dropped() - dropped_before, dropped, "{lines:?}");
        }
    }
}
