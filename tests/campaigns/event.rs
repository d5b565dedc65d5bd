//! The events of the campaigns: any number of them, each made again from a few bytes, so that a
//! campaign of hours need not keep their bodies.

use std::ops::RangeInclusive;

use fastrand::Rng;

/// What stands before an event's number in its id.
const PREFIX: &str = "evt_";
/// Few orders, so that order of delivery matters.
const ORDERS: u8 = 50;

/// What an event's id and body are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TestEvent {
    /// Counted from 0 in its campaign.
    pub(crate) number: u32,
    order: u8,
    /// Bytes of the body's longest member.
    note: u32,
}

impl TestEvent {
    /// An event whose body is as long as chance says: most of them short, few up to a mebibyte.
    pub(crate) fn new(number: u32, rng: &mut Rng) -> Self {
        let note = match rng.u16(..1024) {
            0..2 => sized(200_000..=1_048_000, rng),
            2..24 => sized(4_000..=65_000, rng),
            _ => sized(200..=1_500, rng),
        };
        Self { number, order: rng.u8(..ORDERS), note }
    }

    /// What the provider calls it.
    pub(crate) fn id(self) -> String {
        format!("{PREFIX}{:08}", self.number)
    }

    /// The number in such an id.
    pub(crate) fn number_of(id: &str) -> Option<u32> {
        id.strip_prefix(PREFIX)?.parse().ok()
    }

    /// What the provider sends. The note repeats the id, so that no two events share a page.
    pub(crate) fn body(self) -> String {
        let (id, order, len) = (self.id(), self.order, self.note as usize);
        let mut note = id.repeat(len / id.len() + 1);
        note.truncate(len);
        format!(
            r#"{{"id":"{id}","event":"order.updated","order_id":"ord_{order}","note":"{note}"}}"#
        )
    }
}

fn sized(range: RangeInclusive<u32>, rng: &mut Rng) -> u32 {
    rng.u32(range)
}
