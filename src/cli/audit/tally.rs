//! Counts by a key, of which there may be more than memory is for.

use std::collections::HashMap;

use crate::audit::chain::Record;

/// Memory for keys that are counted apart, in bytes: a hundred thousand addresses.
const MOST: usize = 32 << 20;
/// What a key takes beside its own bytes: its row with two times, and its place in the table.
const ROW: usize = 320;

/// How often, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// How many, sums with what they stand for.
    pub(super) count: u64,
    /// In how many records.
    pub(super) records: u64,
    /// RFC 3339.
    pub(super) first: String,
    pub(super) last: String,
}

impl Row {
    pub(super) fn add(&mut self, record: &Record) {
        let first = record.first.as_deref().unwrap_or(&record.time);
        let last = record.last.as_deref().unwrap_or(&record.time);
        // All times are of one form, so that their texts sort as they do.
        if self.records == 0 || first < self.first.as_str() {
            first.clone_into(&mut self.first);
        }
        if last > self.last.as_str() {
            last.clone_into(&mut self.last);
        }
        self.count = self.count.saturating_add(record.count);
        self.records += 1;
    }
}

/// Counts by a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    rows: HashMap<String, Row>,
    /// Bytes that the rows take.
    taken: usize,
    /// What came when there was no room for further keys.
    pub(super) beyond: Row,
}

impl Tally {
    pub(super) fn add(&mut self, key: &str, record: &Record) {
        if let Some(row) = self.rows.get_mut(key) {
            row.add(record);
        } else if self.taken + ROW + key.len() <= MOST {
            self.taken += ROW + key.len();
            self.rows.entry(key.to_owned()).or_default().add(record);
        } else {
            self.beyond.add(record);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The most frequent ones, and how many all others are together.
    pub(super) fn top(&self, limit: usize) -> (Vec<(&str, &Row)>, u64) {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, row)| (key.as_str(), row)).collect();
        rows.sort_unstable_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        let rest = rows.split_off(limit.min(rows.len()));
        let others = rest.iter().map(|(_, row)| row.count);
        (rows, others.fold(self.beyond.count, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: &str) -> Record {
        Record { time: time.to_owned(), count: 1, ..Record::default() }
    }

    #[test]
    fn first_and_last_are_of_all_whatever_their_order() {
        let mut row = Row::default();
        for time in
            ["2025-01-15T10:30:00.000Z", "2025-01-14T00:00:00.000Z", "2025-01-15T00:00:00.000Z"]
        {
            row.add(&record(time));
        }
        assert_eq!(row.first, "2025-01-14T00:00:00.000Z");
        assert_eq!(row.last, "2025-01-15T10:30:00.000Z");
        assert_eq!((row.count, row.records), (3, 3));
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_uncounted() {
        // Of addresses, and of what somebody has made as long as it can be.
        for (long, apart) in [(15, 100_000), (1 << 20, 31)] {
            let (mut tally, one) = (Tally::default(), record("t"));
            let key = |n: usize| format!("{n:06}{}", "x".repeat(long - 6));
            let keys = apart + 500;
            (0..keys).for_each(|n| tally.add(&key(n), &one));
            tally.add(&key(0), &one);
            let held: usize = tally.rows.keys().map(|key| key.len() + ROW).sum();
            assert!(held <= MOST && tally.rows.len() >= apart, "{long}: {}", tally.rows.len());
            assert_eq!(tally.beyond.count, (keys - tally.rows.len()) as u64);
            let (top, others) = tally.top(1);
            assert_eq!((top[0].0, top[0].1.count), (key(0).as_str(), 2));
            assert_eq!(others, keys as u64 - 1, "nothing is uncounted");
        }
    }
}
