//! An encrypted journal: what stands on the disk, which keys open it, and what damage or a change
//! by somebody without a key does to it.

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::event::normalize_type;
use crate::store::crypt::{Digests, FRAMES_AT, Field, SLOTS_AT};
use crate::store::journal::frame::{HEADER_LEN, Header, Kind};
use crate::store::journal::segment::{GapKind, Scanned};
use crate::store::query::Filter;

fn encrypted(dir: &Path, ring: &[u8]) -> Options {
    Options { keys: keys(ring), ..options(dir) }
}

fn open(dir: &Path, disk: &SimDisk, ring: &[u8]) -> Result<Store, OpenError> {
    Store::open_with(encrypted(dir, ring), small(disk))
}

/// Stores events with these numbers, and stops.
async fn store_events(dir: &Path, disk: &SimDisk, ring: &[u8], events: std::ops::Range<u32>) {
    let store = open(dir, disk, ring).unwrap();
    for n in events {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert!(store.close().await);
}

/// Every file below `dir`, in one.
fn all_bytes(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { std::fs::read(path).unwrap() });
    }
    bytes
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// Every text that an event is made of, and the digest that the index could be asked about.
const TEXTS: [&str; 8] = [
    "Distinctive-Source",
    "distinctive provider id",
    "distinctive provider type",
    "distinctive subject",
    "distinctive tenant",
    "application/distinctive+json",
    "distinctive body",
    "distinctive-upstream",
];

/// Whoever steals the disk reads nothing: not in the journal, not in the index.
#[tokio::test]
async fn nothing_of_an_event_stands_in_clear_in_any_file() {
    for ring in [&[][..], &[7]] {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { upstreams: vec![upstream(TEXTS[7], true)], ..encrypted(dir.path(), ring) };
        let mut fingerprints = Vec::new();
        let mut journal = 0;
        for round in 0..2 {
            let store = Store::open(options.clone()).unwrap();
            for n in 0..600 {
                let body = format!("{{\"n\":\"{} {round} {n}\"}}", TEXTS[6]);
                let meta = EventMeta {
                    provider_id: Some(format!("{} {round} {n}", TEXTS[1])),
                    provider_type: Some(TEXTS[2].to_owned()),
                    subject: Some(TEXTS[3].to_owned()),
                    tenant: Some(TEXTS[4].to_owned()),
                    content_type: Some(TEXTS[5].to_owned()),
                    ..EventMeta::default()
                };
                let source = TEXTS[0].to_lowercase();
                let event = identified(&source, START, &body, meta, OnConflict::Deliver);
                fingerprints.push(event.key().0[..8].to_vec());
                store.accept(event, app(&store)).await.unwrap();
            }
            store.settle(claim(&store).await, attempt(Verdict::Delivered));
            while store.list(&Filter::default(), None, 1).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            journal = store.core.journal;
            assert!(store.close().await);
        }
        let bytes = all_bytes(dir.path());
        let plain = ring.is_empty();
        for text in TEXTS {
            let text = if text == TEXTS[0] { text.to_lowercase() } else { text.to_owned() };
            assert_eq!(holds(&bytes, text.as_bytes()), plain, "{text}");
        }
        let index = all_bytes(&dir.path().join("index"));
        for fingerprint in fingerprints {
            assert_eq!(holds(&index, &fingerprint), plain, "a key's own digest in the index");
        }
        let catalogue = all_bytes(&dir.path().join("catalogue"));
        assert!(catalogue.len() > 1200 * 52, "{} bytes", catalogue.len());
        let kind = normalize_type(Some(TEXTS[2]));
        let digest = Digests::new(None, journal).of(Field::Kind, [kind.as_bytes()]);
        assert_eq!(holds(&catalogue, &digest.to_le_bytes()), plain, "a digest anyone can make");
    }
}

#[tokio::test]
async fn a_journal_opens_with_its_keys_and_says_which_one_is_missing() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[1], 0..30).await;
    store_events(dir.path(), &disk, &[2, 1], 30..40).await;
    let names = disk.names();
    let id = keys(&[1]).current().unwrap().id();
    for (ring, said) in [
        (&[][..], "store.encryption_key is not set, and ".to_owned()),
        (&[3], "store.encryption_key lacks keys that the journal needs: ".to_owned()),
        (&[2], format!("segments need the key {id}")),
    ] {
        let error = open(dir.path(), &disk, ring).unwrap_err();
        assert!(matches!(error, OpenError::Keys(_)), "{error}");
        assert!(error.to_string().contains(&said), "{error}");
    }
    assert_eq!(disk.names(), names, "nothing is changed by a start that is refused");
    let store = open(dir.path(), &disk, &[2, 1]).unwrap();
    assert_eq!((&store.report().gaps[..], &store.report().missing[..]), (&[][..], &[][..]));
    assert_eq!(drain(&store).await.len(), 40);
    let repeat = store.accept(event(3), app(&store)).await.unwrap();
    assert_eq!(repeat.outcome(), Outcome::Repeat);
}

/// The journal is encrypted from the next segment on; what was there before stays readable.
#[tokio::test]
async fn a_power_cut_at_any_operation_of_the_first_start_with_a_key_loses_nothing() {
    for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(fastrand::u64(..))] {
        let mut operations = 0;
        for at in 0.. {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            store_events(dir.path(), &disk, &[], 0..20).await;
            disk.plan(at, Fault::PowerCut);
            let mut acked = 20;
            if let Ok(store) = open(dir.path(), &disk, &[7]) {
                while acked < 30 && store.accept(event(acked), app(&store)).await.is_ok() {
                    acked += 1;
                }
                store.close().await;
            }
            let fired = disk.fired();
            disk.reboot(leaves);
            let story = format!("cut at operation {at}, {leaves:?}");
            let store = open(dir.path(), &disk, &[7]).unwrap_or_else(|e| panic!("{story}: {e}"));
            assert!(store.report().survey.plain > 0, "{story}");
            assert!(drain(&store).await.len() >= acked as usize, "{story}");
            for n in 0..acked {
                let again = store.accept(event(n), app(&store)).await.unwrap();
                assert_eq!(again.outcome(), Outcome::Repeat, "{story}: event {n}");
            }
            store.close().await;
            if !fired {
                operations = at;
                break;
            }
        }
        assert!(operations > 30, "{operations}");
    }
}

/// It knew dedupe keys by digests that anyone can compute.
#[tokio::test]
async fn an_index_from_before_the_encryption_is_removed_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    for (ring, rebuilt) in
        [(&[][..], true), (&[], false), (&[7], true), (&[7], false), (&[8, 7], false)]
    {
        let store = Store::open(encrypted(dir.path(), ring)).unwrap();
        assert_eq!(store.report().index_rebuilt, rebuilt, "{ring:?}");
        for n in 0..3 {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        assert_eq!(store.core.dedupe.len(), 3, "they are known");
        assert!(store.close().await);
        assert!(!dir.path().join("index.unusable").exists(), "{ring:?}");
    }
}

/// The index was deleted in between, which is allowed: what was set aside of the one before stayed for good.
#[tokio::test]
async fn what_was_set_aside_before_the_encryption_is_removed_without_an_index_too() {
    let dir = tempfile::tempdir().unwrap();
    let (index, aside) = (dir.path().join("index"), dir.path().join("index.unusable"));
    assert!(Store::open(encrypted(dir.path(), &[])).unwrap().close().await);
    for deleted in [true, false] {
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join("db"), "digests in clear").unwrap();
        if deleted {
            std::fs::remove_dir_all(&index).unwrap();
        }
        let store = Store::open(encrypted(dir.path(), &[7])).unwrap();
        assert_eq!(store.report().index_rebuilt, deleted);
        assert!(!aside.exists(), "{deleted}");
        assert!(store.close().await);
    }
}

#[tokio::test]
async fn keys_change_while_it_is_open_but_none_that_is_needed_goes() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = open(dir.path(), &disk, &[1]).unwrap();
    store.accept(event(0), app(&store)).await.unwrap();
    for ring in [&[][..], &[2]] {
        let error = store.check_keys(&keys(ring)).unwrap_err().to_string();
        assert!(error.contains("1 segment needs the key "), "{error}");
    }
    store.check_keys(&keys(&[2, 1])).unwrap();
    store.reconfigure(&encrypted(dir.path(), &[2, 1]));
    // The head ends at once, whatever is in it.
    let ended = async {
        while store.core.segments.lock().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    assert!(store.check_keys(&keys(&[2])).is_err());
    assert!(store.close().await);
    drop(store);
    let store = open(dir.path(), &disk, &[2, 1]).unwrap();
    let under = |number| {
        let preamble = store.core.files.preamble(number).unwrap();
        preamble.slot().unwrap().key()
    };
    let ids: Vec<_> = keys(&[1, 2]).ids().collect();
    assert_eq!([under(1), under(2)], ids[..]);
    assert_eq!(drain(&store).await.len(), 2);
}

/// The places of the frames in an encrypted segment's bytes.
fn frames(bytes: &[u8]) -> Vec<(usize, Header)> {
    let mut at = FRAMES_AT as usize;
    let mut found = Vec::new();
    while let Some(header) = Header::parse(&bytes[at.min(bytes.len())..]) {
        found.push((at, header));
        at += usize::try_from(header.frame_len()).unwrap();
    }
    found
}

/// Mends the checksum of the frame at `at`, as somebody would who changes it.
fn mend(bytes: &mut [u8], at: usize) {
    let len = HEADER_LEN + Header::parse(&bytes[at..]).unwrap().len as usize;
    let frame = &mut bytes[at..at + len];
    let crc = crc32c::crc32c(&frame[..4]);
    let crc = crc32c::crc32c_append(crc, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

const SEGMENT: &str = "0000000001.journal";

/// Its checksum fits, for it needs no key; its seal does not.
#[tokio::test]
async fn a_frame_that_was_changed_by_somebody_without_the_key_is_told_and_stepped_over() {
    // Which event is changed: the last one looks like a torn tail, and must not be cut off.
    for changed in [4, 9] {
        for part in ["sequence", "back", "counter", "content", "tag", "length"] {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            store_events(dir.path(), &disk, &[7], 0..10).await;
            let mut len = 0;
            disk.corrupt(SEGMENT, |bytes| {
                len = bytes.len();
                let events = frames(bytes).into_iter().filter(|(_, h)| h.kind == Kind::Event);
                let (at, header) = events.collect::<Vec<_>>()[changed];
                let end = at + HEADER_LEN + header.len as usize;
                match part {
                    "sequence" => bytes[at + 10] ^= 1,
                    "back" => bytes[at + 21] ^= 1,
                    "counter" => bytes[at + HEADER_LEN] ^= 1,
                    "content" => bytes[at + HEADER_LEN + 20] ^= 1,
                    "tag" => bytes[end - 1] ^= 1,
                    "length" => bytes[at] -= 1,
                    other => unreachable!("{other}"),
                }
                mend(bytes, at);
            });
            let story = format!("{part} of event {changed}");
            let store = open(dir.path(), &disk, &[7]).unwrap();
            let gaps = &store.report().gaps;
            assert_eq!(gaps.len(), 1, "{story}: {gaps:?}");
            assert_eq!(gaps[0].1.kind, GapKind::Forged, "{story}");
            assert_eq!(drain(&store).await.len(), 9, "{story}");
            store.close().await;
            disk.corrupt(SEGMENT, |bytes| assert_eq!(bytes.len(), len, "{story}: cut off"));
        }
    }
}

#[tokio::test]
async fn frames_that_change_places_do_not_open() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..2).await;
    disk.corrupt(SEGMENT, |bytes| {
        let events: Vec<_> =
            frames(bytes).into_iter().filter(|(_, h)| h.kind == Kind::Event).collect();
        let [(a, header), (b, other)] = events[..] else { panic!("{events:?}") };
        assert_eq!(header.len, other.len);
        let (start, rest) = bytes.split_at_mut(b);
        start[a + HEADER_LEN..b].swap_with_slice(&mut rest[HEADER_LEN..b - a]);
        mend(bytes, a);
        mend(bytes, b);
    });
    let store = open(dir.path(), &disk, &[7]).unwrap();
    assert_eq!(store.report().gaps[0].1.kind, GapKind::Forged);
    assert_eq!(store.backlog(0), 0);
}

/// An event whose frame was changed after the start: given up, loudly, and never delivered.
#[tokio::test]
async fn what_does_not_open_is_not_delivered() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..3).await;
    let store = open(dir.path(), &disk, &[7]).unwrap();
    disk.corrupt(SEGMENT, |bytes| {
        let (at, _) = frames(bytes).into_iter().find(|(_, h)| h.kind == Kind::Event).unwrap();
        bytes[at + HEADER_LEN + 20] ^= 1;
        mend(bytes, at);
    });
    let ids: Vec<_> = drain(&store).await.iter().map(|e| e.meta.provider_id.clone()).collect();
    assert_eq!(ids, ["evt_1", "evt_2"].map(|id| Some(id.to_owned())));
    let again = store.accept(event(0), app(&store)).await.unwrap();
    assert_eq!(again.outcome(), Outcome::Stored, "it is not there any more");
}

#[tokio::test]
async fn a_damaged_header_does_not_cost_an_encrypted_segment() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..3).await;
    disk.corrupt(SEGMENT, |bytes| bytes[..64].fill(0));
    assert!(matches!(open(dir.path(), &disk, &[]), Err(OpenError::Keys(_))));
    let store = open(dir.path(), &disk, &[7]).unwrap();
    assert_eq!(drain(&store).await.len(), 3);
}

/// A damaged header, and frames that the disk did not give: it counted as never begun, and went.
#[tokio::test]
async fn a_segment_whose_frames_cannot_be_read_is_not_removed() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..3).await;
    disk.corrupt(SEGMENT, |bytes| bytes[3] ^= 1);
    disk.set_bad_from(Some(FRAMES_AT.into()));
    let refused = open(dir.path(), &disk, &[7]).map(drop).unwrap_err();
    assert!(refused.to_string().contains("cannot be read"), "{refused}");
    disk.set_bad_from(None);
    assert_eq!(drain(&open(dir.path(), &disk, &[7]).unwrap()).await.len(), 3);
}

#[tokio::test]
async fn a_segment_whose_slots_are_damaged_is_told_and_the_others_are_read() {
    // Of what cannot be read, only a later checkpoint can say that it waits.
    for (damaged, waiting, read) in [(1, 5, 3..5), (2, 3, 0..3)] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        store_events(dir.path(), &disk, &[7], 0..3).await;
        store_events(dir.path(), &disk, &[7], 3..5).await;
        let name = format!("{damaged:010}.journal");
        disk.corrupt(&name, |bytes| bytes[SLOTS_AT[0] as usize + 60] ^= 1);
        let store = open(dir.path(), &disk, &[7]).unwrap();
        assert_eq!(store.report().survey.keyless, [damaged]);
        let gaps = &store.report().gaps;
        assert_eq!((gaps.len(), gaps[0].0, gaps[0].1.kind), (1, damaged, GapKind::Keyless));
        assert_eq!(store.backlog(0), waiting);
        let ids: Vec<_> = drain(&store).await.iter().map(|e| e.meta.provider_id.clone()).collect();
        assert_eq!(ids, read.map(|n| Some(format!("evt_{n}"))).collect::<Vec<_>>());
        assert!(disk.names().contains(&name), "it is not taken for one that never was");
    }
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..1).await;
    disk.corrupt(SEGMENT, |bytes| bytes[SLOTS_AT[0] as usize..][..128].fill(0));
    assert!(matches!(open(dir.path(), &disk, &[]), Err(OpenError::Keys(_))), "no key at all");
}

/// A power cut may leave the header of a segment that was just being begun, and not its key.
#[tokio::test]
async fn a_segment_that_never_got_its_key_is_removed() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..3).await;
    let store = open(dir.path(), &disk, &[7]).unwrap();
    disk.plan(0, Fault::PowerCut);
    store.close().await;
    drop(store);
    disk.reboot(Leaves::Nothing);
    disk.corrupt("0000000002.journal", |bytes| bytes[64..].fill(0));
    let store = open(dir.path(), &disk, &[7]).unwrap();
    assert_eq!(store.report().survey.keyless, [0; 0]);
    assert_eq!(drain(&store).await.len(), 3);
}

/// Whoever can write to the directory can write a plain segment, which needs no key: its events would
/// be delivered as if they had been accepted.
#[tokio::test]
async fn a_plain_segment_behind_encrypted_ones_is_never_read() {
    use crate::store::disk::Disk as _;
    use crate::store::journal::segment::SegmentHeader;

    for whole in [true, false] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        store_events(dir.path(), &disk, &[7], 100..103).await;
        let mut journal = 0;
        disk.corrupt(SEGMENT, |bytes| journal = SegmentHeader::decode(bytes).unwrap().journal);
        let first = Sequence(1000);
        let header = SegmentHeader {
            number: 2,
            journal,
            follows: Sequence(0),
            first,
            created_at: START,
            encrypted: false,
        };
        let path = dir.path().join("journal").join("0000000002.journal");
        let mut file = disk.create(&path).unwrap();
        file.append(&if whole { header.encode() } else { [0; 64] }).unwrap();
        file.append(super::damage::plain_batch(first).bytes().unwrap()).unwrap();
        let store = open(dir.path(), &disk, &[7]).unwrap();
        assert_eq!(store.report().survey.foreign, [2]);
        assert_eq!(store.report().gaps[0].1.kind, GapKind::Forged);
        assert_eq!(drain(&store).await.len(), 3);
        let known = store.accept(event(101), app(&store)).await.unwrap();
        assert_eq!(known.outcome(), Outcome::Repeat);
        let made_up = store.accept(event(1), app(&store)).await.unwrap();
        assert_eq!(made_up.outcome(), Outcome::Stored, "it was never accepted");
        assert!(store.close().await);
        let store = open(dir.path(), &disk, &[7]).unwrap();
        assert_eq!(drain(&store).await.len(), 1, "and the journal goes on behind it");
    }
}

/// Who reads the journal while the next segment is being written must not take it for a plain one for
/// good: what was to be read back there was never delivered.
#[tokio::test]
async fn a_segment_that_is_looked_at_while_it_is_written_is_read_once_it_is_there() {
    use std::io::Write as _;

    use crate::store::disk::OsDisk;
    use crate::store::journal::files::SegmentFiles;

    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 0..3).await;
    let mut bytes = Vec::new();
    disk.corrupt(SEGMENT, |whole| bytes.clone_from(whole));
    let [first_slot, second_slot] = SLOTS_AT.map(|at| at as usize);
    for written in [0, 40, 64, first_slot, first_slot + 40, second_slot, FRAMES_AT as usize] {
        for plain_upto in [0, 1] {
            let dir = tempfile::tempdir().unwrap();
            let mut file = std::fs::File::create(dir.path().join(SEGMENT)).unwrap();
            file.write_all(&bytes[..written]).unwrap();
            let files = SegmentFiles::new(Arc::new(OsDisk), dir.path().to_owned(), keys(&[7]));
            files.set_plain_upto(plain_upto);
            let scan = || files.scan(1, 0, Sequence(0)).unwrap();
            assert!(!matches!(scan().step().unwrap(), Some(Scanned::Frame(_))));
            file.write_all(&bytes[written..]).unwrap();
            assert!(matches!(scan().step().unwrap(), Some(Scanned::Frame(_))), "{written} bytes");
        }
    }
}

/// What stands in clear from before the encryption is believed, so that whoever can write to the
/// directory made an encrypted segment one of those: the app got what they had put there. The newest
/// segment says, authenticated, that none was left.
#[tokio::test]
async fn an_encrypted_segment_that_was_replaced_by_a_plain_one_is_never_read() {
    use crate::store::journal::segment::SegmentHeader;

    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    store_events(dir.path(), &disk, &[7], 100..103).await;
    store_events(dir.path(), &disk, &[7], 103..104).await;
    disk.corrupt(SEGMENT, |bytes| {
        let events = frames(bytes).into_iter().find(|(_, header)| header.kind == Kind::Event);
        let (at, first) = events.unwrap();
        let header = SegmentHeader::decode(bytes).unwrap();
        let header = SegmentHeader { encrypted: false, ..header };
        bytes.truncate(at);
        bytes.fill(0);
        bytes[..64].copy_from_slice(&header.encode());
        bytes.extend_from_slice(super::damage::plain_batch(first.sequence).bytes().unwrap());
    });
    let store = open(dir.path(), &disk, &[7]).unwrap();
    assert_eq!(store.report().survey.foreign, [1]);
    assert_eq!(drain(&store).await.len(), 1, "only what stands behind it is authentic");
    let made_up = store.accept(event(1), app(&store)).await.unwrap();
    assert_eq!(made_up.outcome(), Outcome::Stored, "nobody has accepted it before");
}

/// The process that begins the encryption knows which segments were there in clear.
#[tokio::test]
async fn a_plain_segment_that_comes_while_the_encryption_begins_is_never_read() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    assert!(store.close().await);
    let store = open(dir.path(), &disk, &[7]).unwrap();
    assert_eq!(store.core.files.plain_upto(), 1);
    assert_eq!(drain(&store).await.len(), 1, "what was there before is delivered");
}
