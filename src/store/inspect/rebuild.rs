//! Making the index again from the journal, while no gateway has the store. The only thing here that
//! changes a store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::walk::{Seen, Walked, walk};
use super::{Finding, InspectError, Journal, What, failed};
use crate::store::backlog::replay::unread;
use crate::store::crypt::Keyring;
use crate::store::index::{self, Index, IndexEntry, IndexError, Progress};
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{decode_event_head, event_in_slice};
use crate::store::journal::segment::Place;
use crate::store::{open, private};

/// What making the index again came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events in it, copies included.
    pub events: u64,
    /// How long it took, syncing it included.
    pub took: Duration,
    /// Whether there was one before, which is set aside now.
    pub set_aside: bool,
}

impl Rebuilt {
    /// Events a second.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let events = self.events as f64;
        events / self.took.as_secs_f64().max(1e-9)
    }
}

/// Sets the index of the store in this directory aside, or removes it where the journal is encrypted,
/// and makes it again from the journal, which is read with these keys. Damage that it comes upon is
/// told, and is in the way of nothing else; what the disk does not give is an error.
///
/// # Errors
/// [`InspectError::Open`] when another process has the store; [`InspectError::NotOwner`]; as the file
/// system says. The store can be opened after any of them.
pub fn rebuild_index(
    store: &Path,
    keys: &Arc<Keyring>,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Rebuilt, InspectError> {
    let journal = Journal::open(store, keys)?;
    private::owned(store).map_err(failed("looking at", store))??;
    let _lock = open::lock(store)?;
    let begun = Instant::now();
    let dir = store.join("index");
    let existed = dir.exists();
    let keyed = journal.fingerprints.are_keyed();
    let cleared = if keyed { index::remove(&dir) } else { index::set_aside(&dir) };
    cleared.map_err(failed(if keyed { "removing" } else { "setting aside" }, &dir))?;
    let (mut index, _) = Index::open(&dir, journal.fingerprints.mark(), |_| {})?;
    let built = fill(&journal, &mut index, tell);
    let (events, walked) = match built {
        Ok(built) => built,
        Err(error) => {
            index::abandon(index);
            return Err(error);
        }
    };
    match walked.upto {
        Some(upto) => {
            index.close(Progress { journal: walked.journal, upto, last: walked.last })?;
        }
        // A journal without a segment: there is nothing to know.
        None => index::abandon(index),
    }
    Ok(Rebuilt { events, took: begun.elapsed(), set_aside: existed && !keyed })
}

pub(super) fn fill(
    journal: &Journal,
    index: &mut Index,
    tell: &mut dyn FnMut(&Finding),
) -> Result<(u64, Walked), InspectError> {
    let mut events = 0;
    let mut failure: Option<IndexError> = None;
    let mut unreadable = None;
    let walked = walk(journal, |seen| {
        let (segment, frame) = match seen {
            Seen::Frame(segment, frame) => (segment, frame),
            Seen::Segment(header, _) => {
                index.set_journal(header.journal);
                return ControlFlow::Continue(());
            }
            Seen::Finding(finding) => {
                tell(&finding);
                if finding.what != What::Unreadable {
                    return ControlFlow::Continue(());
                }
                // An index that went past it would not know of what stands there for good.
                let Finding { segment, offset, .. } = finding;
                unreadable = Some(Place { segment, offset });
                return ControlFlow::Break(());
            }
        };
        let (sequence, place) = (frame.header.sequence, Place { segment, offset: frame.offset });
        if !matches!(frame.header.kind, Kind::Event | Kind::Carried) {
            return ControlFlow::Continue(());
        }
        let event = event_in_slice(&frame.header, frame.payload);
        let Some(head) = event.and_then(|(_, payload)| decode_event_head(payload)) else {
            tell(&Finding::at(place, What::NotUnderstood).of(sequence));
            return ControlFlow::Continue(());
        };
        let fingerprint = journal.fingerprints.of(&head.key);
        let added = index.add(IndexEntry { sequence, place, fingerprint });
        failure = added.err();
        events += 1;
        if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(place) = unreadable {
        return Err(failed("reading", journal.files.dir())(unread(place)));
    }
    failure.map_or(Ok((events, walked)), |error| Err(error.into()))
}
