//! What the disk does not give, place by place, and how long it has been asked in vain. An error that
//! passes must cost nothing, and one that stays must not hold up what is good for ever.

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::backlog::lane::Ticks;
use super::journal::segment::Place;

/// After so many milliseconds in vain a place counts as bad for good.
const ENOUGH: u64 = 120_000;
/// What lies between two failures counts for so much at most: nobody knows what was in between, and so
/// it takes three failures at least.
const BETWEEN: u64 = 60_000;

/// The places that were asked for in vain, until they are given or their segment is gone.
#[derive(Debug, Default)]
pub struct Patience(Mutex<HashMap<Place, Vain>>);

#[derive(Clone, Copy, Debug)]
struct Vain {
    last: Ticks,
    waited: u64,
}

impl Vain {
    fn waited_by(self, now: Ticks) -> u64 {
        self.waited.saturating_add(now.0.saturating_sub(self.last.0).min(BETWEEN))
    }
}

impl Patience {
    /// Whether this place counts as bad for good if it is not given now either.
    pub fn is_over(&self, place: Place, now: Ticks) -> bool {
        self.0.lock().get(&place).is_some_and(|vain| vain.waited_by(now) >= ENOUGH)
    }

    /// The disk does not give this place. Whether it counts as bad for good.
    pub fn failed(&self, place: Place, now: Ticks) -> bool {
        let mut places = self.0.lock();
        let waited = places.get(&place).map_or(0, |vain| vain.waited_by(now));
        places.insert(place, Vain { last: now, waited });
        waited >= ENOUGH
    }

    /// The disk gives this place.
    pub fn given(&self, place: Place) {
        self.0.lock().remove(&place);
    }

    /// The segments before this one are gone.
    pub fn forget_before(&self, segment: u32) {
        self.0.lock().retain(|place, _| place.segment >= segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { segment: 1, offset: 64 };
    const THERE: Place = Place { segment: 1, offset: 99 };

    #[test]
    fn it_takes_two_minutes_at_one_place() {
        let patience = Patience::default();
        for second in 0..120 {
            assert!(!patience.failed(HERE, Ticks(second * 1000)), "{second} s");
        }
        assert!(!patience.is_over(THERE, Ticks(120_000)));
        assert!(patience.is_over(HERE, Ticks(120_000)));
        assert!(!patience.failed(THERE, Ticks(120_000)), "another place");
        assert!(patience.failed(HERE, Ticks(120_000)));
        patience.given(HERE);
        assert!(!patience.failed(HERE, Ticks(120_001)), "it was given meanwhile");
    }

    #[test]
    fn it_takes_three_failures_however_long_nobody_asks() {
        let (patience, day) = (Patience::default(), 86_400_000);
        let failed = [0, 1, 2].map(|days| patience.failed(HERE, Ticks(days * day)));
        assert_eq!(failed, [false, false, true]);
        patience.forget_before(2);
        assert!(!patience.is_over(HERE, Ticks(3 * day)));
    }
}
