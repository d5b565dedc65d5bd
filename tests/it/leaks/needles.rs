//! What is looked for, and the search: one pass over the text, whatever there is to be found.

use std::collections::{BTreeSet, HashMap, HashSet};

use parking_lot::RwLock;

use super::forms;

/// Bytes of a needle at least, or anything would be one.
const SHORTEST: usize = 8;
/// Different bytes of a needle at least: a row of zeros is nobody's.
const DIFFERENT: usize = 5;
/// Of something longer each piece of so many bytes is a needle.
const PIECE: usize = 16;
/// Only so much of a value's beginning is looked for.
const MOST: usize = 256;
/// Bits of the filter, a power of two.
const FILTER: usize = 1 << 22;

/// Values, in all their forms, that must not come out again.
#[derive(Default)]
pub struct Needles(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether a needle begins with these bytes, as a hash of them: with most none does.
    filter: Vec<u64>,
    by_head: HashMap<u64, Vec<Needle>>,
    known: HashSet<(usize, Vec<u8>)>,
}

struct Needle {
    bytes: Box<[u8]>,
    what: String,
}

impl Needles {
    /// From here on each piece of this value, in each form, is looked for; of its pieces one begins at every
    /// so many bytes.
    pub fn add(&self, what: &str, value: &[u8], stride: usize) {
        let value = &value[..value.len().min(MOST)];
        if value.len() < SHORTEST || !self.is_new(value, stride) {
            return;
        }
        let mut inner = self.0.write();
        for (form, bytes) in forms::of(value) {
            let last = bytes.len().saturating_sub(PIECE);
            for at in (0..last).step_by(stride).chain([last]) {
                let piece = &bytes[at..bytes.len().min(at + PIECE)];
                inner.put(piece, || format!("{what}, {form}"));
            }
        }
    }

    /// From here on this value as a whole, in each form, is looked for.
    pub fn add_whole(&self, what: &str, value: &[u8]) {
        let value = &value[..value.len().min(MOST)];
        if value.len() < SHORTEST || !self.is_new(value, usize::MAX) {
            return;
        }
        let mut inner = self.0.write();
        for (form, bytes) in forms::of(value) {
            inner.put(&bytes, || format!("{what}, {form}"));
        }
    }

    fn is_new(&self, value: &[u8], stride: usize) -> bool {
        let known = (stride, value.to_vec());
        !self.0.read().known.contains(&known) && self.0.write().known.insert(known)
    }

    /// What of it stands in this text.
    pub fn search(&self, text: &[u8]) -> BTreeSet<String> {
        let inner = self.0.read();
        let mut found = BTreeSet::new();
        let mut head = 0;
        for (end, byte) in text.iter().enumerate() {
            head = head << 8 | u64::from(*byte);
            if !inner.may_begin(head) || end + 1 < SHORTEST {
                continue;
            }
            let rest = &text[end + 1 - SHORTEST..];
            let needles = inner.by_head.get(&head).into_iter().flatten();
            let here = needles.filter(|needle| rest.starts_with(&needle.bytes));
            found.extend(here.map(|needle| needle.what.clone()));
        }
        found
    }
}

impl Inner {
    fn put(&mut self, bytes: &[u8], what: impl Fn() -> String) {
        let Some(head) = bytes.first_chunk::<SHORTEST>() else { return };
        if bytes.iter().collect::<HashSet<_>>().len() < DIFFERENT {
            return;
        }
        let head = u64::from_be_bytes(*head);
        let needles = self.by_head.entry(head).or_default();
        if needles.iter().any(|needle| *needle.bytes == *bytes) {
            return;
        }
        needles.push(Needle { bytes: bytes.into(), what: what() });
        self.filter.resize(FILTER / 64, 0);
        let (word, bit) = place(head);
        self.filter[word] |= bit;
    }

    fn may_begin(&self, head: u64) -> bool {
        let (word, bit) = place(head);
        self.filter.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

/// Where the filter has its bit for this beginning.
fn place(head: u64) -> (usize, u64) {
    let hash = head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 42;
    let hash = usize::try_from(hash).unwrap() % FILTER;
    (hash / 64, 1 << (hash % 64))
}
