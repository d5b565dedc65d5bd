//! The timestamp beside a signature: Unix seconds, in digits.

use std::time::Duration;

use crate::admit::Refusal;
use crate::audit::Reason::{TimestampInvalid, TimestampOutOfRange};
use crate::clock::UnixMillis;

const NOT_DIGITS: Refusal =
    Refusal::new(TimestampInvalid, "the signature's timestamp is not Unix seconds in digits");
const OUT_OF_RANGE: Refusal =
    Refusal::new(TimestampOutOfRange, "the signature's timestamp is further from now than allowed");

/// A timestamp as it was sent, and what it says.
#[derive(Clone, Copy)]
pub(super) struct Timestamp<'r> {
    pub(super) text: &'r str,
    pub(super) seconds: u64,
}

impl<'r> Timestamp<'r> {
    pub(super) fn read(text: &'r str) -> Result<Self, Refusal> {
        // `parse` takes a plus sign as well.
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let seconds = text.parse().ok().filter(|_| digits).ok_or(NOT_DIGITS)?;
        Ok(Self { text, seconds })
    }

    /// Whether it is within `tolerance` of `now`, both ways, at its own resolution of a second.
    pub(super) fn check(&self, now: UnixMillis, tolerance: Duration) -> Result<(), Refusal> {
        let distance = Duration::from_secs(now.as_secs().abs_diff(self.seconds));
        if distance <= tolerance { Ok(()) } else { Err(OUT_OF_RANGE) }
    }
}
