//! Since when each source is configured: what the gateway missed before then was nobody's loss. Kept in a
//! small file beside the journal. Without it, or where it cannot be read or says a time that has not come
//! yet, sources count from the beginning: windows may be too wide by that, and never too narrow.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::regular::{self, Link};

const FILE: &str = "sources.json";
/// More bytes than any has.
const LONGEST: u64 = 4 << 20;
/// Names that are kept; of more, those are forgotten that are configured no more.
const MOST: usize = 10_000;

/// Since when each source is configured, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since(BTreeMap<String, Option<UnixMillis>>);

impl Since {
    /// What was noted in the store in this directory, as far as it can be by `now`. Blocks.
    pub fn read(store: &Path, now: UnixMillis) -> Self {
        let mut since = Self(load(&store.join(FILE)).unwrap_or_default());
        since.forget_ahead(now);
        since
    }

    /// Since when this source is configured; `None`: from the beginning, as far as is known.
    pub fn of(&self, name: &str) -> Option<UnixMillis> {
        self.0.get(name).copied().flatten()
    }

    /// Whether something of it was noted by a clock that was ahead of this one. To be noted anew before the
    /// time comes: from then on it looks like any other.
    pub fn is_ahead_of(&self, now: UnixMillis) -> bool {
        self.0.values().flatten().any(|at| *at > now)
    }

    /// Since when those were configured that a clock noted which was ahead, nobody knows.
    fn forget_ahead(&mut self, now: UnixMillis) {
        for at in self.0.values_mut() {
            *at = at.filter(|at| *at <= now);
        }
    }

    /// Notes by `now` that these are configured, those that are new since then or so much `earlier`; what cannot be
    /// written is told. Blocks.
    pub fn note(store: &Path, configured: &[String], now: UnixMillis, earlier: Duration) -> Self {
        let path = store.join(FILE);
        let known = load(&path);
        let mut noted = Self(known.clone().unwrap_or_default());
        noted.forget_ahead(now);
        let mut since = noted.0;
        // Where nothing was noted yet, nobody knows how long they have been there.
        let new = known.as_ref().map(|_| now.before(earlier));
        for name in configured {
            since.entry(name.clone()).or_insert(new);
        }
        if since.len() > MOST {
            since.retain(|name, _| configured.contains(name));
        }
        if known.as_ref() != Some(&since)
            && let Err(error) = write(&path, &since)
        {
            tracing::warn!(target: "hookward::store", file = %path.display(), %error, "since when sources are configured cannot be noted; gaps before then may be told as theirs");
        }
        Self(since)
    }
}

/// `None`: there is nothing that could be read.
fn load(path: &Path) -> Option<BTreeMap<String, Option<UnixMillis>>> {
    let file = regular::open(OpenOptions::new().read(true), path, Link::Refuse).ok()?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    let known: BTreeMap<String, Option<String>> = serde_json::from_slice(&text).ok()?;
    let moment = |text: String| {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(UnixMillis)
    };
    Some(known.into_iter().map(|(name, at)| (name, at.and_then(moment))).collect())
}

/// Replaces the file as a whole; a crash leaves either.
fn write(path: &PathBuf, since: &BTreeMap<String, Option<UnixMillis>>) -> io::Result<()> {
    let shown: BTreeMap<_, _> =
        since.iter().map(|(name, at)| (name, at.map(|at| at.to_string()))).collect();
    let next = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = regular::open(&mut options, &next, Link::Refuse)?;
    file.write_all(serde_json::to_string(&shown)?.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_data()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn what_is_new_is_configured_since_then_and_what_was_there_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let at = |n: u64| UnixMillis(1_763_700_000_000 + n);
        assert_eq!(Since::note(dir.path(), &names(&["lab"]), at(1), AT_ONCE).of("lab"), None);
        let since = Since::note(dir.path(), &names(&["lab", "new"]), at(2), AT_ONCE);
        assert_eq!((since.of("lab"), since.of("new")), (None, Some(at(2))));
        // One that comes back was there before.
        Since::note(dir.path(), &names(&["lab"]), at(3), AT_ONCE);
        let again = Since::note(dir.path(), &names(&["lab", "new"]), at(4), AT_ONCE);
        assert_eq!(again, Since::read(dir.path(), at(4)));
        assert_eq!(again.of("new"), Some(at(2)));
        fs::write(dir.path().join(FILE), "{\"lab\"").unwrap();
        let unread = Since::note(dir.path(), &names(&["lab", "new"]), at(5), AT_ONCE);
        assert_eq!((unread.of("lab"), unread.of("new")), (None, None), "rather too wide");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    /// A reload within two seconds of a start took what the start had noted for a time that had not come.
    #[test]
    fn what_is_noted_somewhat_earlier_forgets_nothing_that_was_noted_since() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["lab", "new", "newer"].map(str::to_owned);
        let at = |n: u64| UnixMillis(1_763_700_000_000 + n);
        Since::note(dir.path(), &names[..1], at(1), AT_ONCE);
        Since::note(dir.path(), &names[..2], at(5_000), AT_ONCE);
        let since = Since::note(dir.path(), &names, at(5_500), Duration::from_secs(2));
        assert_eq!((since.of("new"), since.of("newer")), (Some(at(5_000)), Some(at(3_500))));
    }

    /// One that was noted by a clock in 2036 had no gap until then, and the file kept the year for good.
    #[test]
    fn what_a_clock_has_noted_that_was_ahead_is_not_believed_nor_kept() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["lab".to_owned(), "new".to_owned()];
        let at = |n: u64| UnixMillis(1_763_700_000_000 + n);
        Since::note(dir.path(), &names[..1], at(1), AT_ONCE);
        let ahead = Since::note(dir.path(), &names, at(1_000), AT_ONCE);
        assert_eq!(ahead.of("new"), Some(at(1_000)));
        assert!(ahead.is_ahead_of(at(999)) && !ahead.is_ahead_of(at(1_000)));
        assert_eq!(Since::read(dir.path(), at(999)).of("new"), None);
        assert_eq!(Since::read(dir.path(), at(1_000)), ahead, "reading changes nothing");
        let healed = Since::note(dir.path(), &names, at(999), AT_ONCE);
        assert_eq!((healed.of("lab"), healed.of("new")), (None, None));
        assert!(!healed.is_ahead_of(at(0)));
        assert_eq!(
            Since::read(dir.path(), at(2_000)).of("new"),
            None,
            "also once the time has come"
        );
    }
}
