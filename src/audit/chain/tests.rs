//! The trail on a disk that can fail, and in the hands of somebody who changes it.

mod again;
mod archived;
mod clock;
mod damaged;
mod faults;
mod foreign;
mod gaps;
mod going;
mod kept;
mod lost_key;
mod mended;
mod room;
mod stray;
mod tail;
mod taken_over;
mod tampering;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::bytes::{self, Kind};
use super::queue::new_id;
use super::writer::Writer;
use super::*;
use crate::audit::{Conflict, Reason, Refusals, Refused};
use crate::clock::{Clock, UnixMillis};
use crate::listen::Origin;
use crate::store::disk::Disk;
use crate::store::tests::sim_disk::SimDisk;

const START: UnixMillis = UnixMillis(1_736_937_000_000);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn options() -> Options {
    let retention = Retention {
        keep: Duration::from_secs(86_400 * 365),
        max_bytes: 1 << 30,
        archive: None,
        min_free: 0,
    };
    Options { retention, required: false, checkpoints: None }
}

fn store() -> PathBuf {
    PathBuf::from("/store")
}

fn dir() -> PathBuf {
    store().join(DIR)
}

/// A trail whose writer is in the test's own hands.
struct Bench {
    disk: SimDisk,
    clock: Clock,
    chain: Arc<Chain>,
    writer: Writer,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::on(SimDisk::default(), Clock::manual(START));
        bench.writer.open().unwrap();
        bench
    }

    /// Not open yet.
    fn on(disk: SimDisk, clock: Clock) -> Self {
        let chain = Arc::new(Chain::new(clock.clone()));
        let on = Arc::new(disk.clone());
        let writer = Writer::new(Arc::clone(&chain), on, &store(), clock.clone(), options());
        Self { disk, clock, chain, writer }
    }

    /// Writes what waits.
    fn step(&mut self) -> Result<(), (&'static str, std::io::Error)> {
        self.clock.advance(SECOND);
        let taken = self.chain.take_now(1000).entries;
        self.writer.step(taken, false)
    }

    fn own(&self, n: u64) {
        self.chain.own(Own { reason: "started", who: "uid 7".into(), details: json!({ "n": n }) });
    }

    /// A start that goes on where the last one has ended.
    fn restart(self) -> Self {
        let mut next = Self::on(self.disk, self.clock);
        next.writer.open().unwrap();
        next
    }

    /// Signs the end.
    fn stop(&mut self) {
        self.writer.step(Vec::new(), true).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::new(Arc::new(self.disk.clone()), &store())
    }

    fn numbers(&self) -> Vec<u64> {
        numbers(&self.reader())
    }

    fn key(&self) -> PublicKey {
        PublicKey::beside(&self.disk, &dir()).unwrap()
    }

    fn verify(&self, kept: &[Checkpoint]) -> Report {
        verify(&self.disk, &dir(), &self.key(), kept).unwrap()
    }
}

/// What `own` was given, oldest first.
fn numbers(reader: &Reader) -> Vec<u64> {
    let mut numbers = Vec::new();
    let each = |listed: Listed| {
        numbers.extend(listed.record.details.and_then(|details| details["n"].as_u64()));
        std::ops::ControlFlow::Continue(())
    };
    reader.each(&Filter::default(), each).unwrap();
    numbers
}

#[test]
fn what_is_recorded_is_read_newest_first_page_by_page_while_more_comes() {
    let mut bench = Bench::new();
    (0..10).for_each(|n| bench.own(n));
    bench.step().unwrap();
    let mut bench = bench.restart();
    (10..20).for_each(|n| bench.own(n));
    bench.step().unwrap();
    let reader = bench.reader();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = reader.newest(&Filter::default(), before, 3).unwrap();
        let n = |listed: &Listed| listed.record.details.as_ref().unwrap()["n"].as_u64().unwrap();
        seen.extend(page.items.iter().map(n));
        bench.own(100);
        bench.step().unwrap();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..20).rev().collect::<Vec<_>>());
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound && report.end == End::Stopped && report.unvouched == 0, "{report:?}");
}

#[test]
fn filters_narrow() {
    let mut bench = Bench::new();
    let origin = Origin::plain(([192, 0, 2, 1], 9).into());
    for reason in [Reason::UnknownRoute, Reason::SignatureInvalid] {
        let refused = Refused::connection(reason, "why", &origin);
        bench.chain.refused(&refused, None, new_id(bench.clock.now()), bench.clock.now());
        bench.clock.advance(MINUTE);
    }
    bench.step().unwrap();
    let count = |filter: Filter| bench.reader().newest(&filter, None, 9).unwrap().items.len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(Filter::default()), 2);
    assert_eq!(count(Filter { reason: text("unknown_route"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { client: text("192.0.2.1"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { client: text("192.0.2.2"), ..Filter::default() }), 0);
    assert_eq!(count(Filter { source: text("lab"), ..Filter::default() }), 0);
    let later = START.after(SECOND);
    assert_eq!(count(Filter { since: Some(later), ..Filter::default() }), 1);
    assert_eq!(count(Filter { until: Some(later), ..Filter::default() }), 1);
    assert_eq!(count(Filter { listener: text("public"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { listener: text("admin"), ..Filter::default() }), 0);
    let newest = bench.reader().newest(&Filter::default(), None, 1).unwrap().items.pop().unwrap();
    assert_eq!(count(Filter { id: Some(newest.record.id), ..Filter::default() }), 1);
    assert_eq!(count(Filter { id: text("another"), ..Filter::default() }), 0);
}

#[test]
fn a_window_begins_in_whichever_segment_it_does() {
    let mut bench = Bench::new();
    for n in 0..4 {
        bench.own(n);
        bench.step().unwrap();
        bench.clock.advance(MINUTE);
        bench = bench.restart();
    }
    let from = |since: UnixMillis| {
        let mut found = Vec::new();
        let filter = Filter { since: Some(since), ..Filter::default() };
        let each = |listed: Listed| {
            found.extend(listed.record.details.and_then(|details| details["n"].as_u64()));
            std::ops::ControlFlow::Continue(())
        };
        bench.reader().each(&filter, each).unwrap();
        found
    };
    assert_eq!(from(START), [0, 1, 2, 3]);
    assert_eq!(from(START.after(2 * MINUTE)), [2, 3]);
    assert!(from(START.after(9 * MINUTE)).is_empty());
}

#[test]
fn a_refusal_has_a_hash_of_its_body_and_a_fingerprint_of_its_credential_and_neither() {
    let mut bench = Bench::new();
    let origin = Origin::plain(([192, 0, 2, 1], 9).into());
    let refuse = |body: Option<&'static [u8]>, credential: &[http::HeaderValue]| {
        let refused = Refused {
            body: body.map(::bytes::Bytes::from_static),
            credential,
            declared: Some(99),
            ..Refused::connection(Reason::SignatureInvalid, "why", &origin)
        };
        bench.chain.refused(&refused, None, new_id(START), START);
    };
    let header = |text: &'static str| [http::HeaderValue::from_static(text)];
    refuse(Some(b"{\"patient\":1}"), &header("sha256=canary"));
    refuse(None, &header("sha256=canary"));
    refuse(Some(b""), &header("sha256=other"));
    refuse(Some(b""), &[]);
    bench.step().unwrap();
    let items = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
    let shown: Vec<_> = items.iter().rev().map(|listed| &listed.record).collect();
    let hash = crate::event::BodyHash::of(b"{\"patient\":1}");
    assert_eq!(shown[0].sha256, Some(hex::encode(hash.0)));
    assert_eq!((shown[0].size, shown[0].declared), (Some(13), Some(99)));
    assert_eq!((&shown[1].sha256, shown[1].size), (&None, Some(0)));
    assert_eq!(shown[0].credential, shown[1].credential);
    assert_ne!(shown[0].credential, shown[2].credential);
    assert_eq!(shown[0].credential.as_ref().unwrap().len(), 32);
    assert_eq!(shown[3].credential, None);
    let known = Fingerprinted::open(&bench.disk, &store()).unwrap();
    let print = shown[0].credential.as_deref().unwrap();
    assert!(known.is(print, &[b"sha256=", b"canary"]) && known.is(print, &[b"sha256=canary"]));
    assert!(!known.is(print, &[b"canary"]) && !known.is(print, &[b"sha256=canary\n"]));
    for name in bench.disk.names() {
        let bytes = super::bytes::load_any(&bench.disk, &dir().join(name));
        for canary in [b"canary".as_slice(), b"patient"] {
            assert!(!bytes.windows(canary.len()).any(|found| found == canary));
        }
    }
}

/// The log had its event and no record, the record no event.
#[test]
fn a_conflict_s_record_has_both_events_and_the_id_that_is_told() {
    let mut bench = Bench::new();
    let refusals = Refusals::recorded(bench.clock.clone(), Arc::clone(&bench.chain));
    let origin = Origin::plain(([192, 0, 2, 1], 9).into());
    let refused = Refused::connection(Reason::Conflict, "why", &origin);
    let (event, against) = (new_id(START), new_id(START));
    let kept_back = Conflict { event: Some(event), against: Some(against) };
    let dropped = Conflict { event: None, ..kept_back };
    let told = [kept_back, dropped].map(|conflict| refusals.record_conflict(&refused, conflict));
    bench.step().unwrap();
    let items = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
    let records = [&items[1].record, &items[0].record];
    let against = against.to_string();
    for (record, told, details) in [
        (records[0], told[0], json!({ "event": event.to_string(), "conflicts_with": against })),
        (records[1], told[1], json!({ "conflicts_with": against })),
    ] {
        assert_eq!(Some(&record.id), told.map(|id| id.to_string()).as_ref());
        assert_eq!(record.details, Some(details));
    }
}

#[test]
fn what_does_not_fit_the_queue_is_counted() {
    let mut bench = Bench::new();
    for n in 0..10_000 {
        bench.own(n);
    }
    while bench.chain.take_now(0).more {
        bench.step().unwrap();
    }
    bench.step().unwrap();
    let all = bench.reader().newest(&Filter::default(), None, 20_000).unwrap().items;
    let counted: u64 = all.iter().map(|listed| listed.record.count).sum();
    assert_eq!((all.len(), counted), (8_193, 10_000), "nothing is lost in silence");
}

#[test]
fn pages_from_the_oldest_on_are_all_of_it_across_segments() {
    let mut bench = Bench::new();
    for n in 0..9 {
        bench.own(n);
        bench.step().unwrap();
        if n % 3 == 2 {
            bench.stop();
            bench = bench.restart();
        }
    }
    let (reader, filter) = (bench.reader(), Filter::default());
    let mut all = reader.newest(&filter, None, 99).unwrap().items;
    all.reverse();
    for limit in [1, 2, 3, all.len(), 99] {
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let page = reader.oldest(&filter, after, limit).unwrap();
            assert!(page.items.len() <= limit);
            read.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(read, all, "{limit} at a time");
    }
}

#[test]
fn operators_acts_are_chained_once_whoever_has_done_them() {
    let mut bench = Bench::new();
    let acts = dir().join("acts.jsonl");
    let line = |n: u64| json!({ "time": START.to_string(), "id": "a", "reason": "exported", "uid": 7, "login_uid": 8, "n": n });
    let add = |disk: &SimDisk, text: &str| match disk.create(&acts) {
        Ok(mut file) => file.append(text.as_bytes()).unwrap(),
        Err(_) => disk.corrupt("acts.jsonl", |bytes| bytes.extend_from_slice(text.as_bytes())),
    };
    add(&bench.disk, &format!("{}\n{}\n{{\"reason\":", line(1), line(2)));
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2]);
    // No checkpoint in between.
    let mut bench = bench.restart();
    add(&bench.disk, &format!("\n{}\n", line(3)));
    bench.step().unwrap();
    bench.step().unwrap();
    let bench = bench.restart();
    assert_eq!(bench.numbers(), [1, 2, 3]);
    let all = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
    let reasons: Vec<_> = all.iter().rev().map(|listed| listed.record.reason.as_str()).collect();
    assert_eq!(reasons, ["exported", "exported", "act_unreadable", "exported"]);
    assert_eq!(all[0].record.who.as_deref(), Some("uid 7, signed in as uid 8"));
    assert_eq!(all[0].record.details, Some(json!({ "run": "a", "n": 3 })));
    assert!(bench.verify(&[]).sound);
}

#[test]
fn checkpoints_are_signed_each_minute_in_which_something_was_new() {
    let mut bench = Bench::new();
    let checkpoints = |bench: &Bench| bench.verify(&[]).checkpoints;
    for _ in 0..180 {
        bench.step().unwrap();
    }
    assert_eq!(checkpoints(&bench), 1, "that of the beginning");
    for n in 0..180 {
        bench.own(n);
        bench.step().unwrap();
    }
    assert_eq!(checkpoints(&bench), 4);
}

#[test]
fn a_trail_that_has_let_go_of_its_oldest_segments_is_sound_and_one_that_was_shortened_by_hand_is_not()
 {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.own(n);
        bench.step().unwrap();
        bench.clock.advance(Duration::from_secs(86_400 * 100));
        bench.stop();
        bench = bench.restart();
    }
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    bench.own(5);
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2, 3, 4, 5], "what is older than a year has gone");
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound && report.first.unwrap() > 1, "{report:?}");
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let report = bench.verify(&[]);
    assert!(!report.sound && report.items[0].kind == "deleted", "{report:?}");
}

#[test]
fn beyond_its_size_the_oldest_go_too() {
    let mut bench = Bench::new();
    for n in 0..5 {
        (0..100).for_each(|_| bench.own(n));
        bench.step().unwrap();
        bench = bench.restart();
    }
    bench.writer.options.retention.max_bytes = 80_000;
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    let left = bench.numbers();
    assert!(!left.contains(&0) && left.contains(&4), "{left:?}");
    bench.stop();
    assert!(bench.verify(&[]).sound);
}

#[test]
fn what_is_written_and_what_does_not_fit_is_counted() {
    let mut bench = Bench::new();
    let status = |written, squeezed| Status { writable: true, written, squeezed };
    assert_eq!(bench.chain.status(), status(0, 0));
    let origin = Origin::plain(([192, 0, 2, 1], 9).into());
    let refused = Refused::connection(Reason::SignatureInvalid, "why", &origin);
    for _ in 0..8_195 {
        bench.chain.refused(&refused, None, new_id(START), START);
    }
    assert_eq!(bench.chain.status(), status(0, 3));
    let mut written = 0;
    while written < 8_193 {
        bench.step().unwrap();
        let now = bench.chain.status().written;
        assert!(now > written, "{now}");
        written = now;
    }
    assert_eq!(bench.chain.status(), status(8_193, 3), "one stands for the three");
    bench.stop();
    assert_eq!(bench.chain.status().written, 8_193, "a checkpoint is no record");
}

#[test]
fn keys_are_made_once_and_the_public_one_is_beside() {
    let bench = Bench::new();
    let key = bench.key();
    let bench = bench.restart();
    assert_eq!(bench.key(), key);
    assert_eq!(PublicKey::parse(&format!(" {key}\n")), Ok(key));
    assert_eq!(PublicKey::parse("12"), Err(BadKey));
    let shown = format!("{:?}", bench.writer.keys());
    let secret = super::bytes::load_any(&bench.disk, &dir().join("signing.key"));
    assert!(!shown.contains(std::str::from_utf8(&secret).unwrap()), "{shown}");
}

/// Frames of one segment, for tests that change them.
fn split(segment: &[u8]) -> Vec<Vec<u8>> {
    bytes::frames(segment).map(|frame| segment[frame.offset..frame.end()].to_vec()).collect()
}

fn load(disk: &SimDisk, number: u32) -> Vec<u8> {
    bytes::load(disk, &dir(), number).unwrap()
}

fn set(disk: &SimDisk, number: u32, bytes: &[u8]) {
    disk.corrupt(&bytes::name(number), |file| *file = bytes.to_vec());
}
