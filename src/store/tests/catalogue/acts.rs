//! What operators have done, in a journal written by hand.

use super::*;

/// A journal of one segment, written by hand.
struct Written {
    batch: Batch,
    next: u64,
}

impl Written {
    fn event(
        &mut self,
        n: u32,
        quarantined: bool,
        targets: &[&'static str],
    ) -> (Sequence, EventId) {
        let (sequence, id) =
            (Sequence(self.next), EventId::new(START, [u8::try_from(n).unwrap(); 10]));
        let source = SourceName::new("lab").unwrap();
        let key = DedupeKey::new(&source, KeyKind::ProviderId, &n.to_le_bytes());
        let event = StoredEvent {
            sequence,
            id,
            received_at: START,
            source,
            body_hash: BodyHash::of(b"1"),
            conflict: quarantined,
            meta: EventMeta { data: 0..1, ..EventMeta::default() },
            body: Bytes::from_static(b"1"),
        };
        let new = NewEvent { key, quarantined, event: &event };
        self.push(Kind::Event, |out| new.encode(targets.iter().copied(), out));
        (sequence, id)
    }

    fn attempt(&mut self, event: Sequence, upstream: &str, number: u32, verdict: Verdict) {
        let record =
            AttemptRecord { event, upstream, number, attempt: attempt(verdict), excerpt: None };
        self.push(Kind::Attempt, |out| encode_attempt(&record, out));
    }

    fn act(&mut self, event: Sequence, what: ActKind, upstreams: &[&'static str]) {
        let upstream =
            |name: &&'static str| ActUpstream { name, dead_in: None, attempts: 0, apart: false };
        let upstreams = upstreams.iter().map(upstream).collect();
        let (who, reason) = ("anna", Some("as agreed"));
        let place = Place { segment: 1, offset: 64 };
        let record = ActRecord { event, at: START, what, who, reason, place, upstreams };
        self.push(Kind::Act, |out| encode_act(&record, out));
    }

    fn push(&mut self, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
        self.batch.push(Sequence(self.next), kind, fill);
        self.next += 1;
    }

    fn store(self, dir: &Path) {
        let header = SegmentHeader {
            number: 1,
            journal: 5,
            follows: Sequence(0),
            first: Sequence(1),
            created_at: START,
            encrypted: false,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(self.batch.bytes().unwrap());
        std::fs::create_dir(dir.join("journal")).unwrap();
        std::fs::write(dir.join("journal/0000000001.journal"), bytes).unwrap();
    }
}

/// Acts change what became of an event, and stand in its history where they were done.
#[tokio::test]
async fn what_operators_have_done_is_told() {
    let mut journal = Written { batch: Batch::default(), next: 1 };
    let (replayed, replayed_id) = journal.event(1, false, &["app"]);
    journal.attempt(replayed, "app", 1, Verdict::Dead);
    journal.act(replayed, ActKind::Replayed, &["app"]);
    journal.attempt(replayed, "app", 2, Verdict::Delivered);
    let (dropped, _) = journal.event(2, true, &["app"]);
    journal.act(dropped, ActKind::Discarded, &[]);
    let (released, _) = journal.event(3, true, &[]);
    journal.act(released, ActKind::Released, &[]);
    let (given_up, _) = journal.event(4, false, &["app"]);
    journal.attempt(given_up, "app", 1, Verdict::Dead);
    journal.act(given_up, ActKind::Discarded, &["app"]);
    let (elsewhere, _) = journal.event(5, false, &["app"]);
    journal.attempt(elsewhere, "app", 1, Verdict::Delivered);
    journal.act(elsewhere, ActKind::Replayed, &["lab-system"]);
    journal.attempt(elsewhere, "lab-system", 1, Verdict::Dead);
    let (let_go, _) = journal.event(6, true, &["app"]);
    journal.act(let_go, ActKind::Released, &["app"]);
    journal.attempt(let_go, "app", 1, Verdict::Delivered);
    let dir = tempfile::tempdir().unwrap();
    journal.store(dir.path());
    let upstreams = UPSTREAMS.iter().map(|name| upstream(name, false)).collect();
    let store = Store::open(Options { upstreams, ..options(dir.path()) }).unwrap();
    store.core.backlog.quarantine.lock().clear();

    let state = |event: Sequence| {
        let all = listed(&store, &Filter::default(), 2);
        let item = all.into_iter().find(|item| item.event.sequence == event).unwrap();
        let deliveries = item.deliveries.into_iter();
        (item.state, deliveries.map(|d| (d.upstream, d.state)).collect::<Vec<_>>())
    };
    let app = |state| ("app".to_owned(), state);
    assert_eq!(state(replayed), (EventState::Delivered, vec![app(DeliveryState::Delivered)]));
    assert_eq!(state(dropped), (EventState::Discarded, vec![]));
    assert_eq!(state(released), (EventState::Filtered, vec![]));
    assert_eq!(state(given_up), (EventState::Discarded, vec![app(DeliveryState::Discarded)]));
    let lab = ("lab-system".to_owned(), DeliveryState::Dead);
    assert_eq!(state(elsewhere), (EventState::Dead, vec![app(DeliveryState::Delivered), lab]));
    assert_eq!(state(let_go), (EventState::Delivered, vec![app(DeliveryState::Delivered)]));

    let matching = |state, upstream: Option<&str>| {
        let upstream = upstream.map(str::to_owned);
        asked(|| store.matching(&Filter { upstream: upstream.clone(), ..in_state(state) }))
    };
    assert_eq!(matching(EventState::Discarded, None), [dropped, given_up]);
    assert_eq!(matching(EventState::Discarded, Some("app")), [dropped, given_up]);
    assert_eq!(matching(EventState::Dead, None), [elsewhere]);
    assert_eq!(matching(EventState::Dead, Some("app")), []);
    assert_eq!(matching(EventState::Dead, Some("lab-system")), [elsewhere]);
    assert_eq!(matching(EventState::Filtered, None), [released]);
    assert_eq!(matching(EventState::Delivered, None), [replayed, let_go]);
    assert_eq!(matching(EventState::Delivered, Some("app")), [replayed, elsewhere, let_go]);

    let (_, moments) = asked(|| store.history_of(replayed_id)).unwrap();
    let what: Vec<_> = moments.into_iter().map(|moment| moment.what).collect();
    let [Happening::Received, Happening::Stored { .. }, first, act, second] = &what[..] else {
        panic!("{what:?}");
    };
    assert!(matches!(first, Happening::Attempt { number: 1, verdict: Verdict::Dead, .. }));
    let (who, reason) = ("anna".to_owned(), Some("as agreed".to_owned()));
    let upstream = Some("app".to_owned());
    assert_eq!(*act, Happening::Act(Act { what: ActKind::Replayed, who, reason, upstream }));
    assert!(matches!(second, Happening::Attempt { number: 2, verdict: Verdict::Delivered, .. }));
}
