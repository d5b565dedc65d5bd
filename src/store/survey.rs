//! What stands in front of the journal's segments says about encryption: which keys are needed, and
//! what is not encrypted. Reads headers and key slots, never a frame.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::crypt::{KeyId, Keyring, Slot};
use super::disk::OsDisk;
use super::journal::files::SegmentFiles;
use super::journal::preamble::Preamble;
use super::recover::is_unfinished;
use crate::clock::UnixMillis;

/// How a journal's segments are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// All segments.
    pub segments: usize,
    /// Those that are encrypted.
    pub encrypted: usize,
    /// The last segment that may be in clear, from before the encryption: what the newest encrypted one
    /// says that opens. Nobody without the keys can say so.
    pub plain_upto: u32,
    /// Plain segments in front of encrypted ones none of which has a key slot that opens: nobody can say
    /// whether they are from before the encryption.
    pub unvouched: usize,
    /// Those that are not.
    pub plain: usize,
    /// When the segment behind the last plain one was begun; `None` if there is none behind it.
    pub plain_until: Option<UnixMillis>,
    /// Keys that are needed and not configured, and by how many segments.
    pub missing: BTreeMap<KeyId, usize>,
    /// Plain segments where none was left: somebody without the keys has put them there. They are
    /// not counted as plain, and never read.
    pub foreign: Vec<u32>,
    /// Encrypted segments without a key slot that opens: nobody can read them any more.
    pub keyless: Vec<u32>,
}

impl Survey {
    /// Looks at all segments in the store's directory, which may be in use. `None`: there is no
    /// journal. Blocks.
    ///
    /// # Errors
    /// As the file system says.
    pub fn of(store: &Path, keys: &Arc<Keyring>) -> io::Result<Option<Self>> {
        let dir = store.join("journal");
        match dir.try_exists() {
            Ok(true) => {}
            // What may not be looked at is the start's to tell.
            Ok(false) => return Ok(None),
            Err(error) => return Err(error),
        }
        let files = SegmentFiles::new(Arc::new(OsDisk), dir, Arc::clone(keys));
        Self::of_files(&files, keys).map(Some)
    }

    pub(super) fn of_files(files: &SegmentFiles, keys: &Keyring) -> io::Result<Self> {
        let mut found = Vec::new();
        let numbers = files.numbers()?;
        for &number in &numbers {
            match files.preamble_if_given(number) {
                // What a power cut has left of a segment that was being begun says nothing.
                Ok(Some(preamble))
                    if numbers.last() == Some(&number)
                        && preamble.header.is_ok_and(|header| header.encrypted)
                        && is_unfinished(files, number, &preamble).unwrap_or(false) => {}
                Ok(Some(preamble)) => found.push((number, preamble)),
                Ok(None) => {}
                // Retention has let it go meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self::of_preambles(&found, keys))
    }

    /// Of segments, ascending, with these in front of their frames.
    pub(super) fn of_preambles(found: &[(u32, Preamble)], keys: &Keyring) -> Self {
        let said = plain_upto(found, keys);
        let first = found.iter().position(|(_, preamble)| preamble.is_encrypted());
        let plain_upto = said.unwrap_or(if first.is_none() { u32::MAX } else { 0 });
        let unvouched = first.filter(|_| said.is_none()).unwrap_or(0);
        let mut survey = Self { plain_upto, unvouched, ..Self::default() };
        for (number, preamble) in found {
            survey.add(*number, preamble, keys);
        }
        survey
    }

    fn add(&mut self, number: u32, preamble: &Preamble, keys: &Keyring) {
        self.segments += 1;
        if !preamble.is_encrypted() && number > self.plain_upto {
            self.foreign.push(number);
            return;
        }
        if let Ok(header) = &preamble.header
            && self.plain > 0
        {
            self.plain_until.get_or_insert(header.created_at);
        }
        if !preamble.is_encrypted() {
            self.plain += 1;
            self.plain_until = None;
            return;
        }
        self.encrypted += 1;
        match preamble.secret(keys) {
            Ok(Some(_)) => {}
            Ok(None) => self.keyless.push(number),
            Err(key) => *self.missing.entry(key).or_default() += 1,
        }
    }

    /// When the last plain segment goes, if nothing in it waits any more and the retention stays as
    /// it is. A segment goes when the one behind it is past the retention.
    pub fn plain_goes(&self, retention: Duration, now: UnixMillis) -> UnixMillis {
        self.plain_until.unwrap_or(now).after(retention)
    }

    /// Whether the journal can be opened with these keys, by which it was looked at.
    ///
    /// # Errors
    /// [`MissingKeys`], if segments need others, or there are encrypted ones and no key at all.
    pub fn check(&self, keys: &Keyring) -> Result<(), MissingKeys> {
        let without = keys.is_empty();
        if self.missing.is_empty() && (!without || self.encrypted == 0) {
            return Ok(());
        }
        let needed = self.missing.clone().into_iter().collect();
        Err(MissingKeys { without, encrypted: self.encrypted, needed })
    }
}

/// What the newest segment says that opens. One of its slots may be from before it said otherwise.
fn plain_upto(found: &[(u32, Preamble)], keys: &Keyring) -> Option<u32> {
    let says = |slot: &Slot| slot.open(keys).is_ok().then_some(slot.plain_upto());
    let opens = |preamble: &Preamble| preamble.slots.iter().flatten().filter_map(says).min();
    found.iter().rev().find_map(|(_, preamble)| opens(preamble))
}

/// Keys that a journal needs and that are not configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MissingKeys {
    /// No key is configured at all.
    without: bool,
    /// How many segments are encrypted.
    encrypted: usize,
    /// The keys, and how many segments need each.
    needed: Vec<(KeyId, usize)>,
}

impl fmt::Display for MissingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.without {
            write!(f, "store.encryption_key is not set, and {}", segments(self.encrypted))?;
            write!(
                f,
                " of the journal {} encrypted",
                if self.encrypted == 1 { "is" } else { "are" }
            )?;
        } else {
            f.write_str("store.encryption_key lacks keys that the journal needs")?;
        }
        for (at, (key, count)) in self.needed.iter().enumerate() {
            f.write_str(if at == 0 { ": " } else { ", " })?;
            let verb = if *count == 1 { "needs" } else { "need" };
            write!(f, "{} {verb} the key {key}", segments(*count))?;
        }
        Ok(())
    }
}

fn segments(n: usize) -> String {
    if n == 1 { "1 segment".to_owned() } else { format!("{n} segments") }
}
