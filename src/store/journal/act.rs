//! What an operator has done with an event, as a frame tells it.

use super::input::Input;
use super::record::{put_short, put_text};
use super::segment::Place;
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::query::ActKind;

/// An act's frame, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRecord<'a> {
    /// The event's number.
    pub event: Sequence,
    /// Where it stood then: a restart need not look for it.
    pub place: Place,
    /// When it was done.
    pub at: UnixMillis,
    /// What was done.
    pub what: ActKind,
    /// Who did it: a token's name, or the Unix user behind the socket.
    pub who: &'a str,
    /// Why, in the operator's words.
    pub reason: Option<&'a str>,
    /// The upstreams that the event goes to from then on, or whose deliveries are dropped.
    pub upstreams: Vec<ActUpstream<'a>>,
}

/// An upstream that an act is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActUpstream<'a> {
    /// Its name.
    pub name: &'a str,
    /// If the event was a dead letter of it: the segment under which that was counted.
    pub dead_in: Option<u32>,
    /// Attempts made so far.
    pub attempts: u32,
    /// A lane that reads its backlog from the journal does not come upon this delivery: the event was kept
    /// back, was not for this upstream at first, or stands in a copy.
    pub apart: bool,
}

/// Writes an act's payload.
pub fn encode_act(record: &ActRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&record.event.0.to_le_bytes());
    out.extend_from_slice(&record.place.pack().to_le_bytes());
    out.extend_from_slice(&record.at.0.to_le_bytes());
    out.push(match record.what {
        ActKind::Replayed => 1,
        ActKind::Released => 2,
        ActKind::Discarded => 3,
    });
    put_short(out, record.who);
    put_text(out, record.reason);
    out.push(u8::try_from(record.upstreams.len()).unwrap_or(u8::MAX));
    for upstream in record.upstreams.iter().take(u8::MAX.into()) {
        put_short(out, upstream.name);
        // Segments are counted from 1.
        out.extend_from_slice(&upstream.dead_in.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&upstream.attempts.to_le_bytes());
        out.push(u8::from(upstream.apart));
    }
}

/// Opens an act's frame.
pub fn decode_act(payload: &[u8]) -> Option<ActRecord<'_>> {
    let mut input = Input(payload);
    let (event, place) = (Sequence(input.u64()?), Place::unpack(input.u64()?));
    let at = UnixMillis(input.u64()?);
    let what = match input.u8()? {
        1 => ActKind::Replayed,
        2 => ActKind::Released,
        3 => ActKind::Discarded,
        _ => return None,
    };
    let (who, reason) = (input.short_str()?, input.text()?);
    let count = input.u8()?;
    let mut upstreams = Vec::with_capacity(count.into());
    for _ in 0..count {
        let name = input.short_str()?;
        let dead_in = Some(input.u32()?).filter(|segment| *segment > 0);
        let attempts = input.u32()?;
        let apart = match input.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        upstreams.push(ActUpstream { name, dead_in, attempts, apart });
    }
    Some(ActRecord { event, place, at, what, who, reason, upstreams })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_read_as_it_was_written_and_never_in_part() {
        let app = ActUpstream { name: "app", dead_in: Some(7), attempts: 3, apart: false };
        let lab = ActUpstream { name: "lab", dead_in: None, attempts: 0, apart: true };
        for (what, reason, upstreams) in [
            (ActKind::Replayed, Some("the app was mended"), vec![app, lab]),
            (ActKind::Released, None, vec![lab]),
            (ActKind::Discarded, Some(""), vec![]),
        ] {
            let (event, at) = (Sequence(9), UnixMillis(77));
            let place = Place { segment: 3, offset: 640 };
            let record = ActRecord { event, place, at, what, who: "root", reason, upstreams };
            let mut bytes = Vec::new();
            encode_act(&record, &mut bytes);
            assert_eq!(decode_act(&bytes), Some(record));
            for len in 0..bytes.len() {
                assert_eq!(decode_act(&bytes[..len]), None, "{len} bytes");
            }
        }
    }
}
