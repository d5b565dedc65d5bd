//! The journal's frames: what a damaged or foreign segment may hold.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::Sequence;
use crate::secret::Key;
use crate::store::backlog::checkpoint::{decode_end, decode_lane};
use crate::store::crypt::{Keyring, SLOTS_AT, Slot};
use crate::store::disk::ReadFile;
use crate::store::journal::act::decode_act;
use crate::store::journal::frame::Kind;
use crate::store::journal::presence::decode_presence;
use crate::store::journal::record::{
    decode_attempt, decode_event, decode_event_head, encode_attempt, event_in,
};
use crate::store::journal::segment::{Frame, Scanned, Scanner, Seal, SegmentHeader};

/// A segment: frames and gaps cover it without overlap, sequences ascend, and every payload is
/// understood or not, without a panic. An attempt that is understood is written as it was read.
pub fn journal(data: &[u8]) {
    let _ = SegmentHeader::decode(data);
    scan(data, Seal::Plain);
    // Opened with a key that seeds are made with. What a fuzzer changes in a sealed frame does not
    // open any more: what is tried is everything up to there.
    let keys = Keyring::new([Key::new([7; 32].into())]);
    for at in SLOTS_AT {
        let slot = data.get(at as usize..).and_then(Slot::decode);
        let opened = slot.and_then(|slot| Some((slot.open(&keys).ok()?, slot)));
        let cipher =
            opened.and_then(|(secret, slot)| secret.cipher(slot.journal(), slot.segment()).ok());
        scan(data, cipher.map_or(Seal::Lost, |cipher| Seal::Sealed(Arc::new(cipher))));
    }
}

fn scan(data: &[u8], seal: Seal) {
    let mut at = seal.frames_at();
    let file = Arc::new(InMemory(data.to_vec()));
    let Ok(mut scanner) = Scanner::opening(file, 0, Sequence(0), seal) else { return };
    let mut last = Sequence(0);
    while let Ok(Some(scanned)) = scanner.step() {
        let start = match &scanned {
            Scanned::Frame(frame) => {
                assert!(frame.header.sequence > last, "sequences do not ascend");
                last = frame.header.sequence;
                payload(frame);
                frame.offset
            }
            Scanned::Gap(gap) => {
                assert!(gap.to > gap.from, "a gap of nothing");
                gap.from
            }
        };
        assert_eq!(start, at, "bytes were passed over in silence");
        at = scanner.offset();
    }
    assert!(at as usize >= data.len().min(u32::MAX as usize), "the scan ended early");
}

fn payload(frame: &Frame<'_>) {
    let bytes = Bytes::copy_from_slice(frame.payload);
    match frame.header.kind {
        Kind::Event => {
            let whole = decode_event(frame.header.sequence, &bytes);
            assert!(
                whole.is_none() || decode_event_head(&bytes).is_some(),
                "a body without a head"
            );
        }
        Kind::Attempt => {
            if let Some(record) = decode_attempt(&bytes) {
                let mut again = Vec::new();
                encode_attempt(&record, &mut again);
                assert!(bytes.starts_with(&again) || again.len() == bytes.len());
            }
        }
        Kind::Carried => {
            if let Some((sequence, event)) = event_in(&frame.header, &bytes) {
                let _ = decode_event(sequence, &event);
            }
        }
        Kind::Lane => drop(decode_lane(&bytes)),
        Kind::CheckpointEnd => drop(decode_end(&bytes)),
        Kind::Act => drop(decode_act(&bytes)),
        Kind::Presence => drop(decode_presence(&bytes)),
    }
}

#[derive(Debug)]
struct InMemory(Vec<u8>);

impl ReadFile for InMemory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let rest = self.0.get(from..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        let (head, _) = buf.split_at_mut(len);
        head.copy_from_slice(rest.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::crypt::FRAMES_AT;

    /// A seed that does not open would try nothing.
    #[test]
    fn the_encrypted_seed_opens_with_the_key_that_is_tried() {
        let data = include_bytes!("../../fuzz/corpus/journal/encrypted");
        assert!(SegmentHeader::decode(data).unwrap().encrypted);
        let keys = Keyring::new([Key::new([7; 32].into())]);
        let slot = Slot::decode(&data[SLOTS_AT[0] as usize..]).unwrap();
        let secret = slot.open(&keys).unwrap();
        let cipher = secret.cipher(slot.journal(), slot.segment()).unwrap();
        let (file, seal) = (Arc::new(InMemory(data.to_vec())), Seal::Sealed(Arc::new(cipher)));
        let mut scanner = Scanner::opening(file, FRAMES_AT, Sequence(0), seal).unwrap();
        let mut events = 0;
        while let Some(scanned) = scanner.step().unwrap() {
            let Scanned::Frame(frame) = scanned else { panic!("{scanned:?}") };
            events += usize::from(frame.header.kind == Kind::Event);
        }
        assert!(events > 0);
        journal(data);
    }
}
