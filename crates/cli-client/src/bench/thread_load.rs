//! What the connections of a thread share: which request may go next, and what came of those that went.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::client::Endpoint;
use proto::client::stream::Stream;
use tokio::sync::Semaphore;
use tokio::time::sleep_until;

use super::link::Link;
use super::lock::lock;
use super::pace::Pace;
use super::quota::Quota;
use super::tally::{Outcomes, Tally};
use crate::failure::{Failure, Kind};

/// So many connections of a thread are being made at once, since a server's queue of those it has not accepted yet is
/// bounded, and whoever finds no room in it waits for a second (listen(2)).
const CONNECTING: usize = 128;

/// How much later than its end a run at a fixed rate may still send what was due before.
const GRACE: Duration = Duration::from_millis(10);

/// How far a run is, for whoever looks on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) right: AtomicU64,
    pub(super) not_right: AtomicU64,
}

/// When a run counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From here on there are requests, at a fixed rate.
    pub(super) begin: Instant,
    /// From here on requests are counted; before it they are there to warm up.
    pub(super) counted_from: Instant,
    /// From here on there are none.
    pub(super) until: Option<Instant>,
}

/// What the connections of a thread share.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    times: Times,
    quota: Arc<Quota>,
    pace: Option<Pace>,
    /// How many requests the rate lets go.
    due: u64,
    /// How many requests that count are asked and not answered.
    in_flight: AtomicU64,
    /// When the last right answer came, or else when the first could.
    last_right: Mutex<Instant>,
    /// For how long nothing has to be answered for a run to be given up that would end by itself only after many more
    /// failures.
    patience: Option<Duration>,
    tally: Mutex<Tally>,
    connecting: Semaphore,
    progress: Arc<Progress>,
}

/// Requests that go out together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) count: usize,
    /// When it was begun, if they all were at once.
    begun: Instant,
    /// The number of its first request, at a fixed rate.
    first: u64,
    /// Whether it counts, or is there to warm up.
    counted: bool,
}

impl ThreadLoad {
    /// The load of a thread that has done nothing yet. Where nothing says when it is to end, it is given up after
    /// `patience` without an answer.
    pub(super) fn new(
        times: Times,
        quota: Arc<Quota>,
        pace: Option<Pace>,
        patience: Duration,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        Ok(Self {
            times,
            due: quota.due(),
            quota,
            pace,
            in_flight: AtomicU64::new(0),
            last_right: Mutex::new(times.counted_from),
            patience: times.until.is_none().then_some(patience),
            tally: Mutex::new(Tally::new()?),
            connecting: Semaphore::new(CONNECTING),
            progress,
        })
    }

    /// Waits until nobody has to wait for what is on its way.
    pub(super) async fn quota_ended(&self) {
        self.quota.ended().await;
    }

    /// Lets requests go out at their rate, if there is one, and ends what would not end by itself.
    ///
    /// This goes on for as long as there is no error.
    pub(super) async fn pacing(&self) -> io::Error {
        if let Some(pace) = &self.pace
            && let Err(error) = pace.keep(self.due, self.times.until).await
        {
            return error;
        }
        if let Some(until) = self.times.until {
            sleep_until(until.into()).await;
            if self.quota.is_of_answers() {
                self.quota.end();
            }
        }
        pending().await
    }

    /// What came of it all, now that it has ended.
    pub(super) fn ended(&self) -> Tally {
        let now = Instant::now();
        let mut tally = lock(&self.tally).clone();
        let by_itself = self.quota.is_used_up();
        let end = match self.times.until {
            Some(until) if now >= until => Some(until),
            // Whoever ended it did so now.
            _ if !by_itself => Some(now),
            _ => None,
        };
        if let Some(end) = end {
            tally.took = end.saturating_duration_since(self.times.counted_from);
        }
        if let Some(pace) = &self.pace {
            match end {
                Some(end) => {
                    let (unsent, longest, shortest) = pace.unsent(self.due, end);
                    tally.not_sent_in_turn(unsent, longest, shortest);
                }
                None => tally.took = tally.took.max(pace.length(tally.right + tally.not_right())),
            }
        }
        if self.quota.is_of_answers() {
            tally.in_play = self.in_flight.load(Ordering::Relaxed);
        }
        tally
    }

    pub(super) async fn connect(&self, link: &mut Link, endpoint: &Endpoint) -> Result<Stream, Failure> {
        // It is never closed.
        let _turn = self.connecting.acquire().await;
        link.connect(endpoint).await
    }

    /// Takes requests to ask, up to so many; `None` once there are no more.
    pub(super) async fn take(&self, most: usize) -> Option<Batch> {
        let (first, due) = match &self.pace {
            Some(pace) => pace.take(most).await?,
            None => (0, most),
        };
        let now = Instant::now();
        // What was due in time still goes out, where it has not had to wait.
        let grace = if self.pace.is_some() { GRACE } else { Duration::ZERO };
        let over = self.times.until.is_some_and(|until| now >= until + grace);
        let counted = match &self.pace {
            Some(pace) => pace.counts(first),
            None => now >= self.times.counted_from,
        };
        let count = match (over, counted) {
            (true, _) => 0,
            (false, true) => self.quota.ask(due),
            (false, false) => due,
        };
        if let Some(pace) = &self.pace {
            pace.give_back(due - count);
        }
        if counted {
            self.in_flight.fetch_add(count as u64, Ordering::Relaxed);
        }
        (count > 0).then_some(Batch { count, begun: now, first, counted })
    }

    /// Answers have come: so many of a batch, after so many before them.
    pub(super) fn answered(&self, batch: &Batch, before: usize, count: usize, outcomes: Outcomes) {
        if !batch.counted || count == 0 {
            return;
        }
        self.in_flight.fetch_sub(count as u64, Ordering::Relaxed);
        let right = self.quota.answer(count) as u64;
        if right == 0 {
            return;
        }
        let now = Instant::now();
        *lock(&self.last_right) = now;
        let mut tally = lock(&self.tally);
        match &self.pace {
            Some(pace) => {
                let first = batch.first + before as u64;
                for number in first..first + right {
                    tally.answered(1, now.saturating_duration_since(pace.intended(number)));
                }
            }
            None => tally.answered(right, now - batch.begun),
        }
        tally.outcomes += outcomes;
        tally.until(self.times.counted_from, now);
        self.progress.right.fetch_add(right, Ordering::Relaxed);
    }

    /// Requests of a batch were not answered right. A wrong answer is one while it warms up too.
    pub(super) fn failed(&self, batch: &Batch, count: usize, failure: &Failure) {
        let now = Instant::now();
        let mut wanted = 1;
        if batch.counted {
            // Of what was sent without having been asked for, nothing was in flight.
            let in_flight = self.in_flight.load(Ordering::Relaxed).min(count as u64);
            self.in_flight.fetch_sub(in_flight, Ordering::Relaxed);
            wanted = self.quota.answer(count);
        } else if failure.kind() != Kind::Wrong {
            wanted = 0;
        }
        if wanted > 0 {
            let mut tally = lock(&self.tally);
            tally.failed(wanted as u64, failure);
            tally.until(self.times.counted_from, now);
            self.progress.not_right.fetch_add(wanted as u64, Ordering::Relaxed);
        }
        let without = now.saturating_duration_since(*lock(&self.last_right));
        if self.patience.is_some_and(|patience| without > patience) {
            lock(&self.tally).given_up = true;
            self.quota.end();
        }
    }
}
