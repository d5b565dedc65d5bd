//! Which names digests stand for. No name stands in the catalogue's files: each is read out of the frame
//! of an event that has it, once, and kept in memory, as many as a clinic can have and no more.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::event::{EventId, normalize_type};
use crate::store::crypt::{Digests, Field};

/// Texts and recipients of each sort whose digests are kept. Others are digested each time.
const MAX_NAMES: usize = 4096;
/// A longer one is not kept.
const MAX_LEN: usize = 256;
/// Names of events that are kept, and their bytes. Further ones are read each time: a source that makes
/// up a name for each event takes no more memory than that.
const MAX_KINDS: usize = 65_536;
const MAX_KIND_BYTES: usize = 4 << 20;

/// Digests, and what they stand for.
#[derive(Debug)]
pub struct Names {
    digests: Digests,
    /// Providers' own event names, normalized.
    kinds: Mutex<Kinds>,
    recipients: Mutex<Recipients>,
    /// Digests of texts that come again and again, by field.
    known: [Mutex<HashMap<Box<str>, u64>>; 7],
}

/// Names of events by their digests.
#[derive(Debug, Default)]
struct Kinds {
    by_digest: HashMap<u64, Arc<str>>,
    /// Of all of them.
    bytes: usize,
}

impl Kinds {
    /// Keeps the name, if there is room.
    fn keep(&mut self, digest: u64, name: &str) {
        let bytes = self.bytes + name.len();
        let has_room = self.by_digest.len() < MAX_KINDS && bytes <= MAX_KIND_BYTES;
        if has_room && !self.by_digest.contains_key(&digest) {
            self.by_digest.insert(digest, name.into());
            self.bytes = bytes;
        }
    }
}

/// Upstreams that events go to together: the digest of all their names, and those of each.
#[derive(Debug, Default)]
struct Recipients {
    by_digest: HashMap<u64, Arc<[u64]>>,
    by_names: HashMap<Arc<[u64]>, u64>,
}

impl Names {
    /// None yet.
    pub fn new(digests: Digests) -> Self {
        let (kinds, recipients) = (Mutex::default(), Mutex::default());
        Self { digests, kinds, recipients, known: Default::default() }
    }

    /// How texts are digested.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The digest of a name that many events have.
    fn common(&self, field: Field, text: &str) -> u64 {
        let digest = || self.digests.of(field, [text.as_bytes()]);
        let Some(known) = self.known.get(field as usize) else { return digest() };
        if let Some(digest) = known.lock().get(text) {
            return *digest;
        }
        let digest = digest();
        let mut known = known.lock();
        if known.len() < MAX_NAMES && text.len() <= MAX_LEN {
            known.insert(text.into(), digest);
        }
        digest
    }

    /// The digest of an upstream's name.
    pub fn upstream(&self, name: &str) -> u64 {
        // 0 stands for none.
        self.common(Field::Upstream, name).max(1)
    }

    /// The digest of a source's name.
    pub fn source(&self, name: &str) -> u32 {
        let [a, b, c, d, ..] = self.common(Field::Source, name).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The digest of a subject; 0 for none.
    pub fn subject(&self, subject: Option<&str>) -> u32 {
        subject.map_or(0, |subject| self.digests.short(Field::Subject, subject.as_bytes()))
    }

    /// The digest of an event's id.
    pub fn id(&self, id: EventId) -> u32 {
        self.digests.short(Field::Id, id.as_bytes())
    }

    /// The digest of the normalized form of this name, which is kept.
    pub fn kind(&self, provider_type: Option<&str>) -> u64 {
        let name = normalize_type(provider_type);
        let digest = self.kind_named(&name);
        if name.len() <= MAX_LEN {
            self.kinds.lock().keep(digest, &name);
        }
        digest
    }

    /// The digest of this normalized name.
    pub fn kind_named(&self, name: &str) -> u64 {
        self.common(Field::Kind, name)
    }

    /// The normalized name with this digest, if it is kept.
    pub fn kind_of(&self, digest: u64) -> Option<Arc<str>> {
        self.kinds.lock().by_digest.get(&digest).cloned()
    }

    /// The digest of these upstreams' names together, and of each of them.
    pub fn recipients<'a>(&self, names: impl Iterator<Item = &'a str>) -> (u64, Arc<[u64]>) {
        let each: Arc<[u64]> = names.map(|name| self.upstream(name)).collect();
        if let Some(digest) = self.recipients.lock().by_names.get(&each) {
            return (*digest, each);
        }
        let bytes: Vec<[u8; 8]> = each.iter().map(|digest| digest.to_le_bytes()).collect();
        let digest = self.digests.of(Field::Recipients, bytes.iter().map(|bytes| &bytes[..]));
        let mut recipients = self.recipients.lock();
        if recipients.by_names.len() < MAX_NAMES {
            recipients.by_names.insert(Arc::clone(&each), digest);
            recipients.by_digest.insert(digest, Arc::clone(&each));
        }
        (digest, each)
    }

    /// What these recipients' names have for digests, if it is kept.
    pub fn recipients_of(&self, digest: u64) -> Option<Arc<[u64]>> {
        self.recipients.lock().by_digest.get(&digest).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 4,096 were kept, and a listing by name read each event with another one.
    #[test]
    fn many_names_are_kept_and_no_number_of_them_takes_more_memory() {
        let named = |n: usize, len: usize| format!("order.{n:0>len$}");
        let names = Names::new(Digests::new(None, 7));
        let digests = (0..MAX_KINDS + 9).map(|n| names.kind(Some(&named(n, 5))));
        let digests: Vec<_> = digests.collect();
        let known = digests.iter().filter(|digest| names.kind_of(**digest).is_some());
        assert_eq!(known.count(), MAX_KINDS);
        let names = Names::new(Digests::new(None, 7));
        for n in 0..MAX_KIND_BYTES / 200 {
            names.kind(Some(&named(n, 200)));
        }
        let kinds = names.kinds.lock();
        let bytes: usize = kinds.by_digest.values().map(|name| name.len()).sum();
        assert!(bytes == kinds.bytes && bytes <= MAX_KIND_BYTES && bytes > MAX_KIND_BYTES - 512);
    }
}
