//! Whatever is done to a journal is found, and what is not damaged is not called so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, UnixMillis};
use crate::config::OnConflict;
use crate::event::{EventMeta, Sequence, UpstreamName};
use crate::identify::testing::identified;
use crate::metrics::Metrics;
use crate::secret::Key;
use crate::store::crypt::{FRAMES_AT, Keyring, SLOT_LEN, SLOTS_AT};
use crate::store::journal::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::store::tests::{two_checkpoints, write_checkpoint};
use crate::store::{
    Attempt, AttemptResult, Options, Store, Targets, Tuning, UpstreamOptions, Verdict,
};

const START: UnixMillis = UnixMillis(1_763_700_000_000);

fn key() -> Arc<Keyring> {
    Arc::new(Keyring::new([Key::new([7; 32].into())]))
}

fn open_store(dir: &Path, keys: &Arc<Keyring>) -> Store {
    try_open(dir, keys).unwrap()
}

fn try_open(dir: &Path, keys: &Arc<Keyring>) -> Result<Store, OpenError> {
    let upstream = UpstreamOptions {
        name: UpstreamName::new("app").unwrap(),
        ordered: false,
        give_up: Duration::from_secs(72 * 3600),
        retry_max: Duration::from_secs(600),
    };
    let options = Options {
        path: dir.to_owned(),
        retention: Duration::from_secs(30 * 86_400),
        min_free: 0,
        keys: Arc::clone(keys),
        clock: Clock::manual(START),
        metrics: Arc::new(Metrics::new()),
        upstreams: vec![upstream],
    };
    let tuning = Tuning { segment_bytes: 1024, index: false, ..Tuning::default() };
    Store::open_with(options, tuning)
}

/// A store of three starts, each of which makes a segment, without an index. Of each, one event is
/// delivered, one dead and one waits.
async fn three_segments() -> TempDir {
    three_segments_with(&Arc::default()).await
}

async fn three_segments_with(keys: &Arc<Keyring>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let store = open_store(dir.path(), keys);
        let waits = store.backlog(0);
        for n in 0..3 {
            let provider_id = Some(format!("{life}-{n}"));
            let meta = EventMeta { provider_id, data: 0..2, ..EventMeta::default() };
            let body = format!("{{\"n\":\"{life}-{n}\"}}");
            let event = identified("lab", START, &body, meta, OnConflict::Deliver);
            store.accept(event, store.roster().select(Targets::NONE.with(0))).await.unwrap();
        }
        assert_eq!(store.backlog(0), waits + 3);
        let lane = Arc::clone(store.roster().lane(0).unwrap());
        let mut claims = Vec::new();
        for _ in 0..waits + 3 {
            claims.push(store.claim(&lane).await);
        }
        claims.sort_by_key(|claimed| claimed.event.sequence);
        let before = (0..waits).map(|_| Verdict::RetryAt(START));
        // The last one is not attempted.
        for (verdict, claimed) in before.chain([Verdict::Delivered, Verdict::Dead]).zip(claims) {
            store.settle(claimed, attempt(verdict));
        }
        assert!(store.close().await);
    }
    assert_eq!(segments(dir.path()).len(), 3);
    dir
}

fn attempt(verdict: Verdict) -> Attempt {
    let result = AttemptResult::Answered(if verdict == Verdict::Delivered { 204 } else { 410 });
    Attempt { started_at: START, duration: Duration::from_millis(3), result, verdict }
}

fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn findings(store: &Path) -> (Verified, Vec<Finding>) {
    findings_with(store, &Arc::default())
}

fn findings_with(store: &Path, keys: &Arc<Keyring>) -> (Verified, Vec<Finding>) {
    let mut found = Vec::new();
    let journal = Journal::open(store, keys).unwrap();
    let verified = verify(&journal, &mut |finding| {
        found.push(*finding);
        std::ops::ControlFlow::Continue(())
    });
    (verified.unwrap(), found)
}

#[tokio::test]
async fn a_sound_journal_has_no_findings() {
    let dir = three_segments().await;
    let (verified, found) = findings(dir.path());
    assert_eq!(found, []);
    assert_eq!((verified.segments, verified.events, verified.is_clean()), (3, 9, true));
    let (first, last) = verified.sequences.unwrap();
    assert_eq!((first, last.0), (Sequence(1), verified.frames));
}

/// Every byte of the journal counts, and a changed one is placed: no byte is only looked past.
#[tokio::test]
async fn a_bit_that_flips_anywhere_is_found_where_it_is() {
    flip_bits(&Arc::default(), SEGMENT_HEADER_LEN, |_| true).await;
}

/// Nor is any in front of an encrypted segment's frames; of the zeros there a sample is changed.
#[tokio::test]
async fn a_bit_that_flips_anywhere_in_an_encrypted_segment_is_found_where_it_is() {
    let pages = SLOTS_AT.map(|slot| slot as usize);
    let is_looked_at = |at: usize| {
        let in_slot = pages.iter().any(|page| (*page..page + SLOT_LEN).contains(&at));
        at < SEGMENT_HEADER_LEN as usize
            || in_slot
            || at >= FRAMES_AT as usize
            || at.is_multiple_of(97)
    };
    flip_bits(&key(), FRAMES_AT, is_looked_at).await;
}

async fn flip_bits(keys: &Arc<Keyring>, frames_at: u32, is_looked_at: impl Fn(usize) -> bool) {
    let dir = three_segments_with(keys).await;
    for (number, path) in (1..).zip(segments(dir.path())) {
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).filter(|at| is_looked_at(*at)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            // A header that calls for a newer version is none that can be judged.
            let (verified, found) = findings_with(dir.path(), keys);
            assert!(!verified.is_clean(), "byte {at} of segment {number}");
            let is_here = |finding: &&Finding| {
                let until = finding.until.unwrap_or(SEGMENT_HEADER_LEN) as usize;
                finding.segment == number && (finding.offset as usize..until).contains(&at)
            };
            let placed = found.iter().find(is_here);
            assert!(placed.is_some(), "byte {at} of segment {number}: {found:?}");
            if at >= frames_at as usize {
                assert!(placed.unwrap().first.is_some(), "without a sequence: {found:?}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

/// Whoever has no key can neither read a segment nor add one.
#[tokio::test]
async fn an_encrypted_journal_is_read_with_its_key_and_what_others_put_there_is_named() {
    let (dir, plain) = (three_segments_with(&key()).await, three_segments().await);
    let error = Journal::open(dir.path(), &Arc::default()).unwrap_err();
    assert!(matches!(error, InspectError::Open(OpenError::Keys(_))), "{error}");
    let (verified, found) = findings_with(dir.path(), &key());
    assert_eq!((verified.events, found), (9, vec![]));
    let journal = Journal::open(dir.path(), &key()).unwrap();
    assert_eq!(stat(&journal).unwrap().sources, [("lab".to_owned(), 9)].into());
    let put = dir.path().join("journal/0000000004.journal");
    fs::copy(&segments(plain.path())[0], put).unwrap();
    let (_, found) = findings_with(dir.path(), &key());
    let forged = found.iter().find(|finding| finding.what == What::Forged).unwrap();
    assert_eq!((forged.segment, forged.offset), (4, SEGMENT_HEADER_LEN));
}

/// Without an index nothing says where the last segment should end, so a cut between two frames of
/// it cannot be seen; any other can.
#[tokio::test]
async fn a_segment_that_is_cut_short_anywhere_is_found() {
    let dir = three_segments().await;
    let paths = segments(dir.path());
    for (number, path) in (1..).zip(&paths) {
        let good = fs::read(path).unwrap();
        let mut unseen = 0;
        for len in 0..good.len() {
            fs::write(path, &good[..len]).unwrap();
            let (verified, found) = findings(dir.path());
            let newest = number == u32::try_from(paths.len()).unwrap();
            let here = found.iter().any(|f| f.segment == number || f.segment == number + 1);
            match (newest, verified.is_clean()) {
                (false, clean) => {
                    assert!(!clean && here, "segment {number} cut to {len}: {found:?}")
                }
                (true, clean) => unseen += usize::from(clean && len >= 64),
            }
        }
        let frames = findings(dir.path()).0.frames;
        assert!(unseen < usize::try_from(frames).unwrap(), "{unseen} of {} unseen", good.len());
        fs::write(path, &good).unwrap();
    }
    assert!(findings(dir.path()).0.is_clean());
}

#[tokio::test]
async fn a_segment_that_is_gone_is_found_by_its_frames_or_by_what_waits_in_it() {
    let dir = three_segments().await;
    for (gone, kind) in [(1, What::WaitingLost), (2, What::Missing)] {
        let path = segments(dir.path())[gone - 1].clone();
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (_, found) = findings(dir.path());
        let of_kind: Vec<_> = found.iter().filter(|f| f.what == kind).collect();
        assert_eq!(of_kind.len(), 1, "{found:?}");
        assert!(of_kind[0].first.is_some());
        fs::write(&path, &good).unwrap();
    }
}

#[tokio::test]
async fn a_copy_that_was_made_while_it_ran_may_have_a_torn_tail() {
    let dir = three_segments().await;
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_within(200..260);
    fs::write(&path, bytes).unwrap();
    let (verified, found) = findings(dir.path());
    assert_eq!((verified.damages, found[0].what), (1, What::TornTail));
    let journal = Journal::open(dir.path(), &Arc::default()).unwrap().of_live_copy();
    let mut found = Vec::new();
    let verified = verify(&journal, &mut |finding| {
        found.push(finding.what);
        std::ops::ControlFlow::Continue(())
    });
    assert!(verified.unwrap().is_clean());
    assert_eq!(found, [What::BeingWritten]);
}

#[tokio::test]
async fn what_became_of_events_is_told_by_the_attempts_and_the_last_checkpoint() {
    let dir = three_segments().await;
    let journal = Journal::open(dir.path(), &Arc::default()).unwrap();
    let history = History::read(&journal, &mut |finding| panic!("{finding}")).unwrap();
    let mut told = Vec::new();
    history
        .events(&journal, |recorded| {
            let delivery = &recorded.deliveries[0];
            told.push((recorded.state, delivery.attempts, delivery.last_status, delivery.next_at));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let of_last_life = [
        (EventState::Delivered, 1, Some(204), None),
        (EventState::Dead, 1, Some(410), None),
        (EventState::Pending, 0, None, None),
    ];
    assert_eq!(told[6..], of_last_life);
    let (state, attempts, status, next_at) = told[2];
    assert_eq!((state, attempts, status), (EventState::Pending, 2, Some(410)));
    assert!(next_at.is_some());

    // An attempt that cannot be read any more is one whose event is still settled.
    let path = segments(dir.path())[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&path, bytes).unwrap();
    let history = History::read(&journal, &mut |_| {}).unwrap();
    let mut states = Vec::new();
    history
        .events(&journal, |recorded| {
            states.push(recorded.state);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let first = [EventState::Delivered, EventState::Unknown, EventState::Pending];
    assert_eq!(states[..3], first);
}

#[tokio::test]
async fn the_figures_of_a_store_add_up() {
    let dir = three_segments().await;
    let journal = Journal::open(dir.path(), &Arc::default()).unwrap();
    let stat = stat(&journal).unwrap();
    assert_eq!((stat.segments, stat.numbers, stat.events), (3, Some((1, 3)), 9));
    assert_eq!(stat.sources, [("lab".to_owned(), 9)].into());
    for state in [EventState::Delivered, EventState::Dead, EventState::Pending] {
        assert_eq!(stat.states[&state], 3, "{state:?}");
    }
    let app = UpstreamCounts { pending: 3, delivered: 3, dead: 3, discarded: 0, unknown: 0 };
    assert_eq!(stat.upstreams, [("app".to_owned(), app)].into());
    assert_eq!(stat.received, Some((START, START)));
    assert_eq!((stat.damages, stat.in_use, stat.index.bytes), (0, false, None));
    let bytes: u64 = segments(dir.path()).iter().map(|p| p.metadata().unwrap().len()).sum();
    assert_eq!(stat.bytes, bytes);
    let expiry = stat.expiry.unwrap();
    assert_eq!((expiry.segment, expiry.unsettled.unwrap().1), (1, 1));
    assert_eq!(expiry.due(Duration::from_secs(5)), Some(START.after(Duration::from_secs(5))));
}

/// A dead letter whose frame is damaged was counted as damage only: who looked for what was never
/// delivered did not come upon it.
#[tokio::test]
async fn what_was_given_up_counts_as_dead_even_if_it_cannot_be_read_any_more() {
    let dir = three_segments().await;
    let journal = Journal::open(dir.path(), &Arc::default()).unwrap();
    let history = History::read(&journal, &mut |_| {}).unwrap();
    let mut dead = None;
    let look = |recorded: Recorded<'_>| {
        if recorded.state == EventState::Dead {
            dead.get_or_insert(recorded.place);
        }
        std::ops::ControlFlow::Continue(())
    };
    history.events(&journal, look).unwrap();
    let place = dead.unwrap();
    let path = &segments(dir.path())[place.segment as usize - 1];
    let mut bytes = fs::read(path).unwrap();
    bytes[place.offset as usize + 40] ^= 1;
    fs::write(path, bytes).unwrap();
    let stat = stat(&journal).unwrap();
    assert_eq!((stat.states[&EventState::Dead], stat.upstreams["app"].dead), (3, 3));
    assert!(stat.events == 9 && stat.damages > 0, "{stat:?}");
}

/// A segment that is a link to a disk that is not there was taken for one that retention had let go.
#[tokio::test]
async fn a_segment_that_is_named_and_not_there_is_damage() {
    let dir = three_segments().await;
    let path = segments(dir.path())[1].clone();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere/0000000002.journal", &path).unwrap();
    let (verified, found) = findings(dir.path());
    assert!(found.iter().any(|f| f.segment == 2 && f.what == What::Unreadable), "{found:?}");
    assert!(!verified.is_clean());
}

/// So does one whose first page the disk does not give: neither verifying nor counting went on behind it.
#[tokio::test]
async fn a_first_page_that_cannot_be_read_is_a_finding() {
    let dir = three_segments().await;
    let disk = crate::store::tests::sim_disk::SimDisk::default();
    for path in segments(dir.path()) {
        let mut file = crate::store::disk::Disk::create(&disk, &path).unwrap();
        file.append(&fs::read(&path).unwrap()).unwrap();
    }
    disk.set_bad(Some(("0000000001.journal", 0..64)));
    let journal = Journal::on(Arc::new(disk), dir.path(), &Arc::default()).unwrap();
    let mut found = Vec::new();
    let verified = verify(&journal, &mut |finding| {
        found.push(*finding);
        std::ops::ControlFlow::Continue(())
    });
    assert!(verified.unwrap().events >= 6);
    assert!(found.iter().any(|f| f.segment == 1 && f.what == What::Unreadable), "{found:?}");
    assert_eq!(stat(&journal).unwrap().segments, 3);
    let index_dir = dir.path().join("index");
    let (mut index, _) = crate::store::index::Index::open(&index_dir, 0, |_| {}).unwrap();
    let error = rebuild::fill(&journal, &mut index, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("segment 1 cannot be read at offset 0"), "{error}");
}

/// An operator was told that events were settled, because parts of two checkpoints counted as a whole one.
#[tokio::test]
async fn what_is_left_of_two_checkpoints_settles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), &Arc::default());
    write_checkpoint(&store);
    let meta = EventMeta { provider_id: Some("1".to_owned()), data: 0..2, ..EventMeta::default() };
    let event = identified("lab", START, "{\"n\":1}", meta, OnConflict::Deliver);
    store.accept(event, store.roster().select(Targets::NONE.with(0))).await.unwrap();
    write_checkpoint(&store);
    let [_, kept_back, end, lane, _, _] = two_checkpoints(&store);
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for part in [kept_back, end, lane] {
        bytes[part as usize + 4] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let stat = stat(&Journal::open(dir.path(), &Arc::default()).unwrap()).unwrap();
    let app = UpstreamCounts { pending: 1, delivered: 0, dead: 0, discarded: 0, unknown: 0 };
    assert_eq!(stat.upstreams, [("app".to_owned(), app)].into());
}

/// A header that anybody can write in a plain store had the blame for its numbers put on the good segments
/// behind it.
#[tokio::test]
async fn a_header_with_other_numbers_than_its_frames_is_named_and_nothing_else() {
    for first in [1 << 33, 1 << 62, (1 << 63) - 5] {
        let dir = three_segments().await;
        let path = &segments(dir.path())[1];
        let mut bytes = fs::read(path).unwrap();
        let header = SegmentHeader::decode(&bytes).unwrap();
        let wrong = SegmentHeader { first: Sequence(first), ..header }.encode();
        bytes[..wrong.len()].copy_from_slice(&wrong);
        fs::write(path, bytes).unwrap();
        let (verified, found) = findings(dir.path());
        assert_eq!(verified.damages, 1, "{first}: {found:?}");
        assert_eq!((found[0].segment, found[0].offset), (2, 0), "{first}");
        assert!(["header", "header_numbers"].contains(&found[0].what.as_str()), "{found:?}");
        assert_eq!(verified.events, 9, "{first}");
    }
}

/// A start that could not open an old segment said so, and left the operator alone with it.
#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_told_with_what_can_be_done() {
    let dir = three_segments().await;
    let path = &segments(dir.path())[0];
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    let error = try_open(dir.path(), &Arc::default()).unwrap_err();
    assert!(matches!(error, OpenError::Segment { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("0000000001.journal") && said.contains("put a copy of it"), "{said}");
}
