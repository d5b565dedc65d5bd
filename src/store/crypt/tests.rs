//! Keys, slots and sealed frames on their own.

use zeroize::Zeroizing;

use super::*;
use crate::event::{DedupeKey, Sequence};

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new([byte; 32]))
}

fn ring(bytes: &[u8]) -> Keyring {
    Keyring::new(bytes.iter().map(|byte| key(*byte)))
}

fn secret() -> SegmentSecret {
    SegmentSecret::generate(&key(42)).unwrap()
}

fn wrap(secret: &SegmentSecret, ring: &Keyring) -> Slot {
    Slot::wrap(secret, 11, 3, 2, ring.current().unwrap()).unwrap()
}

const CLEAR: Clear = Clear { sequence: Sequence(7), kind: 1, back: 90 };

fn seal(sealer: &mut Sealer, content: &[u8]) -> Vec<u8> {
    let mut out = b"header".to_vec();
    Sealer::reserve(&mut out);
    out.extend_from_slice(content);
    sealer.seal(CLEAR, &mut out, 6).unwrap();
    out.split_off(6)
}

fn open(cipher: &Cipher, clear: Clear, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut payload = sealed.to_vec();
    let content = cipher.open(clear, &mut payload)?;
    Ok(payload[content].to_vec())
}

/// What stands in the journals of others must mean the same for ever.
#[test]
fn the_id_of_a_key_is_what_it_was() {
    let id = ring(&[7]).current().unwrap().id();
    let digest = {
        use hmac::{KeyInit as _, Mac as _};
        let mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.chain_update(b"hookward store key id 1").finalize().into_bytes()
    };
    assert_eq!(id.0, digest[..8]);
    assert_eq!(id.to_string().len(), 16);
    assert_ne!(id, ring(&[8]).current().unwrap().id());
}

#[test]
fn a_slot_gives_its_secret_to_its_key_alone() {
    let (secret, keys) = (secret(), ring(&[1]));
    let slot = wrap(&secret, &keys);
    let read = Slot::decode(slot.bytes()).unwrap();
    assert_eq!((read.segment(), read.journal()), (3, 11));
    for keys in [&keys, &ring(&[2, 1])] {
        let opened = read.open(keys).unwrap();
        assert!(opened.index_key() == key(42));
        let sealed = seal(&mut Sealer::new(secret.cipher(11, 3).unwrap()), b"content");
        let cipher = opened.cipher(11, 3).unwrap();
        assert_eq!(open(&cipher, CLEAR, &sealed).unwrap(), b"content");
    }
    let missing = SlotError::Missing(keys.current().unwrap().id());
    assert_eq!(read.open(&ring(&[2])).unwrap_err(), missing);
    assert_eq!(read.open(&Keyring::default()).unwrap_err(), missing);
    assert_ne!(wrap(&secret, &keys).bytes(), slot.bytes(), "the nonce is a new one each time");
}

#[test]
fn a_changed_slot_is_none_or_does_not_open() {
    let keys = ring(&[1]);
    let slot = wrap(&secret(), &keys);
    for bit in 0..SLOT_LEN * 8 {
        let mut bytes = *slot.bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Slot::decode(&bytes), None, "bit {bit}");
        // By somebody who mends the checksum.
        let crc = crc32c::crc32c(&bytes[..SLOT_LEN - 4]);
        bytes[SLOT_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        let opened = Slot::decode(&bytes).map(|slot| slot.open(&keys));
        let unharmed = bytes == *slot.bytes();
        assert!(unharmed || opened.is_none_or(|opened| opened.is_err()), "bit {bit}");
    }
    assert_eq!(Slot::decode(&[0; SLOT_LEN]), None);
    assert_eq!(Slot::decode(&slot.bytes()[1..]), None);
}

#[test]
fn a_sealed_payload_opens_only_where_it_was_sealed() {
    let secret = secret();
    let mut sealer = Sealer::new(secret.cipher(11, 3).unwrap());
    let sealed = seal(&mut sealer, b"what a patient takes");
    assert_eq!(sealed.len(), 20 + OVERHEAD);
    let cipher = secret.cipher(11, 3).unwrap();
    assert_eq!(open(&cipher, CLEAR, &sealed).unwrap(), b"what a patient takes");
    for clear in [
        Clear { sequence: Sequence(8), ..CLEAR },
        Clear { kind: 2, ..CLEAR },
        Clear { back: 91, ..CLEAR },
    ] {
        assert_eq!(open(&cipher, clear, &sealed), Err(Refused), "{clear:?}");
    }
    for (journal, segment) in [(12, 3), (11, 4)] {
        let elsewhere = secret.cipher(journal, segment).unwrap();
        assert_eq!(open(&elsewhere, CLEAR, &sealed), Err(Refused));
    }
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&cipher, CLEAR, &bad), Err(Refused), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert_eq!(open(&cipher, CLEAR, &sealed[..len]), Err(Refused), "{len} bytes");
    }
}

#[test]
fn no_nonce_is_used_twice() {
    let mut sealer = Sealer::new(secret().cipher(11, 3).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        assert!(seen.insert(seal(&mut sealer, b"the same")[..8].to_vec()));
    }
}

#[test]
fn a_keyed_fingerprint_says_nothing_without_its_key() {
    let dedupe = DedupeKey([9; 32]);
    let (plain, one) = (Fingerprints::plain(), Fingerprints::keyed(&key(1)));
    assert_eq!(plain.of(&dedupe).to_le_bytes(), dedupe.0[..8]);
    assert_eq!(one.of(&dedupe), Fingerprints::keyed(&key(1)).of(&dedupe));
    let other = Fingerprints::keyed(&key(2));
    let all = [plain.of(&dedupe), one.of(&dedupe), other.of(&dedupe)];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
    assert_eq!(plain.mark(), 0);
    assert!(one.mark() != other.mark() && one.mark() != 0);
}

#[test]
fn no_key_is_ever_shown() {
    let secret = secret();
    let keys = ring(&[7]);
    let cipher = secret.cipher(11, 3).unwrap();
    let sealer = Sealer::new(secret.cipher(11, 3).unwrap());
    let shown =
        format!("{secret:?} {keys:?} {cipher:?} {sealer:?} {:?}", Fingerprints::keyed(&key(7)));
    assert!(shown.starts_with("[redacted] "), "{shown}");
    for digits in ["7, 7", "0707"] {
        assert!(!shown.contains(digits), "{shown}");
    }
}

/// What stands in the catalogues of others must mean the same for ever, or be marked as another.
#[test]
fn catalogue_digests_are_apart_by_key_journal_and_field() {
    let one = Digests::new(Some(&key(1)), 7);
    let same = Digests::new(Some(&key(1)), 7);
    assert_eq!(one.of(Field::Kind, [&b"a"[..]]), same.of(Field::Kind, [&b"a"[..]]));
    let text = &b"order.shipped"[..];
    let all = [
        one.of(Field::Kind, [text]),
        one.of(Field::Upstream, [text]),
        one.of(Field::Kind, [&text[..5], &text[5..]]),
        Digests::new(Some(&key(2)), 7).of(Field::Kind, [text]),
        Digests::new(Some(&key(1)), 8).of(Field::Kind, [text]),
        Digests::new(None, 7).of(Field::Kind, [text]),
        Digests::new(None, 8).of(Field::Kind, [text]),
        Fingerprints::keyed(&key(1)).mark(),
        one.mark(),
    ];
    let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    assert_eq!(format!("{one:?} {:?}", Digests::new(None, 7)), "keyed plain");
}
