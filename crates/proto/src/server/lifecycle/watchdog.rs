//! The watchdog: whether the accept loops make progress.
//!
//! It depends on no other module. Each accept loop owns a [`Heartbeat`] and waits within [`Heartbeat::during`]. A task
//! [watches](Heartbeats::watch) all of them and notifies the service manager as long as all beat. It runs on the runtime of
//! the services, so a hang of that runtime stops the notifications too.
//!
//! # Rounds
//!
//! Time is divided into rounds, and a beat stores the number of the current round: no clock is read. A round begins with a
//! notification. After half of the manager's timeout T, the next notification is due. It is sent, and the next round
//! begins, as soon as every loop has beaten in this round. So:
//!
//! - A loop that stops in a round, even right after a beat, allows at most one more notification. The manager's deadline is
//!   then at most 1.5 T after the loop has stopped.
//! - An idle loop wakes every T/8, and a late loop is checked again every T/16. So a loop that pauses for up to 15/16 T,
//!   for instance on an overloaded machine, misses no deadline.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// A registry of heartbeats. Clones share it. The default is off: its heartbeats do nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats(Option<Arc<Rounds>>);

#[derive(Debug)]
struct Rounds {
    /// The time within which the service manager expects each notification.
    timeout: Duration,
    current: AtomicU64,
    /// For each heartbeat, the round of its last beat.
    beats: Mutex<Vec<Weak<AtomicU64>>>,
}

impl Rounds {
    fn current(&self) -> u64 {
        // Relaxed, here and for the beats: no other memory depends on the order, and a value that is seen later only delays
        // a notification.
        self.current.load(Ordering::Relaxed)
    }

    /// Returns a part of the timeout. At least a millisecond, the resolution of the timers.
    fn part(&self, divisor: u32) -> Duration {
        (self.timeout / divisor).max(Duration::from_millis(1))
    }

    fn all_have_beaten(&self) -> bool {
        let current = self.current();
        let mut all = true;
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).retain(|beat| {
            let beat = beat.upgrade();
            all &= beat.as_ref().is_none_or(|beat| beat.load(Ordering::Relaxed) == current);
            beat.is_some()
        });
        all
    }
}

impl Heartbeats {
    /// Creates a registry. Without a timeout, the watchdog is off.
    #[must_use]
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self(
            timeout.map(|timeout| Arc::new(Rounds { timeout, current: AtomicU64::default(), beats: Mutex::default() })),
        )
    }

    /// Adds the heartbeat of an accept loop. It counts until it is dropped.
    #[must_use]
    pub(crate) fn add(&self) -> Heartbeat {
        Heartbeat(self.0.as_ref().map(|rounds| {
            let last_beat = Arc::new(AtomicU64::new(rounds.current()));
            rounds.beats.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&last_beat));
            Beating { rounds: Arc::clone(rounds), last_beat, wake: None }
        }))
    }

    /// Calls `notify` at every half of the timeout while all heartbeats beat, and again soon if it returns false, for a
    /// notification that could not be sent. Returns only if the watchdog is off.
    pub(crate) async fn watch(self, notify: impl Fn() -> bool) {
        let Some(rounds) = self.0 else { return };
        loop {
            sleep(rounds.part(2)).await;
            while !(rounds.all_have_beaten() && notify()) {
                sleep(rounds.part(16)).await;
            }
            rounds.current.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The heartbeat of one accept loop. The default is off.
///
/// If the loop ends in a drain, dropping the heartbeat takes it out of the registry. If the loop panics, the heartbeat
/// counts as stopped forever, so that the service manager restarts the server.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat(Option<Beating>);

#[derive(Debug)]
struct Beating {
    rounds: Arc<Rounds>,
    last_beat: Arc<AtomicU64>,
    /// Created at the first wait, because it belongs to the runtime of the loop. Kept from one wait to the next, so that a
    /// wait does not allocate.
    wake: Option<Interval>,
}

impl Heartbeat {
    /// Waits for `future`, and beats whenever it is polled. If the watchdog is on, the wait wakes up regularly to beat.
    ///
    /// Between two waits the loop may pause, for example to back off, for up to 15/16 of the timeout.
    pub(crate) async fn during<F: Future>(&mut self, future: F) -> F::Output {
        let Some(beating) = &mut self.0 else { return future.await };
        let Beating { rounds, last_beat, wake } = beating;
        let wake = wake.get_or_insert_with(|| {
            let mut wake = interval(rounds.part(8));
            wake.set_missed_tick_behavior(MissedTickBehavior::Delay);
            wake
        });
        let mut future = pin!(future);
        poll_fn(|context| {
            last_beat.store(rounds.current(), Ordering::Relaxed);
            // Polled until it is pending, so that the next tick wakes this task.
            while wake.poll_tick(context).is_ready() {}
            future.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        if thread::panicking() {
            // Leaked, so that the registry still has it and it never beats again.
            mem::forget(Arc::clone(&self.last_beat));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt;
    use tokio::task::yield_now;
    use tokio::time::{Instant, timeout};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(16);
    const SECOND: Duration = Duration::from_secs(1);

    /// Starts the watch, and returns when it has notified, in seconds from now.
    fn watch(heartbeats: &Heartbeats) -> Arc<Mutex<Vec<u64>>> {
        let started = Instant::now();
        let times = Arc::new(Mutex::new(Vec::new()));
        let notify = {
            let times = Arc::clone(&times);
            move || {
                times.lock().unwrap().push((started.elapsed() + SECOND / 2).as_secs());
                true
            }
        };
        tokio::spawn(heartbeats.clone().watch(notify));
        times
    }

    /// Starts a loop that accepts nothing.
    fn idle_loop(heartbeats: &Heartbeats) -> tokio::task::JoinHandle<()> {
        let mut heartbeat = heartbeats.add();
        tokio::spawn(async move { heartbeat.during(pending()).await })
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_loop_keeps_the_notifications_coming() {
        let heartbeats = Heartbeats::new(Some(TIMEOUT));
        let (_one, _other) = (idle_loop(&heartbeats), idle_loop(&heartbeats));
        let times = watch(&heartbeats);
        sleep(4 * TIMEOUT).await;
        let times = times.lock().unwrap();
        assert!(times.len() >= 7 && times[0] == 8, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 9), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_never_polled_stops_the_notifications() {
        let heartbeats = Heartbeats::new(Some(TIMEOUT));
        let _idle = idle_loop(&heartbeats);
        let mut stuck = heartbeats.add();
        let mut wait = Box::pin(stuck.during(pending::<()>()));
        let times = watch(&heartbeats);
        assert!(timeout(3 * TIMEOUT, &mut wait).await.is_err());
        let before = times.lock().unwrap().len();
        assert!(before >= 5);
        // One more at most: the loop may have beaten in the round that has begun.
        sleep(100 * TIMEOUT).await;
        let after = times.lock().unwrap().len();
        assert!(after <= before + 1, "{before} {after}");
        // It goes on at once when the loop does.
        assert!(timeout(TIMEOUT / 8, &mut wait).await.is_err());
        assert_eq!(times.lock().unwrap().len(), after + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_less_than_the_timeout_misses_no_deadline() {
        let heartbeats = Heartbeats::new(Some(TIMEOUT));
        let times = watch(&heartbeats);
        let mut heartbeat = heartbeats.add();
        let started = Instant::now();
        for pause in [14, 1, 15, 3, 7, 15, 11, 15, 15] {
            // A beat is one poll.
            assert!(heartbeat.during(pending::<()>()).now_or_never().is_none());
            sleep(pause * SECOND).await;
        }
        let times = times.lock().unwrap();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] < TIMEOUT.as_secs()), "{times:?}");
        assert!(started.elapsed().as_secs() - times.last().unwrap() < TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_ended_no_longer_counts_unless_it_panicked() {
        let heartbeats = Heartbeats::new(Some(TIMEOUT));
        let times = watch(&heartbeats);
        let ended = heartbeats.add();
        sleep(2 * TIMEOUT).await;
        assert!(times.lock().unwrap().len() <= 1, "it has not been polled since");
        drop(ended);
        sleep(2 * TIMEOUT).await;
        assert!(times.lock().unwrap().len() >= 4);
        assert_eq!(heartbeats.0.as_ref().unwrap().beats.lock().unwrap().len(), 0, "the registry does not grow");

        let mut panics = heartbeats.add();
        let panicked = tokio::spawn(async move {
            panics.during(async { panic!("a planted panic") }).await;
        });
        assert!(panicked.await.is_err());
        let before = times.lock().unwrap().len();
        sleep(4 * TIMEOUT).await;
        assert!(times.lock().unwrap().len() <= before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_beats_while_its_accept_backs_off_and_while_it_is_busy() {
        let timeout = Duration::from_millis(400);
        let heartbeats = Heartbeats::new(Some(timeout));
        let times = watch(&heartbeats);
        let mut heartbeat = heartbeats.add();
        heartbeat.during(sleep(Duration::from_secs(4))).await;
        assert!(times.lock().unwrap().len() >= 15, "a backoff of many timeouts");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(4) {
            heartbeat.during(yield_now()).await;
            sleep(Duration::from_millis(1)).await;
        }
        assert!(times.lock().unwrap().len() >= 30);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_timeout_nothing_is_done() {
        let heartbeats = Heartbeats::default();
        heartbeats.clone().watch(|| panic!("the watchdog is off")).await;
        let mut heartbeat = heartbeats.add();
        assert!(heartbeat.0.is_none());
        let started = Instant::now();
        assert_eq!(heartbeat.during(async { 7 }).await, 7);
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(Heartbeat::default().during(async { 8 }).await, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_notification_that_cannot_be_sent_is_repeated() {
        let times = Mutex::new(Vec::new());
        let started = Instant::now();
        let notify = || {
            let mut times = times.lock().unwrap();
            times.push((started.elapsed() + SECOND / 2).as_secs());
            times.len() > 2
        };
        assert!(timeout(20 * SECOND, Heartbeats::new(Some(TIMEOUT)).watch(notify)).await.is_err());
        assert_eq!(*times.lock().unwrap(), [8, 9, 10, 18]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tiny_timeout_does_not_spin() {
        let heartbeats = Heartbeats::new(Some(Duration::from_micros(1)));
        let times = watch(&heartbeats);
        let _idle = idle_loop(&heartbeats);
        sleep(SECOND).await;
        assert!(times.lock().unwrap().len() <= 1000);
    }
}
