//! Retention: a segment goes when everything in it is older than the retention and settled. With it
//! go its events' dedupe keys, so that the two never part.

use super::core::Core;
use super::journal::segment::SegmentHeader;
use crate::event::Sequence;

/// Removes the oldest segments that nothing needs; the number of the first frame that is left, if
/// any went.
pub fn purge(core: &Core) -> Option<Sequence> {
    oldest_expired(core)?;
    // What is settled in memory may not be so on disk: a crash must not find the events gone that
    // it would deliver again. Whatever is settled by now is durable behind the sync.
    let needed = core.backlog.oldest_segment();
    if !core.queue.sync() {
        return None;
    }
    let_go(core, needed)
}

/// The same when the store is being opened: nothing is settled yet but what the disk says.
pub fn purge_at_start(core: &Core) -> Option<Sequence> {
    let_go(core, core.backlog.oldest_segment())
}

fn let_go(core: &Core, needed: Option<u32>) -> Option<Sequence> {
    let mut first_left = None;
    while let Some((old, next)) = oldest_expired(core)
        && needed.is_none_or(|needed| needed > old.number)
    {
        if let Err(error) = core.files.remove(old.number) {
            let segment = old.number;
            tracing::warn!(target: "hookward::store", segment, %error, "an expired segment stays");
            break;
        }
        core.segments.lock().retain(|s| s.header.number != old.number);
        first_left = Some(next);
    }
    let first_left = first_left?;
    if let Err(error) = core.files.disk().sync_dir(core.files.dir()) {
        tracing::warn!(target: "hookward::store", %error, "syncing the journal's directory failed");
    }
    core.dedupe.forget_before(first_left.number);
    core.backlog.forget_before(first_left.number);
    Some(first_left.first)
}

/// The oldest segment and the one after it, if the oldest is past the retention. Everything in it
/// was stored before the next one was begun.
fn oldest_expired(core: &Core) -> Option<(SegmentHeader, SegmentHeader)> {
    let (old, next) = match core.segments.lock().as_slice() {
        [old, next, ..] => (*old, *next),
        _ => return None,
    };
    (core.age(&next) > core.keeping().retention).then_some((old.header, next.header))
}
