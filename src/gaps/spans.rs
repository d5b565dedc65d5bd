//! Sets of moments: half-open spans of milliseconds, ascending, which neither overlap nor touch.

/// A set of moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Everything within any of these; each is the first moment in it and the first one behind it.
    pub fn new(spans: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut all: Vec<_> = spans.into_iter().filter(|(from, to)| from < to).collect();
        all.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Its spans: the first moment in each, and the first one behind it.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Whether there is no moment in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a, b)), Some(&&(c, d))) = (mine.peek(), theirs.peek()) {
            if a.max(c) < b.min(d) {
                both.push((a.max(c), b.min(d)));
            }
            if b < d {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }

    /// What is in this one, and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        for &(from, to) in &self.0 {
            let mut at = from;
            let first = other.0.partition_point(|(_, end)| *end <= from);
            for &(a, b) in other.0.get(first..).unwrap_or_default() {
                if a >= to {
                    break;
                }
                if at < a {
                    rest.push((at, a));
                }
                at = at.max(b);
            }
            if at < to {
                rest.push((at, to));
            }
        }
        Self(rest)
    }

    /// What is in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()))
    }

    /// What is in it before this moment.
    #[must_use]
    pub fn before(&self, end: u64) -> Self {
        self.and(&Self::new([(0, end)]))
    }

    /// What is in it from this moment on.
    #[must_use]
    pub fn from(&self, begin: u64) -> Self {
        self.and(&Self::new([(begin, u64::MAX)]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(spans: &Spans) -> BTreeSet<u64> {
        spans.iter().flat_map(|(from, to)| from..to).collect()
    }

    fn some() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0u64..60, 0u64..60), 0..8)
    }

    proptest! {
        #[test]
        fn sets_are_what_their_members_are(a in some(), b in some(), at in 0u64..60) {
            let (x, y) = (Spans::new(a.clone()), Spans::new(b));
            let (mine, theirs) = (members(&x), members(&y));
            prop_assert_eq!(&mine, &a.iter().flat_map(|(from, to)| *from..*to).collect());
            prop_assert_eq!(members(&x.and(&y)), &mine & &theirs);
            prop_assert_eq!(members(&x.without(&y)), &mine - &theirs);
            prop_assert_eq!(members(&x.or(&y)), &mine | &theirs);
            prop_assert_eq!(members(&x.before(at)), mine.iter().copied().filter(|m| *m < at).collect());
            prop_assert_eq!(members(&x.from(at)), mine.iter().copied().filter(|m| *m >= at).collect());
            for made in [&x, &x.and(&y), &x.without(&y), &x.or(&y)] {
                let all: Vec<_> = made.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", all);
            }
        }
    }
}
