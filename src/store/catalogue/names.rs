//! Which names digests stand for. No name stands in the catalogue's files: each is read out of the frame
//! of an event that has it, once, and kept in memory, as many as a clinic can have and no more.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::event::{EventId, normalize_type};
use crate::store::crypt::{Digests, Field};

/// Names of each sort that are kept. Further ones are read each time.
const MAX_NAMES: usize = 4096;
/// A longer one is not kept.
const MAX_LEN: usize = 256;

/// Digests, and what they stand for.
#[derive(Debug)]
pub struct Names {
    digests: Digests,
    /// Providers' own event names, normalized.
    kinds: Mutex<HashMap<u64, Arc<str>>>,
    recipients: Mutex<Recipients>,
    /// Digests of texts that come again and again, by field.
    known: [Mutex<HashMap<Box<str>, u64>>; 7],
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
        let digest = self.common(Field::Kind, &name);
        let mut kinds = self.kinds.lock();
        let is_short = name.len() <= MAX_LEN;
        if is_short && kinds.len() < MAX_NAMES && !kinds.contains_key(&digest) {
            kinds.insert(digest, name.into());
        }
        digest
    }

    /// The normalized name with this digest, if it is kept.
    pub fn kind_of(&self, digest: u64) -> Option<Arc<str>> {
        self.kinds.lock().get(&digest).cloned()
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
