//! What asks the client to end: Ctrl-C, and the signals of those who end processes.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use std::{fs, io, process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// A command that is asked to end has so long to do it by itself: only one whose output nobody takes needs longer.
const ENDING: Duration = Duration::from_secs(1);

/// Whether the client has been asked to end.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: CancellationToken,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// Minds SIGINT, SIGTERM and SIGHUP from now on, but for those that whoever started the client has it ignore: nohup(1)
    /// and a shell's background jobs rely on that. The process ends a moment after the first, and at once with the
    /// second. This has a thread of its own, since whoever reads the answers may hold up the command's.
    ///
    /// # Errors
    ///
    /// If the system refuses what this needs.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self { asked: CancellationToken::new(), signal: Arc::default() };
        let told = interrupt.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _within = runtime.enter();
            Signals {
                interrupt: heeded(SignalKind::interrupt())?,
                terminate: heeded(SignalKind::terminate())?,
                hangup: heeded(SignalKind::hangup())?,
            }
        };
        thread::spawn(move || {
            let number = runtime.block_on(signals.next());
            told.signal.store(number, Ordering::Relaxed);
            told.asked.cancel();
            runtime.block_on(async {
                tokio::select! {
                    _ = signals.next() => {}
                    () = tokio::time::sleep(ENDING) => {}
                }
            });
            process::exit(i32::from(code(number)));
        });
        Ok(interrupt)
    }

    /// Waits until the client is asked to end.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Whether the client has been asked to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Whether it was Ctrl-C: a person's way to end a game, and no failure of it.
    #[must_use]
    pub fn is_ctrl_c(&self) -> bool {
        self.signal.load(Ordering::Relaxed) == SignalKind::interrupt().as_raw_value()
    }

    /// What a command gives that ended because it was asked to.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::Interrupted(code(self.signal.load(Ordering::Relaxed)))
    }
}

/// The exit code that a shell gives a process which a signal ended: 128 and its number.
fn code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[derive(Debug)]
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            () = received(&mut self.interrupt) => SignalKind::interrupt(),
            () = received(&mut self.terminate) => SignalKind::terminate(),
            () = received(&mut self.hangup) => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// A signal, unless it is ignored.
fn heeded(kind: SignalKind) -> io::Result<Option<Signal>> {
    // The standard library has no way to ask, but the kernel tells (proc(5), SigIgn: a bit for each signal, from 1 on).
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let is_ignored = mask >> (kind.as_raw_value() - 1) & 1 == 1;
    if is_ignored { Ok(None) } else { signal(kind).map(Some) }
}
