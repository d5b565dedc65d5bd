//! One bucket, which can be looked at without taking from it.

use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// What is done with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// Ask whether there is anything in it.
    Look,
    /// Take one out of it.
    Take,
}

/// When the bucket will be full again (GCRA's theoretical arrival time), in nanoseconds of the
/// limiter's clock; 0 if it has never been used.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl StateStore for Bucket {
    type Key = Act;

    fn measure_and_replace<T, F, E>(&self, act: &Act, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let known = (full_at > 0).then(|| Nanos::from(full_at));
            let (outcome, next) = decide(known)?;
            if *act == Act::Look {
                return Ok(outcome);
            }
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.0.compare_exchange_weak(full_at, next.as_u64(), success, failure) {
                Ok(_) => return Ok(outcome),
                Err(changed) => full_at = changed,
            }
        }
    }
}
