//! A token bucket. It depends on no other module.
//!
//! It is written here and not taken from a crate such as `governor`: a turn takes as many tokens as there are, while a
//! crate's limiter grants a given number or none; and the table of client networks, which has to be bounded, exists
//! already in [`admission`](super::admission).

use std::time::Duration;

use tokio::time::Instant;

/// A bucket with a capacity of one second's tokens, which fills up within a second.
///
/// The rate belongs to the caller, so a new rate applies at once to buckets in use. The state is a single time (the generic
/// cell rate algorithm, ITU-T I.371): a bucket that is full again needs no memory of its past.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenBucket {
    /// When the bucket is full again; `None` if it has never been used.
    full_at: Option<Instant>,
}

impl TokenBucket {
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// Returns the number of tokens at a rate per second.
    pub(crate) fn available(&self, rate: u32, now: Instant) -> usize {
        let filled = CAPACITY.saturating_sub(self.missing(now));
        let tokens = filled.as_nanos() * u128::from(rate) / CAPACITY.as_nanos();
        // At most the rate, so it fits.
        tokens.try_into().unwrap_or(usize::MAX)
    }

    /// Takes tokens. More than there are can be taken, up to those of another second: the bucket then takes longer to fill
    /// up.
    pub(crate) fn take(&mut self, tokens: u64, rate: u32, now: Instant) {
        let (missing, tokens) = (self.missing(now), u32::try_from(tokens).unwrap_or(u32::MAX));
        self.full_at = Some(now + (missing + per_token(rate) * tokens).min(missing.max(2 * CAPACITY)));
    }

    /// Takes the next token, if it comes by `latest`. Returns when it comes.
    pub(crate) fn reserve(&mut self, rate: u32, now: Instant, latest: Instant) -> Option<Instant> {
        let missing = self.missing(now) + per_token(rate);
        let next = now + missing.saturating_sub(CAPACITY);
        (next <= latest).then(|| {
            self.full_at = Some(now + missing);
            next
        })
    }

    /// Gives a token back that was taken and is not used.
    pub(crate) fn give_back(&mut self, rate: u32) {
        self.full_at = self.full_at.and_then(|full_at| full_at.checked_sub(per_token(rate)));
    }

    /// Returns how long it takes until the bucket is full.
    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

/// The tokens of this time fill the bucket.
const CAPACITY: Duration = Duration::from_secs(1);

/// Returns the time for one token, rounded up, so that `available` counts a token at the time that `reserve` returns.
fn per_token(rate: u32) -> Duration {
    Duration::from_nanos(1_000_000_000_u64.div_ceil(rate.max(1).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_the_tokens_of_a_second_and_fills_up_within_a_second() {
        for rate in [1, 2, 3, 7, 1000, 999_999, 1_000_000] {
            let (mut bucket, start) = (TokenBucket::default(), Instant::now());
            assert_eq!(bucket.available(rate, start), rate as usize);
            bucket.take(rate.into(), rate, start);
            assert_eq!(bucket.available(rate, start), 0);
            let next = { bucket }.reserve(rate, start, start + 2 * CAPACITY).unwrap();
            assert!(next > start && next <= start + CAPACITY + Duration::from_millis(1), "{rate}");
            assert_eq!(bucket.available(rate, next), 1, "{rate}");
            assert_eq!(bucket.available(rate, next - Duration::from_nanos(u64::from(rate) + 1)), 0, "{rate}");
            assert!(!bucket.is_full(next) || rate == 1);
            assert_eq!(bucket.available(rate, start + 2 * CAPACITY), rate as usize, "it holds no more");
        }
    }

    #[test]
    fn reserved_tokens_come_one_after_the_other_and_debt_is_bounded() {
        let (mut bucket, start) = (TokenBucket::default(), Instant::now());
        bucket.take(10, 10, start);
        let latest = start + CAPACITY / 2;
        for number in 1..=5 {
            assert_eq!(bucket.reserve(10, start, latest), Some(start + CAPACITY / 10 * number));
        }
        assert_eq!(bucket.reserve(10, start, latest), None);
        bucket.take(1_000_000, 10, start);
        assert!(bucket.is_full(start + 2 * CAPACITY), "no debt of more than a second");
    }
}
