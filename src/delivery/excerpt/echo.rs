//! Where an answer repeats what the event says. The answer is short and the event may be long, and many
//! attempts may fail at once: so it is the answer that is prepared, and the event is gone through once.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use super::Text;

/// The shortest string that is looked for, in characters.
const SHORTEST: usize = 4;
/// The longest one that is looked for as a whole; of longer ones each word is.
const LONGEST: usize = 64;
/// No string of that many characters has more bytes.
const MOST_BYTES: usize = 4 * LONGEST;

/// An answer, in which strings of the event are looked for.
pub(super) struct Echo<'t> {
    text: &'t Text,
    /// Where its words stand, until they are found.
    words: HashMap<&'t str, Vec<Range<usize>>>,
    /// Where its characters stand, in the order of what follows them.
    sorted: Vec<usize>,
    /// What begins so is worth looking for.
    begins: HashSet<[u8; SHORTEST]>,
    /// Strings that were found.
    found: HashSet<String>,
}

impl<'t> Echo<'t> {
    pub(super) fn of(text: &'t Text) -> Self {
        let mut words: HashMap<&str, Vec<Range<usize>>> = HashMap::new();
        for run in text.runs(char::is_alphanumeric).into_iter().filter(|run| run.len() >= SHORTEST)
        {
            words.entry(text.folded(&run)).or_default().push(run);
        }
        let mut sorted: Vec<usize> = (0..text.chars.len()).collect();
        sorted.sort_unstable_by_key(|at| follows(text, *at));
        let begins = sorted.iter().filter_map(|at| follows(text, *at).first_chunk().copied());
        let begins = begins.collect();
        Self { text, words, sorted, begins, found: HashSet::new() }
    }

    /// Shows `each` where this stands, which is in lower case: the whole of it, and its words.
    pub(super) fn find(&mut self, said: &str, mut each: impl FnMut(Range<usize>)) {
        for word in said.split(|c: char| !c.is_alphanumeric()) {
            self.words.remove(word).into_iter().flatten().for_each(&mut each);
        }
        let begins = said.as_bytes().first_chunk().is_some_and(|begin| self.begins.contains(begin));
        if said.len() > MOST_BYTES || !begins {
            return;
        }
        let (text, len) = (self.text, said.chars().count());
        if !(SHORTEST..=LONGEST).contains(&len) {
            return;
        }
        let from = self.sorted.partition_point(|at| follows(text, *at) < said.as_bytes());
        let places = self.sorted.get(from..).unwrap_or_default().iter().copied();
        let mut places =
            places.take_while(|at| follows(text, *at).starts_with(said.as_bytes())).peekable();
        if places.peek().is_some() && self.found.insert(said.to_owned()) {
            places.for_each(|at| each(at..at + len));
        }
    }
}

/// What follows from this character on, as far as it matters.
fn follows(text: &Text, at: usize) -> &[u8] {
    let rest = text.starts.get(at).and_then(|from| text.folded.as_bytes().get(*from..));
    let rest = rest.unwrap_or_default();
    rest.get(..MOST_BYTES).unwrap_or(rest)
}
