//! Signs of life of the gateway, as frames tell them: a later start knows from them when nobody was there
//! to take events. Each segment opens with all that is known, so that a start needs to read no older
//! one.

use super::frame::{Batch, Kind};
use super::input::Input;
use crate::clock::UnixMillis;
use crate::event::Sequence;

/// How many absences a segment opens with at most.
pub const MAX_ABSENCES: usize = 1000;

/// A sign of life's frame, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Events could be taken then.
    Alive(UnixMillis),
    /// For a time no event could be taken.
    Away(Absence),
    /// The gateway was told to stop: the last moment at which events could be taken.
    Stopped(UnixMillis),
    /// All that was known when it was written: what a segment opens with.
    Log(Log),
}

/// A time in which no event could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The last moment at which events could certainly be taken before.
    pub from: UnixMillis,
    /// The first one at which they could be taken again; never before `from`.
    pub until: UnixMillis,
    /// Why not.
    pub cause: Cause,
}

/// What was known of signs of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// From when on they are known.
    pub since: UnixMillis,
    /// The last sign of life.
    pub last: UnixMillis,
    /// Whether that was the one of a stop.
    pub stopped: bool,
    /// When there was none, in the order in which that became known; at most [`MAX_ABSENCES`].
    pub absences: Vec<Absence>,
}

/// Why no event could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The gateway was stopped.
    Stopped,
    /// It had ended without being able to write that it stopped: a crash, a kill or a power cut, or a
    /// journal that could not be written to.
    Crashed,
    /// The store could not be written to: the disk was full or had failed.
    Unwritable,
    /// It is not certain that none could, or for how long: the clock was set, the machine has slept, or
    /// the journal is damaged where it would say so.
    Unknown,
}

impl Cause {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Unwritable => "unwritable",
            Self::Unknown => "unknown",
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Stopped => 1,
            Self::Crashed => 2,
            Self::Unwritable => 3,
            Self::Unknown => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Stopped),
            2 => Some(Self::Crashed),
            3 => Some(Self::Unwritable),
            4 => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl Batch {
    /// Adds a sign of life's frame with this number, and returns the number after.
    pub fn push_presence(&mut self, next: Sequence, presence: &Presence) -> Sequence {
        self.push(next, Kind::Presence, |out| encode_presence(presence, out));
        Sequence(next.0 + 1)
    }
}

/// Writes its payload.
pub fn encode_presence(presence: &Presence, out: &mut Vec<u8>) {
    match presence {
        Presence::Alive(at) => {
            out.push(1);
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        Presence::Away(absence) => {
            out.push(2);
            put_absence(absence, out);
        }
        Presence::Stopped(at) => {
            out.push(3);
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        Presence::Log(log) => {
            out.push(4);
            out.extend_from_slice(&log.since.0.to_le_bytes());
            out.extend_from_slice(&log.last.0.to_le_bytes());
            out.push(log.stopped.into());
            let count = log.absences.len().min(MAX_ABSENCES);
            out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
            log.absences.iter().take(count).for_each(|absence| put_absence(absence, out));
        }
    }
}

fn put_absence(absence: &Absence, out: &mut Vec<u8>) {
    out.extend_from_slice(&absence.from.0.to_le_bytes());
    out.extend_from_slice(&absence.until.0.to_le_bytes());
    out.push(absence.cause.byte());
}

/// Opens a sign of life's frame.
pub fn decode_presence(payload: &[u8]) -> Option<Presence> {
    let mut input = Input(payload);
    let presence = match input.u8()? {
        1 => Presence::Alive(UnixMillis(input.u64()?)),
        2 => Presence::Away(absence(&mut input)?),
        3 => Presence::Stopped(UnixMillis(input.u64()?)),
        4 => {
            let (since, last) = (UnixMillis(input.u64()?), UnixMillis(input.u64()?));
            let stopped = match input.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let count = usize::from(input.u16()?);
            if count > MAX_ABSENCES {
                return None;
            }
            let mut absences = Vec::with_capacity(count);
            for _ in 0..count {
                absences.push(absence(&mut input)?);
            }
            Presence::Log(Log { since, last, stopped, absences })
        }
        _ => return None,
    };
    Some(presence)
}

fn absence(input: &mut Input<'_>) -> Option<Absence> {
    let (from, until) = (UnixMillis(input.u64()?), UnixMillis(input.u64()?));
    let cause = Cause::from_byte(input.u8()?)?;
    (from <= until).then_some(Absence { from, until, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSES: [Cause; 4] = [Cause::Stopped, Cause::Crashed, Cause::Unwritable, Cause::Unknown];

    #[test]
    fn a_sign_of_life_is_read_as_it_was_written_and_never_in_part() {
        let (from, until) = (UnixMillis(5), UnixMillis(9));
        let away = |cause| Absence { from, until, cause };
        let log = |stopped, absences| Log { since: UnixMillis(1), last: until, stopped, absences };
        let all = CAUSES.map(|cause| Presence::Away(away(cause))).into_iter().chain([
            Presence::Alive(from),
            Presence::Stopped(from),
            Presence::Log(log(true, Vec::new())),
            Presence::Log(log(false, CAUSES.map(away).to_vec())),
        ]);
        for presence in all {
            let mut bytes = Vec::new();
            encode_presence(&presence, &mut bytes);
            assert_eq!(decode_presence(&bytes), Some(presence));
            for len in 0..bytes.len() {
                assert_eq!(decode_presence(&bytes[..len]), None, "{len} bytes");
            }
        }
    }

    #[test]
    fn an_absence_that_ends_before_it_begins_is_not_understood() {
        let mut bytes = Vec::new();
        let (from, until) = (UnixMillis(9), UnixMillis(5));
        let absence = Absence { from, until, cause: Cause::Crashed };
        encode_presence(&Presence::Away(absence), &mut bytes);
        assert_eq!(decode_presence(&bytes), None);
    }

    #[test]
    fn a_log_has_a_bound_that_reading_keeps_to() {
        let absence = Absence { from: UnixMillis(1), until: UnixMillis(2), cause: Cause::Crashed };
        let absences = vec![absence; MAX_ABSENCES + 5];
        let (since, last) = (UnixMillis(1), UnixMillis(2));
        let mut bytes = Vec::new();
        let log = Log { since, last, stopped: false, absences };
        encode_presence(&Presence::Log(log), &mut bytes);
        let Some(Presence::Log(read)) = decode_presence(&bytes) else { panic!("not understood") };
        assert_eq!(read.absences.len(), MAX_ABSENCES);
        bytes[18..20].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(decode_presence(&bytes), None);
    }
}
