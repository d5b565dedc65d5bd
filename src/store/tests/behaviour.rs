//! What the store promises while nothing fails.

use super::*;

#[tokio::test]
async fn a_repeat_gets_the_first_ones_id_and_is_delivered_once() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let first = store.accept(event(1), app(&store)).await.unwrap();
    let repeat = store.accept(event(1), app(&store)).await.unwrap();
    assert_eq!(first.outcome(), Outcome::Stored);
    assert_eq!((repeat.id(), repeat.outcome()), (first.id(), Outcome::Repeat));
    let delivered = drain(&store).await;
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].id, first.id());
    assert_eq!(&delivered[0].body[..], br#"{"n":1}"#);
}

#[tokio::test]
async fn repeats_at_the_same_moment_are_stored_once() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Arc::new(Store::open_with(options(dir.path()), small(&disk)).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = Arc::clone(&store);
        tasks.spawn(
            async move { (n % 10, store.accept(event(n % 10), app(&store)).await.unwrap()) },
        );
    }
    let mut ids = std::collections::BTreeMap::<u32, Vec<EventId>>::new();
    for (n, accepted) in tasks.join_all().await {
        ids.entry(n).or_default().push(accepted.id());
    }
    for (n, ids) in ids {
        assert_eq!(ids.len(), 20);
        assert!(ids.iter().all(|id| *id == ids[0]), "event {n} has several ids");
    }
    assert_eq!(drain(&store).await.len(), 10);
}

#[tokio::test]
async fn the_same_key_with_other_content_follows_on_conflict() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let first = store.accept(event(1), app(&store)).await.unwrap();
    let accept = |body: &'static str, rule| store.accept(event_with(1, body, rule), app(&store));

    let dropped = accept("[1]", OnConflict::Drop).await.unwrap();
    assert_eq!((dropped.id(), dropped.outcome()), (first.id(), Outcome::ConflictDropped));
    assert_eq!((first.against(), dropped.against()), (None, Some(first.id())));

    let delivered = accept("[2]", OnConflict::Deliver).await.unwrap();
    assert_eq!(delivered.outcome(), Outcome::ConflictDelivered);
    assert_ne!(delivered.id(), first.id());
    let again = accept("[2]", OnConflict::Deliver).await.unwrap();
    assert_eq!((again.id(), again.outcome()), (delivered.id(), Outcome::Repeat));

    let kept_back = accept("[3]", OnConflict::Quarantine).await.unwrap();
    assert_eq!(kept_back.outcome(), Outcome::ConflictQuarantined);
    assert_eq!((kept_back.against(), again.against()), (Some(first.id()), None));
    let again = accept("[3]", OnConflict::Quarantine).await.unwrap();
    assert_eq!((again.id(), again.outcome()), (kept_back.id(), Outcome::Repeat));

    let bodies: Vec<_> = drain(&store).await.iter().map(|e| (e.body.clone(), e.conflict)).collect();
    assert_eq!(
        bodies,
        [(br#"{"n":1}"#.as_slice().into(), false), (b"[2]".as_slice().into(), true)]
    );
}

#[tokio::test]
async fn an_event_without_targets_is_stored_and_not_delivered() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let filtered = store.accept(event(1), store.roster().select(Targets::NONE)).await.unwrap();
    assert_eq!(filtered.outcome(), Outcome::Filtered);
    assert_eq!(store.accept(event(1), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
    assert_eq!(store.backlog(0), 0);
}

#[tokio::test]
async fn order_holds_per_subject_and_a_failing_event_holds_back_only_its_own() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store =
        Store::open_with(options(dir.path()), Tuning { window: 100, ..small(&disk) }).unwrap();
    for n in 0..20 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    let mut seen: Vec<u32> = Vec::new();
    let poison = claim(&store).await;
    assert_eq!(poison.event.meta.provider_id.as_deref(), Some("evt_0"));
    for _ in 0..16 {
        let claimed = claim(&store).await;
        seen.push(claimed.event.meta.provider_id.as_deref().unwrap()[4..].parse().unwrap());
        store.settle(claimed, attempt(Verdict::Delivered));
    }
    assert!(seen.iter().all(|n| n % 5 != 0), "the poisoned subject waits: {seen:?}");
    for subject in 1..5 {
        let of: Vec<u32> = seen.iter().copied().filter(|n| n % 5 == subject).collect();
        assert!(of.is_sorted() && of.len() == 4, "{of:?}");
    }
    store.settle(poison, attempt(Verdict::Dead));
    let rest: Vec<_> = drain(&store).await.iter().map(|e| e.meta.provider_id.clone()).collect();
    assert_eq!(rest, ["evt_5", "evt_10", "evt_15"].map(|id| Some(id.to_owned())));
}

#[tokio::test]
async fn what_does_not_fit_the_window_is_read_back_in_order() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let mut unordered = options(dir.path());
    unordered.upstreams = vec![upstream("app", false)];
    let store = Store::open_with(unordered, small(&disk)).unwrap();
    for n in 0..300 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert_eq!(store.backlog(0), 300);
    let held = store.roster().lanes()[0].lane.lock().held();
    assert_eq!(held, 8, "memory is bounded by the window");
    let order: Vec<_> = drain(&store).await.iter().map(|e| e.sequence).collect();
    assert_eq!(order.len(), 300);
    assert!(order.is_sorted());
}

/// A backlog that had been read to the journal's end went on at the last frame that it had seen, which
/// the next look took for damage, and said so.
#[tokio::test]
async fn a_backlog_that_was_read_to_the_end_goes_on_behind_it() {
    use crate::store::backlog::replay::{Unread, walk};
    use crate::store::journal::segment::{Scanned, Scanner};

    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = Tuning { segment_bytes: 1 << 20, ..small(&disk) };
    let store = Store::open_with(options(dir.path()), tuning).unwrap();
    for n in 0..10 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    let cursor = store.roster().lanes()[0].lane.lock().cursor().unwrap();
    let files = &store.core.files;
    let (next, place) = walk(files, &[1], cursor, Unread::Fails, |_, _, _| true).unwrap();
    store.accept(event(10), app(&store)).await.unwrap();
    let file = files.file(place.segment).unwrap();
    let seen = Sequence(next.0 - 1);
    let mut scanner = Scanner::new(file, place.offset, seen).unwrap();
    let step = scanner.step().unwrap();
    assert!(matches!(step, Some(Scanned::Frame(_))), "{step:?}");
}

/// What failed counted against the window, and nothing more was read once it was full of it.
#[tokio::test]
async fn events_that_fail_do_not_keep_out_the_others() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let mut unordered = options(dir.path());
    unordered.upstreams = vec![upstream("app", false)];
    let store = Store::open_with(unordered, small(&disk)).unwrap();
    for n in 0..60 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    let later = START.after(Duration::from_secs(300));
    let (mut failed, mut delivered) = (0, 0);
    while delivered < 40 {
        let claimed = claim(&store).await;
        if failed < 20 {
            failed += 1;
            store.settle(claimed, attempt(Verdict::RetryAt(later)));
        } else {
            delivered += 1;
            store.settle(claimed, attempt(Verdict::Delivered));
        }
    }
    assert_eq!(store.backlog(0), 20);
}

/// A machine whose clock was behind at its start put retries off for years.
#[tokio::test]
async fn no_retry_is_put_off_for_longer_than_the_longest_wait() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    let soon = START.after(Duration::from_secs(60));
    store.settle(claim(&store).await, attempt(Verdict::RetryAt(soon)));
    store.close().await;
    drop(store);
    let behind = Options { clock: Clock::manual(UnixMillis(0)), ..options(dir.path()) };
    let store = Store::open_with(behind, small(&disk)).unwrap();
    let due = store.roster().lanes()[0].lane.lock().entries().map(|e| e.due.0).max().unwrap();
    assert!(due <= store.core.backlog.timeline.now().0 + 600_000, "{due}");
}

#[tokio::test]
async fn a_claim_that_is_dropped_is_due_again() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    drop(claim(&store).await);
    let again = claim(&store).await;
    assert_eq!(again.attempt, 1);
    store.settle(again, attempt(Verdict::Delivered));
    assert_eq!(store.backlog(0), 0);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(store.accept(event(n), app(&store)).await.unwrap().id());
    }
    let mut done = Vec::new();
    for n in 0..30u64 {
        let claimed = claim(&store).await;
        let id = claimed.event.id;
        if n % 7 == 3 {
            store.settle(claimed, attempt(Verdict::RetryAt(START)));
        } else {
            done.push(id);
            store.settle(claimed, attempt(Verdict::Delivered));
        }
    }
    assert!(store.close().await);
    drop(store);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(store.report().gaps, []);
    assert_eq!(store.report().missing, []);
    assert_eq!(store.backlog(0), 60 - done.len() as u64);
    let rest = drain(&store).await;
    let mut all: Vec<_> = done.into_iter().chain(rest.iter().map(|e| e.id)).collect();
    all.sort();
    ids.sort();
    assert_eq!(all, ids);
}

#[tokio::test]
async fn attempts_go_on_counting_over_a_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    for _ in 0..3 {
        store.settle(claim(&store).await, attempt(Verdict::RetryAt(START)));
    }
    store.close().await;
    drop(store);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(claim(&store).await.attempt, 4);
}

#[tokio::test]
async fn below_min_free_events_are_refused_and_repeats_are_not() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let first = store.accept(event(1), app(&store)).await.unwrap();
    disk.set_free(999);
    store.core.look_at_space(0);
    assert_eq!(store.accept(event(2), app(&store)).await.unwrap_err(), AcceptError::Low);
    assert_eq!(store.writable(), Err(AcceptError::Low));
    assert_eq!(store.accept(event(1), app(&store)).await.unwrap().id(), first.id());
    assert_eq!(drain(&store).await.len(), 1, "what is stored is delivered all the same");
    disk.set_free(1000);
    store.core.look_at_space(0);
    assert_eq!(store.accept(event(2), app(&store)).await.unwrap().outcome(), Outcome::Stored);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_taken() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let second = Store::open_with(options(dir.path()), small(&disk));
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    store.close().await;
    drop(store);
    Store::open_with(options(dir.path()), small(&disk)).unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = Tuning { queue_bytes: 10, ..small(&disk) };
    let store = Store::open_with(options(dir.path()), tuning).unwrap();
    let long = format!("\"{}\"", "x".repeat(20));
    let refused = store.accept(event_with(1, &long, OnConflict::Deliver), app(&store)).await;
    assert_eq!(refused.unwrap_err(), AcceptError::Overloaded);
    store.accept(event(2), app(&store)).await.unwrap();
}

/// However slow the disk is, a source that sends and sends is refused at once what is more than
/// its half, and the others' events are all taken.
#[tokio::test]
async fn a_noisy_source_does_not_starve_another() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = Tuning { queue_events: 8, ..small(&disk) };
    let store = Arc::new(Store::open_with(options(dir.path()), tuning).unwrap());
    let held = disk.hold();
    let mut accepts = tokio::task::JoinSet::new();
    let mut send = |source: &'static str, id| {
        let (store, event) = (Arc::clone(&store), event_of(source, id));
        accepts.spawn(async move { (source, store.accept(event, app(&store)).await.map(drop)) });
    };
    (0..10).for_each(|n| send("noisy", n));
    (0..3).for_each(|n| send("lab", n));
    for _ in 0..6 {
        let refused = accepts.join_next().await.unwrap().unwrap();
        assert_eq!(refused, ("noisy", Err(AcceptError::OverShare)));
    }
    drop(held);
    for _ in 0..7 {
        assert_eq!(accepts.join_next().await.unwrap().unwrap().1, Ok(()));
    }
    for n in 0..10 {
        store.accept(event_of("noisy", 100 + n), app(&store)).await.unwrap();
    }
}

/// A client that goes away frees nothing that the store still has in hand: else it could fill the
/// writer's queue by sending and going away again and again.
#[tokio::test]
async fn an_event_whose_request_is_gone_still_counts() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = Tuning { queue_events: 8, ..small(&disk) };
    let store = Store::open_with(options(dir.path()), tuning).unwrap();
    let held = disk.hold();
    for n in 0..4 {
        let accept = store.accept(event_of("noisy", n), app(&store));
        assert!(at_once(accept).is_none(), "it waits for the disk");
    }
    let refused = at_once(store.accept(event_of("noisy", 4), app(&store)));
    assert_eq!(refused.unwrap().map(drop), Err(AcceptError::OverShare));
    drop(held);
    store.accept(event_of("lab", 0), app(&store)).await.unwrap();
    assert!(store.close().await);
    assert_eq!(store.backlog(0), 5, "all of them are stored");
}

/// What one poll of the future comes to.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

fn event_of(source: &str, id: u32) -> Identified {
    let meta = EventMeta { provider_id: Some(format!("evt_{id}")), ..EventMeta::default() };
    identified(source, START, &format!("{{\"n\":{id}}}"), meta, OnConflict::Deliver)
}

#[tokio::test]
async fn what_waits_is_told_with_the_age_of_the_oldest() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let clock = Clock::manual(START);
    let options = Options { clock: clock.clone(), ..options(dir.path()) };
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let state = |store: &Store| {
        let lane = store.lanes().next().unwrap();
        assert_eq!(lane.upstream, "app");
        (lane.backlog, lane.oldest_age.as_secs(), lane.dead_letters)
    };
    assert_eq!(state(&store), (0, 0, 0));
    for n in 0..30 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    clock.advance(Duration::from_secs(90));
    assert_eq!(state(&store), (30, 90, 0));
    store.close().await;
    drop(store);
    let store = Store::open_with(options, small(&disk)).unwrap();
    clock.advance(Duration::from_secs(10));
    assert_eq!(state(&store), (30, 100, 0));
    drain(&store).await;
    assert_eq!(state(&store), (0, 0, 0));
    assert_eq!(store.free_bytes(), Some(store.core.files.disk().free_space(dir.path()).unwrap()));
}

/// While nothing new could be recorded, repeats were refused as well, and a provider gave up on events that
/// the gateway had.
#[tokio::test]
async fn a_repeat_is_acknowledged_while_nothing_new_may_be_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let stored = store.accept(event(1), app(&store)).await.unwrap();
    let barred = || false;
    let again = store.accept_if(event(1), app(&store), barred).await.unwrap();
    assert_eq!((again.id(), again.outcome()), (stored.id(), Outcome::Repeat));
    let new = store.accept_if(event(2), app(&store), barred).await;
    assert_eq!(new.unwrap_err(), AcceptError::Barred);
    assert_eq!(store.accept(event(2), app(&store)).await.unwrap().outcome(), Outcome::Stored);
}
