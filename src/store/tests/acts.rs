//! What operators do with events: it is done as a whole or not at all, survives whatever comes, and
//! everything that keeps account of an event agrees about it.

use std::collections::{BTreeMap, BTreeSet};

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::inspect::{Journal, Stat, stat, verify};
use crate::store::query::{Act, ActError, ActKind, Acted, EventState};

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than the retention.
const MONTH: Duration = Duration::from_secs(31 * 86_400);

fn act(what: ActKind) -> Act {
    let reason = Some("the app was mended".to_owned());
    Act { what, who: "operator".to_owned(), reason, upstream: None }
}

fn replay_to(upstream: &str) -> Act {
    Act { upstream: Some(upstream.to_owned()), ..act(ActKind::Replayed) }
}

fn ok(result: Result<Acted, ActError>) -> Vec<String> {
    result.unwrap().upstreams
}

fn refused(result: Result<Acted, ActError>) -> EventState {
    match result {
        Err(ActError::State(state)) => state,
        other => panic!("{other:?}"),
    }
}

fn dead(store: &Store) -> u64 {
    store.roster().lane(0).unwrap().lane.lock().dead().count()
}

fn kept_back(store: &Store) -> Vec<Sequence> {
    store.core.backlog.quarantine.lock().keys().copied().collect()
}

/// Accepts an event and ends its delivery so.
async fn settled(store: &Store, n: u32, verdict: Verdict) -> Sequence {
    store.accept(event(n), app(store)).await.unwrap();
    let claimed = claim(store).await;
    let sequence = claimed.event.sequence;
    store.settle(claimed, attempt(verdict));
    sequence
}

/// Accepts two events under one key, of which the second is kept back.
async fn quarantined(store: &Store, n: u32) -> Sequence {
    store.accept(event(n), app(store)).await.unwrap();
    let other = event_with(n, "[1]", OnConflict::Quarantine);
    store.accept(other, app(store)).await.unwrap();
    *kept_back(store).last().unwrap()
}

/// Copies what is on the disk to where the offline tools look.
fn told(dir: &Path, disk: &SimDisk) -> Stat {
    let journal = dir.join("journal");
    let _ = std::fs::remove_dir_all(&journal);
    std::fs::create_dir(&journal).unwrap();
    for name in disk.names() {
        let file = journal.join(&name);
        disk.corrupt(&name, |bytes| std::fs::write(file, bytes).unwrap());
    }
    let journal = Journal::open(dir, &Arc::default()).unwrap();
    let verified = verify(&journal, &mut |finding| {
        assert!(!finding.what.is_damage(), "{finding}");
        std::ops::ControlFlow::Continue(())
    });
    assert!(verified.unwrap().is_clean());
    stat(&journal).unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_sent_again_counts_its_attempts_on_and_has_its_time_anew() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let sequence = settled(&store, 1, Verdict::Dead).await;
    assert_eq!((dead(&store), store.backlog(0)), (1, 0));
    options.clock.advance(70 * HOUR);
    assert_eq!(ok(store.act(sequence, &act(ActKind::Replayed))), ["app"]);
    assert_eq!((dead(&store), store.backlog(0)), (0, 1));
    let claimed = claim(&store).await;
    assert_eq!((claimed.event.sequence, claimed.attempt), (sequence, 2));
    assert!(claimed.left > 71 * HOUR, "{:?}", claimed.left);
    drop(claimed);
    // Over a checkpoint, and over the frame alone.
    let mut store = store;
    for _ in 0..2 {
        store.close().await;
        drop(store);
        store = Store::open_with(options.clone(), small(&disk)).unwrap();
        assert_eq!((dead(&store), store.backlog(0)), (0, 1));
    }
    let claimed = claim(&store).await;
    assert_eq!((claimed.event.sequence, claimed.attempt), (sequence, 2));
    assert!(claimed.left > 71 * HOUR, "{:?}", claimed.left);
    store.settle(claimed, attempt(Verdict::Dead));
    assert_eq!(dead(&store), 1);
    assert_eq!(ok(store.act(sequence, &act(ActKind::Discarded))), ["app"]);
    assert_eq!((dead(&store), store.backlog(0)), (0, 0));
    assert_eq!(told(dir.path(), &disk).states, [(EventState::Discarded, 1)].into());
    assert_eq!(refused(store.act(sequence, &act(ActKind::Discarded))), EventState::Discarded);
    assert_eq!(ok(store.act(sequence, &act(ActKind::Replayed))), ["app"]);
    assert_eq!(told(dir.path(), &disk).states, [(EventState::Pending, 1)].into());
    assert_eq!(claim(&store).await.attempt, 3);
}

#[tokio::test]
async fn what_is_delivered_goes_again_and_what_waits_is_due_at_once_and_not_doubled() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let done = settled(&store, 1, Verdict::Delivered).await;
    let later = START.after(HOUR);
    let waits = settled(&store, 2, Verdict::RetryAt(later)).await;
    for sequence in [done, waits] {
        for _ in 0..2 {
            assert_eq!(ok(store.act(sequence, &act(ActKind::Replayed))), ["app"]);
        }
    }
    assert_eq!(store.backlog(0), 2);
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.sequence).collect();
    assert_eq!(BTreeSet::from_iter(came.iter().copied()), [done, waits].into());
    assert_eq!(came.len(), 2);
    assert_eq!(refused(store.act(done, &act(ActKind::Released))), EventState::Delivered);
    assert_eq!(refused(store.act(done, &act(ActKind::Discarded))), EventState::Delivered);
    let nowhere = store.act(Sequence(999), &act(ActKind::Replayed));
    assert!(matches!(nowhere, Err(ActError::NotFound)), "{nowhere:?}");
}

/// A replay of many sent what had been discarded since they were counted, and doubled what was delivered.
#[tokio::test]
async fn a_replay_of_dead_letters_does_nothing_with_what_is_none_any_more() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let all = act(ActKind::Replayed);
    let done = settled(&store, 1, Verdict::Delivered).await;
    let waits = settled(&store, 2, Verdict::RetryAt(START.after(HOUR))).await;
    let dropped = settled(&store, 3, Verdict::Dead).await;
    ok(store.act(dropped, &act(ActKind::Discarded)));
    let gone = settled(&store, 4, Verdict::Dead).await;
    for (event, state) in [
        (done, EventState::Delivered),
        (waits, EventState::Pending),
        (dropped, EventState::Discarded),
    ] {
        for act in [&all, &replay_to("app")] {
            assert_eq!(refused(store.replay_dead(event, act)), state);
        }
    }
    assert_eq!(refused(store.replay_dead(gone, &replay_to("lab"))), EventState::Dead);
    assert_eq!(store.backlog(0), 1);
    assert_eq!(ok(store.replay_dead(gone, &all)), ["app"]);
    assert_eq!(refused(store.replay_dead(gone, &all)), EventState::Pending);
    assert_eq!((dead(&store), store.backlog(0)), (0, 2));
}

#[tokio::test]
async fn what_is_kept_back_is_let_go_of_or_dropped_once_and_for_all() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let mut store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let released = quarantined(&store, 1).await;
    let discarded = quarantined(&store, 2).await;
    assert_eq!(refused(store.act(released, &act(ActKind::Replayed))), EventState::Quarantined);
    options.clock.advance(100 * HOUR);
    assert_eq!(ok(store.act(released, &act(ActKind::Released))), ["app"]);
    assert_eq!(ok(store.act(discarded, &act(ActKind::Discarded))), ["app"]);
    for what in [ActKind::Replayed, ActKind::Released, ActKind::Discarded] {
        assert_eq!(refused(store.act(discarded, &act(what))), EventState::Discarded, "{what:?}");
    }
    for _ in 0..2 {
        assert_eq!((kept_back(&store), store.backlog(0)), (vec![], 3));
        let states = told(dir.path(), &disk).states;
        assert_eq!(states, [(EventState::Pending, 3), (EventState::Discarded, 1)].into());
        store.close().await;
        drop(store);
        store = Store::open_with(options.clone(), small(&disk)).unwrap();
    }
    let mut left = BTreeMap::new();
    while store.backlog(0) > 0 {
        let claimed = claim(&store).await;
        left.insert(claimed.event.sequence, claimed.left);
        store.settle(claimed, attempt(Verdict::Delivered));
    }
    assert_eq!(left.len(), 3);
    assert!(left[&released] > 71 * HOUR && !left.contains_key(&discarded), "{left:?}");
    assert_eq!(refused(store.act(released, &act(ActKind::Released))), EventState::Delivered);
}

#[tokio::test]
async fn an_upstream_may_be_named_if_it_is_configured() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let upstreams = vec![upstream("app", true), upstream("lab", true)];
    let options = Options { upstreams, ..options(dir.path()) };
    let mut store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let sequence = settled(&store, 1, Verdict::Dead).await;
    store.accept(event(2), store.roster().select(Targets::NONE)).await.unwrap();
    // The attempt's frame stands between them.
    let filtered = Sequence(sequence.0 + 2);
    let nobody = store.act(sequence, &replay_to("crm"));
    assert!(matches!(nobody, Err(ActError::UnknownUpstream)), "{nobody:?}");
    let nobody = store.act(filtered, &act(ActKind::Replayed));
    assert!(matches!(nobody, Err(ActError::NoUpstream)), "{nobody:?}");
    assert_eq!(ok(store.act(filtered, &replay_to("lab"))), ["lab"]);
    assert_eq!(ok(store.act(sequence, &replay_to("lab"))), ["lab"]);
    for _ in 0..2 {
        assert_eq!((store.backlog(0), store.backlog(1), dead(&store)), (0, 2, 1));
        let upstreams = told(dir.path(), &disk).upstreams;
        assert_eq!((upstreams["app"].dead, upstreams["lab"].pending), (1, 2));
        store.close().await;
        drop(store);
        store = Store::open_with(options.clone(), small(&disk)).unwrap();
    }
    assert_eq!(claim_of(&store, 1).await.attempt, 1);
    // Where it is dead, although it waits elsewhere.
    assert_eq!(ok(store.act(sequence, &act(ActKind::Replayed))), ["app"]);
    assert_eq!((store.backlog(0), dead(&store)), (1, 0));
}

/// The lane holds eight at most: what is kept back lies where it has not read yet.
#[tokio::test]
async fn what_lies_where_a_lane_has_not_read_yet_comes_once() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = Options { upstreams: vec![upstream("app", false)], ..options(dir.path()) };
    for restart in [false, true] {
        let disk = if restart { SimDisk::default() } else { disk.clone() };
        let mut store = Store::open_with(options.clone(), small(&disk)).unwrap();
        let first = settled(&store, 0, Verdict::Delivered).await;
        for n in 1..40 {
            store.accept(event(n), app(&store)).await.unwrap();
            if n == 30 {
                quarantined(&store, 130).await;
            }
        }
        let kept = kept_back(&store);
        let waits = store.backlog(0);
        assert_eq!(waits, 40);
        // One that waits where the lane has not read, one that does not wait, and one kept back.
        let lane = Arc::clone(store.roster().lane(0).unwrap());
        let beyond = lane.lane.lock().cursor().unwrap().sequence;
        assert!(beyond < kept[0]);
        assert_eq!(ok(store.act(beyond, &act(ActKind::Replayed))), ["app"]);
        assert_eq!(ok(store.act(first, &act(ActKind::Replayed))), ["app"]);
        assert_eq!(ok(store.act(kept[0], &act(ActKind::Released))), ["app"]);
        assert_eq!(store.backlog(0), waits + 2);
        if restart {
            disk.cut();
            store.close().await;
            drop(store);
            disk.reboot(Leaves::Nothing);
            store = Store::open_with(options.clone(), small(&disk)).unwrap();
            assert_eq!(store.backlog(0), waits + 2);
        }
        let came: Vec<_> = drain(&store).await.iter().map(|event| event.sequence).collect();
        let once: BTreeSet<_> = came.iter().copied().collect();
        assert_eq!((came.len(), once.len()), (42, 42), "{came:?}");
        assert!([beyond, first, kept[0]].iter().all(|sequence| once.contains(sequence)));
        assert_eq!(dead(&store), 0);
    }
}

#[tokio::test]
async fn on_a_full_disk_or_a_failed_one_nothing_is_done() {
    for full in [true, false] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
        let gone = settled(&store, 1, Verdict::Dead).await;
        let kept = quarantined(&store, 2).await;
        assert!(store.sync());
        match full {
            true => disk.plan(0, Fault::FillsUp),
            false => store.core.fail(),
        }
        for (sequence, what) in [
            (gone, ActKind::Replayed),
            (gone, ActKind::Discarded),
            (kept, ActKind::Released),
            (kept, ActKind::Discarded),
        ] {
            let refused = store.act(sequence, &act(what));
            assert!(matches!(refused, Err(ActError::Unwritable)), "full {full}: {refused:?}");
        }
        assert_eq!((dead(&store), kept_back(&store), store.backlog(0)), (1, vec![kept], 1));
    }
}

#[tokio::test]
async fn a_segment_with_nothing_but_an_act_stays() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let mut store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let sequence = settled(&store, 1, Verdict::Dead).await;
    for what in [ActKind::Discarded, ActKind::Replayed] {
        store.close().await;
        drop(store);
        store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
        ok(store.act(sequence, &act(what)));
    }
    store.close().await;
    drop(store);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(disk.names().len(), 4, "{:?}", disk.names());
    assert_eq!(store.backlog(0), 1);
    assert!(store.report().missing.is_empty());
}

/// A replayed event that is older than the retention waits like any other; what was dropped keeps nothing.
#[tokio::test]
async fn retention_keeps_what_an_act_has_taken_up_and_lets_go_of_what_was_dropped() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let mut again = BTreeSet::new();
    for n in 0..6 {
        again.insert(settled(&store, n, Verdict::Dead).await);
    }
    let released = quarantined(&store, 10).await;
    let dropped = quarantined(&store, 11).await;
    drain(&store).await;
    for n in 12..60 {
        settled(&store, n, Verdict::Delivered).await;
    }
    assert!(disk.names().len() > 3, "{:?}", disk.names());
    options.clock.advance(MONTH);
    for sequence in &again {
        ok(store.act(*sequence, &act(ActKind::Replayed)));
    }
    ok(store.act(released, &act(ActKind::Released)));
    ok(store.act(dropped, &act(ActKind::Discarded)));
    for _ in 0..200 {
        retention::purge(&store.core);
    }
    let first = store.core.segments.lock().first().map(|segment| segment.header.first).unwrap();
    assert!(first > dropped, "{first} {dropped}");
    store.close().await;
    drop(store);
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    assert_eq!(store.report().unreadable, []);
    let gone = store.act(dropped, &act(ActKind::Replayed));
    assert!(matches!(gone, Err(ActError::NotFound)), "{gone:?}");
    let came: BTreeSet<_> = drain(&store).await.iter().map(|event| event.sequence).collect();
    again.insert(released);
    assert_eq!(came, again);
}

/// A segment is about to go when an operator takes up what is dead in it: either the event is taken along,
/// or there is no such event any more.
#[tokio::test]
async fn an_act_while_its_segment_goes_is_refused_or_keeps_it() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Arc::new(Store::open_with(options.clone(), small(&disk)).unwrap());
    let mut all = Vec::new();
    for n in 0..40 {
        all.push(settled(&store, n, Verdict::Dead).await);
    }
    options.clock.advance(MONTH);
    settled(&store, 99, Verdict::Delivered).await;
    let purging = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            for _ in 0..50 {
                retention::purge(&store.core);
            }
        })
    };
    let mut taken = BTreeSet::new();
    for sequence in all {
        match store.act(sequence, &act(ActKind::Replayed)) {
            Ok(_) => drop(taken.insert(sequence)),
            Err(ActError::NotFound) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    purging.join().unwrap();
    for _ in 0..50 {
        retention::purge(&store.core);
    }
    let came: BTreeSet<_> = drain(&store).await.iter().map(|event| event.sequence).collect();
    assert_eq!(came, taken);
    assert_eq!(dead(&store), 0);
}

/// What an operator was told, and what was asked for.
#[derive(Debug, Default)]
struct Seen {
    asked: BTreeMap<Sequence, ActKind>,
    done: BTreeMap<Sequence, ActKind>,
    delivered: BTreeSet<Sequence>,
}

/// Events that are dead or kept back, durably.
async fn before(options: &Options, disk: &SimDisk) -> (Vec<Sequence>, Vec<Sequence>) {
    let store = Store::open_with(options.clone(), small(disk)).unwrap();
    let mut gone = Vec::new();
    for n in 0..6 {
        gone.push(settled(&store, n, Verdict::Dead).await);
    }
    for n in 10..14 {
        quarantined(&store, n).await;
    }
    drain(&store).await;
    let kept = kept_back(&store);
    assert_eq!((kept.len(), dead(&store)), (4, 6));
    assert!(store.close().await);
    (gone, kept)
}

async fn acts(options: &Options, disk: &SimDisk, gone: &[Sequence], kept: &[Sequence]) -> Seen {
    let mut seen = Seen::default();
    let Ok(store) = Store::open_with(options.clone(), small(disk)) else { return seen };
    let wanted = gone.iter().zip([ActKind::Replayed, ActKind::Discarded].into_iter().cycle());
    let released = kept.iter().zip([ActKind::Released, ActKind::Discarded].into_iter().cycle());
    for (n, (sequence, what)) in (100..).zip(wanted.chain(released)) {
        seen.asked.insert(*sequence, what);
        if store.act(*sequence, &act(what)).is_ok() {
            seen.done.insert(*sequence, what);
        }
        // Others come and go, and begin segments.
        if store.accept(event(n), app(&store)).await.is_err() {
            continue;
        }
        let lane = Arc::clone(&store.roster().lanes()[0]);
        let next = tokio::time::timeout(Duration::from_millis(100), store.claim(&lane));
        if let Ok(claimed) = next.await {
            seen.delivered.insert(claimed.event.sequence);
            store.settle(claimed, attempt(Verdict::Delivered));
        }
    }
    store.close().await;
    seen
}

#[tokio::test]
async fn a_power_cut_at_any_operation_leaves_an_act_as_a_whole_or_not_at_all() {
    for leaves in [Leaves::Nothing, Leaves::Everything] {
        for at in 0.. {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            let options = options(dir.path());
            let (gone, kept) = before(&options, &disk).await;
            disk.plan(at, Fault::PowerCut);
            let seen = acts(&options, &disk, &gone, &kept).await;
            let fired = disk.fired();
            disk.reboot(leaves);
            check(&options, &disk, seen, &gone, &kept, &format!("operation {at}, {leaves:?}"))
                .await;
            if !fired {
                assert!(at > 20, "{at}");
                break;
            }
        }
    }
}

async fn check(
    options: &Options,
    disk: &SimDisk,
    seen: Seen,
    gone: &[Sequence],
    kept: &[Sequence],
    story: &str,
) {
    let store = Store::open_with(options.clone(), small(disk)).unwrap();
    assert_eq!(store.report().unreadable, [], "{story}");
    let (still_dead, still_kept) = (dead(&store), kept_back(&store));
    let came: BTreeSet<_> = drain(&store).await.iter().map(|event| event.sequence).collect();
    let goes = |what| matches!(what, ActKind::Replayed | ActKind::Released);
    for (sequence, what) in &seen.done {
        let reached = came.contains(sequence) || seen.delivered.contains(sequence);
        assert_eq!(reached, goes(*what), "{story}: {sequence} was {what:?}: {seen:?}");
    }
    for sequence in kept {
        let (is_kept, asked) = (still_kept.contains(sequence), seen.asked.get(sequence));
        let reached = came.contains(sequence) || seen.delivered.contains(sequence);
        assert!(!(is_kept && (reached || seen.done.contains_key(sequence))), "{story}: {sequence}");
        assert!(is_kept || asked.is_some(), "{story}: {sequence} was not asked for");
        let released = asked == Some(&ActKind::Released);
        assert_eq!(reached, !is_kept && released, "{story}: {sequence} in part: {seen:?}");
    }
    // Of those that were asked for and not answered, nobody knows; all others are dead, or not.
    let settled = gone.iter().filter(|sequence| seen.done.contains_key(sequence)).count();
    let asked = gone.iter().filter(|sequence| seen.asked.contains_key(sequence)).count();
    let possible = (gone.len() - asked) as u64..=(gone.len() - settled) as u64;
    assert!(possible.contains(&still_dead), "{story}: {still_dead} of {possible:?}: {seen:?}");
    store.close().await;
}
