//! The journal's frames: what a damaged or foreign segment may hold.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::Sequence;
use crate::store::backlog::checkpoint::{decode_end, decode_lane};
use crate::store::disk::ReadFile;
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{
    decode_attempt, decode_event, decode_event_head, encode_attempt, event_in,
};
use crate::store::journal::segment::{Frame, SEGMENT_HEADER_LEN, Scanned, Scanner, SegmentHeader};

/// A segment: frames and gaps cover it without overlap, sequences ascend, and every payload is
/// understood or not, without a panic. An attempt that is understood is written as it was read.
pub fn journal(data: &[u8]) {
    let _ = SegmentHeader::decode(data);
    let file = Arc::new(InMemory(data.to_vec()));
    let Ok(mut scanner) = Scanner::new(file, SEGMENT_HEADER_LEN, Sequence(0)) else { return };
    let mut at = SEGMENT_HEADER_LEN;
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
