//! Another key for what is stored: puts the keys of all segments under the first configured key, in
//! place, while the gateway runs or not. Frames are not touched: what is encrypted with the segments'
//! own keys stays as it is.
//!
//! A segment has two slots. The new one is written and made durable, read back, and only then is the
//! old one wiped: at every moment at least one of them is whole. A run that was cut short is completed
//! by the next. Never touches a segment that a gateway may be about to write: the one in use, of which
//! the first configured key must be in use already, and none at all of a store that another process
//! begins to use meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::crypt::{KeyId, Keyring, MasterKey, SLOT_LEN, SLOTS_AT, Slot, SlotError};
use super::disk::Disk;
use super::journal::files::SegmentFiles;
use super::journal::preamble::Preamble;
use super::journal::segment;
use super::open::{LOCK, try_lock};
use super::private::{self, NotOwner};

/// Held by a rekeying that is under way.
const REKEY_LOCK: &str = "rekey.lock";

/// How often, and how far apart, a head is looked at that is just being begun.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What became of the segments.
#[derive(Debug)]
pub struct Rekeyed {
    /// The key that they are under now.
    pub key: KeyId,
    /// Segments that were under another key.
    pub rewrapped: usize,
    /// Segments that were under it already.
    pub current: usize,
    /// Segments that are not encrypted.
    pub plain: usize,
    /// Segments that stay under another key, or under none that works.
    pub failed: Vec<(u32, Failure)>,
}

/// Why a segment's key stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The key it is under is not configured.
    #[error("is under the key {0}, which is not in store.encryption_key")]
    Missing(KeyId),
    /// Neither of its slots is whole.
    #[error("has no key slot that is whole: nobody can read it any more")]
    Keyless,
    /// The disk does not say what was written.
    #[error("does not hold the new key slot as it was written; the old one is still there")]
    NotHeld,
    /// The file system refuses.
    #[error("cannot be changed: {0}")]
    Io(#[from] io::Error),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// No key is configured.
    #[error("store.encryption_key is not set: there is no key to put the segments under")]
    NoKey,
    /// There is no journal.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// Its locks would be files that the gateway cannot open.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// Another rekeying is under way.
    #[error("another rekeying of {} is under way", .0.display())]
    Busy(PathBuf),
    /// The gateway that runs does not know the key yet: it could not read what was put under it.
    #[error(
        "the running gateway does not use the key {key} yet (segment {head} is {}); nothing was changed. \
         Reload its configuration (SIGHUP), and run this again",
        under(*.found)
    )]
    NotInUse {
        /// The first configured key.
        key: KeyId,
        /// The segment that is written to.
        head: u32,
        /// The key that it is under.
        found: Option<KeyId>,
    },
    /// The file system refuses.
    #[error("{what} {} failed: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn under(found: Option<KeyId>) -> String {
    found.map_or_else(|| "not encrypted".to_owned(), |key| format!("under {key}"))
}

/// Puts the keys of all segments of the store in `path` under the first of `keys`. Blocks.
///
/// # Errors
/// [`RekeyError`]; then nothing was changed. What fails of single segments is in the answer.
pub fn rekey(path: &Path, keys: &Arc<Keyring>, disk: Arc<dyn Disk>) -> Result<Rekeyed, RekeyError> {
    let new = keys.current().ok_or(RekeyError::NoKey)?;
    let failed = |what| move |source| RekeyError::Io { what, path: path.to_owned(), source };
    private::owned(path).map_err(|e| no_store(path, "looking at", e))??;
    let lock = |name: &str| try_lock(&path.join(name)).map_err(|e| no_store(path, "locking", e));
    let _exclusive = lock(REKEY_LOCK)?.ok_or_else(|| RekeyError::Busy(path.to_owned()))?;
    // Kept to the end: no gateway starts meanwhile, which would write to the newest segment.
    let stopped: Option<File> = lock(LOCK)?;
    let files = SegmentFiles::new(disk, path.join("journal"), Arc::clone(keys));
    let numbers = files.numbers().map_err(|e| no_store(path, "reading", e))?;
    let mut done =
        Rekeyed { key: new.id(), rewrapped: 0, current: 0, plain: 0, failed: Vec::new() };
    let mut ours = &numbers[..];
    if let (None, Some((&head, before))) = (&stopped, numbers.split_last()) {
        in_use(&files, head, new).map_err(failed("reading"))??;
        done.current += 1;
        ours = before;
    }
    for &number in ours {
        match rewrap(&files, number, new) {
            Ok(Done::Rewrapped) => done.rewrapped += 1,
            Ok(Done::Current) => done.current += 1,
            Ok(Done::Plain) => done.plain += 1,
            Ok(Done::Gone) => {}
            // Retention has let it go meanwhile.
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(failure) => done.failed.push((number, failure)),
        }
    }
    Ok(done)
}

fn no_store(path: &Path, what: &'static str, source: io::Error) -> RekeyError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => RekeyError::NoStore(path),
        _ => RekeyError::Io { what, path, source },
    }
}

/// Whether the running gateway's own segment is under the key, which proves that it has it.
fn in_use(files: &SegmentFiles, head: u32, new: &MasterKey) -> io::Result<Result<(), RekeyError>> {
    let mut preamble = files.preamble(head)?;
    for _ in 0..LOOKS {
        // It may be just being written.
        let plain = preamble.header.is_ok_and(|header| !header.encrypted);
        if plain || preamble.slot().is_some() {
            break;
        }
        std::thread::park_timeout(BETWEEN_LOOKS);
        preamble = files.preamble(head)?;
    }
    if position(&preamble, |slot| slot.key() == new.id()).is_some() {
        return Ok(Ok(()));
    }
    let found = preamble.slot().map(Slot::key);
    Ok(Err(RekeyError::NotInUse { key: new.id(), head, found }))
}

enum Done {
    Rewrapped,
    Current,
    Plain,
    /// Retention has let it go meanwhile.
    Gone,
}

fn rewrap(files: &SegmentFiles, number: u32, new: &MasterKey) -> Result<Done, Failure> {
    let preamble = match files.preamble(number) {
        Ok(preamble) => preamble,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Done::Gone),
        Err(error) => return Err(error.into()),
    };
    if !preamble.is_encrypted() {
        return Ok(Done::Plain);
    }
    put_slot(files, number, &preamble, new, None)
}

/// Has every segment say that none is in clear, once the last one that was has gone. Those that were begun
/// before say otherwise, authenticated, for as long as they are there, and a plain one that anybody has
/// written would be believed. Returns whether there was nothing left to do. Not to be called where segments
/// may go meanwhile.
pub fn forget_plain(core: &Core) -> bool {
    let keys = core.files.keys();
    if keys.is_empty() || core.plain_upto() > 0 {
        return false;
    }
    core.files.set_plain_upto(0);
    let mut found: Vec<u32> = core.segments.lock().iter().map(|s| s.header.number).collect();
    found.retain(|number| speaks_for_plain(&core.files, *number).unwrap_or(true));
    if found.is_empty() {
        return true;
    }
    // Nobody else writes to slots meanwhile; who does has them done in a moment.
    let Ok(Some(_exclusive)) = try_lock(&core.path.join(REKEY_LOCK)) else { return false };
    for segment in found {
        if let Err(error) = say_none(&core.files, segment) {
            tracing::warn!(target: "hookward::store", segment, %error, "the segment still says that there may be plain ones before it; trying again");
        }
    }
    false
}

/// Whether the segment has a key slot that says that plain ones may be there, and that opens.
fn speaks_for_plain(files: &SegmentFiles, number: u32) -> io::Result<bool> {
    let (preamble, keys) = (files.preamble(number)?, files.keys());
    let speaks = |slot: &Slot| slot.plain_upto() > 0 && slot.open(&keys).is_ok();
    Ok(position(&preamble, speaks).is_some())
}

fn say_none(files: &SegmentFiles, number: u32) -> Result<(), Failure> {
    let (preamble, keys) = (files.preamble(number)?, files.keys());
    // The first configured one that it is under: which keys are needed stays as it is.
    let is_under = |key: &MasterKey| {
        position(&preamble, |slot| slot.key() == key.id() && slot.open(&keys).is_ok()).is_some()
    };
    let key = keys.ids().filter_map(|id| keys.find(id)).find(|key| is_under(key));
    key.map_or(Ok(()), |key| put_slot(files, number, &preamble, key, Some(0)).map(drop))
}

/// Puts the segment's key under `new`, and has it say that plain segments may be there up to `plain_upto`,
/// or what it has said so far.
fn put_slot(
    files: &SegmentFiles,
    number: u32,
    preamble: &Preamble,
    new: &MasterKey,
    plain_upto: Option<u32>,
) -> Result<Done, Failure> {
    let segment = SegmentSlots { files, number };
    let keys = files.keys();
    let opens = |slot: &Slot| slot.open(&keys).is_ok();
    let says = |slot: &Slot| plain_upto.is_none_or(|upto| slot.plain_upto() == upto);
    if let Some(at) = position(preamble, |s| s.key() == new.id() && says(s) && opens(s)) {
        if segment.read(1 - at)? == [0; SLOT_LEN] {
            return Ok(Done::Current);
        }
        // A run was cut short here, perhaps by a sync that failed: what can be read may be in memory
        // only, and marked as clean.
        let slot = segment.read(at)?;
        segment.write(at, &slot)?;
        segment.wipe(1 - at)?;
        return Ok(Done::Rewrapped);
    }
    let Some(at) = position(preamble, opens) else { return Err(why_closed(preamble, &keys)) };
    let Some((slot, secret)) = preamble.secret(&keys).ok().flatten() else {
        return Err(Failure::Keyless);
    };
    let upto = plain_upto.unwrap_or(slot.plain_upto());
    let wrapped = Slot::wrap(&secret, slot.journal(), number, upto, new)?;
    segment.write(1 - at, wrapped.bytes())?;
    if segment.read(1 - at)? != *wrapped.bytes() {
        return Err(Failure::NotHeld);
    }
    segment.wipe(at)?;
    Ok(Done::Rewrapped)
}

fn position(preamble: &Preamble, wanted: impl Fn(&Slot) -> bool) -> Option<usize> {
    preamble.slots.iter().position(|slot| slot.as_ref().is_some_and(&wanted))
}

fn why_closed(preamble: &Preamble, keys: &Keyring) -> Failure {
    let missing = preamble.slots.iter().flatten().find_map(|slot| match slot.open(keys) {
        Err(SlotError::Missing(key)) => Some(key),
        Ok(_) | Err(SlotError::Forged) => None,
    });
    missing.map_or(Failure::Keyless, Failure::Missing)
}

/// The two slots of a segment, by their position.
struct SegmentSlots<'a> {
    files: &'a SegmentFiles,
    number: u32,
}

impl SegmentSlots<'_> {
    fn read(&self, slot: usize) -> io::Result<[u8; SLOT_LEN]> {
        let mut bytes = [0; SLOT_LEN];
        self.files.file(self.number)?.read_at(&mut bytes, offset(slot))?;
        Ok(bytes)
    }

    fn write(&self, slot: usize, bytes: &[u8; SLOT_LEN]) -> io::Result<()> {
        let path = segment::path(self.files.dir(), self.number);
        self.files.disk().overwrite(&path, offset(slot), bytes)
    }

    fn wipe(&self, slot: usize) -> io::Result<()> {
        self.write(slot, &[0; SLOT_LEN])
    }
}

fn offset(slot: usize) -> u64 {
    let [first, second] = SLOTS_AT;
    u64::from(if slot == 0 { first } else { second })
}
